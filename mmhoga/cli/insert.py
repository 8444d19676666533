"""``mmhoga insert``: a checkpoint and a config of a trained network with an attention that changes nothing yet."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmhoga.cli.costs import three_digits
from mmhoga.cli.insertion_configs import (
    Insertion,
    inserted_config,
    insertion,
    pretrained_backbone,
    without_cells,
    without_download,
)
from mmhoga.cli.looks.networks import TrainedNetwork
from mmhoga.cli.places import add_cell_arguments, cell_config, count_network, matching
from mmhoga.cli.plain_weights import Match, match, read_weights, require_match
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.same_outputs import Comparison, compare
from mmhoga.cli.values import height_and_width, output_file, positive
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError, build_model, import_mmpretrain, load_config
from mmhoga.insertion.places import PlaceError, find_places

WRITTEN = 'Written by mmhoga insert.'


def insert_main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint and the config. Returns the exit code: 2 for bad input."""
    parser = command_parser(
        'Add an attention to a trained network so that it computes what it computed before, check that, and write the '
        'checkpoint to fine-tune from. With --after or --before, CONFIG is the config of the plain network, and a '
        'config with the attention is written as well. Without them, CONFIG has the attention already: '
        "type='mmhoga.Insert', or plugins with start='identity'.",
        r'mmhoga insert mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py rtmdet_tiny.pth --out hoga-rtmdet.pth --after '
        r"'backbone\.stage\d'",
    )
    parser.add_argument('config', metavar='CONFIG', help='a config: its path or name, or mmdet::PATH of a host')
    checkpoint_help = (
        'weights of the plain network, or of its backbone: .pth or .safetensors '
        '(default: load_from of the config, or the pretrained backbone that it names)'
    )
    parser.add_argument('checkpoint', metavar='CHECKPOINT', nargs='?', help=checkpoint_help)
    out_help = 'the checkpoint to write; the config goes beside it as FILE.py'
    parser.add_argument('--out', type=output_file('.pth'), required=True, metavar='FILE.pth', help=out_help)
    where = parser.add_mutually_exclusive_group()
    place_help = 'insert {} every module whose whole name matches; mmhoga places lists the names'
    where.add_argument('--after', metavar='PATTERN', help=place_help.format('after'))
    where.add_argument('--before', metavar='PATTERN', help=place_help.format('before'))
    add_cell_arguments(parser)
    skip_help = 'leave out the modules whose width the attention cannot split, instead of refusing'
    parser.add_argument('--skip-indivisible', action='store_true', help=skip_help)
    images_help = 'compare the networks on this number of images (default: 2)'
    parser.add_argument('--images', type=positive(int), default=2, metavar='N', help=images_help)
    data_help = "compare on images of the config's test or validation data instead of random ones"
    parser.add_argument('--data', action='store_true', help=data_help)
    shape_help = 'height and width of random images, or one number for both (default: a size that the network takes)'
    parser.add_argument('--shape', type=positive(int), nargs='+', metavar='N', help=shape_help)
    add_config_options(parser)
    args = parser.parse_args(argv)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # the command prints what the insertion and the loading log
    try:
        return run(lambda: _insert(args), PlaceError)
    finally:
        logger.setLevel(level)


@dataclass
class Networks:
    """A network without and with cells, from the same weights."""

    cfg: Config  # with cells
    plain: nn.Module
    inserted: nn.Module
    change: Insertion | None = None  # what a config with cells differs in from CONFIG

    @property
    def cell_keys(self) -> list[str]:
        """The keys of the cells in the state dict."""
        known = set(self.plain.state_dict())
        return [key for key in self.inserted.state_dict() if key not in known]

    @property
    def part(self) -> str:
        """The part of the network that has all cells: ``backbone``, or empty for the whole."""
        for part in ('architecture.backbone', 'backbone'):
            if all(key.startswith(f'{part}.') for key in self.cell_keys):
                return part
        return ''


def _insert(args: argparse.Namespace) -> None:
    networks = _networks(args)
    checkpoint = args.checkpoint or networks.cfg.get('load_from') or pretrained_backbone(networks.cfg)
    if not checkpoint:
        raise LaunchError(f'{args.config} names no checkpoint: give one after the config.')
    _require_free(args, checkpoint)
    weights, meta = read_weights(checkpoint)
    found = match(networks.plain, weights)
    _require_plain(networks, found, checkpoint)
    require_match(found, networks.plain, checkpoint, networks.part)
    networks.plain.load_state_dict(found.matched, strict=False)
    networks.inserted.load_state_dict(networks.plain.state_dict(), strict=False)
    _require_identity(networks.inserted, args.config)
    compared = compare(
        networks.plain,
        networks.inserted,
        args.images,
        size=height_and_width('--shape', args.shape) if args.shape else None,
        data=TrainedNetwork(args.config, networks.cfg, checkpoint, networks.plain, ()) if args.data else None,
    )

    config_out, text = args.out.with_suffix('.py'), ''
    if networks.change:
        change = networks.change
        if not any(key.startswith(f'{networks.part}.') for key in found.missing):
            change = without_download(change, networks.cfg)
        cfg = load_config(args.config, args.cfg_options)
        text = inserted_config(cfg, args.config, change, args.out, whole=bool(args.cfg_options))
    keys = {*found.matched, *networks.cell_keys}
    state = {key: value for key, value in networks.inserted.state_dict().items() if key in keys}
    _write(args.out, state, meta)
    if text:
        write_atomic(config_out, text)

    print(f'{checkpoint}: {found.describe()}')
    print(_describe_cells(networks, compared))
    print(f'Largest difference of the outputs with and without them, for {compared.text}: {compared.difference:g}.')
    command = f'mmhoga train {config_out}' if text else f'mmhoga train {args.config} --cfg-options load_from={args.out}'
    print(f'Wrote {args.out}{f" and {config_out}" if text else ""}. Next:\n\n    {command}')


def _write(out: Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    content = io.BytesIO()
    torch.save({'meta': {key: meta[key] for key in ('dataset_meta',) if key in meta}, 'state_dict': state}, content)
    try:
        write_atomic(out, content.getvalue())
    except OSError as error:
        raise LaunchError(f'{out} cannot be written: {error.strerror}.') from error


def _networks(args: argparse.Namespace) -> Networks:
    """Build the network without and with the cells that a command line asks for."""
    pattern = args.after if args.after is not None else args.before
    cfg = load_config(args.config, args.cfg_options)
    import_mmpretrain(cfg)
    if pattern is None:
        plain = without_cells(cfg)
        if plain.model == cfg.model:
            raise LaunchError(
                f'{args.config} has no attention of mmhoga. Choose where it goes: --after PATTERN or --before PATTERN. '
                f'mmhoga places {args.config} lists the names.'
            )
        if args.genotype or args.cell != 'hoga' or args.skip_indivisible:
            raise LaunchError(
                f'{args.config} sets the attention: --cell, --genotype and --skip-indivisible are for --after and '
                '--before.'
            )
        return Networks(cfg, build_model(plain), build_model(cfg))
    settings: dict[str, Any] = {'cell': cell_config(args), 'after' if args.before is None else 'before': pattern}
    if args.skip_indivisible:
        settings['skip_indivisible'] = True
    plain_model = build_model(cfg)
    places = find_places(plain_model, before=args.before is not None)
    matching(pattern, places, plain_model)
    change = insertion(cfg, pattern, [place.name for place in places], settings)
    changed = load_config(args.config, args.cfg_options)
    changed.merge_from_dict(change.options)
    return Networks(changed, plain_model, build_model(changed), change)


def _require_free(args: argparse.Namespace, checkpoint: str) -> None:
    """Refuse to write over the input, or over a config that somebody has written."""
    if args.out.exists() and Path(checkpoint).exists() and args.out.samefile(checkpoint):
        raise LaunchError(f'--out {args.out} is the checkpoint itself. Choose another name.')
    config = args.out.with_suffix('.py')
    if args.after is None and args.before is None:
        return
    if config.exists() and WRITTEN not in config.read_text(encoding='utf-8', errors='replace').partition('\n')[0]:
        raise LaunchError(f'{config}, the config beside --out, exists already. Choose another name, or remove it.')


def _require_plain(networks: Networks, found: Match, checkpoint: str) -> None:
    """Refuse weights of cells: of these ones, which would be lost, or of others, which the networks lack."""
    ours = [key for key in networks.cell_keys if key in found.weights]
    if ours:
        raise LaunchError(
            f'{checkpoint} has weights for the attention already ({len(ours)} of its {len(networks.cell_keys)} keys, '
            f'such as {ours[0]}). It needs no insertion: train it with load_from={checkpoint}.'
        )
    others = [key for key in found.weights if key not in found.matched and ('.hoga' in key or '.attention.' in key)]
    if others:
        raise LaunchError(
            f'{checkpoint} was trained with attention at other places, which the network does not have '
            f'({len(others)} keys, such as {others[0]}). Use the config that it was trained with.'
        )


def _cells(module: nn.Module) -> list[nn.Module]:
    """The attentions of a network that have an identity start."""
    if hasattr(module, 'is_identity'):
        return [module]
    return [cell for child in module.children() for cell in _cells(child)]


def _require_identity(network: nn.Module, config: str) -> None:
    """Refuse cells that start at random, which would ruin the network."""
    cells = _cells(network)
    at_random = [cell for cell in cells if not cell.is_identity()]  # type: ignore[operator]
    if at_random or not cells:
        kind = f'{len(at_random)} of {len(cells)} cells ({type(at_random[0]).__name__})' if cells else 'the attention'
        raise LaunchError(f"{config}: {kind} would start at random. Set start='identity' beside its type.")


def _describe_cells(networks: Networks, compared: Comparison) -> str:
    """The number of cells and what they add to the network."""
    cells = _cells(networks.inserted)
    names = ', '.join(dict.fromkeys(type(cell).__name__ for cell in cells))
    plain, inserted = (count_network(network, compared.size)[0] for network in (networks.plain, networks.inserted))
    text = f'{len(cells)} cells ({names}) add {_added(plain.params, inserted.params, 1e6, "M parameters")}'
    if plain.macs:
        height, width = compared.size
        text += f' and {_added(plain.macs, inserted.macs, 1e9, "G MACs")} at {height} x {width}'
    return f'{text}. They start as the identity, and their norms with mean 0 and variance 1.'


def _added(before: int, after: int, unit: float, name: str) -> str:
    return f'{three_digits((after - before) / unit)} {name} (+{three_digits(100 * (after - before) / before)} %)'
