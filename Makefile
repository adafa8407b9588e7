# `make serve` is all a new machine needs: Python 3.11, make, gcc. Every target can be interrupted and run again. A new
# environment gets the fastest python3.11 of PATH; PYTHON=/path/to/python3.11 names another.
PYTHON ?= python3.11
BIN := .venv/bin
LOCKS := deploy/requirements
SETUP := $(PYTHON) deploy/setup/environment.py $(if $(filter file,$(origin PYTHON)),--fastest)

.PHONY: serve demo test check fmt setup setup-dev lock clean

serve: setup          ## install, fetch the model, start everything
	@$(BIN)/keepword serve

demo: setup           ## the whole stack, started for a few recorded conversations
	@$(BIN)/keepword bench demo

test: setup-dev       ## every test; ARGS="tests/agents -k name" for some
	@deploy/setup/system-packages.sh
	@$(BIN)/python -m pytest $(ARGS)

check: setup-dev      ## lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: setup-dev        ## mend what lint and format can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

setup:                ## the environment the server runs in
	@$(SETUP) $(LOCKS)/cpu.txt

setup-dev:            ## the same and what tests and checks need
	@$(SETUP) $(LOCKS)/dev.txt --covers $(LOCKS)/cpu.txt

lock:                 ## write the hashed locks from pyproject.toml
	@PYTHON=$(PYTHON) deploy/setup/lock.sh

clean:                ## remove the environment and what tools left; models and data stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
