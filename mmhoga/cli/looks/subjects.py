"""A trained network to look at: its config, its checkpoint, and how its host runs it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmhoga.cli.run.errors import explained
from mmhoga.cli.run.options import latest_checkpoint, require_checkpoint, set_preprocessor
from mmhoga.compat import allow_mmengine_checkpoints
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError, build_model, config_scope, import_mmpretrain, load_config
from mmhoga.look.class_scores import class_scores, proposal_scores


@dataclass(frozen=True)
class Subject:
    """One network.

    Attributes:
        name: as figures show it.
        cfg: its config.
        checkpoint: where its weights are from.
        model: in eval mode, on ``device``.
        classes: their names, as far as the checkpoint tells.
    """

    name: str
    cfg: Config
    checkpoint: str
    model: nn.Module
    classes: tuple[str, ...]
    device: torch.device

    @property
    def scope(self) -> str:
        return config_scope(self.cfg)

    @property
    def gives_probabilities(self) -> bool:
        """Whether a softmax over its scores is one over classes."""
        return self.scope == 'mmpretrain'

    def scores(self, inputs: Tensor, samples: Sequence[Any]) -> Tensor:
        """``(N, classes)`` before any softmax."""
        output = self.model(inputs, samples, mode='tensor')
        roi_head: Any = getattr(self.model, 'roi_head', None)
        if roi_head is not None:
            head = roi_head.bbox_head
            last: Any = head[-1] if isinstance(head, nn.ModuleList) else head  # of a cascade, one a stage
            return proposal_scores(output, last.num_classes)
        return class_scores(output, getattr(getattr(self.model, 'bbox_head', None), 'cls_out_channels', None))

    def forward(self, inputs: Tensor, layers: Sequence[str]) -> None:
        """Run as much of the network as has the layers, without samples if that is enough."""
        extract = getattr(self.model, 'extract_feat', None)
        if extract is not None and all(layer.partition('.')[0] in ('backbone', 'neck') for layer in layers):
            extract(inputs)
        else:
            self.model(inputs, mode='tensor')

    def default_layers(self) -> list[str]:
        """The backbone's stages, the deepest last: ``layer1``, ... of a ResNet, ``stages.0``, ... of a ConvNeXt.

        Raises:
            LaunchError: the backbone has no such names.
        """
        children = dict(getattr(self.model, 'backbone', nn.Module()).named_children())
        names = [name for name in children if name.startswith('layer') and name[5:].isdigit()]
        if not names and isinstance(children.get('stages'), (nn.ModuleList, nn.Sequential)):
            names = [f'stages.{index}' for index in range(len(children['stages']))]  # type: ignore[arg-type]
        if not names:
            backbone = type(getattr(self.model, 'backbone', self.model)).__name__
            raise LaunchError(
                f'{self.name}: {backbone} has no stages layer1, ... or stages.0, ...: name a layer '
                f'(--layer or --layers). It has {", ".join(f"backbone.{name}" for name in list(children)[:12])}.'
            )
        return [f'backbone.{name}' for name in names]

    def dataset(self) -> Any:
        """The data set it is tested on, else validated on; without shuffling."""
        loader = self.cfg.get('test_dataloader') or self.cfg.get('val_dataloader')
        if loader is None:
            raise LaunchError(f'{self.name}: {self.cfg.filename} has neither test_dataloader nor val_dataloader.')
        with explained(self.cfg), DefaultScope.overwrite_default_scope(self.scope):
            return DATASETS.build(loader.dataset)

    def facts(self) -> dict[str, str]:
        return {'name': self.name, 'config': str(self.cfg.filename), 'checkpoint': self.checkpoint}


def load_subjects(models: Sequence[Sequence[str]], options: dict | None, device: str) -> list[Subject]:
    """The networks of ``--model NAME WORK_DIR`` and ``--model NAME CONFIG CHECKPOINT``."""
    names = [name for name, *_ in models]
    if len(set(names)) != len(names):
        raise LaunchError(f'two models of one name: {", ".join(names)}.')
    return [load_subject(name, *found(name, where), options=options, device=device) for name, *where in models]


def found(name: str, where: Sequence[str]) -> tuple[str, str]:
    """(config, checkpoint) of what stands behind a model's name on the command line.

    Raises:
        LaunchError: not one or two words, or a work_dir without a config or a checkpoint.
    """
    if len(where) == 2:
        return where[0], where[1]
    if len(where) != 1:
        raise LaunchError(f'--model {name}: give a work_dir, or a config and a checkpoint, not {len(where)} words.')
    work_dir = Path(where[0])
    if not work_dir.is_dir():
        raise LaunchError(f'--model {name}: there is no work_dir {work_dir}.{near_names(work_dir)}')
    configs = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    checkpoint = latest_checkpoint(work_dir)
    if not configs or checkpoint is None:
        lacking = 'config (*.py)' if not configs else 'checkpoint (last_checkpoint)'
        raise LaunchError(f'--model {name}: {work_dir} has no {lacking}; give a config and a checkpoint.')
    return str(configs[-1]), str(checkpoint)


def load_subject(
    name: str, config: str, checkpoint: str, *, options: dict | None = None, device: str = 'cpu'
) -> Subject:
    """Build the model of a config and load a checkpoint into it, whole.

    Raises:
        LaunchError: no such config or checkpoint, or one that does not fit the other.
    """
    require_checkpoint(checkpoint)
    cfg = load_config(config, options)
    allow_mmengine_checkpoints()
    import_mmpretrain(cfg)
    set_preprocessor(cfg)
    model = build_model(cfg)
    with explained(cfg), warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        content = _read(checkpoint)
    _load(model, content, f'{config} and {checkpoint}')
    meta = content.get('meta') or {}
    classes = (meta.get('dataset_meta') or {}).get('classes') or ()
    target = torch.device(device)
    return Subject(name, cfg, checkpoint, model.to(target).eval(), tuple(map(str, classes)), target)


def _read(checkpoint: str) -> dict[str, Any]:
    try:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
    except pickle.UnpicklingError as error:  # torch's message advises to read it without any safety
        raise LaunchError(
            f'{checkpoint} cannot be read as a checkpoint: it holds more, or other, than weights.'
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LaunchError(f'{checkpoint} cannot be read as a checkpoint: {reason}') from error
    if not isinstance(content, dict):
        raise LaunchError(f'{checkpoint} holds a {type(content).__name__}, not a checkpoint.')
    return content


def _load(model: nn.Module, content: dict[str, Any], what: str) -> None:
    """All keys or none: an attention that keeps its random start would make a fine picture of nothing."""
    state = content.get('state_dict', content)
    state = {key.removeprefix('module.'): value for key, value in state.items() if isinstance(value, Tensor)}
    own = model.state_dict()
    counters = {key for key in own if key.endswith('num_batches_tracked')}
    missing = [key for key in own if key not in state and key not in counters]
    surplus = [key for key in state if key not in own]
    shapes = [key for key, value in own.items() if key in state and state[key].shape != value.shape]
    if missing or surplus or shapes:
        parts = [
            f'{len(missing)} weights of the model are not in the checkpoint (first: {missing[0]})' if missing else '',
            f'{len(surplus)} of the checkpoint are not in the model (first: {surplus[0]})' if surplus else '',
            f'{len(shapes)} have another shape (first: {shapes[0]}, {tuple(own[shapes[0]].shape)} in the model, '
            f'{tuple(state[shapes[0]].shape)} in the checkpoint)'
            if shapes
            else '',
        ]
        raise LaunchError(f'{what} do not fit: {"; ".join(filter(None, parts))}. Name the config it was trained with.')
    model.load_state_dict(state, strict=False)
