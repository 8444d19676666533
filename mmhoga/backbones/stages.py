"""The settings of a ResNet that have one entry per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def dcn_per_stage(
    dcn: Mapping[str, Any],
    stage_with_dcn: Sequence[bool] | None,
    stage_conv_cfgs: Sequence[dict | None] | None,
    bottleneck: bool,
) -> list[dict | None]:
    """``stage_conv_cfgs`` from mmdet's arguments."""
    if stage_conv_cfgs is not None:
        raise ValueError('dcn and stage_conv_cfgs are names of one argument: give one.')
    if not bottleneck:
        raise ValueError('dcn needs Bottleneck blocks, as in mmdet: set depth to 50, 101 or 152, or stage_conv_cfgs.')
    cfg = dict(dcn)
    if cfg.pop('fallback_on_stride', False):
        raise ValueError('dcn: mmhoga.ResNet has no fallback_on_stride. Set it to False, or use the ResNet of mmdet.')
    return [cfg if chosen else None for chosen in stage_with_dcn or ()]


def check_stages(
    num_stages: int, limit: int, per_stage: Mapping[str, Sequence[Any]], out_indices: Sequence[int], frozen_stages: int
) -> None:
    """ValueError unless the settings of the stages of a ResNet fit each other."""
    if not 1 <= num_stages <= limit:
        raise ValueError(f'num_stages must be 1 to {limit}, not {num_stages}.')
    for name, values in per_stage.items():
        if len(values) != num_stages:
            raise ValueError(
                f'{name} has {len(values)} entries, {tuple(values)}; num_stages is {num_stages}: give one per stage.'
            )
    if not out_indices or not all(0 <= i < num_stages for i in out_indices):
        raise ValueError(
            f'out_indices is {tuple(out_indices)}, but with num_stages={num_stages} the stages are '
            f'{tuple(range(num_stages))}.'
        )
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(f'frozen_stages must be -1 (none) to {num_stages} (all stages), not {frozen_stages}.')
