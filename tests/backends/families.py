"""The families of models that all backends are tested on, in these variants: see litert_cases.py."""

from edgeseq.bundle import STORAGE

FAMILIES = (
    "rnn", "rnn_relu", "gru", "gru_before", "lstm", "peephole", "projected", "state space", "residual", "mixed",
    "tcn", "depthwise", "grouped", "conv2d", "se", "attention", "rotary", "gpt", "embedding", "fused", "several",
    "keras", "delay", "two frames a step", "window", "restart", "linear attention", "mean head",
)  # fmt: skip
VARIANTS = ("float32", "int8", "w8a16")
ALL = (*VARIANTS, *STORAGE)
EXACT = {"Reshape", "Transpose", "Slice", "Concat", "Gather", "Expand", "Pad", "Where"}
"""Kinds of ops that move numbers and change none."""
SUMS = {"Linear", "Conv", "MatMul", "ReduceSum", "ReduceMean", "LayerNormalization"}
PAIRS = ("pair", "pair_whole", "pair_parts")
"""Encoder-decoders: one whose encoder steps, one whose encoder is a whole, one whose encoder has parts of all kinds."""
