"""Brings trained models of any origin into one form: an ONNX sequence graph with a free time axis."""

from __future__ import annotations

from pathlib import Path

from export.errors import ExportError, OptionError
from export.frontends.encoder_decoder import EncoderDecoder
from export.frontends.example import Example
from export.frontends.example import read as read_example
from export.frontends.sequence import Sequence

__all__ = ["EncoderDecoder", "Sequence", "load"]


RUN_CODE = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".ts", ".jit", ".h5", ".hdf5")


def load(
    source: str,
    *,
    input_name: str | None = None,
    time_axis: int | None = None,
    example: Example | None = None,
    weights: str | Path | None = None,
) -> Sequence | EncoderDecoder:
    """Load a model: a .onnx or .keras file, or `module.py:function` that gives a PyTorch module and an example.

    example: of an ONNX model's input (see example.py). weights: a PyTorch module's state_dict. Raises ExportError for
    what is neither, or cannot be loaded.
    """
    kind = Path(source.rpartition(":")[0]).suffix or Path(source).suffix
    if example is not None and kind != ".onnx":
        raise OptionError(
            "--example is for .onnx files: a PyTorch source gives its own, a .keras file says its shapes."
        )
    if weights is not None and kind != ".py":
        raise OptionError("--weights is for PyTorch sources, module.py:function; other files hold their own.")
    path, separator, function = source.rpartition(":")
    if separator and path.endswith(".py"):
        try:
            from export.frontends import torch as frontend  # noqa: PLC0415 - PyTorch loads only for PyTorch sources
        except ModuleNotFoundError as cause:
            raise ExportError(
                f"{source}: a PyTorch source needs '{cause.name}': pip install 'edgeseq[export]'."
            ) from cause
        return frontend.load(Path(path), function, time_axis=time_axis, weights=weights)
    if source.endswith(".onnx"):
        from export.frontends import onnx as onnx_frontend  # noqa: PLC0415 - symmetrical with the other

        known = None if example is None else read_example(example)
        return onnx_frontend.load(Path(source), input_name=input_name, time_axis=time_axis, example=known)
    if source.endswith(".keras"):
        try:
            from export.frontends import keras as keras_frontend  # noqa: PLC0415 - h5py loads only for Keras sources
        except ModuleNotFoundError as cause:
            raise ExportError(
                f"{source}: a Keras source needs '{cause.name}': pip install 'edgeseq[export]'."
            ) from cause
        return keras_frontend.load(Path(source), input_name=input_name, time_axis=time_axis)
    if source.endswith(RUN_CODE):
        raise ExportError(
            f"{source}: such a file may run code when it is opened (TorchScript, pickle, older Keras), so it is not "
            "read. Give the model's code as module.py:function, and its weights, saved with "
            "torch.save(module.state_dict(), FILE), with --weights FILE; or export it to .onnx or .keras."
        )
    if source.endswith(".py"):
        raise ExportError(
            f"'{source}' says no function: give {source}:FUNCTION, a function without arguments that returns (module, "
            "example), a PyTorch module and one example input."
        )
    raise ExportError(f"'{source}' is no .onnx file, no .keras file and no module.py:function giving a PyTorch module.")
