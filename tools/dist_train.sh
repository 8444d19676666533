#!/usr/bin/env bash
# Train or search with several processes on this machine: one per GPU, or on the CPU if there is none.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# Environment: PORT (29500), and for several machines NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1).
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
source "$(dirname -- "${BASH_SOURCE[0]}")/_processes.sh"
on_this_machine "$2" train.py "$1" "${@:3}"
