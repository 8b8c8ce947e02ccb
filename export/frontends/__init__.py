"""Brings trained models of any origin into one form: an ONNX sequence graph with a free time axis."""

from __future__ import annotations

from pathlib import Path

from export.errors import ExportError
from export.frontends.encoder_decoder import EncoderDecoder
from export.frontends.sequence import Sequence

__all__ = ["EncoderDecoder", "Sequence", "load"]


def load(source: str, *, input_name: str | None = None, time_axis: int | None = None) -> Sequence | EncoderDecoder:
    """Load a model: a .onnx or .keras file, or `module.py:function` that gives a PyTorch module and an example.

    Raises ExportError for what is neither, or cannot be loaded.
    """
    path, separator, function = source.rpartition(":")
    if separator and path.endswith(".py"):
        try:
            from export.frontends import torch as frontend  # noqa: PLC0415 - PyTorch loads only for PyTorch sources
        except ModuleNotFoundError as cause:
            raise ExportError(
                f"{source}: a PyTorch source needs '{cause.name}': pip install 'edgeseq[export]'."
            ) from cause
        return frontend.load(Path(path), function, time_axis=time_axis)
    if source.endswith(".onnx"):
        from export.frontends import onnx as onnx_frontend  # noqa: PLC0415 - symmetrical with the other

        return onnx_frontend.load(Path(source), input_name=input_name, time_axis=time_axis)
    if source.endswith(".keras"):
        try:
            from export.frontends import keras as keras_frontend  # noqa: PLC0415 - h5py loads only for Keras sources
        except ModuleNotFoundError as cause:
            raise ExportError(
                f"{source}: a Keras source needs '{cause.name}': pip install 'edgeseq[export]'."
            ) from cause
        return keras_frontend.load(Path(source), input_name=input_name, time_axis=time_axis)
    raise ExportError(f"'{source}' is no .onnx file, no .keras file and no module.py:function giving a PyTorch module.")
