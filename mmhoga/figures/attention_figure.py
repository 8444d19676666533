"""A cell's gates over the image, arranged like the edges in the genotype's drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mmhoga.figures.attribution_figure import HEAT, overlay
from mmhoga.figures.palette import edge_label, style, subscript
from mmhoga.look.attention_maps import CellMaps
from mmhoga.look.outputs import upsample


def attention_figure(
    maps: CellMaps, images: Sequence[np.ndarray], titles: Sequence[str], name: str, padded: Sequence[int]
) -> Figure:
    """One staircase per image: column k has the gates of the edges into U_k, with U_k at the bottom.

    Args:
        maps: of N inputs.
        images: N of them, ``(H, W, 3)`` or ``(H, W)`` in [0, 1].
        titles: one per image.
        name: of the cell.
        padded: height and width of the inputs, which may extend beyond the images on the right and at the bottom.
    """
    groups = maps.genotype.num_groups
    width, height = 1.75 * groups + 0.9, 1.85 * (groups + 1) + 0.5
    figure = Figure(figsize=(width * len(images), height), facecolor='white')
    parts = figure.subfigures(1, len(images), squeeze=False)[0]
    for index, (part, image, title) in enumerate(zip(parts, images, titles)):
        grid = part.subplots(groups + 1, groups, squeeze=False, gridspec_kw=dict(hspace=0.34, wspace=0.06))
        part.subplots_adjust(left=0.02, right=0.98, bottom=0.03, top=1 - 0.62 / height)
        part.suptitle(f'{name}: gates of each edge, for {title}', fontsize=10, y=1 - 0.08 / height)
        for axes in grid.flat:
            axes.set_axis_off()
        for source, target in maps.gates:
            gate = _over(image, maps.gate_map((source, target))[index], padded)
            row = 0 if source == target else source + 1
            label = f'{edge_label(source, target)}  {style(maps.genotype.operation(source, target)).label}'
            _panel(grid[row, target], overlay(image, gate, scale=1.0, veil=0.25), f'{label}\nmean {gate.mean():.2f}')
        for node in range(groups):
            share = _over(image, maps.node_map(node)[index], padded)
            axes = grid[node + 1, node]
            _panel(
                axes,
                overlay(image, share, scale=1.0, veil=0.25),
                f'U{subscript(node)}\nmean magnitude {share.mean():.2f}',
            )
            # A frame distinguishes a node from an edge.
            outline = dict(transform=axes.transAxes, fill=False, edgecolor='#2b7fd4', linewidth=2.2, clip_on=False)
            axes.add_patch(Rectangle((0, 0), 1, 1, **outline))
        # From two groups on, the lower left of the staircase is free.
        corner = grid[groups, 0] if groups > 1 else grid[1, 0].inset_axes((1.1, 0, 1, 1))
        corner.imshow(image, cmap='gray', vmin=0, vmax=1, interpolation='nearest')
        corner.set_axis_off()
        corner.set_title('input', fontsize=8, pad=3)
        bar = corner.inset_axes((1.12, 0.05, 0.07, 0.9))
        figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), cax=bar, ticks=[0, 0.5, 1])
        bar.tick_params(labelsize=7, length=2)
    return figure


def _over(image: np.ndarray, values: Tensor, padded: Sequence[int]) -> np.ndarray:
    height, width = image.shape[:2]
    return upsample(values[None], padded)[0, :height, :width].cpu().numpy()


def _panel(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation='nearest')
    axes.set_title(title, fontsize=7.5, pad=3)
