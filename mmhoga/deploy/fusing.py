"""Fuse a network for inference: batch norms fold into convolutions, and the edges of a HOGA run together."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmhoga.deploy.outputs import check_outputs
from mmhoga.models.fast.folding import fold_norms
from mmhoga.models.hoga import HOGA

Model = TypeVar('Model', bound=nn.Module)


def fuse(model: Model, *inputs: Tensor, tolerance: float = 1e-5) -> Model:
    """Return a copy of a network for inference: every HOGA fused, every batch norm folded into its convolution.

    >>> import torch
    >>> from mmhoga.backbones import ResNet
    >>> from mmhoga.deploy import fuse
    >>> plugin = dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')
    >>> network = ResNet(18, base_channels=8, plugins=[plugin])
    >>> fused = fuse(network, torch.randn(2, 3, 64, 64))
    >>> any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    False

    A batch norm stays if :func:`mmhoga.insert` put a cell at it or at its convolution. mmcv's ``fuse_conv_bn`` does not
    compare outputs, and is wrong for a network with cells after a norm and after the convolution that follows: it folds
    the norm of that convolution into the one before.

    Args:
        model: a module that takes tensors. It is put into eval mode. Wrap a whole model of a host in TensorsOnly.
        inputs: a batch on which the copy is compared with the model, in double precision where the model supports it.
            In single precision, the rounding of a network with small outputs (a detector early in its training)
            can exceed the tolerance.
        tolerance: the largest difference allowed, as a fraction of the largest output.

    Raises:
        ValueError: the outputs of the copy differ. Norms are folded in the order in which the model lists its modules,
            so that order must be the order of the calls.
    """
    model.eval()
    with torch.no_grad():
        try:
            exact, batch = copy.deepcopy(model).double(), [x.double() if x.is_floating_point() else x for x in inputs]
            expected = exact(*batch)
        except (RuntimeError, TypeError):  # a layer or a device without double precision
            exact, batch = copy.deepcopy(model), list(inputs)
            expected = exact(*batch)
        try:
            check_outputs(_fuse(exact)(*batch), expected, tolerance)
        except AssertionError as error:
            raise ValueError(
                f'{type(model).__name__} cannot be fused: its outputs would change. It lists a batch norm right after '
                f'a convolution that the norm does not follow, or its weights are not finite. {error}'
            ) from error
    return _fuse(copy.deepcopy(model))


def _fuse(model: Model) -> Model:
    """Fuse in place."""
    for module in model.modules():
        if isinstance(module, HOGA):
            module.fuse()
    fold_norms(model)
    return model
