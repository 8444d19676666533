"""Whether two networks compute the same, on random images or on those of a config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from mmhoga.cli.looks.networks import Picture, TrainedNetwork, batch
from mmhoga.cli.run.errors import explained
from mmhoga.hosts import LaunchError, one_paragraph
from mmhoga.insertion.places import input_channels
from mmhoga.models.complexity import called_with_tensors_only
from mmhoga.models.hooks import undisturbed

# The outputs may differ by this fraction of the largest. The identity start gives 0.
TOLERANCE = 1e-6
# Sides of random images, tried in this order: the network may need a large one, or one of a fixed size.
SIDES = (224, 256, 320, 384, 512, 640)


@dataclass
class Comparison:
    """The largest difference of the outputs of two networks, and the images."""

    difference: float
    text: str
    size: tuple[int, int]


def compare(
    plain: nn.Module,
    inserted: nn.Module,
    number: int,
    *,
    size: tuple[int, int] | None = None,
    data: TrainedNetwork | None = None,
) -> Comparison:
    """Compare the outputs of a network without and with cells.

    Args:
        plain, inserted: the networks.
        number: of images.
        size: (H, W) of random images, by default one that the network takes.
        data: the plain network with the config whose test or validation data are used instead of random images.

    Raises:
        LaunchError: the networks run on none of the images, or the outputs differ.
    """
    if data is not None:
        with explained(data.cfg, ['test']):
            pictures = [Picture(data.dataset[index], '') for index in range(min(number, len(data.dataset)))]
        inputs = [batch(data, [picture]) for picture in pictures]
        text = f'{len(inputs)} images of the data ({type(data.dataset).__name__})'
    else:
        height, width = _image_size(plain, size)
        generator = torch.Generator().manual_seed(0)
        shape = (1, input_channels(plain), height, width)
        inputs = [(torch.randn(shape, generator=generator), []) for _ in range(number)]
        text = f'{number} random images of {height} x {width}'
    differences, largest = [torch.zeros(())], 0.0
    for images, samples in inputs:
        expected, computed = (_outputs(network, images, samples) for network in (plain, inserted))
        if [output.shape for output in expected] != [output.shape for output in computed]:
            raise LaunchError('the outputs with attention have other shapes than without. Nothing was written.')
        for before, after in zip(expected, computed):
            if before.numel():
                difference = (before.double() - after.double()).abs().masked_fill(before == after, 0)
                differences.append(difference.max())
                largest = max(largest, float(before.abs().max()))
    difference = torch.stack([value.double() for value in differences]).max()
    if not difference <= TOLERANCE * largest:  # also if it is no number
        raise LaunchError(
            f'the outputs with attention differ from those without by up to {difference:g}. Nothing was written.'
        )
    height, width = inputs[0][0].shape[-2:]
    return Comparison(float(difference), text, (height, width))


def _image_size(network: nn.Module, size: tuple[int, int] | None) -> tuple[int, int]:
    """The first size of images for which the whole network runs, head included."""
    channels, problem = input_channels(network), ''
    for height, width in [size] if size else [(64, 96), *((side, side) for side in SIDES)]:
        try:
            _outputs(network, torch.zeros(1, channels, height, width))
        except Exception as error:
            problem = problem or f'an image of {height} x {width}: {one_paragraph(error)[:300]}'
        else:
            return height, width
    raise LaunchError(f'{type(network).__name__} does not run on {problem} Give a size that it takes: --shape H W.')


def _outputs(network: nn.Module, images: Tensor, samples: Sequence[Any] = ()) -> list[Tensor]:
    """All tensors that a network returns for a batch of normalised images, before any post-processing."""
    with undisturbed(network), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if samples:
            outputs = network(images, samples, mode='tensor')
        else:
            with called_with_tensors_only(network, images.shape[1:]):
                outputs = network(images)
    return [output for output in tree_flatten(outputs)[0] if isinstance(output, Tensor)]
