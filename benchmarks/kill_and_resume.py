"""A search that SIGKILL ends again and again, resumed each time, against one that nobody disturbed.

    python benchmarks/kill_and_resume.py                      # twenty kills of the digits search
    python benchmarks/kill_and_resume.py --term               # some of them SIGTERM, as Slurm's pre-emption

Every other kill comes at a random moment, the rest as soon as a half-written file is seen in the work_dir. Searches are
repeated until all kills are spent. The resumed runs go round the numbers of data loader workers. It fails unless each
search ends with the same alpha, bit for bit, the same genotype and the same search_history.json as the undisturbed one,
and unless each file in its work_dir, after each kill and at the end, is whole.
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

from mmhoga.compat import allow_mmengine_checkpoints

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=CONFIG)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--within', type=float, default=6.0, help='seconds after the first iteration, at the latest')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2], help='one of these a run, in turn')
    parser.add_argument('--term', action='store_true', help='every third is a SIGTERM')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/kill_and_resume')
    parser.add_argument('--cfg-options', nargs='+', default=[])
    args = parser.parse_args()
    allow_mmengine_checkpoints()
    shutil.rmtree(args.work_dir, ignore_errors=True)
    moments, kills, searches = random.Random(args.seed), 0, 0

    whole = args.work_dir / 'undisturbed'
    require(start(args, whole, 0).wait() == 0, f'the undisturbed search failed: see {whole}/console.log')
    expected = result(whole)
    print(f'undisturbed: alpha {digest(expected)}')
    while kills < args.kills:
        searches += 1
        work_dir = args.work_dir / f'search{searches}'
        runs = 0
        while True:
            run = start(args, work_dir, args.workers[runs % len(args.workers)])
            runs += 1
            number = kills + 1
            wanted = signal.SIGTERM if args.term and number % 3 == 0 else signal.SIGKILL
            half = None  # what to wait for: nothing, any half-written file, or half a checkpoint
            if wanted == signal.SIGKILL and number % 2 == 0:
                half = '.*.tmp' if number % 4 else '.epoch_*.tmp'
            moment = None if number > args.kills else wait_for_moment(run, work_dir, moments, args.within, half)
            if moment is None:
                require(run.wait() == 0, f'a resumed search failed: see {work_dir}/console.log')
                break
            kills = number
            run.send_signal(wanted)
            began = time.monotonic()
            code = run.wait()
            took = time.monotonic() - began
            if wanted == signal.SIGTERM:
                require(code == 143, f'SIGTERM ended in exit code {code}: see {work_dir}/console.log')
                moment += f', left after {took:.1f} s'
            temporary, files = require_whole(work_dir)
            print(f'{wanted.name} {kills:2d}: {moment}; {files} files whole, {temporary} temporary', flush=True)
        temporary, files = require_whole(work_dir)
        require(not temporary, f'{temporary} temporary files were left in {work_dir}')
        found = result(work_dir)
        require(torch.equal(found['alpha'], expected['alpha']), 'alpha differs')
        require(found['history'] == expected['history'], 'search_history.json differs')
        require(found['genotype'] == expected['genotype'], 'genotype.json differs')
        print(f'search {searches}: {runs} runs; alpha {digest(found)}, bit for bit; genotype and history the same')
    print(f'{kills} kills in {searches} searches: all ended as the undisturbed one, every file whole')


def start(args: argparse.Namespace, work_dir: Path, workers: int) -> subprocess.Popen:
    """The command that a user, or a job script, would repeat."""
    work_dir.mkdir(parents=True, exist_ok=True)
    loaders = ('train_dataloader', 'train_cfg.alpha_dataloader')
    options = [*args.cfg_options, *(f'{loader}.num_workers={workers}' for loader in loaders)]
    command = [sys.executable, ROOT / 'tools/train.py', args.config, '--work-dir', work_dir, '--resume']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    with (work_dir / 'console.log').open('ab') as log:
        return subprocess.Popen(
            [*map(str, command), '--cfg-options', *options], stdout=log, stderr=log, env=environment, cwd=ROOT
        )


def wait_for_moment(
    run: subprocess.Popen, work_dir: Path, moments: random.Random, within: float, half: str | None
) -> str | None:
    """Wait until it is time to kill, and say what that was; None if the search ended before."""
    start_size = (work_dir / 'console.log').stat().st_size
    while 'Checkpoints will be saved' not in read_from(work_dir / 'console.log', start_size):
        if run.poll() is not None:
            return None
        time.sleep(0.05)
    began = time.monotonic()
    delay = moments.uniform(0, within)
    while run.poll() is None:
        if half and (seen := list(work_dir.glob(half))):
            return f'while writing {seen[0].name.rsplit(".", 2)[0].lstrip(".")}'
        if not half and time.monotonic() - began > delay:
            return f'{delay:.2f} s after the start'
        time.sleep(0.0002 if half else 0.01)
    return None


def read_from(path: Path, offset: int) -> str:
    with path.open('rb') as file:
        file.seek(offset)
        return file.read().decode(errors='replace')


def require_whole(work_dir: Path) -> tuple[int, int]:
    """Read every file that a search leaves; returns how many are temporary, and how many were read."""
    read = 0
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
        read += 1
    for path in work_dir.glob('*/vis_data/*.json'):
        for line in path.read_text().splitlines():
            json.loads(line)
        read += 1
    return len(list(work_dir.glob('.*.tmp'))), read


def result(work_dir: Path) -> dict:
    checkpoint = torch.load((work_dir / 'last_checkpoint').read_text(), map_location='cpu', weights_only=True)
    genotype = json.loads((work_dir / 'genotype.json').read_text())
    return {
        'alpha': checkpoint['state_dict']['alpha'],
        'genotype': genotype,
        'history': (work_dir / 'search_history.json').read_bytes(),
    }


def digest(found: dict) -> str:
    return f'{float(found["alpha"].double().sum()):.17g} (sum)'


def require(holds: bool, message: str) -> None:
    if not holds:
        raise SystemExit(f'FAILED: {message}')


if __name__ == '__main__':
    main()
