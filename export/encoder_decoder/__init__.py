"""Encoder-decoders: one graph split into an encoder and a decoder, each of them rewritten to a step.

- split.py: the cut between the two, and the memory that crosses it
- parity.py: both together held against the original: teacher-forced outputs, greedy tokens
- exporter.py: the whole in order
"""

from export.encoder_decoder.exporter import export

__all__ = ["export"]
