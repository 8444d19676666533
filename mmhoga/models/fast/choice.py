"""The functions of a forward pass that have two forms: plain operators, and kernels in Triton."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Callable, NamedTuple

from torch import Tensor

from mmhoga.models.fast.kernels import gates, mlps, pools
from mmhoga.models.fast.triton import launch


class Kernels(NamedTuple):
    """One form of each function; see :data:`PLAIN` for what they do."""

    split: Callable[[Tensor, Sequence[int]], tuple[Tensor, list[list[Tensor]]]]
    channel_maps: Callable[..., Tensor]
    pixel_pool: Callable[..., Tensor]
    channel_logits: Callable[..., Tensor]
    begin_cbam: Callable[..., gates.Begun]
    narrow_stages: Callable[..., Tensor | None]
    messages: Callable[..., list[list[gates.Message]]]
    gated_sum: Callable[..., list[Tensor]]
    attend: Callable[..., Tensor]
    join: Callable[..., Tensor] | None = None


PLAIN = Kernels(
    split=lambda x, uses: (x, [[part] * count for part, count in zip(x.split(x.size(1) // len(uses), 1), uses)]),
    channel_maps=pools.channel_maps,
    pixel_pool=pools.pixel_pool,
    channel_logits=mlps.channel_logits,
    begin_cbam=gates.begin_cbam,
    narrow_stages=lambda x, stages: None,
    messages=gates.messages,
    gated_sum=lambda messages, like, out=None, uses=1: [gates.gated_sum(messages, like, out)] * uses,
    attend=mlps.attend,
)


def chosen(x: Tensor, triton: bool) -> Kernels:
    """The form for one forward pass.

    Args:
        triton: whether kernels in Triton are wanted. Where they cannot run on ``x``, plain operators do.
    """
    return triton_form() if triton and launch.usable(x) else PLAIN


def check_triton(wanted: Any) -> bool:
    """The argument ``triton`` of a cell.

    Raises:
        ValueError: it is not a bool; Triton is wanted and not installed.
    """
    if not isinstance(wanted, bool):
        raise ValueError(f'triton must be True or False, not {wanted!r}.')
    if wanted and not launch.installed():
        raise ValueError(
            'triton=True needs Triton, which is not installed. The builds of torch for GPUs on Linux bring it; '
            'otherwise run: pip install triton'
        )
    return wanted


@cache
def triton_form() -> Kernels:
    # Not at the top: they import Triton.
    from mmhoga.models.fast.triton import attention, gates, groups, mlps, narrow, pools

    return Kernels(
        split=groups.split,
        channel_maps=pools.channel_maps,
        pixel_pool=pools.pixel_pool,
        channel_logits=mlps.channel_logits,
        begin_cbam=gates.begin_cbam,
        narrow_stages=narrow.narrow_stages,
        messages=gates.messages,
        gated_sum=gates.gated_sum,
        attend=attention.attend,
        join=attention.join,
    )
