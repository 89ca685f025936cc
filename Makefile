# `make run` and `make test` do all the set-up themselves. `make help` lists the rest.

PYTHON := .venv/bin/python
VAULT ?=
MOUNTPOINT ?=
WEBDAV ?=
SUITES ?=
PYTEST_ARGUMENTS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-all lint types layers bench conformance build clean setup-run setup-test

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: setup-run ## make a drive, mount it and serve it (VAULT=dir MOUNTPOINT=dir WEBDAV=host:port)
	@exec .venv/bin/cryptdrive quickstart \
		$(if $(VAULT),--vault "$(VAULT)") \
		$(if $(MOUNTPOINT),--mountpoint "$(MOUNTPOINT)") \
		$(if $(WEBDAV),--webdav "$(WEBDAV)")

test: lint types layers ## all checks and every fast test
	$(PYTHON) -m pytest -n 2 -m "not slow" $(PYTEST_ARGUMENTS)

test-all: lint types layers ## the long tests too
	$(PYTHON) -m pytest -n 2 $(PYTEST_ARGUMENTS)

lint: setup-test ## style
	$(PYTHON) -m ruff check --quiet
	$(PYTHON) -m ruff format --check --quiet

types: setup-test ## mypy, strict
	$(PYTHON) -m mypy --no-error-summary

layers: setup-test ## who may import whom
	@.venv/bin/lint-imports >.venv/layers.log 2>&1 || { cat .venv/layers.log; exit 1; }

bench: setup-test ## figures, on this machine
	@set -e; for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(PYTHON) -m "benchmarks.$$(basename "$$script" .py)"; done

conformance: setup-test ## public test suites on a mounted drive (SUITES=dir with the built suites)
	@test -d "$(SUITES)" || { echo "usage: make conformance SUITES=dir" >&2; exit 2; }
	CRYPTDRIVE_SUITES="$(abspath $(SUITES))" $(PYTHON) -m pytest tests/conformance $(PYTEST_ARGUMENTS)

build: setup-test ## a wheel and a source archive in dist/
	$(PYTHON) -m build

clean: ## remove what was built and the virtual environment
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find cryptdrive tests benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +

setup-run:
	@scripts/setup.sh run

setup-test:
	@scripts/setup.sh test
