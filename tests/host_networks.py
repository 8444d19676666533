"""The backbones of the hosts, and a comparison of networks that should be the same."""

from __future__ import annotations

import pytest
import torch

mmdet = pytest.importorskip('mmdet.models.backbones')
mmpretrain = pytest.importorskip('mmpretrain.models.backbones')
mmpose = pytest.importorskip('mmpose.models.backbones')

HOSTS = {'mmdet': mmdet, 'mmpretrain': mmpretrain, 'mmpose': mmpose}
NARROW = dict(stem_channels=8, base_channels=8)
ALL_STAGES = dict(out_indices=(0, 1, 2, 3))


def randomize(module, seed=0):
    """Random weights and statistics, so that zero-initialised branches matter too."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise.abs() + 0.5 if tensor.dim() == 1 else noise * tensor[0].numel() ** -0.5)
            if name.endswith('running_mean'):
                tensor.copy_(noise)
    return module


def assert_same(ours, theirs, size=32, same_keys=True):
    randomize(theirs)
    assert not same_keys or list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        theirs.train(mode)
        ours.train(mode)
        expected, actual = theirs(x), ours(x)
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected):
            torch.testing.assert_close(a, e)
