#!/usr/bin/env bash
# Evaluate a checkpoint with several processes on this machine: one per GPU, or on the CPU if there is none.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# Environment: PORT (29500), and for several machines NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1).
set -euo pipefail

if (($# < 3)); then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
source "$(dirname -- "${BASH_SOURCE[0]}")/_processes.sh"
on_this_machine "$3" test.py "$1" "$2" "${@:4}"
