# Every target does its own set-up; a second call finds the stamp of the first and is quick.
PYTHON ?= python3
VENV := .venv
CLASSIC := .venv-classic
OTHER_TORCH := .venv-other-torch
BIN := $(VENV)/bin
PYTEST_ARGS ?=
DEMO_ARGS ?=
# One thread a test process: two processes with two threads each only get into each other's way.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
SETUP_FILES := setup.py pyproject.toml
OPERATORS := projects/stn_det/ops/lib/.built
CUDA_OPERATORS := projects/stn_det/ops/lib/.built-cuda
EMULATED := work_dirs/emulated/libstn_det_emulated.so
SANITIZED := work_dirs/emulated/libstn_det_sanitized.so
SHARED_SOURCES := $(wildcard projects/stn_det/ops/csrc/common/* projects/stn_det/ops/csrc/entry/*) projects/stn_det/ops/_build.py
OPERATOR_SOURCES := $(SHARED_SOURCES) $(wildcard projects/stn_det/ops/csrc/cpu/*)
CUDA_SOURCES := $(SHARED_SOURCES) $(wildcard projects/stn_det/ops/csrc/cuda/*)
CLASSIC_TESTS := tests/mmcv_bridge tests/engine tests/test_imports.py tests/test_configs_travel.py tests/tools

.DEFAULT_GOAL := help
.PHONY: help install demo test test-classic test-emulated test-sanitized test-wheel lint build build-cuda abi cuda wheel clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## set up .venv with the default (onedl) OpenMMLab packages

demo: $(VENV)/.installed $(OPERATORS)  ## make scenes, train, evaluate and draw; results in work_dirs/demo (DEMO_ARGS=--quick: in work_dirs/demo-quick)
	$(BIN)/stn-det demo $(DEMO_ARGS)

test: $(VENV)/.installed $(OPERATORS)  ## all tests, two at a time
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 tests $(PYTEST_ARGS)

test-classic: $(CLASSIC)/.installed $(OPERATORS)  ## bridge, hooks, imports, configs and tools with mmengine/mmcv-lite/mmdet in .venv-classic
	$(TEST_ENV) $(CLASSIC)/bin/python -m pytest -n 2 $(wildcard $(CLASSIC_TESTS)) $(PYTEST_ARGS)

test-emulated: $(VENV)/.installed $(EMULATED)  ## run the tests of the operators on the kernels of CUDA, compiled for the CPU
	$(TEST_ENV) STN_DET_OPS=$(abspath $(EMULATED)) $(BIN)/python -m pytest -n 2 tests/ops $(PYTEST_ARGS)
	$(TEST_ENV) STN_DET_OPS=$(abspath $(EMULATED)) STN_DET_EMULATOR_ORDER=shuffled $(BIN)/python -m pytest -n 2 tests/ops $(PYTEST_ARGS)

# An interpreter that was not built with the sanitizer needs its runtime before any other library.
test-sanitized: $(VENV)/.installed $(SANITIZED)  ## the same kernels, every access to memory and every conversion checked
	$(TEST_ENV) STN_DET_OPS=$(abspath $(SANITIZED)) ASAN_OPTIONS=detect_leaks=0 \
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	$(BIN)/python -m pytest -n 2 tests/ops $(PYTEST_ARGS)

test-wheel: wheel $(OTHER_TORCH)/.installed  ## install the wheel under another PyTorch than the one that built it, and test the operators
	$(OTHER_TORCH)/bin/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl
	$(OTHER_TORCH)/bin/python .ci/check_compiled.py
	$(TEST_ENV) $(OTHER_TORCH)/bin/python -m pytest -n 2 tests/ops $(PYTEST_ARGS)

lint: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: $(OPERATORS)  ## compile the operators; without a compiler they run in plain PyTorch

build-cuda: $(CUDA_OPERATORS)  ## compile the operators for CUDA, which takes nvcc, no GPU, and minutes

cuda: $(CUDA_OPERATORS) $(OTHER_TORCH)/.installed  ## check architectures, registers and instructions of the compiled operators for CUDA
	$(OTHER_TORCH)/bin/python .ci/check_cuda.py projects/stn_det/ops/lib

abi: $(OPERATORS) $(CUDA_OPERATORS)  ## check that the compiled operators use nothing of PyTorch but its stable ABI
	$(BIN)/python .ci/check_abi.py projects/stn_det/ops/lib/*.so

wheel: $(VENV)/.installed $(OPERATORS) $(CUDA_OPERATORS)  ## build dist/*.whl and try it away from the checkout
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(BIN)/python .ci/check_wheel.py dist/*.whl

clean:  ## remove build output and caches, keep environments and results
	rm -rf build dist projects/*.egg-info projects/stn_det/ops/lib .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## also remove the environments
	rm -rf $(VENV) $(CLASSIC) $(OTHER_TORCH)

$(VENV)/.installed: $(SETUP_FILES) requirements/constraints-onedl.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c requirements/constraints-onedl.txt -e '.[mm,dev]'
	touch $@

$(CLASSIC)/.installed: $(SETUP_FILES) requirements/constraints-classic.txt
	test -x $(CLASSIC)/bin/python || $(PYTHON) -m venv $(CLASSIC)
	$(CLASSIC)/bin/python -m pip install -c requirements/constraints-classic.txt -e '.[mm-classic,test]'
	touch $@

# PyTorch with CUDA, the oldest that is tested: 4.7 GB, no OpenMMLab package.
$(OTHER_TORCH)/.installed: requirements/constraints-other-torch.txt
	test -x $(OTHER_TORCH)/bin/python || $(PYTHON) -m venv $(OTHER_TORCH)
	$(OTHER_TORCH)/bin/python -m pip install -c requirements/constraints-other-torch.txt torch numpy pytest pytest-xdist hypothesis
	touch $@

# One library serves every environment of this checkout. Nothing that needs it fails without; the next make tries again.
$(OPERATORS): $(OPERATOR_SOURCES) | $(VENV)/.installed
	mkdir -p $(@D)
	$(BIN)/python -m stn_det.ops.build && touch $@ || echo 'The operators run in plain PyTorch.'

# A wheel without operators for CUDA is complete.
$(CUDA_OPERATORS): $(CUDA_SOURCES) | $(VENV)/.installed
	mkdir -p $(@D)
	$(BIN)/python -m stn_det.ops.build --cuda --no-cpu && touch $@ || echo 'On a GPU the operators run in plain PyTorch.'

$(EMULATED): $(CUDA_SOURCES) $(wildcard tests/emulator/*) | $(VENV)/.installed
	mkdir -p $(@D)
	$(BIN)/python tests/emulator/build.py $@

# -O1 compiles in 100 s of processor time, -O2 in 160.
$(SANITIZED): $(CUDA_SOURCES) $(wildcard tests/emulator/*) | $(VENV)/.installed
	mkdir -p $(@D)
	CXX=g++ $(BIN)/python tests/emulator/build.py $@ --sanitize --flags ~O1 ~mavx2 ~mf16c
