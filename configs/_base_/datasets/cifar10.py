_base_ = 'mmpretrain::_base_/datasets/cifar10_bs16.py'

data_preprocessor = dict(
    mean=[125.3, 123.0, 113.9],  # the authors' code; mmpretrain: 125.307, 122.961, 113.8575
    std=[63.0, 62.1, 66.7],  # the authors' code; mmpretrain: 51.5865, 50.847, 51.255
)
train_dataloader = dict(batch_size=256, num_workers=4, persistent_workers=True)  # mmpretrain: 16 on each of 8 GPUs
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
