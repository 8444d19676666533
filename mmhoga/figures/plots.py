"""Plots of runs and of searches, each an SVG element for a page. A plot's name is unique on the page."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from mmhoga.figures.styles import INK, edge_label, page_style, series_colour, style, to_svg
from mmhoga.search.records.history import SearchHistory

#: Epochs (or iterations) and values.
Curve = tuple[Sequence[float], Sequence[float]]

_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')


def plot_curves(
    networks: Mapping[str, Sequence[Curve]], *, xlabel: str, ylabel: str, name: str, log: bool = False
) -> str:
    """One line per network: the mean over its curves, in a band from the lowest to the highest.

    ``log`` allows a logarithmic scale, which is used if the values span more than a power of ten.
    """
    with page_style():
        figure, axes = _new_axes(3.6)
        for index, curves in enumerate(networks.values()):
            xs, mean, low, high = mean_curve(curves)
            if xs:
                colour = series_colour(index)
                axes.plot(xs, mean, color=colour, marker=_marker(xs))
                axes.fill_between(xs, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        _whole_numbers(axes, 8)
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
    for x, y in (point for curve in curves for point in zip(*curve)):
        values[x].append(y)
    xs = sorted(values)
    return xs, [statistics.fmean(values[x]) for x in xs], [min(values[x]) for x in xs], [max(values[x]) for x in xs]


def plot_scores(scores: Mapping[str, Sequence[float]], *, label: str, format_value: Callable[[float], str]) -> str:
    """One row per network: a dot per run, a bar at the mean, and the mean as a number."""
    with page_style():
        figure, axes = _new_axes(0.8 + 0.36 * len(scores))
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
            _note(axes, format_value(mean), (1, index), (6, 0), xycoords=('axes fraction', 'data'), va='center')
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set(ylim=(len(scores) - 0.5, -0.5), xlabel=label)
        axes.tick_params(axis='y', length=0, labelsize=9)
        axes.grid(axis='y', visible=False)
        axes.spines['left'].set_visible(False)
        return to_svg(figure, name='scores', title=f'{label} of each network; a dot for each run, a bar at the mean')


def plot_cost(
    networks: Mapping[str, tuple[float | None, Sequence[float]]], *, xlabel: str, ylabel: str, name: str, unit: str = ''
) -> str:
    """Scores against cost: a marker at the mean, a line from the lowest to the highest run.

    A network that lacks either is left out but keeps its colour. Costs get a prefix (k, M, G, m) to their unit.
    """
    with page_style():
        figure, axes = _new_axes(3.6)
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


def plot_alpha(history: SearchHistory) -> str:
    """softmax(alpha) of every edge over epochs, arranged as in the genotype's drawing: column k enters U_k."""
    groups, uniform = history.num_groups, 1 / len(history.primitives)
    with page_style():
        figure = Figure(figsize=(max(0.7 + 2.2 * groups, 4.6), 0.8 + 1.55 * groups), layout='constrained')
        grid = figure.subplots(groups, groups, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        reference: dict[str, Any] = dict(color=INK, linewidth=0.7, linestyle=':')
        lines: dict[str, dict[str, Any]] = {}
        for operation in history.primitives:
            dashes = (0, (1, 1.6)) if operation == 'none' else (0, (4, 1.6)) if style(operation).dashed else '-'
            lines[operation] = dict(color=style(operation).colour, linestyle=dashes)
        for (source, target), mixes in zip(history.edges, history.probabilities.transpose(1, 2, 0)):
            # Rows as in the drawing: first the edges from F_k, then those from U_0, U_1, ...
            axes = grid[0 if source == target else source + 1][target]
            axes.set_axis_on()
            chosen = history.genotypes[-1].operation(source, target)
            for operation, values in zip(history.primitives, mixes):
                emphasis = dict(linewidth=2.4, zorder=3) if operation == chosen else dict(linewidth=1.0, alpha=0.75)
                axes.plot(history.epochs, values, marker=_marker(history.epochs), **emphasis, **lines[operation])
            axes.axhline(uniform, alpha=0.6, **reference)
            _whole_numbers(axes, 4)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_title(f'{edge_label(source, target)}  {style(chosen).label}', loc='left', pad=3)
            lowest = source == target - 1 or target == 0
            axes.tick_params(labelleft=source == target == 0, labelbottom=lowest, length=2)
            if lowest:
                axes.set_xlabel('epoch')
        grid[0][0].set_ylabel('probability')
        handles = [Line2D([], [], linewidth=1.8, label=style(op).label, **line) for op, line in lines.items()]
        handles.append(Line2D([], [], label=f'1/{len(history.primitives)}', **reference))
        # From three groups on, the legend fits into the empty lower left.
        place: Any = 'lower left' if groups > 2 else 'outside lower left'
        figure.legend(handles=handles, loc=place, ncols=2, handlelength=2.8, columnspacing=1.6)
        return to_svg(figure, name='alpha', title='Probability of each operation on every edge over epochs')


def plot_choices(history: SearchHistory) -> str:
    """The genotype's history: a bar per edge, coloured at each epoch by the operation that would have been chosen."""
    looks: dict[str, dict[str, Any]] = {}
    for operation in history.primitives:
        colour, hatch = style(operation).colour, '////' if style(operation).dashed else None
        looks[operation] = dict(facecolor=colour, edgecolor=INK, linewidth=0.4, hatch=hatch)
    with page_style():
        figure, axes = _new_axes(1.3 + 0.27 * len(history.edges))
        shown: set[str] = set()
        for row, edge in enumerate(history.edges):
            for start, end, operation in choices(history, edge):
                shown.add(operation)
                axes.broken_barh([(start - 0.5, end - start + 1)], (row - 0.36, 0.72), **looks[operation])
        axes.set_yticks(range(len(history.edges)), [edge_label(*edge) for edge in history.edges])
        axes.set(ylim=(len(history.edges) - 0.5, -0.5), xlim=(history.epochs[0] - 0.5, history.epochs[-1] + 0.5))
        axes.set_xlabel('epoch')
        axes.tick_params(axis='y', length=0)
        axes.grid(visible=False)
        _whole_numbers(axes, 10)
        axes.spines[:].set_visible(False)
        handles = [Patch(label=style(name).label, **look) for name, look in looks.items() if name in shown]
        figure.legend(handles=handles, loc='outside upper left', ncols=4, columnspacing=1.2, handlelength=1.4)
        return to_svg(figure, name='choices', title='The chosen operation of every edge over epochs')


def choices(history: SearchHistory, edge: tuple[int, int]) -> list[tuple[int, int, str]]:
    """(first epoch, last epoch, operation) of every stretch in which an edge kept its operation."""
    stretches: list[tuple[int, int, str]] = []
    for epoch, genotype in zip(history.epochs, history.genotypes):
        operation = genotype.operation(*edge)
        start = stretches.pop()[0] if stretches and stretches[-1][2] == operation else epoch
        stretches.append((start, epoch, operation))
    return stretches


def plot_entropy(history: SearchHistory) -> str:
    """Entropy of softmax(alpha) over epochs in nats: edges as thin lines, the mean thick, log(M) as reference."""
    top, lowest, operations = history.max_entropy, history.entropy.min(), len(history.primitives)
    mean = history.entropy.mean(axis=1)
    with page_style():
        figure, axes = _new_axes(3.0)
        marker = _marker(history.epochs)
        axes.plot(history.epochs, history.entropy, marker=marker, color=INK, linewidth=0.8, alpha=0.4, markersize=3)
        axes.plot(history.epochs, mean, color=series_colour(0), linewidth=2.6, marker=marker)
        axes.axhline(top, color=INK, linewidth=0.9, linestyle=':')
        reference = f'log {operations} = {top:.3f}: all {operations} equally likely'
        _note(axes, reference, (0, top), (4, 4), xycoords=('axes fraction', 'data'), fontsize=8.5)
        _note(axes, f'mean {mean[-1]:.3f}', (history.epochs[-1], mean[-1]), (6, -3), weight='bold')
        _whole_numbers(axes, 8)
        axes.set(xlabel='epoch', ylabel='entropy (nats)')
        axes.set_ylim(lowest - 0.08 * (top - lowest) - 1e-3, top + 0.14 * (top - lowest) + 2e-3)
        return to_svg(figure, name='entropy', title='Entropy of alpha over epochs')


def _new_axes(height: float) -> tuple[Figure, Axes]:
    """A figure of one column's width, ``height`` inches high."""
    figure = Figure(figsize=(4.9, height), layout='constrained')
    return figure, figure.subplots()


def _note(axes: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], **look: Any) -> None:
    """Text beside a point, possibly outside the axes."""
    axes.annotate(text, at, shift, textcoords='offset points', annotation_clip=False, **look)


def _legend(figure: Figure, looks: Sequence[dict[str, Any]]) -> None:
    handles = [Line2D([], [], color=series_colour(index), **look) for index, look in enumerate(looks)]
    figure.legend(handles=handles, loc='outside upper left', ncols=3, columnspacing=1.4)


def _marker(xs: Sequence[float]) -> str | None:
    """A dot for a single value, which makes no line."""
    return 'o' if len(xs) == 1 else None


def _whole_numbers(axes: Axes, ticks: int) -> None:
    """Integer ticks for an x axis of epochs or iterations."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]))
