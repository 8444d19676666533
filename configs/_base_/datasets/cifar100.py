_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'

# Mean and std are mmpretrain's for CIFAR-100. Neither the paper nor the authors' code gives any.
train_dataloader = dict(batch_size=128, num_workers=4, persistent_workers=True)  # mmpretrain: 16 on each of 8 GPUs
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
