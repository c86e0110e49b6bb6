# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin
# CASES: a folder laid out like tests/parity/cases
CASES ?= tests/parity/cases

.PHONY: demo test lint types parity test-slow format clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev,track]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/sightsound demo --output demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal  # threads only wait for one another

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/ready
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

parity: $(VENV)/ready
	$(BIN)/python -m pytest tests/parity --cases "$(CASES)"

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

# benchmark-NAME runs benchmarks/NAME.py; benchmarks/RESULTS.md lists them
benchmark-%: $(VENV)/ready
	$(BIN)/python benchmarks/$*.py

clean:
	rm -rf $(VENV) build dist
