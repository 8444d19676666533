"""Write a self-contained HTML report of a search, of trained networks, or of both, from their work directories."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhoga.cli.run.arguments import command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import positive
from mmhoga.hosts import LaunchError
from mmhoga.report.report import report_from_work_dirs


def report_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(__doc__ or '', 'mmhoga report --search work_dirs/demo/search --out search.html')
    parser.add_argument('--search', metavar='WORK_DIR', help='work directory of a search, finished or running')
    network_help = 'a network and the work directories of its runs, one per seed; repeat for each network'
    network_names = ('NAME', 'WORK_DIR')
    parser.add_argument('--network', nargs='+', action='append', default=[], metavar=network_names, help=network_help)
    parser.add_argument(
        '--shape', nargs=3, type=positive(int), metavar=('C', 'H', 'W'), help='size of an input, to count MACs'
    )
    measure_help = 'time training steps (instead of using the logs) or images (of --shape) on this machine'
    parser.add_argument('--measure', nargs='+', choices=['steps', 'images'], default=[], help=measure_help)
    parser.add_argument('--highlight', metavar='NAME', help='the network that the headline is about')
    parser.add_argument('--metric', help='key in the logs, for example accuracy/top1 (default: the first known one)')
    parser.add_argument('--split', help='data that the metric was measured on, for the labels (for example test)')
    parser.add_argument('--title', default='HOGA report')
    out_help = 'the numbers are saved beside it as FILE.json'
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.html', help=out_help)
    return run(lambda: _report(parser.parse_args(argv)), ValueError, OSError)


def _report(args: argparse.Namespace) -> None:
    if args.out.suffix not in ('.html', '.htm'):
        raise LaunchError(f'--out {args.out}: a report is a .html file.')
    if not args.search and not args.network:
        raise LaunchError('nothing to report: give --search, --network, or both.')
    networks: dict[str, list[str]] = {}
    for name, *folders in args.network:
        if not folders:
            raise LaunchError(f'--network {name}: give its name and the work directories of its runs.')
        if name in networks:
            raise LaunchError(f'--network {name} is given twice: give all its work directories at once.')
        networks[name] = folders
    path = report_from_work_dirs(
        args.out,
        title=args.title,
        search_dir=args.search,
        networks=networks,
        shape=args.shape,
        measure_steps='steps' in args.measure,
        measure_images='images' in args.measure,
        highlight=args.highlight,
        metric=args.metric,
        split=args.split,
    )
    print(path.with_suffix('.json'), path, sep='\n')
