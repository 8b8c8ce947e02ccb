"""Fixtures of the outbox's tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import MEMORY


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give an empty folder in memory that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)
