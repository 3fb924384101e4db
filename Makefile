# Everything a newcomer needs: `make train`, `make test`. Each sets up .venv by itself; nothing but Python and make first.

PYTHON ?= python3
# What is left empty is not given. DATA may hold blanks and quotes: make train DATA="/data/My Reviews.csv"
MODEL ?=
DATA ?=
TRIALS ?=
# Further settings of the network and its training: make train MODEL=cnn SETTINGS="-P hidden=64 -P epochs=3"
SETTINGS ?=
# They reach the shell as variables, as they were typed: make and the shell would each read quotes, blanks and dollars.
train tune: export GIVEN_MODEL = $(value MODEL)
train tune: export GIVEN_DATA = $(value DATA)
tune: export GIVEN_TRIALS = $(value TRIALS)
GIVEN = $${GIVEN_MODEL:+-P "model=$$GIVEN_MODEL"} $${GIVEN_DATA:+-P "data=$$GIVEN_DATA"} $(SETTINGS)
VENV := .venv
BIN := $(VENV)/bin
train tune: export MLFLOW_EXPERIMENT_NAME ?= sentiment
# What MLflow says of its own, of tables it makes and folders, is not what a newcomer waits for.
train tune: export MLFLOW_LOGGING_LEVEL ?= WARNING

.PHONY: train tune test test-slow test-postgresql test-spark test-gpu chaos wheel-test lint audit check clean

train: $(VENV)/installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . --env-manager local $(GIVEN)

tune: $(VENV)/installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -e tune --env-manager local \
		$${GIVEN_TRIALS:+-P "trials=$$GIVEN_TRIALS"} $(GIVEN)

test: $(VENV)/installed-check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(VENV)/installed-check
	$(BIN)/python -m pytest -q -m slow -n 2 --dist worksteal

# Real kills, signals, full disks, locked databases, servers that go away.
chaos: $(VENV)/installed-check
	$(BIN)/python -m pytest -q -m chaos -n 2 --dist worksteal

# Four machines on one study; PostgreSQL has to be installed, and is started by the test itself.
test-postgresql: $(VENV)/installed-check
	$(BIN)/python -m pytest -q -m postgresql

# A logged model as a function of a real Spark on this machine; Java has to be installed.
test-spark: $(VENV)/installed-spark
	$(BIN)/python -m pytest -q -m spark

# What only a GPU does: steps recorded and played again.
test-gpu: $(VENV)/installed-check
	$(BIN)/python -m pytest -q -m gpu

# The wheel in an empty environment, outside the checkout; all that it needs is installed anew, which takes minutes.
wheel-test:
	scripts/wheel_test.sh $(PYTHON)

lint: $(VENV)/installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities of the pinned versions; it needs the network, so it is no part of `make check` or .ci/run.
audit: $(VENV)/audit/installed
	@$(VENV)/audit/bin/python scripts/audit.py

$(VENV)/audit/installed:
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'
	@touch $@

check: lint test test-slow chaos

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Setting up $(VENV), once; this takes a minute or two."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-check: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[check]'
	@touch $@

$(VENV)/installed-spark: $(VENV)/installed-check
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[check,spark]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
