"""Encoder-decoders: one graph split into an encoder and a decoder, each of them rewritten to a step.

- split.py: the cut between the two, and the memory that crosses it
- parity.py: both together held against the original: teacher-forced outputs, greedy tokens
- calibration.py: the sources and targets that quantized variants are calibrated on
- pairs.py: the variants, two files each, made, written and proven
- goldens.py: what is replayed on a device, and the integer reference of both together
- exporter.py: the whole in order
"""

from export.encoder_decoder.exporter import export

__all__ = ["export"]
