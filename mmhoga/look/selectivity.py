"""The class selectivity index (Morcos et al. 2018; supplement, Fig. 1): how much a channel cares for one class.

``(mu_max - mu_rest) / (mu_max + mu_rest)``, mu_max being a channel's highest mean activity over the images of a class,
mu_rest the mean of its mean activities for the other classes: 0 if it does the same for every class, 1 if it fires for
one only. Sums a class are all that is kept, so memory does not grow with the data set, and sums of processes or parts
of the data add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor


class ClassMeans:
    """The mean activity of every channel a class, by sums in float64.

    Args:
        num_classes: labels are 0 .. num_classes - 1.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, dtype=torch.float64)
        self.sums: Tensor | None = None  # (classes, channels)

    def update(self, activity: Tensor, labels: Sequence[int] | Tensor) -> None:
        """Add a batch: ``(N, C)`` activities, not negative (the mean over places of what a ReLU passed), N labels.

        Raises:
            ValueError: a label out of range, another number of channels, a negative or not finite activity.
        """
        labels = torch.as_tensor(labels, dtype=torch.long)
        activity = activity.detach().to('cpu', torch.float64)
        if self.sums is None:
            self.sums = torch.zeros(self.num_classes, activity.size(1), dtype=torch.float64)
        if activity.shape != (len(labels), self.sums.size(1)):
            raise ValueError(
                f'Activities have shape {tuple(activity.shape)}, expected {(len(labels), self.sums.size(1))}.'
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise ValueError(f'Labels {labels.tolist()} are not all in 0 .. {self.num_classes - 1}.')
        if not torch.isfinite(activity).all() or (activity < 0).any():
            raise ValueError('Activities must be finite and not negative: rectify them first.')
        self.sums.index_add_(0, labels, activity)
        self.counts += torch.bincount(labels, minlength=self.num_classes)

    def merge(self, other: ClassMeans) -> None:
        """Add what another one has seen."""
        if other.sums is None:
            return
        self.sums = other.sums.clone() if self.sums is None else self.sums + other.sums
        self.counts = self.counts + other.counts

    def reduce_over_processes(self) -> None:
        """Add up over all processes, of which some may have seen no image; nothing if there is only one."""
        channels = torch.tensor(0 if self.sums is None else self.sums.size(1))
        all_reduce(channels, op='max')
        if self.sums is None:
            self.sums = torch.zeros(self.num_classes, int(channels), dtype=torch.float64)
        all_reduce(self.sums)
        all_reduce(self.counts)

    @property
    def empty_classes(self) -> list[int]:
        return torch.nonzero(self.counts == 0).flatten().tolist()

    def selectivity(self, *, skip_empty: bool = False) -> Tensor:
        """The index of every channel, ``(C,)`` in [0, 1], of a channel that never fires 0.

        Args:
            skip_empty: go by the classes that have images, instead of raising.

        Raises:
            ValueError: fewer than two classes have images, or one has none.
        """
        empty = self.empty_classes
        if self.sums is None or self.num_classes - len(empty) < 2:
            raise ValueError('The class selectivity index needs images of at least two classes.')
        if empty and not skip_empty:
            raise ValueError(f'No image of class {", ".join(map(str, empty[:20]))}{", ..." if empty[20:] else ""}.')
        seen = self.counts > 0
        return selectivity_index(self.sums[seen] / self.counts[seen, None])


def selectivity_index(means: Tensor) -> Tensor:
    """From mean activities ``(classes, channels)``, not negative, to ``(channels,)``."""
    highest = means.amax(0)
    rest = (means.sum(0) - highest) / (len(means) - 1)
    total = highest + rest
    # Rounding of the sum over classes must not push a channel of equal means below 0.
    index = ((highest - rest) / torch.where(total > 0, total, 1)).clamp(0, 1)
    return torch.where(total > 0, index, 0)
