"""A record on a disk that fills up ends in one sentence, and nothing of it stays behind."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeseq.errors import SinkError
from edgeseq.record import Record
from edgeseq.types import About, Output

LIMIT = 4096


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond LIMIT bytes: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(record: Record, count: int) -> None:
    """Write `count` outputs and put the file in its place, as `edgeseq replay` does."""
    try:
        record.open(About(device="press-4", pipeline="wear", names=("rul",)))
        for t_ns in range(count):
            record.output(Output(t_ns, "A", np.zeros(1, np.float32)), "normal")
        record.close()
        record.keep()
    finally:
        record.discard()


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("count", [1000, 50_000])
def test_a_full_disk(tmp_path: Path, ending: str, count: int) -> None:
    with pytest.raises(SinkError, match="cannot be written: File too large"):
        write(Record(tmp_path / f"out{ending}"), count)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_the_same_outputs_on_a_disk_with_room(tmp_path: Path, ending: str) -> None:
    write(Record(tmp_path / f"out{ending}"), 1000)
    assert [path.name for path in tmp_path.iterdir()] == [f"out{ending}"]
