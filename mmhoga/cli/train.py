"""``mmhoga train``: train a network, or search an attention, from a config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmhoga.cli.run import distributed
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.lock import locked
from mmhoga.cli.run.runner import run_config, run_parser, set_amp, set_arguments, set_auto_scale_lr, set_resume
from mmhoga.hosts import LaunchError, load_config
from mmhoga.search.loop import require_search_loop


def train_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        'Train a network, or search an attention, from a config of mmdet, mmpretrain, mmpose or mmhoga.',
        'mmhoga train hoga-resnet8_1xb96-8e_digits --work-dir work_dirs/digits',
    )
    resume = 'continue from this checkpoint (default: the last one in the work_dir; without one, start from scratch)'
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT', help=resume)
    add_training_options(parser)
    return parser


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``train`` and ``search`` share, beside those of every run."""
    scale = 'scale the learning rate by (actual batch size / auto_scale_lr.base_batch_size)'
    workers = 'restart the workers of the data loaders every epoch'
    parser.add_argument('--amp', action='store_true', help='use mixed precision for every optimizer of the config')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument('--auto-scale-lr', action='store_true', help=scale)
    parser.add_argument('--no-persistent-workers', action='store_true', help=workers)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input, 130 after Ctrl-C.

    A search that receives SIGTERM saves a checkpoint and exits with 143.
    """
    args = train_parser().parse_args(argv)
    return run(lambda: run_training(*train_config(args)))


def train_config(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """The config with all arguments applied, and notes for the log."""
    cfg = load_config(args.config, args.cfg_options)
    return cfg, set_training_arguments(cfg, args)


def set_training_arguments(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Apply all arguments but ``--cfg-options``. Returns notes for the log."""
    set_arguments(cfg, args, persistent_workers=not args.no_persistent_workers)
    for name in ('max_epochs', 'max_iters'):
        count = (cfg.get('train_cfg') or {}).get(name)
        if isinstance(count, int) and count < 1:
            raise LaunchError(f'{cfg.filename}: train_cfg.{name} is {count}. A training takes at least 1.')
    notes = [set_resume(cfg, args.resume)]
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    set_amp(cfg, args.amp, distributed.has_accelerator())
    world_size = distributed.get_world_size(args.launcher)
    notes.append(set_auto_scale_lr(cfg, args.auto_scale_lr, world_size))
    return [note for note in notes if note]


def run_training(cfg: Config, notes: Sequence[str], *, last: bool = True) -> None:
    """Train, or search. With ``last=False``, another run of these processes follows."""

    def action(runner: Runner) -> None:
        for note in filter(None, [*notes, unlocked]):
            runner.logger.info(note)
        require_search_loop(runner)
        _require_batches(runner)
        runner.train()

    with locked(cfg.work_dir) if distributed.is_main_process(cfg.launcher) else nullcontext() as unlocked:
        run_config(cfg, ['train', 'val'], action, last=last)


def _require_batches(runner: Runner) -> None:
    loader: Any = runner.train_dataloader
    if hasattr(loader, '__len__') and not len(loader):
        raise LaunchError(
            f'the training set has {len(loader.dataset)} samples, fewer than one batch, and the loader drops '
            'incomplete ones. Set a smaller train_dataloader.batch_size, or drop_last=False.'
        )
