"""Encoder-decoders whose encoders hold what goes through their whole source: each becomes a chain of parts."""

from __future__ import annotations

from typing import Any

import seq2seq_models as models
import torch
from torch import Tensor, nn


class Chained(models.Recurrent):
    """A decoder that asks a memory of as many numbers a frame; its encoder is left to the classes below."""

    def __init__(self, attention: str = "dot", hidden: int = 12, *, features: int = 0) -> None:
        super().__init__("GRU", attention, hidden, features=features)
        del self.encoder

    def decoded(self, memory: Tensor, state: Tensor, target: Tensor) -> Tensor:
        """Return the head's outputs; state: [1, 1, hidden]."""
        y, _ = self.decoder(self.embed(target), state)
        if self.attention == "none":
            return self.head(y)
        asked = torch.softmax(self.ask(y) @ memory.transpose(1, 2), dim=-1) @ memory
        return self.head(torch.cat([y, asked], dim=-1))


def joined(state: Tensor) -> Tensor:
    """Return a layer's two last states, [2, 1, size], as one."""
    return state[-2:].transpose(0, 1).reshape(1, 1, -1)


class Bridged(models.Recurrent):
    """Its decoder begins from a layer's view of the encoder's last state, and sees its mean at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.bridge = nn.Linear(12, 12)
        self.mean = nn.Linear(12, models.TARGET_WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.words(source))
        y, _ = self.decoder(self.embed(target), torch.tanh(self.bridge(state)))
        return self.head(y) + self.mean(memory.mean(dim=1, keepdim=True))


class Backwards(Chained):
    """A bidirectional GRU."""

    def __init__(self, hidden: int = 12, *, features: int = 0) -> None:
        super().__init__(hidden=hidden, features=features)
        self.layer = nn.GRU(8, hidden // 2, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.layer(self.words(source))
        return self.decoded(memory, joined(state), target)


class Begun(Chained):
    """A bidirectional LSTM that begins from learned states; the decoder, from what both of its last ones are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.h, self.c = nn.Parameter(torch.randn(2, 1, 6)), nn.Parameter(torch.randn(2, 1, 6))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, (h, c) = self.layer(self.words(source), (self.h, self.c))
        return self.decoded(memory, joined(h) + joined(c), target)


class Ends(Chained):
    """A bidirectional LSTM of which nothing is read but how both directions end."""

    def __init__(self) -> None:
        super().__init__("none")
        self.layer = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, (h, _) = self.layer(self.words(source))
        return self.decoded(source, joined(h), target)


class Half(Chained):
    """Only what a bidirectional GRU gives going backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(8, 12, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.layer(self.words(source))
        return self.decoded(memory[..., 12:], state[1:], target)


class ByHand(Chained):
    """A bidirectional GRU as people write it by hand: a second one over the sequence turned round, turned back."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.back = (nn.GRU(8, 6, batch_first=True) for _ in range(2))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source)
        (memory, state), (other, last) = self.there(x), self.back(x.flip(1))
        memory = torch.cat([memory, other.flip(1)], dim=-1)
        return self.decoded(memory, torch.cat([state, last], dim=-1), target)


@torch.jit.script
def looped(x: Tensor, h: Tensor, weights: Tensor) -> Tensor:
    rows: list[Tensor] = []
    for t in range(x.shape[1]):
        h = torch.tanh(torch.cat([x[:, t], h], -1) @ weights)
        rows.append(h)
    return torch.stack(rows, 1)


class Scripted(Chained):
    """Its recurrences are loops in TorchScript, one each way."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.back = (nn.Parameter(0.4 * torch.randn(14, 6)) for _ in range(2))
        self.begin = nn.Parameter(torch.randn(1, 1, 12))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x, zero = self.words(source), torch.zeros(1, 6)
        memory = torch.cat([looped(x, zero, self.there), looped(x.flip(1), zero, self.back).flip(1)], dim=-1)
        return self.decoded(memory, self.begin, target)


class Reversed(Chained):
    """It reads its source from the end, as Sutskever's does, and hands on its state alone."""

    def __init__(self) -> None:
        super().__init__("none")
        self.layer = nn.GRU(8, 12, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.layer(torch.tanh(self.words(source.flip(1))))
        return self.decoded(memory, state, target)


class TwoLayers(Chained):
    """Two bidirectional layers; cell: "LSTM" or "RNN"."""

    def __init__(self, cell: str = "LSTM") -> None:
        super().__init__()
        self.layers = getattr(nn, cell)(8, 6, 2, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, states = self.layers(self.words(source))
        return self.decoded(memory, joined(states[0] if isinstance(states, tuple) else states), target)


class Residual(Chained):
    """Two bidirectional layers, the first with a norm and a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.norm, self.second = nn.LayerNorm(8), nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source)
        memory, (h, _) = self.second(x + self.norm(self.first(x)[0]))
        return self.decoded(memory, joined(h), target)


class Behind(Chained):
    """A GRU behind self-attention; both: a bidirectional LSTM between two of them."""

    def __init__(self, *, both: bool = False) -> None:
        super().__init__()
        self.before = models.Attention(8, 2, 8, causal=False)
        self.both, kind = both, nn.LSTM if both else nn.GRU
        self.layer = kind(8, 6 if both else 12, batch_first=True, bidirectional=both)
        self.behind = models.Attention(12, 2, 0, causal=False)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source)
        memory, state = self.layer(x + self.before(x))
        if not self.both:
            return self.decoded(memory, state, target)
        return self.decoded(memory + self.behind(memory), joined(state[0]), target)


class Halved(Chained):
    """Two bidirectional layers, of which the second takes two rows of the first at a time, and no half of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(8, 4, batch_first=True, bidirectional=True)
        self.second = nn.GRU(16, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        rows, _ = self.first(self.words(source))
        memory, state = self.second(rows[:, : rows.shape[1] // 2 * 2].reshape(1, -1, 16))
        return self.decoded(memory, joined(state), target)


class Masked(Chained):
    """A bidirectional GRU over words, of which 0 is none: neither it nor the decoder looks at them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(8, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        there = source != 0
        memory, state = self.layer(self.words(source) * there[..., None])
        y, _ = self.decoder(self.embed(target), joined(state))
        scores = (self.ask(y) @ memory.transpose(1, 2)).masked_fill(~there[:, None], -30.0)
        return self.head(torch.cat([y, torch.softmax(scores, dim=-1) @ memory], dim=-1))


class Pooled(Chained):
    """What the decoder begins from is all of the source, as attention weighs it."""

    def __init__(self) -> None:
        super().__init__("none")
        self.layer, self.weigh = nn.GRU(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 1)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, _ = self.layer(self.words(source))
        return self.decoded(memory, (torch.softmax(self.weigh(memory), dim=1) * memory).sum(1)[None], target)


class Twice(Chained):
    """A second recurrence begins from the first one's end; seen: it sees that at every step instead."""

    def __init__(self, *, seen: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(8, 8, batch_first=True), nn.GRU(8, 12, batch_first=True)
        self.between, self.seen = nn.Linear(8, 12), seen

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source)
        _, state = self.first(x)
        again = (x + state.transpose(0, 1),) if self.seen else (x, torch.tanh(self.between(state)))
        memory, state = self.second(*again)
        return self.decoded(memory, state, target)


class Last(Chained):
    """Its memory's last row, a layer's view of which the decoder begins from, is read from the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.view = nn.GRU(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 12)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, _ = self.layer(self.words(source))
        return self.decoded(memory, torch.tanh(self.view(memory[:, -1]))[None], target)


class Placed(Chained):
    """A bidirectional GRU over words and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(64, 8)
        self.layer = nn.GRU(8, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.layer(self.words(source) + self.places(torch.arange(source.shape[1])))
        return self.decoded(memory, joined(state), target)


class Convolved(Chained):
    """Convolutions that look both ways, then a bidirectional LSTM, as in Tacotron 2."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(8, 8, 5, padding=2) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(2))
        self.layer = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        memory, (h, _) = self.layer(x.transpose(1, 2))
        return self.decoded(memory, joined(h), target)


class Pyramid(Chained):
    """Two bidirectional GRUs, the second over half as many rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.halved = nn.Conv1d(12, 8, 3, 2, 1)
        self.second = nn.GRU(8, 6, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x, _ = self.first(self.words(source))
        memory, state = self.second(torch.relu(self.halved(x.transpose(1, 2)).transpose(1, 2)))
        return self.decoded(memory, joined(state), target)


class Heard(Chained):
    """Convolutions, of which one halves the rows, then self-attention, as in Whisper: no recurrence at all."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv1d(8, 12, 3, padding=1), nn.Conv1d(12, 12, 3, 2, 1)])
        self.layer, self.begin = models.Attention(12, 2, 8, causal=False), nn.Parameter(torch.randn(1, 1, 12))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source).transpose(1, 2)
        for convolution in self.convolutions:
            x = nn.functional.gelu(convolution(x))
        x = x.transpose(1, 2)
        return self.decoded(x + self.layer(x), self.begin, target)


FORWARDS, BACKWARDS, WHOLE = "forwards", "backwards", "whole"
MODELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "bridged": (Bridged, (FORWARDS, WHOLE)),
    "backwards": (Backwards, (FORWARDS, BACKWARDS)),
    "begun": (Begun, (FORWARDS, BACKWARDS)),
    "ends": (Ends, (FORWARDS, BACKWARDS)),
    "by hand": (ByHand, (FORWARDS, BACKWARDS)),
    "scripted": (Scripted, (FORWARDS, BACKWARDS)),
    "reversed": (Reversed, (BACKWARDS,)),
    "two layers": (TwoLayers, (FORWARDS, BACKWARDS, FORWARDS)),
    "two layers of rnn": (lambda: TwoLayers("RNN"), (FORWARDS, BACKWARDS, FORWARDS)),
    "residual": (Residual, (FORWARDS, BACKWARDS, FORWARDS)),
    "behind attention": (Behind, (WHOLE, FORWARDS)),
    "between attention": (lambda: Behind(both=True), (WHOLE, FORWARDS, BACKWARDS, WHOLE)),
    "masked": (Masked, (FORWARDS, BACKWARDS, WHOLE)),
    "pooled": (Pooled, (FORWARDS, BACKWARDS, WHOLE)),
    "from the end": (Twice, (FORWARDS, WHOLE, FORWARDS)),
    "seeing the end": (lambda: Twice(seen=True), (FORWARDS, WHOLE, FORWARDS)),
    "last row": (Last, (FORWARDS, BACKWARDS, WHOLE)),
    "placed": (Placed, (WHOLE, FORWARDS, BACKWARDS)),
    "convolved": (Convolved, (FORWARDS, FORWARDS, BACKWARDS)),
    "pyramid": (Pyramid, (FORWARDS, BACKWARDS, FORWARDS, FORWARDS, BACKWARDS)),
    "heard": (Heard, (FORWARDS, WHOLE)),
}
"""Name -> how it is made, and the parts that its encoder becomes."""


def made(name: str, kind: Any = None) -> nn.Module:
    """Make one, or one of a kind, far from even odds, as trained models are."""
    torch.manual_seed(5)
    module: nn.Module = (kind or MODELS[name][0])()
    head: Any = module.head
    with torch.no_grad():
        head.weight.mul_(4.0)
    return module.eval()
