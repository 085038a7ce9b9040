#!/usr/bin/env bash
# Builds, tests and measures the operators on a machine with a GPU and no network: PyTorch with CUDA, nvcc, g++, pytest
# and hypothesis have to be there.
#
# Usage: benchmarks/on_gpu.sh [FOLDER [STAGE...]]
#   FOLDER  gets one log and copies of the JSON that goes to benchmarks/results (default: work_dirs/on_gpu/logs).
#   STAGE   build, tests, sanitizer, benchmark, micro; all in this order by default. Each builds first what it needs.
#
# A call ends before ON_GPU_SECONDS (570) are over, and says what it left out; the benchmark goes on where it was cut off
# in the next call, if benchmarks/results still holds its JSON. ON_GPU_PEERS names a folder with wheels or source
# archives of peers to compare with, which are installed beside the environment. PYTHON is the interpreter (python3),
# STN_DET_COMMIT names the commit where the checkout has no .git. ON_GPU_DEVICE=cpu rehearses without a GPU.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
logs=${1:-work_dirs/on_gpu/logs}
stages=("${@:2}")
[[ ${#stages[@]} -gt 0 ]] || stages=(build tests sanitizer benchmark micro)
device=${ON_GPU_DEVICE:-cuda}
limit=${ON_GPU_SECONDS:-570}
python=${PYTHON:-python3}
libraries=work_dirs/on_gpu/libraries
site=${PWD}/work_dirs/on_gpu/site
results=benchmarks/results
[[ ${device} == cuda ]] || results=${logs}
log=${logs}/on_gpu.log
failures=0
mkdir -p "${logs}" "${libraries}" "${site}"
export PYTHONPATH="${PWD}/projects:${site}${PYTHONPATH:+:${PYTHONPATH}}" PYTHONUNBUFFERED=1
export DEFORMOPS_COMPILE=1  # else it offers no kernels for CUDA

left() { echo $((limit - SECONDS)); }

step() {  # NAME SECONDS COMMAND...: runs a step for so long at most, logs it, says how it ended; gives its status
    local name=$1 most=$2 begun=${SECONDS} output status verdict=passed
    shift 2
    [[ ${most} -le $(left) ]] || most=$(left)
    if [[ ${most} -le 5 ]]; then
        echo "== ${name} LEFT OUT: no time, call again"
        failures=$((failures + 1))
        return 1
    fi
    output=$(mktemp)
    timeout -k 5 "${most}" "$@" >"${output}" 2>&1
    status=$?
    # pytest gives 5 when all was skipped, which is right where there is no GPU.
    [[ ${status} == 0 ]] || verdict="FAILED (${status})"
    [[ ${status} == 124 ]] && verdict="FAILED (no time left)"
    [[ ${status} == 5 && ${device} == cpu ]] && verdict='passed (all skipped)' status=0
    [[ ${status} == 0 ]] || failures=$((failures + 1))
    { echo "==== ${name}: ${verdict}"; cat "${output}"; } >>"${log}"
    echo "== ${name} ${verdict} after $((SECONDS - begun)) s"
    tail -n 8 "${output}"
    rm -f "${output}"
    return "${status}"
}

built() {  # from the sources as they are
    local name
    name=$("${python}" -c "from stn_det.ops._build import library_name; print(library_name('${device}'))") || return 1
    [[ -f ${libraries}/${name} ]]
}

build() {  # for the GPU of this machine alone; the peers too
    local kinds=()
    if [[ ${device} == cuda ]]; then
        TORCH_CUDA_ARCH_LIST=$("${python}" -c 'import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))')
        export TORCH_CUDA_ARCH_LIST
        kinds=(--cuda-archs "${TORCH_CUDA_ARCH_LIST}")
    fi
    built || step build 300 "${python}" -m stn_det.ops.build --out-dir "${libraries}" "${kinds[@]}"
    if [[ -n ${ON_GPU_PEERS:-} && -z $(ls "${site}") ]]; then
        for peer in "${ON_GPU_PEERS}"/*; do
            step "peer $(basename "${peer}")" 240 "${python}" -m pip install -q --no-index --no-deps \
                --no-build-isolation --no-compile --upgrade --target "${site}" "${peer}"
        done
    fi
    if [[ ${device} == cuda ]] && "${python}" -c 'import deformops' 2>/dev/null; then
        step 'kernels of deformops' 240 "${python}" -c \
            'from deformops.registry import Backend, msda; print(msda.load(Backend.CUDA))'
    fi
    STN_DET_OPS=$(printf '%s:' "${libraries}"/*.so)
    export STN_DET_OPS=${STN_DET_OPS%:}
    step status 60 "${python}" -c 'from stn_det.ops import status; print(status())'
}

tests() {
    step tests 400 "${python}" -m pytest -q -p no:cacheprovider tests/ops/test_cuda_operators.py
}

sanitizer() {
    if [[ ${device} != cuda ]] || ! command -v compute-sanitizer >/dev/null; then
        echo '== sanitizer skipped: no GPU or no compute-sanitizer'
        return
    fi
    for tool in memcheck racecheck; do
        step "${tool}" 270 compute-sanitizer --tool "${tool}" --error-exitcode 9 \
            "${python}" -m pytest -q -x -p no:cacheprovider tests/ops/test_cuda_operators.py \
            -k 'plain_pytorch and dtype1 or keeps'
    done
}

benchmark() {  # again, where an implementation left the GPU unusable, which status 3 says
    for attempt in 1 2 3; do
        step "benchmark ${attempt}" "$(left)" "${python}" benchmarks/ops_cuda.py --device "${device}" --resume \
            --rounds "${ON_GPU_ROUNDS:-20}" --seconds $(($(left) - 45)) --results "${results}" && break
        [[ $? == 3 ]] || break
    done
}

micro() {
    if [[ ${device} == cuda ]]; then
        step micro 120 "${python}" benchmarks/gpu_micro.py
    elif command -v nvcc >/dev/null; then
        step micro 120 "${python}" benchmarks/gpu_micro.py --compile-only --arch sm_90
    else
        echo '== micro skipped: no nvcc'
    fi
}

for stage in "${stages[@]}"; do
    case ${stage} in
        build | tests | sanitizer | benchmark | micro) ;;
        *) echo "unknown stage ${stage}, expected build, tests, sanitizer, benchmark or micro" >&2; exit 2 ;;
    esac
done
[[ ${stages[*]} == micro ]] || build
for stage in "${stages[@]}"; do
    [[ ${stage} == build ]] || "${stage}"
done
if [[ ${device} == cuda ]]; then
    cp benchmarks/results/ops_cuda_*.json benchmarks/results/gpu_micro_*.json "${logs}" 2>/dev/null
fi
echo "== ${failures} failed or left out after ${SECONDS} s; ${log}"
[[ ${failures} == 0 ]]
