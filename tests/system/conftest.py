"""One booted Debian for all tests, edgeseq in it as a user installs it, and a pipeline as its service."""

from __future__ import annotations

import os
from collections.abc import Iterator

import machine
import pytest
from installed import Service
from machine import Machine


@pytest.fixture(scope="session")
def debian() -> Iterator[Machine]:
    """Give a booted Debian with edgeseq in /opt/edgeseq."""
    lacking = machine.missing()
    if lacking and os.environ.get("EDGESEQ_REQUIRE_DEBIAN") == "1":
        pytest.fail(f"EDGESEQ_REQUIRE_DEBIAN=1, and no system can be booted here: {lacking}")
    if lacking:
        pytest.skip(f"no system can be booted here: {lacking}")
    debian = machine.made()
    try:
        debian.boot()
        debian.run("python3", "-m", "venv", "/opt/edgeseq")
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt/wheels", "PIP_QUIET": "1"}
        debian.run("/opt/edgeseq/bin/pip", "install", "edgeseq[serial]", "edgeseq-stuck", **wheels)
        yield debian
    finally:
        debian.end()


@pytest.fixture
def pump(debian: Machine) -> Iterator[Service]:
    """Give a service that is installed, ready and as if never troubled before."""
    service = Service(debian, "pump")
    service.forget()
    service.configure()
    service.install()
    yield service
    service.recover()
