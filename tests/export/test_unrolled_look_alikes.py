"""What only looks like an unrolled loop over time: refused by node and reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from unrolled_models import INPUTS, Written, backward, exported, gru, own_weights, repeated, seeded, whole, zeros

import export
from export.unrolled import rolled


def _other_first_weights(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cells[int(t > 0)](x[:, t], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _clock(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h + 0.01 * t)
        rows.append(h)
    return torch.stack(rows, 1)


def _positions(self: Any, x: torch.Tensor) -> torch.Tensor:
    rows = repeated(gru, zeros)(self, x)
    return torch.stack([rows[:, t] + self.table[t] for t in range(x.shape[1])], 1)


def _both_ways(self: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([repeated(gru, zeros)(self, x), backward(self, x)], -1)


def _fourth(self: Any, x: torch.Tensor) -> torch.Tensor:
    rows = repeated(gru, zeros)(self, x)
    return rows + rows[:, 3:4]


def _every_second(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(0, x.shape[1], 2):
        h = self.cell(x[:, t], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _ahead(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cell(x[:, min(t + 1, x.shape[1] - 1)], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _once_otherwise(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h) * (0.5 if t == 4 else 1)
        rows.append(h)
    return torch.stack(rows, 1)


def _start_from_data(self: Any, x: torch.Tensor) -> torch.Tensor:
    return repeated(gru, lambda _: torch.tanh(self.line(x[:, 0])))(self, x)


def _mean(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, total = torch.zeros(1, 6), 0
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        total = total + h
    return self.head(total / x.shape[1])


LOOK_ALIKES = {
    "weights of its own at every step": (own_weights, r"\(Gemm\).*weights or constants are not the same"),
    "other weights at the first step": (_other_first_weights, "step 0 is not computed as those after it"),
    "a constant that counts": (_clock, r"\(Add\).*constants are not the same at every step, seen at step \d"),
    "positions": (_positions, r"\(Add\).*constants are not the same at every step"),
    "backward": (backward, "runs backward over time"),
    "both ways": (_both_ways, "runs backward over time"),
    "the fourth step": (_fourth, "by its number"),
    "every second step": (_every_second, r"\(Gather\).*takes step 0 of 9 by its number"),
    "a frame ahead": (_ahead, "by its number"),
    "one step otherwise": (_once_otherwise, r"constants are not the same|other ops stand there"),
    "a start from the data": (_start_from_data, "step 0 is not computed as those after it"),
    "the whole at every step": (whole, "made of the whole sequence"),
    "a mean": (_mean, r"\(Div\).*number of steps, 9"),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_a_loop_is_refused_by_node_and_reason(name: str) -> None:
    loop, says = LOOK_ALIKES[name]
    model = exported(seeded(5, lambda: Written(loop)), 9)
    with pytest.raises(export.ExportError, match=rf"node '.*{says}"):
        rolled(model, INPUTS, 9)
