"""What `edgeseq run` says on stderr as lines of JSON: logs, errors, the summary, what nobody caught."""

import json
import logging
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle

from edgeseq import cli
from edgeseq.service import logs

CONFIG = """\
name = "wear"
device = "press-4"
[source]
type = "csv"
path = "data.csv"
[model]
bundle = "bundle"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    tiny_bundle.write(tmp_path / "bundle")
    (tmp_path / "data.csv").write_text("life\n" + "".join(f"{life}\n" for life in range(70, 0, -1)))
    (tmp_path / "pipeline.toml").write_text(CONFIG)
    return tmp_path / "pipeline.toml"


def run(config: Path, *arguments: str, code: str = "from edgeseq import cli") -> tuple[int, str]:
    """Run the command, after some code of another's; return its status and stderr."""
    script = f"import sys\n{code}\nsys.exit(cli.main(['run', {str(config)!r}, *sys.argv[1:]]))"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def parsed(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines()]


def test_every_line_is_json_and_says_when_how_grave_and_what(config: Path) -> None:
    before = datetime.now(UTC)
    status, err = run(config, "--verbose")
    lines = parsed(err)
    assert status == 0
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert before <= times[0] <= times[-1] <= datetime.now(UTC)
    assert {line["level"] for line in lines} == {"info"}
    (raised,) = [line for line in lines if line.get("kind") == "raised"]
    assert raised["logger"] == "edgeseq.pipeline"
    assert raised["event_id"] == f"stream@{raised['t_ns']}-0"
    assert raised["stream"] == ""
    assert "raised: warning at" in raised["message"]
    assert lines[-1]["message"].startswith("wear on press-4: done after")
    assert (lines[-1]["samples"], lines[-1]["outputs"]) == (70, 70)


def test_an_error_is_one_line_and_the_status_stays(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "data.csv").write_text("life\n1\nx\n")
    assert cli.main(["run", str(config)]) == 1
    (line,) = parsed(capsys.readouterr().err)
    assert (line["level"], line["error"]) == ("error", "SourceError")
    assert "line 3, column 'life': 'x' is not a number" in line["message"]
    config.write_text("name = 3")
    assert cli.main(["run", str(config)]) == 2
    (line,) = parsed(capsys.readouterr().err)
    assert line["error"] == "ConfigError"


def test_what_nobody_caught_is_one_line_with_its_traceback(config: Path) -> None:
    spoiled = "from edgeseq import cli, config\ndef load(path): raise ZeroDivisionError('so far')\nconfig.load = load"
    status, err = run(config, code=spoiled)
    (line,) = parsed(err)
    assert status == 1
    assert (line["level"], line["message"]) == ("critical", "ZeroDivisionError: so far")
    assert "Traceback" in line["exception"]


def test_a_person_reads_text(config: Path) -> None:
    status, err = run(config, "--log", "text")
    assert status == 0
    assert err.startswith("wear on press-4: done after")
    assert "70 samples" in err
    control, terminal = pty.openpty()
    try:
        process = subprocess.Popen([sys.executable, "-m", "edgeseq", "run", str(config)], stdout=-3, stderr=terminal)
        os.close(terminal)
        said = b""
        while not said.count(b"\n") > 3:
            said += os.read(control, 4096)
        assert process.wait(60) == 0
    finally:
        os.close(control)
    assert said.startswith(b"wear on press-4: done after")


def test_a_name_that_is_no_text_is_a_line_all_the_same() -> None:
    assert json.loads(logs.line("info", "stream \ud800", stream="\ud800"))["stream"] == "\ud800"


def test_what_json_lacks_is_text_and_an_exception_stays_in_its_line() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "levelname": "WARNING", "msg": "a\n%s", "args": ("b",), "where": Path("/c")}
    )
    try:
        raise KeyError("d")  # noqa: TRY301 - to have one
    except KeyError:
        record.exc_info = sys.exc_info()
    written = logs.JsonLines().format(record)
    assert "\n" not in written
    line = json.loads(written)
    assert (line["message"], line["level"], line["where"]) == ("a\nb", "warning", "/c")
    assert line["exception"].endswith("KeyError: 'd'")
