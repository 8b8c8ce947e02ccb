"""The commands as programs: exit status, what stands on stdout and stderr, files that appear whole or not at all."""

import csv
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import tiny_bundle
from broker import Broker

from edgeseq import cli
from edgeseq.pipeline import Pipeline, Summary
from edgeseq.recordings.record import Record
from edgeseq.types import About, Output

CONFIG = """\
name = "wear"
device = "press-4"
[source]
type = "csv"
path = "data.csv"
stream_column = "unit"
pace = {pace}
[model]
bundle = "bundle"
[decider]
type = "hysteresis"
direction = "below"
warning = 40
critical = 20
{rest}
"""
Write = Callable[..., Path]
STEPS = 60


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give a function that writes a configuration, its data and its bundle."""
    tiny_bundle.write(tmp_path / "bundle")
    rows = [f"{unit},{life - step}" for step in range(STEPS) for unit, life in (("A", 70), ("B", 100))]
    (tmp_path / "data.csv").write_text("\n".join(["unit,life", *rows]) + "\n")

    def write(pace: str = '"fast"', rest: str = "") -> Path:
        path = tmp_path / "pipeline.toml"
        path.write_text(CONFIG.format(pace=pace, rest=rest))
        return path

    return write


def edgeseq(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_run_writes_events_and_ends(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = edgeseq(capsys, "run", write(), "--log", "text")
    assert status == 0
    assert [line.split()[1:3] for line in out.splitlines()] == [["A", "warning"], ["A", "critical"]]
    assert "wear on press-4: done" in err
    assert "120 samples" in err


def test_run_logs_which_variant_runs_on_which_backend(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert cli.main(["run", str(write())]) == 0
    assert "wear on press-4 starts: leaky-average, float32 on ort" in caplog.text


def test_run_json_is_one_document(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = edgeseq(capsys, "run", write(), "--json")
    document = json.loads(out)
    assert status == 0
    assert document["events"] == {"raised": 1, "updated": 1}
    assert document["levels"] == {"critical": 1, "ok": 1}
    assert (document["samples"], document["frames"], document["outputs"], document["streams"]) == (120, 120, 120, 2)
    assert document["stopped"] is False


def test_run_reaches_a_real_broker(write: Write, mosquitto: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    lines = mosquitto.watch("edgeseq/press-4/wear/+/event")
    status, out, _ = edgeseq(capsys, "run", write(rest=f'[[sinks]]\ntype = "mqtt"\nport = {mosquitto.port}'), "--json")
    seen = [json.loads(line.split(" ", 3)[3]) for line in lines(lambda seen: len(seen) >= 2)]
    assert [event["level"] for event in seen] == ["warning", "critical"]
    assert (status, json.loads(out)["dropped"]) == (0, {"decider.warming": 16})


def test_without_a_broker_events_wait_for_the_next_run(
    write: Write, mosquitto: Broker, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(rest=f'[[sinks]]\ntype = "mqtt"\nhost = "127.0.0.1"\nport = {mosquitto.port}\ndrain_s = 0.1')
    mosquitto.stop()
    status, out, _ = edgeseq(capsys, "run", config)
    assert (status, out) == (0, "")
    assert f"the MQTT broker at 127.0.0.1:{mosquitto.port} cannot be reached" in caplog.text
    assert "2 events wait in the outbox for the next start" in caplog.text
    mosquitto.start()
    lines = mosquitto.watch("edgeseq/+/+/+/event")
    assert edgeseq(capsys, "run", write(rest=f'[[sinks]]\ntype = "mqtt"\nport = {mosquitto.port}'))[0] == 0
    seen = [json.loads(line.split(" ", 3)[3]) for line in lines(lambda seen: len(seen) >= 4)]
    assert len({event["event_id"] for event in seen}) == 2, "the data ended, so that the second run says the same again"
    assert sorted(event["stream_sequence"] for event in seen) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_run_in_good_order(write: Write, mosquitto: Broker, number: signal.Signals) -> None:
    lines = mosquitto.watch("edgeseq/#")
    config = write(pace='"real-time"', rest=f'[[sinks]]\ntype = "mqtt"\nport = {mosquitto.port}')
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeseq.cli", "run", str(config), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines(lambda seen: any("/A/state" in line for line in seen))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["stopped"] is True
    assert "Traceback" not in err
    lines(lambda seen: '"status":"offline"' in seen[-1])


def test_check_says_what_would_happen(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(rest='[[sinks]]\ntype = "mqtt"\nhost = "no-such-broker.invalid"')
    status, out, err = edgeseq(capsys, "check", config)
    assert (status, err) == (0, "")
    for part in (
        "pipeline 'wear' on 'press-4'",
        "120 rows of 2 streams",
        "leaky-average 1.0.0 (float32 on ort)",
        "judges rul in cycles by the configured hysteresis (direction = below, warning = 40, critical = 20)",
        "publishes to no-such-broker.invalid:1883 with MQTT 5",
        "keeps no checkpoint: a restart begins anew",
    ):
        assert part in out
    status, out, _ = edgeseq(capsys, "check", config, "--json")
    document = json.loads(out)
    assert (status, document["ok"], document["device"]) == (0, True, "press-4")
    assert document["would"][0].startswith("reads 1 channels at 1 Hz")


def test_check_says_where_a_model_ends(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write()
    said = "more than 50 frames without a gap that resets it"
    assert said not in edgeseq(capsys, "check", config)[1]
    tiny_bundle.write(tmp_path / "ending", max_steps=50)
    config.write_text(config.read_text().replace('"bundle"', '"ending"'))
    assert said in edgeseq(capsys, "check", config)[1]
    status, _, err = edgeseq(capsys, "replay", config, "--output", tmp_path / "out.jsonl")
    assert status == 1
    assert "the model is made for 50 frames from a reset" in err


def test_a_model_that_may_begin_anew_does_so_at_its_end(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write()
    tiny_bundle.write(tmp_path / "ending", max_steps=50, reset="gap")
    config.write_text(config.read_text().replace('"bundle"', '"ending"'))
    assert "lets a stream's model begin anew behind 50 frames, as behind a gap" in edgeseq(capsys, "check", config)[1]
    status, out, _ = edgeseq(capsys, "replay", config, "--output", tmp_path / "out.jsonl", "--json")
    assert status == 0
    assert json.loads(out)["dropped"]["model.max_steps"] == 2 * ((STEPS - 1) // 50), "of two streams"


def test_check_finds_what_is_not_right(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write()
    (tmp_path / "data.csv").write_text("unit,lief\nA,1\n")
    status, _, err = edgeseq(capsys, "check", config)
    assert status == 2
    assert "has no column 'life'. Did you mean 'lief'?" in err
    (tmp_path / "data.csv").write_text("")
    assert edgeseq(capsys, "check", config)[0] == 1
    (tmp_path / "bundle" / "step.float32.onnx").write_bytes(b"x")
    status, _, err = edgeseq(capsys, "check", config)
    assert status == 1
    assert "is not what was exported" in err
    assert edgeseq(capsys, "check", tmp_path / "absent.toml")[0] == 2


def replayed(write: Write, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> Path:
    output = tmp_path / f"out{ending}"
    status, out, _ = edgeseq(capsys, "replay", write(pace='"real-time"'), "--output", output, "--json")
    document = json.loads(out)
    assert (status, document["output"], document["outputs"]) == (0, str(output), 120)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    return output


def test_replay_gives_the_same_outputs_in_every_format(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in replayed(write, tmp_path, ".jsonl", capsys).read_text().splitlines()]
    outputs = [line for line in lines if line["type"] == "output"]
    assert [line["level"] for line in lines if line["type"] == "event"] == ["warning", "critical"]
    with replayed(write, tmp_path, ".csv", capsys).open() as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(replayed(write, tmp_path, ".parquet", capsys)).to_pydict()
    assert list(table) == list(rows[0]) == ["t_ns", "stream", "level", "warming", "rul"]
    h = {"A": np.float32(0), "B": np.float32(0)}
    for place, (output, row) in enumerate(zip(outputs, rows, strict=True)):
        stream, life = "AB"[place % 2], (70, 100)[place % 2] - place // 2
        h[stream] = np.float32(0.5) * h[stream] + np.float32(0.5) * np.float32(life)
        assert np.float32(row["rul"]) == np.float32(output["values"]["rul"]) == table["rul"][place] == h[stream]
        assert row["stream"] == output["stream"] == table["stream"][place] == stream
        assert int(row["t_ns"]) == output["t_ns"] == table["t_ns"][place] == place // 2 * 10**9
        assert row["level"] == output["level"] == table["level"][place]
        assert bool(int(row["warming"])) == output["warming"] == table["warming"][place] == (place < 16)


def test_replay_of_another_file(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "sub" / "other.csv"
    other.parent.mkdir()
    other.write_text("unit,life\nZ,5\n")
    output = tmp_path / "out.csv"
    assert edgeseq(capsys, "replay", write(), "--input", other, "--output", output)[0] == 0
    assert output.read_text().splitlines() == ["t_ns,stream,level,warming,rul", "0,Z,ok,1,2.5"]


def test_a_replay_that_fails_leaves_the_old_file(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = write(), tmp_path / "out.csv"
    output.write_text("the old one")
    with (tmp_path / "data.csv").open("a") as file:
        file.write("A,oops\n")
    status, _, err = edgeseq(capsys, "replay", config, "--output", output)
    assert status == 1
    assert "line 122, column 'life': 'oops' is not a number" in err
    assert output.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "data.csv", "out.csv", "pipeline.toml"]


def test_the_file_that_is_read_is_never_written(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert edgeseq(capsys, "replay", config, "--output", "../data.csv")[0] == 2


def test_replay_of_another_format(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write()
    config.write_text(config.read_text().replace('path = "data.csv"', 'path = "data.csv"\ndelimiter = ","'))
    plain, other = tmp_path / "plain.jsonl", tmp_path / "other.jsonl"
    assert edgeseq(capsys, "replay", config, "--output", plain)[0] == 0
    pq.write_table(pacsv.read_csv(tmp_path / "data.csv"), tmp_path / "data.parquet")
    status = edgeseq(capsys, "replay", config, "--input", tmp_path / "data.parquet", "--output", other)[0]
    assert (status, other.read_text()) == (0, plain.read_text())


def test_a_replay_that_is_stopped_writes_nothing(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Pipeline.run

    def stopped(pipeline: Pipeline) -> Summary:
        pipeline.stop()
        return whole(pipeline)

    monkeypatch.setattr(Pipeline, "run", stopped)
    status, _, err = edgeseq(capsys, "replay", write(), "--output", tmp_path / "out.csv")
    assert status == 1
    assert "was not written" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "data.csv", "pipeline.toml"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--output", "out.xlsx"], 2, "the ending tells the format"),
        (["--output", "out.csv", "--input", "absent.csv"], 2, "--input: absent.csv: there is no such file"),
        (["--output", "no-such-folder/out.csv"], 1, "cannot be written: No such file"),
        (["--output", "data.csv"], 2, "is the file that is read"),
        (["--output", "link.csv"], 2, "is the file that is read"),
    ],
)
def test_replay_arguments_that_are_wrong(  # noqa: PLR0917 - fixtures
    write: Write,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = write()
    (tmp_path / "link.csv").symlink_to(tmp_path / "data.csv")
    monkeypatch.chdir(tmp_path)
    found, out, err = edgeseq(capsys, "replay", config, *arguments)
    assert (found, out) == (status, "")
    assert message in err


def test_a_column_named_like_ours_is_told_apart(tmp_path: Path) -> None:
    for ending in (".csv", ".parquet"):
        record = Record(tmp_path / f"x{ending}")
        record.open(About("d", "p", names=("level", "y")))
        record.output(Output(1, "s", np.array([1.5, np.nan], np.float32)), "ok")
        record.close()
        record.keep()
    header, row = (tmp_path / "x.csv").read_text().splitlines()
    assert header == "t_ns,stream,level,warming,level_output,y"
    assert row == "1,s,ok,0,1.5,nan"
    assert pq.read_table(tmp_path / "x.parquet").column_names == header.split(",")


ON_A_FULL_DISK = """
import resource, sys
from edgeseq import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("steps", [60, 20_000])
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(write: Write, tmp_path: Path, ending: str, steps: int) -> None:
    config, output = write(), tmp_path / f"out{ending}"
    (tmp_path / "data.csv").write_text("unit,life\n" + "A,70\n" * steps)
    # A limit on the size of files acts as a full disk does: at a write, or only at the close that empties the buffer.
    command = [sys.executable, "-c", ON_A_FULL_DISK, "replay", str(config), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"out{ending}: cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "data.csv", "pipeline.toml"]


@pytest.mark.parametrize("command", ["run", "check", "replay"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    said: Any = capsys.readouterr().out
    assert f"edgeseq {command} pipeline.toml" in said
    assert "Exit status" in said


def test_usage_errors_are_status_2() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay"])
    assert ended.value.code == 2
