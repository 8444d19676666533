"""From a command line to a Runner: the part that ``train`` and ``test`` share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Callable

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmhoga.cli.run import distributed, options
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import explained
from mmhoga.compat import allow_mmengine_checkpoints
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config, set_preprocessor
from mmhoga.search.resume.state import SearchError


def run_parser(purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser with the arguments that ``train`` and ``test`` share: those of the hosts' own tools."""
    parser = command_parser(purpose, example)
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    add_config_options(parser)
    parser.add_argument('--no-pin-memory', action='store_true', help='set pin_memory=False in the data loaders')
    launchers, launcher_help = ['none', *distributed.VARIABLES], 'program that started the processes (default: none)'
    parser.add_argument('--launcher', choices=launchers, default='none', help=launcher_help)
    # torch.distributed.launch of torch >= 2.0 uses a hyphen.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    return parser


def read_config(args: argparse.Namespace, *, persistent_workers: bool) -> Config:
    """Read the config of a command line and apply the arguments that training and testing share."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    options.set_work_dir(cfg, args.work_dir)
    pin_memory = distributed.has_accelerator() and not args.no_pin_memory
    options.set_loader_defaults(cfg, pin_memory=pin_memory, persistent_workers=persistent_workers)
    set_preprocessor(cfg)
    return cfg


def run_config(cfg: Config, parts: Sequence[str], action: Callable[[Runner], None]) -> None:
    """Build the Runner (or the config's ``runner_type``) and call ``action`` with it.

    Args:
        cfg: the config.
        parts: the data loaders that ``action`` uses.
        action: starts the run.

    Raises:
        LaunchError: anything that fails before the first step.
    """
    first_step = FirstStepHook()
    try:
        allow_mmengine_checkpoints()
        import_mmpretrain(cfg)
        distributed.prepare(cfg)
        with explained(cfg, []):
            runner = RUNNERS.build(cfg)
        runner.register_hook(first_step, 'HIGHEST')
        with explained(cfg, parts, lambda: first_step.reached):
            action(runner)
    except SearchError as error:
        raise LaunchError(str(error)) from error
    finally:
        distributed.leave()


class FirstStepHook(Hook):
    """Records that the first step of training, validation or test has begun."""

    reached = False

    def _before_iter(self, *args, **kwargs) -> None:
        self.reached = True
