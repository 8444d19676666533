<<<<<<< HEAD
"""``mmhoga make-data``: write the images that the demos of mmdet and mmpose learn from."""
=======
"""``mmhoga make-data``: generate small data sets in COCO format."""
>>>>>>> cli

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.parser import command_parser
from mmhoga.datasets.synthetic.coco_files import KINDS, Recipe, annotation_file, write_coco
from mmhoga.hosts import LaunchError


<<<<<<< HEAD
def shapes_main(argv: Sequence[str] | None = None) -> int:
    """Write one or both data sets. Returns the exit code: 2 for bad input."""
    args = _parser().parse_args(argv)
    return run(lambda: _write(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Generate small data sets in COCO format: shapes with boxes for detection, people with keypoints '
        'for pose estimation. The same arguments give the same files.'
=======
def make_data_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Generate small data sets in COCO format, on which the configs of configs/demo train.\n\n'
        'shapes have boxes, for detection; people have keypoints, for pose estimation.\n'
        'The same arguments give the same files.',
        'mmhoga make-data shapes --out data',
>>>>>>> cli
    )
    parser.add_argument('kinds', nargs='*', metavar='KIND', help=f'{" or ".join(KINDS)} (default: both)')
    parser.add_argument('--out', default='data', help='folder in which to create KIND (default: data)')
    parser.add_argument('--train', type=int, default=Recipe.train, help='training pictures (default: %(default)s)')
<<<<<<< HEAD
    parser.add_argument('--val', type=int, default=Recipe.val, help='held-out pictures (default: %(default)s)')
=======
    parser.add_argument('--val', type=int, default=Recipe.val, help='validation pictures (default: %(default)s)')
>>>>>>> cli
    parser.add_argument('--size', type=int, default=0, help='height and width in pixels (default: 96, people 128)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    args = parser.parse_args(argv)
    return run(lambda: _write(args))


def _write(args: argparse.Namespace) -> None:
    for kind in args.kinds or KINDS:
        try:
            recipe = Recipe(kind, train=args.train, val=args.val, size=args.size, seed=args.seed)
            root = Path(args.out) / recipe.kind
            written = write_coco(root, recipe)
        except (ValueError, OSError) as error:
            raise LaunchError(str(error)) from error
        print(
<<<<<<< HEAD
            f'{root}: {"wrote" if written else "there already are"} {recipe.train} + {recipe.val} pictures of '
=======
            f'{root}: {"wrote" if written else "already has"} {recipe.train} + {recipe.val} pictures of '
>>>>>>> cli
            f'{recipe.size} x {recipe.size}, {annotation_file(recipe.kind, "train")}, '
            f'{annotation_file(recipe.kind, "val")}'
        )
