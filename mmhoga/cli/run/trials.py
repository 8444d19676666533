"""Runs of one config that differ in a genotype or a seed: random search and repeated searches.

On one machine the command runs all trials, ``--jobs`` at a time. It skips trials that are done and resumes those that
were stopped. On a cluster each trial is a job of its own: ``--trial $SLURM_ARRAY_TASK_ID``. In both cases the summary
covers the trials that are done.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmhoga.cli.run.arguments import add_config_options
from mmhoga.cli.run.jobs import Job, JobError, JobPool, JobRunningError
from mmhoga.cli.run.parser import command_parser
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError


def trial_parser(purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser with the arguments that both commands have."""
    parser = command_parser(purpose, example)
    parser.add_argument('config', help='path of a config, or name of one that comes with mmhoga')
    parser.add_argument('--work-dir', type=Path, help='folder of the trials (default: work_dirs/CONFIG_COMMAND)')
    parser.add_argument('--trials', type=int, default=8, help='number of trials (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    parser.add_argument('--trial', type=int, help='run only this trial, counted from 0: for a job array')
    parser.add_argument('--summary', action='store_true', help='run nothing, summarise the trials that are done')
    parser.add_argument('--jobs', type=int, default=1, help='number of trials at a time (default: %(default)s)')
    add_config_options(parser)
    return parser


def trial_folder(work_dir: Path, trial: int) -> Path:
    return work_dir / f'trial_{trial:03d}'


def require_same_settings(work_dir: Path, settings: dict[str, Any]) -> None:
    """Write the settings to ``trials.json`` or, if it exists, compare them with it.

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
        before, now = json.loads(path.read_text(encoding='utf-8')), json.loads(text)
    except ValueError as error:
        raise LaunchError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(before, dict):
        raise LaunchError(f'{path} holds a {type(before).__name__}, not the settings of trials.')
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise LaunchError(
                f'{work_dir} belongs to other trials: {key} is {before.get(key)!r} there and {now.get(key)!r} here. '
                f'Use another --work-dir, or the same {key}.'
            )


def run_trials(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Run the trials that are not done: all, the one of ``--trial``, or none with ``--summary``.

    Raises:
        LaunchError: there is no such trial, or trials failed. The others have been run nevertheless.
    """
    if args.summary:
        return
    if args.trial is not None:
        if not 0 <= args.trial < len(jobs):
            raise LaunchError(f'--trial {args.trial}: with --trials {len(jobs)} there are 0 to {len(jobs) - 1}.')
        jobs = [jobs[args.trial]]
    open_jobs = [job for job in jobs if not job.done()]
    if len(open_jobs) < len(jobs):
        print(f'{len(jobs) - len(open_jobs)} of {len(jobs)} trials are already done.', flush=True)
    failed = []
    with JobPool(args.jobs) as pool:
        for job in open_jobs:
            pool.submit(job)
        for job, future in pool.finished():
            try:
                future.result()
                print(f'{job.name}: done', flush=True)
            except JobRunningError as error:
                print(f'{error} Skipped.', flush=True)
            except JobError as error:
                failed.append(str(error))
    if failed:
        raise LaunchError(f'{len(failed)} of {len(open_jobs)} trials failed; the first: {failed[0]}')
