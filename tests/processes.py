"""Two processes of one group, as torchrun would start them."""

import os
import socket
import subprocess

from warm_python import warm_python


def in_two_processes(*arguments, folder=None, **environment):
    """Run Python with these arguments in both processes of a group, and return their outputs."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    shared = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='-1')
    processes = [
        subprocess.Popen(
            [warm_python(), '-W', 'ignore', *map(str, arguments)],
            cwd=folder,
            env={**os.environ, **shared, **environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output
    return outputs
