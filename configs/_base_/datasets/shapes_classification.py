# Generated shapes cropped to 32 x 32, one per image: mmhoga make-data shapes
data_root = 'data/shapes/'
data_preprocessor = dict(num_classes=3, mean=[60, 60, 60], std=[60, 60, 60], to_rgb=True)

train_pipeline = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

# Worker processes take longer to start than these images to load.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=True,  # batch norm cannot train on a last batch of one image
    dataset=dict(
        type='mmhoga.CocoCrops',
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img_path='train/'),
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(
        type='mmhoga.CocoCrops',
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img_path='val/'),
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
