# `make demo` and `make test` set up everything they need; nothing has to be done before.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# The tests start hundreds of processes: none should compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# The first Python >= 3.11 that really runs (a version manager's shim may exist and fail).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
WHOLLY_COVERED = shipper/core/*,shipper/services/*,shipper/journal/*,shipper/ports.py
# Half of the tests wait for something most of the time.
WORKERS ?= $$(( 2 * $$(nproc) ))
PYTEST = $(BIN)/python -m pytest -q --dist worksteal -n $(WORKERS)
MEASURED = $(if $(COVERAGE),--cov --cov-append --cov-report=)
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

NOT_INSTALLED = { echo "Not installed: see above. pip needs a network, or a mirror that pip.conf names."; exit 1; }

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "No Python >= 3.11 found. Install python3 (Debian 12: apt-get install python3 python3-venv)."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing (Debian: apt-get install python3-venv)."; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shipper for the demo into $(VENV) (one or two minutes)"
	@$(PIP) --editable '.[crt,demo]' || $(NOT_INSTALLED)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shipper and its tests into $(VENV) (one or two minutes)"
	@$(PIP) --editable '.[test]' || $(NOT_INSTALLED)
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shipper's tools into $(VENV) (one or two minutes)"
	@$(PIP) --editable '.[dev]' || $(NOT_INSTALLED)
	@touch $@ $(VENV)/.test $(VENV)/.demo

.PHONY: demo demo-systemd demo-container docs test test-system test-all check lint coverage covered \
	soak bench bench-quick format deb clean help

demo: $(VENV)/.demo ## the whole story on this machine
	@$(BIN)/shipper demo $(ARGS)

demo-systemd: $(VENV)/.test ## the same on a machine that boots, is rebooted and loses power; as root
	@$(BIN)/python -m pytest -q -m slow --no-header -rs $(ARGS) tests/packaging/test_on_systemd.py

demo-container: $(VENV)/.test ## the container image, built and run without a registry; as root
	@$(BIN)/python -m pytest -q -m slow --no-header -rs $(ARGS) tests/packaging/test_container.py

test: $(VENV)/.test ## the test suite, on any machine; with COVERAGE=yes it also counts the lines
	@$(if $(COVERAGE),rm -f .coverage .coverage.*)
	@$(PYTEST) $(MEASURED) $(ARGS)

test-system: $(VENV)/.test ## the tests with real logrotate, nginx, rsyslog, systemd tools and so on, and the long ones
	@$(PYTEST) $(MEASURED) -m 'system and not slow' $(ARGS)

docs: $(VENV)/.demo ## the tables of docs/configuration.md, from the classes that hold the keys
	@$(BIN)/python -m shipper.config.reference docs/configuration.md

lint: $(VENV)/.dev ## format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

covered: $(VENV)/.test ## hold what was counted to its bounds
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='$(WHOLLY_COVERED)'

coverage: ## both suites, measured together
	@$(MAKE) --no-print-directory test COVERAGE=yes
	@$(MAKE) --no-print-directory test-system COVERAGE=yes
	@$(MAKE) --no-print-directory covered

check: ## everything a change must pass
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory coverage

test-all: ## the test suite on every supported Python that is installed, also by pyenv or uv
	@for version in 3.11 3.12 3.13 3.14; do \
		found=; \
		for python in $$(type -P python$$version) \
			"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python \
			"$${UV_PYTHON_INSTALL_DIR:-$$HOME/.local/share/uv/python}"/cpython-$$version.*/bin/python3; do \
			if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; done; \
		if [ -z "$$found" ]; then echo "Python $$version is not installed: skipped"; continue; fi; \
		if [ $$version = 3.14 ] && \
			! PIP_ONLY_BINARY=:all: $(MAKE) --no-print-directory PYTHON="$$found" VENV=.venv-3.14 .venv-3.14/.test; \
		then echo "Python 3.14: not everything that is needed has a wheel: skipped"; continue; fi; \
		echo "Python $$version: $$found"; \
		$(MAKE) --no-print-directory test PYTHON="$$found" VENV=.venv-$$version; done

soak: $(VENV)/.test ## the long tests
	@$(BIN)/python -m pytest -q -m slow --timeout 1800 -o log_cli=true $(ARGS)

bench: $(VENV)/.test ## how fast it is beside others, as ratios
	@$(BIN)/python -m tests.performance $(ARGS)

bench-quick: $(VENV)/.test ## the same on less work, in one round
	@$(BIN)/python -m tests.performance --quick $(ARGS)

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

deb: ## a Debian package for this release, in dist/
	@systemd/deb/build.sh $(ARGS)

clean: ## remove environments and caches
	@rm -rf .venv .venv-* .bench .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
