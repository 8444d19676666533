"""The data loaders of a search, for trainA and for trainB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmhoga.search.halves import halves
from mmhoga.search.overlap import require_disjoint
from mmhoga.search.supernets import dicts_in

NAMES = ('trainA', 'trainB')


def search_loaders(
    runner: Runner, dataloader: DataLoader | dict, alpha_dataloader: DataLoader | dict | None, split: dict | None
) -> tuple[DataLoader, DataLoader]:
    """The loaders of trainA and trainB.

    Args:
        runner: of the search; its seed and config are read.
        dataloader: the config's ``train_dataloader``.
        alpha_dataloader: with ``split``, the settings in which trainB's loader differs from ``dataloader``; without
            it, a whole loader.
        split: arguments of :func:`halves`, for the data set of ``dataloader``; None if both loaders have their own.

    Raises:
        ValueError: the settings contradict each other, trainA and trainB overlap, or a loader yields no batch.
        TypeError: ``split`` has an unknown key, or ``dataloader`` is built already. Also the errors of :func:`halves`.
    """
    _require_one_copy(runner.cfg, alpha_dataloader)
    if split is None:
        if alpha_dataloader is None or (isinstance(alpha_dataloader, Mapping) and 'dataset' not in alpha_dataloader):
            raise ValueError(
                'A search needs a second half of the data, on which alpha is trained. Set train_cfg.split='
                'dict(fraction=0.5, seed=0), or give train_cfg.alpha_dataloader its own dataset.'
            )
        configs: tuple[Any, ...] = (dataloader, alpha_dataloader)
    else:
        configs = _split(dataloader, alpha_dataloader, split)
    different = runner._randomness_cfg.get('diff_rank_seed', False)
    loaders = tuple(runner.build_dataloader(each, seed=runner.seed, diff_rank_seed=different) for each in configs)
    for key, name, loader in zip(('train_dataloader', 'train_cfg.alpha_dataloader'), NAMES, loaders):
        left_out = _leave_out_a_single_sample(loader)
        if not len(loader):
            raise ValueError(
                f'{key} yields no batch: {len(loader.dataset)} samples, batch size {_batch_size(loader)}. '
                'Use a smaller batch, or drop_last=False.'
            )
        runner.logger.info(f'{name}: {len(loader.dataset)} samples, {len(loader)} batches per epoch{left_out}.')
    if split is None:
        runner.logger.info(f'trainA and trainB: {require_disjoint(*(loader.dataset for loader in loaders))}.')
    return loaders


def _split(dataloader: Any, alpha_dataloader: Any, split: Mapping[str, Any]) -> tuple[dict, dict]:
    if not isinstance(dataloader, Mapping) or not isinstance(alpha_dataloader or {}, Mapping):
        raise TypeError('train_cfg.split needs train_dataloader and train_cfg.alpha_dataloader as dicts of a config.')
    unknown = sorted(set(split) - {'fraction', 'seed', 'stratified'})
    if unknown:
        raise TypeError(f'train_cfg.split takes fraction, seed and stratified, not {", ".join(unknown)}.')
    if 'dataset' in (alpha_dataloader or {}):
        raise ValueError(
            'trainB is given twice: train_cfg.split makes it from train_dataloader.dataset, and '
            'train_cfg.alpha_dataloader has a dataset. Remove one of the two.'
        )
    if random_splits(dataloader):
        raise ValueError(
            'train_dataloader.dataset has a mmhoga.RandomSplit, of which train_cfg.split would take a half. Remove one '
            'of the two.'
        )
    dataset = dataloader['dataset']
    parts = halves(DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset, **split)
    settings = {key: value for key, value in dataloader.items() if key != 'dataset'}
    # The loaders are built from a deep copy of their configs. Functions are not copied, so each half stays one object.
    first, second = ({'dataset': {'type': _function_of(part)}} for part in parts)
    alpha_settings = _merged(settings, alpha_dataloader or {})
    if not alpha_settings.get('num_workers'):  # torch refuses settings of workers without workers
        for key in ('persistent_workers', 'prefetch_factor'):
            alpha_settings.pop(key, None)
    return {**settings, **first}, {**alpha_settings, **second}


def random_splits(cfg: Any) -> list[dict[str, Any]]:
    """The settings of each RandomSplit inside a data loader's config."""
    names = [(node, getattr(node.get('type'), '__name__', node.get('type'))) for node in dicts_in(cfg)]
    return [
        {'part': node.get('part'), 'fraction': node.get('fraction', 0.5), 'seed': node.get('seed', 0)}
        for node, name in names
        if str(name).rpartition('.')[2] == 'RandomSplit'
    ]


def _function_of(dataset: Any) -> Any:
    return lambda: dataset


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``; a dict with a type of its own, or with ``_delete_``, replaces that of ``base``."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping):
            replaces = 'type' in value or value.get('_delete_') or not isinstance(merged.get(key), Mapping)
            value = _merged({} if replaces else merged[key], {k: v for k, v in value.items() if k != '_delete_'})
        merged[key] = value
    return merged


def _require_one_copy(cfg: Mapping[str, Any], alpha_dataloader: Any) -> None:
    """Refuse a top-level ``alpha_dataloader`` that differs from the one of ``train_cfg``, the only one that is read."""
    top = cfg.get('alpha_dataloader')
    if not isinstance(top, Mapping) or isinstance(alpha_dataloader, DataLoader):
        return
    changed = differences(alpha_dataloader or {}, top)
    if changed:
        listed = '; '.join(f'{key} is {there!r} at the top and {here!r} in train_cfg' for key, here, there in changed)
        raise ValueError(
            f'The config has two different alpha_dataloader: {listed}. A search reads train_cfg.alpha_dataloader: put '
            'the settings there, and remove alpha_dataloader at the top, or make both equal.'
        )


def differences(old: Any, new: Any, key: str = '') -> list[tuple[str, Any, Any]]:
    """``(key, old value, new value)`` of each setting that differs; a missing one is None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(each for each in new if each not in old)]
        found = (differences(old.get(each), new.get(each), f'{key}.{each}' if key else str(each)) for each in keys)
        return [each for part in found for each in part]
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        found = (differences(*pair, f'{key}.{index}') for index, pair in enumerate(zip(old, new)))
        return [each for part in found for each in part]
    return [] if old == new else [(key, old, new)]


def _leave_out_a_single_sample(loader: Any) -> str:
    """Set ``drop_last`` if the last batch would hold a single sample, which batch norm may not accept.

    Returns words for the log on the samples that no batch of an epoch holds.
    """
    sampler = loader.batch_sampler
    batch_size = _batch_size(loader)
    samples = len(getattr(sampler, 'sampler', None) or loader.sampler) if sampler is not None else 0
    if not isinstance(batch_size, int) or batch_size < 2 or not hasattr(sampler, 'drop_last'):
        return ''
    rest = samples % batch_size
    reason = 'drop_last'
    if rest == 1 and not sampler.drop_last:
        sampler.drop_last = True
        reason = 'a last batch of a single sample, which batch norm may not accept'
    return f', {rest} of {samples} samples left out of each pass ({reason})' if sampler.drop_last and rest else ''


def _batch_size(loader: Any) -> Any:
    return loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
