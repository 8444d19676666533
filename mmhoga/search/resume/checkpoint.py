"""Checkpoints from which a search continues exactly, and SIGTERM as a request to write one and exit."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, gather_object, get_backend, get_world_size, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from mmhoga.files import last_checkpoint, remove_leftovers, write_atomic
from mmhoga.registry import HOOKS
from mmhoga.search.resume.hooks import load_hook_states
from mmhoga.search.resume.settings import apply_changes, settings
from mmhoga.search.resume.source import lacks, missing_state, set_own_paths
from mmhoga.search.resume.state import SEED, SearchError, identity, process_state

EXIT_STOPPED = 128 + signal.SIGTERM  # as shells report it


class StopRequest:
    """Context in which SIGTERM sets :attr:`received` instead of ending the process.

    Slurm sends SIGTERM before it takes a node away. Python handles signals in the main thread only; in any other thread
    this context does nothing.
    """

    def __init__(self) -> None:
        self.received = False
        self._group: Any = None  # of processes; None is the default one

    def in_any_process(self) -> bool:
        """Whether any process received SIGTERM: a collective that every process must call at the same iteration.

        The processes agree over gloo, on the CPU, so that none waits for its accelerator.
        """
        if get_world_size() == 1:
            return self.received
        flag = torch.tensor([self.received], dtype=torch.uint8)
        all_reduce(flag, op='max', group=self._group)
        return any(flag.tolist())

    def __enter__(self) -> StopRequest:
        if get_world_size() > 1 and get_backend() != 'gloo' and torch.distributed.is_gloo_available():
            self._group = torch.distributed.new_group(backend='gloo')
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._installed:
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)

    def _receive(self, *_: Any) -> None:
        self.received = True


class AtomicBackend(LocalBackend):
    """Local disk whose files are replaced in one step."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(filepath, obj)


register_backend('mmhoga.atomic', AtomicBackend, force=True)


def write_whole_files(hook: CheckpointHook, runner: Runner) -> None:
    """Make a hook that saves to a local disk write whole files, and remove what a killed run has left of others.

    Call this after the hook's ``before_train``. No other process may be writing to its folder.
    """
    if not isinstance(hook.file_backend, LocalBackend) or hook.file_client_args is not None:
        return
    hook.backend_args = {'backend': 'mmhoga.atomic'}
    hook.file_backend = get_file_backend(hook.out_dir, backend_args=hook.backend_args)
    if is_main_process():
        for folder in {runner.work_dir, hook.out_dir}:
            for path in remove_leftovers(folder):
                runner.logger.info(f'Removed {path}, which a killed run had left half written.')


@HOOKS.register_module()
class SearchCheckpointHook(CheckpointHook):
    """Drop-in replacement for mmengine's CheckpointHook in a search; :class:`SearchLoop` installs it.

    On a local disk a kill at any moment leaves a whole checkpoint that ``last_checkpoint`` names: the new checkpoint
    appears under its name in one step, then ``last_checkpoint`` is replaced, and the oldest checkpoint is removed last
    (mmengine removes it first).

    The key ``search`` of a checkpoint holds the state of each process and the identity of the search. The checkpoint
    of an epoch is written before the validation of that epoch, which a resumed search repeats.
    """

    @classmethod
    def install(cls, runner: Runner) -> SearchCheckpointHook:
        """Convert the runner's CheckpointHook, or add one that saves only on SIGTERM."""
        for hook in runner.hooks:
            if type(hook) is CheckpointHook:
                hook.__class__ = cls  # keeps its settings
            if isinstance(hook, cls):
                return hook
        added = cls(interval=-1, save_last=False)
        runner.register_hook(added)
        return added

    _search: dict[str, Any] | None = None
    _settings: dict[str, Any]
    last_ckpt: str | None
    file_backend: Any

    def before_run(self, runner: Runner) -> None:
        if runner._resume and runner._load_from is None:
            try:
                last = last_checkpoint(runner.work_dir)
            except FileNotFoundError as error:
                raise SearchError(str(error)) from error
            runner._load_from = last and str(last)
        if not self.save_optimizer or not self.save_param_scheduler:
            runner.logger.warning(
                'The checkpoint hook saves no optimizer state or no learning rate schedule (save_optimizer, '
                'save_param_scheduler): this search cannot be resumed from its checkpoints.'
            )
        if isinstance(runner.optim_wrapper, OptimWrapperDict):  # otherwise SearchLoop raises an error
            self._settings = settings(runner)

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        write_whole_files(self, runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:  # load_from: weights to start from
            return
        missing = missing_state(runner, checkpoint)
        if missing:
            raise SearchError(
                f'{lacks(runner._load_from, missing)} A search cannot resume from it. Resume from another checkpoint '
                '(--resume CHECKPOINT), or start a new search with these weights: load_from instead of resume, and '
                'another work_dir (--work-dir).'
            )
        set_own_paths(runner, checkpoint)
        state = checkpoint.get('search')
        if state is None:
            runner.logger.warning('The checkpoint has no search state: the resumed search will not be exact.')
            return
        expected = identity(runner)
        if expected[SEED] is None:  # mmengine takes the checkpoint's
            del expected[SEED]
        saved = state['identity']
        changed = [f'{key} was {saved[key]}, now is {x}' for key, x in expected.items() if saved.get(key, x) != x]
        if changed:
            raise SearchError(
                f'this checkpoint is of another search: {"; ".join(changed)}. Restore the config, or start a new '
                'search in another work_dir (--work-dir).'
            )
        if 'settings' in state:
            apply_changes(runner, checkpoint, state['settings'], self._settings)
        else:
            runner.logger.info('The checkpoint is of an older version: its learning rates and schedules apply.')
        runner.train_loop.resumed = state
        own = state['processes'][runner.rank % len(state['processes'])]
        load_hook_states(runner, own.get('hooks', {}))

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        request = getattr(runner._train_loop, 'stop_request', None)  # None in a validation without training
        if request is not None and request.received:
            last = self.last_ckpt or runner._load_from
            runner.logger.info(f'SIGTERM during validation: --resume continues from {last}.')
            raise SystemExit(EXIT_STOPPED)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._search is not None:
            checkpoint['search'] = self._search

    def save_and_exit(self, runner: Runner) -> None:
        """Save between two iterations, after a SIGTERM, and exit. Every process must call this."""
        filename = f'interrupted_iter_{runner.iter}.pth'
        self.save_optimizer = self.save_param_scheduler = True  # this file serves only to resume
        self._save(runner, filename, dict(epoch=runner.epoch, iter=runner.iter))
        runner.logger.info(f'SIGTERM: saved {filename}. --resume continues with the next iteration.')
        raise SystemExit(EXIT_STOPPED)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            self.keep_ckpt_ids.append(step)  # the deque drops the oldest
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._save(runner, self.filename_tmpl.format(step), meta)
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            self._remove_older(step)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # mmengine would save the last checkpoint again, with the best score. A resumed search validates again instead.
        last, self.last_ckpt = self.last_ckpt, None
        super()._save_best_checkpoint(runner, metrics)
        self.last_ckpt = last

    def _save(self, runner: Runner, filename: str, meta: dict) -> None:
        runner.train_loop.require_finite_alpha()
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        loaders = (runner.train_loop.dataloader, runner.train_loop.alpha_dataloader)
        self._search = {
            'version': 1,
            'batches_per_epoch': len(loaders[0]),
            'sampler_seeds': [getattr(loader.sampler, 'seed', None) for loader in loaders],
            'settings': self._settings,
            'identity': {**identity(runner), SEED: runner.seed},
            'processes': gather_object(process_state(runner)),
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
                f'{self.last_ckpt} could not be written: {error}. The last checkpoint is still {last}. Free disk space '
                'and continue with --resume.'
            ) from error
        finally:
            self._search = None

    def _remove_older(self, step: int) -> None:
        """Remove interrupted checkpoints, and those beyond ``max_keep_ckpts``, once the new one is on disk."""
        regular = re.compile(re.escape(self.filename_tmpl).replace(r'\{\}', r'(\d+)'))
        for path in Path(self.out_dir).glob('*.pth'):
            match = regular.fullmatch(path.name)
            old = match and self.max_keep_ckpts > 0 and int(match[1]) < step and int(match[1]) not in self.keep_ckpt_ids
            if old or re.fullmatch(r'interrupted_iter_\d+\.pth', path.name):
                path.unlink()
