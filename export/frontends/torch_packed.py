"""Recurrent layers over packed sequences, for PyTorch's older exporter.

It loses its way where a packed output is never padded again, as in a head on the last state. So while it traces, every
packed output is padded, and leaves as a further output, which is then taken off.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils import rnn


class Unpacking(torch.nn.Module):
    """A module that also gives the padded outputs of its recurrent layers, behind its own."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.padded = module, list[torch.Tensor]()
        self.training = module.training  # the exporter sets all parts back to what the outermost was before
        layers = [part for part in module.modules() if isinstance(part, torch.nn.RNNBase)]
        self.hooks = [layer.register_forward_hook(self._pad) for layer in layers]

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, ...]:
        """Run the module."""
        self.padded = []
        output = self.module(*inputs)
        return (output, *self.padded)

    def remove(self) -> None:
        """Leave the module as it was."""
        for hook in self.hooks:
            hook.remove()

    def _pad(self, _module: torch.nn.Module, _inputs: object, output: Any) -> None:
        if isinstance(output, tuple) and isinstance(output[0], rnn.PackedSequence):
            self.padded.append(rnn.pad_packed_sequence(output[0])[0])
