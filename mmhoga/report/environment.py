"""The machine and the versions that a report was made with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ('mmhoga', 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain', 'mmdet', 'mmpose', 'timm')


def describe_environment() -> dict[str, str]:
    """Processor, threads, accelerator, operating system, Python and the packages that are installed."""
    facts = {
        'processor': _processor(),
        'cores': str(os.cpu_count() or 'unknown'),
        'torch threads of the report': str(torch.get_num_threads()),
        'accelerator': torch.cuda.get_device_name() if torch.cuda.is_available() else 'none',
        'system': platform.platform(),
        'python': platform.python_version(),
    }
    return {**facts, **_versions()}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name; platform.processor() is empty on most Linux."""
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding='utf-8', errors='replace').splitlines():
            key, _, value = line.partition(':')
            if key.strip() == 'model name':
                return value.strip()
    return platform.processor() or platform.machine()
