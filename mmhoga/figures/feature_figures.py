"""Figures of features: overlaid distributions of selectivity, and t-SNE embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmhoga.figures.figure_files import file_style
from mmhoga.figures.palette import series_colour

_BANDWIDTH = 0.04


def density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A Gaussian kernel density on [0, 1], reflected at both ends, so that it integrates to 1 there."""
    values = np.asarray(values, dtype=np.float64)
    mirrored = np.concatenate([values, -values, 2 - values])[:, None]
    total = np.exp(-0.5 * ((at - mirrored) / _BANDWIDTH) ** 2).sum(0)
    return total / (len(values) * _BANDWIDTH * np.sqrt(2 * np.pi))


def selectivity_figure(networks: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One panel per layer with one line per network, and a triangle at the mean.

    Args:
        networks: the index of every channel, by network and layer. Networks may have different layers.
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
    """The embeddings side by side, coloured by class.

    Args:
        networks: by name, points ``(N, 2)`` and the share of points whose nearest neighbour has the same class.
        labels: ``(N,)``.
        classes: names of the classes.
    """
    present = [label for label in range(len(classes)) if (labels == label).any()]
    palette = matplotlib.colormaps['tab10' if len(present) <= 10 else 'tab20']
    name_box = dict(boxstyle='round,pad=0.1', facecolor='white', alpha=0.7, linewidth=0)
    name_style = dict(textcoords='offset points', ha='center', fontsize=8, weight='bold', bbox=name_box)
    with file_style():
        figure, panels = _panels(len(networks), 5, (2.9, 3.1), (4.0, 0.5))
        for axes, (name, (points, score)) in zip(panels, networks.items()):
            for number, label in enumerate(present):
                chosen = points[labels == label]
                axes.scatter(*chosen.T, s=9, linewidths=0, alpha=0.85, color=palette(number % palette.N))
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
