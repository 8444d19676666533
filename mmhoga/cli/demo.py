"""``mmhoga demo``: search on handwritten digits, compare with SE and CBAM, and write a report.

Every step is an ``mmhoga train`` command that anyone can type. The demo starts them, several at a time, and prints
their progress.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from mmhoga.cli.run.arguments import command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.jobs import Job, JobError, JobPool, from_here
from mmhoga.cli.run.lock import require_writable
from mmhoga.cli.values import positive, seed
from mmhoga.report.report import report_from_work_dirs

SEARCH = 'search/hoga-search_resnet8_1xb64-8e_digits'
SEARCHED = 'HOGA (searched)'
NETWORKS = {
    'plain': 'digits/resnet8_1xb96-8e_digits',
    'SE': 'digits/se-resnet8_1xb96-8e_digits',
    'CBAM': 'digits/cbam-resnet8_1xb96-8e_digits',
    'HOGA (autola)': 'digits/hoga-resnet8_1xb96-8e_digits',
    SEARCHED: 'digits/hoga-resnet8_1xb96-8e_digits',
}
ACCURACY = 'accuracy/top1'


def search_job(work_dir: Path, epochs: int | None = None) -> Job:
    options = {'train_cfg.max_epochs': epochs} if epochs else {}
    return Job('search', SEARCH, work_dir / 'search', options)


def training_jobs(work_dir: Path, seeds: Sequence[int], epochs: int | None = None) -> dict[str, list[Job]]:
    """The trainings of each network, one per seed."""
    jobs: dict[str, list[Job]] = {}
    for name, config in NETWORKS.items():
        options: dict[str, object] = {'train_cfg.max_epochs': epochs} if epochs else {}
        if name == SEARCHED:
            options['model.backbone.plugins.0.cfg.genotype'] = from_here(work_dir / 'search/genotype.json')
        slug = re.sub(r'\W+', '-', name.lower()).strip('-')
        jobs[name] = [
            Job(f'{name}, seed {seed}', config, work_dir / f'{slug}-seed{seed}', {'randomness.seed': seed, **options})
            for seed in seeds
        ]
    return jobs


def demo_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input or a failed step, 130 after Ctrl-C."""
    parser = command_parser(
        'Search an attention on handwritten digits, compare it with SE and CBAM, and write a report.\n\n'
        'Takes minutes on two CPU cores and downloads nothing.\n'
        'The same command continues after an interruption.',
        'mmhoga demo --work-dir work_dirs/demo',
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='(default: %(default)s)')
    seeds_help, jobs_help = 'seeds of each network (default: 0 1 2)', 'trainings at a time (default: all cores)'
    parser.add_argument('--seeds', type=seed, nargs='+', default=[0, 1, 2], help=seeds_help)
    parser.add_argument('--jobs', type=positive(int), default=os.cpu_count() or 1, help=jobs_help)
    parser.add_argument('--epochs', type=positive(int), help='epochs of the search and of each training (default: 8)')
    args = parser.parse_args(argv)
    seeds = list(dict.fromkeys(args.seeds))
    return run(lambda: run_demo(args.work_dir.resolve(), seeds, args.jobs, args.epochs), JobError)


def run_demo(work_dir: Path, seeds: Sequence[int], jobs: int, epochs: int | None) -> None:
    """Search, train and report. Steps that are done are not repeated."""
    start = time.monotonic()
    require_writable(work_dir)
    search, trainings = search_job(work_dir, epochs), training_jobs(work_dir, seeds, epochs)
    count = sum(map(len, trainings.values()))
    _print(f'Demo on handwritten digits: one search and {count} trainings, {jobs} at a time, then a report.')
    _print(f'Search:    {search.typed}\nTrainings: {trainings[SEARCHED][0].typed}, ...\n')
    _run_all(search, trainings, jobs)
    report = report_from_work_dirs(
        work_dir / 'report.html',
        title='HOGA, searched on handwritten digits',
        search_dir=search.work_dir,
        networks={name: [job.work_dir for job in network] for name, network in trainings.items()},
        shape=(1, 8, 8),
        measure_steps=True,
        highlight=SEARCHED,
        metric=ACCURACY,
        split='test',
        commands=['mmhoga demo', search.typed, *(network[0].typed for network in trainings.values())],
    )
    _print(f'\nTest accuracy, one column per seed ({time.monotonic() - start:.0f} s in total):')
    for name, network in trainings.items():
        _print(f'    {name:16} ' + '  '.join(f'{job.result(ACCURACY):6.2f} %' for job in network))
    _print(f'\nThe report: {report}')


def _run_all(search: Job, trainings: dict[str, list[Job]], side_by_side: int) -> None:
    """Run the search and, at the same time, the trainings that do not need its result."""
    total = sum(map(len, trainings.values()))
    jobs = [job for network in trainings.values() for job in network if not job.done()]
    finished, searched = total - len(jobs), search.done()
    waiting = [] if searched else [job for job in jobs if job in trainings[SEARCHED]]
    if finished or searched:
        kept = 'the search and ' if searched else ''
        _print(f'Kept from before: {kept}{finished} trainings. To start from scratch: rm -r {search.work_dir.parent}')
    with JobPool(side_by_side) as pool:
        if not searched:
            pool.submit(search, _search_progress(search.last_step))
        for job in jobs:
            if job not in waiting:
                pool.submit(job)
        for job, future in pool.finished():
            seconds = future.result()
            if job is search:
                _print(f'search         done in {seconds:.0f} s')
                for dependent in waiting:
                    pool.submit(dependent)
            else:
                finished += 1
                score = f'{job.result(ACCURACY):6.2f} %'
                _print(f'training {finished:2}/{total} {job.name:24} {score}  in {seconds:.0f} s')


def _search_progress(epochs: int) -> Callable[[str], None]:
    """A function that receives the lines of the search's log and prints one line per epoch."""
    start = time.monotonic()
    accuracy = ''

    def watch(line: str) -> None:
        nonlocal accuracy
        if match := re.search(r'Epoch\(val\) .*accuracy/top1: ([\d.]+)', line):
            accuracy = f'supernet {float(match[1]):6.2f} % '
        elif match := re.search(r'Genotype, epoch (\d+): (.+?);', line):
            seconds = time.monotonic() - start
            _print(f'search   {match[1]:>2}/{epochs} {accuracy}after {seconds:3.0f} s: {match[2]}')

    return watch


def _print(text: str) -> None:
    print(text, flush=True)
