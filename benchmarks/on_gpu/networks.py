"""ResNet-50 plain, with SE, with CBAM and with HOGA: inference and training, eager and as CUDA graphs.

Inference is in float32 and training in bfloat16 autocast, both in channels_last, at 224 x 224. A training step is the
forward and the backward pass, without an optimizer. Ratios are to the plain network of the same form, fused to fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from on_gpu.measure import Graphed, Run, seconds, times, work
from on_gpu.results import Results
from torch import Tensor, nn

from mmhoga.backbones import ResNet
from mmhoga.deploy import fuse

#: Network -> the plugins of its backbone.
NETWORKS: dict[str, Any] = {
    'plain': None,
    'SE': [dict(cfg=dict(type='mmhoga.Attention', name='se'), position='after_conv3')],
    'CBAM': [dict(cfg=dict(type='mmhoga.Attention', name='cbam'), position='after_conv3')],
    'HOGA': [dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')],
}


def measure(results: Results) -> None:
    measure_networks(results, NETWORKS)


def measure_networks(results: Results, plugins: Mapping[str, Any]) -> None:
    """Compare networks, by the plugins of their backbones. One is 'plain'; that and cells of HOGA are fused, too."""
    networks: dict[str, nn.Module] = {}
    for name in (*plugins, *(f'{name} fused' for name in plugins if name.startswith(('plain', 'HOGA')))):
        with results.attempt(task='build', network=name):
            own = plugins[name.removesuffix(' fused')]
            networks[name] = network(own, results, fused=name.endswith('fused'))
    for name, model, batch in (('inference', inference, 1), ('inference', inference, 32), ('training', training, 64)):
        x = images(2 if results.toy and batch > 1 else batch, results)
        sides = {}
        for key, net in networks.items():
            if model is inference or 'fused' not in key:
                sides[key] = partial(model, net.train(model is training), x)
        task = f'{name}, batch {len(x)}'
        compare(results, sides, task=task, form='eager')
        if results.on_gpu:
            graphs = {}
            for key, run in sides.items():
                with results.attempt(task=task, form='graph', network=key):
                    graphs[key] = Graphed(run)
            compare(results, graphs, task=task, form='graph')


def compare(results: Results, sides: dict[str, Run], **labels: str) -> None:
    """Time the sides in turns, and add a row for each."""
    with results.attempt(**labels):
        working = {}
        for name, run in sides.items():
            with results.attempt(**labels, network=name):
                run()
                working[name] = run
        taken = seconds(working, results.device, rounds=2 if results.toy else 11, inner=1 if results.toy else 3)
        for name in working:
            base = taken.get('plain fused' if 'fused' in name else 'plain', taken[name])
            with results.attempt(**labels, network=name):
                results.row(**labels, network=name, **times(taken[name], base), **work(working[name], results.device))


def network(plugins: Any, results: Results, *, fused: bool = False, stages: int = 4) -> nn.Module:
    """ResNet-50 on the device, in channels_last. Weights are random."""
    torch.manual_seed(0)
    small: dict[str, Any] = dict(stem_channels=8, base_channels=8) if results.toy else {}
    model = ResNet(50, num_stages=stages, out_indices=(stages - 1,), **small, plugins=plugins)
    if fused:
        model = fuse(model, torch.randn(1, 3, 64, 64))
    return model.to(results.device, memory_format=torch.channels_last)


def images(batch: int, results: Results) -> Tensor:
    size = 32 if results.toy else 224
    return torch.randn(batch, 3, size, size, device=results.device).contiguous(memory_format=torch.channels_last)


def inference(model: nn.Module, x: Tensor) -> Tensor:
    """The model is in eval mode."""
    with torch.no_grad():
        return model(x)[-1]


def training(model: nn.Module, x: Tensor) -> Tensor:
    """The model is in training mode. The gradients are in ``.grad`` of the parameters, in new tensors."""
    model.zero_grad(set_to_none=True)
    with torch.autocast(x.device.type, torch.bfloat16):
        loss = model(x)[-1].float().square().mean()
    loss.backward()
    return loss.detach()
