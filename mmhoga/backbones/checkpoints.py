"""Checkpoints of other networks, which mmengine would load in part: their keys and shapes tell the class.

mmengine loads with ``strict=False`` and reports the keys that do not match in a long log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from torch import Tensor, nn

from mmhoga.host_resnets import keep_class

# Keys that only the blocks of another network have.
FOREIGN_KEYS = {
    r'layer\d+\.\d+\.se_layer\.': 'SEResNet or SEResNeXt',
    r'layer\d+\.\d+\.conv2\.fc1\.': 'ResNeSt',
    r'layer\d+\.\d+\.convs\.\d': 'Res2Net',
    r'layer\d+\.\d+\.k1\.': 'SCNet',
}
_BLOCK_CONV = re.compile(r'layer\d+\.\d+\.conv\d\.weight')


def check_checkpoint(network: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Before a load: rename the keys of mmpretrain and mmpose as those of mmdet, and refuse another network.

    A hook for ``load_state_dict``. Plugins are not compared, nor are stages or layers that only one of the two has.

    Raises:
        ValueError: the blocks, the stem or the shortcuts in the checkpoint are those of another network. The message
            has the setting or the class for it.
    """
    theirs = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
    ours = network.state_dict(keep_vars=True)
    for old, new in _renamed(theirs, ours).items():
        state_dict[prefix + new] = theirs[new] = state_dict.pop(prefix + old)
        del theirs[old]
    problem = _problem(network, theirs, ours) if theirs else None
    if problem:
        raise ValueError(f'The checkpoint is not one of this {type(network).__name__}. {problem}')


def _renamed(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, str]:
    """New names: mmpretrain and mmpose group the layers of a deep stem, and have no pooling at stride 1."""
    names = {}
    for key in theirs:
        new = re.sub(r'^stem\.(\d)\.(conv|bn)\.', lambda m: f'stem.{3 * int(m[1]) + (m[2] == "bn")}.', key)
        if 'layer1.0.downsample.0.weight' not in ours and 'layer1.0.downsample.2.weight' not in theirs:
            new = re.sub(r'^layer1\.0\.downsample\.([01])\.', lambda m: f'layer1.0.downsample.{int(m[1]) + 1}.', new)
        if new != key and new in ours:
            names[key] = new
    # From the back: downsample.0 becomes the name that downsample.1 had.
    return dict(reversed(names.items()))


def _problem(network: Any, theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> str | None:
    for pattern, classes in FOREIGN_KEYS.items():
        if any(re.match(pattern, key) for key in theirs):
            return keep_class(classes, why=f'It is one of {classes}.')
    if not set(theirs) & set(ours):
        return f'None of its {len(theirs)} keys is one of this network (first: {next(iter(theirs))}).'
    deep = any(key.startswith('stem.') for key in theirs)
    if deep != ('stem.0.weight' in ours) and deep != ('conv1.weight' in theirs):
        return f'Its stem has {"three convolutions" if deep else "one convolution"}: set deep_stem={deep}.'
    mismatched = {key: (theirs[key].shape, ours[key].shape) for key in theirs if key in ours}
    mismatched = {key: shapes for key, shapes in mismatched.items() if shapes[0] != shapes[1]}
    if 'conv1.weight' in mismatched and mismatched['conv1.weight'][0][2:] != mismatched['conv1.weight'][1][2:]:
        size = 'x'.join(map(str, theirs['conv1.weight'].shape[2:]))
        return keep_class('ResNet_CIFAR', why=f'Its stem is a {size} convolution, as in ResNet_CIFAR.')
    different = next((key for key in mismatched if _BLOCK_CONV.fullmatch(key)), None)
    if different:
        shapes = ' and '.join(str(tuple(shape)) for shape in mismatched[different])
        grouped = _groups(theirs['layer1.0.conv2.weight']) if 'layer1.0.conv2.weight' in theirs else ''
        hint = f' It is a ResNeXt: {grouped}.' if grouped else ' Set depth, base_channels, groups and width_per_group.'
        return f'{different} has the shapes {shapes}, in the checkpoint and in the network.{hint}'
    if any(re.match(r'layer\d+\.0\.downsample\.1\.weight', key) for key in mismatched):
        pooled = any(theirs[key].dim() == 4 for key in mismatched if key.endswith('downsample.1.weight'))
        return f'Its shortcuts {"pool" if pooled else "do not pool"}: set avg_down={pooled}.'
    counts = {stage: (_blocks(theirs, stage), _blocks(ours, stage)) for stage in ('layer2', 'layer3')}
    for stage, (their_count, our_count) in counts.items():
        if their_count and our_count and their_count != our_count:
            return f'Its {stage} has {their_count} blocks, and that of the network has {our_count}: set its depth.'
    return None


def _groups(conv2: Tensor) -> str:
    """The arguments of a ResNeXt with this 3x3 convolution ``(D, D / groups, 3, 3)``; empty for other networks."""
    groups = conv2.size(0) // conv2.size(1)
    return f'groups={groups}, width_per_group={conv2.size(1)}' if groups > 1 else ''


def _blocks(keys: Mapping[str, Tensor], stage: str) -> int:
    numbers = {int(match[1]) for key in keys if (match := re.match(rf'{stage}\.(\d+)\.', key))}
    return max(numbers, default=-1) + 1
