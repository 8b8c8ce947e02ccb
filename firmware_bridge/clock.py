"""A device's clock of 32 bits of microseconds, placed on the host's: offset and drift by PING, without steps.

Each exchange bounds the offset: Ping was underway, or Pong was, for at most the round trip less the device's own time.
A line through the latest exchanges, each weighed by its round trip and with drifts of real quartzes as what is likely
before anything is known, is the estimate (ridge regression; the exchange is NTP's, RFC 5905). What is told to others
moves towards it gently, so that times neither jump nor run backwards.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WRAP = 1 << 32
KEPT = 64
"""Exchanges that the estimate rests on."""
LIKELY_DRIFT = 100e-6
"""Quartzes of microcontrollers lie within this, mostly."""
SLEW_S = 5.0
"""Within this time the told offset meets the estimate."""
STEP_S = 0.1
"""An error larger than this is none to be smoothed out: the offset steps, which is counted."""
_NOISE_S = 20e-6
"""An exchange is never trusted beyond this: software on both ends has its part in it."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """device_s: the middle of it on the device's clock. offset_s: host less device there. noise_s: half the trip."""

    device_s: float
    offset_s: float
    noise_s: float


class Clock:
    """The clock of one device, over one connection. All host times are nanoseconds of one clock, the caller's."""

    def __init__(self) -> None:
        self.steps = 0
        self.round_trip_ns: int | None = None
        """The shortest round trip so far; half of it bounds the offset's error."""
        self._newest_us: int | None = None
        self._exchanges: deque[_Exchange] = deque(maxlen=KEPT)
        self._origin: tuple[int, int] = (0, 0)
        # What is told: offset_s + slope * (device_s - since_s), and host = device + origin + that.
        self._since_s = self._told_s = self._slope = 0.0
        self._drift = 0.0

    @property
    def known(self) -> bool:
        """Whether device times can be placed at all."""
        return self._newest_us is not None

    @property
    def synchronized(self) -> bool:
        """Whether that rests on exchanges, and not only on when something came."""
        return bool(self._exchanges)

    @property
    def drift_ppm(self) -> float:
        """By how much the host's clock is faster than the device's, estimated."""
        return self._drift * 1e6

    def unwrap(self, time_us: int) -> int:
        """Return a device time of 32 bits without wraps: the one nearest to the newest, at most 35 minutes away."""
        if self._newest_us is None:
            self._newest_us = time_us
        ahead = (time_us - self._newest_us + WRAP // 2) % WRAP - WRAP // 2
        whole = self._newest_us + ahead
        self._newest_us = max(self._newest_us, whole)
        return whole

    def arrived(self, time_us: int, now_ns: int) -> None:
        """Take a message's own time and its arrival: all there is before the first exchange."""
        if not self.known:
            self._origin = (self.unwrap(time_us), now_ns)

    def exchanged(self, sent_ns: int, received_us: int, answered_us: int, now_ns: int) -> None:
        """Take an exchange: Ping sent, received and answered on the device's clock, Pong there."""
        self.arrived(answered_us, now_ns)
        received, answered = self.unwrap(received_us), self.unwrap(answered_us)
        trip_ns = max(0, now_ns - sent_ns - (answered - received) * 1000)
        self.round_trip_ns = trip_ns if self.round_trip_ns is None else min(trip_ns, self.round_trip_ns)
        device_us, host_ns = self._origin
        middle_s = ((received + answered) / 2 - device_us) / 1e6
        offset_s = ((sent_ns - host_ns) + (now_ns - host_ns)) / 2e9 - middle_s
        noise_s = max(_NOISE_S, trip_ns / 2e9)
        if self._exchanges and abs(offset_s - self._told(middle_s)) - noise_s > STEP_S:
            # One of the clocks was set: what was learnt before says nothing of now.
            self.steps += 1
            self._exchanges.clear()
        self._exchanges.append(_Exchange(middle_s, offset_s, noise_s))
        self._aim(middle_s)

    def host_ns(self, device_us: int) -> int:
        """Return an unwrapped device time on the host's clock. Raises ValueError where nothing is known yet."""
        if not self.known:
            raise ValueError("nothing has come from this device yet.")
        origin_us, origin_ns = self._origin
        after_s = (device_us - origin_us) / 1e6
        return origin_ns + (device_us - origin_us) * 1000 + round(self._told(after_s) * 1e9)

    def _aim(self, now_s: float) -> None:
        """Estimate the line anew, and let what is told run from where it is to where the line will be."""
        weights = [each.noise_s**-2 for each in self._exchanges]
        total = sum(weights)
        at = sum(w * each.device_s for w, each in zip(weights, self._exchanges, strict=True)) / total
        mean = sum(w * each.offset_s for w, each in zip(weights, self._exchanges, strict=True)) / total
        spread = across = 0.0
        for weight, each in zip(weights, self._exchanges, strict=True):
            spread += weight * (each.device_s - at) ** 2
            across += weight * (each.device_s - at) * (each.offset_s - mean)
        self._drift = across / (spread + LIKELY_DRIFT**-2)
        wanted = mean + self._drift * (now_s - at)
        told = self._told(now_s) if len(self._exchanges) > 1 else wanted
        self._since_s, self._told_s = now_s, told
        self._slope = self._drift + (wanted - told) / SLEW_S

    def _told(self, device_s: float) -> float:
        return self._told_s + self._slope * (device_s - self._since_s)
