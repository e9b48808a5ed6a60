# Every target makes the environment it needs first. `make .venv` makes the environment alone.
# On a bare machine: Python 3.11 or 3.12 (with venv) and make are all that has to be there.

BIN := .venv/bin
STAMP := .venv/.stamp
EXTRAS := cpu dev

.DEFAULT_GOAL := help
.PHONY: help .venv quickstart test test-slow test-browser test-all bench bench-data bench-judge bench-serve drill lint format clean

help: ## show this list
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z.-]+):[^#]*## /  make \1\t/' | expand -t 20

.venv: $(STAMP) ## the environment alone, in .venv/

# The stamp stands for the whole folder: a folder's own time changes with every file inside.
$(STAMP): pyproject.toml constraints.txt overrides.txt scripts/make_env.py scripts/torchvision_on_cpu.py
	@for python in $(PYTHON) python3.11 python3 python3.12; do \
	  if $$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    exec $$python scripts/make_env.py $(EXTRAS); \
	  fi; \
	done; \
	echo "error: no Python 3.11 or 3.12 with venv was found; install one or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

quickstart: $(STAMP) ## the whole method in miniature, 15 to 20 minutes on 2 cores
	$(BIN)/cogaudio-rl quickstart

test: export OMP_NUM_THREADS ?= 1
test: $(STAMP) ## the quick tests
	$(BIN)/python -m pytest

test-slow: export OMP_NUM_THREADS ?= 1
test-slow: $(STAMP) ## the tests that start Ray or take long
	$(BIN)/python -m pytest -m "(ray or slow) and not gpu and not browser"

test-browser: export OMP_NUM_THREADS ?= 1
test-browser: $(STAMP) ## the page in a real browser; needs chromium
	$(BIN)/python -m pytest -m browser

test-all: export OMP_NUM_THREADS ?= 1
test-all: $(STAMP) ## both
	$(BIN)/python -m pytest -m "not gpu and not browser"

drill: $(STAMP) ## kill workers and drivers of real runs, 5 times each; look for anything lost
	$(BIN)/python scripts/drill.py --kills 5 --out runs/drill

bench: $(STAMP) ## parity and race with TRL, cost and overhead; about 45 minutes on an idle machine
	$(BIN)/python scripts/bench/run.py --out runs/bench

bench-data: $(STAMP) ## corpus factory and loader: speed, memory, kills; about 20 minutes, idle
	$(BIN)/python scripts/bench/data.py --out runs/bench_data

bench-judge: $(STAMP) ## judges: latency, faults, canaries, ranks; about 5 minutes, idle
	$(BIN)/python scripts/bench/judge.py --out runs/bench_judge

bench-serve: $(STAMP) ## server: cost over the bare engine, soak, kill, reload; about 15 minutes, idle
	$(BIN)/python scripts/bench/serve.py --out runs/bench_serve

lint: $(STAMP) ## ruff, pyright and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(STAMP) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and built files; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
