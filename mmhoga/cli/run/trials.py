"""Several runs of one config that differ in a number: random search, and a search repeated over seeds.

On one machine a command runs them all, some side by side; what is done is kept, what was stopped goes on. On a cluster
each is a job of its own, ``--trial $SLURM_ARRAY_TASK_ID``. Either way the summary reads whatever has finished.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmhoga.cli.run.jobs import Job, JobError, JobRunningError
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError


def trial_parser(description: str) -> argparse.ArgumentParser:
    """What the commands have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of one run')
    parser.add_argument('--work-dir', type=Path, help='gets a folder a trial (default: work_dirs/CONFIG_COMMAND)')
    parser.add_argument('--trials', type=int, default=8, help='how many (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    parser.add_argument('--trial', type=int, help='run this one alone, from 0: for a job array')
    parser.add_argument('--summary', action='store_true', help='run nothing, summarise what has finished')
    parser.add_argument('--jobs', type=int, default=1, help='trials side by side (default: %(default)s)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config, for every trial: key=value',
    )
    return parser


def last_step(cfg: Config) -> int:
    """The epoch, or the iteration, at which a run of the config ends."""
    return cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters


def trial_folder(work_dir: Path, trial: int) -> Path:
    return work_dir / f'trial_{trial:03d}'


def same_trials(work_dir: Path, settings: dict[str, Any]) -> None:
    """Write the settings to ``trials.json``, or check that they are those of the trials that are there.

    Raises:
        LaunchError: the folder holds trials with other settings.
    """
    path = work_dir / 'trials.json'
    work_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings, indent=2, sort_keys=True, default=str) + '\n'
    if not path.is_file():
        write_atomic(path, text)
        return
    try:
        found, wanted = json.loads(path.read_text(encoding='utf-8')), json.loads(text)
    except ValueError as error:
        raise LaunchError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(found, dict):
        raise LaunchError(f'{path} holds {type(found).__name__}, not the settings of trials.')
    for key in sorted({*found, *wanted}):
        if found.get(key) != wanted.get(key):
            raise LaunchError(
                f'{work_dir} belongs to other trials: {key} is {found.get(key)!r} there and {wanted.get(key)!r} here. '
                f'Give another --work-dir, or the same {key}.'
            )


def run_trials(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Run those that are not done; with ``--trial``, that one alone; with ``--summary``, none.

    Raises:
        LaunchError: no such trial, or some failed (the others have been run all the same).
    """
    if args.summary:
        return
    if args.trial is not None:
        if not 0 <= args.trial < len(jobs):
            raise LaunchError(f'--trial {args.trial}: with --trials {len(jobs)} there are 0 to {len(jobs) - 1}.')
        jobs = [jobs[args.trial]]
    open_jobs = [job for job in jobs if not job.done()]
    if len(open_jobs) < len(jobs):
        print(f'{len(jobs) - len(open_jobs)} of {len(jobs)} trials were done before.', flush=True)
    side_by_side = max(1, args.jobs)
    threads = max(1, int(os.environ.get('OMP_NUM_THREADS', os.cpu_count() or 1)) // side_by_side)
    failed, pool = [], ThreadPoolExecutor(side_by_side)
    try:
        running = {pool.submit(job.run, threads, cwd=Path.cwd()): job for job in open_jobs}
        for future in as_completed(running):
            try:
                future.result()
                print(f'{running[future].name}: done', flush=True)
            except JobRunningError as error:
                print(f'{error} It is left to it.', flush=True)
            except JobError as error:
                failed.append(str(error))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        raise LaunchError(f'{len(failed)} of {len(open_jobs)} trials failed; the first: {failed[0]}')
