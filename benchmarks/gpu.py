"""Measurements of mmhoga on a GPU, by one command that stops after 8 minutes.

    python benchmarks/gpu.py                          # every section that has no result yet
    python benchmarks/gpu.py --sections networks      # these sections, again
    python benchmarks/gpu.py --toy                    # small sizes: a rehearsal; always so without a GPU

Run it from a checkout. torch and the hosts must be importable, and mmhoga need not be installed. Each section is a
process of its own with a time limit, so that an error of the GPU ends one section only. A row is printed and saved when
it has been measured. A second start skips the sections that are done, and repeats those that failed or were stopped.

Results: ``--out`` (work_dirs/gpu) has a JSON file per section, ``gpu.json`` with all of them, and ``gpu.md`` with the
tables for docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from on_gpu.results import Results, markdown, read, write  # noqa: E402 (after the path is set)

#: Section -> the file in on_gpu/ whose function ``measure`` runs it, and its time limit on a GPU in seconds.
SECTIONS = {
    'correctness': 75,
    'networks': 110,
    'search_step': 75,
    'search_epoch': 110,
    'distributed': 75,
    'detector': 75,
    'triton_kernels': 240,
    'compiled': 240,
    'predicted': 60,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, help='only these, whether done or not')
    parser.add_argument('--toy', action='store_true', help='small sizes')
    parser.add_argument('--minutes', type=float, help='for all sections of this start (default: 8, without a GPU 60)')
    parser.add_argument('--out', type=Path, default=HERE.parent / 'work_dirs/gpu', help='default: %(default)s')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child:
        (name,) = args.sections
        return run_here(name, args.out, toy=args.toy)

    start = time.monotonic()
    on_gpu = torch.cuda.is_available()
    minutes = args.minutes or (8 if on_gpu else 60)
    args.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, limit in SECTIONS.items():
        if args.sections and name not in args.sections:
            continue
        if not args.sections and read(args.out, name).get('status') == 'done':
            print(f'== {name}: done before', flush=True)
            continue
        left = 60 * minutes - (time.monotonic() - start)
        limit *= 1 if on_gpu else 10
        if left < 5:
            print(f'== {name}: no time left; start again to continue', flush=True)
            continue
        print(f'== {name}: at most {min(limit, left):.0f} s', flush=True)
        command = [sys.executable, str(HERE / 'gpu.py'), '--child', '--sections', name, '--out', str(args.out)]
        if run_section(args.out, name, command + ['--toy'] * args.toy, min(limit, left)) != 'done':
            failed.append(name)
        results = {name: read(args.out, name) for name in SECTIONS}
        write(args.out / 'gpu.json', json.dumps(results, indent=1))
        write(args.out / 'gpu.md', markdown(results))
    print(f'{args.out / "gpu.md"} has the tables. {time.monotonic() - start:.0f} s.')
    if failed:
        print(f'Not complete: {", ".join(failed)}.')
    return 1 if failed else 0


def run_section(out: Path, name: str, command: Sequence[str], limit: float) -> str:
    """Run a process that measures a section, end it at the limit, and save how it ended: the status."""
    paths = [str(HERE), str(HERE.parent), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths)), 'PYTHONWARNINGS': 'ignore'}
    # With CUDA graphs, some versions of the profiler's library crash when they start a second time.
    environment.update(DISABLE_CUPTI_LAZY_REINIT='1', TEARDOWN_CUPTI='0')
    write(out / f'{name}.json', json.dumps({'status': 'not started', 'rows': []}))
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=HERE.parent, start_new_session=True)
    try:
        code = process.wait(limit)
        status = 'done' if code == 0 else f'failed with exit code {code}'
    except subprocess.TimeoutExpired:
        status = f'stopped after {limit:.0f} s'
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        process.wait()
    result: dict[str, Any] = {**read(out, name), 'status': status, 'seconds': round(time.monotonic() - start, 1)}
    write(out / f'{name}.json', json.dumps(result, indent=1))
    print(f'== {name}: {status}, {result["seconds"]:.0f} s', flush=True)
    return status


def run_here(name: str, out: Path, *, toy: bool) -> int:
    """Measure a section in this process. The exit code is 1 if a row of it failed."""
    logging.disable(logging.INFO)
    results = Results(out, name, toy=toy)
    importlib.import_module(f'on_gpu.{name}').measure(results)
    return 1 if results.errors else 0


if __name__ == '__main__':
    sys.exit(main())
