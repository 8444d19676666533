"""benchmarks/kill_and_resume.py with two SIGKILLs, one of them while a file is being written."""

import os
import re
import subprocess

from warm_python import warm_python


def test_two_kills(root, tmp_path):
    command = [
        *(warm_python(), '-W', 'ignore', root / 'benchmarks/kill_and_resume.py'),
        *('--kills', '2', '--within', '0.5', '--workers', '0', '1', '--work-dir', tmp_path / 'runs'),
        *('--cfg-options', 'train_cfg.max_epochs=2', 'train_dataloader.dataset.indices=200'),
    ]
    result = subprocess.run(
        [*map(str, command)],
        env={**os.environ, 'WARM_PYTHON': 'all'},
        capture_output=True,
        text=True,
        timeout=500,
        cwd=root,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(re.findall('^SIGKILL', result.stdout, re.MULTILINE)) == 2
    assert 'bit for bit' in result.stdout
    assert result.stdout.endswith('all ended like the uninterrupted one, every file whole\n')
