"""The functions of :class:`mmhoga.models.fast.choice.Kernels` in Triton."""

from __future__ import annotations

from functools import partial

from mmhoga.models.fast.choice import PLAIN
from mmhoga.models.fast.triton import attention, gates

TRITON = PLAIN._replace(
    begin_cbam=gates.begin_cbam,
    messages=gates.messages,
    gated_sum=gates.gated_sum,
    attend=partial(attention.attend, PLAIN.channel_logits),
)
