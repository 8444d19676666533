#!/usr/bin/env bash
# Evaluate a checkpoint on a Slurm cluster.
#
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
#
# Environment: GPUS (8, over all nodes), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS (more arguments of srun).
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
    exit 2
fi
source "$(dirname -- "${BASH_SOURCE[0]}")/_processes.sh"
on_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
