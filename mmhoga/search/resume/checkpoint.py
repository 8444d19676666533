"""Checkpoints that are there whole or not at all, and from which a search goes on exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mmengine.dist import gather_object, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmhoga.files import remove_leftovers, write_atomic
from mmhoga.registry import HOOKS
from mmhoga.search.resume.signals import EXIT_STOPPED
from mmhoga.search.resume.state import SearchError, identity, process_state, require_same_search


class AtomicBackend(LocalBackend):
    """The local disk, on which a file is replaced in one step."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(filepath, obj)


register_backend('mmhoga.atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class SearchCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook with its arguments, for a search; :class:`SearchLoop` puts it in the place of that.

    A kill at any moment leaves a checkpoint that ``last_checkpoint`` names and that is whole: the new one takes its
    name in one step, then ``last_checkpoint`` does, and only then is the oldest removed (mmengine removes it first).
    Remote file systems are left to their own ways.

    Under the key ``search`` a checkpoint holds what mmengine's lacks: the state of each process, and what it is a
    search of. A checkpoint at the end of an epoch is one before its validation, which a resumed search runs again.
    """

    interrupted = 'interrupted_iter_{}.pth'

    @classmethod
    def install(cls, runner: Runner) -> SearchCheckpointHook:
        """Replace the runner's CheckpointHook; if it has none, add one that saves when interrupted only."""
        for index, hook in enumerate(runner.hooks):
            if isinstance(hook, cls):
                return hook
            if type(hook) is CheckpointHook:
                ours = cls()
                ours.__dict__.update(hook.__dict__)
                runner.hooks[index] = ours
                return ours
        ours = cls(interval=-1, save_last=False)
        runner.register_hook(ours)
        return ours

    _search: dict[str, Any] | None = None
    last_ckpt: str | None
    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if isinstance(self.file_backend, LocalBackend) and self.file_client_args is None:
            self.backend_args = {'backend': 'mmhoga.atomic'}
            self.file_backend = get_file_backend(self.out_dir, backend_args=self.backend_args)
            if is_main_process():
                for folder in {runner.work_dir, self.out_dir}:
                    for path in remove_leftovers(folder):
                        runner.logger.info(f'Removed {path}, left half written by a run that was killed.')

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:  # load_from: weights to start from
            return
        state = checkpoint.get('search')
        if state is None:
            runner.logger.warning('The checkpoint is not of this kind of search: its continuation will not be exact.')
            return
        wanted = identity(runner)
        if wanted['seed (randomness.seed)'] is None:  # mmengine takes the checkpoint's
            del wanted['seed (randomness.seed)']
        require_same_search(state['identity'], wanted)
        runner.train_loop.resumed = state

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if getattr(runner._train_loop, 'asked_to_stop', False):
            runner.logger.info(f'SIGTERM during validation; --resume goes on from {self.last_ckpt}.')
            raise SystemExit(EXIT_STOPPED)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._search is not None:
            checkpoint['search'] = self._search

    def save_interrupted(self, runner: Runner) -> str:
        """Save between two iterations; returns the file's path. Every process takes part."""
        filename = self.interrupted.format(runner.iter)
        self._save(runner, filename, dict(epoch=runner.epoch, iter=runner.iter))
        return filename

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            self.keep_ckpt_ids.append(step)  # the deque drops the oldest
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._save(runner, self.filename_tmpl.format(step), meta)
        if is_main_process():
            self._remove_older(runner, step)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # mmengine saves the last checkpoint once more, to keep the best score in it. Here validation runs again.
        last, self.last_ckpt = self.last_ckpt, None
        super()._save_best_checkpoint(runner, metrics)
        self.last_ckpt = last

    def _save(self, runner: Runner, filename: str, meta: dict) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        loop = runner.train_loop
        processes = gather_object(process_state(runner))
        self._search = {
            'version': 1,
            'batches_per_epoch': len(loop.dataloader),
            'sampler_seeds': loop.sampler_seeds(),
            'identity': {**identity(runner), 'seed (randomness.seed)': runner.seed},
            'processes': processes,
        }
        record = Path(runner.work_dir) / 'last_checkpoint'
        try:
            runner.save_checkpoint(
                self.out_dir,
                filename,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                write_atomic(record, str(self.last_ckpt))
        except OSError as error:
            last = record.read_text(encoding='utf-8') if record.is_file() else 'none yet'
            raise SearchError(
                f'{self.last_ckpt} could not be written: {error}. The last checkpoint is as it was: {last}. Make room '
                'and go on from it with --resume.'
            ) from error
        finally:
            self._search = None

    def _remove_older(self, runner: Runner, step: int) -> None:
        """What ``max_keep_ckpts`` does not keep, and what an interruption left: after the new one is safe."""
        if not isinstance(self.file_backend, LocalBackend):
            return
        kept = set(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else None
        ours, interrupted = (_pattern(name) for name in (self.filename_tmpl, self.interrupted))
        for path in Path(self.out_dir).glob('*.pth'):
            match = ours.fullmatch(path.name)
            dropped = match and kept is not None and int(match[1]) < step and int(match[1]) not in kept
            if dropped or interrupted.fullmatch(path.name):
                path.unlink()


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r'\{\}', r'(\d+)'))
