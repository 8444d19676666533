"""``tools/dist_train.sh CONFIG 1``, the command of a user: one process over NCCL, or over gloo without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from on_gpu.config import ROOT, search_config
from on_gpu.results import Results


def measure(results: Results) -> None:
    with results.attempt(command='tools/dist_train.sh CONFIG 1'), tempfile.TemporaryDirectory() as folder:
        config = search_config(folder, 64 if results.toy else 5000, toy=results.toy)
        python = Path(folder, 'python')  # the script calls python, and a bare machine may have python3 only
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding='utf-8')
        python.chmod(0o755)
        environment = {**os.environ, 'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}', 'VIRTUAL_ENV': 'kept'}
        work_dir = Path(folder, 'work')
        start = time.monotonic()
        done = subprocess.run(
            ['bash', str(ROOT / 'tools/dist_train.sh'), config, '1', '--work-dir', str(work_dir)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout[-4000:])
            raise RuntimeError(f'exit code {done.returncode}: {done.stdout.strip().splitlines()[-1]}')
        genotype = json.loads((work_dir / 'genotype.json').read_text(encoding='utf-8'))
        results.row(
            command='tools/dist_train.sh CONFIG 1',
            backend='nccl' if results.on_gpu else 'gloo',
            seconds=round(time.monotonic() - start, 1),
            epochs=genotype['meta']['epoch'],
            edges=sum(map(len, genotype['edges'])),
        )
