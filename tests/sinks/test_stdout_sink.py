"""Lines on standard output, for people and for programs."""

import json

import numpy as np
import pytest

from edgeseq.errors import ConfigError
from edgeseq.sinks import _payload
from edgeseq.sinks.stdout import Stdout
from edgeseq.types import About, Event, Output

ABOUT = About("d", "p", "m", "1", ("rul", "wear"), "cycles", score=1)
EVENT = Event("raised", "7@5", 0, "7", "warning", 1, 40.5, 1_767_225_601_000_000_001)
OUTPUT = Output(0, "7", np.array([1.5, np.nan], np.float32), warming=True)


def written(sink: Stdout, capsys: pytest.CaptureFixture[str]) -> list[str]:
    sink.open(ABOUT)
    sink.event(EVENT)
    sink.output(OUTPUT, "warning")
    sink.end("7")
    sink.close()
    return capsys.readouterr().out.splitlines()


def test_text_is_events(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(Stdout(), capsys) == [
        "2026-01-01T00:00:01.000000001Z  7  warning   alert raised at 40.5 cycles  (7@5-0)"
    ]


def test_text_with_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(Stdout(outputs=True), capsys)[1] == (
        "1970-01-01T00:00:00.000000000Z  7  warning   rul=1.5 cycles  wear=nan cycles  (warming)"
    )


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    event, output = map(json.loads, written(Stdout(format="json", outputs=True), capsys))
    assert event == {"type": "event", **_payload.event(ABOUT, EVENT)}
    assert output["type"] == "output"
    assert output["values"] == {"rul": 1.5, "wear": None}
    assert output["score"] is None, "the value that decides is not a number"


def test_a_wrong_format() -> None:
    with pytest.raises(ConfigError, match="'text' or 'json'"):
        Stdout(format="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("t_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_times(t_ns: int, expected: str) -> None:
    assert _payload.iso_utc(t_ns) == expected
