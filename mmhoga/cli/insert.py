"""``mmhoga insert``: a checkpoint and a config of a trained network with an attention that changes nothing yet."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmhoga.cli.costs import three_digits
from mmhoga.cli.inserted_networks import Networks, build_networks, cells_with_start, estimate_on_training_data
from mmhoga.cli.insertion_configs import inserted_config, pretrained_backbone, without_download
from mmhoga.cli.looks.networks import TrainedNetwork
from mmhoga.cli.places import add_cell_arguments, count_network
from mmhoga.cli.plain_weights import Match, match, read_weights, require_match
from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.same_outputs import Comparison, compare
from mmhoga.cli.values import height_and_width, output_file, positive
from mmhoga.compat.checkpoint import plain_checkpoint
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError
from mmhoga.insertion import AdapterError, PlaceError, load_adapter

WRITTEN = 'Written by mmhoga insert.'
# Keys of HOGA and of mmhoga.Attention, inserted or plugins.
_OF_A_CELL = re.compile(r'\.hoga\w*\.phi\.|\.attention\w*\.layer\.')


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
    norm_help = "estimate the statistics of the cells' batch norms on this number of batches of the training data"
    parser.add_argument('--norm-batches', type=positive(int), metavar='N', help=norm_help)
    adapter_help = 'then load trained cells from this adapter file, for inference with one checkpoint'
    parser.add_argument('--adapter', metavar='FILE.safetensors', help=adapter_help)
    add_config_options(parser)
    args = parser.parse_args(argv)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # the command prints what the insertion and the loading log
    try:
        return run(lambda: _insert(args), PlaceError)
    finally:
        logger.setLevel(level)


def _insert(args: argparse.Namespace) -> None:
    networks = build_networks(args)
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
    batches = 0
    if args.norm_batches:
        batches = estimate_on_training_data(networks.inserted, networks.cfg, args.norm_batches)
    compared = compare(
        networks.plain,
        networks.inserted,
        args.images,
        size=height_and_width('--shape', args.shape) if args.shape else None,
        data=TrainedNetwork(args.config, networks.cfg, checkpoint, networks.plain, ()) if args.data else None,
    )
    keys = {*found.matched, *networks.cell_keys}
    lines = [f'{checkpoint}: {found.describe()}', _describe_cells(networks, compared), _describe_norms(args, batches)]
    lines.append(
        f'Largest difference of the outputs with and without them, for {compared.text}: {compared.difference:g}.'
    )
    if args.adapter:
        _load_adapter(networks.inserted, args.adapter)
        keys.update(networks.inserted.state_dict())  # it may have trained the head as well
        lines.append(f'Then the adapter {args.adapter} was loaded, so the cells are the trained ones.')

    state = {key: value for key, value in networks.inserted.state_dict().items() if key in keys}
    config, text = str(args.config), ''
    if networks.change:
        change, config = networks.change, str(args.out.with_suffix('.py'))
        if not any(key.startswith(('backbone.', 'architecture.backbone.')) for key in found.missing):
            change = without_download(change, networks.base)
        text = inserted_config(networks.base, args.config, change, args.out, whole=bool(args.cfg_options))
    _write(args.out, state, meta, text)
    load = '' if text else f' --cfg-options load_from={args.out}'
    command = f'test {config} {args.out}' if args.adapter else f'train {config}{load}'
    print(*lines, f'Wrote {args.out}{f" and {config}" if text else ""}. Next:\n\n    mmhoga {command}', sep='\n')


def _load_adapter(network: nn.Module, path: str) -> None:
    try:
        load_adapter(network, path)
    except (AdapterError, FileNotFoundError) as error:
        raise LaunchError(f'--adapter: {error}') from error


def _write(out: Path, state: dict[str, Tensor], meta: dict[str, Any], config: str) -> None:
    """Write the checkpoint and, unless its text is empty, the config beside it."""
    content = io.BytesIO()
    meta = {key: meta[key] for key in ('dataset_meta',) if key in meta}
    torch.save(plain_checkpoint({'meta': meta, 'state_dict': state}), content)
    try:
        write_atomic(out, content.getvalue())
        if config:
            write_atomic(out.with_suffix('.py'), config)
    except OSError as error:
        raise LaunchError(f'{out} cannot be written: {error.strerror}.') from error


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
    others = [key for key in found.unused if _OF_A_CELL.search(key)]
    if others:
        raise LaunchError(
            f'{checkpoint} was trained with attention at other places, which the network does not have '
            f'({len(others)} keys, such as {others[0]}). Use the config that it was trained with.'
        )


def _require_identity(network: nn.Module, config: str) -> None:
    """Refuse cells that start at random, which would ruin the network."""
    cells = cells_with_start(network)
    at_random = [cell for cell in cells if not cell.is_identity()]  # type: ignore[operator]
    if at_random or not cells:
        kind = f'{len(at_random)} of {len(cells)} cells ({type(at_random[0]).__name__})' if cells else 'the attention'
        raise LaunchError(f"{config}: {kind} would start at random. Set start='identity' beside its type.")


def _describe_cells(networks: Networks, compared: Comparison) -> str:
    """The number of cells and what they add to the network."""
    cells = cells_with_start(networks.inserted)
    names = ', '.join(dict.fromkeys(type(cell).__name__ for cell in cells))
    plain, inserted = (count_network(network, compared.size)[0] for network in (networks.plain, networks.inserted))
    text = f'{len(cells)} cells ({names}) add {_added(plain.params, inserted.params, 1e6, "M parameters")}'
    if plain.macs:
        height, width = compared.size
        text += f' and {_added(plain.macs, inserted.macs, 1e9, "G MACs")} at {height} x {width}'
    return f'{text}. They start as the identity.'


def _describe_norms(args: argparse.Namespace, batches: int) -> str:
    if args.norm_batches and not batches:
        return 'They have no batch norms whose statistics could be estimated.'
    if batches:
        return f'The statistics of their batch norms were estimated on {batches} batches of the training data.'
    return 'Their batch norms start with mean 0 and variance 1; --norm-batches N estimates these on training data.'


def _added(before: int, after: int, unit: float, name: str) -> str:
    return f'{three_digits((after - before) / unit)} {name} (+{three_digits(100 * (after - before) / before)} %)'
