# make env | quickstart | test | exact | papers-smoke | chaos | chaos-long | guards | many-runs | prices | lint | bundle.
# Nothing is done twice: .venv/.ready stamps a finished set-up.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env quickstart test exact papers-smoke chaos chaos-long guards many-runs prices lint bundle
env: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable ".[all]"
	touch $@

quickstart: env
	$(BIN)/kdharness run studies/quickstart.yaml

test: env
	$(BIN)/python -m pytest -n 2

exact: env
	$(BIN)/python tests/campaigns/exactness.py

papers-smoke: env
	$(BIN)/python tests/campaigns/papers.py

chaos: env
	$(BIN)/python tests/campaigns/chaos

chaos-long: env
	$(BIN)/python tests/campaigns/chaos --size long

guards: env
	$(BIN)/python tests/campaigns/guards.py

many-runs: env
	$(BIN)/python tests/campaigns/many_runs.py

prices: env
	$(BIN)/python tests/campaigns/prices.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile

bundle: env
	$(BIN)/python .ci/bundle.py
