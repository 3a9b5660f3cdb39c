# Every chore has a target here; `make` alone lists them.
# Set on the command line: PYTHON (which interpreter), VENV (where it goes), WORKERS, TESTS (what pytest is given),
# GPU_PACKAGES (what `make gpu` installs besides, such as "tensorrt cuda-python==13.*").

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
TESTS ?= -m "not full"

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ROOMS := calibration export profiles runtime targets
EXTRAS := export,onnxruntime,openvino,landmarks,serve,grpc,webrtc,sign,voice,dev,docs
# NVIDIA publishes TensorRT-RTX's libraries for this platform only; its tests are skipped elsewhere.
ifeq ($(shell uname -sm),Linux x86_64)
EXTRAS := $(EXTRAS),tensorrt-rtx
endif

# onnxruntime-gpu takes onnxruntime's place, so this goes into an environment of its own.
GPU_EXTRAS := export,onnxruntime-gpu,dev
GPU_PACKAGES ?=

# Of `make test-ranges`: where its environments go, CORNERS such as "3.10-lowest own-newest" in place of all, and
# RANGE_TESTS in place of all that needs no torch.
RANGES ?= .ranges

# Of `make fuzz`: how long, and to see one mutation again, SEED, KIND and INDEX as a failure names them.
SECONDS ?= 60
SEED ?= 0

.PHONY: help venv test test-ranges fuzz kills lint format demo kiosk character bench figures docs gpu gpu-results wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 21

venv: $(INSTALLED) ## the environment that every other target uses, made anew when its requirements change

# Without its pip an environment is the remains of an interrupted run.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("$(PYTHON) is older than Python 3.10: make PYTHON=...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

test: lint ## everything that must hold: lint, types, the tests, the wheel
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(TESTS)

test-ranges: $(INSTALLED) ## the runtime's tests with the lowest and the newest dependencies, on Python 3.10 to 3.13
	$(BIN)/python tests/ranges/run_range_tests.py --folder $(RANGES) $(if $(CORNERS),--corners "$(CORNERS)") $(RANGE_TESTS)

fuzz: $(INSTALLED) ## damaged inputs of every kind for SECONDS; each gives frames, or one line
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) --seed $(SEED) $(if $(KIND),--kind $(KIND)) $(if $(INDEX),--index $(INDEX))

kills: $(INSTALLED) ## build, run, compile and calibrate killed at 40 moments: nothing half-written, nothing left
	ECHOEXPORT_KILLS=10 $(BIN)/python -m pytest tests/export/cli/test_kills.py

lint: $(INSTALLED) .mypy/echoexport ## ruff and mypy, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addprefix -p echoexport.,$(ROOMS))

format: $(INSTALLED) ## ruff's fixes and layout, in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy follows folders, not the installed mapping: this one spells echoexport/<room> with links.
.mypy/echoexport: Makefile
	@mkdir -p $@
	@for room in $(ROOMS); do ln -sfn ../../$$room $@/$$room; done
	@touch $@

demo: $(INSTALLED) ## from nothing to a talking picture in demo/
	$(BIN)/echoexport demo -o demo

kiosk: $(INSTALLED) ## from nothing to a talking face in the browser: the built-in character, served on this machine
	$(BIN)/echoexport serve

character: $(INSTALLED) ## the demo character trained anew in character/: needs espeak-ng; minutes on a GPU, a night without
	$(BIN)/python -m echoexport.export.demo.training -o character

bench: $(INSTALLED) ## the figures of tests/benchmarks, measured on this machine
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python "$$script"; done

figures: ## docs/measurements.md and docs/live.md drawn anew from the benchmarks' results
	$(PYTHON) tests/benchmarks/draw_measurements.py

docs: $(INSTALLED) ## the documentation site in site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

gpu: ## what only an NVIDIA GPU can prove, in under 8 minutes: tests, parity, benchmark; gpu-results.json
	@$(MAKE) --no-print-directory VENV=$(VENV)-gpu EXTRAS=$(GPU_EXTRAS) gpu-results

gpu-results: $(INSTALLED)
	$(if $(GPU_PACKAGES),$(BIN)/python -m pip install --disable-pip-version-check --quiet $(GPU_PACKAGES))
	$(BIN)/python tests/gpu/run_gpu_tests.py --output gpu-results.json

wheel: $(INSTALLED) ## source archive and wheel in dist/
	rm -rf build dist
	$(BIN)/python -m build

clean: ## all that is made here, but for the environment
	rm -rf build dist demo site *.egg-info .mypy .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
