# `make help` lists the targets. The first use of any of them makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CAMVID := $(abspath ../shared/data/camvid)
# One process a core; tests of one file stay together and share what they prepare.
PARALLEL ?= -n logical --maxprocesses 4 --dist loadfile

ifneq ($(wildcard $(CAMVID)/.),)
export GSTO_VIZ_CAMVID ?= $(CAMVID)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-browser lint format judge docs app clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --config-settings editable_mode=compat -e '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## make .venv and install the package with its tools

demo: $(STAMP) ## compare the two shipped networks on procedural scenes -> runs/demo/
	$(BIN)/gsto-viz demo --out runs/demo --overwrite

test: $(STAMP) ## run the tests (slow and browser tests excepted)
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: $(STAMP) ## run the slow tests
	$(BIN)/python -m pytest -m slow

test-browser: $(STAMP) ## run the explorer's tests in Chromium (skipped where there is none)
	$(BIN)/python -m pytest -m browser

lint: $(STAMP) ## ruff, format check, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m nbqa "mypy --allow-untyped-defs --allow-incomplete-defs" analysis/notebooks

format: $(STAMP) ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

judge: $(STAMP) ## compare all numbers with those of a commit: make judge BASE=SHA
	$(BIN)/python tests/judge/judge.py --base "$(BASE)" $(JUDGE)

docs: $(STAMP) ## build the documentation into site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

app: $(STAMP) ## open the explorer at http://127.0.0.1:8501
	$(BIN)/gsto-viz app

clean: ## remove .venv and caches (runs/ stays)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info site
