"""What the command line does whatever the command: output that cannot be written, commands that are not installed."""

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
