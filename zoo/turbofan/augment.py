"""Makes training batches: engines joined mid-life, run at other speeds, and built a little differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.turbofan.data import CAP, Floats


@dataclass(frozen=True)
class Augmentation:
    """How training histories differ from the recorded ones.

    midlife: share of histories that begin at a random cycle, state zero there, as for a device fitted to an old engine;
    at least `shortest` cycles are left. stretch: life passes up to exp(+-stretch) times as fast.
    offset, noise: standard deviations of what is added to each sensor, for the whole life and at each cycle, in
    standard deviations of that sensor: manufacturing tolerances and measurement noise. cap: cycles; the label stays
    there until fewer are left.
    """

    midlife: float = 0.5
    shortest: int = 20
    stretch: float = 0.3
    offset: float = 0.4
    noise: float = 0.1
    cap: int = CAP


@dataclass(frozen=True)
class Batch:
    """Padded histories.

    frames: float32[batch, time, features], standardized. label: float32[batch, time], remaining life in units of the
    cap, capped. valid: bool[batch, time], False where there is padding.
    """

    frames: Tensor
    label: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Histories:
    """Engines run to failure, padded behind their last cycle.

    frames: float32[engines, time, features], standardized. cycles: int64[engines].
    """

    frames: Tensor
    cycles: Tensor

    @classmethod
    def pad(cls, frames: Sequence[Floats]) -> Histories:
        """Stack histories, each float32[cycles, features]."""
        rows = [torch.from_numpy(values) for values in frames]
        return cls(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    def batch(self, engines: Tensor, how: Augmentation, generator: torch.Generator) -> Batch:
        """Draw a changed history of each of these engines, int64[batch].

        1. Some begin at a random cycle.
        2. All are read at another speed, backwards from failure, each cycle from one of the two nearest recorded ones:
           averaging these would halve the sensors' noise, which real engines have.
        3. Offsets and noise are added.
        """
        cycles = self.cycles[engines]
        uniform = torch.rand(3, len(engines), generator=generator)
        late = uniform[0] < how.midlife
        start = (uniform[1] * (cycles - how.shortest).clamp(min=0)).long() * late  # 1
        speed = torch.exp((2 * uniform[2] - 1) * how.stretch)  # 2
        length = ((cycles - start) / speed).long().clamp(min=1)
        time = torch.arange(int(length.max()))
        life = (length[:, None] - 1 - time).clamp(min=0)
        exact = (cycles[:, None] - 1 - life * speed[:, None]).clamp(min=0)
        dither = torch.rand(exact.shape, generator=generator)
        place = (exact + dither).long().minimum(cycles[:, None] - 1)
        frames = self.frames[engines[:, None], place]
        features = frames.shape[2]
        frames = frames + how.offset * torch.randn((len(engines), 1, features), generator=generator)  # 3
        frames = frames + how.noise * torch.randn(frames.shape, generator=generator)
        return Batch(frames, life.clamp(max=how.cap) / how.cap, time < length[:, None])
