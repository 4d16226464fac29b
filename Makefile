# Each is also a plain command: see "Commands" in README.md.
# ENV=latest (.venv) or ENV=webui (.venv-webui, the versions that AUTOMATIC1111 1.10.1 pins).
PYTHON ?= python3
ENV    ?= latest
VENV   := $(if $(filter webui,$(ENV)),.venv-webui,.venv)
BIN    := $(VENV)/bin
PYTEST_ARGS ?=
BENCH_ARGS  ?=

.PHONY: demo test check bench env dev-env clean

demo: env
	$(BIN)/ctrlgen demo

test: dev-env
	$(BIN)/python -m pytest -n logical --dist worksteal $(PYTEST_ARGS)

check: dev-env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos
	$(BIN)/python -m pytest -q tests/project/test_layers.py tests/project/test_style.py

bench: dev-env
	$(BIN)/python benchmarks $(BENCH_ARGS)

env:
	@$(PYTHON) tools/setup_env.py --set $(ENV)

dev-env:
	@$(PYTHON) tools/setup_env.py --set $(ENV) --dev

clean:
	rm -rf .venv .venv-webui build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
