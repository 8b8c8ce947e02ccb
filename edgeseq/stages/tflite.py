"""A stateful TFLite file by somebody else."""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq import libraries
from edgeseq.backends import settings
from edgeseq.errors import ConfigError
from edgeseq.stages import _file, _tflite_file
from edgeseq.stages._model import Arrays, Constant, ModelStage, StatePair
from edgeseq.stages._pairing import NARROW, SEVERAL, UNSAID, Port
from edgeseq.stages._scale import Scale
from edgeseq.tables import suggest
from edgeseq.types import Shape


class Tflite(ModelStage):
    """One call of a TFLite file a step, with one thread; the keys are those of the stage onnx, and signature.

    signature: which of the file's it is, where there are several. Quantized inputs and outputs are float32 outside:
    integers are made of them, and made real again, by the scales in the file. Raises ConfigError where the library is
    missing: it comes with the extra 'tflite'.
    """

    def __init__(
        self,
        *,
        file: Path,
        sha256: str | None = None,
        states: list[StatePair] | None = None,
        constants: dict[str, Constant] | None = None,
        overlap: dict[str, int] | None = None,
        signature: str | None = None,
    ) -> None:
        digest = _file.checked(file, sha256)
        runtime = _Interpreter(file, signature)
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
    """The file in LiteRT, or in tflite-runtime where that is what is installed.

    Inputs and outputs go by the names of the signature, which are those that its maker gave; by their tensors' where
    the file has none.
    """

    def __init__(self, file: Path, signature: str | None) -> None:
        self._file = file
        make = libraries.litert()
        try:
            self._interpreter = make(model_path=str(file), **settings.interpreter_options())
            signatures = self._interpreter.get_signature_list()
            entering = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
            leaving = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
            sizes = len(self._interpreter.get_input_details()), len(self._interpreter.get_output_details())
            raw = file.read_bytes()
            memory = _tflite_file.memory(raw)
            wrong = _tflite_file.mixed_product(raw) if make.__module__.startswith("tflite_runtime") else None
        except (ValueError, RuntimeError) as cause:
            raise ConfigError(
                f"{file}: this is no TFLite file that can be run here: {_plain(cause)}.", "file"
            ) from cause
        if memory is not None:
            raise ConfigError(
                f"{file} keeps its state inside, in {memory}: streams would share it, and nothing could reset or save "
                "it. Convert the model again with the state as an input and an output of the step.",
                "file",
            )
        if wrong is not None:
            raise ConfigError(
                f"{file} multiplies floats by the int8 weights '{wrong}', which have a scale for each output: "
                "tflite-runtime 2.14 gives wrong numbers for that without a word. Run it on its successor: pip install "
                "'edgeseq[tflite]', or convert it with float weights or static quantization.",
                "file",
            )
        key = _chosen(file, signatures, signature)
        self._runner: Any = None
        if key is not None:
            runner = self._interpreter.get_signature_runner(key)
            named = runner.get_input_details(), runner.get_output_details()
            # What is not the file's first graph the interpreter runs through the signature alone.
            first = {**entering, **leaving}
            details = [detail for part in named for detail in part.values()]
            if not all(first.get(d["name"], {}).get("index") == d["index"] for d in details):
                self._runner = runner
            entering, leaving = named
        elif (len(entering), len(leaving)) != sizes:
            raise ConfigError(
                f"{file} has several inputs or outputs of one name, and no signature to tell them.", "file"
            )
        self._in, self._out = entering, leaving
        self.inputs = {name: _port(file, name, detail) for name, detail in self._in.items()}
        self.outputs = {name: _port(file, name, detail) for name, detail in self._out.items()}

    def settle(self, shapes: Mapping[str, Shape]) -> None:
        """Resize the inputs that the file leaves open, and allocate; through a signature every call does so."""
        if self._runner is not None:
            return
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
            if self._runner is not None:
                given: Arrays = self._runner(**{name: np.ascontiguousarray(value) for name, value in feeds.items()})
                return given
            for name, value in feeds.items():
                self._interpreter.set_tensor(self._in[name]["index"], np.ascontiguousarray(value))
            self._interpreter.invoke()
            get = self._interpreter.get_tensor
            return {name: get(detail["index"]) for name, detail in self._out.items()}
        except (ValueError, RuntimeError) as cause:
            raise ConfigError(f"{self._file} cannot be run here: {_plain(cause)}.", "file") from cause


def _plain(cause: Exception) -> str:
    """Return the library's words as one line."""
    return " ".join(str(cause).split()).rstrip(".") or type(cause).__name__


def _chosen(file: Path, signatures: Collection[str], asked: str | None) -> str | None:
    """Return the signature to run: the one asked for, or the file's only one. Raises ConfigError."""
    if asked is not None and asked not in signatures:
        near = suggest(asked, signatures) if signatures else "It has none."
        raise ConfigError(f"{file.name} has no signature '{asked}'. {near}", "signature")
    if asked is None and len(signatures) > 1:
        listed = ", ".join(f"'{name}'" for name in sorted(signatures))
        raise ConfigError(f"{file.name} has several signatures: {listed}. Say which by the key signature.", "file")
    return asked if asked is not None else next(iter(signatures), None)


def _port(file: Path, name: str, detail: Mapping[str, Any]) -> Port:
    """Return an input or output. Raises ConfigError for what is no array of numbers."""
    stored = np.dtype(detail["dtype"])
    if stored.kind not in "bifu":
        raise ConfigError(f"{file}: '{name}' is {stored}; only arrays of numbers are taken.", "file")
    # A file without sizes left open has no signature of its own.
    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    shape = tuple(int(size) if size > 0 else None for size in sizes)
    scale, zero_point = detail["quantization"]
    if stored.kind in "iu" and scale:
        return Port(name, shape, np.dtype(np.float32), Scale(stored, float(scale), int(zero_point)))
    several = len(detail["quantization_parameters"]["scales"]) > 1
    return Port(name, shape, stored, unclear=(SEVERAL if several else UNSAID) if stored.name in NARROW else "")


_EXAMPLE = (
    "eNpdT60OwjAQvpWFNFuzTEwgJhAIPK9AUAgEHsOSKULCxHBIBBK5R+EJeAqehPJdd4XRJl96vX4/d5qItqv14mmtLVCXwBS4RkQj3LgoBvZva0"
    "kO9wpXZTRBlZMhDVYmffa4AXegE/2pqY6sUMASyJ0++WoTvIz0I4HPV5JVuH9DqWT1HpR6ncYOnq8GsyrxCvs81wXYAHN5d/DQMgtzzqLx8zzk"
    "n/PGQL07VG3zz3kFHnXgYdzO5BKZM+S2AZfrmeQZt/tPV/arlDHFbvYPAfwjGA=="
)
