# ResNet-20 of width 16 for 10 classes.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhoga.CIFARResNet', depth=20, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
)
