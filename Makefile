# Every target makes its own virtual environment from a bare python3 (Debian without python3-venv gets it from apt).
.PHONY: setup azurite check test demo bench bench-quick docs fmt release
PYTHON ?= python3
BIN := .venv/bin

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml setup.py src/driftline/kernels/_native.c src/driftline/dataset/_captured.c
	$(PYTHON) -m venv .venv || { rm -rf .venv; apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv .venv; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	sync  # so that what follows does not wait for the disk to take in the installation
	touch $@

azurite: .azurite/ready  ## Azure's storage, emulated, for the tests

.azurite/ready:
	npm install --prefix .azurite --no-audit --no-fund --silent azurite@3.37.0
	touch $@

check: setup  ## style, types, floors, examples in docstrings, laws
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto src tests/laws

test: check  ## everything that must be true
	$(BIN)/pytest -q -n auto -m "not spark" tests --ignore tests/laws
	$(BIN)/pytest -q -m spark tests

demo: setup  ## the main job on real data, in under two minutes
	$(BIN)/driftline demo --output demo

bench: setup  ## speed and memory, side by side with the raw limits and the peers
	$(BIN)/python bench/all.py

bench-quick: setup  ## the same on small data, in under five minutes once the peers are installed
	$(BIN)/python bench/all.py --quick

docs: setup  ## run the examples in the documentation
	$(BIN)/pytest -q tests/docs src

fmt: setup
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix src tests bench

release: test
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
