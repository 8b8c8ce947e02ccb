"""The C side: no warning, no library, the very bytes of the Python side, and safe whatever comes in."""

import re
import subprocess
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import wire_errors
import wired_device

import firmware_bridge as wire
from firmware_bridge import simulator

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
M0 = ("-mcpu=cortex-m0plus", "-mthumb", "-Os", "-ffreestanding")
C = simulator.C
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(wired_device.MISSING is not None, reason=str(wired_device.MISSING))


def told(raw: bytes) -> list[wire.Message]:
    decoder = wire.Decoder()
    messages = decoder.feed(raw)
    assert (decoder.stats.damaged, decoder.stats.unknown, decoder.stats.lost) == (0, 0, 0)
    return messages


@pytest.mark.parametrize("compiler", ["gcc", "arm-none-eabi-gcc"])
def test_not_a_warning_and_no_library(compiler: str, tmp_path: Path) -> None:
    if which(compiler) is None:
        pytest.skip(f"{compiler} is not installed; apt-get install gcc-arm-none-eabi")
    target = M0 if compiler != "gcc" else ("-O2",)
    made = tmp_path / "bridge.o"
    command = [compiler, *WARNINGS, *target, "-c", str(C / "edgeseq_bridge.c"), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    prefix = compiler.removesuffix("gcc")
    wanted = subprocess.run([f"{prefix}nm", "-u", made], capture_output=True, text=True, check=True).stdout
    # Of the compiler's own helpers a division of integers at most; nothing of floating point, no heap, no C library.
    assert set(re.findall(r"U (\w+)", wanted)) <= {"__aeabi_idiv", "__aeabi_uidiv", "_GLOBAL_OFFSET_TABLE_"}
    assert not re.search(r"^#include <(?!stdbool|stddef|stdint)", (C / "edgeseq_bridge.h").read_text(), re.MULTILINE)


def test_the_documented_size_is_what_the_compiler_says() -> None:
    if which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed; apt-get install gcc-arm-none-eabi")
    page = (ROOT / "docs" / "wire.md").read_text("utf-8")
    flash, ram = re.findall(r"(\d[\d,]*) bytes of flash and (\d+) bytes of RAM", page)[0]
    done = subprocess.run([C / "size.sh"], capture_output=True, text=True, check=True)
    says = re.findall(r"(\d+) bytes of flash, (\d+) bytes of RAM", done.stdout)[0]
    # Another compiler lays out the same code a little otherwise; RAM is what the structures have.
    assert int(says[0]) == pytest.approx(int(flash.replace(",", "")), rel=0.1)
    assert int(says[1]) == int(ram)


@pytest.mark.parametrize("name", ["arduino/vibration/vibration.ino", "pico/main.c"])
def test_the_examples_compile(name: str, tmp_path: Path) -> None:
    """Against headers that declare what their boards' own do: what they call of ours is right, and not a warning."""
    example = C / "examples" / name
    cpp = example.suffix == ".ino"
    stubs = Path(__file__).parent / "boards"
    command = ["g++" if cpp else "gcc", "-x", "c++" if cpp else "c", f"-I{C}", f"-I{stubs}", "-Wall", "-Wextra"]
    if which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed; apt-get install g++")
    done = subprocess.run(
        [*command, "-Wconversion", "-Werror", "-c", example, "-o", tmp_path / "x.o"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_device_says_who_it_is() -> None:
    raw = wired_device.recorded("--boot", "77", "--streams", "2", "--format", "int24", "--rate", "800", host=b"\0")
    assert raw.startswith(b"\0")
    hellos = [message for message in told(raw) if isinstance(message, wire.Hello)]
    assert [(hello.stream, hello.index) for hello in hellos] == [(s, c) for s in (0, 1) for c in (0, 1, 2)]
    first = hellos[0]
    assert (first.boot, first.rate, first.format, first.channels) == (77, Fraction(800), "int24", 3)
    assert (first.name, first.unit, first.scale) == ("c0", "g", Decimal("0.0000625"))


@pytest.mark.parametrize(
    ("form", "dtype", "times"), [("int16", np.int16, 1), ("int24", np.int32, 16), ("float32", np.float32, 1)]
)
def test_samples_arrive_as_they_were_taken(form: str, dtype: type, times: int) -> None:
    options = ("--format", form, "--signal", "ramp", "--autostart", "--count", "300", "--rows", "11")
    messages = [each for each in told(wired_device.recorded(*options)) if isinstance(each, wire.Samples)]
    values = np.concatenate([message.values for message in messages])
    wanted = np.arange(3300)[:, None] + 1000 * np.arange(3)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, (wanted * times).astype(dtype))
    # 11 samples at 1,000 Hz, of a clock of whole microseconds.
    assert set(np.diff([message.time_us for message in messages])) <= {10_999, 11_000, 11_001}


def test_both_sides_write_the_same_bytes() -> None:
    raw = wired_device.recorded("--autostart", "--count", "50", host=wire_errors.host_bytes())
    for piece in raw.split(b"\0"):
        if piece:
            (message,) = wire.Decoder().feed(piece + b"\0")
            assert wire.encode(message) == piece + b"\0"


def test_commands_are_obeyed() -> None:
    sent = [wire.Rate(rate=Fraction(500)), wire.Rate(rate=Fraction(1, 3)), wire.Ping(token=123), wire.Ask()]
    messages = told(wired_device.recorded("--channels", "1", host=b"".join(map(wire.encode, sent))))
    hellos, others = [m for m in messages if isinstance(m, wire.Hello)], messages
    assert [hello.rate for hello in hellos] == [1000, 500, 500, 500], "the second rate is not taken"
    pong = next(m for m in others if isinstance(m, wire.Pong))
    assert pong.token == 123
    assert 0 <= pong.time_us - pong.received_us < 1_000_000
    counters = next(m for m in others if isinstance(m, wire.Counters))
    assert (counters.damaged, counters.unknown, counters.dropped) == (0, 0, 0)
    assert counters.sent == len(messages) - 1


@pytest.mark.parametrize("wrong", wire_errors.WRONG, ids=str)
def test_each_check_is_one_on_the_device(wrong: dict[str, int]) -> None:
    assert [m.token for m in told(wired_device.recorded(host=wire_errors.ping())) if isinstance(m, wire.Pong)] == [7]
    messages = told(wired_device.recorded(host=b"\0" + wire_errors.ping(**wrong) + wire.encode(wire.Ask())))
    assert not [m for m in messages if isinstance(m, wire.Pong)]
    assert [m.damaged for m in messages if isinstance(m, wire.Counters)] == [1]


def test_every_error_of_one_bit_is_detected_on_the_device() -> None:
    frames = [piece + b"\0" for piece in wire_errors.host_bytes().split(b"\0")[:-1]]
    raw = b"".join(map(wire_errors.one_bit_wrong, frames))
    messages = told(wired_device.recorded(host=b"\0" + raw + b"\0" + wire.encode(wire.Ask())))
    (counters,) = [m for m in messages if isinstance(m, wire.Counters)]
    assert counters.unknown == 0
    assert counters.damaged > sum(8 * (len(frame) - 2) for frame in frames)
    assert not [m for m in messages if isinstance(m, wire.Pong)]


def test_nothing_is_taken_for_a_frame_on_the_device() -> None:
    """A share of what test_wire_at_length.py does with ten million; the sanitizers watch every access."""
    frames = [*wire_errors.real_frames(20), *(piece + b"\0" for piece in wire_errors.host_bytes().split(b"\0")[:-1])]
    blocks = wire_errors.wrong_frames(frames, np.random.default_rng(2), 50_000)
    raw = b"".join(block.data for block in blocks) + b"\0" + wire.encode(wire.Ask())
    messages = told(wired_device.recorded(host=raw))
    (counters,) = [m for m in messages if isinstance(m, wire.Counters)]
    assert counters.unknown == 0
    assert counters.damaged >= 45_000
    assert not [m for m in messages if isinstance(m, wire.Pong)]


@pytest.mark.parametrize(("before", "pongs"), [(b"", 0), (b"x", 1)])
def test_a_second_half_that_looks_like_a_frame_is_none_on_the_device(before: bytes, pongs: int) -> None:
    _, cut = wire_errors.cut_in_two()
    messages = told(wired_device.recorded(host=b"\0" + before + cut + b"\0"))
    assert len([m for m in messages if isinstance(m, wire.Pong)]) == pongs


@pytest.mark.parametrize("raw", [b"\xff" * 70_000, b"\1" * 70_000, b"\xfe" * 254 + b"\0" + b"\xff" * 255 + b"\0"])
def test_a_line_that_makes_no_sense_does_no_harm(raw: bytes) -> None:
    messages = told(wired_device.recorded(host=raw + b"\0" + wire.encode(wire.Ping(token=5))))
    assert [m.token for m in messages if isinstance(m, wire.Pong)] == [5]
