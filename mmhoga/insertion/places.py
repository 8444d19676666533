"""The places of a network where an attention can be inserted, found by running it on small images."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmhoga.insertion.inserted import Inserted
from mmhoga.insertion.layouts import LAYOUTS, size_in, split_tokens
from mmhoga.models.complexity import called_with_tensors_only
from mmhoga.models.hooks import hooked, undisturbed

# Two sizes tell the channels from the height and the width, which are all different in each.
SIZES = ((64, 96), (96, 160))
# For networks of a fixed size: the sizes of the pretrained ones.
FIXED_SIZES = (224, 256, 384, 240, 192, 32)


class PlaceError(ValueError):
    """An attention cannot be inserted as asked."""


@dataclass
class Place:
    """A module of a network, and the feature map that it returns or takes.

    Args:
        name: dotted name of the module.
        kind: its class.
        problem: why no attention can be inserted here; empty otherwise.
        layout: of the map, a key of :data:`mmhoga.insertion.layouts.LAYOUTS`.
        channels: of the map.
        size: height and width of the map, for an image of ``image_size``.
        image_size: height and width of the image.
        extra_tokens: the tokens before the map, in the layout ``NLC``.
    """

    name: str
    kind: str
    problem: str = ''
    layout: str = ''
    channels: int = 0
    size: tuple[int, int] = (0, 0)
    image_size: tuple[int, int] = (0, 0)
    extra_tokens: int = 0


@dataclass
class _Run:
    """The values that each module took and returned in one forward pass: per call, a shape or what it is instead."""

    image_size: tuple[int, int]
    calls: dict[nn.Module, list[tuple[Any, Any]]] = field(default_factory=dict)


def find_places(
    network: nn.Module, *, before: bool = False, example: Any = None, image_size: tuple[int, int] | None = None
) -> list[Place]:
    """Every module of a network, with the map that it returns, or with ``before`` the one that it takes.

    The network runs in eval mode on two small images of zeros, and is left as it was. Of a model of a host, the part
    before the head runs (``extract_feat``).

    Args:
        network: the network.
        before: whether the attention goes before the modules.
        example: the argument of ``network`` if this is not a batch of images, or if the network needs images of a
            certain size. The network then runs once.
        image_size: (H, W) of the image for which the maps are described, by default (64, 96).

    Raises:
        PlaceError: the network is compiled or traced, or does not run on any of the images.
    """
    check_network(network)
    runs = _runs(network, example, image_size)
    return [_place(name, module, runs, before) for name, module in named(network)]


def named(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules below the network by the names that they have without insertions, and not those of a cell."""

    def walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        for name, child in module._modules.items():  # not named_children(), which lists a shared module once
            if child is not None:
                yield prefix + name, child
                while isinstance(child, Inserted):
                    child = child.module
                yield from walk(child, f'{prefix}{name}.')

    yield from walk(network, '')


def check_network(network: nn.Module) -> None:
    """PlaceError unless modules of the network can be replaced."""
    kind = type(network).__name__
    if isinstance(network, torch.jit.ScriptModule):
        raise PlaceError(f'{kind} is a traced or scripted network, which is fixed. Insert first, then trace.')
    if hasattr(network, '_orig_mod'):
        raise PlaceError(f'{kind} is the result of torch.compile. Insert into the network first, then compile it.')


def near_modules(pattern: str, names: Iterable[str]) -> str:
    """A sentence that lists names like a pattern, for an error message."""
    names = list(names)
    plain = re.sub(r'\\(.)', r'\1', pattern)  # without the backslash of \. and of \d
    near = difflib.get_close_matches(plain, names, n=5, cutoff=0.4)
    return f' Similar names: {", ".join(near)}.' if near else f' Names: {", ".join(names[:8])}, ...'


def input_channels(network: nn.Module, default: int = 3) -> int:
    """The input channels of the first convolution: a network for digits takes 1."""
    return next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), default)


def _runs(network: nn.Module, example: Any, image_size: tuple[int, int] | None) -> list[_Run]:
    if example is not None:
        return [_run(network, example)]
    tensor = next((t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()), torch.zeros(0))
    channels = input_channels(network)

    def images(height: int, width: int, channels: int = channels) -> Tensor:
        return torch.zeros(1, channels, height, width, device=tensor.device, dtype=tensor.dtype)

    sizes, fixed = SIZES, [(side, side) for side in FIXED_SIZES]
    if image_size is not None:
        sizes, fixed = (image_size, (image_size[0] + 64, image_size[1] + 64)), [image_size]
    try:
        return [_run(network, images(*size)) for size in sizes]
    except Exception as error:
        first = error
    with suppress(Exception):  # the error of the first size is the one to show
        return [_run(network, images(*size, 3)) for size in sizes]  # YOLOX rearranges 3 channels to 12 at first
    for size in fixed:
        with suppress(Exception):
            return [_run(network, images(*size))]
    text = f'{type(first).__name__}: {" ".join(str(first).split())[:300]}'
    tried = f'{type(network).__name__} does not run on an image of {channels} x {sizes[0][0]} x {sizes[0][1]}'
    if image_size is None:
        tried += (
            f', nor on a square one of {", ".join(map(str, FIXED_SIZES))}. Give the input that it takes as example='
        )
    raise PlaceError(f'{tried}. ({text})') from first


def _run(network: nn.Module, example: Any) -> _Run:
    run = _Run((example.size(-2), example.size(-1)) if isinstance(example, Tensor) else (0, 0))
    hooks = [(module, partial(_record, run)) for module in {module for _, module in named(network)}]
    with ExitStack() as stack:
        stack.enter_context(undisturbed(network))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(hooked(hooks))
        stack.enter_context(_callable(network, example))(example)
    return run


@contextmanager
def _callable(network: nn.Module, example: Any) -> Iterator[Callable[[Any], Any]]:
    """The network as a function of images: up to the head for a host's model, which may need more to go further."""
    if not isinstance(network, BaseModel) or not isinstance(example, Tensor):
        yield network
    elif hasattr(network, 'extract_feat'):
        yield network.extract_feat
    else:
        with called_with_tensors_only(network, tuple(example.shape[1:])):
            yield network


def _record(run: _Run, module: nn.Module, args: Sequence[Any], output: Any) -> None:
    taken = _describe(args[0] if args else None, args[1:])
    if type(output) in (tuple, list) and output:
        # A map and its (height, width), as patch embeddings return them.
        alone = all(isinstance(value, (tuple, list)) and all(type(n) is int for n in value) for value in output[1:])
        returned = _describe(output[0], output[1:]) if alone else f'a {type(output).__name__} of {len(output)}'
    else:
        returned = _describe(output, args[1:])
    run.calls.setdefault(module, []).append((taken, returned))


def _describe(value: Any, others: Sequence[Any]) -> Any:
    """The shape and the size of a map of tokens; or, of what is no tensor of floats, its type."""
    if not isinstance(value, Tensor):
        return f'a {type(value).__name__}'
    if not value.is_floating_point():
        return f'a tensor of {value.dtype}'
    # Any tokens before the map are not counted in (height, width).
    sizes = [size_in(others, value.size(1) - extra) for extra in range(3)] if value.dim() == 3 else []
    return tuple(value.shape), next((size for size in sizes if size), None)


def _place(name: str, module: nn.Module, runs: Sequence[_Run], before: bool) -> Place:
    place = Place(name, type(module).__name__, image_size=runs[0].image_size)
    verb, described = 'takes' if before else 'returns', []
    for run in runs:
        calls = run.calls.get(module, [])
        if len(calls) != 1:
            place.problem = f'runs {len(calls)} times in a forward pass' if calls else 'does not run in a forward pass'
            return place
        described.append(calls[0][0 if before else 1])
    if any(isinstance(value, str) for value in described):
        place.problem = f'{verb} {described[0]}, not a feature map'
    elif not _find_map(place, [value[0] for value in described], described[0][1]):
        place.problem = f'{verb} a tensor of shape {described[0][0]}, not a feature map'
    return place


def _find_map(place: Place, shapes: Sequence[tuple[int, ...]], size: tuple[int, int] | None) -> bool:
    """Find the map in the shapes for one image size or two, and write it into the place."""
    first, last = shapes[0], shapes[-1]
    if len(first) != len(last) or not first or first[0] != last[0]:  # windows of an image lie in the batch's dimension
        return False
    if len(shapes) > 1:
        changed = tuple(dim for dim in range(1, len(first)) if first[dim] != last[dim])
    elif len(first) == 4:  # one image: the two dimensions whose ratio is that of the image
        height, width = place.image_size if all(place.image_size) else (1, 1)
        changed = min(
            ((2, 3), (1, 2)), key=lambda dims: abs(math.log(first[dims[0]] * width / first[dims[1]] / height))
        )
    else:
        changed = (1,)
    if len(first) == 4 and changed in ((2, 3), (1, 2)):
        height, width = (first[dim] for dim in changed)
        place.layout, place.size = 'NCHW' if changed == (2, 3) else 'NHWC', (height, width)
    elif len(first) == 3 and changed == (1,):
        split = (size, first[1] - size[0] * size[1]) if size else split_tokens(first[1], *place.image_size)
        if split:
            place.layout, (place.size, place.extra_tokens) = 'NLC', split
    if max(place.size) <= 1:
        place.layout = ''
        return False
    place.channels = first[LAYOUTS[place.layout]]
    return True
