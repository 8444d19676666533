"""A config of the paper's search on noise in place of CIFAR-10."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TEXT = """
_base_ = '{root}/configs/search/hoga-search_resnet20_1xb128-100e_cifar10.py'
custom_imports = dict(imports=['loop_overhead'], allow_failed_imports=False)
train_dataloader = dict(dataset=dict(
    _delete_=True, type='mmengine.Noise', images={images},
    pipeline=_base_.train_dataloader.dataset.pipeline))
train_cfg = dict(max_epochs=2)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
"""
TOY = """
model = dict(architecture=dict(backbone=dict(depth=8, base_channels=8), head=dict(in_channels=32)))
train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
"""


def search_config(folder: str, images: int, *, toy: bool) -> str:
    """Write the config to a folder; returns its path."""
    path = Path(folder, 'noise_search.py')
    path.write_text(TEXT.format(root=ROOT, images=images) + (TOY if toy else ''), encoding='utf-8')
    return str(path)
