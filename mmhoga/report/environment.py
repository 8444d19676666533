"""Machine and versions: of this process, and of a finished run as mmengine logged them."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from itertools import islice
from pathlib import Path

import torch
from mmengine.utils.dl_utils import collect_env

PACKAGES = ('mmhoga', 'mmcv', 'mmcv-lite', 'mmpretrain', 'mmdet', 'mmpose', 'timm')

_ENTRY = re.compile(r' {4}(\S[^:]*): (.+)')  # four blanks; the details of how torch was compiled have two
_LEFT_OUT = {'numpy_random_seed', 'PyTorch compiling details', 'MUSA available'}
# All other entries of the log's second list repeat the config. "GPU number" counts processes, also without a GPU.
_OF_THE_RUN = {'Distributed launcher': 'launcher', 'GPU number': 'processes'}


def describe_environment() -> dict[str, str]:
    """Processor, cores and threads, mmengine's ``collect_env``, and the installed packages."""
    # platform.processor() is empty on most Linux systems.
    cpuinfo = Path('/proc/cpuinfo')
    text = cpuinfo.read_text(encoding='utf-8', errors='replace') if cpuinfo.is_file() else ''
    name = re.search(r'^model name\s*:\s*(.+)$', text, re.M)
    versions = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        'processor': name[1] if name else platform.processor() or platform.machine(),
        'cores': str(os.cpu_count() or 'unknown'),
        'torch threads': str(torch.get_num_threads()),
        **{key: str(value) for key, value in collect_env().items() if key not in _LEFT_OUT},
        'sys.platform': platform.platform(),
        **versions,
    }


def recorded_environment(work_dir: Path) -> dict[str, str]:
    """The environment at the head of the log of a run's last start. Empty without a log."""
    logs = [path for path in sorted(work_dir.glob('*/*.log')) if path.stem == path.parent.name]
    if not logs:
        return {}
    with logs[-1].open(encoding='utf-8', errors='replace') as lines:
        head = ''.join(islice(lines, 300))
    _, _, head = head.partition('System environment:\n')
    system, _, runtime = head.partition('Runtime environment:\n')
    found = {key: value for key, value in _ENTRY.findall(system) if key not in _LEFT_OUT}
    of_the_run = dict(_ENTRY.findall(runtime.partition('\n---')[0]))
    found.update({name: of_the_run[key] for key, name in _OF_THE_RUN.items() if key in of_the_run})
    return {key: value.strip() for key, value in found.items()}
