#!/usr/bin/env bash
# Train, or search, with several processes on this machine: one a GPU or, without any, on its CPU cores.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# Environment: PORT (29500), and for several machines NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1).
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# The environment that make has set up, unless another one is active.
if [[ -x $root/.venv/bin/python && -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]]; then
    PATH=$root/.venv/bin:$PATH
fi

# Processes without a GPU each share its cores out; torchrun would give each a single one.
if [[ -z ${OMP_NUM_THREADS:-} ]] && ! command -v nvidia-smi >/dev/null; then
    cores=$(getconf _NPROCESSORS_ONLN)
    export OMP_NUM_THREADS=$((cores > gpus ? cores / gpus : 1))
    export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
fi

export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$root/tools/train.py" "$config" --launcher pytorch "${@:3}"
