"""Figures of features: overlaid distributions of selectivity, and t-SNE embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmhoga.figures.figure_files import file_style
from mmhoga.figures.palette import series_colour

_BANDWIDTH = 0.04


def density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A Gaussian kernel density on [0, 1], reflected at both ends, so that it integrates to 1 there."""
    values = np.asarray(values, dtype=np.float64)[:, None]
    total = np.zeros(len(at))
    for mirrored in (values, -values, 2 - values):
        total += np.exp(-0.5 * ((at - mirrored) / _BANDWIDTH) ** 2).sum(0)
    return total / (len(values) * _BANDWIDTH * np.sqrt(2 * np.pi))


def selectivity_figure(networks: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One panel per layer with one line per network, and a triangle at the mean.

    Args:
        networks: the index of every channel, by network and layer. Networks may have different layers.
    """
    layers = list(dict.fromkeys(layer for indices in networks.values() for layer in indices))
    columns = min(len(layers), 4)
    rows = -(-len(layers) // columns)
    at = np.linspace(0, 1, 401)
    with file_style():
        figure = Figure(figsize=(max(2.7 * columns, 4.6), 2.5 * rows + 0.6), layout='constrained')
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, layer in zip(grid.flat, layers):
            for number, (name, indices) in enumerate(networks.items()):
                if layer not in indices:
                    continue
                values, colour = np.asarray(indices[layer]), series_colour(number)
                axes.plot(at, density(values, at), color=colour, linewidth=1.7, label=name)
                axes.plot(values.mean(), 0, '^', color=colour, markersize=7, clip_on=False, zorder=3)
            axes.set_title(layer, loc='left')
            axes.set_xlim(0, 1)
            axes.set_ylim(bottom=0)
            axes.set_yticks([])
            axes.spines['left'].set_visible(False)
        for axes in list(grid.flat)[len(layers) :]:
            axes.set_axis_off()
        figure.supxlabel('class selectivity index of a channel (triangle: mean)', fontsize=9)
        grid[0, 0].set_ylabel('share of channels (density)')
        handles = [
            Line2D([], [], color=series_colour(number), linewidth=2.2, label=name)
            for number, name in enumerate(networks)
        ]
        figure.legend(handles=handles, loc='outside upper left', ncols=min(5, len(handles)))
    return figure


def tsne_figure(networks: Mapping[str, tuple[np.ndarray, float]], labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """The embeddings side by side, coloured by class.

    Args:
        networks: by name, points ``(N, 2)`` and the share of points whose nearest neighbour has the same class.
        labels: ``(N,)``.
        classes: names of the classes.
    """
    columns = min(len(networks), 5)
    rows = -(-len(networks) // columns)
    present = [label for label in range(len(classes)) if (labels == label).any()]
    palette = matplotlib.colormaps['tab10' if len(present) <= 10 else 'tab20']
    with file_style():
        figure = Figure(figsize=(max(2.9 * columns, 4.0), 3.1 * rows + 0.5), layout='constrained')
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (name, (points, score)) in zip(grid.flat, networks.items()):
            for number, label in enumerate(present):
                chosen = points[labels == label]
                axes.scatter(*chosen.T, s=9, linewidths=0, alpha=0.85, color=palette(number % palette.N))
                if len(present) <= 20:
                    # The class name above its points, for readers who cannot tell the colours apart.
                    axes.annotate(
                        classes[label],
                        np.median(chosen, axis=0),
                        (0, 9),
                        textcoords='offset points',
                        ha='center',
                        fontsize=8,
                        weight='bold',
                        bbox=dict(boxstyle='round,pad=0.1', facecolor='white', alpha=0.7, linewidth=0),
                    )
            axes.set_title(f'{name}\nneighbour of the same class: {score:.1%}')
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_aspect('equal', adjustable='datalim')
            for spine in axes.spines.values():
                spine.set_visible(False)
        for axes in list(grid.flat)[len(networks) :]:
            axes.set_axis_off()
    return figure
