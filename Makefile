# `make demo` finds lottery tickets on embedded data, `make test` checks everything, `make docs`
# builds the documentation into docs/_build/html. Each sets up .venv first, when it is missing or
# older than the two files that describe it.

PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO = --task digits --model gcn --hidden 64 --rounds 15 --seeds 4 --jobs 2 --out runs/demo

.PHONY: demo docs test
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

# The examples of every page are run, then the site is built; a warning is an error.
docs: .venv/docs.done
	$(BIN)/pytest docs --numprocesses auto --maxprocesses 4 --dist loadfile
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

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

.venv/docs.done: .venv/run.done
	@echo "Installing what builds the documentation"
	$(INSTALL) -e '.[docs]'
	@touch $@
