"""Trained networks of any host for the looks: their arguments, their samples, and the record of a figure."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import explained
from mmhoga.cli.run.runner import latest_checkpoint, require_checkpoint
from mmhoga.cli.run.weights import not_numbers
from mmhoga.cli.values import output_file
from mmhoga.compat.checkpoint import CheckpointError
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError, build_model, config_scope, import_mmpretrain, load_config
from mmhoga.insertion.places import input_channels
from mmhoga.look.outputs import class_scores, proposal_scores
from mmhoga.report.environment import describe_environment


@dataclass(frozen=True)
class TrainedNetwork:
    """A model in eval mode with the weights of a checkpoint. ``classes`` is empty if the checkpoint names none."""

    name: str
    cfg: Config
    checkpoint: str
    model: nn.Module
    classes: tuple[str, ...]

    def class_name(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else f'class {index}'

    def scores(self, inputs: Tensor, samples: Sequence[Any]) -> Tensor:
        """``(N, classes)`` before any softmax."""
        output = self.model(inputs, samples, mode='tensor')
        roi_head: Any = getattr(self.model, 'roi_head', None)
        if roi_head is None:
            return class_scores(output, getattr(getattr(self.model, 'bbox_head', None), 'cls_out_channels', None))
        head = roi_head.bbox_head
        last: Any = head[-1] if isinstance(head, nn.ModuleList) else head  # a cascade has one head per stage
        return proposal_scores(output, last.num_classes)

    def run_layers(self, inputs: Tensor, layers: Sequence[str]) -> None:
        """Run the network far enough to compute the layers; the head runs only if one of them is in it."""
        extract = getattr(self.model, 'extract_feat', None)
        if extract is not None and all(layer.partition('.')[0] in ('backbone', 'neck') for layer in layers):
            extract(inputs)
        else:
            self.model(inputs, mode='tensor')

    def stages(self) -> list[str]:
        """The layer names of the backbone's stages, the deepest last: ``layer1``, ... or ``stages.0``, ..."""
        names = [name for name, _ in self.model.named_modules() if re.fullmatch(r'backbone\.(layer|stages\.)\d+', name)]
        if not names:
            parts = ', '.join(name for name, _ in self.model.named_modules() if name.count('.') == 1)
            raise LaunchError(
                f'{self.name}: its backbone has no stages layer1, ... or stages.0, ... Name a layer with --layer or '
                f'--layers. It has {parts}.'
            )
        return names

    @property
    def dataset_config(self) -> dict[str, Any]:
        """The config of the test data set, or of the validation data set if there is no test data set."""
        loader = self.cfg.get('test_dataloader') or self.cfg.get('val_dataloader')
        if loader is None:
            raise LaunchError(f'{self.name}: {self.cfg.filename} has neither test_dataloader nor val_dataloader.')
        return loader.dataset

    @cached_property
    def dataset(self) -> Any:
        with explained(self.cfg, ['test']), DefaultScope.overwrite_default_scope(config_scope(self.cfg)):
            return DATASETS.build(self.dataset_config)


def look_parser(purpose: str, example: str, *, single: bool = False) -> argparse.ArgumentParser:
    """A parser for one model as positional arguments (``single``), or for several named ones with ``--model``."""
    parser = command_parser(purpose, example)
    paths = 'a work_dir, or a config and a checkpoint'
    if single:
        parser.add_argument('model', nargs='+', metavar='PATH', help=paths)
    else:
        model_help = f'a name for a network, and {paths}; repeat for each network'
        names = ('NAME', 'PATH')
        parser.add_argument('--model', nargs='+', action='append', required=True, metavar=names, help=model_help)
    out_help = 'FILE.png or FILE.pdf; also writes .npz and .json'
    parser.add_argument('--out', type=output_file('.png', '.pdf'), required=True, metavar='FILE', help=out_help)
    parser.add_argument('--device', default=get_device(), help='the device to compute on (default: %(default)s)')
    add_config_options(parser)
    return parser


def load_networks(args: argparse.Namespace) -> list[TrainedNetwork]:
    """Load the networks of ``--model NAME WORK_DIR`` and ``--model NAME CONFIG CHECKPOINT``."""
    names = [name for name, *_ in args.model]
    if len(set(names)) != len(names):
        raise LaunchError(f'two models have the same name: {", ".join(names)}. Give each its own.')
    return [load_network(paths, name, options=args.cfg_options, device=args.device) for name, *paths in args.model]


def load_network(
    paths: Sequence[str], name: str | None = None, *, options: dict | None = None, device: str = 'cpu'
) -> TrainedNetwork:
    """Build the model of a work_dir, or of a config and a checkpoint, with every weight from the checkpoint.

    Raises:
        LaunchError: there is no such config, checkpoint or device, or the checkpoint does not fit the config.
    """
    config, checkpoint = _config_and_checkpoint(paths, f'--model {name}: ' if name else '')
    require_checkpoint(checkpoint)
    cfg = load_config(config, options)
    import_mmpretrain(cfg)
    model = build_model(cfg)
    with explained(cfg, []), warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        try:
            # Strict, because a picture of layers with random weights would look right and mean nothing.
            content = load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent')
        except CheckpointError as error:
            raise LaunchError(str(error)) from error
        except RuntimeError as error:
            title, *details = [line for line in str(error).splitlines() if line] or ['']
            if title.startswith('The model and loaded state dict do not match'):
                reasons = ' '.join(shorten(line, 160, placeholder=' ...') for line in details[:3])
                problem = f'{config} and {checkpoint} do not fit: {reasons} Name the config it was trained with.'
            else:  # without torch's own message, which advises to switch its protection off
                problem = f'{checkpoint} is not a checkpoint: it is damaged or holds more than weights.'
            raise LaunchError(problem) from error
    if diverged := not_numbers(model.state_dict()):
        raise LaunchError(f'{checkpoint}: {diverged}')
    try:
        model = model.to(torch.device(device)).eval()
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise LaunchError(f'--device {device}: {str(error).splitlines()[0]}') from error
    return TrainedNetwork(name or 'the model', cfg, checkpoint, model, _classes(content))


def _classes(content: Any) -> tuple[str, ...]:
    """The names in a checkpoint's ``meta.dataset_meta.classes``, or none."""
    for key in ('meta', 'dataset_meta', 'classes'):
        content = content.get(key) if isinstance(content, dict) else None
    return tuple(map(str, content)) if isinstance(content, (list, tuple)) else ()


def _config_and_checkpoint(paths: Sequence[str], prefix: str) -> tuple[str, str]:
    """``(config, checkpoint)`` from either these two paths or one work_dir."""
    if len(paths) == 2:
        return paths[0], paths[1]
    if len(paths) != 1 or Path(paths[0]).is_file():
        given = ' '.join(paths) or 'nothing'
        raise LaunchError(f'{prefix}give a work_dir, or a config and a checkpoint, not: {given}.')
    work_dir = Path(paths[0])
    if not work_dir.is_dir():
        raise LaunchError(f'{prefix}there is no work_dir {work_dir}.{near_names(work_dir)}')
    configs = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    checkpoint = latest_checkpoint(work_dir)
    if not configs or checkpoint is None:
        missing = 'config (*.py)' if not configs else 'checkpoint (last_checkpoint)'
        raise LaunchError(f'{prefix}{work_dir} has no {missing}. Give a config and a checkpoint instead.')
    return str(configs[-1]), str(checkpoint)


@dataclass(frozen=True)
class Picture:
    """An image after the pipeline: ``data`` is the pipeline's output, ``title`` the label in figures."""

    data: dict[str, Any]
    title: str

    @property
    def label(self) -> int | None:
        """The class of the image, or of its largest box; None if it has neither."""
        sample = self.data['data_samples']
        label = getattr(sample, 'gt_label', None)
        if label is not None:
            return int(label.flatten()[0])
        instances = getattr(sample, 'gt_instances', None)
        if instances is None or 'labels' not in instances or 'bboxes' not in instances or not len(instances.labels):
            return None
        boxes = torch.as_tensor(getattr(instances.bboxes, 'tensor', instances.bboxes))
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return int(instances.labels[int(areas.argmax())])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width before any padding."""
        return tuple(self.data['inputs'].shape[-2:])  # type: ignore[return-value]


def batch(network: TrainedNetwork, pictures: Sequence[Picture]) -> tuple[Tensor, list[Any]]:
    """The normalised ``(N, C, H, W)`` inputs on the network's device, and the host's data samples."""
    given = len(pictures[0].data['inputs'])
    wanted = input_channels(network.model, default=given)
    if wanted != given:
        raise LaunchError(
            f'{network.name} takes images with {wanted} channel(s), but the test pipeline of {network.cfg.filename} '
            f"returns {given}. Set its color_type, for example dict(type='LoadImageFromFile', color_type='grayscale')."
        )
    data = pseudo_collate([picture.data for picture in pictures])
    ready = network.model.data_preprocessor(data, False)  # type: ignore[operator]
    return ready['inputs'], ready['data_samples']


def save_look(
    args: argparse.Namespace, networks: Sequence[TrainedNetwork], figure: Any, arrays: dict, entries: dict
) -> None:
    """Write the figure, its arrays, and a ``.json`` with entries, networks and versions; print the paths."""
    from mmhoga.figures.styles import save_figure  # imports matplotlib, which an export does not need

    models = [
        {'name': network.name, 'config': str(network.cfg.filename), 'checkpoint': network.checkpoint}
        for network in networks
    ]
    record = {**entries, 'models': models, 'environment': describe_environment()}
    print(*save_figure(args.out, figure, arrays, record), sep='\n')
