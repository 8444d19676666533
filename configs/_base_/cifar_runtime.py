_base_ = 'mmpretrain::_base_/default_runtime.py'

# mmpretrain keeps all 500 checkpoints. No save_best: validation uses the test set, which must not select a checkpoint.
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
