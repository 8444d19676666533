"""What tools/train.py and tools/test.py do: from a command line to a finished run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import mmengine
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner

from mmhoga.cli.run import distributed, options
from mmhoga.cli.run.arguments import PICKLES, test_parser, train_parser
from mmhoga.cli.run.errors import explained, run
from mmhoga.compat import allow_mmengine_checkpoints
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config
from mmhoga.search.resume.state import SearchError


def train_main(argv: Sequence[str] | None = None) -> int:
    """Train, or search, from a config. Returns the exit code: 2 for bad input, 130 after Ctrl-C.

    A search that SIGTERM stopped has saved, and exits with 143.
    """
    args = train_parser().parse_args(argv)
    return run(lambda: _train(args))


def test_main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a checkpoint. Returns the exit code, as :func:`train_main` does."""
    args = test_parser().parse_args(argv)
    return run(lambda: _test(args))


def train_config(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """The config that a command line asks for, and notes on what was decided on the way."""
    cfg = _config(args, persistent_workers=not args.no_persistent_workers)
    notes = [options.set_resume(cfg, args.resume)]
    if args.no_validate:
        options.disable_validation(cfg)
    options.set_amp(cfg, args.amp, distributed.has_accelerator())
    world_size = distributed.get_world_size(args.launcher)
    notes.append(options.set_auto_scale_lr(cfg, args.auto_scale_lr, world_size))
    return cfg, [note for note in notes if note]


def test_config(args: argparse.Namespace) -> Config:
    """The config that a test's command line asks for."""
    options.require_checkpoint(args.checkpoint)
    cfg = _config(args, persistent_workers=False)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        options.set_visualization(
            cfg,
            show=args.show,
            show_dir=args.show_dir,
            interval=args.interval,
            wait=args.wait_time,
        )
    if args.tta:
        options.set_tta(cfg)
    return cfg


def _train(args: argparse.Namespace) -> None:
    cfg, notes = train_config(args)
    with explained(cfg):
        try:
            runner = _build_runner(cfg)
            for note in notes:
                runner.logger.info(note)
            runner.train()
        except SearchError as error:
            raise LaunchError(str(error)) from error
        finally:
            distributed.leave()


def _test(args: argparse.Namespace) -> None:
    predictions, metrics_file = _outputs(args)
    cfg = test_config(args)
    with explained(cfg):
        try:
            runner = _build_runner(cfg)
            for path in predictions:
                kind = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
                dump = METRICS.build(dict(type=kind, out_file_path=path))
                runner.test_evaluator.metrics.append(dump)
            metrics = runner.test()
            if metrics_file and is_main_process():
                mmengine.dump(metrics, metrics_file)
        finally:
            distributed.leave()


def _config(args: argparse.Namespace, *, persistent_workers: bool) -> Config:
    """What training and testing have in common."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    options.set_work_dir(cfg, args.work_dir)
    pin_memory = distributed.has_accelerator() and not args.no_pin_memory
    options.set_loader_defaults(cfg, pin_memory=pin_memory, persistent_workers=persistent_workers)
    options.set_preprocessor(cfg)
    return cfg


def _build_runner(cfg: Config) -> Runner:
    """Build the Runner, or the config's own ``runner_type``, with processes that can talk."""
    allow_mmengine_checkpoints()
    import_mmpretrain(cfg)
    distributed.prepare(cfg)
    return RUNNERS.build(cfg)


def _outputs(args: argparse.Namespace) -> tuple[list[str], str | None]:
    """Where predictions and where metrics go.

    mmdet's ``--out`` saves predictions, mmpose's metrics, mmpretrain's either: the suffix tells.
    """
    if args.out_item and not args.out:
        raise LaunchError('--out-item says what --out FILE saves; add --out FILE.')
    predictions = [args.dump] if args.dump else []
    metrics = None
    if args.out:
        item = args.out_item or ('pred' if Path(args.out).suffix in PICKLES else 'metrics')
        if item == 'pred':
            predictions.append(args.out)
        else:
            metrics = args.out
    for path in predictions:
        if Path(path).suffix not in PICKLES:
            raise LaunchError(f'predictions are saved as a pickle: {path} must end in .pkl.')
    if metrics and Path(metrics).suffix not in ('.json', '.yaml', '.yml', *PICKLES):
        raise LaunchError(f'metrics are saved as JSON or YAML: {metrics} must end in .json or .yaml.')
    return predictions, metrics
