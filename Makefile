# make demo   sets up .venv and audits the bundled organism beside its twin
# make test   sets up .venv with the test tools and runs every check
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export HF_HUB_DISABLE_TELEMETRY := 1
# Test files are dealt to two processes of one thread each: more threads than cores wait for each other.
WORKERS ?= 2
SHARED_OUT := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

help:            ## what can be made
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

$(BIN)/python:
	@echo "Making the environment $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -c 'import sys; sys.exit("virtuelens needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# A stamp a set of packages: a second run finds it fresh and installs nothing.
$(VENV)/.demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing virtuelens and what it needs (a few minutes the first time) …"
	$(PIP) install --editable . --constraint constraints.txt
	@touch $@

$(VENV)/.test-installed: $(VENV)/.demo-installed pyproject.toml constraints.txt
	@echo "Installing the test tools …"
	$(PIP) install --editable '.[dev]' --constraint constraints.txt
	@touch $@

demo: $(VENV)/.demo-installed  ## audit the bundled organism beside its twin
	$(BIN)/virtuelens audit organism:sycophant --twin organism:candid

dashboard: $(VENV)/.demo-installed  ## the dashboard over runs/
	$(BIN)/virtuelens dashboard runs

test: $(VENV)/.test-installed  ## every check: style, types, layers, tests
	@echo "Style (ruff), types (mypy), layers (import-linter) …"
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@echo "Tests …"
	HF_HUB_OFFLINE=1 $(SHARED_OUT) $(BIN)/pytest -n $(WORKERS) --dist loadfile

test-slow: $(VENV)/.test-installed  ## the long tests too
	HF_HUB_OFFLINE=1 $(SHARED_OUT) $(BIN)/pytest -n $(WORKERS) --dist loadfile -m ""

wheel-check: $(VENV)/.test-installed  ## build the wheel and try it away from the checkout
	$(BIN)/python tools/wheel_check.py

.PHONY: help demo dashboard test test-slow wheel-check
