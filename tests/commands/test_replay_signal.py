"""A signal through the commands: sound file in, sound file out, whole or not at all."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_chains import ECHO, SPECTRAL, build, chain, signal

from edgeseq import cli
from edgeseq.errors import ConfigError, SinkError
from edgeseq.recordings.record import Record
from edgeseq.types import About, Chunk, Output, StreamSpec


def edgeseq(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("count", [5, 320, 333])
def test_sound_in_sound_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    model, x = chain(tmp_path, SPECTRAL), signal(count)
    soundfile.write(tmp_path / "x.wav", x, 16000, subtype="FLOAT")
    arguments = ("--input", tmp_path / "x.wav", "--output", tmp_path / "y.wav", "--json")
    status, out, err = edgeseq(capsys, "replay", tmp_path / "pipeline.toml", *arguments)
    assert status == 0, err
    y, rate = soundfile.read(tmp_path / "y.wav", dtype="float32")
    rows = np.concatenate([model.run(x), model.flush()])
    expected = rows[np.isfinite(rows[:, 0])][-((count + 7) // 8) :].ravel()[:count]
    assert rate == 16000
    np.testing.assert_array_equal(y, expected)
    document = json.loads(out)
    assert (document["samples"], document["dropped"]) == (count, {})


def test_check_says_what_the_stages_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, ECHO + '[output]\nunit = "V"\n')
    status, out, _ = edgeseq(capsys, "check", tmp_path / "pipeline.toml", "--json")
    document = json.loads(out)
    assert (status, document["bundle"]) == (0, None)
    would = "\n".join(document["would"])
    assert "state h from h_next (the only pairing that shapes and types allow), gain held at 3, x after 2" in would
    assert "gives 4 values a step: y_0, y_1, y_2, y_3" in would
    build(tmp_path, SPECTRAL)
    assert "a signal at 16000 Hz, 24 samples late" in edgeseq(capsys, "check", tmp_path / "pipeline.toml")[1]


def test_scores_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = '[decider]\ntype = "hysteresis"\ndirection = "above"\nwarning = 2.5\n'
    build(tmp_path, ECHO + more)
    soundfile.write(tmp_path / "in.wav", np.full(64, 0.5), 16000)
    status, out, _ = edgeseq(capsys, "run", tmp_path / "pipeline.toml", "--json")
    assert (status, json.loads(out)["events"]) == (0, {"raised": 1})
    arguments = ("--output", tmp_path / "y.wav")
    status, _, err = edgeseq(capsys, "replay", tmp_path / "pipeline.toml", *arguments)
    assert status == 2
    assert "gives no signal to write as sound" in err
    assert not (tmp_path / "y.wav").exists()


def test_a_model_that_gives_samples_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, x = chain(tmp_path, ECHO + '[output]\nkind = "signal"\n'), signal(403)
    soundfile.write(tmp_path / "in.wav", x, 16000, subtype="FLOAT")
    assert edgeseq(capsys, "replay", tmp_path / "pipeline.toml", "--output", tmp_path / "y.wav")[0] == 0
    whole = np.concatenate([x, np.zeros((1, 1), np.float32)])
    np.testing.assert_array_equal(
        soundfile.read(tmp_path / "y.wav", dtype="float32")[0], model.run(whole).ravel()[:403]
    )


def test_a_bad_input_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, SPECTRAL)
    samples = np.zeros(9000, np.float32)
    samples[8000] = np.nan
    soundfile.write(tmp_path / "in.wav", samples, 16000, subtype="FLOAT")
    status, _, err = edgeseq(capsys, "replay", tmp_path / "pipeline.toml", "--output", tmp_path / "y.wav")
    assert status == 1
    assert "sample 8000 is NaN" in err
    assert not [path for path in tmp_path.iterdir() if "y.wav" in path.name]


def record(path: Path, *outputs: Any, about: About) -> Record:
    made = Record(path)
    made.open(about)
    for stream, values in outputs:
        made.output(Output(0, stream, np.array(values, np.float32)), "ok")
    made.close()
    made.keep()
    return made


def test_what_is_not_finite(tmp_path: Path) -> None:
    about, nan = About("d", "p", signal_hz=8000.0), float("nan")
    rows = [("", [2.0, nan, -3.0]), ("", [nan, nan, nan]), ("", [0.5, nan, nan])]
    made = record(tmp_path / "a.wav", *rows, about=about)
    y, rate = soundfile.read(tmp_path / "a.wav")
    assert (y.tolist(), rate) == ([2.0, 0.0, -3.0, 0.0, 0.0, 0.0, 0.5], 8000)
    assert made.dropped == {"not_finite_sample": 4}


def test_a_sound_file_holds_one_signal(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="two streams: 'a', 'b'"):
        record(tmp_path / "a.wav", ("a", [1.0]), ("b", [1.0]), about=About("d", "p", signal_hz=8000.0))
    with pytest.raises(ConfigError, match="a whole number of samples a second"):
        record(tmp_path / "a.wav", about=About("d", "p", signal_hz=8000.5))


def test_a_gap_starts_the_signal_anew(tmp_path: Path) -> None:
    """What the model owes before a gap comes first, so that nothing of the signal is lost: both parts, whole."""
    config, x = build(tmp_path, SPECTRAL), signal(100)
    config.source.close()
    times = np.arange(100, dtype=np.int64) * 62_500
    chunks = [Chunk(times[:43], x[:43]), Chunk(times[43:], x[43:], gap=True, last=True)]
    sink = Record(tmp_path / "y.wav")
    given = dataclasses.replace(config, source=Listed(chunks, config.source.spec))
    assert given.pipeline(sinks=[sink]).run().gaps == 1
    sink.keep()
    expected = []
    for part in (x[:43], x[43:]):
        model = chain(tmp_path, SPECTRAL)
        rows = np.concatenate([model.run(part), model.flush()])[model.delay :]
        expected.append(rows.ravel()[: len(part)])
    y = soundfile.read(tmp_path / "y.wav", dtype="float32")[0]
    np.testing.assert_array_equal(y, np.concatenate(expected))


class Listed:
    """Chunks as a source."""

    def __init__(self, chunks: list[Chunk], spec: StreamSpec) -> None:
        self.chunks, self.spec, self.dropped = chunks, spec, dict[str, int]()

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.chunks)

    def close(self) -> None:
        """Nothing is open."""
