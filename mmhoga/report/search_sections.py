"""The sections of a report on a search: generators of HTML; one that has nothing to say yields nothing."""

from __future__ import annotations

from collections.abc import Iterator

from mmhoga.figures import plots, search_plots
from mmhoga.figures.genotype_drawing import difference_note, differing_edges, draw_genotype
from mmhoga.figures.palette import edge_label
from mmhoga.genotype import Genotype
from mmhoga.report import page
from mmhoga.report.comparison import NOT_MEASURED, format_count, format_seconds
from mmhoga.report.metrics import pick_metric
from mmhoga.report.search_runs import SearchRun
from mmhoga.search.records.history import SearchHistory


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
            [search_plots.plot_alpha(history)],
            'Probability of each operation, softmax(alpha), on every edge, in the places of the drawing. The thick '
            f'line is the operation that was chosen; the fine dots are at 1/{len(history.primitives)}.{_none(history)}',
        )
        entropy = history.entropy.mean(axis=1)
        yield page.heading('Entropy')
        yield page.figure(
            [search_plots.plot_entropy(history)],
            f'Entropy of those probabilities: one thin line an edge, their mean in colour. The mean was '
            f'{entropy[0]:.3f} nats after epoch {history.epochs[0]} and {entropy[-1]:.3f} after epoch '
            f'{history.epochs[-1]}; {history.max_entropy:.3f} is no preference at all, 0 certainty.',
            size='medium',
        )
        yield page.heading('History of the genotype')
        yield page.figure(
            [search_plots.plot_choices(history)],
            'Which operation each edge would have had, had the search ended there.',
            size='medium',
        )
        rows = [[str(epoch), edge_label(*edge), old, new] for epoch, edge, old, new in history.changes()]
        changes = page.table(['epoch', 'edge', 'before', 'after'], rows)
        count = f'{len(rows)} change{"s" if len(rows) != 1 else ""} of the chosen operations'
        yield page.folded(count, changes) if rows else page.paragraph('No edge changed its operation.', 'soft')
        yield page.folded('Every epoch in numbers', _epochs(history))
    if search.run is not None:
        yield page.heading('Loss and metric during the search')
        caption = 'Of the network with all candidate operations, while it was searched.'
        losses = {
            'weights, on trainA': [search.run.train_curve('loss')],
            'alpha, on trainB': [search.run.train_curve('alpha_loss')],
        }
        svgs = plots.plot_progress({'search': [search.run]}, losses, pick_metric([search.run]), 'validation', 'search')
        yield page.figure(svgs, caption, size='medium')
    yield page.heading('Cost')
    yield page.definitions(_cost(search, size))


def _epochs(history: SearchHistory) -> str:
    keys = list(dict.fromkeys(key for record in history.further for key in record))
    rows = [
        [str(epoch), f'{entropy:.3f}', *(f'{record[key]:.6g}' if key in record else NOT_MEASURED for key in keys)]
        for epoch, entropy, record in zip(history.epochs, history.entropy.mean(axis=1), history.further)
    ]
    head = ['epoch', 'mean entropy', *(key.replace('_', ' ') for key in keys)]
    return page.table(head, rows, numbers=len(head) - 1, missing=NOT_MEASURED)


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


def _none(history: SearchHistory) -> str:
    """Why the thick line may not be the highest; nothing if it is, on every edge."""
    likeliest = [history.primitives[column] for column in history.alpha[-1].argmax(axis=1)]
    chosen = [history.genotypes[-1].operation(*edge) for edge in history.edges]
    if any(best == 'none' != picked for best, picked in zip(likeliest, chosen)):
        return ' Where "none" comes out highest, the next operation was chosen.'
    return ''
