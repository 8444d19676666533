#!/usr/bin/env bash
# Train or search on a Slurm cluster.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
#
# Environment: GPUS (8, over all nodes), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS (more arguments of srun).
# With --resume at the end, the same line starts a run and continues it after a preemption or a time limit. At SIGTERM a
# search saves a checkpoint and exits with 143. SRUN_ARGS='--requeue --signal=TERM@120' makes Slurm start it again.
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]" >&2
    exit 2
fi
source "$(dirname -- "${BASH_SOURCE[0]}")/_processes.sh"
on_slurm "$1" "$2" train.py "$3" --work-dir="$4" "${@:5}"
