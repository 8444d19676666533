"""Training a network with inserted cells: the cells stay trainable, and on request only they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.insertion.inserted import Inserted
from mmhoga.insertion.places import PlaceError, named, near_modules
from mmhoga.models.loading import is_identity


def cells_of(network: nn.Module) -> dict[str, nn.Module]:
    """The inserted cells by name, which is the prefix of their keys in the state dict: ``layer1.0.conv2.hoga``."""
    return {name: inserted.cell for name, inserted in inserted_in(network).items()}


def inserted_in(network: nn.Module) -> dict[str, Inserted]:
    """The insertions by the names of their cells. Of several at one module, the last one comes first."""
    found: dict[str, Inserted] = {}

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            path = f'{prefix}{name}'
            while isinstance(child, Inserted):
                found[f'{path}.{child.cell_name}'] = child
                child = child.module
            walk(child, f'{path}.')

    walk(network, '')
    return found


class _Train:
    """``network.train`` of one network, after which the cells are as trainable as before.

    Backbones freeze stages and norms in this method (``frozen_stages``, ``norm_eval``), and with them what was
    inserted there. An object and not a closure, so that the network can be copied and pickled.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.frozen: set[str] = set()  # names, since a conversion to SyncBatchNorm replaces the modules
        self.only = False  # whether train_only() chose what is trained

    def __call__(self, mode: bool = True) -> nn.Module:
        cells = cells_of(self.network).values()
        required = [(p, p.requires_grad) for cell in cells for p in cell.parameters()]
        type(self.network).train(self.network, mode)
        for parameter, requires_grad in required:
            parameter.requires_grad_(requires_grad)
        for cell in cells:
            cell.train(mode)
        for name, norm in _batch_norms(self.network).items():
            if name in self.frozen:
                norm.eval()
        return self.network


def _batch_norms(network: nn.Module) -> dict[str, nn.Module]:
    """The batch norms of the network and not of the cells, by their names without insertions."""
    norms: dict[str, nn.Module] = {}
    for name, module in named(network):
        while isinstance(module, Inserted):
            module = module.module
        if isinstance(module, _BatchNorm):
            norms[name] = module
    return norms


class _InitWeights:
    """``network.init_weights`` of one network, after which untrained cells start as they were built.

    The ``init_cfg`` of a backbone applies to all its modules, and so does the ``init_weights`` of a network of timm.
    Both change the layers of a cell that start at 0. Cells are reset before a checkpoint is loaded, so that the log
    describes the network correctly, and at the end. Cells that the checkpoint contains are not reset.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self) -> None:
        network: Any = self.network
        untrained = [
            module for module in network.modules() if isinstance(module, Inserted) and is_identity(module.cell)
        ]
        loaded: set[Inserted] = set()

        def before_loading(inserted: Inserted, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
            if any(key.startswith(f'{prefix}{inserted.cell_name}.') for key in state_dict):
                loaded.add(inserted)
            else:
                cast(Any, inserted.cell).reset_start()

        with ExitStack() as stack:
            for inserted in untrained:
                handle = inserted._register_load_state_dict_pre_hook(before_loading, with_module=True)
                stack.callback(handle.remove)
            type(network).init_weights(network)
        for inserted in untrained:
            if inserted not in loaded:
                cast(Any, inserted.cell).reset_start()


def keep_cells_trainable(network: nn.Module) -> None:
    """Make ``network.train()`` and ``network.init_weights()`` leave the inserted cells as they are. Idempotent."""
    if not isinstance(vars(network).get('train'), _Train):
        network.train = _Train(network)  # type: ignore[method-assign]
        if hasattr(network, 'init_weights'):
            network.init_weights = _InitWeights(network)  # type: ignore[assignment]


def is_train_only(network: nn.Module) -> bool:
    """Whether :func:`train_only` chose what is trained, in the network or in a part of it such as the backbone."""
    return bool(_chosen(network))


def _chosen(network: nn.Module) -> list[_Train]:
    trains = [vars(module).get('train') for module in network.modules()]
    return [train for train in trains if isinstance(train, _Train) and train.only]


def trained_names(network: nn.Module) -> set[str]:
    """The keys of the state dict, outside the cells, that training changes after :func:`train_only`; else none.

    These are the parameters that need gradients, and the buffers of their modules and of the other batch norms that
    update their statistics.
    """
    chosen = _chosen(network)
    if not chosen:
        return set()
    skipped = {module for cell in cells_of(network).values() for module in cell.modules()}
    frozen = {m for train in chosen for name, m in _batch_norms(train.network).items() if name in train.frozen}
    trained: set[int] = set()
    for module in network.modules():
        if module in skipped:
            continue
        parameters = [p for p in module.parameters(recurse=False) if p.requires_grad]
        trained |= {id(p) for p in parameters}
        if parameters or (isinstance(module, _BatchNorm) and module not in frozen):
            trained |= {id(b) for b in module.buffers(recurse=False)}
    return {name for name, value in network.state_dict(keep_vars=True).items() if id(value) in trained}


def train_only(network: nn.Module, what: str | Sequence[str] = 'cells') -> nn.Module:
    """Freeze a network except for the inserted cells and what else is named, in place, and return it.

    Frozen parameters need no gradient, and frozen batch norms keep their statistics, also in training mode.

    Args:
        network: with cells from :func:`mmhoga.insert`.
        what: ``'cells'``; ``'norms'``, all layers whose class has Norm in its name; or regular expressions for whole
            names of modules, such as ``r'bbox_head\\..*'``. One or a list. Cells are trained in any case.

    Raises:
        PlaceError: the network has no cells, or a pattern matches no module.
    """
    patterns = [what] if isinstance(what, str) else list(what)
    cells = cells_of(network)
    if not cells:
        raise PlaceError(f'{type(network).__name__} has no inserted cell to train. Insert one first: mmhoga.insert.')
    names = dict(named(network))
    trained: set[nn.Module] = {module for cell in cells.values() for module in cell.modules()}
    for pattern in patterns:
        if pattern == 'norms':
            trained |= {module for module in network.modules() if 'Norm' in type(module).__name__}
        elif pattern != 'cells':
            matched = [module for name, module in names.items() if re.fullmatch(pattern, name)]
            if not matched:
                raise PlaceError(
                    f'train_only: no module has a name that matches {pattern!r}.{near_modules(pattern, names)}'
                )
            trained |= {module for parent in matched for module in parent.modules()}
    wanted = {id(p) for module in trained for p in module.parameters(recurse=False)}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in wanted)
    keep_cells_trainable(network)
    train = cast(_Train, network.train)
    train.only = True
    train.frozen = {name for name, norm in _batch_norms(network).items() if norm not in trained}
    return network.train(network.training)
