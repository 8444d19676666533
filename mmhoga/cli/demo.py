"""The demo: a search on handwritten digits, its result against its rivals, and a report, in minutes on two cores.

Every step is a command of ``tools/train.py`` that anyone can type; this module only starts them, side by side where
there are cores, and says how far they are.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from mmhoga.cli.run.jobs import Job, JobError
from mmhoga.report.report import report_from_work_dirs

SEARCH = 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py'
SEARCHED = 'HOGA (searched)'
NETWORKS = {
    'plain': 'configs/digits/resnet8_1xb96-8e_digits.py',
    'SE': 'configs/digits/se-resnet8_1xb96-8e_digits.py',
    'CBAM': 'configs/digits/cbam-resnet8_1xb96-8e_digits.py',
    'HOGA (autola)': 'configs/digits/hoga-resnet8_1xb96-8e_digits.py',
    SEARCHED: 'configs/digits/hoga-resnet8_1xb96-8e_digits.py',
}
ACCURACY = 'accuracy/top1'


def search_job(work_dir: Path, epochs: int | None = None) -> Job:
    """The search."""
    return Job('search', SEARCH, work_dir / 'search', _shortened(epochs), ACCURACY)


def training_jobs(work_dir: Path, seeds: Sequence[int], epochs: int | None = None) -> dict[str, list[Job]]:
    """The trainings, one a seed, of each network."""
    jobs: dict[str, list[Job]] = {}
    for name, config in NETWORKS.items():
        genotype = (
            {'model.backbone.plugins.0.cfg.genotype': work_dir / 'search/genotype.json'} if name == SEARCHED else {}
        )
        slug = re.sub(r'\W+', '-', name.lower()).strip('-')
        jobs[name] = [
            Job(
                f'{name}, seed {seed}',
                config,
                work_dir / f'{slug}-seed{seed}',
                {'randomness.seed': seed, **genotype, **_shortened(epochs)},
                ACCURACY,
            )
            for seed in seeds
        ]
    return jobs


def demo_main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='one training a seed and network')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='trainings side by side')
    parser.add_argument('--epochs', type=int, help='of the search and of every training; default: what the configs say')
    args = parser.parse_args(argv)
    try:
        report = run_demo(args.work_dir.resolve(), args.seeds, max(1, args.jobs), args.epochs)
    except JobError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nStopped. The same command goes on from here.', file=sys.stderr)
        return 130
    print(f'\nThe report: {report}')
    return 0


def run_demo(work_dir: Path, seeds: Sequence[int], jobs: int, epochs: int | None) -> Path:
    """Search, train, report; what an earlier call finished is kept."""
    start = time.monotonic()
    search, trainings = search_job(work_dir, epochs), training_jobs(work_dir, seeds, epochs)
    count = sum(map(len, trainings.values()))
    _say(f'Demo on handwritten digits: one search, {count} trainings, {jobs} at a time, and a report of them.')
    _say(f'Search:    {search.typed}\nTrainings: {trainings[SEARCHED][0].typed}, ...\n')
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
        commands=['make demo', search.typed, *(network[0].typed for network in trainings.values())],
    )
    _say(f'\nTest accuracy, one column a seed ({time.monotonic() - start:.0f} s in all):')
    for name, network in trainings.items():
        _say(f'    {name:16} ' + '  '.join(f'{job.result(ACCURACY):6.2f} %' for job in network))
    return report


def _run_all(search: Job, trainings: dict[str, list[Job]], jobs: int) -> None:
    """The search, and beside it what does not wait for its result."""
    after = [job for job in trainings[SEARCHED] if not job.done()]
    before = [job for name, network in trainings.items() if name != SEARCHED for job in network if not job.done()]
    total = sum(map(len, trainings.values()))
    finished = total - len(after) - len(before)
    if finished or search.done():
        kept = 'the search and ' if search.done() else ''
        _say(f'Kept from before: {kept}{finished} trainings. To start afresh: rm -r {search.work_dir.parent}')
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future, Job] = {}
        if search.done():
            before += after
        else:
            running[pool.submit(_timed, search, threads, _search_progress(search.epochs))] = search
        running.update({pool.submit(_timed, job, threads): job for job in before})
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job, seconds = running.pop(future), future.result()
                    if job is search:
                        _say(f'search         done in {seconds:.0f} s')
                        running.update({pool.submit(_timed, job, threads): job for job in after})
                        continue
                    finished += 1
                    _say(
                        f'training {finished:2}/{total} {job.name:24} {job.result(ACCURACY):6.2f} %  in {seconds:.0f} s'
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _timed(job: Job, threads: int, watch: Callable[[str], None] | None = None) -> float:
    start = time.monotonic()
    job.run(threads, watch)
    return time.monotonic() - start


def _search_progress(epochs: int) -> Callable[[str], None]:
    """Two lines of the log become one an epoch."""
    start = time.monotonic()
    accuracy = ''

    def watch(line: str) -> None:
        nonlocal accuracy
        if match := re.search(r'Epoch\(val\) .*accuracy/top1: ([\d.]+)', line):
            accuracy = f'supernet {float(match[1]):6.2f} % '
        elif match := re.search(r'Genotype, epoch (\d+): (.+?);', line):
            seconds = time.monotonic() - start
            _say(f'search   {match[1]:>2}/{epochs} {accuracy}after {seconds:3.0f} s: {match[2]}')

    return watch


def _shortened(epochs: int | None) -> dict[str, object]:
    return {} if epochs is None else {'train_cfg.max_epochs': epochs}


def _say(text: str) -> None:
    print(text, flush=True)
