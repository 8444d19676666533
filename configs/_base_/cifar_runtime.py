_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3, save_best='auto'))  # mmpretrain: all 500 epochs
