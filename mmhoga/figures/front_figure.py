"""The Pareto front of a study: the accuracy of genotypes against their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from mmhoga.figures.styles import page_style, series_colour, to_svg


class Point(NamedTuple):
    """A trial of a study."""

    trial: int
    cost: float
    value: float
    front: bool  # whether it is on the Pareto front


def plot_front(
    points: Sequence[Point], *, xlabel: str, ylabel: str, unit: str = '', scored: bool = False, lower: bool = False
) -> str:
    """An SVG file with one marker per trial. The front is a staircase, and its trials are labelled by number.

    Left of and above the staircase there is no trial. Filled markers are trained networks, and hollow ones, with
    ``scored``, networks scored without a training. ``lower``: lower values are better, and drawn further up.
    """
    with page_style():
        figure = Figure(figsize=(6.4, 3.8), layout='constrained')
        axes = figure.subplots()
        front = sorted((point for point in points if point.front), key=lambda point: (point.cost, point.value))
        others = [point for point in points if not point.front]
        what = 'scored by the supernet' if scored else 'trained'
        for series, label, colour, size in (
            (others, what, series_colour(0), 5.5),
            (front, f'{what}, on the Pareto front', series_colour(1), 7.5),
        ):
            face = 'none' if scored else colour
            xs, ys = [point.cost for point in series], [point.value for point in series]
            look: dict[str, Any] = dict(
                color=colour, markerfacecolor=face, markersize=size, label=f'{label} ({len(series)})'
            )
            axes.plot(xs, ys, 'o', **look)
        xs, ys = [point.cost for point in front], [point.value for point in front]
        axes.step(xs, ys, where='post', color=series_colour(1), linewidth=1.2, alpha=0.7)
        for point in front:
            place: dict[str, Any] = dict(xytext=(-4, 5), textcoords='offset points', ha='right', fontsize=8)
            axes.annotate(str(point.trial), (point.cost, point.value), **place)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(x=0.08, y=0.1)
        if lower:
            axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.xaxis.set_major_formatter(EngFormatter(unit))
        axes.legend(loc='lower right')
        title = f'{ylabel} against {xlabel}: {len(points)} genotypes, {len(front)} of them on the Pareto front'
        return to_svg(figure, name='front', title=title, alone=True)
