"""Text as a source: what is read, from files and pipes, whole or in pieces."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import ConfigError, SourceError, StateError
from edgeseq.sources import text
from edgeseq.sources.text import Text

SAMPLE = "Grüße, 世界 \U0001f600\r\nline two\n\n\ttab"


def read(source: Text) -> str:
    chunks = list(source)
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True] * bool(chunks)
    return "".join(chr(int(point)) for chunk in chunks for point in chunk.values[:, 0])


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_character_comes_as_it_is(tmp_path: Path) -> None:
    source = Text(path=written(tmp_path / "a.txt", SAMPLE), rate_hz=3, start="1970-01-01T00:00:01Z")
    assert source.spec.names == ("text",)
    assert read(source) == SAMPLE
    times = np.concatenate([chunk.t_ns for chunk in source])
    assert times.tolist() == [10**9 + i * 10**9 // 3 for i in range(len(SAMPLE))]
    assert "bytes from" in source.check()
    assert not source.dropped


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), st.integers(1, 7))
def test_blocks_of_any_size_split_no_character(
    tmp_path_factory: pytest.TempPathFactory, content: str, block: int
) -> None:
    path = written(tmp_path_factory.mktemp("text") / "a.txt", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", block)
        assert read(Text(path=path, rate_hz=1)) == content.removeprefix("\ufeff")


def test_bytes_that_are_not_utf8_are_replaced_and_counted(tmp_path: Path) -> None:
    source = Text(path=written(tmp_path / "a.txt", b"a\xff\xc3(\xe4\xb8"), rate_hz=1)
    assert read(source) == "a\ufffd\ufffd(\ufffd\ufffd"
    assert source.dropped == {"not_utf8": 4}
    assert read(Text(path=written(tmp_path / "b.txt", "a\ufffd"), rate_hz=1)) == "a\ufffd"


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_a_text_of_nothing_gives_nothing(tmp_path: Path, content: bytes) -> None:
    assert list(Text(path=written(tmp_path / "a.txt", content), rate_hz=1)) == []


class Piped:
    """Standard input as a pipe that the test writes into."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, self.writer = os.pipe()
        self._file = os.fdopen(reader, "r", encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", self._file)

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Piped(monkeypatch)
    yield made
    made.close()


def test_what_is_piped_in_comes_at_once(piped: Piped) -> None:
    source = Text(rate_hz=10)
    assert "standard input" in source.check()
    assert not source.replays
    with pytest.raises(StateError, match="standard input is not read twice"):
        source.set_state({"chunks": 1, "bytes": 0, "start_ns": 0})
    chunks = iter(source)
    os.write(piped.writer, "gr\xfc".encode()[:-1])
    assert next(chunks).values[:, 0].tolist() == [ord("g"), ord("r")]
    os.write(piped.writer, "\xfc\n".encode()[1:])
    later = next(chunks)
    assert later.values[:, 0].tolist() == [0xFC, ord("\n")]
    assert later.t_ns.tolist() == [2 * 10**8, 3 * 10**8]
    os.close(piped.writer)
    end = next(chunks)
    assert end.last
    assert later.state is end.state is None
    assert len(end.t_ns) == 0


def test_close_ends_the_wait_for_what_is_piped_in(piped: Piped) -> None:
    source = Text(rate_hz=10)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(source), daemon=True)
    thread.start()
    source.close()
    thread.join(30)
    assert not thread.is_alive()
    assert found == []
    os.close(piped.writer)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        Text(path=tmp_path / "none.txt", rate_hz=1).check()
    with pytest.raises(ConfigError, match="there is no such file"):
        list(Text(path=tmp_path / "none.txt", rate_hz=1))
    with pytest.raises(SourceError, match="cannot be read"):
        list(Text(path=tmp_path, rate_hz=1))
    with pytest.raises(ConfigError, match=r"a text is one channel; 2 are named \(a, b\)"):
        Text(path=tmp_path, rate_hz=1, channels=["a", "b"])
    with pytest.raises(ConfigError, match="rate_hz must be above 0"):
        Text(path=tmp_path, rate_hz=0)
