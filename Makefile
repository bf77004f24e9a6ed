# make demo | test | lint | bench | bench-full | bench-gpu: each creates its virtual environment when
# there is none. bench: six problems, three baselines, some minutes; bench-full: everything, hours, goes
# on where it was; both write into bench_results/. bench-gpu: on a machine with an NVIDIA GPU.
# VENV=path uses (or creates) another one.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN = $(BIN)/python -m

.PHONY: demo test lint notebooks bench bench-full bench-gpu clean

demo: $(VENV)/.demo
	$(RUN) rdmc_jax galaxy

test: $(VENV)/.dev
	$(RUN) pytest -n 2 --no-loadscope-reorder

lint: $(VENV)/.dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

notebooks: $(VENV)/.dev
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

bench: $(VENV)/.bench
	mkdir -p bench_results
	$(RUN) benchmarks.comparison.work_precision --seeds 2 --max-evals 500 \
	  --problems gmm4,rings,two_modes_8,galaxy_equal,many_well_4,funnel \
	  --methods "sample,NUTS,SMC MALA,parallel tempering" \
	  --output bench_results/bench.json --pictures bench_results

bench-full: $(VENV)/.bench
	$(RUN) benchmarks.full --folder bench_results

bench-gpu: $(VENV)/.bench
	$(BIN)/python -m pip install --quiet 'jax[cuda12]'
	$(RUN) benchmarks.speed.gpu --output bench_gpu.json

clean:
	rm -rf .venv bench_results *_draws.npz *_draws.png

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# the extra that each target needs; re-installed when the project's metadata change
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(RUN) pip install --quiet --editable '.[plot]'
	touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(RUN) pip install --quiet --editable '.[bench,plot,progress]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(RUN) pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo
