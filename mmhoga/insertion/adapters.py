"""Trained cells that travel without their network: saved to a small file, loaded over any copy of the base."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmhoga.insertion.adapter_cells import TYPES, build_cell, describe, same_tensors
from mmhoga.insertion.adapter_files import AdapterError, AdapterFile, CellEntry, fingerprints
from mmhoga.insertion.insert import as_in, replace
from mmhoga.insertion.inserted import Inserted
from mmhoga.insertion.places import check_network, named, near_modules
from mmhoga.insertion.training import inserted_in, keep_cells_trainable, trained_names
from mmhoga.models.loading import watch_loading


def save_adapter(
    network: nn.Module,
    path: str | os.PathLike,
    meta: Mapping[str, Any] | None = None,
    *,
    state_dict: Mapping[str, Tensor] | None = None,
) -> None:
    """Save the inserted cells of a network, and what else was trained, to a safetensors file.

    After :func:`train_only`, the file also has the parameters outside the cells that were trained (norms, heads) with
    the buffers of their modules: together with the base it is then the whole network. Otherwise it has the cells
    alone. The format is described in :mod:`mmhoga.insertion.adapter_files`.

    Args:
        network: with cells from :func:`mmhoga.insert`.
        path: of the file, which is written whole or not at all.
        meta: plain data for JSON to store in the file.
        state_dict: the values to save, such as averaged weights; by default those of the network.

    Raises:
        AdapterError: a ValueError. The network has no inserted cell, or its weights are not finite.
        OSError: the file cannot be written.
    """
    network = unwrapped(network)
    # Those at one module are listed from the outside; they are inserted from the inside.
    insertions = dict(reversed(inserted_in(network).items()))
    if not insertions:
        raise AdapterError(
            f'{type(network).__name__} has no inserted cell to save. Insert one first with mmhoga.insert; cells that a '
            'backbone built as plugins are saved in its checkpoints.'
        )
    state = network.state_dict(keep_vars=True)
    names = {key for key in state if key.startswith(tuple(f'{name}.' for name in insertions))}
    names |= trained_names(network)
    entries = []
    for name, inserted in insertions.items():
        kind, config, complete = describe(inserted.cell, inserted.cell_config)
        place = (name, inserted.before, inserted.layout, inserted.extra_tokens)
        entries.append(CellEntry(*place, kind, config, complete))
    values = state if state_dict is None else state_dict
    tensors = {name: values[name] for name in state if name in names}
    base, base_hash = fingerprints(values, _base_names(state, names))
    AdapterFile(entries, tensors, base, base_hash, meta or {}).write(path)


def load_adapter(network: nn.Module, path: str | os.PathLike, *, check_base: bool = True) -> nn.Module:
    """Load a file of :func:`save_adapter` into a network, in place, and return the network.

    Cells that the network does not have are inserted. If anything does not fit, the network is unchanged. A later
    ``init_weights()`` of a host's model, with which a training by its Runner begins, replaces the loaded weights.

    Args:
        network: the base that the adapter was trained on, with or without the cells.
        path: of the file.
        check_base: compare the weights of the base with those in training, bit for bit. False loads over any network
            that has the modules; its outputs are then others.

    Raises:
        AdapterError: a ValueError. The file is damaged or not an adapter; the base is another; a cell of the network
            has another genotype, start or shape; a cell was built by a function and the network does not have it.
        FileNotFoundError: there is no such file.
    """
    network = unwrapped(network)
    check_network(network)
    file = AdapterFile.read(path)
    state = network.state_dict(keep_vars=True)
    if check_base:
        inside = {name for name in state if name in file.tensors or name.startswith(_prefixes(file))}
        _require_base(path, file, *fingerprints(state, _base_names(state, inside)))
    cells = _missing_cells(path, file, network, state)
    _put(network, cells)
    state = network.state_dict()
    for name, tensor in file.tensors.items():
        state[name].copy_(tensor)
    others = len(file.tensors) - sum(name.startswith(_prefixes(file)) for name in file.tensors)
    base = 'the base that it was trained on' if check_base else 'a base that was not checked'
    print_log(
        f'Loaded the adapter {path} over {base}: {len(file.cells)} cells, {len(cells)} of them inserted, and {others} '
        'other tensors.',
        logger='current',
    )
    return network


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside a wrapper for several processes."""
    return network.module if is_model_wrapper(network) else network  # type: ignore[return-value]


def _prefixes(file: AdapterFile) -> tuple[str, ...]:
    return tuple(f'{entry.name}.' for entry in file.cells)


def _base_names(state: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The keys of all other tensors than these, each under all its names."""
    inside = {id(state[name]) for name in names}
    return [name for name, value in state.items() if id(value) not in inside]


def _require_base(path: Any, file: AdapterFile, base: Mapping[str, str], base_hash: str) -> None:
    if base_hash == file.base_hash:
        return
    differing = [name for name in file.base if not base.get(name, '').startswith(file.base[name]) or name not in base]
    added = [name for name in base if name not in file.base]
    if not any(name in base for name in file.base):
        _require_whole(path, file, base)
    text = f'{len(differing)} of the {len(file.base)} tensors of the base differ'
    if differing:
        reason = 'which has other values, another shape or type' if differing[0] in base else 'which is missing'
        text += f', the first is {differing[0]}, {reason}'
    if added:
        text += f'; {len(added)} tensors of the network were not in that base, the first is {added[0]}'
    raise AdapterError(
        f'{path} was trained over another base than this network: {text}. Load the checkpoint that it was trained from '
        'first; check_base=False loads it nevertheless, and then the network computes something else.'
    )


def _require_whole(path: Any, file: AdapterFile, base: Mapping[str, str]) -> None:
    """AdapterError if the adapter is of a module of the network, such as its backbone, or the other way round."""
    for larger, smaller, text in (
        (
            base,
            file.base,
            'belongs to the module {0!r} of this network: call load_adapter(network.{0}, path).',
        ),
        (file.base, base, 'belongs to a network that has this one as its module {0!r}: load it there.'),
    ):
        first = f'.{next(iter(smaller), "")}'
        parents = [name[: -len(first)] for name in larger if name.endswith(first)]
        parent = next((parent for parent in parents if all(f'{parent}.{name}' in larger for name in smaller)), None)
        if parent:
            raise AdapterError(f'The adapter {path} {text.format(parent)}')


def _missing_cells(
    path: Any, file: AdapterFile, network: nn.Module, state: Mapping[str, Any]
) -> list[tuple[CellEntry, nn.Module]]:
    """The cells to insert, built; AdapterError if a cell or another tensor of the file does not fit the network."""
    insertions, modules = inserted_in(network), dict(named(network))
    missing = []
    for entry in file.cells:
        prefix = f'{entry.name}.'
        stored = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
        if entry.name in insertions:
            _require_same(path, entry, insertions[entry.name])
            cell = insertions[entry.name].cell
        else:
            _require_place(path, entry, modules)
            cell = build_cell(entry)
            missing.append((entry, cell))
        problem = same_tensors(stored, cell.state_dict())
        if problem:
            raise AdapterError(f'{path} does not fit the cell {entry.name}: {problem}')
    prefixes = _prefixes(file)
    others = {name: tensor for name, tensor in file.tensors.items() if not name.startswith(prefixes)}
    problem = same_tensors(others, {name: state[name] for name in others if name in state})
    if problem:
        raise AdapterError(f'{path} does not fit {type(network).__name__}: {problem}')
    return missing


def _require_same(path: Any, entry: CellEntry, inserted: Inserted) -> None:
    kind, config, _ = describe(inserted.cell, inserted.cell_config)
    theirs: dict[str, Any] = dict(
        entry.config, type=entry.type, before=entry.before, layout=entry.layout, extra_tokens=entry.extra_tokens
    )
    ours: dict[str, Any] = dict(
        config, type=kind, before=inserted.before, layout=inserted.layout, extra_tokens=inserted.extra_tokens
    )
    differing = [key for key in theirs if key in ours and theirs[key] != ours[key]]
    if differing:
        listed = '; '.join(f'{key} is {_short(theirs[key])} there and {_short(ours[key])} here' for key in differing)
        raise AdapterError(
            f'The cell {entry.name} of the network is another than that of {path}: {listed}. Load the adapter into the '
            'plain network, which builds its cells, or insert the same cell.'
        )


def _short(value: Any) -> str:
    rows = isinstance(value, list) and value and isinstance(value[0], list)
    return f'{"K = " + str(len(value)) + ", " if rows else ""}{reprlib.repr(value)}'


def _require_place(path: Any, entry: CellEntry, modules: Mapping[str, nn.Module]) -> None:
    if not entry.complete or entry.type not in TYPES:
        raise AdapterError(
            f'{path} has a cell at {entry.module} ({entry.type}) that cannot be built from the file: a function built '
            'it, or it is no attention of mmhoga. Insert the cell as for the training, then load the adapter.'
        )
    if entry.module not in modules:
        raise AdapterError(
            f'{path} has a cell at {entry.module}, and the network has no module with that name.'
            f'{near_modules(entry.module, modules)}'
        )
    name = entry.name.rpartition('.')[2]
    if not re.fullmatch(rf'{TYPES[entry.type]._abbr_}(_\d+)?', name) or hasattr(modules[entry.module], name):
        raise AdapterError(f'{path} names a cell {name!r} at {entry.module}, which is reserved or already there.')


def _put(network: nn.Module, cells: list[tuple[CellEntry, nn.Module]]) -> None:
    modules = dict(named(network))
    for entry, cell in cells:
        module = modules[entry.module]
        modules[entry.module] = Inserted(
            module,
            as_in(module, cell).train(network.training),
            name=entry.name.rpartition('.')[2],
            layout=entry.layout,
            before=entry.before,
            extra_tokens=entry.extra_tokens,
            cell_config=dict(entry.config, type=entry.type),
        )
        replace(network, module, modules[entry.module])
    if cells:
        keep_cells_trainable(network)
        watch_loading(network, backbone=True)
