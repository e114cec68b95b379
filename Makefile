# make run                            both services and their workers in the foreground, with a trained model
# make run DATA=rows.parquet LABEL=click    the same on your own data (CSV, JSONL, Parquet; a file or a folder of splits)
# make test | test-long | lint | results | methods | bench | bench-quick | ssft | docs | first-run | test-vllm | test-compose | soak | overload | install
#
# Variables, from the environment or as `make NAME=VALUE`:
#   CTR_PORT (8000), LLM_PORT (8001), LLACTR_HOME (.llactr), DATA, LABEL, LLM_MODEL
#   PYTHON       the Python >= 3.11 that makes .venv; by default the first one found
#   DATASETS     the folder with the datasets of `make results`
#   TORCH_INDEX  where PyTorch comes from when pip finds no local wheel; a CUDA index is used only when it is named here

VENV ?= .venv
DATASETS ?= ../shared/data
# More than the cores of a small machine: many tests wait for services.
JOBS ?= 3
TORCH_VERSION := 2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)

# The build that an index serves is the last part of its address: .../whl/cpu, .../whl/cu130.
index_end := $(notdir $(patsubst %/,%,$(TORCH_INDEX)))
torch_build := $(if $(filter cu% rocm% xpu,$(index_end)),$(index_end),cpu)
torch := torch==$(TORCH_VERSION)+$(torch_build)
bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check
locked := pyproject.toml clients/python/pyproject.toml requirements.lock

.PHONY: run install test test-long test-vllm test-compose lint results methods bench bench-quick ssft soak overload docs types first-run
.DEFAULT_GOAL := run

# exec: the supervisor takes the place of the recipe's shell, so that it is the one that make passes SIGTERM on to.
# --under-make: it also watches make, which passes no SIGINT on (services/cli/stopping.py).
run: install
	@exec $(bin)/llactr up --under-make

install: $(VENV)/.installed

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(JOBS) --dist loadfile $(TESTS)

# What takes minutes: ten kills, thousands of fuzz requests, tens of millions of values.
test-long: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(JOBS) --dist loadfile -m long $(TESTS)

# The engine on a real vLLM server: vLLM's CPU build in .venv-vllm (3.5 GB), the tests, and docs/vllm-test.md.
test-vllm: $(VENV)/.installed-dev
	TORCH_INDEX='$(TORCH_INDEX)' $(bin)/python -m benchmarks.vllm_test

# The images and docker-compose.yml under Podman (root, debootstrap; 5 GB below /var/tmp, 20 minutes), docs/compose-test.md.
test-compose: $(VENV)/.installed-dev
	TORCH_INDEX='$(TORCH_INDEX)' $(bin)/python -m benchmarks.compose_test

lint: $(VENV)/.installed-dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

# The proof on real datasets, docs/results.md: hours, and a killed run goes on. ONLY=NAME,... runs these anew
# (benchmarks/results/runs.yaml).
results: $(VENV)/.installed-dev
	$(bin)/python -m benchmarks.results --datasets $(DATASETS) $(if $(ONLY),--only $(ONLY))

# Plain, LLaCTR, CTRL and LARR on 20,000 training rows each, docs/methods-measured.*; some hours on two cores.
methods: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(bin)/python -m benchmarks.methods --datasets $(DATASETS)

ssft: $(VENV)/.installed-dev
	$(bin)/python -m benchmarks.ssft --datasets $(DATASETS)

# The CTR service for 13 minutes at half of its capacity while everything around it fails, docs/soak.md (cc, PostgreSQL, Redis).
soak: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(bin)/python -m benchmarks.soak

# Scoring, training, bulk work and tuning, ours and the peers' in turn: docs/benchmarks.*; an hour. ONLY=scoring,training
# chooses sections, ONLY=scoring.start a part of one. The peers' environments (6 GB) and the models are kept in
# LLACTR_BENCH_CACHE (~/.cache/llactr-bench).
bench: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(bin)/python -m benchmarks.bench --datasets $(DATASETS) $(if $(ONLY),--only $(ONLY))

bench-quick: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(bin)/python -m benchmarks.bench --quick --datasets $(DATASETS) $(if $(ONLY),--only $(ONLY))

# Three times of its capacity for 30 s, docs/overload.md.
overload: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(bin)/python -m benchmarks.overload

docs: $(VENV)/.installed-dev
	$(bin)/python -m services.cli.reference

# The TypeScript client's types, from the services' OpenAPI documents.
types: $(VENV)/.installed-dev
	$(bin)/python -m services.cli.openapi clients/typescript/build
	npm --prefix clients/typescript ci --no-audit --no-fund
	npm --prefix clients/typescript run generate

# A fresh clone of HEAD in an empty folder: both commands as the README prints them, into docs/first-run.md.
first-run:
	$(PYTHON) benchmarks/first_run.py

$(VENV)/.installed: $(locked) | $(VENV)/.torch
	@$(pip) install --quiet -c requirements.lock setuptools
	$(pip) install --quiet --no-build-isolation -c requirements.lock -e clients/python -e '.[models]'
	@$(bin)/python -c 'import llactr_core.scorer, llactr_core.metrics.sorting'  # compiles their loops, once
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(pip) install --quiet --no-build-isolation -c requirements.lock -e clients/python -e '.[models,dev]'
	@touch $@

# PyTorch comes first and on its own: what PyPI has under the same version needs several gigabytes of CUDA.
$(VENV)/.torch: | $(bin)/python
	@if $(bin)/python -c 'import torch' 2>/dev/null; then :; \
	elif $(pip) install --quiet --no-index --no-deps '$(torch)' 2>/dev/null; then echo 'installed $(torch) from a local wheel'; \
	else echo 'installing $(torch) from $(TORCH_INDEX)'; \
	  $(pip) install $(if $(filter cpu,$(torch_build)),--no-deps,) --index-url '$(TORCH_INDEX)' '$(torch)' || { \
	    echo 'error: $(torch) is not to be had from $(TORCH_INDEX): name another index with TORCH_INDEX=URL, or let' \
	      'pip find a wheel of it (PIP_FIND_LINKS=FOLDER)' >&2; exit 1; }; \
	fi
	@touch $@

$(bin)/python:
	@test -n '$(PYTHON)' || { echo 'error: no Python >= 3.11 was found; install one, or name it: make PYTHON=/path/to/python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'error: $(PYTHON) is no Python >= 3.11; name another one: make PYTHON=/path/to/python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'error: $(PYTHON) cannot make virtual environments; install that part of it (Debian, Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	'$(PYTHON)' -m venv '$(VENV)' || { rm -rf '$(VENV)'; exit 1; }
