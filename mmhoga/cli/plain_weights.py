"""The weights of a checkpoint for a network without attention, whatever prefix its keys have."""

from __future__ import annotations

import urllib.error
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file
from torch import Tensor, nn

from mmhoga.cli.run.runner import require_checkpoint
from mmhoga.compat.checkpoint import CheckpointError
from mmhoga.hosts import LaunchError, one_paragraph

# A checkpoint of a classifier has a backbone's keys with "backbone.", one of torchvision without.
IN_FILE = ('', 'backbone.', 'module.', 'model.', 'architecture.')
IN_NETWORK = ('', 'backbone.', 'architecture.', 'architecture.backbone.')
#: A checkpoint that has less of the keys is one of another network.
MINIMUM = 0.5


def read_weights(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict and the meta of a checkpoint: of mmengine, a plain state dict, or a ``.safetensors`` file.

    Raises:
        LaunchError: the file is missing, cannot be read, or has no weights.
    """
    require_checkpoint(path)
    try:
        if Path(path).suffix == '.safetensors':
            content: Any = load_file(path)
        else:
            content = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except urllib.error.URLError as error:
        raise LaunchError(
            f'{path} cannot be downloaded ({error.reason}). Download it elsewhere and give its path.'
        ) from error
    except CheckpointError as error:
        raise LaunchError(str(error)) from error
    except Exception as error:
        raise LaunchError(f'{path} cannot be read as a checkpoint: {one_paragraph(error)[:300]}') from error
    meta: dict[str, Any] = {}
    if isinstance(content, Mapping):
        meta = content.get('meta') or {}
        content = next(
            (content[key] for key in ('state_dict', 'model') if isinstance(content.get(key), Mapping)), content
        )
        weights = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if weights:
            return weights, meta
    raise LaunchError(f'{path} has no weights: it is neither a state dict nor has one as "state_dict" or "model".')


@dataclass
class Match:
    """The weights of a checkpoint by the keys of a network.

    Args:
        weights: all weights of the checkpoint, with the prefix that the network's keys have.
        matched: those that the network has, in the same shape.
        missing: the keys of the network that are not in the checkpoint. Keys that no forward pass reads do not count.
        unused: the keys of the checkpoint, as they are there, that the network does not have.
    """

    weights: dict[str, Tensor]
    matched: dict[str, Tensor]
    missing: list[str]
    unused: list[str]

    def describe(self) -> str:
        """A sentence with the number of keys."""
        total = sum(map(_counts, self.matched)) + len(self.missing)
        if not self.missing:
            text = f'all {total} keys of the network matched'
        else:
            parts = Counter(key.partition('.')[0] for key in self.missing)
            listed = ', '.join(f'{number} of {part}' for part, number in parts.items())
            text = f'{total - len(self.missing)} of {total} keys of the network matched; not in the file: {listed}'
        return text + (f'; not used: {len(self.unused)} of the file, such as {self.unused[0]}.' if self.unused else '.')


def match(network: nn.Module, weights: Mapping[str, Tensor]) -> Match:
    """Find the prefix with which most keys of a checkpoint match those of a network."""
    own = network.state_dict()
    candidates = []
    for theirs in IN_FILE:
        for ours in IN_NETWORK:
            below = {ours + key[len(theirs) :]: value for key, value in weights.items() if key.startswith(theirs)}
            matched = {key: value for key, value in below.items() if key in own and own[key].shape == value.shape}
            unused = [key for key in weights if not key.startswith(theirs) or ours + key[len(theirs) :] not in matched]
            candidates.append((below, matched, unused))
    below, matched, unused = max(candidates, key=lambda candidate: len(candidate[1]))
    return Match(below, matched, [key for key in own if _counts(key) and key not in matched], unused)


def require_match(found: Match, network: nn.Module, checkpoint: str, part: str) -> None:
    """Refuse a checkpoint that lacks most keys of the network, or of its ``part`` (such as ``backbone``).

    Raises:
        LaunchError: it has less than half of them.
    """
    start = f'{part}.' if part else ''
    keys = [key for key in network.state_dict() if key.startswith(start) and _counts(key)]
    present = len(keys) - sum(key.startswith(start) for key in found.missing)
    if present < MINIMUM * len(keys):
        own = next((key for key in found.missing if key.startswith(start)), '')
        theirs = next(iter(found.weights), '')
        raise LaunchError(
            f'{checkpoint} is of another network: only {present} of {len(keys)} keys of the '
            f'{part or "network"} are in it in the same shape. The network has {own}, for example, and the '
            f'file {theirs}.'
        )


def _counts(key: str) -> bool:
    return not key.endswith('num_batches_tracked')
