"""``mmhoga.insert``: attention cells after or before modules of any network, chosen by a pattern of names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Union

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS as ROOT
from torch import Tensor, nn

from mmhoga.insertion.inserted import Inserted
from mmhoga.insertion.places import Place, PlaceError, find_places, input_channels, named, near_modules
from mmhoga.insertion.training import keep_cells_trainable, train_only
from mmhoga.models.loading import watch_loading
from mmhoga.models.norms import norm_of, with_norm
from mmhoga.models.start import Blend, check_start
from mmhoga.registry import MODELS

Network = TypeVar('Network', bound=nn.Module)
Cell = Union[Mapping[str, Any], Callable[[int], nn.Module]]


def insert(
    network: Network,
    cell: Cell,
    *,
    after: str | None = None,
    before: str | None = None,
    start: str = 'identity',
    skip_indivisible: bool = False,
    example: Any = None,
) -> Network:
    """Insert an attention at every matching module of a network, in place, and return the network.

    >>> import mmhoga, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)).eval()
    >>> images = torch.rand(2, 3, 32, 32)
    >>> expected = network(images)
    >>> network = mmhoga.insert(network, dict(type='mmhoga.HOGA', genotype='autola'), after='0|2')
    >>> torch.equal(network(images), expected)
    True

    The keys of the network stay as they are, and a cell adds its own under the module's name and ``hoga`` (the
    ``_abbr_`` of its class): ``0.hoga.phi.0.weight``. Checkpoints of the plain network load as before. Settings of the
    backbone that freeze parts of it, ``frozen_stages`` and ``norm_eval``, do not apply to the cells.

    Args:
        network: any torch module, a backbone or a whole model of a host.
        cell: the config of an attention without its ``in_channels``, or a function ``in_channels -> module``. The
            attention maps ``(N, C, H, W)`` to the same shape. HOGA takes the kind of norm that most norms of the
            network have (batch, synchronised batch or group norms), unless the config has a ``norm_cfg``.
        after, before: a regular expression that matches the whole name of each module after, or before, which a cell
            goes; exactly one of the two. :func:`mmhoga.insertion.find_places` and ``mmhoga places`` list the names.
        start: ``'identity'``: the network computes what it computed before, bit for bit. ``'random'``: the attention
            starts as its class initialises it. The identity of HOGA, of its supernet and of :class:`mmhoga.Attention`
            is described there; any other attention A becomes ``x + scale * (A(x) - x)`` with a learned ``scale`` that
            starts at 0.
        skip_indivisible: leave out the modules for whose width the attention cannot be built, for example because K
            does not divide it, and log their names. By default they are an error.
        example: the argument of ``network`` for a trial run, if that is not a batch of images.

    Raises:
        PlaceError: a ValueError. No module matches; a match runs never or several times in a forward pass, or returns
            no feature map; the attention cannot be built for its width; the network is traced or compiled. The
            network is then unchanged.
    """
    check_start(start)
    if (after is None) == (before is None):
        raise PlaceError('Give either after= or before=: a regular expression for the names of modules.')
    pattern = after if after is not None else before
    assert pattern is not None
    places = _matching(network, pattern, find_places(network, before=before is not None, example=example))
    modules = dict(named(network))
    if isinstance(cell, Mapping):
        cell = with_norm(cell, norm_of(network))
    cells, failed = _build_cells(cell, places, modules, start)
    if failed and not (skip_indivisible and cells):
        listed = ', '.join(f'{place.name} ({place.channels})' for place, _ in failed)
        hint = 'The other modules that match are possible: skip_indivisible=True leaves these out.' if cells else ''
        raise PlaceError(f'The attention cannot be built for the width of {listed}. {failed[0][1]} {hint}'.strip())
    for place, attention in cells:
        module = modules[place.name]
        inserted = Inserted(
            module,
            attention,
            name=_free_name(module, getattr(attention, '_abbr_', type(attention).__name__.lower())),
            layout=place.layout,
            before=before is not None,
            extra_tokens=place.extra_tokens,
            cell_config=dict(cell, in_channels=place.channels) if isinstance(cell, Mapping) else None,
        )
        attention.train(network.training)  # also at a module that the network keeps in eval mode
        replace(network, module, inserted)
    keep_cells_trainable(network)
    watch_loading(network, backbone=True)
    _log(cells, [place for place, _ in failed], network, start)
    return network


@MODELS.register_module(name='Insert')
def insert_into(
    into: str | Mapping[str, Any],
    cell: Cell,
    *,
    after: str | None = None,
    before: str | None = None,
    start: str = 'identity',
    skip_indivisible: bool = False,
    image_size: Sequence[int] | None = None,
    train_only: str | Sequence[str] | None = None,
    **network: Any,
) -> nn.Module:
    """Build a network of a config and insert an attention: the config type ``mmhoga.Insert``.

    It goes in place of the ``type`` of a backbone, or of a whole model, whose other settings remain::

        model = dict(backbone=dict(
            type='mmhoga.Insert', into='CSPNeXt', cell=dict(type='mmhoga.HOGA'), after=r'stage\\d'))

    Args:
        into: the ``type`` of the network, which is looked up in the scope of the host; or its whole config.
        cell, after, before, start, skip_indivisible: see :func:`mmhoga.insert`.
        image_size: (H, W) of the images of the trial run, for a network that takes no others.
        train_only: freeze all of the network but the cells and what is named; see :func:`mmhoga.insertion.train_only`.
        network: the settings of the network.

    Returns:
        The network, which is an instance of its own class.
    """
    config = {**({'type': into} if isinstance(into, str) else into), **network}
    built = ROOT.build(config)
    example = None
    if image_size is not None:
        example = torch.zeros(1, input_channels(built), *image_size)
    insert(built, cell, after=after, before=before, start=start, skip_indivisible=skip_indivisible, example=example)
    return built if train_only is None else _train_only(built, train_only)


_train_only = train_only  # the argument above has this name


def _matching(network: nn.Module, pattern: str, places: Sequence[Place]) -> list[Place]:
    """The places whose names match; PlaceError if there are none, or if one of them is no place."""
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise PlaceError(f'{pattern!r} is not a regular expression: {error}.') from error
    matched = [place for place in places if compiled.fullmatch(place.name)]
    if not matched:
        names = [place.name for place in places]
        raise PlaceError(
            f'No module of {type(network).__name__} has a name that matches {pattern!r}, a regular expression for the '
            f'whole name.{near_modules(pattern, names)}'
        )
    modules = dict(named(network))
    unique: dict[nn.Module, Place] = {}
    for place in matched:
        unique.setdefault(modules[place.name], place)  # a shared module has several names
    problems = [place for place in matched if place.problem]
    if problems:
        listed = '; '.join(f'{place.name} ({place.kind}) {place.problem}' for place in problems[:5])
        more = f'; and {len(problems) - 5} more' if len(problems) > 5 else ''
        raise PlaceError(
            f'No attention can be inserted at {len(problems)} of the {len(matched)} modules that match {pattern!r}: '
            f'{listed}{more}.'
        )
    return list(unique.values())


def _build_cells(
    cell: Cell, places: Sequence[Place], modules: Mapping[str, nn.Module], start: str
) -> tuple[list[tuple[Place, nn.Module]], list[tuple[Place, str]]]:
    """A cell per place, and the places for whose width there is none, with the message."""
    cells: list[tuple[Place, nn.Module]] = []
    failed: list[tuple[Place, str]] = []
    for place in places:
        try:
            attention = _build_cell(cell, place.channels, start)
        except ValueError as error:
            failed.append((place, str(error)))
            continue
        cells.append((place, as_in(modules[place.name], attention)))
    return cells, failed


def _build_cell(cell: Cell, channels: int, start: str) -> nn.Module:
    if isinstance(cell, Mapping):
        config = dict(cell, in_channels=channels)
        kind = config.get('type')
        built_by = MODELS.get(kind) if isinstance(kind, str) else kind
        if built_by is not None:
            config['type'] = built_by  # a name without a prefix would be looked up in the default scope
            if 'start' in inspect.signature(built_by).parameters:
                config.setdefault('start', start)
                return MODELS.build(config)
        attention = MODELS.build(config)
    else:
        attention = cell(channels)
    if start == 'random' or (hasattr(attention, 'is_identity') and attention.is_identity()):
        return attention
    return Blended(attention, channels)


class Blended(nn.Module):
    """An attention that has no identity start of its own: ``x + scale * (A(x) - x)``, with ``scale`` 0 at first."""

    def __init__(self, attention: nn.Module, channels: int) -> None:
        super().__init__()
        self._abbr_ = getattr(attention, '_abbr_', type(attention).__name__.lower())
        self.attention = attention
        self.blend = Blend(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        return self.blend(x, self.attention(x))

    def reset_start(self) -> None:
        """Make the cell the identity."""
        nn.init.zeros_(self.blend.scale)

    def is_identity(self) -> bool:
        """Whether the cell returns its input."""
        return not self.blend.scale.any()


def as_in(module: nn.Module, cell: nn.Module) -> nn.Module:
    """Move a cell to the device and the data type of a module."""
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return cell if like is None else cell.to(like.device, like.dtype)


def _free_name(module: nn.Module, name: str) -> str:
    names = [name, *(f'{name}_{number}' for number in range(2, 100))]
    return next(candidate for candidate in names if not hasattr(module, candidate))


def replace(network: nn.Module, module: nn.Module, by: nn.Module) -> None:
    """Replace a module under all its names."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is module and parent is not by:
                setattr(parent, name, by)


def _log(cells: Sequence[tuple[Place, nn.Module]], skipped: Sequence[Place], network: nn.Module, start: str) -> None:
    (first, attention), (last, _) = cells[0], cells[-1]
    added = sum(p.numel() for _, cell in cells for p in cell.parameters()) / 1e6
    total = sum(p.numel() for p in network.parameters()) / 1e6
    text = (
        f'Inserted {len(cells)} {type(attention).__name__}, start={start!r}, into {type(network).__name__}, from '
        f'{first.name} ({first.channels} channels) to {last.name} ({last.channels}): {added:.2f} M of {total:.2f} M '
        'parameters.'
    )
    if norm_cfg := getattr(attention, 'norm_cfg', None):
        text += f' They have norm_cfg={norm_cfg}: that of the network, unless the config of the cell sets it.'
    if skipped:
        names = ', '.join(f'{place.name} ({place.channels})' for place in skipped)
        text += f' Left out, since the attention cannot be built for their width: {names}.'
    print_log(text, logger='current')
