"""What the processes of one search tell each other: alpha's gradients, and once an epoch that alpha is the same."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from mmengine.dist import all_gather, all_reduce
from torch import Tensor

from mmhoga.search.resume.state import SearchError


def average(tensors: Sequence[Tensor], flag: bool = False) -> bool:
    """Each tensor, in place, to its mean over the ranks; returns whether ``flag`` is set on any. In one reduction."""
    if not tensors:
        return flag
    packed = torch.cat([*(tensor.flatten() for tensor in tensors), tensors[0].new_tensor([float(flag)])])
    all_reduce(packed, op='mean')
    for tensor, mean in zip(tensors, packed[:-1].split([tensor.numel() for tensor in tensors])):
        tensor.copy_(mean.view_as(tensor))
    return bool(packed[-1] > 0)


def require_one_alpha(alphas: Sequence[Tensor], epoch: int) -> None:
    """Compare a checksum of alpha over the ranks.

    Raises:
        SearchError: it differs; on every rank.
    """
    checksum = 0
    for alpha in alphas:
        checksum = zlib.crc32(alpha.detach().cpu().contiguous().numpy().tobytes(), checksum)
    sums = [int(each) for each in all_gather(torch.tensor(checksum, device=alphas[0].device))]
    if len(set(sums)) > 1:
        raise SearchError(
            f'alpha differs between the ranks at the end of epoch {epoch} (checksums {sums}): they no longer search '
            'together. The last checkpoint is of an epoch before.'
        )
