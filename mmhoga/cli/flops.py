"""``mmhoga flops``: count the parameters and multiply-accumulates of a config's model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from torch import nn

from mmhoga.cli.run.arguments import add_config_options
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.parser import command_parser
from mmhoga.cli.values import format_table, height_and_width, positive
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, load_config, one_paragraph
from mmhoga.models.complexity import Complexity, count_parts


def flops_main(argv: Sequence[str] | None = None) -> int:
    """Print parameters and multiply-accumulates. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        "Count the parameters and multiply-accumulates (MACs) of a config's model. No data is needed.",
        'mmhoga flops hoga-resnet50_8xb32_in1k --shape 224',
    )
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    shape_help = 'height and width of the input, or one number for both (default: 224)'
    parser.add_argument('--shape', type=positive(int), nargs='+', default=[224], metavar='N', help=shape_help)
    add_config_options(parser)
    return run(lambda: _print_table(parser.parse_args(argv)))


def _print_table(args: argparse.Namespace) -> None:
    height, width = height_and_width('--shape', args.shape)
    model, counted = count_config(load_config(args.config, args.cfg_options), (height, width))
    inner = getattr(model, 'architecture', None)  # a search model has its network here
    prefix, network = ('architecture.', inner) if isinstance(inner, nn.Module) else ('', model)
    rows = [('', 'params (M)', 'MACs (G)')]
    for name in [*(prefix + child for child, _ in network.named_children()), '']:
        part = counted.get(name)
        if part is not None and (part.params or part.macs):
            rows.append((name or 'total', _three_digits(part.params / 1e6), _three_digits(part.macs / 1e9)))
    print(f'{args.config} at {height} x {width}\n{format_table(rows)}')


def count_config(cfg: Config, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Complexity]]:
    """Build a config's model and count it and each of its modules for one image of ``size`` (height, width).

    Raises:
        LaunchError: the model cannot be built, or does not run on such an image.
    """
    import_mmpretrain(cfg)
    model = build_model(cfg)
    shape = (input_channels(model), *size)
    try:
        return model, count_parts(model, shape)
    except Exception as error:
        raise LaunchError(
            f'the model of {cfg.filename} does not run on an image of shape {shape}: {one_paragraph(error)}'
        ) from error


def input_channels(model: nn.Module, default: int = 3) -> int:
    """The input channels of the first convolution: a network for digits takes 1."""
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), default)


def _three_digits(number: float) -> str:
    """Two decimals, as in papers; below 1, three significant digits."""
    return f'{number:.2f}' if number >= 1 or number == 0 else f'{number:.3g}'
