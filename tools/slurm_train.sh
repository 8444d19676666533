#!/usr/bin/env bash
# Train, or search, on a Slurm cluster.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
#
# Environment: GPUS (8, over all nodes), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS (more arguments of srun).
# With --resume at the end the same line starts a run and, after a preemption or a time limit, goes on with it.
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
work_dir=$4
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
if ((gpus < gpus_per_node)); then gpus_per_node=$gpus; fi
read -ra srun_args <<<"${SRUN_ARGS:-}"
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# The environment that make has set up, unless another one is active.
if [[ -x $root/.venv/bin/python && -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]]; then
    PATH=$root/.venv/bin:$PATH
fi

export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec srun -p "$partition" \
    --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} \
    python -u "$root/tools/train.py" "$config" --work-dir="$work_dir" --launcher=slurm "${@:5}"
