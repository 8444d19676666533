"""``mmhoga train``: train a network, or search an attention, from a config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.runner import Runner

from mmhoga.cli.run import distributed
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.runner import read_config, run_config, run_parser, set_amp, set_auto_scale_lr, set_resume


def train_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        'Train a network, or search an attention, from a config of mmdet, mmpretrain, mmpose or mmhoga.',
        'mmhoga train hoga-resnet8_1xb96-8e_digits --work-dir work_dirs/digits',
    )
    resume = 'continue from this checkpoint (default: the last one in the work_dir; without one, start from scratch)'
    scale = 'scale the learning rate by (actual batch size / auto_scale_lr.base_batch_size)'
    workers = 'restart the workers of the data loaders every epoch'
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT', help=resume)
    parser.add_argument('--amp', action='store_true', help='use mixed precision for every optimizer of the config')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument('--auto-scale-lr', action='store_true', help=scale)
    parser.add_argument('--no-persistent-workers', action='store_true', help=workers)
    return parser


def train_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input, 130 after Ctrl-C.

    A search that receives SIGTERM saves a checkpoint and exits with 143.
    """
    args = train_parser().parse_args(argv)
    return run(lambda: _train(args))


def train_config(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """The config with all arguments applied, and notes for the log."""
    cfg = read_config(args, persistent_workers=not args.no_persistent_workers)
    notes = [set_resume(cfg, args.resume)]
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    set_amp(cfg, args.amp, distributed.has_accelerator())
    world_size = distributed.get_world_size(args.launcher)
    notes.append(set_auto_scale_lr(cfg, args.auto_scale_lr, world_size))
    return cfg, [note for note in notes if note]


def _train(args: argparse.Namespace) -> None:
    cfg, notes = train_config(args)

    def action(runner: Runner) -> None:
        for note in notes:
            runner.logger.info(note)
        runner.train()

    run_config(cfg, ['train', 'val'], action)
