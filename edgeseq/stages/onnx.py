"""A stateful ONNX file by somebody else."""

from __future__ import annotations

import base64
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseq.backends import settings
from edgeseq.errors import ConfigError, ModelError
from edgeseq.stages import _file, _onnx_scales
from edgeseq.stages._model import Arrays, Constant, ModelStage, StatePair
from edgeseq.stages._pairing import NARROW, SEVERAL, UNSAID, Port
from edgeseq.stages._scale import Scale
from edgeseq.types import Shape

if TYPE_CHECKING:
    import onnxruntime as ort

TYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's words that are not NumPy's."""


class Onnx(ModelStage):
    """One call of an ONNX file a step, on ONNX Runtime with one thread.

    Quantized inputs and outputs are float32 outside, by the scales in the file.

    file: the file. sha256: its sum, which it must have. states: pairs of an input and the output that is its next
    value, all of them; default: the one pairing that shapes and types allow. constants: inputs that are held at a
    value. overlap: inputs that begin with so many rows of the past: samples of a source, rows of a stage.
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
        runtime = _Session(file)
        super().__init__(file, runtime, sha256=digest, states=states, constants=constants or {}, overlap=overlap or {})

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a small file, written to the temporary folder: h = (h + x) / 2, y = h."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "example.onnx"
        path.write_bytes(base64.b64decode(_EXAMPLE))
        return {"file": path, "states": [StatePair("h", "h_next")], "overlap": {"x": 1}}

    @classmethod
    def example_inputs(cls) -> dict[str, Shape]:
        """Return the shapes that the example takes, of two samples a step."""
        return {"x": (2, 1)}


class _Session:
    """The file in ONNX Runtime."""

    def __init__(self, file: Path) -> None:
        from edgeseq.backends import ort as backend  # noqa: PLC0415 - ONNX Runtime loads where a model needs it

        options = settings.session_options(wide_sums=_overflows())
        try:
            self._session: ort.InferenceSession = backend.open_session(file, options)
        except ModelError as cause:
            raise ConfigError(str(cause), "file") from cause
        self._file = file
        entering, leaving = self._session.get_inputs(), self._session.get_outputs()
        narrow = any(_dtype(value.type) in NARROW for value in (*entering, *leaving))
        scales = _scales(file) if narrow else {}
        self.inputs = {value.name: _port(file, value, scales) for value in entering}
        self.outputs = {value.name: _port(file, value, scales) for value in leaving}
        self._names = list(self.outputs)

    def settle(self, shapes: Mapping[str, Shape]) -> None:
        """Nothing: shapes come with the values."""

    def run(self, feeds: Arrays) -> Arrays:
        """Compute all outputs."""
        try:
            return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))
        except Exception as cause:
            reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
            raise ConfigError(f"{self._file} cannot compute on these shapes: {reason}", "file") from cause


def _overflows(flags: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this processor sums products of uint8 by int8 in 16 bits, where they overflow in silence."""
    if platform.machine().lower() not in {"x86_64", "amd64", "i686"}:
        return False
    try:
        return "vnni" not in flags.read_text("utf-8", errors="replace")
    except OSError:
        return True


def _scales(file: Path) -> Mapping[str, Sequence[tuple[float, int]]]:
    """Return the scales of the file's values; nothing where they cannot be read."""
    try:
        return _onnx_scales.scales(file.read_bytes())
    except _onnx_scales.UnreadableError:
        return {}


def _dtype(word: str) -> str:
    """Return ONNX Runtime's word for a type as NumPy's."""
    word = word.removeprefix("tensor(").removesuffix(")")
    return TYPES.get(word, word)


def _port(file: Path, value: Any, scales: Mapping[str, Sequence[tuple[float, int]]]) -> Port:
    """Return an input or output of the session. Raises ConfigError for what is no array of numbers."""
    word = _dtype(value.type)
    if not value.type.startswith("tensor(") or word not in {"bool", "float16", "float32", "float64"} | _INTEGERS:
        raise ConfigError(f"{file}: '{value.name}' is a {value.type}; only arrays of numbers are taken.", "file")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape)
    if word not in NARROW:
        return Port(value.name, shape, np.dtype(word))
    known = scales.get(value.name, ())
    if len(known) == 1:
        return Port(value.name, shape, np.dtype(np.float32), Scale(np.dtype(word), *known[0]))
    return Port(value.name, shape, np.dtype(word), unclear=SEVERAL if known else UNSAID)


_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_EXAMPLE = (
    "CAg6qgEKDgoBaAoBeBIBcyIDQWRkChMKAXMKAWsSBmhfbmV4dCIDTXVsChUKBmhfbmV4dBIBeSIISWRlbnRpdHkSBHN0ZXAqDQgBEAEiBAAAAD"
    "9CAWtaEwoBeBIOCgwIARIICgIIAQoCCANaEwoBaBIOCgwIARIICgIIAQoCCANiEwoBeRIOCgwIARIICgIIAQoCCANiGAoGaF9uZXh0Eg4KDAgB"
    "EggKAggBCgIIA0IECgAQEQ=="
)
