"""RNN, GRU and LSTM written out, so that what enters and leaves each step's product can be rounded.

The equations are those of PyTorch's documentation of nn.RNN, nn.GRU and nn.LSTM, on the module's own weights: stacked
layers, dropout between them, packed sequences, without biases, projected states (Sak et al., "Long short-term memory
recurrent neural network architectures for large scale acoustic modeling", INTERSPEECH 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from export.errors import ExportError

if TYPE_CHECKING:
    from export.qat.products import Quantizing

States = tuple[Tensor, ...]
Equations = Callable[[Tensor, Tensor, States], States]
"""(product of the frame, product of the state, states) -> states; [rows, gates * hidden] and [rows, hidden]."""


def _rnn(activation: Callable[[Tensor], Tensor]) -> Equations:
    return lambda from_x, from_h, _: (activation(from_x + from_h),)


def _gru(from_x: Tensor, from_h: Tensor, states: States) -> States:
    (xr, xz, xn), (hr, hz, hn) = from_x.chunk(3, -1), from_h.chunk(3, -1)
    update, new = torch.sigmoid(xz + hz), torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
    return (new + update * (states[0] - new),)


def _lstm(from_x: Tensor, from_h: Tensor, states: States) -> States:
    i, f, g, o = (from_x + from_h).chunk(4, -1)
    cell = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


LAYERS: dict[Any, Equations] = {
    torch.rnn_tanh: _rnn(torch.tanh),
    torch.rnn_relu: _rnn(torch.relu),
    torch.gru: _gru,
    torch.lstm: _lstm,
}
CELLS: dict[Any, Equations] = {
    torch.rnn_tanh_cell: _rnn(torch.tanh),
    torch.rnn_relu_cell: _rnn(torch.relu),
    torch.gru_cell: _gru,
    torch.lstm_cell: _lstm,
}


def cell(  # noqa: PLR0917 - as PyTorch calls it
    quantizing: Quantizing,
    func: Any,
    x: Tensor,
    hx: Tensor | Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Any:
    """Run torch.gru_cell and its like: one step."""
    if quantizing.name_of(w_ih) is None or quantizing.name_of(w_hh) is None:
        return func(x, hx, w_ih, w_hh, b_ih, b_hh)
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    from_x, from_h = quantizing.linear(x, w_ih, b_ih), quantizing.linear(states[0], w_hh, b_hh)
    found = CELLS[func](from_x, from_h, states)
    return found[0] if isinstance(hx, Tensor) else found


def layers(quantizing: Quantizing, func: Any, *arguments: Any) -> Any:
    """Run torch.gru and its like: whole sequences, padded or packed, through all layers."""
    data, second, *rest = arguments
    packed = isinstance(second, Tensor) and not second.is_floating_point()
    hx, weights, biased, count, dropout, training, both_ways = (rest if packed else [second, *rest])[:7]
    if any(quantizing.name_of(weight) is None for weight in weights if weight.ndim > 1):
        return func(*arguments)
    if both_ways:
        raise ExportError(
            f"{quantizing.name_of(weights[0])}: belongs to a bidirectional layer, which cannot stream: no step could "
            "be exported."
        )
    time_first = packed or not rest[-1]
    x = data if time_first else data.transpose(0, 1)
    sizes = second.tolist() if packed else [x.shape[1]] * x.shape[0]
    rows, ends = x.reshape(-1, x.shape[-1]), []
    states: States = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    for number, own in enumerate(_by_layer(weights, count, biased=biased)):
        if number and dropout and training:
            rows = F.dropout(rows, dropout, training=True)
        rows, last = _layer(quantizing, LAYERS[func], rows, sizes, tuple(state[number] for state in states), own)
        ends.append(last)
    y = rows if packed else rows.reshape(*x.shape[:2], rows.shape[-1])
    final = (torch.stack(parts) for parts in zip(*ends, strict=True))
    return (y if time_first else y.transpose(0, 1), *final)


def _by_layer(weights: Sequence[Tensor], count: int, *, biased: bool) -> Iterator[list[Tensor | None]]:
    """Yield each layer's [w_ih, w_hh, b_ih, b_hh, w_hr], None for what it has not."""
    size = len(weights) // count
    for start in range(0, len(weights), size):
        parts: list[Tensor | None] = list(weights[start : start + size])
        if not biased:
            parts[2:2] = [None, None]
        yield [*parts, None][:5]


def _layer(  # noqa: PLR0917 - one call, above
    quantizing: Quantizing,
    equations: Equations,
    rows: Tensor,
    sizes: Sequence[int],
    states: States,
    weights: Sequence[Any],
) -> tuple[Tensor, States]:
    """Run one layer. rows: [sum of sizes, features], step after step, so many sequences in each, the longest first."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    from_x = quantizing.linear(rows, w_ih, b_ih)
    weight = quantizing.weight(w_hh)  # once for all steps
    outputs, ended = [], []
    for part in torch.split(from_x, list(sizes)):
        if len(part) < len(states[0]):
            ended.append(tuple(state[len(part) :] for state in states))
            states = tuple(state[: len(part)] for state in states)
        states = equations(part, quantizing.linear(states[0], w_hh, b_hh, rounded=weight), states)
        if w_hr is not None:
            states = (quantizing.linear(states[0], w_hr, None), *states[1:])
        outputs.append(states[0])
    ended.append(states)
    return torch.cat(outputs), tuple(torch.cat(parts[::-1]) for parts in zip(*ended, strict=True))
