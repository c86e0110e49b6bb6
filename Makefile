# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
# CASES: a folder laid out like tests/parity/cases
CASES ?= tests/parity/cases

.PHONY: demo test coverage lint types parity test-slow format clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	$(INSTALL) -e .
	touch $@

$(VENV)/test-ready: $(VENV)/ready
	$(INSTALL) -e ".[dev]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/sightsound demo --output demo

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal  # threads only wait for one another

lint: $(VENV)/test-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/test-ready
	$(BIN)/mypy

format: $(VENV)/test-ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

parity: $(VENV)/test-ready
	$(BIN)/python -m pytest tests/parity --cases "$(CASES)"

test-slow: $(VENV)/test-ready
	$(BIN)/python -m pytest -m slow

# what the tests reach, in the terminal and in htmlcov/index.html
coverage: $(VENV)/test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report term:skip-covered --cov-report html

# benchmark-NAME runs benchmarks/NAME.py; benchmarks/RESULTS.md lists them
benchmark-%: $(VENV)/test-ready
	$(BIN)/python benchmarks/$*.py

clean:
	rm -rf $(VENV) build dist
