"""The cells in an adapter file: their arguments as plain data, and cells built from these."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.genotype import Genotype
from mmhoga.insertion.adapter_files import AdapterError, CellEntry
from mmhoga.models import HOGA, Attention, SearchableHOGA
from mmhoga.models.attention import NAMES

#: What can be built from a file. A type in a file is looked up here and nowhere else.
TYPES: dict[str, Any] = {
    'mmhoga.HOGA': HOGA,
    'mmhoga.SearchableHOGA': SearchableHOGA,
    'mmhoga.Attention': Attention,
}


_NOT_STORED = ('init_cfg', 'compile')  # how a cell starts and how it runs, not what it is


def describe(cell: nn.Module, config: Mapping[str, Any] | None) -> tuple[str, dict[str, Any], bool]:
    """The type of a cell, its arguments as plain data, and whether these are enough to build it.

    Args:
        cell: as it is in the network.
        config: that it was built from, if there is one. Without it, the arguments are the attributes of that name.
    """
    kind = next((name for name, known in TYPES.items() if type(cell) is known), None)
    if kind is None:
        return type(cell).__name__, {}, False
    given = {key: value for key, value in (config or {}).items() if key != 'type' and key not in _NOT_STORED}
    own = {name: getattr(cell, name) for name in _arguments(kind) if hasattr(cell, name)}
    if isinstance(own.get('genotype'), Genotype):
        own['genotype'] = own['genotype'].edges
    arguments = {**(_defaults(kind) if config else {}), **given, **own}  # own last: a path becomes rows
    try:
        arguments = json.loads(json.dumps(arguments))
    except (TypeError, ValueError):  # such as a class of activations for timm
        return kind, json.loads(json.dumps(own)), False
    return kind, arguments, config is not None and _rebuilds(kind, arguments, cell)


def build_cell(entry: CellEntry) -> nn.Module:
    """Build a cell of :data:`TYPES` from its arguments, which are checked before.

    Raises:
        AdapterError: the type does not accept the arguments.
    """
    problem = _unknown(entry.type, entry.config)
    if not problem:
        try:
            return _build(entry.type, entry.config)
        except Exception as error:  # whatever the constructors raise for values that they do not expect
            problem = str(error)
    raise AdapterError(f'The cell {entry.name} ({entry.type}) of the adapter cannot be built. {problem}')


def same_tensors(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The difference between the keys and shapes of two state dicts; empty if there is none."""
    for key in own:
        if key not in stored:
            return f'the file lacks {key}. It is incomplete, or the cell is another.'
    for key, tensor in stored.items():
        if key not in own:
            return f'the file has {key}, which the network does not have.'
        if tensor.shape != own[key].shape:
            return f'{key} has shape {tuple(tensor.shape)} in the file and {tuple(own[key].shape)} in the network.'
    return ''


def _build(kind: str, arguments: Mapping[str, Any]) -> nn.Module:
    if kind == 'mmhoga.Attention':  # for timm a size is a tuple, which JSON does not have
        arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    with torch.random.fork_rng(devices=[]):  # its random weights are replaced or thrown away
        return TYPES[kind](**arguments)


def _arguments(kind: str) -> list[str]:
    parameters = inspect.signature(TYPES[kind]).parameters.values()
    return [p.name for p in parameters if p.name not in _NOT_STORED and p.kind is not p.VAR_KEYWORD]


def _defaults(kind: str) -> dict[str, Any]:
    parameters = [inspect.signature(TYPES[kind]).parameters[name] for name in _arguments(kind)]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _unknown(kind: str, config: Mapping[str, Any]) -> str:
    """Why the arguments cannot be passed to a constructor; empty if they can."""
    if kind == 'mmhoga.Attention':  # the others are for timm, which rejects those that it does not have
        if config.get('name') not in NAMES:
            return f'Its name is {config.get("name")!r}; possible are {", ".join(NAMES)}.'
        unknown = [key for key, value in config.items() if key in _NOT_STORED or isinstance(value, dict)]
    else:
        unknown = [key for key in config if key not in _arguments(kind)]
    if unknown:
        return f'It has an argument {unknown[0]!r}; possible are {", ".join(_arguments(kind))}.'
    if not isinstance(config.get('genotype', []), list):  # a path must not be read
        return f'Its genotype is {config["genotype"]!r}, and not rows.'
    return ''


def _rebuilds(kind: str, arguments: dict[str, Any], cell: nn.Module) -> bool:
    """Whether the arguments build a cell with the same keys and shapes, which one that was changed later does not."""
    if _unknown(kind, arguments):
        return False
    try:
        built = _build(kind, arguments)
    except Exception:  # an attention of timm may need a value that JSON does not have
        return False
    return not same_tensors(built.state_dict(), cell.state_dict())
