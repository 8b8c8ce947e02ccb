"""Keras' layers that are refused: why, and what would work."""

from __future__ import annotations

REASONS = {
    "Bidirectional": (
        "one of its halves runs from the end of the sequence: its output depends on frames that have not come yet. "
        "Train the layer it holds forward, without Bidirectional, or look ahead with Conv1D(padding='same'), which "
        "streams with a delay."
    ),
    "Lambda": (
        "it holds pickled Python code, which is never executed here. Use Keras' own layers; for the last step, "
        "return_sequences=False or x[:, -1]."
    ),
    "Masking": (
        "it hides padded frames from the layers behind it, and a stream has no padded frames. Build the model without "
        "it, copy the weights (model.set_weights(old.get_weights())) and save that."
    ),
    "RepeatVector": (
        "it copies the last step to all steps of a window, so every output needs the window's end first. A forecast "
        "with Dense, or a model that gives its own output at every step, streams."
    ),
    "Permute": "it changes places of time and features, which is not streamed.",
    "UpSampling1D": "it gives several steps for one, which is not streamed.",
    "Conv1DTranspose": "it gives several steps for one, which is not streamed.",
    "GroupNormalization": "it normalizes over time. LayerNormalization and BatchNormalization stream.",
    "ConvLSTM1D": "it is not read yet. Conv1D followed by LSTM streams.",
    "TorchModuleWrapper": "it holds pickled Python code, which is never executed here. Export the PyTorch module.",
    "TFSMLayer": "it holds a TensorFlow program, which is not executed here.",
}


def reason_against(kind: str) -> str:
    """Return why a layer is refused."""
    return REASONS.get(kind, "this layer is not known here. Use others of Keras' layers, or export the model to ONNX.")
