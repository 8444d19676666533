"""The cost of a whole network with a genotype, as an objective beside its accuracy."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from torch import nn

from mmhoga.insertion.places import input_channels
from mmhoga.models.complexity import called_with_tensors_only, count
from mmhoga.models.hoga import HOGA
from mmhoga.models.hooks import undisturbed
from mmhoga.search.latency import measure

#: Cost -> digits after the point in tables.
COSTS = {'params': 0, 'macs': 0, 'latency': 3}


@dataclass(frozen=True)
class NetworkCost:
    """Parameters, multiply-accumulates (MACs) or milliseconds of a network for one image of ``size``.

    ``'latency'`` is the median of forward passes in eval mode on ``device``, measured for 1 second.
    """

    name: str
    size: tuple[int, int]  # height, width
    device: str = 'cpu'

    def __post_init__(self) -> None:
        if self.name not in COSTS:
            raise ValueError(f'The cost must be one of {", ".join(COSTS)}, not {reprlib.repr(self.name)}.')
        if len(self.size) != 2 or any(type(number) is not int or number < 1 for number in self.size):
            raise ValueError(f'The size must be a height and a width of at least 1, not {reprlib.repr(self.size)}.')

    def __call__(self, network: nn.Module) -> float:
        """The cost of a network.

        Raises:
            ValueError: the network has no HOGA cell, so every genotype would cost the same.
        """
        if not any(isinstance(module, HOGA) for module in network.modules()):
            raise ValueError('The network, as it is built, has no HOGA cell, so that every genotype costs the same.')
        shape = (input_channels(network), *self.size)
        if self.name != 'latency':
            return getattr(count(network, shape), self.name)
        with undisturbed(network), called_with_tensors_only(network, shape):
            (milliseconds,) = measure([(('network', *shape), network)], device=self.device, seconds=1.0).values()
        return milliseconds
