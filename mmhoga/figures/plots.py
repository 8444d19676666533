"""Plots of runs, each an SVG element: curves, final scores, scores against costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from mmhoga.figures.palette import series_colour
from mmhoga.figures.svg_figure import figure_style, to_svg
from mmhoga.report.metrics import Metric
from mmhoga.report.runs import Run

#: A curve: epochs and values.
Curve = tuple[Sequence[float], Sequence[float]]

_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')


def plot_curves(
    networks: Mapping[str, Sequence[Curve]], *, xlabel: str, ylabel: str, name: str, log: bool = False
) -> str:
    """One line a network: the mean over the curves of its runs, in a band from the lowest to the highest.

    Args:
        networks: the curves of each; colours go by their order.
        xlabel: ``epoch`` or ``iteration``.
        ylabel: what is shown, with its unit.
        name: unique on the page.
        log: a logarithmic scale, if the values span more than a power of ten.
    """
    with figure_style():
        figure = Figure(figsize=(4.9, 3.6), layout='constrained')
        axes = figure.subplots()
        for index, curves in enumerate(networks.values()):
            _band(axes, curves, series_colour(index))
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
            _legend(figure, list(networks), linewidth=2.2)
        return to_svg(figure, name=name, title=f'{ylabel} over {xlabel}s')


def plot_progress(
    networks: Mapping[str, Sequence[Run]],
    losses: Mapping[str, Sequence[Curve]],
    metric: Metric | None,
    split: str,
    name: str,
) -> list[str]:
    """Losses, and the metric's validations, of networks over epochs; over iterations if any run counts in those."""
    by_epoch = all(run.by_epoch for runs in networks.values() for run in runs)
    progress = 'epoch' if by_epoch else 'iteration'
    svgs = [plot_curves(losses, xlabel=progress, ylabel='training loss', name=f'{name}-losses', log=True)]
    if metric:
        values = {key: [run.val_curve(metric.key) for run in runs] for key, runs in networks.items()}
        label = f'{split} {metric.axis}'
        svgs.append(plot_curves(values, xlabel=progress, ylabel=label, name=f'{name}-metric'))
    return svgs


def mean_curve(curves: Sequence[Curve]) -> tuple[list[float], list[float], list[float], list[float]]:
    """(x, mean, lowest, highest) of several curves, at every x that any of them has."""
    values: dict[float, list[float]] = defaultdict(list)
    for xs, ys in curves:
        for x, y in zip(xs, ys):
            values[x].append(y)
    xs = sorted(values)
    return xs, [statistics.fmean(values[x]) for x in xs], [min(values[x]) for x in xs], [max(values[x]) for x in xs]


def _band(axes: Axes, curves: Sequence[Curve], colour: str) -> None:
    xs, mean, low, high = mean_curve(curves)
    if not xs:
        return
    axes.plot(xs, mean, color=colour, marker=marker_of(xs))
    if len(curves) > 1:
        axes.fill_between(xs, low, high, color=colour, alpha=0.16, linewidth=0)


def plot_scores(scores: Mapping[str, Sequence[float]], *, metric: Metric, split: str, name: str = 'scores') -> str:
    """One row a network: a dot for each seed's value, a bar at the mean, the mean in figures."""
    label = f'{split} {metric.axis}'
    with figure_style():
        figure = Figure(figsize=(4.9, 0.8 + 0.36 * len(scores)), layout='constrained')
        axes = figure.subplots()
        for index, values in enumerate(scores.values()):
            colour = series_colour(index)
            if not values:
                axes.text(0.01, index, 'not measured', transform=axes.get_yaxis_transform(), va='center', alpha=0.7)
                continue
            mean = statistics.fmean(values)
            # Equal values of two seeds must remain two dots.
            heights = [index + 0.13 * (i - (len(values) - 1) / 2) for i in range(len(values))]
            axes.plot(values, heights, 'o', color=colour, alpha=0.75, markersize=6.5, markeredgewidth=0)
            axes.plot([mean, mean], [index - 0.3, index + 0.3], color=colour, linewidth=2.4)
            axes.annotate(
                metric.format(mean),
                (1, index),
                (6, 0),
                xycoords=('axes fraction', 'data'),
                textcoords='offset points',
                va='center',
                annotation_clip=False,
            )
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.tick_params(axis='y', length=0, labelsize=9)
        axes.grid(axis='y', visible=False)
        axes.spines['left'].set_visible(False)
        axes.set_xlabel(label)
        return to_svg(figure, name=name, title=f'{label} of each network; a dot for each seed, a bar at the mean')


def plot_cost(
    networks: Mapping[str, tuple[float | None, Sequence[float]]],
    *,
    metric: Metric,
    split: str,
    xlabel: str,
    unit: str = '',
    name: str,
) -> str:
    """What a network reaches against what it costs: a mark at the mean, a line from the lowest to the highest run.

    Args:
        networks: cost and scores of each; one without either is left out, and keeps its colour.
        metric: the scores'.
        split: what they were measured on.
        xlabel: the cost.
        unit: of the cost, to which a prefix (k, M, G, m) is added.
        name: unique on the page.
    """
    ylabel = f'{split} {metric.axis}'
    with figure_style():
        figure = Figure(figsize=(4.9, 3.6), layout='constrained')
        axes = figure.subplots()
        for index, (cost, scores) in enumerate(networks.values()):
            if cost is None or not scores:
                continue
            colour, shape = series_colour(index), _MARKERS[index % len(_MARKERS)]
            axes.plot([cost, cost], [min(scores), max(scores)], color=colour, linewidth=1.4, alpha=0.7)
            axes.plot(cost, statistics.fmean(scores), shape, color=colour, markersize=8, markeredgewidth=0)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        highest = max((cost for cost, scores in networks.values() if cost is not None and scores), default=1.0)
        axes.set_xlim(0, 1.1 * highest)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(unit))
        shapes = [_MARKERS[index % len(_MARKERS)] for index in range(len(networks))]
        _legend(figure, list(networks), shapes=shapes, linestyle='none', markersize=7)
        return to_svg(figure, name=name, title=f'{ylabel} of each network against its {xlabel}')


def _legend(figure: Figure, names: Sequence[str], *, shapes: Sequence[str | None] = (), **look: Any) -> None:
    handles = [
        Line2D([], [], color=series_colour(index), marker=shape, label=label, **look)
        for index, (label, shape) in enumerate(zip(names, shapes or [None] * len(names)))
    ]
    figure.legend(handles=handles, loc='outside upper left', ncols=3, columnspacing=1.4)


def marker_of(xs: Sequence[float]) -> str | None:
    """A single value makes no line: show it as a dot."""
    return 'o' if len(xs) == 1 else None


def whole_numbers(axes: Axes, ticks: int) -> None:
    """An x axis of epochs or iterations."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]))
