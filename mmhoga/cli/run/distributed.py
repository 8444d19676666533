"""Number of processes, and a process group for machines without an accelerator."""

from __future__ import annotations

import datetime
import os
import subprocess

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from mmhoga.hosts import LaunchError

# The environment variables of each launcher: rank, number of processes, rank on the node.
VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
_STARTERS = {'pytorch': 'tools/dist_train.sh', 'slurm': 'tools/slurm_train.sh', 'mpi': 'mpirun'}


def has_accelerator() -> bool:
    """Whether mmengine trains on a device that supports its DDP and mixed precision."""
    return get_device() not in ('cpu', 'mps')


def get_world_size(launcher: str) -> int:
    """The number of processes.

    Raises:
        LaunchError: the launcher's environment variables are missing.
    """
    if launcher == 'none':
        return 1
    missing = [name for name in VARIABLES[launcher] if name not in os.environ]
    if missing:
        raise LaunchError(
            f'--launcher {launcher}: {", ".join(missing)} not set in the environment. Start the '
            f'processes with {_STARTERS[launcher]}, or omit --launcher to run one process.'
        )
    return int(os.environ[VARIABLES[launcher][1]])


def is_main_process(launcher: str) -> bool:
    """Whether this process is the first one of its launch, also before there is a process group."""
    return launcher == 'none' or int(os.environ[VARIABLES[launcher][0]]) == 0


def prepare(cfg: Config) -> None:
    """Start a gloo process group if there are several processes and no accelerator.

    With an accelerator the Runner starts the group. Without one, mmengine's ``init_dist`` and ``wrap_model`` fail, so
    the group is started here and the config wraps the model without device ids.
    """
    launcher = cfg.launcher
    get_world_size(launcher)  # checks the environment
    if launcher == 'none' or has_accelerator():
        return
    for name, theirs in zip(VARIABLES['pytorch'], VARIABLES[launcher]):
        os.environ[name] = os.environ[theirs]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_slurm_host() if launcher == 'slurm' else '127.0.0.1'
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    timeout = None if seconds is None else datetime.timedelta(seconds=seconds)
    if not torch.distributed.is_initialized():  # by an earlier run of these processes
        torch.distributed.init_process_group('gloo', timeout=timeout)
    unused = cfg.get('find_unused_parameters', False)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=unused)
    cfg.model_wrapper_cfg = ConfigDict({**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None})


def leave() -> None:
    """Destroy the process group, which torch would warn about at exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _first_slurm_host() -> str:
    nodes = os.environ['SLURM_NODELIST']
    command = ['scontrol', 'show', 'hostnames', nodes]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
