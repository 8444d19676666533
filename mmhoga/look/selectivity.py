"""The class selectivity index of channels (Morcos et al. 2018; supplement, Fig. 1).

``(mu_max - mu_rest) / (mu_max + mu_rest)``, where mu_max is the highest mean activity of the channel for any class and
mu_rest the mean over the other classes. It is 0 if all classes have the same mean activity, and 1 if only one
class activates the channel. Only sums per class are kept, so memory does not grow with the data set, and the sums of
several processes can be added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor


class ClassMeans:
    """The mean activity per class and channel, from sums in float64. Labels are 0 .. num_classes - 1."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, dtype=torch.float64)
        self.sums: Tensor | None = None  # (classes, channels)

    def update(self, activity: Tensor, labels: Sequence[int] | Tensor) -> None:
        """Add a batch of non-negative activities ``(N, C)`` with N labels.

        Raises:
            ValueError: a label is out of range, the number of channels differs, or an activity is negative or not
                finite.
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
            raise ValueError('Activities must be finite and non-negative. Apply a ReLU first.')
        self.sums.index_add_(0, labels, activity)
        self.counts += torch.bincount(labels, minlength=self.num_classes)

    def reduce_over_processes(self) -> None:
        """Add up the sums of all processes, including those without images."""
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
        """The index of every channel, ``(C,)`` in [0, 1]; 0 for a channel that is never active.

        Raises:
            ValueError: fewer than two classes have images, or a class has none and ``skip_empty`` is False.
        """
        empty = self.empty_classes
        if self.sums is None or self.num_classes - len(empty) < 2:
            raise ValueError('The class selectivity index needs images of at least two classes.')
        if empty and not skip_empty:
            raise ValueError(
                f'No image of class {", ".join(map(str, empty[:20]))}{", ..." if empty[20:] else ""}. '
                'Set skip_empty=True to leave such classes out.'
            )
        seen = self.counts > 0
        return selectivity_index(self.sums[seen] / self.counts[seen, None])


def selectivity_index(means: Tensor) -> Tensor:
    """The index ``(channels,)`` from non-negative mean activities ``(classes, channels)``."""
    highest = means.amax(0)
    rest = (means.sum(0) - highest) / (len(means) - 1)
    total = highest + rest
    # Clamped because rounding in the sum can push a channel with equal means below 0.
    index = ((highest - rest) / torch.where(total > 0, total, 1)).clamp(0, 1)
    return torch.where(total > 0, index, 0)
