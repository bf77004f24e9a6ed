# make demo | test | lint | bench: each creates its virtual environment when there is none.
# VENV=path uses (or creates) another one.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN = $(BIN)/python -m

.PHONY: demo test lint notebooks bench clean

demo: $(VENV)/.demo
	$(RUN) rdmc_jax galaxy

test: $(VENV)/.dev
	$(RUN) pytest -n 2 --dist loadgroup

lint: $(VENV)/.dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

notebooks: $(VENV)/.dev
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

bench: $(VENV)/.dev
	$(RUN) benchmarks.accuracy

clean:
	rm -rf .venv *_draws.npz *_draws.png

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# the extra that each target needs; re-installed when the project's metadata change
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(RUN) pip install --quiet --editable '.[plot]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(RUN) pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo
