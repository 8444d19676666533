"""Kill and resume a search repeatedly, and compare its result with that of an uninterrupted search.

    python benchmarks/kill_and_resume.py                      # 20 kills of the digits search
    python benchmarks/kill_and_resume.py --term               # every third is a SIGTERM, as in Slurm's pre-emption

Every other kill comes at a random moment, the others while a file is being written. Searches are repeated until all
kills are used. Resumed runs take turns with the numbers of data loader workers. EMAHook averages the weights, and
EarlyStoppingHook ends the search before its last epoch (--hooks none leaves both out). The benchmark fails unless each
search ends with the same alpha, weights, averages, genotype and search_history.json, bit for bit, as the uninterrupted
one, and unless each file in its work_dir is whole after each kill and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py'
HOOKS = (
    "[{'type': 'EMAHook', 'momentum': 0.02, 'update_buffers': True}, {'type': 'EarlyStoppingHook', "
    "'monitor': 'accuracy/top1', 'rule': 'greater', 'min_delta': 100.0, 'patience': 6}]"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=CONFIG)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0, help='determines the random moments')
    parser.add_argument('--within', type=float, default=6.0, help='latest moment of a kill, in seconds after the start')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2], help='one of these per run, in turn')
    parser.add_argument('--term', action='store_true', help='send SIGTERM in every third kill')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/kill_and_resume')
    parser.add_argument('--hooks', default=HOOKS, help='custom_hooks of the search, or "none"')
    parser.add_argument('--cfg-options', nargs='+', default=[])
    args = parser.parse_args()
    shutil.rmtree(args.work_dir, ignore_errors=True)
    moments, kills, searches = random.Random(args.seed), 0, 0

    uninterrupted = args.work_dir / 'uninterrupted'
    require(
        start(args, uninterrupted, 0).wait() == 0, f'the uninterrupted search failed: see {uninterrupted}/console.log'
    )
    expected = result(uninterrupted)
    print(f'uninterrupted: alpha {digest(expected)}')
    while kills < args.kills:
        searches += 1
        work_dir = args.work_dir / f'search{searches}'
        runs = 0
        while True:
            run = start(args, work_dir, args.workers[runs % len(args.workers)])
            runs += 1
            number = kills + 1
            kind = signal.SIGTERM if args.term and number % 3 == 0 else signal.SIGKILL
            half_written = None  # pattern of the file to wait for; None for a random moment
            if kind == signal.SIGKILL and number % 2 == 0:
                half_written = '.*.tmp' if number % 4 else '.epoch_*.tmp'
            moment = None
            if number <= args.kills:
                moment = wait_for_moment(run, work_dir, moments, args.within, half_written)
            if moment is None:
                require(run.wait() == 0, f'a resumed search failed: see {work_dir}/console.log')
                break
            kills = number
            run.send_signal(kind)
            began = time.monotonic()
            code = run.wait()
            took = time.monotonic() - began
            if kind == signal.SIGTERM:
                require(code == 143, f'SIGTERM ended in exit code {code}: see {work_dir}/console.log')
                moment += f', left after {took:.1f} s'
            temporary, files = require_whole(work_dir)
            print(f'{kind.name} {kills:2d}: {moment}; {files} files whole, {temporary} temporary', flush=True)
        temporary, files = require_whole(work_dir)
        require(not temporary, f'{temporary} temporary files were left in {work_dir}')
        resumed = result(work_dir)
        for name, tensor in expected['tensors'].items():
            require(torch.equal(resumed['tensors'][name], tensor), f'{name} differs')
        require(resumed['history'] == expected['history'], 'search_history.json differs')
        require(resumed['genotype'] == expected['genotype'], 'genotype.json differs')
        print(f'search {searches}: {runs} runs; alpha {digest(resumed)}, genotype and history equal bit for bit')
    print(f'{kills} kills in {searches} searches: all ended like the uninterrupted one, every file whole')


def start(args: argparse.Namespace, work_dir: Path, workers: int) -> subprocess.Popen:
    """Start the command that a user or a job script would repeat."""
    work_dir.mkdir(parents=True, exist_ok=True)
    hooks = [] if args.hooks == 'none' else [f'custom_hooks={args.hooks}']
    options = [*hooks, *args.cfg_options, f'train_dataloader.num_workers={workers}']
    command = [sys.executable, ROOT / 'tools/train.py', args.config, '--work-dir', work_dir, '--resume']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    with (work_dir / 'console.log').open('ab') as log:
        return subprocess.Popen(
            [*map(str, command), '--cfg-options', *options], stdout=log, stderr=log, env=environment, cwd=ROOT
        )


def wait_for_moment(
    run: subprocess.Popen, work_dir: Path, moments: random.Random, within: float, half_written: str | None
) -> str | None:
    """Wait until it is time to kill; returns a description of the moment, or None if the search ended before."""
    start_size = (work_dir / 'console.log').stat().st_size
    while 'Checkpoints will be saved' not in read_from(work_dir / 'console.log', start_size):
        if run.poll() is not None:
            return None
        time.sleep(0.05)
    began = time.monotonic()
    delay = moments.uniform(0, within)
    while run.poll() is None:
        if half_written and (files := list(work_dir.glob(half_written))):
            return f'while writing {files[0].name.rsplit(".", 2)[0].lstrip(".")}'
        if not half_written and time.monotonic() - began > delay:
            return f'{delay:.2f} s after the start'
        time.sleep(0.0002 if half_written else 0.01)
    return None


def read_from(path: Path, offset: int) -> str:
    with path.open('rb') as file:
        file.seek(offset)
        return file.read().decode(errors='replace')


def require_whole(work_dir: Path) -> tuple[int, int]:
    """Read every file that a search leaves; returns the numbers of temporary files and of files read."""
    count = 0
    for path in work_dir.glob('*'):
        if path.suffix == '.pth':
            torch.load(path, map_location='cpu', weights_only=True)
        elif path.suffix == '.json':
            json.loads(path.read_text())
        elif path.name == 'last_checkpoint':
            require(Path(path.read_text()).is_file(), f'{path} names a file that is not there')
        elif path.suffix == '.py':
            compile(path.read_text(), path, 'exec')
            require(path.stat().st_size > 0, f'{path} is empty')
        else:
            continue
        count += 1
    for path in work_dir.glob('*/vis_data/*.json'):
        for line in path.read_text().splitlines():
            json.loads(line)
        count += 1
    return len(list(work_dir.glob('.*.tmp'))), count


def result(work_dir: Path) -> dict:
    checkpoint = torch.load((work_dir / 'last_checkpoint').read_text(), map_location='cpu', weights_only=True)
    genotype = json.loads((work_dir / 'genotype.json').read_text())
    return {
        'tensors': {**checkpoint['state_dict'], **checkpoint.get('ema_state_dict', {})},
        'genotype': genotype,
        'history': (work_dir / 'search_history.json').read_bytes(),
    }


def digest(search: dict) -> str:
    return f'{float(search["tensors"]["alpha"].double().sum()):.17g} (sum)'


def require(holds: bool, message: str) -> None:
    if not holds:
        raise SystemExit(f'FAILED: {message}')


if __name__ == '__main__':
    main()
