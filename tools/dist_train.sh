#!/usr/bin/env bash
# Trains on several GPUs: dist_train.sh CONFIG GPUS [options of train.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT describe a run on several machines.
set -euo pipefail
if (($# < 2)); then
    echo "usage: $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2

exec torchrun \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --nproc-per-node "${gpus}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}" \
    "$(dirname "$0")/train.py" "${config}" --launcher pytorch "$@"
