"""``torchrun`` that ends with 128 + N after signal N, as shells report it. torch's own ends with 1 and a traceback.

By the code (143 after SIGTERM) Slurm and scripts recognise a run that was stopped and may be continued. The processes
receive the signal too, and have 30 seconds to save. A port in use is one line and exit code 2.
"""

from __future__ import annotations

import errno
import socket
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main, parse_args


def port_in_use(arguments: list[str]) -> int | None:
    """The port on which the first machine would listen, if another process listens there; else None."""
    args = parse_args(arguments)
    if args.rdzv_backend != 'static' or args.master_port is None or int(args.node_rank) != 0 or args.standalone:
        return None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch: a port that was just left is free
        try:
            probe.bind(('', int(args.master_port)))
        except OSError as error:
            return int(args.master_port) if error.errno == errno.EADDRINUSE else None
    return None


if __name__ == '__main__':
    if port := port_in_use(sys.argv[1:]):
        print(f'error: port {port} is in use by another program or run. Choose one: PORT={port + 1}.', file=sys.stderr)
        sys.exit(2)
    try:
        main()
    except SignalException as error:
        sys.exit(128 + error.sigval)
