"""The content of a report's sections, as the templates take it: texts, tables and drawings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmhoga.figures import plots
from mmhoga.figures.genotype_figure import difference_note, differing_edges, genotype_svg
from mmhoga.figures.palette import edge_label, series_colour
from mmhoga.figures.plots import Curve
from mmhoga.genotype import Genotype
from mmhoga.report.comparison import (
    NOT_MEASURED,
    NetworkRow,
    format_count,
    format_scores,
    format_seconds,
    metric_table,
)
from mmhoga.report.metrics import Metric, pick_metric
from mmhoga.report.runs import Run
from mmhoga.report.search_runs import SearchRun
from mmhoga.search.records.history import SearchHistory

Size = tuple[int | None, int | None]


def search_content(search: SearchRun, reference: str, size: Size) -> dict[str, Any]:
    """The genotype and the search. ``size``: parameters and multiply-accumulates of the supernet."""
    shown = {reference: Genotype.from_config(reference)}
    if search.genotype:
        shown = {'searched': search.genotype, **shown}
    ringed = differing_edges(list(shown.values()))
    drawings = {
        name: genotype_svg(genotype, name=f'genotype-{number}', title=f'Genotype {name}', ringed=ringed)
        for number, (name, genotype) in enumerate(shown.items())
    }
    history = search.history if search.history and search.history.epochs else None
    losses, loss_source = _losses(search.run, history) if search.run else ({}, '')
    metric = pick_metric([search.run]) if search.run else None
    return {
        'drawings': drawings,
        'difference': difference_note(list(shown.values())) if len(shown) > 1 else '',
        'genotype_json': search.genotype.to_json() if search.genotype else '',
        'history': _history(history) if history else None,
        'progress': _progress({'search': [search.run]}, losses, metric, 'validation', 'search') if search.run else [],
        'loss_source': loss_source,
        'found': search,
        'size': size,
    }


def _history(history: SearchHistory) -> dict[str, Any]:
    entropy = history.entropy.mean(axis=1).tolist()
    keys = list(dict.fromkeys(key for record in history.further for key in record))
    rows = [
        [str(epoch), f'{mean:.3f}', *(f'{record[key]:.6g}' if key in record else NOT_MEASURED for key in keys)]
        for epoch, mean, record in zip(history.epochs, entropy, history.further)
    ]
    return {
        'epochs': history.epochs,
        'primitives': len(history.primitives),
        'mean_entropy': entropy,
        'max_entropy': history.max_entropy,
        'none_is_first': none_is_first(history),
        'alpha': plots.plot_alpha(history),
        'entropy': plots.plot_entropy(history),
        'choices': plots.plot_choices(history),
        'changes': [[str(epoch), edge_label(*edge), old, new] for epoch, edge, old, new in history.changes()],
        'head': ['epoch', 'mean entropy', *(key.replace('_', ' ') for key in keys)],
        'rows': rows,
    }


def none_is_first(history: SearchHistory) -> bool:
    """Whether ``none``, which is never chosen, has a higher alpha than the chosen operation of some edge."""
    if 'none' not in history.primitives:
        return False
    column = {name: number for number, name in enumerate(history.primitives)}
    picked = [column[history.genotypes[-1].operation(*edge)] for edge in history.edges]
    return any(row[column['none']] > row[chosen] for row, chosen in zip(history.alpha[-1], picked))


def _losses(run: Run, history: SearchHistory | None) -> tuple[dict[str, list[Curve]], str]:
    """Both losses of a search: means over whole epochs if the history has them, as its table does, else the logs'."""
    names = {'weights, on trainA': ('loss/trainA', 'loss'), 'alpha, on trainB': ('loss/trainB', 'alpha_loss')}
    records = list(zip(history.epochs, history.further)) if history else []
    if records and run.by_epoch and all('loss/trainA' in record and 'loss/trainB' in record for _, record in records):
        curves: dict[str, list[Curve]] = {
            label: [([epoch for epoch, _ in records], [record[key] for _, record in records])]
            for label, (key, _) in names.items()
        }
        return curves, 'Losses are means over the epoch.'
    return {label: [run.train_curve(key)] for label, (_, key) in names.items()}, 'Losses are those of the logged steps.'


def _progress(
    networks: Mapping[str, Sequence[Run]],
    losses: Mapping[str, Sequence[Curve]],
    metric: Metric | None,
    split: str,
    name: str,
) -> list[str]:
    """Losses and validations, over epochs or iterations as the runs count."""
    unit = _unit(networks)
    svgs = [plots.plot_curves(losses, xlabel=unit, ylabel='training loss', name=f'{name}-losses', log=True)]
    if metric:
        values = {key: [run.val_curve(metric.key) for run in runs] for key, runs in networks.items()}
        label = f'{split} {metric.axis}'
        svgs.append(plots.plot_curves(values, xlabel=unit, ylabel=label, name=f'{name}-metric'))
    return svgs


def _unit(networks: Mapping[str, Sequence[Run]]) -> str:
    units = {'epoch' if run.by_epoch else 'iteration' for runs in networks.values() for run in runs}
    return ' or '.join(sorted(units)) or 'epoch'


def comparison_content(
    rows: Sequence[NetworkRow],
    metric: Metric | None,
    split: str,
    curve_split: str,
    highlight: str | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The table, plots and notes of the networks. ``split`` labels final scores, ``curve_split`` their curves."""
    title = f'{split} {metric.axis}' if metric else 'metric'
    head = ['network', f'{title}, mean', 'lowest to highest', runs_title(rows, metric), 'parameters', 'MACs']
    timed = any(row.image_time is not None for row in rows)
    table = []
    for row in rows:
        scores = format_scores(row, metric) if metric else (NOT_MEASURED,) * 3
        times = [format_seconds(row.seconds_per_step), *([format_seconds(row.image_time)] if timed else [])]
        table.append([row.name, *scores, format_count(row.params), format_count(row.macs), *times])
    networks = {row.name: row.runs for row in rows}
    losses = {name: [run.train_curve('loss') for run in runs] for name, runs in networks.items()}
    content = {
        'head': [*head, 'time per step', *(['time per image'] if timed else [])],
        'rows': table,
        'numbers': 3 + timed,
        'colours': [series_colour(index) for index in range(len(rows))],
        'mark': highlight,
        'networks': rows,
        'timed': timed,
        'measured': any(row.step_time is not None for row in rows),
        'notes': notes,
        'names': list(networks),
        'metrics': metric_table(rows),
        'unit': _unit(networks),
        'progress': _progress(networks, losses, metric, curve_split, 'comparison'),
        'scores': '',
        'costs': [],
    }
    if metric:
        values = {row.name: row.scores(metric) for row in rows}
        content['scores'] = plots.plot_scores(values, label=title, format_value=metric.format)
        content['costs'] = _costs(rows, values, title)
    return content


def _costs(rows: Sequence[NetworkRow], scores: Mapping[str, list[float]], ylabel: str) -> list[str]:
    """Scores against each cost that at least two networks have."""
    costs: dict[str, tuple[str, dict[str, float | None]]] = {
        'parameters': ('', {row.name: row.params for row in rows}),
        'MACs': ('', {row.name: row.macs for row in rows}),
        'time per training step': ('s', {row.name: row.seconds_per_step for row in rows}),
        'time per image': ('s', {row.name: row.image_time for row in rows}),
    }
    svgs: list[str] = []
    for label, (unit, values) in costs.items():
        if sum(value is not None and bool(scores[name]) for name, value in values.items()) > 1:
            points = {name: (value, scores[name]) for name, value in values.items()}
            svgs.append(plots.plot_cost(points, xlabel=label, ylabel=ylabel, unit=unit, name=f'cost-{len(svgs)}'))
    return svgs


def runs_title(rows: Sequence[NetworkRow], metric: Metric | None) -> str:
    """The title over the runs' values: their seeds, if all networks have the same ones and no value is missing."""
    seeds = {tuple(run.seed for run in row.runs) for row in rows}
    whole = metric and all(len(row.scores(metric)) == len(row.runs) for row in rows)
    first = min(seeds, key=len)
    if not whole or len(seeds) > 1 or None in first or len(set(first)) < len(first) or not first:
        return 'each run'
    return f'seed{"s" if len(first) > 1 else ""} {", ".join(map(str, first))}'


def environments(runs: Sequence[tuple[str, Run]]) -> list[tuple[str, dict[str, str]]]:
    """The environments in the runs' logs. Runs with the same one share it."""
    total = Counter(name for name, _ in runs)
    shared: dict[tuple[tuple[str, str], ...], Counter[str]] = {}
    for name, run in runs:
        if run.environment:
            shared.setdefault(tuple(run.environment.items()), Counter())[name] += 1
    found = []
    for facts, counts in shared.items():
        names = [name if n == total[name] else f'{name} ({n} of {total[name]} runs)' for name, n in counts.items()]
        found.append((f'Environment of the runs: {", ".join(names)}', dict(facts)))
    return found
