"""Write one self-contained HTML report of a search, of trained networks, or of both, from their work directories."""

import argparse
import sys

from mmhoga.analysis.report import report_from_work_dirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--search', metavar='WORK_DIR', help='of a search, finished or still running')
    parser.add_argument(
        '--network',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'WORK_DIR'),
        help='a network and the work directories of its runs, one a seed; once for each network',
    )
    parser.add_argument('--shape', nargs=3, type=int, metavar=('C', 'H', 'W'), help='of an input, to count MACs')
    parser.add_argument('--highlight', metavar='NAME', help='the network that the headline is about')
    parser.add_argument('--metric', help='key in the logs, as accuracy/top1 (default: the first known one)')
    parser.add_argument('--split', help='what the metric was measured on, for the labels, as test')
    parser.add_argument('--title', default='HOGA report')
    parser.add_argument('--out', required=True, metavar='FILE.html')
    args = parser.parse_args()
    if not args.search and not args.network:
        parser.error('nothing to report: give --search, --network, or both')
    networks = {name: folders for name, *folders in args.network}
    try:
        path = report_from_work_dirs(
            args.out,
            title=args.title,
            search_dir=args.search,
            networks=networks,
            shape=args.shape,
            highlight=args.highlight,
            metric=args.metric,
            split=args.split,
        )
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
