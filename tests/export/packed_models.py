"""Encoder-decoders that are trained on batches, and take how long each padded source is: (source, lengths, target)."""

from __future__ import annotations

from typing import Any

import chained_models
import torch
from chained_models import BACKWARDS, FORWARDS, WHOLE
from torch import Tensor, nn
from torch.nn.utils import rnn


class Packed(chained_models.Chained):
    """A recurrence over a packed sequence, both ways or one; the decoder begins from its last states.

    attention: "none" or "dot", over what it gives, `masked` by the lengths.
    """

    def __init__(
        self, cell: str = "GRU", layers: int = 1, attention: str = "dot", *, both: bool = True, masked: bool = True
    ) -> None:
        super().__init__(attention)
        self.layer = getattr(nn, cell)(8, 6 if both else 12, layers, batch_first=True, bidirectional=both)
        self.both, self.masked = both, masked

    def encoded(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory, as long as the source is with its padding, and the last state."""
        packed = rnn.pack_padded_sequence(self.words(source), lengths, batch_first=True, enforce_sorted=False)
        y, states = self.layer(packed)
        memory, _ = rnn.pad_packed_sequence(y, batch_first=True, total_length=source.shape[1])
        last = states[0] if isinstance(states, tuple) else states
        if not self.both:
            return memory, last[-1:]
        return memory, last[-2:].transpose(0, 1).reshape(1, -1, 12)

    def asked(self, memory: Tensor, state: Tensor, target: Tensor, inside: Tensor) -> Tensor:
        """Return the head's outputs; inside: which rows of the memory there are."""
        y, _ = self.decoder(self.embed(target), state)
        if self.attention == "none":
            return self.head(y)
        scores = self.ask(y) @ memory.transpose(1, 2)
        scores = scores.masked_fill(~inside[:, None], -1e9) if self.masked else scores
        return self.head(torch.cat([y, torch.softmax(scores, dim=-1) @ memory], dim=-1))

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoded(source, lengths)
        return self.asked(memory, state, target, torch.arange(source.shape[1])[None] < lengths[:, None])


class BothPacked(Packed):
    """The target comes with lengths, too, and its recurrence is packed as the source's; the lengths come last."""

    def forward(self, source: Tensor, target: Tensor, lengths: Tensor, others: Tensor) -> Tensor:  # type: ignore[override]
        memory, state = self.encoded(source, lengths)
        packed = rnn.pack_padded_sequence(self.embed(target), others, batch_first=True, enforce_sorted=False)
        y, _ = rnn.pad_packed_sequence(self.decoder(packed, state)[0], batch_first=True)
        inside = torch.arange(source.shape[1])[None] < lengths[:, None]
        scores = (self.ask(y) @ memory.transpose(1, 2)).masked_fill(~inside[:, None], -1e9)
        return self.head(torch.cat([y, torch.softmax(scores, dim=-1) @ memory], dim=-1))


class Attended(Packed):
    """Self-attention that adds a mask of lengths to its scores, rows beyond the end set to 0, then a packed GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

    def encoded(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(source)
        inside = (torch.arange(source.shape[1])[None] < lengths[:, None]).to(x.dtype)
        scores = self.q(x) @ self.k(x).transpose(1, 2) + (1 - inside[:, None]) * -1e4
        x = (x + torch.softmax(scores, dim=-1) @ x) * inside[..., None]
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, state = self.layer(packed)
        memory, _ = rnn.pad_packed_sequence(y, batch_first=True, total_length=source.shape[1])
        return memory, state.transpose(0, 1).reshape(1, -1, 12)


class Heard(Packed):
    """Convolutions over the whole source, padding and all, before a packed LSTM, as in Tacotron 2."""

    def __init__(self) -> None:
        super().__init__("LSTM")
        self.convolution = nn.Conv1d(8, 8, 5, padding=2)

    def encoded(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.convolution(self.words(source).transpose(1, 2))).transpose(1, 2)
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, _) = self.layer(packed)
        memory, _ = rnn.pad_packed_sequence(y, batch_first=True, total_length=source.shape[1])
        return memory, h.transpose(0, 1).reshape(1, -1, 12)


MODELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "state": (lambda: Packed(attention="none", both=False), (FORWARDS,)),
    "gru": (Packed, (FORWARDS, BACKWARDS)),
    "lstm, no mask": (lambda: Packed("LSTM", masked=False), (FORWARDS, BACKWARDS)),
    "two layers": (lambda: Packed("LSTM", 2), (FORWARDS, BACKWARDS, FORWARDS)),
    "rnn": (lambda: Packed("RNN", 2, "none"), (FORWARDS, BACKWARDS, FORWARDS)),
    "behind attention": (Attended, (WHOLE, FORWARDS, BACKWARDS)),
    "heard": (Heard, (FORWARDS, FORWARDS, BACKWARDS)),
}
"""Name -> how it is made, and the parts that its encoder becomes."""


def made(name: str, kind: Any = None) -> nn.Module:
    """Make one, or one of a kind, far from even odds, as trained models are."""
    return chained_models.made(name, kind or MODELS[name][0])


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Return an example."""
    return torch.zeros(1, 9, dtype=torch.int64), torch.tensor([9]), torch.zeros(1, 6, dtype=torch.int64)
