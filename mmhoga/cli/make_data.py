"""``mmhoga make-data``: generate small data sets in COCO format."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhoga.cli.run.arguments import command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import positive, seed
from mmhoga.datasets.synthetic.coco_files import KINDS, Recipe, annotation_file, write_coco
from mmhoga.hosts import LaunchError


def make_data_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Generate small data sets in COCO format, on which the configs of configs/demo train.\n\n'
        'shapes have boxes, for detection; people have keypoints, for pose estimation.\n'
        'The same arguments give the same files.',
        'mmhoga make-data shapes --out data',
    )
    parser.add_argument('kinds', nargs='*', metavar='KIND', help=f'{" or ".join(KINDS)} (default: both)')
    parser.add_argument('--out', default='data', help='folder in which to create KIND (default: data)')
    parser.add_argument('--train', type=int, default=Recipe.train, help='training pictures (default: %(default)s)')
    parser.add_argument('--val', type=int, default=Recipe.val, help='validation pictures (default: %(default)s)')
    parser.add_argument('--size', type=positive(int), help='height and width in pixels (default: 96, people 128)')
    parser.add_argument('--seed', type=seed, default=0, help='(default: %(default)s)')
    args = parser.parse_args(argv)
    return run(lambda: _write(args))


def _write(args: argparse.Namespace) -> None:
    for kind in args.kinds or KINDS:
        try:
            recipe = Recipe(kind, train=args.train, val=args.val, size=args.size or 0, seed=args.seed)
            root = Path(args.out) / recipe.kind
            written = write_coco(root, recipe)
        except (ValueError, OSError) as error:
            raise LaunchError(str(error)) from error
        print(
            f'{root}: {"wrote" if written else "already has"} {recipe.train} + {recipe.val} pictures of '
            f'{recipe.size} x {recipe.size}, {annotation_file(recipe.kind, "train")}, '
            f'{annotation_file(recipe.kind, "val")}'
        )
