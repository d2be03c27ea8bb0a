# `make demo` finds lottery tickets on embedded data, `make test` checks everything.
# Each sets up .venv first, when it is missing or older than the two files that describe it.

PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO = --task digits --model gcn --hidden 64 --rounds 15 --seeds 4 --jobs 2 --out runs/demo

.PHONY: demo test
.DELETE_ON_ERROR:

demo: .venv/run.done
	$(BIN)/graphlth run ugs $(DEMO)
	$(BIN)/graphlth run random_tickets $(DEMO)
	$(BIN)/graphlth plot sparsity runs/demo --out runs/demo/sparsity.png
	$(BIN)/graphlth show runs/demo

test: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --maxprocesses 4

.venv/run.done: pyproject.toml constraints.txt
	@echo "Installing graphlth into .venv"
	$(PYTHON) -m venv .venv
	$(INSTALL) -e .
	@touch $@

.venv/test.done: .venv/run.done
	@echo "Installing the test tools; torch-scatter is compiled once, in about 5 minutes"
	$(INSTALL) setuptools wheel
	$(INSTALL) --no-build-isolation -e '.[scatter,test]'
	@touch $@
