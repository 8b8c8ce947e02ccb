"""The machine that does not exist: any sample by itself, and its faults where edgeseq's own features look for them."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq import bearings
from edgeseq.errors import ConfigError, StateError
from edgeseq.features.envelope import Envelope
from edgeseq.features.window_statistics import WindowStatistics
from edgeseq.sources.synthetic import BLOCK, Synthetic
from edgeseq.types import Channel, StreamSpec

RATE = 12_000.0
BEARING = {"balls": 9, "ball_diameter": 7.94, "pitch_diameter": 39.04}
SPEED = 25.0
SPEC = StreamSpec((Channel("x", "g"),), RATE)


def made(**more: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    source = Synthetic(**{"rate_hz": RATE, "speed_hz": SPEED, "bearing": BEARING, **more})
    return np.concatenate([chunk.values for chunk in source])


@given(
    samples=st.integers(1, 4 * BLOCK),
    paces=st.tuples(st.floats(1e4, 1e6), st.floats(1e5, 1e9)),
    begin=st.integers(0, 10),
    fault=st.sampled_from(["inner", "outer", "ball"]),
)
@settings(max_examples=15, deadline=None)
def test_any_split_and_any_beginning_give_the_same_samples(
    samples: int, paces: tuple[float, float], begin: int, fault: str
) -> None:
    keys: dict[str, Any] = {"duration_s": samples / RATE, "fault": fault, "channels": ["x", "y"], "seed": 3}
    whole = made(**keys)
    assert len(whole) == samples
    for pace in paces:
        chunks = list(Synthetic(rate_hz=RATE, speed_hz=SPEED, bearing=BEARING, pace=pace, **keys))
        np.testing.assert_array_equal(np.concatenate([chunk.values for chunk in chunks]), whole)
        again = Synthetic(rate_hz=RATE, speed_hz=SPEED, bearing=BEARING, **keys)
        reached = chunks[min(begin, len(chunks) - 1)]
        assert reached.state is not None
        again.set_state(reached.state)
        rest = [chunk.values for chunk in again]
        done = reached.state["sample"]
        np.testing.assert_array_equal(np.concatenate([whole[:done], *rest]), whole)


def test_a_sample_far_away_is_computed_at_once() -> None:
    source = Synthetic(rate_hz=RATE, fault="outer", duration_s=1e9)
    source.set_state({"sample": 10**13, "start_ns": 0})
    first = next(iter(source))
    assert np.isfinite(first.values).all()
    assert first.t_ns[0] == 10**13 // 12_000 * 10**9 + 333_333_333


@pytest.mark.parametrize(("fault", "name"), [("outer", "bpfo"), ("inner", "bpfi"), ("ball", "bsf")])
def test_the_envelope_spectrum_finds_the_fault(fault: str, name: str) -> None:
    place = bearings.FAULTS.index(name)
    hz = bearings.per_turn(BEARING)[place] * SPEED
    lines = Envelope(window=2.0, band=[2000, 4000], max_hz=500)
    spec = lines.open(SPEC)
    t_ns = np.arange(round(4 * RATE), dtype=np.int64)
    _, frames = lines.push(t_ns, made(fault=fault, duration_s=4.0, seed=1))
    spectrum = frames[-1]
    apart = 0.5
    assert spec.names[round(hz / apart)].endswith(f"_{round(hz / apart) * apart:g}Hz")
    strongest = float(np.argmax(spectrum[2:]) + 2) * apart
    turning = {"outer": 0.0, "inner": SPEED, "ball": bearings.per_turn(BEARING)[3] * SPEED}[fault]
    # A modulated fault has the lines of what it turns with, too, which may be as strong as its own.
    expected = [hz] if fault == "outer" else [hz, turning, 2 * turning, hz - turning, hz + turning]
    assert min(abs(strongest - each) for each in expected) <= 0.02 * hz
    around = spectrum[round(hz * 0.98 / apart) : round(hz * 1.02 / apart) + 1].max()
    assert around > 8 * np.median(spectrum)

    amplitudes = Envelope(window=2.0, band=[2000, 4000], bearing=BEARING, speed_hz=SPEED)
    amplitudes.open(SPEC)
    _, sick = amplitudes.push(t_ns, made(fault=fault, duration_s=4.0, seed=1))
    amplitudes.reset()
    _, well = amplitudes.push(t_ns, made(duration_s=4.0, seed=1))
    assert sick[-1, place] > 8 * well[-1, place]
    if fault == "outer":
        assert np.argmax(sick[-1]) == place


def test_a_fault_of_the_inner_race_has_the_shaft_s_sidebands_and_one_of_the_outer_has_not() -> None:
    lines = Envelope(window=4.0, band=[2000, 4000], max_hz=500)
    t_ns = np.arange(round(4 * RATE), dtype=np.int64)
    ratio = {}
    for fault, place in (("outer", 0), ("inner", 1)):
        lines.open(SPEC)
        _, frames = lines.push(t_ns, made(fault=fault, duration_s=4.0, wander=0.0, noise=0.01))
        hz = bearings.per_turn(BEARING)[place] * SPEED
        near = [frames[0][round((hz + off) * 4) - 4 : round((hz + off) * 4) + 5].max() for off in (0, SPEED)]
        ratio[fault] = near[1] / near[0]
    assert ratio["inner"] > 0.3
    assert ratio["outer"] < 0.1


def test_the_fault_grows() -> None:
    feature = WindowStatistics(window=1.0, statistics=["kurtosis", "rms"])
    feature.open(SPEC)
    values = made(fault="outer", amplitude=3.0, onset_s=3.0, grown_s=9.0, duration_s=10.0)
    _, frames = feature.push(np.arange(len(values), dtype=np.int64), values)
    rms = frames[:, 1]
    assert np.ptp(rms[:3]) < 0.01
    assert (np.diff(rms[4:9]) > 0).all()
    assert rms[9] > 3 * rms[0]
    before = made(duration_s=3.0)
    np.testing.assert_array_equal(values[: len(before)], before)


def test_the_shaft_turns_as_said_and_the_noise_is_white() -> None:
    values = made(duration_s=10.0, wander=0.0, harmonics=[0.5, 0.0, 0.2], noise=0.1)[:, 0].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(values)) * 2 / len(values)
    assert spectrum[250] == pytest.approx(0.5, abs=0.01)
    assert spectrum[500] < 0.01
    assert spectrum[750] == pytest.approx(0.2, abs=0.01)
    rest = values - 0.5 * np.sin(2 * np.pi * 25 * np.arange(len(values)) / RATE)
    rest -= 0.2 * np.sin(2 * np.pi * 75 * np.arange(len(values)) / RATE)
    assert rest.std() == pytest.approx(0.1, rel=0.01)
    assert abs(np.corrcoef(rest[1:], rest[:-1])[0, 1]) < 0.01


def test_strikes_slip_by_a_few_percent() -> None:
    source = Synthetic(rate_hz=RATE, bearing=BEARING, fault="outer", jitter=0.02, wander=0.01)
    angles = np.arange(5000) / source._order
    np.testing.assert_allclose(source._turns(source._when(angles)), angles, rtol=1e-12, atol=1e-12)
    drawn = np.concatenate([source._drawn(1, 0, group, 256) for group in range(40)])
    assert drawn.std() == pytest.approx(1, abs=0.03)
    assert abs(drawn.mean()) < 0.03


def test_seeds_and_sensors_have_noise_of_their_own() -> None:
    one, other = made(duration_s=1.0, seed=1, channels=["x", "y"]), made(duration_s=1.0, seed=2, channels=["x", "y"])
    for a, b in itertools.combinations([one[:, 0], one[:, 1], other[:, 0]], 2):
        assert not np.array_equal(a, b)
    assert np.corrcoef(one[:, 0], one[:, 1])[0, 1] > 0.5, "they hear the same machine"


def test_records_of_a_duty_cycle() -> None:
    chunks = list(Synthetic(rate_hz=1000.0, resonance_hz=300.0, duration_s=10.5, record_s=0.5, duty_cycle_s=2.0))
    assert [int(chunk.t_ns[0]) for chunk in chunks if chunk.gap] == [2 * at * 10**9 for at in range(1, 6)]
    assert sum(len(chunk.t_ns) for chunk in chunks) == 3000
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"speed_hz": 0}, "speed_hz must be above 0"),
        ({"resonance_hz": RATE}, "resonance_hz must be above 0 and below half the rate"),
        ({"jitter": float("nan")}, "jitter must be from 0 to"),
        ({"record_s": 1.0}, "stand together"),
        ({"record_s": 3.0, "duty_cycle_s": 2.0}, "the record the shorter one"),
        ({"bearing": {"balls": 9}}, "bearing lacks ball_diameter and pitch_diameter"),
        ({"duration_s": float("inf")}, "duration_s must be above 0"),
    ],
)
def test_what_is_no_machine(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Synthetic(**{"rate_hz": RATE, **keys})


def test_a_state_of_another_machine_is_refused() -> None:
    with pytest.raises(StateError, match="there is no sample 99999"):
        Synthetic(rate_hz=RATE, duration_s=1.0).set_state({"sample": 99_999, "start_ns": 0})
