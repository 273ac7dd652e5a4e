# make run DIR=~/Videos   everything on a fresh machine with Python 3.11+ and nothing else
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DIR ?=

.PHONY: run test lint types demo train-smoke bench-accuracy clean

run: $(VENV)/ready
ifeq ($(DIR),)
	$(BIN)/python -m twinreel.demo demo
	$(BIN)/twinreel dups demo --library demo/library.db
else
	$(BIN)/twinreel dups "$(DIR)"
endif

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src

types: $(VENV)/ready-dev
	$(BIN)/mypy

train-smoke: $(VENV)/ready
	$(BIN)/python -m training.smoke

bench-accuracy: $(VENV)/ready
	$(BIN)/python -m benchmarks.accuracy.run

# constraints.txt pins every package; torch there is the CPU build where the index has one.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "twinreel needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist
