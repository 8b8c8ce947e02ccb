"""The families of cells that the litert backend is tested on, in these variants: see litert_cases.py."""

FAMILIES = ("rnn", "rnn_relu", "gru", "gru_before", "lstm", "residual", "mixed")
VARIANTS = ("float32", "int8", "w8a16")
