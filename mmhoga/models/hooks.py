"""Looking into a model without leaving a trace: the only place where something is attached to one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module's mode and every parameter's gradient are what they were.

    In eval mode batch norms do not count, so that buffers stay as well. Also when the body raises.
    """
    modes = {module: module.training for module in model.modules()}
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.eval()
    # Whoever calls backward() inside must not add to the owner's gradients.
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def hooked(hooks: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Forward hooks ``(module, hook)`` that are there for as long as the body runs, whether or not it raises."""
    handles: list[Any] = []
    try:
        for module, hook in hooks:
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What layers return, by their names, after a forward pass in the body.

    The model goes on with a copy, so that a layer that works in place (a ReLU, mostly) changes neither what is kept nor
    its gradient. Of a tuple the first tensor is kept; of a layer that runs several times, the last output.

    Raises:
        ValueError: no such layer; the message lists near names.
    """
    outputs: dict[str, Tensor] = {}
    with hooked([(find_layer(model, name), partial(_keep, outputs, name)) for name in layers]):
        yield outputs


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The module of a dotted name, as ``backbone.layer4``.

    Raises:
        ValueError: no such module; the message lists near names.
    """
    modules = dict(model.named_modules())
    modules.pop('', None)
    if name in modules:
        return modules[name]
    near = difflib.get_close_matches(name, modules, n=4, cutoff=0.5)
    last = name.rpartition('.')[2]
    near += [other for other in modules if other.rpartition('.')[2] == last and other not in near]
    some = [other for other in modules if other.count('.') <= 1]
    hint = f'Near ones: {", ".join(near[:6])}.' if near else f'There are: {", ".join(some[:12])}, ...'
    raise ValueError(f'{type(model).__name__} has no layer {name!r}. {hint}')


def output_of(outputs: dict[str, Tensor], layer: str) -> Tensor:
    """What :func:`captured` kept of a layer; ValueError if the layer took no part in the forward pass."""
    if layer not in outputs:
        raise ValueError(f'The layer {layer!r} did not run, or returned no tensor, in this forward pass.')
    return outputs[layer]


def _keep(outputs: dict[str, Tensor], name: str, module: nn.Module, args: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        outputs[name] = output
        return output.clone() if torch.is_floating_point(output) else output
    if isinstance(output, (tuple, list)):
        first = next((i for i, item in enumerate(output) if isinstance(item, Tensor)), None)
        if first is not None:
            outputs[name] = output[first]
            return type(output)(item.clone() if i == first else item for i, item in enumerate(output))
    return None
