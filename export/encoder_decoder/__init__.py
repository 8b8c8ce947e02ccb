"""Encoder-decoders: one graph split into an encoder and a decoder, each of them rewritten to steps.

- unpadded.py: what reads lengths and masks of padded sequences, which a stream has none of
- split.py: the cut between the two, and the memory that crosses it
- encoder.py: the encoder as one step, a whole, or a chain of parts; times.py, turns.py and directions.py say how it
  goes through its source, chain.py which part holds what, part.py cuts it out
- parity.py: both together held against the original: teacher-forced outputs, greedy tokens
- calibration.py: the sources and targets that quantized variants are calibrated on
- pairs.py: the variants, a file a graph, made, written and proven
- goldens.py: what is replayed on a device, and the integer reference of both together
- exporter.py: the whole in order
"""

from export.encoder_decoder.exporter import export

__all__ = ["export"]
