"""`make test-fuzz`: a fuzzer guided by coverage (atheris) on all that takes bytes from a device, then on the C side.

What must hold of any bytes stands in fuzz_targets.py. All inputs that the fuzzer found worth keeping then go to the C
side, built with sanitizers: it must refuse the very same pieces.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import wire_errors
import wired_device

import firmware_bridge as wire
from firmware_bridge import framing, simulator

TARGETS = Path(__file__).parent / "fuzz_targets.py"


def seeds(corpus: Path) -> None:
    """Begin with what devices and hosts say, as bytes and as contents, and with lines."""
    corpus.mkdir()
    frames = [*wire_errors.real_frames(40), wire_errors.host_bytes()]
    for number, frame in enumerate(frames):
        (corpus / f"pieces-{number}").write_bytes(b"\0\x40" + frame * 2)
        (corpus / f"contents-{number}").write_bytes(b"\1" + (framing.unseal(frame[:-1]) or b"")[1:])
        (corpus / f"connection-{number}").write_bytes(b"\2" + (framing.unseal(frame[:-1]) or b"")[1:] * 3)
    for number, line in enumerate((b"1,2\r\n", b'{"a": {"b": 1e3}}\n', b"x a=1 y\n")):
        (corpus / f"text-{number}").write_bytes(b"\3" + bytes((number,)) + line * 2)


def replay(corpus: Path) -> int:
    """Give both sides all inputs, each behind a zero; return how many there were."""
    inputs = [path.read_bytes() for path in sorted(corpus.iterdir())]
    raw = b"".join(b"\0" + data + b"\0" for data in inputs)
    host = b"".join(piece + b"\0" for piece in raw.split(b"\0") if framing.unseal(piece) is None)
    decoder = wire.Decoder()
    assert decoder.feed(b"\0" + host + b"\0") == []
    program = simulator.build(wired_device.BUILT, wired_device.STRICT)
    counters = wired_device.counted(program, b"\0" + host + b"\0")
    assert (counters.damaged, counters.unknown) == (decoder.stats.damaged, 0)
    return len(inputs)


def main() -> int:
    """Fuzz in a process of its own, then replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="another one looks elsewhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        seeds(corpus)
        began = len(list(corpus.iterdir()))
        command = [sys.executable, TARGETS, corpus, str(given.seconds), str(given.seed)]
        done = subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"})
        if done.returncode:
            for found in Path(folder).glob("*-*"):
                sys.stderr.write(f"{found.name}: {found.read_bytes()!r}\n")
            return 1
        sys.stdout.write(f"{replay(corpus)} inputs on both sides, {began} of them to begin with\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
