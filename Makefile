# Shortcuts for contributors. `make setup` comes first.

SHELL := bash
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup lint format types test-unit test

help:
	@echo "setup      create .venv with the farm and the development tools"
	@echo "lint       ruff check, ruff format --check, import-linter"
	@echo "format     let ruff format and fix"
	@echo "types      mypy"
	@echo "test-unit  unit tests alone"
	@echo "test       every check, as in continuous integration"

setup:
	. scripts/python.sh && "$$PYTHON" scripts/bootstrap.py dev

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports

format:
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

types:
	.venv/bin/mypy

test-unit:
	.venv/bin/python -m pytest tests/unit

test:
	bash scripts/test.sh
