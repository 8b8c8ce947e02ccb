"""A stateful TFLite file by somebody else."""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import libraries
from edgeseq.errors import ConfigError
from edgeseq.stages import _file
from edgeseq.stages._model import Arrays, Constant, ModelStage, StatePair
from edgeseq.stages._pairing import Port
from edgeseq.types import Shape


class Tflite(ModelStage):
    """One call of a TFLite file a step, with one thread; the keys are those of the stage onnx.

    Quantized inputs and outputs are float32 outside: integers are made of them, and made real again, by the scales in
    the file. Raises ConfigError where the library is missing: it comes with the extra 'tflite'.
    """

    def __init__(
        self,
        *,
        file: Path,
        sha256: str | None = None,
        states: list[StatePair] | None = None,
        constants: dict[str, Constant] | None = None,
        overlap: dict[str, int] | None = None,
    ) -> None:
        digest = _file.checked(file, sha256)
        runtime = _Interpreter(file)
        super().__init__(file, runtime, sha256=digest, states=states, constants=constants or {}, overlap=overlap or {})

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a small file, written to the temporary folder: h = h + x, y = tanh(h)."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "example.tflite"
        path.write_bytes(zlib.decompress(base64.b64decode(_EXAMPLE)))
        return {"file": path, "states": [StatePair("h", "h_next")]}

    @classmethod
    def example_inputs(cls) -> dict[str, Shape]:
        """Return the shapes that the example takes, of three samples a step."""
        return {"x": (3, 1)}


class _Interpreter:
    """The file in LiteRT, or in tflite-runtime where that is what is installed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        make = libraries.litert()
        try:
            self._interpreter = make(model_path=str(file), num_threads=1)
            entering = self._interpreter.get_input_details()
            leaving = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as cause:
            raise ConfigError(
                f"{file}: this is no TFLite file that can be run here: {_plain(cause)}.", "file"
            ) from cause
        self._in = {detail["name"]: detail for detail in entering}
        self._out = {detail["name"]: detail for detail in leaving}
        self.inputs = {name: _port(file, detail) for name, detail in self._in.items()}
        self.outputs = {name: _port(file, detail) for name, detail in self._out.items()}

    def settle(self, shapes: Mapping[str, Shape]) -> None:
        """Resize the inputs that the file leaves open, and allocate."""
        try:
            for name, shape in shapes.items():
                if tuple(self._in[name]["shape"]) != shape:
                    self._interpreter.resize_tensor_input(self._in[name]["index"], shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as cause:
            raise ConfigError(f"{self._file} cannot be run here: {_plain(cause)}.", "file") from cause

    def run(self, feeds: Arrays) -> Arrays:
        """Compute all outputs."""
        try:
            for name, value in feeds.items():
                self._interpreter.set_tensor(self._in[name]["index"], _stored(self._in[name], value))
            self._interpreter.invoke()
            get = self._interpreter.get_tensor
            return {name: _real(detail, get(detail["index"])) for name, detail in self._out.items()}
        except (ValueError, RuntimeError) as cause:
            raise ConfigError(f"{self._file} cannot be run here: {_plain(cause)}.", "file") from cause


def _plain(cause: Exception) -> str:
    """Return the library's words as one line."""
    return " ".join(str(cause).split()).rstrip(".")


def _quantized(detail: Mapping[str, Any]) -> tuple[float, int] | None:
    """Return scale and zero point where the tensor has them."""
    scale, zero_point = detail["quantization"]
    return (float(scale), int(zero_point)) if scale and np.dtype(detail["dtype"]).kind in "iu" else None


def _port(file: Path, detail: Mapping[str, Any]) -> Port:
    """Return an input or output. Raises ConfigError for what is no array of numbers."""
    dtype = np.dtype(np.float32 if _quantized(detail) else detail["dtype"])
    if dtype.kind not in "bifu":
        raise ConfigError(f"{file}: '{detail['name']}' is {dtype}; only arrays of numbers are taken.", "file")
    # A file without sizes left open has no signature of its own.
    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return Port(detail["name"], tuple(int(size) if size > 0 else None for size in sizes), dtype)


def _stored(detail: Mapping[str, Any], value: NDArray[Any]) -> NDArray[Any]:
    """Return real values as the tensor stores them."""
    quantized = _quantized(detail)
    if quantized is None:
        return np.ascontiguousarray(value)
    limits = np.iinfo(detail["dtype"])
    stored = np.rint(value.astype(np.float64) / quantized[0]) + quantized[1]
    clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(detail["dtype"])
    return clipped


def _real(detail: Mapping[str, Any], value: NDArray[Any]) -> NDArray[Any]:
    """Return what a tensor stores as real values."""
    quantized = _quantized(detail)
    if quantized is None:
        return value
    real: NDArray[Any] = ((value.astype(np.float64) - quantized[1]) * quantized[0]).astype(np.float32)
    return real


_EXAMPLE = (
    "eNpdT60OwjAQvpWFNFuzTEwgJhAIPK9AUAgEHsOSKULCxHBIBBK5R+EJeAqehPJdd4XRJl96vX4/d5qItqv14mmtLVCXwBS4RkQj3LgoBvZva0"
    "kO9wpXZTRBlZMhDVYmffa4AXegE/2pqY6sUMASyJ0++WoTvIz0I4HPV5JVuH9DqWT1HpR6ncYOnq8GsyrxCvs81wXYAHN5d/DQMgtzzqLx8zzk"
    "n/PGQL07VG3zz3kFHnXgYdzO5BKZM+S2AZfrmeQZt/tPV/arlDHFbvYPAfwjGA=="
)
