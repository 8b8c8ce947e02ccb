"""PyTorch modules with loops over time of their own: exported at one length, where the loop is unrolled, then rolled.

1. Both exporters follow a Python loop over the steps of the example, and write down as many.
   The source of an encoder-decoder keeps a free time meanwhile: only the loop over the target is unrolled.
2. nn.LSTM with projections: one exporter refuses it, the other leaves the projection out. It is written as such a loop.

What comes of it is held against the module at three lengths, as any export is (see torch.py).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection
from typing import Any

import onnx
import torch

from export import unrolled
from export.graph import Input

LENGTH = 17
"""Steps that are unrolled: few, since each is a copy, and a prime, which is seldom a layer's size."""


def rolled(
    model: onnx.ModelProto, inputs: tuple[Input, ...], free: Collection[str] = ()
) -> tuple[onnx.ModelProto, int]:
    """Return an export at LENGTH with its time free, and how many loops were rolled. Raises ExportError by node.

    free: inputs whose time is free already.
    """
    return unrolled.rolled(model, inputs, LENGTH, free)


def unrolls(module: torch.nn.Module, inputs: tuple[Input, ...]) -> bool:
    """Return whether tracing writes down more of the module for more steps: a Python loop over time."""
    counts = set()
    for length in (LENGTH, LENGTH + 2):
        sample = tuple(torch.from_numpy(entry.noise(length)) for entry in inputs)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
                    module, sample, check_trace=False, strict=False
                )
        except Exception:  # noqa: BLE001 - what cannot be traced is left to the exporters
            return False
        counts.add(sum(1 for _ in traced.inlined_graph.nodes()))
    return len(counts) > 1


def written_out(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module, with loops of cells in the place of LSTMs with projections (2)."""
    if isinstance(module, torch.nn.LSTM) and module.proj_size:
        return _Projected(module)
    if not any(isinstance(part, torch.nn.LSTM) and part.proj_size for part in module.modules()):
        return module
    result = copy.deepcopy(module)
    for part in list(result.modules()):
        for name, child in part.named_children():
            if isinstance(child, torch.nn.LSTM) and child.proj_size:
                setattr(part, name, _Projected(child))
    return result


class _Projected(torch.nn.Module):
    """An LSTM with projections, as PyTorch's documentation has its equations."""

    def __init__(self, lstm: torch.nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(
        self, x: torch.Tensor, given: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Run all layers over [batch, time, features], or [time, batch, features], or without the batch."""
        lstm = self.lstm
        batched = x.ndim == 3  # noqa: PLR2004 - [batch, time, features]
        steps = x.transpose(0, 1) if batched and lstm.batch_first else x if batched else x.unsqueeze(1)
        if given is None:
            count = lstm.num_layers * (2 if lstm.bidirectional else 1)
            sizes = (lstm.proj_size, lstm.hidden_size)
            first = [torch.zeros(count, steps.shape[1], size, dtype=x.dtype) for size in sizes]
        else:
            first = [state if batched else state.unsqueeze(1) for state in given]
        last: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for layer in range(lstm.num_layers):
            directions = []
            for reverse in range(2 if lstm.bidirectional else 1):
                place = layer * (2 if lstm.bidirectional else 1) + reverse
                ending = f"_l{layer}{'_reverse' if reverse else ''}"
                y, h, c = self._layer(steps.flip(0) if reverse else steps, first[0][place], first[1][place], ending)
                directions.append(y.flip(0) if reverse else y)
                last[0].append(h)
                last[1].append(c)
            steps = torch.cat(directions, dim=-1)
        h, c = (torch.stack(states) for states in last)
        if not batched:
            return steps.squeeze(1), (h.squeeze(1), c.squeeze(1))
        return steps.transpose(0, 1) if lstm.batch_first else steps, (h, c)

    def _layer(
        self, steps: torch.Tensor, h: torch.Tensor, c: torch.Tensor, ending: str
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        names = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
        weights: dict[str, Any] = {name: getattr(self.lstm, f"{name}{ending}", None) for name in names}
        linear = torch.nn.functional.linear
        ys = []
        for t in range(steps.shape[0]):
            gates = linear(steps[t], weights["weight_ih"], weights["bias_ih"])
            gates = gates + linear(h, weights["weight_hh"], weights["bias_hh"])
            i, f, g, o = gates.chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = linear(torch.sigmoid(o) * torch.tanh(c), weights["weight_hr"])
            ys.append(h)
        return torch.stack(ys), h, c
