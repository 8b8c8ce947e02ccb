"""Per-channel energy normalization: energies over their own past, so that loud and soft, near and far look alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F = types.float64


def smoothing(time_constant: float, rate_hz: float) -> float:
    """Return the weight of the newest energy in the running one, as librosa.pcen finds it for a time constant."""
    frames = time_constant * rate_hz
    return float((np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2))


def reference(
    x: NDArray[Any], newest: float, *, gain: float, bias: float, power: float, eps: float
) -> NDArray[np.float64]:
    """Return float64[frames, channels] of energies x [frames, channels].

    Source: Wang, Getreuer, Hughes, Lyon and Saurous, "Trainable frontend for robust and far-field keyword spotting",
    ICASSP 2017, equations 1 and 2. As in librosa.pcen the running energy begins at 1.
    """
    x = np.maximum(np.asarray(x, np.float64), 0)
    running, y = np.ones(x.shape[1]), np.empty(x.shape)
    for k, energy in enumerate(x):
        running = (1 - newest) * running + newest * energy
        leveled = energy / (eps + running) ** gain
        y[k] = (leveled + bias) ** power - bias**power if power else np.log1p(leveled)
    return y


@entry(types.void(types.float32[:, ::1], _F[::1], _F, _F, _F, _F, _F, types.float32[:, ::1]), fastmath=("contract",))
def leveled(x: Any, running: Any, newest: Any, gain: Any, bias: Any, power: Any, eps: Any, y: Any) -> None:
    """Write y[frame, channel] of x[frame, channel] and carry running[channel] on; a NaN leaves that as it is."""
    for k in range(x.shape[0]):
        for c in range(x.shape[1]):
            energy = np.maximum(np.float64(x[k, c]), 0.0)
            if not np.isfinite(energy):
                y[k, c] = np.nan
                continue
            running[c] = (1.0 - newest) * running[c] + newest * energy
            # Through logarithms, where what is small beside eps or the bias keeps its digits.
            share = energy * np.exp(-gain * (np.log(eps) + np.log1p(running[c] / eps)))
            if power == 0.0:
                y[k, c] = np.log1p(share)
            elif bias == 0.0:
                y[k, c] = share**power
            else:
                y[k, c] = bias**power * np.expm1(power * np.log1p(share / bias))


class Pcen(Remembering):
    """Divides each channel's energy by its own running mean and compresses it; a frame for each that comes in.

    It takes energies: `log_mel` with logarithm = "none" gives them, whose gain matters: librosa's users multiply sound
    within ±1 by 2**31. With x the energy and m its running mean, which begins at 1, librosa.pcen's
    y = (x / (eps + m)^gain + bias)^power - bias^power; with power 0, ln(1 + x / (eps + m)^gain).
    time_constant: seconds over which m follows. gain, bias, power, eps: as above. `x.pcen` is that of channel x,
    without unit, at the time of the energy.

    A NaN or infinity gives NaN and leaves m as it was. What is negative, which no energy is, counts as zero; zeros give
    zero. A clipped sound has less contrast. m is forgotten where the stream has a gap.
    """

    _remembers = ("_running",)

    def __init__(
        self,
        *,
        time_constant: float = 0.4,
        gain: float = 0.98,
        bias: float = 2.0,
        power: float = 0.5,
        eps: float = 1e-6,
    ) -> None:
        for name, value in (("gain", gain), ("bias", bias), ("power", power)):
            if not 0 <= value < np.inf:
                raise ConfigError(f"{name} must be a number of at least 0, not {value:g}.")
        for name, value in (("time_constant", time_constant), ("eps", eps)):
            if not 0 < value < np.inf:
                raise ConfigError(f"{name} must be a number above 0, not {value:g}.")
        self._time_constant, self._parameters = time_constant, (gain, bias, power, eps)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"time_constant": 0.2}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Take channels of energies; give as many, at the same rate. Raises ConfigError for one that is in dB."""
        for channel in spec.channels:
            if channel.unit == "dB":
                raise ConfigError(
                    f"the channel '{channel.name}' is in dB, and pcen takes energies: log_mel gives them with "
                    'logarithm = "none".'
                )
        self._newest = smoothing(self._time_constant, spec.rate_hz)
        self._running: NDArray[np.float64] = np.ones(len(spec.channels))
        self._kernel = leveled.compiled
        return StreamSpec(tuple(Channel(f"{name}.pcen") for name in spec.names), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[n, channels] of float32[n, channels], at the same times."""
        y = np.empty(values.shape, np.float32)
        self._kernel(np.require(values, np.float32, ["C", "W"]), self._running, self._newest, *self._parameters, y)
        return t_ns, y

    def reset(self) -> None:
        """Let the running means begin at 1."""
        self._running[:] = 1.0
