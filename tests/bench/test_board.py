"""What boards tell of themselves, from trees made by hand."""

from pathlib import Path

import pytest

from edgeseq.bench import board, scheduling
from edgeseq.errors import ModelError


def write(root: Path, **files: str) -> None:
    """Write files; in their names, two underscores are a slash."""
    for name, text in files.items():
        path = root / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


def zone(root: Path, number: int, name: str, milli: str) -> None:
    write(root, **{f"class__thermal__thermal_zone{number}__type": name})
    write(root, **{f"class__thermal__thermal_zone{number}__temp": milli})


def cooling(root: Path, number: int, name: str, state: str) -> None:
    write(root, **{f"class__thermal__cooling_device{number}__type": name})
    write(root, **{f"class__thermal__cooling_device{number}__cur_state": state})


def clock(root: Path, cpu: int, khz: str) -> None:
    write(root, **{f"devices__system__cpu__cpu{cpu}__cpufreq__scaling_cur_freq": khz})


def firmware(root: Path, flags: str) -> None:
    path = root / board.FIRMWARE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(flags + "\n", encoding="utf-8")


def test_a_board_that_tells_nothing(tmp_path: Path) -> None:
    before, after = board.read({0}, tmp_path), board.read({0}, tmp_path)
    assert after.document(before) == {"clock_mhz": None, "temperature_c": None, "throttled": None}


def test_a_raspberry_pi(tmp_path: Path) -> None:
    for cpu, khz in enumerate(("600000", "1500000", "1800000")):
        clock(tmp_path, cpu, khz)
    zone(tmp_path, 0, "cpu-thermal", "61835")
    firmware(tmp_path, "0x50000")
    before = board.read({0, 1}, tmp_path)
    # What was once, before this measurement, is none of it.
    assert before.document() == {"clock_mhz": 1500.0, "temperature_c": 61.835, "throttled": False}
    assert board.read({0}, tmp_path).document(before)["throttled"] is False
    firmware(tmp_path, "0x50000\0")
    assert board.read({0}, tmp_path).throttled is False
    firmware(tmp_path, "d0000")
    assert board.read({0}, tmp_path).document(before)["throttled"] is True
    firmware(tmp_path, "50004")
    assert board.read({0}, tmp_path).document()["throttled"] is True


def test_a_jetson(tmp_path: Path) -> None:
    for number, (name, milli) in enumerate((("GPU-therm", "70000"), ("CPU-therm", "55500"), ("PMIC-Die", "100000"))):
        zone(tmp_path, number, name, milli)
    cooling(tmp_path, 0, "pwm-fan", "3")
    assert board.read({0}, tmp_path).document() == {"clock_mhz": None, "temperature_c": 55.5, "throttled": None}
    cooling(tmp_path, 1, "thermal-cpufreq-0", "0")
    assert board.read({0}, tmp_path).throttled is False
    cooling(tmp_path, 1, "thermal-cpufreq-0", "2")
    assert board.read({0}, tmp_path).throttled is True


def test_a_pc_counts_how_often_it_throttled(tmp_path: Path) -> None:
    zone(tmp_path, 0, "acpitz", "27800")
    zone(tmp_path, 1, "x86_pkg_temp", "45000")
    count = "devices__system__cpu__cpu2__thermal_throttle__core_throttle_count"
    write(tmp_path, **{count: "12"})
    before = board.read({2}, tmp_path)
    # A count says nothing of this moment.
    assert before.document() == {"clock_mhz": None, "temperature_c": 45.0, "throttled": None}
    assert board.read({2}, tmp_path).document(before)["throttled"] is False
    write(tmp_path, **{count: "13"})
    assert board.read({2}, tmp_path).document(before)["throttled"] is True


@pytest.mark.parametrize("text", ["", "<unknown>", "-"])
def test_a_sensor_that_is_switched_off_is_passed_over(tmp_path: Path, text: str) -> None:
    zone(tmp_path, 0, "cpu-thermal", text)
    zone(tmp_path, 1, "battery", "31000")
    clock(tmp_path, 0, text)
    firmware(tmp_path, text)
    assert board.read({0}, tmp_path).document() == {"clock_mhz": None, "temperature_c": 31.0, "throttled": None}


def test_a_priority_that_is_not_permitted_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.sched_setscheduler", refused, raising=False)
    with pytest.raises(ModelError, match=r"--fifo 80: .*RLIMIT_RTPRIO.*CAP_SYS_NICE.*LimitRTPRIO="):
        scheduling.apply([], 80)


@pytest.mark.parametrize(
    ("runtime", "share"), [("950000", 0.05), ("-1", None), ("1000000", None), ("", None), ("0", 1.0)]
)
def test_the_share_that_the_kernel_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, share: float | None
) -> None:
    (tmp_path / "sched_rt_runtime_us").write_text(runtime)
    (tmp_path / "sched_rt_period_us").write_text("1000000")
    monkeypatch.setattr(scheduling, "RT_RUNTIME", tmp_path / "sched_rt_runtime_us")
    assert scheduling.share_for_others() == (None if share is None else pytest.approx(share))
