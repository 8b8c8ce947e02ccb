"""The command line: finds the command's file, loads nothing else, and turns our errors into one paragraph."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from importlib.metadata import entry_points
from types import ModuleType

from edgeseq.errors import ConfigError, EdgeseqError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "demo": "watch real machines wear out: bundled data, bundled model, embedded broker",
    "run": "run a pipeline as a service: source, model, alerts",
    "check": "validate a configuration without running it, and say what would happen",
    "replay": "run the same pipeline over recorded data as fast as it goes",
    "features": "make the feature frames that a model is trained on, by the code of the device",
    "export": "turn a trained sequence model into a bundle (needs the extra 'export')",
    "verify": "replay a bundle's golden frames here, on every variant and backend",
    "inspect": "say what a bundle is",
    "warmup": "compile the native engine's kernels for this machine ahead of time",
    "bridge": "microcontrollers on serial ports: list, watch, record, simulate",
    "service": "make a configuration a service of systemd",
    "doctor": "say what this machine has and lacks for running well",
