"""``mmhoga random-search`` and ``mmhoga repeat-search``: runs of one config that differ in a genotype or a seed.

On one machine the command runs all trials, ``--jobs`` at a time. It skips trials that are done and resumes those that
were stopped. On a cluster each trial is a job of its own: ``--trial $SLURM_ARRAY_TASK_ID``. In both cases the summary
covers the trials that are done.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from mmhoga.cli.run.arguments import add_config_options, command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.jobs import Job, JobError, JobPool, JobRunningError, from_here
from mmhoga.cli.values import positive
from mmhoga.files import write_atomic
from mmhoga.genotype import PRIMITIVES, Genotype
from mmhoga.hosts import LaunchError, load_config, walk
from mmhoga.report.comparison import pick_metric
from mmhoga.report.runs import read_run
from mmhoga.search.studies import agreement_table, sample_genotypes

CONTINUES = 'The same command continues after an interruption, and a larger --trials adds trials.'


def random_search_main(argv: Sequence[str] | None = None) -> int:
    """Train random genotypes and rank them. Returns the exit code: 2 for bad input or a failed trial."""
    parser = _parser(
        'Train random genotypes from the space of a search (Rand_HOGA), and rank them.\n\n'
        f'CONFIG trains a network with mmhoga.HOGA plugins. Each trial replaces their genotype.\n{CONTINUES}',
        'mmhoga random-search hoga-resnet8_1xb96-8e_digits --trials 4',
        trials=8,
    )
    parser.add_argument('--num-groups', type=int, default=4, help='K (default: %(default)s)')
    parser.add_argument('--primitives', nargs='+', default=list(PRIMITIVES), help='candidates (default: all)')
    parser.add_argument('--metric', help='metric to rank by; higher is better (default: the first one in the logs)')
    args = parser.parse_args(argv)
    return run(lambda: _random_search(args))


def repeat_search_main(argv: Sequence[str] | None = None) -> int:
    """Repeat a search and compare the results. Returns the exit code: 2 for bad input or a failed trial."""
    parser = _parser(
        'Repeat a search with several seeds, and compare the genotypes.\n\n'
        f'Trial i runs CONFIG with the seed --seed + i.\n{CONTINUES}',
        'mmhoga repeat-search hoga-search_resnet8_1xb64-8e_digits --trials 4',
        trials=4,
    )
    args = parser.parse_args(argv)
    return run(lambda: _repeat_search(args))


def _parser(purpose: str, example: str, *, trials: int) -> argparse.ArgumentParser:
    parser = command_parser(purpose, example)
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--work-dir', type=Path, help='folder of the trials (default: work_dirs/CONFIG_COMMAND)')
    parser.add_argument('--trials', type=int, default=trials, help='number of trials (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    parser.add_argument('--trial', type=int, help='run only this trial, counted from 0: for a job array')
    parser.add_argument('--summary', action='store_true', help='run nothing, summarise the trials that are done')
    parser.add_argument('--jobs', type=positive(int), default=1, help='trials at a time (default: %(default)s)')
    add_config_options(parser)
    parser.set_defaults(cfg_options={})
    return parser


def _random_search(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    settings = dict(num_groups=args.num_groups, primitives=args.primitives)
    try:
        genotypes = sample_genotypes(args.trials, seed=args.seed, **settings)
    except ValueError as error:
        raise LaunchError(str(error)) from error
    cells = [
        key
        for key, node in walk({'model': cfg.model})
        if isinstance(node, dict) and str(node.get('type')) in ('HOGA', 'mmhoga.HOGA')
    ]
    if not cells:
        raise LaunchError(f'{args.config} has no plugin of type mmhoga.HOGA whose genotype could be replaced.')
    work_dir = _open_work_dir(args, Path(cfg.filename), 'random', settings)
    jobs = []
    for i, genotype in enumerate(genotypes):
        folder = work_dir / f'trial_{i:03d}'
        folder.mkdir(exist_ok=True)
        genotype.save(folder / 'genotype.json')
        options = {f'{cell}.genotype': from_here(folder / 'genotype.json') for cell in cells}
        jobs.append(Job(f'trial {i}', args.config, folder, {**args.cfg_options, **options}))
    _run_trials(args, jobs, lambda: _rank(work_dir, jobs, args.metric))


def _repeat_search(args: argparse.Namespace) -> None:
    config = Path(load_config(args.config, args.cfg_options).filename)
    work_dir = _open_work_dir(args, config, 'repeated', {})
    jobs = []
    for i in range(args.trials):
        options = {**args.cfg_options, 'randomness.seed': args.seed + i}
        jobs.append(Job(f'seed {args.seed + i}', args.config, work_dir / f'trial_{i:03d}', options))
    _run_trials(args, jobs, lambda: _compare(jobs))


def _open_work_dir(args: argparse.Namespace, config: Path, suffix: str, settings: dict[str, Any]) -> Path:
    """Create the folder of the trials, or check that the trials in it have the same settings (``trials.json``)."""
    work_dir = (args.work_dir or Path('work_dirs') / f'{config.stem}_{suffix}').resolve()
    settings = dict(config=config.name, seed=args.seed, cfg_options=args.cfg_options, **settings)
    text = json.dumps(settings, indent=2, sort_keys=True, default=str) + '\n'
    path = work_dir / 'trials.json'
    work_dir.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        write_atomic(path, text)
        return work_dir
    try:
        before, now = dict(json.loads(path.read_text(encoding='utf-8'))), json.loads(text)
    except (ValueError, TypeError) as error:
        raise LaunchError(f'{path} does not hold the settings of trials: {error}') from error
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise LaunchError(
                f'{work_dir} belongs to other trials: {key} is {before.get(key)!r} there and {now.get(key)!r} here. '
                f'Use another --work-dir, or the same {key}.'
            )
    return work_dir


def _run_trials(args: argparse.Namespace, jobs: Sequence[Job], summary: Callable[[], str]) -> None:
    """Run the trials that are not done: all, the one of ``--trial``, or none with ``--summary``. Print the summary.

    A failed trial is an error only after the others have been run.
    """
    chosen = list(jobs)
    if args.summary:
        chosen = []
    elif args.trial is not None:
        if not 0 <= args.trial < len(jobs):
            raise LaunchError(f'--trial {args.trial}: with --trials {len(jobs)} there are 0 to {len(jobs) - 1}.')
        chosen = [jobs[args.trial]]
    unfinished = [job for job in chosen if not job.done()]
    if len(unfinished) < len(chosen):
        print(f'{len(chosen) - len(unfinished)} of {len(chosen)} trials are already done.', flush=True)
    failed = []
    try:
        with JobPool(args.jobs) as pool:
            for job in unfinished:
                pool.submit(job)
            for job, future in pool.finished():
                try:
                    future.result()
                    print(f'{job.name}: done', flush=True)
                except JobRunningError as error:
                    print(f'{error} Skipped.', flush=True)
                except JobError as error:
                    failed.append(str(error))
    finally:
        print(summary())
    if failed:
        raise LaunchError(f'{len(failed)} of {len(unfinished)} trials failed; the first: {failed[0]}')


def _rank(work_dir: Path, jobs: Sequence[Job], metric: str | None) -> str:
    """Write ``ranking.json`` with the trials that are done, and return the table to print."""
    runs = {i: read_run(job.work_dir) for i, job in enumerate(jobs) if job.done()}
    try:
        chosen = pick_metric(runs.values(), metric) if runs else None
    except ValueError as error:
        raise LaunchError(f'--metric: {error}') from error
    if chosen is None:
        return f'No trial of {len(jobs)} is done yet.'
    values = {i: value for i, one in runs.items() if (value := one.final(chosen.key)) is not None}
    rows: list[dict[str, Any]] = []
    lines = [f'rank  trial  {chosen.key}  genotype']
    for position, i in enumerate(sorted(values, key=lambda i: (-values[i], i)), start=1):
        edges = Genotype.load(jobs[i].work_dir / 'genotype.json').to_dict()['edges']
        rows.append({'trial': i, chosen.key: values[i], 'genotype': edges})
        score = chosen.format(values[i]).rjust(len(chosen.key))
        lines.append(f'{position:4}  {i:5}  {score}  {" | ".join(", ".join(row) for row in edges)}')
    record = {'format': 'mmhoga.ranking', 'version': 1, 'metric': chosen.key, 'of': len(jobs), 'trials': rows}
    write_atomic(work_dir / 'ranking.json', json.dumps(record, indent=1) + '\n')
    return '\n'.join([*lines, f'{len(rows)} of {len(jobs)} trials are done; {work_dir / "ranking.json"}'])


def _compare(jobs: Sequence[Job]) -> str:
    """The agreement of the genotypes of finished searches, per stage if each stage has its own alpha."""
    finished = [job for job in jobs if job.done()]
    by_stage: dict[str, list[Genotype]] = {}
    for job in finished:
        for path in sorted([*job.work_dir.glob('genotype.json'), *job.work_dir.glob('*/genotype.json')]):
            by_stage.setdefault(str(path.parent.relative_to(job.work_dir)), []).append(Genotype.load(path))
    parts = [f'{len(finished)} of {len(jobs)} searches are done.']
    for stage, genotypes in by_stage.items():
        if len(genotypes) > 1:
            names = genotypes[0].meta.get('primitives') or ()
            candidates = len([name for name in names if name != 'none']) or 1
            heading = '' if stage == '.' else f'{stage}: '
            parts.append(heading + agreement_table(genotypes, candidates))
    return '\n'.join(parts)
