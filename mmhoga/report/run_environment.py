"""The machine and the versions that a run was made with, as mmengine wrote them at the head of its log."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

_ENTRY = re.compile(r' {4}(\S[^:]*): (.+)')  # four blanks; the details of how torch was compiled have two
_LEFT_OUT = {'numpy_random_seed', 'PyTorch compiling details', 'MUSA available'}
_OF_THE_RUN = {'Distributed launcher', 'GPU number'}  # all else there is config


def recorded_environment(work_dir: Path) -> dict[str, str]:
    """What the log of a run's last start says of where it ran; empty if there is no log, or it says nothing."""
    logs = [path for path in sorted(work_dir.glob('*/*.log')) if path.stem == path.parent.name]
    if not logs:
        return {}
    found: dict[str, str] = {}
    part = ''
    with logs[-1].open(encoding='utf-8', errors='replace') as lines:
        for line in islice(lines, 300):
            if line.rstrip() in ('System environment:', 'Runtime environment:'):
                part = line.split()[0]
            elif line.startswith('---') and part == 'Runtime':
                break
            elif part and (entry := _ENTRY.match(line)):
                key, value = entry.groups()
                if key not in _LEFT_OUT and (part == 'System' or key in _OF_THE_RUN):
                    found[key] = value.strip()
    return found
