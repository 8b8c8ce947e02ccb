"""What the command line does whatever the command: output that cannot be written, commands that are not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bundle

from edgeseq import bundle
from edgeseq.errors import BundleError
from edgeseq.verification import goldens

FULL = Path("/dev/full")


def edgeseq(*arguments: object, stdout: Path) -> tuple[int, str]:
    """Run the command in a process of its own and return its exit status and stderr."""
    with stdout.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "edgeseq.cli", *map(str, arguments)],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", ["--version", "inspect"])
def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, command: str) -> None:
    rest = [] if command == "--version" else [tiny_bundle.write(tmp_path / "b")]
    assert edgeseq(command, *rest, stdout=FULL) == (1, "edgeseq: the output: No space left on device.\n")


def test_goldens_that_are_no_archive_are_refused_without_bad_advice(tmp_path: Path) -> None:
    opened = bundle.read(tiny_bundle.write(tmp_path / "b"))
    (opened.path / bundle.GOLDENS).write_bytes(b"garbage")
    with pytest.raises(BundleError, match=r"holds no goldens \(it is no NumPy archive\)"):
        goldens.read(opened)


def test_a_command_without_its_extra_names_the_extra(tmp_path: Path) -> None:
    without = "import sys; sys.modules['onnx'] = None; from edgeseq.cli import main; sys.exit(main(['export', 'x']))"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "edgeseq: 'export' needs onnx, which is not installed: pip install 'edgeseq[export]'.\n"


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed_or_full_fail_nothing(tmp_path: Path, streams: str) -> None:
    """Not even what is said on stderr: an exit status is what it would be."""
    for arguments, status in (("--version", 0), ("check nothing.toml", 2)):
        command = f"{sys.executable} -m edgeseq.cli {arguments} {streams}"
        assert subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, check=False).returncode == status


def test_a_closed_stream_is_no_file_that_is_opened_later(tmp_path: Path) -> None:
    look = "from edgeseq import stdio; stdio.ready(); import os; print(os.open('f', os.O_CREAT), *os.listdir('.'))"
    command = f"{sys.executable} -c \"{look}; os.write(2, b'lost')\" <&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert int(done.stdout.split()[0]) > 2
    assert (tmp_path / "f").read_bytes() == b""


def test_any_name_can_be_written_to_any_terminal(tmp_path: Path) -> None:
    """Of a file that is no UTF-8, of a machine to a terminal that has ASCII alone; JSON stays JSON."""
    tiny_bundle.write(tmp_path / "b")
    (tmp_path / "data.csv").write_text("life\n10\n")
    config = tmp_path / os.fsdecode(b"h\xfctte.toml")
    tables = '[source]\ntype = "csv"\npath = "data.csv"\n[model]\nbundle = "b"\n'
    config.write_text(f'name = "Säge"\n{tables}[[sinks]]\ntype = "stdout"\nformat = "json"\noutputs = true\n')

    def said(command: str, encoding: str) -> str:
        arguments = [sys.executable, "-m", "edgeseq.cli", command, config]
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        return subprocess.run(arguments, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout

    assert said("check", "utf-8:strict").startswith(f"{tmp_path}/h\\udcfctte.toml is right. The pipeline 'Säge'")
    for line in said("run", "ascii").splitlines():
        assert json.loads(line)["pipeline"] == "Säge"
