#!/usr/bin/env bash
# Builds, tests and measures the operators on a machine with a GPU and no network: PyTorch with CUDA, nvcc, g++, pytest
# and hypothesis have to be there. Usage: benchmarks/on_gpu.sh [FOLDER], where logs go; JSON goes to benchmarks/results.
# STN_DET_COMMIT names the commit where the checkout has no .git. ON_GPU_DEVICE=cpu rehearses without a GPU.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
logs=${1:-work_dirs/on_gpu}
device=${ON_GPU_DEVICE:-cuda}
mkdir -p "${logs}"
export PYTHONPATH="${PWD}/projects${PYTHONPATH:+:${PYTHONPATH}}" PYTHONUNBUFFERED=1
libraries=${logs}/libraries

step() {  # NAME COMMAND...: runs one step, keeps its log, says how it ended; the next runs in any case
    local name=$1 start=${SECONDS}
    shift
    if "$@" >"${logs}/${name}.log" 2>&1; then
        echo "== ${name} passed after $((SECONDS - start)) s"
    else
        echo "== ${name} FAILED after $((SECONDS - start)) s"
    fi
    tail -n 8 "${logs}/${name}.log"
}

architecture=9.0
if [[ ${device} == cuda ]]; then
    architecture=$(python3 -c 'import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))')
    step build python3 -m stn_det.ops.build --out-dir "${libraries}" --cuda-archs "${architecture}"
else
    step build python3 -m stn_det.ops.build --out-dir "${libraries}"
fi
STN_DET_OPS=$(printf '%s:' "${libraries}"/*.so)
export STN_DET_OPS=${STN_DET_OPS%:}
step status python3 -c 'from stn_det.ops import status; print(status())'
step tests python3 -m pytest -q -p no:cacheprovider tests/ops/test_cuda_operators.py
if [[ ${device} == cuda ]] && command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        step "${tool}" timeout 240 compute-sanitizer --tool "${tool}" --error-exitcode 9 \
            python3 -m pytest -q -x -p no:cacheprovider tests/ops/test_cuda_operators.py -k 'plain_pytorch and dtype1 or keeps'
    done
fi
step benchmark python3 benchmarks/ops_cuda.py --device "${device}" --rounds "${ON_GPU_ROUNDS:-20}"
