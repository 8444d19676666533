"""Temporary changes to a model: forward hooks, eval mode and gradients, all undone at the end."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Callable

from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Switch to eval mode, where buffers stay unchanged, and restore all modes and gradients, also on errors."""
    modes = {module: module.training for module in model.modules()}
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.eval()
    # A backward() inside must not add to existing gradients.
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
    """Register forward hooks ``(module, hook)`` and remove them afterwards, also on errors."""
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.enter_context(module.register_forward_hook(hook))
        yield


@contextmanager
def captured(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of layers by name, filled by a forward pass in the body.

    The model continues with a copy, so that an in-place layer (usually a ReLU) changes neither the output nor its
    gradient. Of a tuple the first tensor is kept; of a layer that runs several times, the last output.

    Raises:
        ValueError: no such layer; the message lists similar names.
    """
    outputs: dict[str, Tensor] = {}
    with hooked([(find_layer(model, name), partial(_keep, outputs, name)) for name in layers]):
        yield outputs


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The module with a dotted name like ``backbone.layer4``.

    Raises:
        ValueError: no such module; the message lists similar names.
    """
    modules = dict(model.named_modules())
    modules.pop('', None)
    if name in modules:
        return modules[name]
    similar = difflib.get_close_matches(name, modules, n=4, cutoff=0.5)
    last = name.rpartition('.')[2]
    similar += [other for other in modules if other.rpartition('.')[2] == last and other not in similar]
    top = [other for other in modules if other.count('.') <= 1]
    hint = f'Similar names: {", ".join(similar[:6])}.' if similar else f'It has: {", ".join(top[:12])}, ...'
    raise ValueError(f'{type(model).__name__} has no layer {name!r}. {hint}')


def output_of(outputs: dict[str, Tensor], layer: str) -> Tensor:
    """The output of a layer from :func:`captured`; ValueError if the forward pass did not produce one."""
    if layer not in outputs:
        raise ValueError(f'The layer {layer!r} did not run, or returned no tensor, in this forward pass.')
    return outputs[layer]


def _keep(outputs: dict[str, Tensor], name: str, module: nn.Module, args: Any, output: Any) -> Any:
    items = output if isinstance(output, (tuple, list)) else [output]
    first = next((item for item in items if isinstance(item, Tensor)), None)
    if first is None:
        return None
    outputs[name] = first
    return first.clone() if first is output else type(output)(first.clone() if x is first else x for x in output)
