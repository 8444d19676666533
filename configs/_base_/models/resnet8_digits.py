# The smallest CIFAR ResNet (depth 6n + 2 with n = 1), for grey images.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
)
