"""The command lines of tools/train.py, tools/test.py, tools/genotype.py and tools/analysis_tools/get_flops.py.

The flags are those that mmdet, mmpretrain and mmpose share, with the same names and meaning.
"""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

_EPILOG = 'Mistakes end in one line and exit code 2; MMHOGA_DEBUG=1 shows where they were found.'
PICKLES = ('.pkl', '.pickle')


def train_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Train, or search, from a config of any host.', epilog=_EPILOG)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/CONFIG)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint or, when none is named, from the last one in the work '
        'directory; with none there, start from scratch',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision, for every optimizer of the config')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by (actual batch size / auto_scale_lr.base_batch_size)',
    )
    _add_loader_arguments(parser)
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the workers of the data loaders anew each epoch',
    )
    _add_shared_arguments(parser)
    return parser


def test_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint with any config.', epilog=_EPILOG)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--work-dir', help='where logs go (default: work_dirs/CONFIG)')
    parser.add_argument(
        '--out',
        help='save the predictions (FILE.pkl) or the metrics (FILE.json, FILE.yaml) here',
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what --out saves, whatever its suffix says',
    )
    parser.add_argument('--dump', metavar='FILE.pkl', help='save the predictions here')
    parser.add_argument('--amp', action='store_true', help='mixed-precision test')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--show', action='store_true', help='draw predictions in a window')
    parser.add_argument('--show-dir', help='draw predictions into this folder')
    parser.add_argument('--interval', type=int, default=1, help='draw every N-th sample')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window stays')
    _add_loader_arguments(parser)
    _add_shared_arguments(parser)
    return parser


def flops_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Parameters and multiply-accumulates of a config's model; needs no data.",
        epilog=_EPILOG,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        default=[224, 224],
        metavar='N',
        help='input height and width, or one number for both (default: 224 224)',
    )
    add_config_options(parser)
    return parser


def genotype_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Show, draw, validate, compare, convert and count genotypes.')
    parser.add_argument(
        '--import',
        dest='imports',
        action='append',
        default=[],
        metavar='MODULE',
        help='a module that registers primitives of your own; before COMMAND',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, what in (
        ('show', 'the edges, and where a genotype came from'),
        ('validate', 'whether files are genotypes; exit code 2 if one is not'),
        ('compare', 'edge by edge, and how many agree'),
        ('draw', 'groups, nodes and edges; several side by side, differences ringed'),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument('genotype', nargs='+', help='a built-in name, or a genotype.json')
        if name == 'show':
            command.add_argument('--json', action='store_true', help='as JSON')
        if name == 'draw':
            command.add_argument(
                '--out', required=True, help='FILE.svg, .png or .pdf; the edges as a table go beside it, .csv'
            )
    convert = commands.add_parser('convert', help="from the text of the authors' genotypes.py, or of a log of theirs")
    convert.add_argument('text', help='the file; only literals are read, nothing is evaluated')
    convert.add_argument('--name', help='which of its genotypes (default: the last)')
    convert.add_argument('--out', help='FILE.json (default: print)')
    count = commands.add_parser('count', help='parameters and multiply-accumulates of a cell, edge by edge')
    count.add_argument('genotype', help='a built-in name, or a genotype.json')
    count.add_argument('--channels', type=int, required=True, help="the cell's input channels")
    count.add_argument(
        '--size', type=int, nargs='+', required=True, metavar='N', help='height and width, or one number'
    )
    return parser


def _add_loader_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--no-pin-memory', action='store_true', help='pin_memory=False in the data loaders')


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes',
    )
    # torch.distributed.launch of torch >= 2.0 writes it with a hyphen.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override keys of the config: model.backbone.depth=18, '
        'key="[a,b]", key="[(a,b),(c,d)]" (quoted, no white space)',
    )
