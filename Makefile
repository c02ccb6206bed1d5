# Every target sets itself up: it makes the environment it needs, then runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint docs benchmark clean
help:
	@echo "make demo    install, segment the sample field, print scores, write a picture and a FITS file"
	@echo "make test    install with the test extra and run the tests"
	@echo "make lint    check style"
	@echo "make docs    build the documentation and run the gallery"
	@echo "make benchmark  every system side by side on a few images, nets trained for half a minute each"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip

# One stamp an extra: installing again happens only when the dependencies change. -qq: pip 26 prints
# long warnings of setuptools about editable installations, which say nothing that you must do.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable ".[$*]"
	@touch $@
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable .
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/galaxysegment demo --output demo-output

# One thread a process: two test processes on two cores leave none for more.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# The full round is run by run: see `python -m benchmarks.leaderboard --help`. One setting alone: LEADERBOARD="--setting B".
benchmark: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.leaderboard small $(LEADERBOARD)

clean:
	rm -rf $(VENV) build dist docs/_build docs/auto_examples docs/api/generated demo-output
