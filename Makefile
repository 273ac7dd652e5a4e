# make run DIR=~/Videos   everything on a fresh machine with Python 3.11+ and nothing else
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DIR ?=
WORKERS ?= 2

.PHONY: run test test-torch-free lint types docs generated demo train-smoke bench-accuracy clean

run: $(VENV)/ready
ifeq ($(DIR),)
	$(BIN)/python -m twinreel.demo demo
	$(BIN)/twinreel dups demo --library demo/library.db
else
	$(BIN)/twinreel dups "$(DIR)"
endif

# Two processes, each with whole files, in the order of the folders: the long ones first.
test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src

types: $(VENV)/ready-dev
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.12
	$(BIN)/mypy --python-version 3.13

# What runs without torch, for Pythons that have none yet.
TORCH_FREE := $(addprefix tests/unit/test_,$(addsuffix .py,options sample discover exact keep report \
	cluster compare picture probe store manifest actions))
test-torch-free: $(VENV)/ready-dev
	PYTHONPATH=. $(BIN)/python -m pytest -p tests.no_torch $(TORCH_FREE)

# The site, into site/; warnings are errors. The notebooks run on the way.
docs: $(VENV)/ready-docs
	PYTHONPATH=. $(BIN)/mkdocs build --strict

# What is written out of the code and the packages.
generated: $(VENV)/ready-dev
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.licences

train-smoke: $(VENV)/ready
	$(BIN)/python -m training.smoke

bench-accuracy: $(VENV)/ready
	$(BIN)/python -m benchmarks.accuracy.run

# constraints.txt pins every package; torch there is the CPU build where the index has one.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "twinreel needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[web]'
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/ready-docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist site
