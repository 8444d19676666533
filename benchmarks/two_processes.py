"""Images per second of a search: two processes with one thread each, over gloo, against one process with two threads.

    python benchmarks/two_processes.py

Both sides run the command lines of a user, in turn, on the same joint batch. The comparison uses the median time of an
iteration in the logs, from the third epoch on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import ratio, spread, table

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py'


def iteration_seconds(processes: int, threads: int, batch: int, epochs: int) -> float:
    """Run a search without validation; returns the median seconds per iteration."""
    options = [
        f'train_cfg.max_epochs={epochs}',
        'default_hooks.logger.interval=1',
        f'train_dataloader.batch_size={batch // processes}',
    ]
    with tempfile.TemporaryDirectory() as folder:
        flags = [CONFIG, '--work-dir', folder, '--no-validate', '--cfg-options', *options]
        command = [sys.executable, 'tools/train.py', *flags]
        if processes > 1:
            command = ['tools/dist_train.sh', CONFIG, str(processes), *flags[1:]]
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'MKL_NUM_THREADS': str(threads)}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            sys.exit(result.stderr[-3000:])
        (log,) = Path(folder).glob('*/vis_data/scalars.json')
        rows = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    # The logger averages over ten iterations, so the first epoch still shows in the second.
    return statistics.median(row['time'] for row in rows if 'time' in row and row['epoch'] > 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=128, help='joint batch of both processes (default: %(default)s)')
    parser.add_argument('--epochs', type=int, default=6)
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    sides: dict[str, list[float]] = {'1 process, 2 threads': [], '2 processes, 1 thread': []}
    for _ in range(args.rounds):
        for processes, seconds in zip((1, 2), sides.values()):
            seconds.append(iteration_seconds(processes, 2 // processes, args.batch, args.epochs))
    one, two = sides.values()
    rows = [('', 'per iteration', 'images per second')]
    rows += [
        (name, spread(seconds), f'{args.batch / statistics.median(seconds):.0f}') for name, seconds in sides.items()
    ]
    print(table(rows))
    print(f'Throughput of two processes over that of one: {ratio(one, two):.2f}')


if __name__ == '__main__':
    main()
