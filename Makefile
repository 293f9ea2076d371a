# `make help` tells the targets. Everything is installed into .venv; nothing else is touched.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo run test lint faults mutations bench lock docs

VENV := .venv
BIN := $(VENV)/bin
UV ?= $(shell command -v uv)
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	command -v $$name; break; fi; done)
INSTALL = $(if $(UV),$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install \
	--quiet --disable-pip-version-check --no-input)
HOME_DIR ?= var
PYTEST_ARGS ?=

help:  ## Tell the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.runtime  ## Make .venv with everything that is needed to run

setup-dev: $(VENV)/.development  ## Make .venv with everything that is needed to test

demo: setup  ## Run the German credit example from start to end, and print its reports
	@$(BIN)/dagengine demo --home $(HOME_DIR)

run: setup  ## Serve on this machine until Ctrl-C
	@$(BIN)/dagengine serve --home $(HOME_DIR)

test: setup-dev lint  ## Lint, then run all tests but the long ones
	$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

lint: setup-dev  ## Check format, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The campaigns measure how soon work goes on, and so do most of the others: nothing may keep the cores
# busy beside the campaigns but what only computes, at the lowest priority. (In a session of its own:
# Linux shares the cores out by session first, and by priority within each.)
CAMPAIGNS := tests/faults/test_chaos.py tests/faults/test_rolling_restart.py
COMPUTING := tests/faults/test_simulation.py tests/faults/test_simulated_steps.py
LONG := env DAGENGINE_TEST_LONG=1 $(BIN)/python -m pytest --timeout 1500 --durations 12 --dist worksteal
GIVE_WAY := setsid sh -c 'echo 19 > /proc/self/autogroup; exec nice -n 19 "$$0" "$$@"'

faults: setup-dev  ## Run the long fault tests
	@failed=0; log=$$(mktemp); \
	$(GIVE_WAY) $(LONG) $(COMPUTING) -n 2 $(PYTEST_ARGS) > $$log 2>&1 & computing=$$!; \
	trap "kill $$computing 2> /dev/null; rm -f $$log" EXIT; \
	$(LONG) $(CAMPAIGNS) -n 2 $(PYTEST_ARGS) || failed=1; \
	$(LONG) tests/faults $(CAMPAIGNS:%=--ignore %) $(COMPUTING:%=--ignore %) -n 4 \
		$(PYTEST_ARGS) || failed=1; \
	wait $$computing || failed=1; cat $$log; exit $$failed

mutations: setup-dev  ## Take guards out one at a time, and see the tests go red
	$(BIN)/python -m tests.support.mutations

bench: setup-dev  ## Measure against a plain process pool and Dask
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

lock: setup-dev  ## Pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-emit-index-url pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-emit-index-url --group dev pyproject.toml -o requirements-dev.txt

docs: setup  ## Write the generated parts of docs/ anew
	$(BIN)/python -m dag_engine.cli.reference docs

$(VENV)/bin/python:
	@if [ -z '$(PYTHON)' ]; then \
		echo 'Python 3.11 or newer is needed and was not found.' >&2; \
		echo 'Install it, or name it: make PYTHON=/path/to/python3.11' >&2; exit 1; fi
	@echo 'Making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'The module venv is needed: on Debian and Ubuntu, apt install python3-venv.' >&2; \
		exit 1; }

$(VENV)/.runtime: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo 'Installing what is needed to run (requirements.txt)'
	@$(INSTALL) -r requirements.txt
	@$(INSTALL) --no-deps -e .
	@$(BIN)/python -m compileall -q dag_engine operator_engine executors algorithms
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@echo 'Installing what is needed to test (requirements-dev.txt)'
	@$(INSTALL) -r requirements-dev.txt
	@touch $@
