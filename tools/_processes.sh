# Functions that start a tool in several processes. The dist_ and slurm_ scripts source this file.
# shellcheck shell=bash

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# Use the environment that make has set up, unless another one is active.
if [[ -x $root/.venv/bin/python && -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]]; then
    PATH=$root/.venv/bin:$PATH
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

# on_this_machine PROCESSES TOOL [arguments of the tool]
on_this_machine() {
    local processes=$1 tool=$2 cores
    # Without a GPU, divide the cores between the processes. torchrun would set one thread for each.
    if [[ -z ${OMP_NUM_THREADS:-} ]] && ! command -v nvidia-smi >/dev/null; then
        cores=$(getconf _NPROCESSORS_ONLN)
        export OMP_NUM_THREADS=$((cores > processes ? cores / processes : 1))
        export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
    fi
    exec python -m mmhoga.cli.run.torchrun \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$processes" \
        "$root/tools/$tool" --launcher=pytorch "${@:3}"
}

# on_slurm PARTITION JOB_NAME TOOL [arguments of the tool]
on_slurm() {
    local partition=$1 job_name=$2 tool=$3 gpus=${GPUS:-8} gpus_per_node=${GPUS_PER_NODE:-8} srun_args
    if ((gpus < gpus_per_node)); then gpus_per_node=$gpus; fi
    read -ra srun_args <<<"${SRUN_ARGS:-}"
    exec srun -p "$partition" \
        --job-name="$job_name" \
        --gres="gpu:$gpus_per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${srun_args[@]+"${srun_args[@]}"} \
        python -u "$root/tools/$tool" --launcher=slurm "${@:4}"
}
