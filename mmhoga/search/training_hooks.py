"""The hooks and the sampler of a training, as a search uses them."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config, ConfigDict

from mmhoga.search.stretch import Stretch

# Hooks of trainings that a search runs without.
LEFT_OUT = {
    'EMAHook': 'only the validation would use its averages, since a search derives the genotype from alpha itself',
    'EarlyStoppingHook': 'the metric of a supernet does not say when a search is over',
    'AdapterHook': 'supernets are no adapter',
    'ModeSwitchHook': 'it sets an attribute of the detector, which is inside of the search model',
    'SwitchRecipeHook': 'it replaces parts of the training that a search replaces as well',
}


def set_epochs(config: Config, before: int | None) -> list[str]:
    """Count epochs and not iterations, in the sampler, the log and the checkpoints."""
    notes = []
    sampler = config.train_dataloader.get('sampler') or {}
    if bare_name(sampler.get('type', '')) == 'InfiniteSampler':
        config.train_dataloader.sampler = ConfigDict(type='DefaultSampler', shuffle=sampler.get('shuffle', True))
        notes.append('InfiniteSampler has no epochs: a search uses DefaultSampler instead.')
    hooks = config.setdefault('default_hooks', ConfigDict())
    keep = (hooks.get('checkpoint') or {}).get('max_keep_ckpts', -1)
    hooks.checkpoint = ConfigDict(
        {**(hooks.get('checkpoint') or {'type': 'CheckpointHook'}), 'interval': 1, 'max_keep_ckpts': max(keep, 2)}
    )
    if before is None:
        notes.append('The training counts iterations, a search epochs: it logs, saves and validates after each epoch.')
        hooks.checkpoint.by_epoch = True
        if config.get('log_processor'):
            config.log_processor.by_epoch = True
        if hooks.get('logger'):
            hooks.logger.pop('log_metric_by_epoch', None)
    return notes


def set_hooks(config: Config, stretch: Stretch | None) -> list[str]:
    """Leave out the custom hooks that do not fit a search, and stretch the others."""
    notes, kept = [], []
    for hook in config.get('custom_hooks') or ():
        name = bare_name(hook.get('type', ''))
        reason = next((text for ending, text in LEFT_OUT.items() if name.endswith(ending)), None)
        if name == 'PipelineSwitchHook':
            if stretch is None:
                reason = 'it counts the epochs of a training that counts iterations'
            else:
                hook = ConfigDict({**hook, 'switch_epoch': stretch.epoch(hook['switch_epoch'])})
                notes.append(f'PipelineSwitchHook switches after {hook.switch_epoch} of {stretch.epochs} epochs.')
        if reason:
            notes.append(f'{name} is left out: {reason}.')
        else:
            kept.append(hook)
    if 'custom_hooks' in config:
        config.custom_hooks = kept
    return notes


def bare_name(kind: Any) -> str:
    """The bare name of a ``type``, which may be a class in mmengine's pure Python configs."""
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
