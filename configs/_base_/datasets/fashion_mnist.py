# Fashion-MNIST (Xiao et al. 2017), reduced for a CPU: 14x14 grey pixels, 2,000 images to train, 2,000 others of the
# training set to validate, and the first 5,000 of the test set to test.
data_preprocessor = dict(num_classes=10, mean=[72.9], std=[85.0], to_rgb=False)

half_size = dict(type='Resize', scale=(14, 14), interpolation='area')

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=True,
    dataset=dict(
        type='FashionMNIST',
        data_root='data/fashion_mnist',
        split='train',
        indices=2000,
        pipeline=[half_size, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(
        type='FashionMNIST',
        data_root='data/fashion_mnist',
        split='train',
        indices=-2000,
        pipeline=[half_size, dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(
        type='FashionMNIST',
        data_root='data/fashion_mnist',
        split='test',
        indices=5000,
        pipeline=[half_size, dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
