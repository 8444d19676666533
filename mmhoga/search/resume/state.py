"""The part of a search's checkpoint that mmengine does not save, and the checks before a search starts or resumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.runner import Runner

from mmhoga.search.model import unwrapped
from mmhoga.search.resume.streams import rng_state, set_rng_state

SEED = 'seed (randomness.seed)'


class SearchError(RuntimeError):
    """A search cannot start or continue; the message says why, and what to do."""


def process_state(runner: Runner) -> dict[str, Any]:
    """The state that differs between processes: random generators, and accumulated gradients before their average.

    Except in the first process, whose model and logs mmengine saves, also batch norm's statistics and the logs.
    """
    model = unwrapped(runner.model)
    state: dict[str, Any] = {
        'rng': rng_state(),
        'gradients': {n: p.grad.detach().cpu() for n, p in model.named_parameters() if p.grad is not None},
    }
    accelerator = _accelerator()
    if accelerator is not None:
        state['rng']['accelerator'] = accelerator.get_rng_state_all()
    if get_rank():
        state['buffers'] = {n: b.detach().cpu() for n, b in model.named_buffers()}
        state['message_hub'] = runner.message_hub.state_dict()
    return state


def set_process_state(runner: Runner, state: dict[str, Any]) -> None:
    """Restore a :func:`process_state`."""
    model = unwrapped(runner.model)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name, gradient in state['gradients'].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    for name, buffer in state.get('buffers', {}).items():
        buffers[name].copy_(buffer)
    if 'message_hub' in state:
        runner.message_hub.load_state_dict(state['message_hub'])
    accelerator = _accelerator()
    if accelerator is not None and 'accelerator' in state['rng']:
        accelerator.set_rng_state_all([each.cpu() for each in state['rng']['accelerator']])
    set_rng_state(state['rng'])


def identity(runner: Runner) -> dict[str, Any]:
    """The settings that must not change between a checkpoint and the run that resumes from it."""
    model, loop = unwrapped(runner.model), runner.train_loop
    alphas = {id(alpha) for alpha in model.alphas}
    parameters = list(model.named_parameters())
    return {
        'K (num_groups)': model.num_groups,
        'primitives': list(model.primitives),
        'alpha': {name: list(p.shape) for name, p in parameters if id(p) in alphas},
        'number of weights': sum(p.numel() for _, p in parameters if id(p) not in alphas),
        'samples in trainA': len(loop.dataloader.dataset),
        'samples in trainB': len(loop.alpha_dataloader.dataset),
        'split of trainA': list(_splits(runner.cfg.get('train_dataloader'))),
        'split of trainB': list(_splits((runner.cfg.get('train_cfg') or {}).get('alpha_dataloader'))),
        SEED: (runner.cfg.get('randomness') or {}).get('seed'),
    }


def require_same_search(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Raise :class:`SearchError` if the :func:`identity` of a checkpoint differs from that of the config."""
    changed = [f'{key} was {saved[key]}, now is {new}' for key, new in current.items() if saved.get(key, new) != new]
    if changed:
        raise SearchError(
            f'this checkpoint is of another search: {"; ".join(changed)}. Restore the config, or start a new search '
            'in another work_dir (--work-dir).'
        )


def require_free(work_dir: str | Path) -> None:
    """Raise :class:`SearchError` if a new search would overwrite the checkpoints of another run."""
    record = Path(work_dir) / 'last_checkpoint'
    if record.is_file():
        last = Path(record.read_text(encoding='utf-8').strip()).name
        raise SearchError(
            f'{work_dir} holds a run, up to {last}, which a new search would overwrite. Resume it (--resume), choose '
            'another folder (--work-dir), or remove this one.'
        )


def _splits(cfg: Any) -> Iterator[dict[str, Any]]:
    """The settings of each RandomSplit inside a data loader's config."""
    if isinstance(cfg, dict):
        kind = cfg.get('type')
        name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
        if name.rpartition('.')[2] == 'RandomSplit':
            yield {'part': cfg.get('part'), 'fraction': cfg.get('fraction', 0.5), 'seed': cfg.get('seed', 0)}
    if isinstance(cfg, (dict, list, tuple)):
        for value in cfg.values() if isinstance(cfg, dict) else cfg:
            yield from _splits(value)


def _accelerator() -> Any:
    """``torch.cuda`` or its equivalent for the accelerator that mmengine trains on; None on a CPU."""
    module = getattr(torch, get_device(), None)
    return module if hasattr(module, 'get_rng_state_all') else None
