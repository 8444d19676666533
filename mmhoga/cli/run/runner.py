"""From a command line to a Runner: what ``train`` and ``test`` share.

Functions named ``set_...`` apply a flag to the config in place. Some return a note for the log.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmhoga.cli.run import distributed
from mmhoga.cli.run.annotations import require_numbers
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import explained, keep_traceback
from mmhoga.cli.run.faults import fault
from mmhoga.cli.run.pictures import name_pictures
from mmhoga.cli.run.resume import TrainingFilesHook
from mmhoga.cli.run.weights import WeightsHook
from mmhoga.files import last_checkpoint, near_names
from mmhoga.hosts import (
    LaunchError,
    import_mmpretrain,
    load_config,
    require_model,
    set_preprocessor,
    walk,
)
from mmhoga.search.resume.state import SearchError


def run_parser(purpose: str, example: str, work_dir: str = 'work_dirs/CONFIG') -> argparse.ArgumentParser:
    """A parser with the arguments that ``train`` and ``test`` share: those of the hosts' own tools."""
    parser = command_parser(purpose, example)
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--work-dir', help=f'folder for logs and checkpoints (default: {work_dir})')
    add_config_options(parser)
    parser.add_argument('--no-pin-memory', action='store_true', help='set pin_memory=False in the data loaders')
    launchers, launcher_help = ['none', *distributed.VARIABLES], 'program that started the processes (default: none)'
    parser.add_argument('--launcher', choices=launchers, default='none', help=launcher_help)
    # torch.distributed.launch of torch >= 2.0 uses a hyphen.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    return parser


def read_config(args: argparse.Namespace, *, persistent_workers: bool) -> Config:
    """Read the config of a command line and apply the arguments that training and testing share."""
    cfg = load_config(args.config, args.cfg_options)
    set_arguments(cfg, args, persistent_workers=persistent_workers)
    return cfg


def set_arguments(cfg: Config, args: argparse.Namespace, *, persistent_workers: bool) -> None:
    """Apply the arguments that training and testing share."""
    require_model(cfg)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(cfg.filename).stem)
    pin_memory = distributed.has_accelerator() and not args.no_pin_memory
    set_loader_defaults(cfg, pin_memory=pin_memory, persistent_workers=persistent_workers)
    set_preprocessor(cfg)


def run_config(cfg: Config, parts: Sequence[str], action: Callable[[Runner], None], *, last: bool = True) -> None:
    """Build the Runner (or the config's ``runner_type``) and call ``action``, which uses the data loaders ``parts``.

    With ``last=False``, another run of these processes follows.

    Raises:
        LaunchError: anything that fails before the first step.
    """
    first_step = FirstStepHook()
    try:
        import_mmpretrain(cfg)
        distributed.prepare(cfg)
        require_numbers(cfg, parts)
        with explained(cfg, []):
            runner = RUNNERS.build(cfg)
        runner.register_hook(first_step, 'HIGHEST')
        for hook in (PicturesHook(), TrainingFilesHook(), WeightsHook()):
            runner.register_hook(hook)
        with explained(cfg, parts, lambda: first_step.reached):
            action(runner)
    except SearchError as error:
        raise LaunchError(str(error)) from error
    except LaunchError:
        raise
    except Exception as error:
        if problem := fault(cfg.work_dir, error):
            raise LaunchError(problem) from error
        if first_step.reached:
            keep_traceback(error)
        raise
    finally:
        if last:
            distributed.leave()


class FirstStepHook(Hook):
    """Records that the first step of training, validation or test has begun."""

    reached = False

    def _before_iter(self, *args, **kwargs) -> None:
        self.reached = True


class PicturesHook(Hook):
    """Makes the data sets of a loop name pictures that cannot be read, before its workers start."""

    def before_train(self, runner: Runner) -> None:
        loop: Any = runner.train_loop
        for loader in (loop.dataloader, getattr(loop, 'alpha_dataloader', None)):
            name_pictures(getattr(loader, 'dataset', None))

    def before_val(self, runner: Runner) -> None:
        name_pictures(runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        name_pictures(runner.test_dataloader.dataset)


def set_resume(cfg: Config, resume: str | None) -> str | None:
    """Resume from the named checkpoint or, with a bare ``--resume``, from the last one in work_dir.

    If work_dir has no checkpoint, a bare ``--resume`` starts from scratch with the config's ``load_from``. One job
    script therefore serves the first start and every restart. ``resume = True`` in a config without ``load_from`` means
    the same as a bare ``--resume``.
    """
    if resume is None:
        if not cfg.get('resume') or cfg.get('load_from'):
            return None
        resume = 'auto'
    if resume != 'auto':
        require_checkpoint(resume)
        cfg.resume, cfg.load_from = True, resume
        return None
    checkpoint = latest_checkpoint(Path(cfg.work_dir))
    cfg.resume = checkpoint is not None
    if checkpoint is None:
        return f'--resume: there is no checkpoint in {cfg.work_dir} yet, so this run starts from scratch.'
    cfg.load_from = str(checkpoint)
    return f'--resume: continuing from {checkpoint}.'


def latest_checkpoint(work_dir: Path) -> Path | None:
    """:func:`mmhoga.files.last_checkpoint`, with a LaunchError if it does not exist."""
    try:
        return last_checkpoint(work_dir)
    except FileNotFoundError as error:
        raise LaunchError(str(error)) from error


def require_checkpoint(checkpoint: str) -> None:
    """Raise a LaunchError if a local checkpoint is not a file, before minutes are spent on building data sets."""
    if '://' in checkpoint:
        return
    if Path(checkpoint).is_dir():
        last = latest_checkpoint(Path(checkpoint))
        raise LaunchError(
            f'{checkpoint} is a folder, not a checkpoint.{f" Its last checkpoint is {last}." if last else ""}'
        )
    if not Path(checkpoint).exists():
        raise LaunchError(f'there is no checkpoint {checkpoint}.{near_names(Path(checkpoint))}')


def optim_wrappers(cfg: Config) -> dict[str, ConfigDict]:
    """The optimizer wrappers of a config by their dotted key. A search has several, in a dict."""
    wrapper = {'optim_wrapper': cfg.get('optim_wrapper')}
    return {key: node for key, node in walk(wrapper) if isinstance(node, dict) and 'optimizer' in node}


def set_amp(cfg: Config, amp: bool, accelerator: bool) -> None:
    """Turn every optimizer wrapper into an AmpOptimWrapper with a dynamic loss scale, if its type has such a form."""
    for key, wrapper in optim_wrappers(cfg).items():
        kind = _name(wrapper.get('type', 'OptimWrapper'))
        if amp:
            if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
                raise LaunchError(f"--amp: {key}.type is {kind!r}; only 'OptimWrapper' has a mixed-precision form.")
            kind = wrapper.type = 'AmpOptimWrapper'
            wrapper.setdefault('loss_scale', 'dynamic')
        if kind == 'AmpOptimWrapper' and not accelerator:
            asked = '--amp' if amp else f"{key}.type = '{kind}'"
            raise LaunchError(
                f'{asked} needs an accelerator (CUDA, NPU, MLU or MUSA), and torch finds none on '
                'this machine. Train in full precision instead.'
            )


def set_auto_scale_lr(cfg: Config, enable: bool, world_size: int) -> str | None:
    """Apply the linear scaling rule: lr * (batch size of all processes) / base_batch_size.

    mmengine scales a single optimizer itself. Of several, only SGD is scaled here: the rule holds for SGD, and the step
    of a search's Adam on alpha does not grow with the gradient. ``auto_scale_lr=dict(optimizers=['weights', ...])``
    selects others. ``base_batch_size`` is set to the actual one, so running the saved config with the flag again scales
    nothing.

    Raises:
        LaunchError: the config has no ``auto_scale_lr.base_batch_size``.
    """
    settings = cfg.get('auto_scale_lr') or {}
    if not enable and not settings.get('enable', False):
        return None
    if 'base_batch_size' not in settings:
        raise LaunchError(
            f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr = dict(base_batch_size=N). N is the number of '
            'images per step, over all processes, for which its learning rates were chosen.'
        )
    wrappers = {key.rpartition('.')[2]: wrapper for key, wrapper in optim_wrappers(cfg).items()}
    if 'optim_wrapper' in wrappers:
        cfg.auto_scale_lr.enable = True
        return None
    chosen = settings.get('optimizers')
    if not wrappers.keys() >= set(chosen or ()):
        raise LaunchError(f'auto_scale_lr.optimizers = {chosen}, but optim_wrapper has: {", ".join(sorted(wrappers))}.')
    actual = world_size * cfg.train_dataloader.batch_size
    ratio = actual / settings['base_batch_size']
    notes = []
    for name, wrapper in wrappers.items():
        optimizer = wrapper.optimizer
        if (_name(optimizer.type) == 'SGD') if chosen is None else (name in chosen):
            optimizer.lr = optimizer.lr * ratio
            notes.append(f'{name} to {optimizer.lr:g}')
        else:
            notes.append(f'{name} stays at {optimizer.lr:g}')
    cfg.auto_scale_lr.update(enable=False, base_batch_size=actual)
    return f'--auto-scale-lr: {actual} images per step, x{ratio:g}: ' + ', '.join(notes) + '.'


def set_loader_defaults(cfg: Config, *, pin_memory: bool, persistent_workers: bool) -> None:
    """Set the defaults that mmpretrain's tools add to the data loaders of its configs.

    For every host, ``persistent_workers`` is removed from loaders without workers, which torch refuses.
    """
    for key, loader in walk(cfg):
        if not key.endswith('dataloader') or not isinstance(loader, dict):
            continue
        if key.endswith('alpha_dataloader') and 'dataset' not in loader:
            continue  # it takes what it lacks from train_dataloader
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('pin_memory', pin_memory)
            loader.setdefault('persistent_workers', persistent_workers)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
        if loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)


def _name(kind) -> str:
    """The bare name of a ``type``, which may be a class in mmengine's pure Python configs."""
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
