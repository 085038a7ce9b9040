#!/usr/bin/env bash
# Evaluates under Slurm: slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS size the job.
set -euo pipefail
if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
read -r -a srun_args <<<"${SRUN_ARGS:-}"

exec srun -p "${partition}" --job-name="${job_name}" --gres="gpu:${gpus_per_node}" \
    --ntasks="${gpus}" --ntasks-per-node="${gpus_per_node}" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${srun_args[@]+"${srun_args[@]}"} \
    python -u "$(dirname "$0")/test.py" "${config}" "${checkpoint}" --launcher slurm "$@"
