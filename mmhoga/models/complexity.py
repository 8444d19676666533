"""Parameters and multiply-accumulates of a model, as mmengine's analysis counts them.

The papers' GFLOPs, and those of the hosts' ``get_flops.py``, are multiply-accumulates (MACs) counted
this way. For one input:

* convolutions (grouped, dilated, transposed), linear layers, matrix products and einsum: one for
  each multiplication;
* batch norm in eval mode: 2 an element, 1 without scale and shift; layer and group norm: 5 or 4;
* adaptive average pooling: 1 an element of the input; bilinear up-sampling: 4 an element of the
  output;
* nothing for element-wise products and sums, activations, max and strided pooling, NMS and RoIAlign.
  HOGA's gating products are among these.

mmpretrain's own ``get_flops.py`` stops at the neck; here the head counts too.
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
    """What a model, or a part of it, costs for one input."""

    params: int
    macs: int


def count(model: nn.Module, shape: Sequence[int]) -> Complexity:
    """Count a model at one input of ``shape`` (C, H, W), without the batch; for others (features,).

    A model of mmengine's kind runs with ``mode='tensor'``, head included and without post-processing;
    any other module is called with the input alone. Parameters that are shared count once, frozen ones
    count. The model is in eval mode meanwhile, and left as it was.
    """
    return count_parts(model, shape)['']


def count_parts(model: nn.Module, shape: Sequence[int]) -> dict[str, Complexity]:
    """As :func:`count`, for the model (key ``''``) and every module in it, by dotted name.

    In a two-stage detector the RoI heads' share depends on how many proposals survive NMS. Random
    weights give about as many as the config allows.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device('cpu'))
    inputs = torch.randn(1, *shape, device=device)
    with undisturbed(model), called_with_tensors_only(model, shape), torch.no_grad():
        macs = (
            FlopAnalyzer(model, inputs)
            .unsupported_ops_warnings(False)
            .uncalled_modules_warnings(False)
            .tracer_warnings('none')
            .by_module()
        )
    params = parameter_count(model)
    return {name: Complexity(params[name], macs[name]) for name, _ in model.named_modules()}


@contextmanager
def called_with_tensors_only(model: nn.Module, shape: Sequence[int]) -> Iterator[None]:
    """Inside, ``model(inputs)`` is enough for one image: what is no tensor is given to a BaseModel's forward here."""
    if not isinstance(model, BaseModel):
        yield
        return
    size = tuple(shape[-2:])
    sample = BaseDataElement(  # two-stage detectors clip their proposals to the image
        metainfo=dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
    )
    forward = model.forward
    model.forward = lambda inputs: forward(inputs, data_samples=[sample], mode='tensor')
    try:
        yield
    finally:
        del model.forward
