"""Hooks for training inserted cells: estimate their batch norms at the start, save them after each epoch."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmhoga.insertion.adapter_files import AdapterError
from mmhoga.insertion.adapters import save_adapter, unwrapped
from mmhoga.insertion.norms import cell_norms, estimate_norms
from mmhoga.insertion.training import cells_of, is_train_only
from mmhoga.models.hooks import hooked
from mmhoga.registry import HOOKS


@HOOKS.register_module()
class CellNormHook(Hook):
    """Estimates the running statistics of the batch norms in the cells before the first training iteration.

    New cells have never seen the features of the network, and a backbone with ``norm_eval=True`` normalises with these
    statistics from the start. The batches come from a second data loader of the same config, so that the training sees
    the same data and draws the same random numbers as without the hook. (If the runner was given a DataLoader object
    instead of a config, the object itself is iterated.) A resumed training keeps the statistics of its checkpoint.

    Args:
        num_batches: batches per process; fewer if the data has fewer.

    Raises:
        ValueError: ``num_batches`` is not positive.
    """

    def __init__(self, num_batches: int = 32) -> None:
        if num_batches < 1:
            raise ValueError(f'num_batches must be at least 1, not {num_batches}.')
        self.num_batches = num_batches

    def before_train(self, runner: Runner) -> None:
        if runner.iter:
            return
        model: Any = unwrapped(runner.model)
        norms = cell_norms(model)
        preprocessor = copy.deepcopy(model.data_preprocessor)  # its augmentations may have a state

        def forward(model: nn.Module, data: Any) -> None:
            data = preprocessor(data, True)
            unseen = set(norms)
            with hooked([(norm, lambda norm, *_: unseen.discard(norm)) for norm in norms]):
                try:
                    model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')
                except Exception:
                    if unseen:
                        raise
                    # Some heads, such as DINO's, compute a loss in training mode only. All norms ran before.

        count = estimate_norms(model, self._batches(runner), forward)
        print_log(
            f'CellNormHook: estimated the statistics of {len(norms)} batch norms in the cells on {count} batches.'
            if norms
            else f'CellNormHook: {type(model).__name__} has no cell with batch norms, so nothing was estimated.',
            logger='current',
            level=logging.INFO if norms else logging.WARNING,
        )

    def _batches(self, runner: Runner) -> Iterator[Any]:
        config = runner._train_dataloader
        different = runner._randomness_cfg.get('diff_rank_seed', False)
        if isinstance(config, dict):
            loader = Runner.build_dataloader(config, seed=runner.seed, diff_rank_seed=different)
        else:
            loader = runner.train_dataloader
        yield from islice(loader, self.num_batches)


@HOOKS.register_module()
class AdapterHook(Hook):
    """Saves the cells, and what else ``train_only`` trains, as ``adapter_epoch_N.safetensors`` in the work_dir.

    With an EMAHook the averaged weights are saved, as in checkpoints. :func:`mmhoga.insertion.load_adapter` loads the
    file over the network that the training started from.

    Args:
        interval: epochs between two files.
        by_epoch: False counts iterations instead, and the files are ``adapter_iter_N.safetensors``.
        max_keep_ckpts: number of files to keep, the last ones; -1 keeps all.
        save_last: save after the last epoch or iteration in any case.

    Raises:
        ValueError: ``interval`` is not positive.
        AdapterError: before the training, if the model has no inserted cell.
    """

    priority = 'LOW'  # after EMAHook has averaged; before CheckpointHook, which saves the list of files

    def __init__(
        self, interval: int = 1, by_epoch: bool = True, max_keep_ckpts: int = -1, save_last: bool = True
    ) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, not {interval}.')
        self.interval = interval
        self.by_epoch = by_epoch
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if not cells_of(model):
            raise AdapterError(
                f'AdapterHook: {type(model).__name__} has no inserted cell to save. Insert one with the type '
                'mmhoga.Insert in the config, or remove the hook.'
            )
        if not is_train_only(model):
            print_log(
                'AdapterHook: the training changes more than the cells, so its adapters fit only over the network '
                "that it ends with, and not over the one that it starts from. Set train_only='cells' in mmhoga.Insert, "
                'or use checkpoints.',
                logger='current',
                level=logging.WARNING,
            )

    def after_train_epoch(self, runner: Runner) -> None:
        last = self.save_last and self.is_last_train_epoch(runner)
        if self.by_epoch and (last or self.every_n_epochs(runner, self.interval)):
            self._save(runner, 'epoch', runner.epoch + 1)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        last = self.save_last and self.is_last_train_iter(runner)
        if not self.by_epoch and (last or self.every_n_train_iters(runner, self.interval)):
            self._save(runner, 'iter', runner.iter + 1)

    def _save(self, runner: Runner, unit: str, step: int) -> None:
        if not is_main_process():
            return
        model = unwrapped(runner.model)
        checkpoint = {'state_dict': dict(model.state_dict())}
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.before_save_checkpoint(runner, checkpoint)  # exchanges the values in this dict
        name = f'adapter_{unit}_{step}.safetensors'
        meta = {unit: step, 'experiment_name': runner.experiment_name}
        try:
            save_adapter(model, Path(runner.work_dir, name), meta, state_dict=checkpoint['state_dict'])
        except AdapterError as error:
            print_log(f'AdapterHook: {error}', logger='current', level=logging.ERROR)
            return
        saved = [other for other in runner.message_hub.get_info('saved_adapters', []) if other != name] + [name]
        while 0 < self.max_keep_ckpts < len(saved):
            Path(runner.work_dir, saved.pop(0)).unlink(missing_ok=True)
        runner.message_hub.update_info('saved_adapters', saved)  # part of checkpoints, for a resumed training
