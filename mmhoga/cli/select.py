"""``mmhoga select``: choose the genotype of a finished search in another way."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import explained, run
from mmhoga.cli.run.lock import locked
from mmhoga.cli.run.runner import latest_checkpoint, require_checkpoint
from mmhoga.cli.values import not_negative, positive, seed
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config
from mmhoga.search.selection.finished import DATA, open_search
from mmhoga.search.selection.select import OPTIONS, Selection

WRITTEN = ('plugins.py', 'insertion.py')  # by the search, beside its config


def select_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input."""
    args = _parser().parse_args(argv)
    return run(lambda: _select(args), ValueError)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        'Choose the genotype of a finished search in another way, without searching again.\n\n'
        'Writes genotype.json, plugins.py or insertion.py, derived.pth and, if the method compares, candidates.json.',
        'mmhoga select work_dirs/my_search --method score --out work_dirs/my_search_by_score',
    )
    defaults = {name: value for options in OPTIONS.values() for name, value in options.items()}

    def add(option: str, help: str, **settings) -> None:
        default = defaults[option.lstrip('-').replace('-', '_')]
        text = help if default is None else f'{help} (default: {default})'
        parser.add_argument(option, help=text, default=argparse.SUPPRESS, **settings)

    parser.add_argument('work_dir', type=Path, help='folder of the search')
    parser.add_argument('--method', choices=list(OPTIONS), required=True, help='see docs/selection.md')
    parser.add_argument('--out', type=Path, metavar='FOLDER', help='for the files (default: WORK_DIR)')
    parser.add_argument('--checkpoint', help='of the search (default: its last one)')
    add('--data', 'trainB: its loss; val: the metrics of the validation', choices=DATA)
    add('--metric', 'with --data val (default: the first one)')
    add('--batches', 'batches of trainB', type=positive(int), metavar='N')
    add('--norm-batches', 'score: batches of trainA for the batch norms; 0 for none', type=not_negative, metavar='N')
    add('--candidates', 'score: number of genotypes', type=positive(int), metavar='N')
    add(
        '--tune-iterations', 'perturbation: steps on trainA after each edge; 0 for none', type=not_negative, metavar='N'
    )
    add('--tune-lr', 'perturbation: their learning rate over the initial one', type=positive(float), metavar='X')
    add('--seed', 'of the draws (default: that of the search)', type=seed, metavar='N')
    add_config_options(parser)
    return parser


def _select(args: argparse.Namespace) -> None:
    options = {name: value for name, value in vars(args).items() if any(name in each for each in OPTIONS.values())}
    selection = Selection(args.method, **options)
    if not args.work_dir.is_dir():
        raise LaunchError(f'there is no folder {args.work_dir}.{near_names(args.work_dir)}')
    checkpoint = args.checkpoint or latest_checkpoint(args.work_dir)
    if checkpoint is None:
        raise LaunchError(f'{args.work_dir} has no checkpoint (no last_checkpoint): name one with --checkpoint.')
    require_checkpoint(str(checkpoint))
    cfg = load_config(str(_config_in(args.work_dir)), args.cfg_options)
    import_mmpretrain(cfg)
    out = args.out or args.work_dir
    with locked(out):
        with explained(cfg, ['train', 'val']):
            loop = open_search(cfg, checkpoint)
        genotypes = selection.run(loop, out, args.work_dir)
    for stage, genotype in genotypes.items():
        print(f'{stage}:\n{genotype}' if stage else genotype)
    print(f'Selected by {args.method}; written to {out}')


def _config_in(work_dir: Path) -> Path:
    """The config of the search, as mmengine dumped it at the last start."""
    beside = [path for path in work_dir.glob('*.py') if path.name not in WRITTEN]
    configs = beside or list(work_dir.glob('*/vis_data/config.py'))
    searches = [path for path in configs if 'SearchLoop' in path.read_text(encoding='utf-8')]
    if not searches:
        raise LaunchError(
            f'{work_dir} has no config of a search: neither a .py file beside the checkpoints nor '
            'TIMESTAMP/vis_data/config.py mentions SearchLoop. Give the --work-dir of a search.'
        )
    return max(searches, key=lambda path: path.stat().st_mtime)
