# scikit-learn's handwritten digits, without a download: 1,438 training and 359 test images of 8x8 pixels.
data_preprocessor = dict(num_classes=10, mean=[77.8], std=[95.9], to_rgb=False)

train_pipeline = [
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=96,
    num_workers=0,
    dataset=dict(type='mmhoga.Digits', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=360,
    num_workers=0,
    dataset=dict(type='mmhoga.Digits', split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
