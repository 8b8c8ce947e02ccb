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

.PHONY: help demo test test-long test-crash test-legacy litert-cases check format constraints clean
