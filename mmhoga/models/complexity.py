"""Parameters and multiply-accumulates (MACs) of a model, counted by mmengine.

The GFLOPs of the papers and of the hosts' ``get_flops.py`` are MACs counted this way. For one input:

- convolutions, linear layers, matrix products and einsum: 1 per multiplication;
- batch norm in eval mode: 2 per element, 1 without scale and shift; layer and group norm: 5 or 4;
- adaptive average pooling: 1 per element of the input; bilinear up-sampling: 4 per element of the output;
- element-wise products and sums (such as the gates of HOGA), activations, max and strided pooling, NMS and RoIAlign: 0.

The head counts too, unlike in the ``get_flops.py`` of mmpretrain, which stops at the neck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

from mmhoga.models.hooks import undisturbed


@dataclass(frozen=True)
class Complexity:
    """The cost of a model, or of a part of it, for one input."""

    params: int
    macs: int


def count(model: nn.Module, shape: Sequence[int]) -> Complexity:
    """Count a model for one input of ``shape``, (C, H, W) or (features,), without the batch.

    An mmengine BaseModel runs with ``mode='tensor'``, head included and without post-processing; any other module is
    called with the input alone. Shared parameters count once, and frozen ones count. The model runs in eval mode and is
    restored afterwards.
    """
    return count_parts(model, shape)['']


def count_parts(model: nn.Module, shape: Sequence[int]) -> dict[str, Complexity]:
    """Like :func:`count`, for the model (key ``''``) and every module in it, by dotted name.

    In a two-stage detector the share of the RoI heads depends on the number of proposals after NMS; with random weights
    it is close to the limit in the config.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device('cpu'))
    inputs = torch.randn(1, *shape, device=device)
    with undisturbed(model), called_with_tensors_only(model, shape), torch.no_grad():
        analyzer = FlopAnalyzer(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        macs = analyzer.tracer_warnings('none').by_module()
    params = parameter_count(model)
    return {name: Complexity(params[name], macs[name]) for name, _ in model.named_modules()}


@contextmanager
def called_with_tensors_only(model: nn.Module, shape: Sequence[int]) -> Iterator[None]:
    """Make ``model(inputs)`` work for a BaseModel and one image, by adding the other arguments of its forward."""
    if not isinstance(model, BaseModel):
        yield
        return
    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), tuple(shape[-2:]))
    # Two-stage detectors clip their proposals to the image.
    sample = BaseDataElement(metainfo=dict(**shapes, scale_factor=(1.0, 1.0)))
    forward = model.forward
    model.forward = lambda inputs: forward(inputs, data_samples=[sample], mode='tensor')
    try:
        yield
    finally:
        del model.forward
