"""The accelerator: its description, and a comparison with the CPU."""

from __future__ import annotations

import copy
import shutil
import subprocess
from typing import Any

import torch
from mmengine.device import get_device

from mmhoga.cli.doctor.checks import NotApplicable
from mmhoga.models import HOGA


def describe() -> dict[str, Any]:
    """Name, memory, driver and libraries of the current CUDA device. Empty without one."""
    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    capability = f'{properties.major}.{properties.minor}'
    free, total = torch.cuda.mem_get_info()
    return {
        'name': properties.name,
        'capability': capability,
        'memory': f'{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free',
        'driver': _driver(),
        'CUDA of torch': torch.version.cuda or f'HIP {torch.version.hip}',
        'cuDNN': str(torch.backends.cudnn.version()),
        'kernels of torch': ' '.join(torch.cuda.get_arch_list()),
        'GPUs': torch.cuda.device_count(),
        'bfloat16': 'yes' if torch.cuda.is_bf16_supported() else 'no',
    }


def _driver() -> str:
    """The driver's version by nvidia-smi, which torch does not report."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return 'unknown (there is no nvidia-smi)'
    command = [program, '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f'unknown ({type(error).__name__} of nvidia-smi)'
    return printed.split('\n')[0].strip() or 'unknown'


def same_as_cpu(device: torch.device | str | None = None) -> str:
    """A matrix product, and the output and gradients of a cell, in float32 without TF32.

    Args:
        device: by default the accelerator that mmengine uses.

    Raises:
        NotApplicable: there is no accelerator.
        ArithmeticError: the relative difference exceeds 1e-3, about 100 times of what rounding causes.
    """
    if device is None:
        device = get_device()
        if device == 'cpu':
            raise NotApplicable
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, right, x = torch.randn(256, 256), torch.randn(256, 256), torch.randn(2, 16, 14, 14)
        cell = HOGA(16)
    moved = copy.deepcopy(cell).to(device)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            errors = {'matrix product': _difference(left @ right, left.to(device) @ right.to(device))}
            out, out_moved = cell(x), moved(x.to(device))
            out.square().mean().backward()
            out_moved.square().mean().backward()
    finally:
        torch.set_float32_matmul_precision(precision)
    errors['output of a cell'] = _difference(out, out_moved)
    gradients = [
        torch.cat([weight.grad.flatten().cpu() for weight in module.parameters() if weight.grad is not None])
        for module in (cell, moved)
    ]
    errors['gradient of a cell'] = _difference(*gradients)
    worst = max(errors, key=lambda name: errors[name])
    if not all(error <= 1e-3 for error in errors.values()):
        raise ArithmeticError(f'the {worst} differs from that on the CPU by {errors[worst]:.1g} of its norm')
    return f'a cell computes there what it does on the CPU, within {errors[worst]:.1g}'


def _difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Norm of the difference by the norm of ``expected``. NaN becomes infinite."""
    expected, found = expected.detach(), found.detach().cpu()
    error = float((expected - found).norm() / expected.norm())
    return error if error == error else float('inf')
