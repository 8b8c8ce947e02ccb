"""A device's clock on the host's: offset and drift from exchanges, wraps, and times that never run backwards."""

import itertools

import numpy as np
import pytest

from firmware_bridge.clock import WRAP, Clock

HOST = 1_795_000_000_000_000_000


class World:
    """Two clocks, of which one is too fast, and a line that takes its time, longer now and then."""

    def __init__(self, drift_ppm: float, begins_us: int = 0, seed: int = 0) -> None:
        self.rate, self.begins_us = 1 + drift_ppm * 1e-6, begins_us
        self.rng = np.random.default_rng(seed)

    def device_us(self, after_s: float) -> int:
        return int(self.begins_us + after_s * 1e6 * self.rate) % WRAP

    def host_ns(self, after_s: float) -> int:
        return HOST + round(after_s * 1e9)

    def exchange(self, clock: Clock, after_s: float) -> None:
        there, back = 50e-6 + self.rng.exponential(100e-6, 2) * self.rng.choice([1, 20], 2, p=[0.9, 0.1])
        received, answered = after_s + there, after_s + there + 30e-6
        clock.exchanged(
            self.host_ns(after_s), self.device_us(received), self.device_us(answered), self.host_ns(answered + back)
        )


@pytest.mark.parametrize("drift_ppm", [0.0, 40.0, -300.0])
@pytest.mark.parametrize("seed", range(3))
def test_offset_and_drift_are_found(drift_ppm: float, seed: int) -> None:
    world, clock = World(drift_ppm, 4_294_000_000, seed), Clock()
    for after_s in range(120):
        world.exchange(clock, after_s)
    for after_s in (119.5, 121.0):
        error = clock.host_ns(clock.unwrap(world.device_us(after_s))) - world.host_ns(after_s)
        assert abs(error) < 100_000, "a tenth of a millisecond"
    assert clock.drift_ppm == pytest.approx(-drift_ppm, abs=3)
    assert clock.steps == 0


def test_times_never_run_backwards_nor_jump() -> None:
    world, clock = World(200.0), Clock()
    told = []
    for tick in range(6000):
        after_s = tick / 100
        if tick % 100 == 0:
            world.exchange(clock, after_s)
        told.append(clock.host_ns(clock.unwrap(world.device_us(after_s))))
    steps = np.diff(told)
    assert steps.min() > 9_900_000
    assert steps[100:].max() < 10_100_000


def test_a_wrap_after_71_minutes_is_none() -> None:
    clock = Clock()
    ticks = [(4_294_000_000 + i * 1_500_000_000) % WRAP for i in range(10)]
    whole = [clock.unwrap(tick) for tick in ticks]
    assert {later - sooner for sooner, later in itertools.pairwise(whole)} == {1_500_000_000}
    assert clock.unwrap(ticks[8]) == whole[8], "one before the newest stays where it was"


def test_without_exchanges_times_begin_at_the_first_arrival() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="nothing has come"):
        clock.host_ns(0)
    clock.arrived(1000, HOST)
    clock.arrived(900_000, HOST + 5_000_000_000)
    assert not clock.synchronized
    assert clock.host_ns(clock.unwrap(2000)) == HOST + 1_000_000


def test_a_clock_that_was_set_steps_once_and_is_counted() -> None:
    world, clock = World(0.0), Clock()
    for after_s in range(10):
        world.exchange(clock, after_s)
    world.begins_us += 3_000_000
    world.exchange(clock, 10)
    assert clock.steps == 1
    assert abs(clock.host_ns(clock.unwrap(world.device_us(10.5))) - world.host_ns(10.5)) < 2_000_000
