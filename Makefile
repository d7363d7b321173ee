# Every target makes its own .venv; no other set-up step exists.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint bench docs clean

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# torch is pinned to the release that the tests were run with; the package itself accepts a range
.venv/demo.stamp: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[torch,plot]" "torch==2.13.0"
	touch $@

.venv/dev.stamp: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ .venv/demo.stamp

demo: .venv/demo.stamp
	$(BIN)/python -m lifecycle demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest -q

test-all: .venv/dev.stamp
	$(BIN)/python -m pytest -q -m ""

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks all

# the theme's notice of its own successor is no warning about these pages
docs: .venv/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir site

clean:
	rm -rf .venv build dist site *.egg-info src/*.egg-info
