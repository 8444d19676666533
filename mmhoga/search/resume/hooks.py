"""The state of other hooks, which a search saves, and alpha, which it keeps out of averaged models.

mmengine saves no state of hooks, except what a hook itself puts into the checkpoint or the message hub. A search saves
the state of a hook that has ``state_dict()`` and ``load_state_dict(state)``, the names that torch uses, and of the
hooks of mmengine that need it: EarlyStoppingHook (how long the metric has not improved, and its best value) and EMAHook
(averaged buffers of every process but the first).

Attributes are not saved by a general rule, for example all that changed since the start. A hook may hold a flag about
something that it changed elsewhere (mmdet's PipelineSwitchHook: ``_has_switched``). With such a flag restored, a
resumed run would not make that change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import EarlyStoppingHook, EMAHook, Hook
from mmengine.runner import Runner

from mmhoga.search.model import unwrapped

_EARLY_STOPPING = {'wait_count': int, 'best_score': float}  # a best score may be a numpy scalar


def hook_states(runner: Runner) -> dict[str, Any]:
    """The state of each hook that has one, by the hook's type and number."""
    states = {name: _state(hook) for name, hook in _named(runner)}
    return {name: state for name, state in states.items() if state is not None}


def load_hook_states(runner: Runner, states: Mapping[str, Any]) -> None:
    """Restore :func:`hook_states`. A hook that is new in the config starts afresh."""
    for name, hook in _named(runner):
        if name in states:
            _load(runner, hook, states[name])


def keep_alpha_raw(runner: Runner) -> None:
    """Make the averaged model of each EMAHook hold the alpha of the search model, not an average of it.

    The genotype is derived from alpha, so an average would belong to another genotype than the one that is written.
    EMAHook still averages the weights.
    """
    model = unwrapped(runner.model)
    for hook in runner.hooks:
        if not isinstance(hook, EMAHook):
            continue
        average = hook.ema_model
        alphas = {id(own): alpha for own, alpha in zip(average.module.alphas, model.alphas)}
        for name, parameter in list(average.module.named_parameters(remove_duplicate=False)):
            if id(parameter) in alphas:
                average.avg_parameters.pop(name, None)
                owner, _, attribute = name.rpartition('.')
                setattr(average.module.get_submodule(owner), attribute, alphas[id(parameter)])


@contextmanager
def averaged_weights(runner: Runner) -> Iterator[None]:
    """Context in which the model has the averaged weights of each EMAHook, as in a validation and in a checkpoint."""
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model')]
    for hook in averages:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in reversed(averages):
            hook._swap_ema_parameters()


def _named(runner: Runner) -> Iterator[tuple[str, Hook]]:
    numbers: Counter[str] = Counter()
    for hook in runner.hooks:
        kind = f'{type(hook).__module__}.{type(hook).__qualname__}'
        yield f'{kind}/{numbers[kind]}', hook
        numbers[kind] += 1


def _state(hook: Any) -> Any:
    if hasattr(hook, 'state_dict') and hasattr(hook, 'load_state_dict'):
        return hook.state_dict()
    if isinstance(hook, EarlyStoppingHook):
        state = {name: kind(getattr(hook, name)) for name, kind in _EARLY_STOPPING.items()}
        return {'monitor': hook.monitor, 'rule': hook.rule, **state}
    if isinstance(hook, EMAHook) and get_rank() and hook.ema_model.update_buffers:
        return {name: buffer.cpu() for name, buffer in hook.ema_model.named_buffers()}
    return None


def _load(runner: Runner, hook: Any, state: Any) -> None:
    if hasattr(hook, 'state_dict') and hasattr(hook, 'load_state_dict'):
        hook.load_state_dict(state)
    elif isinstance(hook, EarlyStoppingHook):
        before, now = (state['monitor'], state['rule']), (hook.monitor, hook.rule)
        if before != now:
            runner.logger.warning(
                f'EarlyStoppingHook watched {before[0]} ({before[1]}) and now watches {now[0]} ({now[1]}). It starts '
                'afresh.'
            )
            return
        for name in _EARLY_STOPPING:
            setattr(hook, name, state[name])
    elif isinstance(hook, EMAHook):
        for name, buffer in hook.ema_model.named_buffers():
            buffer.copy_(state[name])
