"""Figures of looking into networks: what they attend to, their gates, the selectivity and t-SNE of their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from mmhoga.figures.styles import edge_label, file_style, series_colour, style, subscript
from mmhoga.look.attention_maps import CellMaps
from mmhoga.look.outputs import upsample

_HEAT = 'inferno'
_SMALLEST = 96  # images with a shorter side, in pixels, are enlarged
_BANDWIDTH = 0.04


class Attribution(NamedTuple):
    """Attributions of one network for one image (paper, Fig. 4)."""

    cam: np.ndarray  # (H, W): Grad-CAM at the image's size, unscaled
    guided: np.ndarray  # (C, H, W): guided back-propagation, unscaled
    caption: str  # the explained class and its probability


def attribution_figure(
    images: Sequence[np.ndarray], titles: Sequence[str], networks: Mapping[str, Sequence[Attribution]]
) -> Figure:
    """One row per image, ``(H, W, 3)`` or ``(H, W)`` in [0, 1]: the image, then each network's attributions of it."""
    columns = 1 + 2 * len(networks)
    with file_style():
        engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        figure = Figure(figsize=(1.45 * columns + 0.2, 1.62 * len(images) + 0.55), layout=engine)
        grid = figure.subplots(len(images), columns, squeeze=False)
        heads = ['image', *(f'{name}\n{what}' for name in networks for what in ('Grad-CAM', 'guided'))]
        for axes, head in zip(grid[0], heads):
            axes.set_title(head, fontsize=9)
        for row, (image, title) in enumerate(zip(images, titles)):
            panels = [(image, title)]
            for attributions in networks.values():
                one = attributions[row]
                panels += [(overlay(image, one.cam), one.caption), (guided_image(one.guided), '')]
            for axes, (panel, below) in zip(grid[row], panels):
                _show(axes, panel)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                axes.set_xlabel(below, fontsize=7.5, labelpad=2)
    return figure


def attention_figure(
    maps: CellMaps, images: Sequence[np.ndarray], titles: Sequence[str], name: str, padded: Sequence[int]
) -> Figure:
    """One staircase per image: column k has the gates of the edges into U_k, with U_k at the bottom.

    The images are ``(H, W, 3)`` or ``(H, W)`` in [0, 1]. ``padded`` is the height and width of the inputs, which may
    extend beyond the images on the right and at the bottom. ``name`` is that of the cell.
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
            row = 0 if source == target else source + 1
            label = f'{edge_label(source, target)}  {style(maps.genotype.operation(source, target)).label}\nmean'
            _map_panel(grid[row, target], image, maps.gate_map((source, target))[index], padded, label)
        for node in range(groups):
            axes = grid[node + 1, node]
            _map_panel(axes, image, maps.node_map(node)[index], padded, f'U{subscript(node)}\nmean magnitude')
            # A frame distinguishes a node from an edge.
            outline = dict(transform=axes.transAxes, fill=False, edgecolor='#2b7fd4', linewidth=2.2, clip_on=False)
            axes.add_patch(Rectangle((0, 0), 1, 1, **outline))
        # From two groups on, the lower left of the staircase is free.
        corner = grid[groups, 0] if groups > 1 else grid[1, 0].inset_axes((1.1, 0, 1, 1))
        _show(corner, image)
        corner.set_axis_off()
        corner.set_title('input', fontsize=8, pad=3)
        bar = corner.inset_axes((1.12, 0.05, 0.07, 0.9))
        figure.colorbar(ScalarMappable(Normalize(0, 1), _HEAT), cax=bar, ticks=[0, 0.5, 1])
        bar.tick_params(labelsize=7, length=2)
    return figure


def _map_panel(axes: Axes, image: np.ndarray, values: Tensor, padded: Sequence[int], label: str) -> None:
    height, width = image.shape[:2]
    shown = upsample(values[None], padded)[0, :height, :width].cpu().numpy()
    _show(axes, overlay(image, shown, scale=1.0, veil=0.25))
    axes.set_title(f'{label} {shown.mean():.2f}', fontsize=7.5, pad=3)


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap='gray', vmin=0, vmax=1, interpolation='nearest')


def overlay(image: np.ndarray, heat: np.ndarray, *, scale: float | None = None, veil: float = 0.35) -> np.ndarray:
    """Heat ``(H, W)`` over an image in grey, ``(H', W', 3)`` in [0, 1].

    A small image is enlarged by a whole factor, so that its pixels stay square and the heat smooth. ``scale`` is the
    heat of the brightest colour (None: its maximum), ``veil`` the share of the image in the result.
    """
    top = float(heat.max()) if scale is None else scale
    share = heat / top if top > 0 else np.zeros_like(heat)
    grey = image.mean(-1) if image.ndim == 3 else image
    factor = -(-_SMALLEST // min(grey.shape))
    if factor > 1:
        grey = grey.repeat(factor, 0).repeat(factor, 1)
        share = upsample(torch.from_numpy(np.ascontiguousarray(share))[None], grey.shape)[0].numpy()
    coloured = matplotlib.colormaps[_HEAT](share)[..., :3]
    return np.clip(veil * grey[..., None] + (1 - veil) * coloured, 0, 1)


def guided_image(gradient: np.ndarray) -> np.ndarray:
    """``(C, H, W)`` to ``(H, W, 3)`` in [0, 1], grey where the gradient is 0."""
    top = float(np.abs(gradient).max())
    shown = 0.5 + (0.5 / top if top > 0 else 0.0) * gradient
    if shown.shape[0] != 3:
        shown = np.repeat(shown.mean(0, keepdims=True), 3, axis=0)
    return shown.transpose(1, 2, 0)


def density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A Gaussian kernel density on [0, 1], reflected at both ends, so that it integrates to 1 there."""
    values = np.asarray(values, dtype=np.float64)
    mirrored = np.concatenate([values, -values, 2 - values])[:, None]
    total = np.exp(-0.5 * ((at - mirrored) / _BANDWIDTH) ** 2).sum(0)
    return total / (len(values) * _BANDWIDTH * np.sqrt(2 * np.pi))


def selectivity_figure(networks: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One panel per layer with the channels' indices as one line per network, and a triangle at the mean.

    Networks may have different layers.
    """
    layers = list(dict.fromkeys(layer for indices in networks.values() for layer in indices))
    at = np.linspace(0, 1, 401)
    with file_style():
        figure, panels = _panels(len(layers), 4, (2.7, 2.5), (4.6, 0.6))
        for axes, layer in zip(panels, layers):
            for number, indices in enumerate(networks.values()):
                if layer in indices:
                    values, colour = np.asarray(indices[layer]), series_colour(number)
                    axes.plot(at, density(values, at), color=colour, linewidth=1.7)
                    axes.plot(values.mean(), 0, '^', color=colour, markersize=7, clip_on=False, zorder=3)
            axes.set_title(layer, loc='left')
            axes.set(xlim=(0, 1), yticks=[])
            axes.set_ylim(bottom=0)
            axes.spines['left'].set_visible(False)
            axes.label_outer()
        figure.supxlabel('class selectivity index of a channel (triangle: mean)', fontsize=9)
        panels[0].set_ylabel('share of channels (density)')
        handles = [Line2D([], [], color=series_colour(i), linewidth=2.2, label=name) for i, name in enumerate(networks)]
        figure.legend(handles=handles, loc='outside upper left', ncols=min(5, len(handles)))
    return figure


def tsne_figure(networks: Mapping[str, tuple[np.ndarray, float]], labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """The embeddings side by side, coloured by class: of each network, the points ``(N, 2)`` and a score.

    The score is the share of points whose nearest neighbour has the same class.
    """
    present = [label for label in range(len(classes)) if (labels == label).any()]
    palette = matplotlib.colormaps['tab10' if len(present) <= 10 else 'tab20']
    name_box = dict(boxstyle='round,pad=0.1', facecolor='white', alpha=0.7, linewidth=0)
    name_style: dict[str, Any] = dict(textcoords='offset points', ha='center', fontsize=8, weight='bold', bbox=name_box)
    with file_style():
        figure, panels = _panels(len(networks), 5, (2.9, 3.1), (4.0, 0.5))
        for axes, (name, (points, score)) in zip(panels, networks.items()):
            for number, label in enumerate(present):
                chosen = points[labels == label]
                x, y = chosen.T
                axes.scatter(x, y, s=9, linewidths=0, alpha=0.85, color=palette(number % palette.N))
                if len(present) <= 20:
                    # The class name above its points, for readers who cannot tell the colours apart.
                    axes.annotate(classes[label], np.median(chosen, axis=0), (0, 9), **name_style)
            axes.set(title=f'{name}\nneighbour of the same class: {score:.1%}', xticks=[], yticks=[])
            axes.set_aspect('equal', adjustable='datalim')
            axes.spines[:].set_visible(False)
    return figure


def _panels(
    count: int, columns: int, size: tuple[float, float], least: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` axes of ``size``; ``least``: its smallest width, and the height beyond the axes."""
    columns = min(count, columns)
    rows = -(-count // columns)
    shape = max(size[0] * columns, least[0]), size[1] * rows + least[1]
    figure = Figure(figsize=shape, layout='constrained')
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
