"""The families of models that the litert backend is tested on, in these variants: see litert_cases.py."""

FAMILIES = (
    "rnn", "rnn_relu", "gru", "gru_before", "lstm", "residual", "mixed",
    "tcn", "depthwise", "grouped", "conv2d", "se", "attention", "gpt", "embedding", "fused",
)  # fmt: skip
VARIANTS = ("float32", "int8", "w8a16")
EXACT = {"Reshape", "Transpose", "Slice", "Concat", "Gather", "Expand", "Pad", "Where"}
"""Kinds of ops that move numbers and change none."""
SUMS = {"Linear", "Conv", "MatMul", "ReduceSum", "ReduceMean", "LayerNormalization"}
PAIRS = ("pair", "pair_whole", "pair_parts")
"""Encoder-decoders: one whose encoder steps, one whose encoder is a whole, one whose encoder has parts of all kinds."""
