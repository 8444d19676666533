"""Optimizers and schedules of a resumed search: what changed in the config since its start, and its effect."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner

from mmhoga.search.loaders import differences
from mmhoga.search.resume.state import SearchError


def settings(runner: Runner) -> dict[str, Any]:
    """The settings of the optimizers and schedulers before the first step and before a checkpoint is loaded.

    Plain values, which ``torch.load(weights_only=True)`` reads. Both runs compute them in the same way, so they differ
    only if the configs do.
    """
    loop: Any = runner.train_loop
    result: dict[str, Any] = {'max_epochs': loop.max_epochs, **loop.settings}
    for name, wrapper in runner.optim_wrapper.items():
        groups = [{key: x for key, x in group.items() if key != 'params'} for group in wrapper.param_groups]
        result[name] = {
            'type': type(wrapper.optimizer).__name__,
            'parameters': [len(group['params']) for group in wrapper.param_groups],
            'groups': _plain(groups),
            'accumulative_counts': wrapper._accumulative_counts,
            'clip_grad': _plain(getattr(wrapper, 'clip_grad_kwargs', None)),
            'schedulers': [{'type': type(each).__name__, **_plain(each.state_dict())} for each in _of(runner, name)],
        }
    return result


def apply_changes(
    runner: Runner, checkpoint: dict[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Make a checkpoint continue with the settings of the config, where they differ from those of its run.

    mmengine would load learning rates and schedules from the checkpoint, so a change in the config had no effect. The
    schedulers of the config take the steps of the epochs and iterations that the search has done. Their state and all
    values of the parameter groups replace those of the checkpoint. Momentum buffers and the like stay.

    Args:
        runner: whose optimizers and schedulers are built from the config, and unused.
        checkpoint: changed in place, before mmengine loads it.
        before: the :func:`settings` of the run that wrote the checkpoint.
        now: those of this run.

    Raises:
        SearchError: another optimizer or other parameter groups, which the state in the checkpoint does not fit; or a
            scheduler that depends on past validations.
    """
    changed = differences(before, now)
    if not changed:
        return
    runner.logger.info(f'Changed in the config: {_listed(changed)}. The search continues with the new settings.')
    for name, wrapper in runner.optim_wrapper.items():
        _require_same_parameters(name, before[name], now[name])
        if all(before[name][key] == now[name][key] for key in ('groups', 'schedulers')):
            continue
        if any(getattr(scheduler, 'need_val_args', False) for scheduler in _of(runner, name)):
            raise SearchError(
                f'the learning rates of {name} depend on past validations, so a change cannot be applied in the middle '
                'of a search. Restore optim_wrapper and param_scheduler, or start a new search (--work-dir).'
            )
        _replay(runner, name, checkpoint)
        saved = checkpoint['optimizer'][name]['param_groups']
        for group, fresh in zip(saved, wrapper.param_groups):
            group.update({key: value for key, value in fresh.items() if key != 'params'})
        states = [scheduler.state_dict() for scheduler in _of(runner, name)]
        checkpoint.setdefault('param_schedulers', {})[name] = states


def _replay(runner: Runner, name: str, checkpoint: Mapping[str, Any]) -> None:
    """Step the schedulers of an optimizer as often as mmengine's ParamSchedulerHook did until the checkpoint."""
    meta = checkpoint['meta']
    length = len(runner.train_dataloader)
    rest = meta['iter'] - meta['epoch'] * checkpoint['search']['batches_per_epoch']
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*`optimizer.step')  # there is none between these steps
        for epoch in range(meta['epoch'] + 1):
            finished = epoch < meta['epoch']
            for _ in range(length if finished else rest):
                _step(runner, name, by_epoch=False)
            if finished:
                _step(runner, name, by_epoch=True)


def _step(runner: Runner, name: str, *, by_epoch: bool) -> None:
    for scheduler in _of(runner, name):
        if scheduler.by_epoch == by_epoch:
            scheduler.step()


def _require_same_parameters(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key, words in (('type', 'the optimizer'), ('parameters', 'the number of parameters in each group')):
        if before[key] != now[key]:
            raise SearchError(
                f'{words} of {name} was {before[key]}, now is {now[key]}, and the state in the checkpoint fits the '
                'first only. Restore optim_wrapper, or start a new search in another work_dir (--work-dir).'
            )


def _of(runner: Runner, name: str) -> list[Any]:
    schedulers: Any = runner.param_schedulers
    return schedulers.get(name, []) if isinstance(schedulers, dict) else schedulers or []


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else repr(value)


def _listed(changed: list[tuple[str, Any, Any]], most: int = 8) -> str:
    """The settings that changed, without those that schedulers derive from others at their first step."""
    keys = {key for key, _, _ in changed}

    def derived(key: str) -> bool:
        head, _, last = key.rpartition('.')
        return 'base_values' in key or '_last_value' in key or f'{head}.initial_{last}' in keys

    lines = [f'{key} from {old} to {new}' for key, old, new in changed if not derived(key)]
    more = f' and {len(lines) - most} more' if len(lines) > most else ''
    return ', '.join(lines[:most]) + more
