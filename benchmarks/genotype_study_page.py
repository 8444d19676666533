"""Tables and figures of the study of genotypes, from its raw numbers.

    python benchmarks/genotype_study_page.py benchmarks/genotype_study.jsonl --images docs/images

Prints the tables in Markdown, as docs/genotype_study.md shows them, and writes two figures. Accuracies are in percent.
Intervals are 95 %: Student's t for means, the percentile bootstrap (10,000 samples, seed 0) for rank correlations.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy import stats

matplotlib.use('Agg')
from matplotlib import pyplot as plt

METRIC = 'accuracy/top1'
Rows = list[dict[str, Any]]


def read(path: Path) -> dict[str, Rows]:
    """The lines of the file by section."""
    sections: dict[str, Rows] = defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        sections[row['section']].append(row)
    return sections


def means(rows: Rows, *keys: str) -> dict[Any, float]:
    """The mean accuracy of the rows with equal values of ``keys``."""
    groups: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        values = tuple(row[key] for key in keys)
        groups[values if len(keys) > 1 else values[0]].append(row[METRIC])
    return {key: float(np.mean(values)) for key, values in groups.items()}


def interval(values: Sequence[float]) -> str:
    """The mean and half the width of its interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else float('nan')
    return f'{np.mean(values):.2f} ± {half:.2f}'


def difference(values: Sequence[float], reference: Sequence[float]) -> str:
    """The difference of the means, with Welch's interval."""
    test = stats.ttest_ind(values, reference, equal_var=False).confidence_interval(0.95)
    return f'{np.mean(values) - np.mean(reference):+.2f} ({test.low:+.2f} to {test.high:+.2f})'


def correlation_with_interval(x: np.ndarray, y: np.ndarray) -> str:
    """Spearman's correlation of two vectors, with its bootstrap interval."""
    chosen = np.random.RandomState(0).randint(len(x), size=(10_000, len(x)))
    low, high = np.nanpercentile(spearman(x[chosen], y[chosen]), [2.5, 97.5])
    return f'{spearman(x, y):+.2f} ({low:+.2f} to {high:+.2f})'


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis; NaN where all values are equal."""
    x, y = (stats.rankdata(values, axis=-1) - (x.shape[-1] + 1) / 2 for values in (x, y))
    with np.errstate(invalid='ignore'):
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines) + '\n'


def variance_table(rows: Rows) -> str:
    """One-way analysis of variance: the spread between genotypes beside that between seeds."""
    groups: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        groups[row['genotype']].append(row[METRIC])
    complete = np.array([values for values in groups.values() if len(values) == 2])
    within = complete.var(axis=1, ddof=1).mean()
    per_genotype = complete.mean(axis=1)
    test = stats.f_oneway(*complete)
    # F is (1 + 2 between / within) times a value of this distribution, whose quantiles give the interval of between.
    distribution = stats.f(len(complete) - 1, len(complete))
    low, middle, high = (
        max(within / 2 * (test.statistic / quantile - 1), 0.0) ** 0.5
        for quantile in (distribution.ppf(0.975), 1.0, distribution.ppf(0.025))
    )
    return table(
        ['random genotypes', 'mean', 'lowest to highest', 'SD between genotypes', 'SD between seeds', 'F test'],
        [
            [
                len(complete),
                interval(per_genotype),
                f'{per_genotype.min():.2f} to {per_genotype.max():.2f}',
                f'{middle:.2f} ({low:.2f} to {high:.2f})',
                f'{within**0.5:.2f}',
                f'p = {test.pvalue:.2g}',
            ]
        ],
    )


def ways_table(random: Rows, searched: Rows) -> str:
    """Each way to search and select: 5 searches, each the mean of its trainings, beside the random genotypes."""
    reference = list(means(random, 'genotype').values())
    by_way: dict[str, list[float]] = defaultdict(list)
    for (way, _), value in means(searched, 'way', 'search').items():
        by_way[way].append(value)
    rows = [
        [
            way,
            len(v),
            interval(v),
            difference(v, reference),
            f'{np.mean([stats.percentileofscore(reference, x) for x in v]):.0f}',
        ]
        for way, v in by_way.items()
    ]
    return table(['way', 'searches', 'accuracy', 'minus random', 'mean percentile among random'], rows)


def correlation_table(random: Rows, scores: Rows) -> str:
    trained = means(random, 'genotype')
    columns: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in scores:
        columns[row['way']][row['search']][row['genotype']] = row['score']
    lines = []
    for way, searches in columns.items():
        for search, values in searches.items():
            x, y = (np.array([source[g] for g in values]) for source in (values, trained))
            lines.append([way, search, correlation_with_interval(x, y)])
        x = np.array([np.mean([values[g] for values in searches.values()]) for g in trained])
        lines.append([way, 'mean score', correlation_with_interval(x, np.array(list(trained.values())))])
    return table(['supernet', 'search', "Spearman's rank correlation"], lines)


def baselines_table(rows: Rows, random: Rows) -> str:
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row['attention']].append(row[METRIC])
    reference = list(means(random, 'genotype').values())
    lines = [[name, len(v), interval(v), difference(v, reference)] for name, v in values.items()]
    return table(['attention', 'seeds', 'accuracy', 'minus random genotypes'], lines)


def draw_distribution(sections: dict[str, Rows], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6), layout='constrained')
    groups: dict[str, list[float]] = {'random': list(means(sections['random'], 'genotype').values())}
    for (way, _), value in means(sections['searched'], 'way', 'search').items():
        groups.setdefault(way, []).append(value)
    for name, value in means(sections['baselines'], 'attention', 'seed').items():
        groups.setdefault(name[0], []).append(value)
    generator = np.random.RandomState(0)
    for position, values in enumerate(groups.values()):
        jitter = generator.uniform(-0.18, 0.18, len(values))
        axes.plot(values, position + jitter, 'o', ms=4, alpha=0.6, color='C0' if position == 0 else 'C1')
        axes.plot([np.mean(values)] * 2, [position - 0.35, position + 0.35], color='black', lw=1.5)
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.set_xlabel('test accuracy in %; a dot per genotype (mean of 2 seeds) or per seed; line: mean')
    axes.grid(axis='x', alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_scores(sections: dict[str, Rows], path: Path) -> None:
    trained = means(sections['random'], 'genotype')
    ways = list(dict.fromkeys(row['way'] for row in sections['scores']))
    figure, axes = plt.subplots(1, len(ways), figsize=(3.6 * len(ways), 3.2), layout='constrained', squeeze=False)
    for axis, way in zip(axes[0], ways):
        scores: dict[int, list[float]] = defaultdict(list)
        for row in sections['scores']:
            if row['way'] == way:
                scores[row['genotype']].append(row['score'])
        axis.plot([np.mean(scores[g]) for g in scores], [trained[g] for g in scores], 'o', ms=4, alpha=0.7)
        axis.set_title(f'supernets of {way!r}', fontsize=9)
        axis.set_xlabel("score with the supernet's weights, in %")
        axis.set_ylabel('test accuracy after training, in %')
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', type=Path)
    parser.add_argument('--images', type=Path, help='folder for the figures')
    args = parser.parse_args()
    sections = read(args.runs)
    random = sections['random']
    print(variance_table(random))
    if sections['searched']:
        print(ways_table(random, sections['searched']))
    if sections['scores']:
        print(correlation_table(random, sections['scores']))
    print(baselines_table(sections['baselines'], random))
    seconds: dict[str, float] = defaultdict(float)
    for name, rows in sections.items():
        seconds[name] = sum(row['cpu_seconds'] for row in rows) / 3600
    print('hours of one core: ' + ', '.join(f'{name} {hours:.2f}' for name, hours in seconds.items()))
    if args.images:
        draw_distribution(sections, args.images / 'genotype_study.png')
        if sections['scores']:
            draw_scores(sections, args.images / 'genotype_study_scores.png')


if __name__ == '__main__':
    main()
