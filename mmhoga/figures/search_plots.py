"""Plots of a search, each an SVG element: alpha and its entropy over epochs, the genotype's history."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mmhoga.figures.palette import edge_label, series_colour, style
from mmhoga.figures.plots import marker_of, new_axes, note, whole_numbers
from mmhoga.figures.svg_figure import INK, figure_style, to_svg
from mmhoga.search.records.history import SearchHistory


def plot_alpha(history: SearchHistory, *, name: str = 'alpha') -> str:
    """softmax(alpha) of every edge over epochs, arranged as in the genotype's drawing: column k enters U_k."""
    groups = history.num_groups
    with figure_style():
        figure = Figure(figsize=(max(0.7 + 2.2 * groups, 4.6), 0.8 + 1.55 * groups), layout='constrained')
        grid = figure.subplots(groups, groups, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for index, (source, target) in enumerate(history.edges):
            # Rows as in the drawing: first the edges from F_k, then those from U_0, U_1, ...
            axes = grid[0 if source == target else source + 1][target]
            axes.set_axis_on()
            _alpha_panel(axes, history, index)
            lowest = source == target - 1 or target == 0
            axes.tick_params(labelleft=source == target == 0, labelbottom=lowest, length=2)
            if lowest:
                axes.set_xlabel('epoch')
        grid[0][0].set_ylabel('probability')
        handles = [Line2D([], [], linewidth=1.8, label=style(op).label, **_line(op)) for op in history.primitives]
        uniform = f'1/{len(history.primitives)}'
        handles.append(Line2D([], [], color=INK, linewidth=0.7, linestyle=':', label=uniform))
        # From three groups on, the legend fits into the empty lower left.
        place: Any = 'lower left' if groups > 2 else 'outside lower left'
        figure.legend(handles=handles, loc=place, ncols=2, handlelength=2.8, columnspacing=1.6)
        return to_svg(figure, name=name, title='Probability of each operation on every edge over epochs')


def _alpha_panel(axes: Axes, history: SearchHistory, index: int) -> None:
    source, target = history.edges[index]
    chosen = history.genotypes[-1].operation(source, target)
    for operation, values in zip(history.primitives, history.probabilities[:, index].T):
        picked = operation == chosen
        emphasis: dict[str, Any] = (
            dict(linewidth=2.4, zorder=3) if picked else dict(linewidth=1.0, zorder=2, alpha=0.75)
        )
        axes.plot(history.epochs, values, marker=marker_of(history.epochs), **emphasis, **_line(operation))
    axes.axhline(1 / len(history.primitives), color=INK, linewidth=0.7, linestyle=':', alpha=0.6)
    whole_numbers(axes, 4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(f'{edge_label(source, target)}  {style(chosen).label}', loc='left', pad=3)


def _line(operation: str) -> dict[str, Any]:
    look = style(operation)
    dashes = (0, (1, 1.6)) if operation == 'none' else (0, (4, 1.6)) if look.dashed else '-'
    return {'color': look.colour, 'linestyle': dashes}


def plot_choices(history: SearchHistory, *, name: str = 'choices') -> str:
    """The genotype's history: a bar per edge, coloured at each epoch by the operation that would have been chosen."""
    operations: set[str] = set()
    with figure_style():
        figure, axes = new_axes(1.3 + 0.27 * len(history.edges))
        for row, edge in enumerate(history.edges):
            for start, end, operation in choices(history, edge):
                operations.add(operation)
                axes.broken_barh([(start - 0.5, end - start + 1)], (row - 0.36, 0.72), **_fill(operation))
        axes.set_yticks(range(len(history.edges)), [edge_label(*edge) for edge in history.edges])
        axes.set(ylim=(len(history.edges) - 0.5, -0.5), xlim=(history.epochs[0] - 0.5, history.epochs[-1] + 0.5))
        axes.set_xlabel('epoch')
        axes.tick_params(axis='y', length=0)
        axes.grid(visible=False)
        whole_numbers(axes, 10)
        for spine in axes.spines.values():
            spine.set_visible(False)
        shown = [operation for operation in history.primitives if operation in operations]
        handles = [Patch(label=style(operation).label, **_fill(operation)) for operation in shown]
        figure.legend(handles=handles, loc='outside upper left', ncols=4, columnspacing=1.2, handlelength=1.4)
        return to_svg(figure, name=name, title='The chosen operation of every edge over epochs')


def _fill(operation: str) -> dict[str, Any]:
    look = style(operation)
    hatch = '////' if look.dashed else None
    return {'facecolor': look.colour, 'edgecolor': INK, 'linewidth': 0.4, 'hatch': hatch}


def choices(history: SearchHistory, edge: tuple[int, int]) -> list[tuple[int, int, str]]:
    """(first epoch, last epoch, operation) of every stretch in which an edge kept its operation."""
    stretches: list[tuple[int, int, str]] = []
    for epoch, genotype in zip(history.epochs, history.genotypes):
        operation = genotype.operation(*edge)
        if stretches and stretches[-1][2] == operation:
            stretches[-1] = (stretches[-1][0], epoch, operation)
        else:
            stretches.append((epoch, epoch, operation))
    return stretches


def plot_entropy(history: SearchHistory, *, name: str = 'entropy') -> str:
    """Entropy of softmax(alpha) over epochs in nats: edges as thin lines, the mean thick, log(M) as reference."""
    top, lowest, operations = history.max_entropy, history.entropy.min(), len(history.primitives)
    mean = history.entropy.mean(axis=1)
    with figure_style():
        figure, axes = new_axes(3.0)
        marker = marker_of(history.epochs)
        thin: dict[str, Any] = dict(color=INK, linewidth=0.8, alpha=0.4, markersize=3)
        axes.plot(history.epochs, history.entropy, marker=marker, **thin)
        axes.plot(history.epochs, mean, color=series_colour(0), linewidth=2.6, marker=marker)
        axes.axhline(top, color=INK, linewidth=0.9, linestyle=':')
        reference = f'log {operations} = {top:.3f}: all {operations} equally likely'
        note(axes, reference, (0, top), (4, 4), xycoords=('axes fraction', 'data'), fontsize=8.5)
        note(axes, f'mean {mean[-1]:.3f}', (history.epochs[-1], mean[-1]), (6, -3), weight='bold')
        whole_numbers(axes, 8)
        axes.set(xlabel='epoch', ylabel='entropy (nats)')
        axes.set_ylim(lowest - 0.08 * (top - lowest) - 1e-3, top + 0.14 * (top - lowest) + 2e-3)
        return to_svg(figure, name=name, title='Entropy of alpha over epochs')
