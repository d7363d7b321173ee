# Every target makes its own .venv; no other set-up step exists.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test test-all lint clean

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

.venv/dev.stamp: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

test: .venv/dev.stamp
	$(BIN)/python -m pytest -q

test-all: .venv/dev.stamp
	$(BIN)/python -m pytest -q -m ""

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist site *.egg-info src/*.egg-info
