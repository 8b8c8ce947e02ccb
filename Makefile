# Everything happens in the project's own .venv; nothing outside this folder is touched, no root is needed.
# The stamp files say which install .venv has had; they are older than pyproject.toml or constraints.txt when it is due.

PYTHON ?= python3
ARGS ?=
# One process a core; whatever waits goes to who is idle. ARGS='-n 0' puts an end to it, which a debugger may need.
PARALLEL := -n auto --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SHELL := /bin/sh
# tflite-runtime's last version has wheels up to Python 3.11 and is bound to numpy 1.
LEGACY_PYTHON ?= python3.11
LEGACY := .venv-legacy
# Somebody else's model that tests run; of its package the files alone are needed, not the libraries it asks for.
MODELS := silero-vad

.PHONY: help demo test test-long test-crash test-legacy test-system test-fuzz litert-cases check format constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         install the runtime (no PyTorch) and watch turbofan engines wear out; ARGS='--speed 4'"
	@echo "make test         install everything, then check and test; ARGS='-k export' for pytest, ARGS='-n 0' in one process"
	@echo "make test-long    the proofs that take minutes: every family of models as TFLite, training commands, random damage"
	@echo "make test-fuzz    a fuzzer guided by coverage on what comes over the wire; ARGS='--seconds 600 --seed 2'"
	@echo "make test-legacy  run the tests of TFLite files on tflite-runtime 2.14, in $(LEGACY) (Python 3.11)"
	@echo "make test-system  boot a Debian 12 with systemd in a container and try edgeseq there as a service (root; 4 minutes)"
	@echo "make test-crash   kill what is written to disk 1,000 times, the power cut under it, and a pipeline 40 times"
	@echo "make check        ruff, formatting and mypy only"
	@echo "make format       let ruff format the code and fix what it can"
	@echo "make constraints  pin the newest versions of everything but torch (constraints.txt)"
	@echo "make clean        remove the environments, caches and builds"

demo: $(VENV)/.demo
	@$(BIN)/edgeseq demo --report out/demo.html $(ARGS)

test: check
	$(BIN)/python -m pytest -m "not long" --ignore=tests/system $(PARALLEL) $(ARGS)

test-long: $(VENV)/.dev litert-cases
	EDGESEQ_LITERT_CASES=build/litert $(BIN)/python -m pytest -m long $(PARALLEL) $(ARGS)

test-system: $(VENV)/.dev
	$(BIN)/python -m pytest -n 0 tests/system $(ARGS)

# The tests that kill, each with as many kills as takes a minute.
test-crash: $(VENV)/.dev
	EDGESEQ_KILLS=1000 $(BIN)/python -m pytest tests/outbox/test_power_cuts.py tests/service/test_checkpoint_power.py $(ARGS)
	EDGESEQ_KILLS=40 $(BIN)/python -m pytest tests/service/test_killed.py $(ARGS)

test-fuzz: $(VENV)/.dev
	@$(PIP) --editable '.[fuzz]'
	PYTHONPATH=.:tests $(BIN)/python tests/firmware_bridge/fuzz_wire.py $(ARGS)

# The exporter writes what there is to run; the other environment has tflite-runtime and no exporter.
test-legacy: $(VENV)/.dev $(LEGACY)/.made litert-cases
	EDGESEQ_LITERT_CASES=build/litert $(LEGACY)/bin/python -m pytest tests/backends/test_litert.py tests/stages/test_foreign_tflite.py $(ARGS)

litert-cases: $(VENV)/.dev
	@rm -rf build/litert
	PYTHONPATH=.:tests/export $(BIN)/python tests/backends/litert_cases.py build/litert

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "edgeseq needs Python 3.11 or newer; '$(PYTHON)' is missing or older. Choose one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make a virtual environment. On Debian: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the runtime into $(VENV) (once; about 200 MB) ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

# What the tests install contains what the demo installs, so both stamps are set.
$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the runtime, export and the test tools into $(VENV) (once; about 1.5 GB with PyTorch) ..."
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps $(MODELS)
	@touch $(VENV)/.demo $@

$(LEGACY)/.made: pyproject.toml constraints.txt
	@$(LEGACY_PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "tflite-runtime 2.14 needs Python 3.11. Say where it is: make test-legacy LEGACY_PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	@$(LEGACY_PYTHON) -m venv $(LEGACY)
	@mkdir -p build
	@grep -v -E '^(numpy|rocket-fft)==' constraints.txt > build/legacy.txt
	@$(LEGACY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint build/legacy.txt \
	  --editable '.[tflite-legacy]' pytest pytest-xdist
	@touch $@

constraints:
	rm -rf build/pins && $(PYTHON) -m venv build/pins
	grep '^torch==' constraints.txt > build/pins/torch.txt
	build/pins/bin/python -m pip install --quiet --constraint build/pins/torch.txt --editable '.[dev,fuzz]'
	build/pins/bin/python -m pip install --quiet --no-deps $(MODELS)
	{ grep '^#' constraints.txt; \
	  build/pins/bin/python -m pip freeze --all --exclude pip --exclude edgeseq --exclude-editable | sed 's/+cpu$$//'; \
	} > build/pins/new.txt
	mv build/pins/new.txt constraints.txt
	rm -rf build/pins

clean:
	rm -rf $(VENV) $(LEGACY) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
