"""Plots of runs, each an SVG element: curves, final scores, scores against costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from mmhoga.figures.palette import series_colour
from mmhoga.figures.svg_figure import figure_style, to_svg

#: Epochs (or iterations) and values.
Curve = tuple[Sequence[float], Sequence[float]]

_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')


def plot_curves(
    networks: Mapping[str, Sequence[Curve]], *, xlabel: str, ylabel: str, name: str, log: bool = False
) -> str:
    """One line per network: the mean over its curves, in a band from the lowest to the highest.

    Args:
        networks: curves by name; the order decides the colours.
        xlabel: ``epoch`` or ``iteration``.
        ylabel: the quantity with its unit.
        name: unique on the page.
        log: use a logarithmic scale if the values span more than a power of ten.
    """
    with figure_style():
        figure, axes = new_axes(3.6)
        for index, curves in enumerate(networks.values()):
            xs, mean, low, high = mean_curve(curves)
            if xs:
                colour = series_colour(index)
                axes.plot(xs, mean, color=colour, marker=marker_of(xs))
                axes.fill_between(xs, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        whole_numbers(axes, 8)
        values = [y for curves in networks.values() for _, ys in curves for y in ys]
        if not values:
            axes.text(0.5, 0.5, 'not measured', ha='center', transform=axes.transAxes)
        elif log and min(values) > 0 and max(values) > 10 * min(values):
            axes.set(yscale='log', ylabel=f'{ylabel} (log scale)')
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f'{value:g}')
            axes.yaxis.set_minor_formatter(NullFormatter())
        if len(networks) > 1:
            _legend(figure, [dict(label=key, linewidth=2.2) for key in networks])
        return to_svg(figure, name=name, title=f'{ylabel} over {xlabel}s')


def mean_curve(curves: Sequence[Curve]) -> tuple[list[float], list[float], list[float], list[float]]:
    """(x, mean, lowest, highest) of several curves, at every x that at least one of them has."""
    values: dict[float, list[float]] = defaultdict(list)
    for xs, ys in curves:
        for x, y in zip(xs, ys):
            values[x].append(y)
    xs = sorted(values)
    return xs, [statistics.fmean(values[x]) for x in xs], [min(values[x]) for x in xs], [max(values[x]) for x in xs]


def plot_scores(
    scores: Mapping[str, Sequence[float]],
    *,
    label: str,
    format_value: Callable[[float], str] = '{:.3f}'.format,
    name: str = 'scores',
) -> str:
    """One row per network: a dot per run, a bar at the mean, and the mean as a number."""
    with figure_style():
        figure, axes = new_axes(0.8 + 0.36 * len(scores))
        for index, values in enumerate(scores.values()):
            colour = series_colour(index)
            if not values:
                axes.text(0.01, index, 'not measured', transform=axes.get_yaxis_transform(), va='center', alpha=0.7)
                continue
            mean = statistics.fmean(values)
            # Equal values of several runs stay visible as several dots.
            heights = [index + 0.13 * (i - (len(values) - 1) / 2) for i in range(len(values))]
            axes.plot(values, heights, 'o', color=colour, alpha=0.75, markersize=6.5, markeredgewidth=0)
            axes.plot([mean, mean], [index - 0.3, index + 0.3], color=colour, linewidth=2.4)
            note(axes, format_value(mean), (1, index), (6, 0), xycoords=('axes fraction', 'data'), va='center')
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set(ylim=(len(scores) - 0.5, -0.5), xlabel=label)
        axes.tick_params(axis='y', length=0, labelsize=9)
        axes.grid(axis='y', visible=False)
        axes.spines['left'].set_visible(False)
        return to_svg(figure, name=name, title=f'{label} of each network; a dot for each run, a bar at the mean')


def plot_cost(
    networks: Mapping[str, tuple[float | None, Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    unit: str = '',
    name: str,
) -> str:
    """Scores against cost: a marker at the mean, a line from the lowest to the highest run.

    Args:
        networks: cost and scores by name. A network that lacks either is left out but keeps its colour.
        xlabel: the cost.
        ylabel: the score.
        unit: of the cost; a prefix (k, M, G, m) is added to it.
        name: unique on the page.
    """
    with figure_style():
        figure, axes = new_axes(3.6)
        highest, looks = 0.0, []
        for index, (key, (cost, scores)) in enumerate(networks.items()):
            marker = _MARKERS[index % len(_MARKERS)]
            looks.append(dict(label=key, marker=marker, linestyle='none', markersize=7))
            if cost is None or not scores:
                continue
            highest, colour = max(highest, cost), series_colour(index)
            axes.plot([cost, cost], [min(scores), max(scores)], color=colour, linewidth=1.4, alpha=0.7)
            mean = statistics.fmean(scores)
            axes.plot(cost, mean, marker, color=colour, markersize=8, markeredgewidth=0, alpha=0.85)
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1.1 * (highest or 1.0)))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(unit))
        _legend(figure, looks)
        return to_svg(figure, name=name, title=f'{ylabel} of each network against its {xlabel}')


def new_axes(height: float) -> tuple[Figure, Axes]:
    """A figure of one column's width, ``height`` inches high."""
    figure = Figure(figsize=(4.9, height), layout='constrained')
    return figure, figure.subplots()


def note(axes: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], **look: Any) -> None:
    """Text beside a point, possibly outside the axes."""
    axes.annotate(text, at, shift, textcoords='offset points', annotation_clip=False, **look)


def _legend(figure: Figure, looks: Sequence[dict[str, Any]]) -> None:
    handles = [Line2D([], [], color=series_colour(index), **look) for index, look in enumerate(looks)]
    figure.legend(handles=handles, loc='outside upper left', ncols=3, columnspacing=1.4)


def marker_of(xs: Sequence[float]) -> str | None:
    """A dot for a single value, which makes no line."""
    return 'o' if len(xs) == 1 else None


def whole_numbers(axes: Axes, ticks: int) -> None:
    """Integer ticks for an x axis of epochs or iterations."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]))
