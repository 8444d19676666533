"""``mmhoga test``: evaluate a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.registry import METRICS
from mmengine.runner import Runner

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.runner import read_config, require_checkpoint, run_config, run_parser
from mmhoga.cli.values import positive
from mmhoga.hosts import LaunchError

PICKLES = ('.pkl', '.pickle')
TTA_MODELS = {
    'mmpretrain': dict(type='AverageClsScoreTTA'),
    'mmdet': dict(
        type='DetTTAModel',  # registered in mmengine, so it has no prefix
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
}
# The last two are needed to flip the boxes back.
META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


def test_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        'Evaluate a checkpoint on the test data of a config.',
        'mmhoga test hoga-resnet8_1xb96-8e_digits work_dirs/digits/epoch_8.pth --out metrics.json',
    )
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--out', help='save the predictions (FILE.pkl) or the metrics (FILE.json, FILE.yaml)')
    parser.add_argument('--out-item', choices=['metrics', 'pred'], help='what --out saves, whatever its suffix')
    parser.add_argument('--dump', metavar='FILE.pkl', help='save the predictions')
    parser.add_argument('--amp', action='store_true', help='test with mixed precision')
    parser.add_argument('--tta', action='store_true', help='use test-time augmentation')
    parser.add_argument('--show', action='store_true', help='draw predictions in a window')
    parser.add_argument('--show-dir', metavar='FOLDER', help='draw predictions into this folder')
    parser.add_argument(
        '--interval', type=positive(int), default=1, metavar='N', help='draw every N-th sample (default: 1)'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that a window stays open (default: 2)')
    return parser


def test_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input, 130 after Ctrl-C."""
    args = test_parser().parse_args(argv)
    return run(lambda: _test(args))


def _test(args: argparse.Namespace) -> None:
    predictions, metrics_file = outputs(args)
    require_checkpoint(args.checkpoint)
    cfg = read_config(args, persistent_workers=False)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        set_visualization(cfg, args)
    if args.tta:
        set_tta(cfg)

    def action(runner: Runner) -> None:
        for path in predictions:
            kind = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
            runner.test_evaluator.metrics.append(METRICS.build(dict(type=kind, out_file_path=path)))
        metrics = runner.test()
        if metrics_file and is_main_process():
            mmengine.dump(metrics, metrics_file)

    run_config(cfg, ['test'], action)


def outputs(args: argparse.Namespace) -> tuple[list[str], str | None]:
    """The files for predictions and the file for metrics.

    ``--out`` saves predictions in mmdet, metrics in mmpose and either in mmpretrain. Here its suffix decides.
    """
    if args.out_item and not args.out:
        raise LaunchError('--out-item needs --out FILE.')
    predictions, metrics = [args.dump] if args.dump else [], None
    item = args.out_item or ('pred' if Path(args.out or '').suffix in PICKLES else 'metrics')
    if item == 'metrics':
        metrics = args.out
    else:
        predictions.append(args.out)
    for path in predictions:
        if Path(path).suffix not in PICKLES:
            raise LaunchError(f'predictions are saved as a pickle: {path} must end in .pkl.')
    if metrics and Path(metrics).suffix not in ('.json', '.yaml', '.yml', *PICKLES):
        raise LaunchError(f'metrics are saved as JSON or YAML: {metrics} must end in .json or .yaml.')
    return predictions, metrics


def set_visualization(cfg: Config, args: argparse.Namespace) -> None:
    """Configure the host's visualization hook to draw predictions. Its arguments differ between hosts."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise LaunchError(
            f'--show and --show-dir need default_hooks.visualization, which {cfg.filename} lacks. Add '
            "visualization=dict(type='VisualizationHook') or, for mmpose, 'PoseVisualizationHook'."
        )
    hook.update(show=args.show, wait_time=args.wait_time, interval=args.interval)
    if cfg.get('default_scope') == 'mmdet':
        hook.update(draw=True, test_out_dir=args.show_dir)
    else:
        hook.update(enable=True, out_dir=args.show_dir)


def set_tta(cfg: Config) -> None:
    """Use the config's ``tta_model`` and ``tta_pipeline``. The defaults average the image and its mirror image.

    Raises:
        LaunchError: the config has no ``tta_model``, and mmhoga has no default for its host.
    """
    scope = cfg.get('default_scope')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:  # wrappers such as RepeatDataset
        dataset = dataset.dataset
    if 'tta_model' not in cfg:
        if scope not in TTA_MODELS:
            raise LaunchError(f'--tta: {scope} has no default for tta_model. Add one to {cfg.filename}.')
        cfg.tta_model = TTA_MODELS[scope]
    if 'tta_pipeline' not in cfg:
        *transforms, pack = deepcopy(list(dataset.pipeline))
        if scope == 'mmdet':
            pack['meta_keys'] = META_KEYS
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*transforms, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline
