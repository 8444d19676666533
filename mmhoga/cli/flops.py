"""What tools/analysis_tools/get_flops.py does: build a config's model and print what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmhoga.cli.run.arguments import flops_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.options import set_preprocessor
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config
from mmhoga.models.complexity import Complexity, count_parts


def flops_main(argv: Sequence[str] | None = None) -> int:
    """Print parameters and multiply-accumulates. Returns the exit code."""
    args = flops_parser().parse_args(argv)
    return run(lambda: print(complexity_table(args.config, args.shape, args.cfg_options)))


def complexity_table(config: str, shape: Sequence[int], options: dict | None = None) -> str:
    """The table that get_flops.py prints: a row for each part of the model, and their sum.

    Args:
        config: path of a config of any host.
        shape: height and width, or one number for both.
        options: what to override in the config.
    """
    if not 1 <= len(shape) <= 2:
        raise LaunchError(f'--shape takes the height and the width, not {len(shape)} numbers.')
    size = (shape[0], shape[-1])
    model, counted = count_config(load_config(config, options), size)
    rows = [(name, counted[name]) for name in _part_names(model) if name in counted]
    rows = [(name, part) for name, part in rows if part.params or part.macs]
    return _format([*rows, ('total', counted[''])], f'{config} at {size[0]} x {size[1]}')


def count_config(cfg: Config, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Complexity]]:
    """Build a config's model and count it, and all its parts, for one image of ``size`` (height, width)."""
    import_mmpretrain(cfg)
    set_preprocessor(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg.model)
    return model, count_parts(model, (_input_channels(model), *size))


def _part_names(model: nn.Module, prefix: str = '') -> list[str]:
    """Backbone, neck and heads; those of the architecture, when a search model is around it."""
    names = [f'{prefix}{name}' for name, _ in model.named_children()]
    inner = getattr(model, 'architecture', None)
    if isinstance(inner, nn.Module):
        return _part_names(inner, f'{prefix}architecture.')
    return names


def _input_channels(model: nn.Module) -> int:
    """Those of the first convolution: a digits network takes 1, not 3."""
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    first = next(convolutions, None)
    return 3 if first is None else first.in_channels


def _format(rows: Sequence[tuple[str, Complexity]], title: str) -> str:
    width = max(len(name) for name, _ in rows)
    lines = [title, f'{"":<{width}}  params (M)  MACs (G)']
    for name, part in rows:
        lines.append(f'{name:<{width}}  {_figure(part.params / 1e6):>10}  {_figure(part.macs / 1e9):>8}')
    return '\n'.join(lines)


def _figure(number: float) -> str:
    """Two decimals, as papers print them; of a small network, three digits."""
    return f'{number:.2f}' if number >= 1 or number == 0 else f'{number:.3g}'
