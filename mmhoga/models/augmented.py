"""Attention-augmented convolution (Bello et al. 2019), "AugAtt" in Table 5. timm does not include it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhoga.models.arguments import check_integers, check_shares
from mmhoga.registry import MODELS


@MODELS.register_module()
class AugmentedConv2d(BaseModule):
    """``concat(conv(x), self_attention(x))``: a convolution with part of its channels computed by self-attention.

    mmcv's ``build_conv_layer`` builds it in place of a convolution: set ``stage_conv_cfgs`` of mmhoga's ResNet, or
    ``dcn`` of mmdet's. With q, k, v of one head at position i = (y, x), and d key channels per head (Eqs. 1-3)::

        logit(i, j) = (q_i . k_j + q_i . r_w[x_j - x_i] + q_i . r_h[y_j - y_i]) / sqrt(d)
        attention(i) = W_o concat_heads(sum_j softmax_j(logit(i, j)) v_j)

    ResNet-50 with it in the last three stages, with the defaults except ``attention_stride=2`` in the first of them,
    has 24.30 M parameters, as in both papers, and 4.02 GMACs. The papers give 7.9 GFLOPs, two per MAC
    (3.95 GMACs).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as for a convolution; the
            attention computes part of ``out_channels``.
        feat_size: largest height and width of the map that attention runs over, which is the size of the output divided
            by ``attention_stride``. The learned embeddings r of relative positions have ``2 * feat_size - 1`` entries.
        key_ratio, value_ratio: the key and value channels of all heads together, as shares of ``out_channels`` (kappa
            and upsilon). The value channels are rounded to a multiple of ``num_heads``.
        min_head_channels: the minimum number of key channels per head.
        attention_stride: attend over a map pooled by this factor (3x3 average) and resize the result, to save memory.

    Raises:
        ValueError: a ``value_ratio`` that leaves no channels for the attention or for the convolution; a map larger
            than ``feat_size``.

    Shape: ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        feat_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        key_ratio: float = 0.25,
        value_ratio: float = 0.25,
        num_heads: int = 8,
        min_head_channels: int = 20,
        attention_stride: int = 1,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_integers(
            in_channels=in_channels,
            out_channels=out_channels,
            feat_size=feat_size,
            num_heads=num_heads,
            min_head_channels=min_head_channels,
            attention_stride=attention_stride,
        )
        check_shares(key_ratio=key_ratio, value_ratio=value_ratio)
        # Rounded: upsilon = 0.1 of 128 channels is 12.8, not a multiple of 8 heads.
        values = round(value_ratio * out_channels / num_heads) * num_heads
        if not 0 < values < out_channels:
            raise ValueError(
                f'value_ratio={value_ratio} gives the attention {values} of {out_channels} output channels (rounded to '
                f'a multiple of num_heads={num_heads}). '
                'Choose a ratio that leaves channels for both attention and convolution.'
            )
        head_keys = max(min_head_channels, round(key_ratio * out_channels) // num_heads)
        self.num_heads = num_heads
        self.feat_size = feat_size
        self.strides = tuple(s for s in (stride, attention_stride) if s > 1)
        self.attention_stride = attention_stride
        self.keys, self.values = head_keys * num_heads, values
        geometry = (kernel_size, stride, padding, dilation, groups)
        self.conv = nn.Conv2d(in_channels, out_channels - values, *geometry, bias=bias)
        self.qkv = nn.Conv2d(in_channels, 2 * self.keys + values, 1, bias=bias)
        self.out = nn.Conv2d(values, values, 1, bias=bias)
        self.rel_h = nn.Parameter(torch.randn(2 * feat_size - 1, head_keys) * head_keys**-0.5)
        self.rel_w = nn.Parameter(torch.randn(2 * feat_size - 1, head_keys) * head_keys**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        convolved = self.conv(x)
        for stride in self.strides:
            x = F.avg_pool2d(x, 3, stride=stride, padding=1)
        height, width = x.shape[-2:]
        if not torch.jit.is_tracing() and max(height, width) > self.feat_size:
            raise ValueError(
                f'{type(self).__name__} was built for maps up to feat_size={self.feat_size} and got one of '
                f'{height} x {width}. Build it with feat_size={max(height, width)} for inputs of this size.'
            )
        q, k, v = (
            part.unflatten(1, (self.num_heads, -1)).flatten(3).transpose(2, 3)  # (N, heads, H * W, d)
            for part in self.qkv(x).split((self.keys, self.keys, self.values), dim=1)
        )
        q = q * q.size(-1) ** -0.5
        grid = q.unflatten(2, (height, width))  # (N, heads, H, W, d)
        along_w = torch.einsum('nhyxd,xjd->nhyxj', grid, self._relative(self.rel_w, width))
        along_h = torch.einsum('nhyxd,yid->nhyxi', grid, self._relative(self.rel_h, height))
        relative = along_h.unsqueeze(-1) + along_w.unsqueeze(-2)  # (N, heads, H, W, H, W)
        logits = q @ k.transpose(2, 3) + relative.flatten(4).flatten(2, 3)
        attended = (logits.softmax(-1) @ v).transpose(2, 3).flatten(1, 2)  # (N, values, H * W)
        attended = self.out(attended.unflatten(2, (height, width)))
        if self.attention_stride > 1:
            attended = F.interpolate(attended, size=convolved.shape[-2:], mode='bilinear', align_corners=False)
        return torch.cat((convolved, attended), dim=1)

    def _relative(self, embeddings: Tensor, size: int) -> Tensor:
        """Entry (i, j) is the embedding of the offset j - i: ``(size, size, d)``."""
        positions = torch.arange(size, device=embeddings.device)
        return embeddings[positions[None] - positions[:, None] + self.feat_size - 1]
