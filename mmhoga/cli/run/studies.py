"""Parts that the commands of studies share: arguments, opening a study, running its trials, and the ranking."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import optuna

from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.lock import require_writable
from mmhoga.cli.values import format_table, positive, seed
from mmhoga.files import write_atomic
from mmhoga.genotype import PRIMITIVES, Genotype
from mmhoga.hosts import LaunchError, load_config
from mmhoga.report.comparison import Metric
from mmhoga.studies.backends import StudyError
from mmhoga.studies.costs import COSTS
from mmhoga.studies.ranking import pick_study_metric, rank
from mmhoga.studies.space import sample_genotypes
from mmhoga.studies.study import Study


def study_parser(purpose: str, example: str, *, trials: int) -> argparse.ArgumentParser:
    """A parser with the arguments that all studies share."""
    parser = command_parser(purpose, example)
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--work-dir', type=Path, help='folder of the trials (default: work_dirs/CONFIG_COMMAND)')
    parser.add_argument('--trials', type=positive(int), default=trials, help='number of trials (default: %(default)s)')
    parser.add_argument('--seed', type=seed, default=0, help='(default: %(default)s)')
    parser.add_argument('--trial', type=int, help='run only this trial, counted from 0: for a job array')
    parser.add_argument('--summary', action='store_true', help='run nothing, summarise the trials that are done')
    parser.add_argument('--jobs', type=positive(int), default=1, help='trials at a time (default: %(default)s)')
    storage = "file of Optuna's journal, or URL of a database (default: study.journal in the work_dir)"
    parser.add_argument('--storage', metavar='FILE', help=storage)
    add_config_options(parser)
    parser.set_defaults(cfg_options={})
    return parser


def add_space(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a study of genotypes."""
    parser.add_argument('--num-groups', type=positive(int), default=4, help='K (default: %(default)s)')
    parser.add_argument('--primitives', nargs='+', default=list(PRIMITIVES), help='candidates (default: all)')
    parser.add_argument('--metric', help='metric to rank by; higher is better (default: the first one in the logs)')


def random_genotypes(args: argparse.Namespace) -> list[Genotype]:
    """The genotypes of ``--trials``, ``--seed``, ``--num-groups`` and ``--primitives``."""
    try:
        return sample_genotypes(args.trials, seed=args.seed, num_groups=args.num_groups, primitives=args.primitives)
    except ValueError as error:
        raise LaunchError(str(error)) from error


def open_study(
    args: argparse.Namespace,
    suffix: str,
    settings: Mapping[str, Any],
    suggest: Callable[[Any], Any],
    directions: Sequence[str],
    **options: Any,
) -> Study:
    """Create the study of the arguments, or join it if its settings are the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = Path(load_config(args.config, args.cfg_options).filename)
    work_dir = args.work_dir or Path('work_dirs') / f'{config.stem}_{suffix}'
    if args.trial is not None and not 0 <= args.trial < args.trials:
        raise LaunchError(f'--trial {args.trial}: with --trials {args.trials} there are 0 to {args.trials - 1}.')
    require_writable(work_dir)
    settings = dict(config=config.name, seed=args.seed, cfg_options=args.cfg_options, **settings)
    options |= dict(suggest=suggest, directions=directions, storage=args.storage, seed=args.seed)
    try:
        return Study(work_dir, settings=settings, **options)
    except StudyError as error:
        raise LaunchError(str(error)) from error


def run_study(
    args: argparse.Namespace,
    study: Study,
    parameters: Mapping[int, Mapping[str, Any]],
    run_trials: Callable[[Collection[int], int], int],
    summary: Callable[[], str],
) -> None:
    """Run the trials that are not done: all, the one of ``--trial``, or none with ``--summary``. Print the summary.

    ``run_trials(numbers, side_by_side)`` returns how many trials it has run. A failed trial is an error only after the
    others have been run.
    """
    chosen = list(parameters)
    if args.summary:
        chosen = []
    elif args.trial is not None:
        chosen = [args.trial]
    done = len(set(chosen) & set(study.complete))
    if done:
        print(f'{done} of {len(chosen)} trials are already done.', flush=True)
    study.plan({number: parameters[number] for number in chosen})
    count = 0
    try:
        count = run_trials(chosen, args.jobs)
        for number in study.elsewhere(chosen):
            print(f'trial {number} is being run by another process. Skipped.', flush=True)
    finally:
        print(summary())
    if study.failures:
        raise LaunchError(f'{len(study.failures)} of {count} trials failed; the first: {study.failures[0]}')


def study_metric(args: argparse.Namespace, study: Study) -> Metric | None:
    """The metric to rank by; None before the first trial is done."""
    try:
        return pick_study_metric(study, args.metric)
    except ValueError as error:
        raise LaunchError(f'--metric: {error}') from error


def write_ranking(args: argparse.Namespace, study: Study, cost: str | None = None) -> str:
    """Write ``ranking.json`` with the trials that are done, and return the table to print."""
    metric = study_metric(args, study)
    if metric is None:
        return f'No trial of {args.trials} is done yet.'
    rows = rank(study, metric, cost, args.num_groups)
    table = [['rank', 'trial', metric.key, *([cost, 'front'] if cost else []), 'genotype']]
    for position, row in enumerate(rows, start=1):
        shown = [str(position), str(row['trial']), metric.format(row[metric.key])]
        if cost:
            shown += [f'{row[cost]:,.{COSTS[cost]}f}', '*' if row['front'] else '']
        table.append([*shown, ' | '.join(', '.join(names) for names in row['genotype'])])
    record = {'format': 'mmhoga.ranking', 'version': 1, 'metric': metric.key, 'of': args.trials, 'trials': rows}
    path = study.work_dir / 'ranking.json'
    write_atomic(path, json.dumps(record, indent=1) + '\n')
    return f'{format_table(table)}\n{len(rows)} of {args.trials} trials are done; {path}'
