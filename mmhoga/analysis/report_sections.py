"""The report's sections, each a generator of HTML; one that has nothing to say yields nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmhoga.analysis import page, plots
from mmhoga.analysis.comparison import NOT_MEASURED, NetworkRow, format_count, format_scores, format_seconds, summary
from mmhoga.analysis.genotype_drawing import difference_note, differing_edges, draw_genotype
from mmhoga.analysis.palette import edge_label, series_colour
from mmhoga.analysis.runs import Metric, Run, pick_metric
from mmhoga.analysis.search_runs import SearchHistory, SearchRun
from mmhoga.genotype import Genotype


def headline(
    search: SearchRun | None, rows: Sequence[NetworkRow], metric: Metric | None, split: str, highlight: str | None
) -> Iterator[str]:
    found = []
    if search is not None and search.genotype is not None:
        found.append(f'{_extent(search)} chose {search.chosen}.')
    caution = ''
    if metric:
        sentence, caution = summary(rows, metric, split, highlight)
        found.append(sentence)
    yield page.paragraph(' '.join(found) or 'Nothing has been measured yet.', 'lead')
    yield page.paragraph(caution, 'soft')


def _extent(search: SearchRun) -> str:
    """``20 epochs of search with seed 0``, as far as it is known."""
    epochs = len(search.history.epochs) if search.history else None
    text = f'{epochs} epoch{"s" if epochs != 1 else ""} of search' if epochs else 'The search'
    seed = search.genotype.meta.get('seed') if search.genotype else None
    return text if seed is None else f'{text} with seed {seed}'


def genotypes(search: SearchRun | None, reference: str) -> Iterator[str]:
    if search is None:
        return
    known = {reference: Genotype.from_config(reference)}
    if search.genotype is None:
        yield page.paragraph('The search has not written a genotype yet.')
    shown = {'searched': search.genotype, **known} if search.genotype else known
    ringed = differing_edges(list(shown.values()))
    svgs = {name: draw_genotype(genotype, title=f'Genotype {name}', ringed=ringed) for name, genotype in shown.items()}
    note = f' {difference_note(list(shown.values()))}' if len(shown) > 1 else ''
    yield page.figure(
        list(svgs.values()),
        'From top to bottom: the groups F of the input; the nodes U, each the sum of what comes down its column; the '
        'concatenation with the summary of the nodes, and what maps it back to the width of the input. Every box on '
        f'the stairs is the operation of one edge.{note}',
        size='own',
        titles=list(svgs),
    )
    if search.genotype:
        yield page.folded('genotype.json', page.code(search.genotype.to_json()))


def search(search: SearchRun | None, size: tuple[int | None, int | None] = (None, None)) -> Iterator[str]:
    if search is None:
        return
    history = search.history
    if history is None or not history.epochs:
        yield page.paragraph(f'Alpha over epochs: {NOT_MEASURED} (no search_history.json).', 'missing')
    else:
        yield page.heading('Alpha')
        yield page.figure(
            [plots.plot_alpha(history)],
            'Probability of each operation, softmax(alpha), on every edge, in the places of the drawing. The thick '
            f'line is the operation that was chosen; the fine dots are at 1/{len(history.primitives)}.{_none(history)}',
        )
        entropy = history.entropy.mean(axis=1)
        yield page.heading('Entropy')
        yield page.figure(
            [plots.plot_entropy(history)],
            f'Entropy of those probabilities: one thin line an edge, their mean in colour. The mean was '
            f'{entropy[0]:.3f} nats after epoch {history.epochs[0]} and {entropy[-1]:.3f} after epoch '
            f'{history.epochs[-1]}; {history.max_entropy:.3f} is no preference at all, 0 certainty.',
            size='medium',
        )
        yield page.heading('History of the genotype')
        yield page.figure(
            [plots.plot_choices(history)],
            'Which operation each edge would have had, had the search ended there.',
            size='medium',
        )
        rows = [[str(epoch), edge_label(*edge), old, new] for epoch, edge, old, new in history.changes()]
        changes = page.table(['epoch', 'edge', 'before', 'after'], rows)
        count = f'{len(rows)} change{"s" if len(rows) != 1 else ""} of the chosen operations'
        yield page.folded(count, changes) if rows else page.paragraph('No edge changed its operation.', 'soft')
    if search.run is not None:
        yield page.heading('Loss and metric during the search')
        caption = 'Of the network with all candidate operations, while it was searched.'
        losses = {
            'weights, on trainA': [search.run.train_curve('loss')],
            'alpha, on trainB': [search.run.train_curve('alpha_loss')],
        }
        svgs = _curves({'search': [search.run]}, losses, pick_metric([search.run]), 'validation', 'search')
        yield page.figure(svgs, caption, size='medium')
    yield page.heading('Cost')
    yield page.definitions(_cost(search, size))


def _cost(search: SearchRun, size: tuple[int | None, int | None]) -> dict[str, str]:
    """What the search took; what nobody measured is said to be so."""
    run = search.run
    done = len(search.history.epochs) if search.history else 0
    facts = {'epochs': str(done)}
    if run is not None and run.max_epochs is not None:
        unfinished = ' (unfinished: still running, or stopped)' if done < run.max_epochs else ''
        facts['epochs'] = f'{done} of {run.max_epochs}{unfinished}'
    step = run.step_time if run is not None else None
    facts['time a step, of alpha and weights'] = format_seconds(step)
    if run is not None and step is not None:
        seconds = step * run.steps
        text = f'{seconds / 3600:.1f} h' if seconds >= 5400 else f'{seconds / 60:.1f} min'
        facts['training time'] = f'about {text}: {run.steps} steps; validation not counted'
    if run is not None and run.peak_memory is not None:
        facts['memory of the accelerator'] = f'{run.peak_memory:.0f} MiB at most'
    facts['parameters of the network that was searched'] = format_count(size[0])
    facts['its MACs'] = format_count(size[1])
    return facts


def _curves(
    networks: Mapping[str, Sequence[Run]],
    losses: Mapping[str, Sequence[plots.Curve]],
    metric: Metric | None,
    split: str,
    name: str,
) -> list[str]:
    by_epoch = all(run.by_epoch for runs in networks.values() for run in runs)
    progress = 'epoch' if by_epoch else 'iteration'
    svgs = [plots.plot_curves(losses, xlabel=progress, ylabel='training loss', name=f'{name}-losses', log=True)]
    if metric:
        values = {key: [run.val_curve(metric.key) for run in runs] for key, runs in networks.items()}
        label = f'{split} {metric.axis}'
        svgs.append(plots.plot_curves(values, xlabel=progress, ylabel=label, name=f'{name}-metric'))
    return svgs


def _none(history: SearchHistory) -> str:
    """Why the thick line may not be the highest; nothing if it is, on every edge."""
    likeliest = [history.primitives[column] for column in history.alpha[-1].argmax(axis=1)]
    chosen = [history.genotypes[-1].operation(*edge) for edge in history.edges]
    if any(best == 'none' != picked for best, picked in zip(likeliest, chosen)):
        return ' Where "none" comes out highest, the next operation was chosen.'
    return ''


def comparison(
    rows: Sequence[NetworkRow], metric: Metric | None, split: str, highlight: str | None, notes: Sequence[str]
) -> Iterator[str]:
    if not rows:
        return
    title = f'{split} {metric.axis}' if metric else 'metric'
    head = ['network', f'{title}, mean', 'lowest to highest', _runs(rows, metric), 'parameters', 'MACs', 'time a step']
    cells = [
        [
            row.name,
            *(format_scores(row, metric) if metric else (NOT_MEASURED,) * 3),
            format_count(row.params),
            format_count(row.macs),
            format_seconds(row.seconds_a_step),
        ]
        for row in rows
    ]
    colours = [series_colour(index) for index in range(len(rows))]
    yield page.table(head, cells, numbers=3, colours=colours, missing=NOT_MEASURED, mark=highlight)
    measured = 'forward, backward, update; measured by turns in one process'
    logged = 'forward, backward, update, data; in the logs after the first epoch'
    how = measured if any(row.step_time is not None for row in rows) else logged
    yield page.paragraph(
        f'MACs: multiply-accumulates for one input. Time a step: median seconds of a training step ({how}).', 'soft'
    )
    yield from (page.paragraph(note, 'soft') for note in notes)
    if metric:
        scores = {row.name: row.scores(metric) for row in rows}
        dots = plots.plot_scores(scores, metric=metric, split=split)
        yield page.figure([dots], 'A dot for each run, a bar at the mean, which stands at the right.', size='medium')
    networks = {row.name: row.runs for row in rows}
    losses = {name: [run.train_curve('loss') for run in runs] for name, runs in networks.items()}
    curves = _curves(networks, losses, metric, split, 'comparison')
    caption = 'Mean over the runs of a network; the band reaches from the lowest to the highest run.'
    yield page.figure(curves, caption, size='medium')


def _runs(rows: Sequence[NetworkRow], metric: Metric | None) -> str:
    """The title over the values of the runs: their seeds, if all networks have the same and no value is missing."""
    seeds = {tuple(run.seed for run in row.runs) for row in rows}
    whole = metric and all(len(row.scores(metric)) == len(row.runs) for row in rows)
    first = min(seeds, key=len)
    if not whole or len(seeds) > 1 or None in first:
        return 'each run'
    return f'seed{"s" if len(first) > 1 else ""} {", ".join(map(str, first))}'


def provenance(
    search: SearchRun | None, rows: Sequence[NetworkRow], environment: Mapping[str, Any], commands: Sequence[str]
) -> Iterator[str]:
    if commands:
        yield page.heading('Commands')
        yield page.code('\n'.join(commands))
    if environment:
        yield page.heading('Environment')
        yield page.definitions(environment)
    searched = [('search', search.run)] if search and search.run else []
    named = searched + [(row.name, row.runs[0]) for row in rows if row.runs]
    runs = ([search.run] if search and search.run else []) + [run for row in rows for run in row.runs]
    configs = [page.folded(name, page.code(run.config_text or '')) for name, run in named if run.config_text]
    if configs:
        yield page.heading('Configs')
        yield from configs
    notes = [f'{run.work_dir}: {note}' for run in runs for note in run.notes]
    if notes:
        yield page.heading('What could not be read')
        yield from (page.paragraph(note) for note in notes)
