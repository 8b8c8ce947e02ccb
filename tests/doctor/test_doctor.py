"""`edgeseq doctor`: each part sees what is wrong, on machines made by hand where this one is well."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeseq.cli import main
from edgeseq.doctor import clock, limits, packages, ports, processor, storage, systemd
from edgeseq.doctor.finding import Finding


def only(found: Iterator[Finding], topic: str) -> Finding:
    (finding,) = [finding for finding in found if finding.topic == topic]
    return finding


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_part_speaks_and_a_well_machine_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    topics = {finding["topic"] for finding in document["findings"]}
    assert {
        "processor",
        "clock",
        "numba",
        "litert",
        "cache",
        "space",
        "real time",
        "locked memory",
        "systemd",
    } <= topics
    assert document["healthy"] is True
    assert main(["doctor"]) == 0
    assert "onnxruntime" in capsys.readouterr().out


def test_what_keeps_it_from_working_is_an_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGESEQ_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(storage.tempfile, "TemporaryFile", refused)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "X cache" in said
    assert "-> set EDGESEQ_CACHE" in said


def refused(dir: Path) -> None:  # noqa: A002 - its name in the standard library
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))


def test_the_clock_of_the_processor(tmp_path: Path) -> None:
    written(tmp_path / "proc/cpuinfo", "flags\t\t: fpu sse2\nFeatures\t: half\n")
    for cpu, governor in enumerate(("ondemand", "performance")):
        written(tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", f"{governor}\n")
    written(tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    found = [*processor.findings(tmp_path)]
    assert only(iter(found), "processor").level == "note"
    assert "ondemand, performance" in only(iter(found), "governor").says
    assert only(iter(found), "throttling").level == "note"
    written(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    assert only(processor.findings(tmp_path), "governor").level == "ok"


@pytest.mark.parametrize(("synced", "level"), [(False, "note"), (True, "ok"), (None, "note")])
def test_the_time(synced: bool | None, level: str) -> None:  # noqa: FBT001 - a test's parameter
    assert only(clock.findings(lambda: synced), "clock").level == level


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    found = only(packages.findings(), "numba")
    assert found.level == "bad"
    assert "pip install" in found.do


def test_tflite_runtime_beside_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_version", {"tflite-runtime": "2.14.0"}.get)
    monkeypatch.setattr(packages.libraries, "LITERT", ("tflite_runtime",))
    monkeypatch.setitem(sys.modules, "tflite_runtime", type(sys)("tflite_runtime"))
    module = type(sys)("tflite_runtime.interpreter")
    module.Interpreter = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    found = only(packages.findings(), "litert")
    assert found.level == "bad"
    assert "numpy<2" in found.says


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.space(tmp_path / "not" / "there").says.endswith(f"free in {tmp_path}")
    for free, level in ((1 << 20, "bad"), (100 << 20, "note"), (1 << 40, "ok")):
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert storage.space(tmp_path).level == level


def test_real_time() -> None:
    nothing = [*limits.findings(lambda _: (0, 0), root=False)]
    assert only(iter(nothing), "real time").level == "note"
    assert "up to 0 B" in only(iter(nothing), "locked memory").says
    mighty = limits.findings(lambda _: (0, 0), root=True)
    assert only(mighty, "real time").level == "ok"
    allowed = limits.findings(lambda which: (40 if which == resource.RLIMIT_RTPRIO else -1, -1), root=False)
    assert "up to 40" in only(allowed, "real time").says


def test_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*ports.findings(tmp_path)] == []
    written(tmp_path / "ttyACM0", "")
    (tmp_path / "serial/by-id").mkdir(parents=True)
    (tmp_path / "serial/by-id/usb-Pico").symlink_to(tmp_path / "ttyACM0")
    assert "usb-Pico may be opened" in only(ports.findings(tmp_path), "serial port").says
    monkeypatch.setattr(ports.os, "access", lambda *_: False)
    closed = only(ports.findings(tmp_path), "serial port")
    assert closed.level == "note"
    assert "dialout" in closed.do


def test_systemd() -> None:
    assert systemd.judged("systemd 252 (252.39-1)\n+PAM", running=True).level == "ok"
    assert systemd.judged("systemd 241 (241)\n", running=True).level == "note"
    assert "does not run this system" in systemd.judged("systemd 252 (1)\n", running=False).says
    assert systemd.judged("", running=False).level == "note"
