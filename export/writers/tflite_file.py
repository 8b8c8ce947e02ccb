"""A TFLite flatbuffer out of schema objects: tensors, ops with their versions, constants, one signature.

No TensorFlow: ai-edge-litert brings the schema. Equal content gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.program import Type

MISSING = "TFLite files need ai-edge-litert, which is not installed: pip install 'edgeseq[tflite]'."
IDENTIFIER = b"TFL3"
SCHEMA = 3
ALIGNMENT = 16
"""Of constants in the file, which runtimes read in place."""
RUNTIME_KEY, RUNTIME_BYTES = "min_runtime_version", 16
LAST_OLD_CODE = 127
"""The greatest op code that fits the field of the schema's first version, which old runtimes read."""

VERSIONS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "FULLY_CONNECTED": {"float32": (5, "2.0.0")},
    "CONV_2D": {"int8": (3, "1.14.0"), "int16": (4, "2.3.0")},
    "ADD": {"float32": (1, "1.5.0"), "int16": (3, "2.4.0")},
    "SUB": {"float32": (1, "1.6.0"), "int16": (5, "2.4.0")},
    "MUL": {"float32": (1, "1.5.0"), "int16": (4, "2.3.0")},
    "LOGISTIC": {"float32": (1, "1.14.0")},
    "TANH": {"float32": (1, "1.14.0")},
    "RELU": {"float32": (1, "1.5.0"), "int16": (3, "2.5.0")},
    "MINIMUM": {"float32": (1, "1.14.0")},
    "MAXIMUM": {"float32": (1, "1.14.0")},
    "SLICE": {"float32": (1, "1.14.0"), "int16": (4, "2.4.0")},
    "CONCATENATION": {"float32": (1, "1.5.0"), "int16": (3, "2.3.0")},
    "RESHAPE": {"float32": (1, "1.5.0"), "int8": (1, "1.5.0"), "int16": (1, "1.5.0")},
    "QUANTIZE": {"int8": (1, "1.14.0"), "int16": (2, "1.15.0")},
    "DEQUANTIZE": {"int8": (2, "1.14.0"), "int16": (3, "1.15.0")},
}
"""Op → type → its version, and the first runtime that has it. The type is that of the inputs; of QUANTIZE the output's.

Source: tensorflow/lite/tools/versioning, op_version.cc and runtime_version.cc.
"""


def schema() -> Any:
    """Import the format's schema. Raises ExportError naming the extra that brings it."""
    try:
        from ai_edge_litert import schema_py_generated  # noqa: PLC0415 - only an export with TFLite files needs it
    except ImportError as cause:
        raise ExportError(MISSING) from cause
    return schema_py_generated


class File:
    """A file with one graph. Tensors are known by their index."""

    def __init__(self) -> None:
        self.schema = schema()
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        # Buffer 0 is empty, by the format's rule: it is that of all tensors without constant content.
        self.buffers: list[bytes] = [b""]
        self.codes: dict[tuple[str, int], int] = {}
        self.runtimes = ["1.5.0"]
        self.constants: dict[str, int] = {}
        self._lists: dict[tuple[str, bytes], int] = {}

    def tensor(self, name: str, shape: tuple[int, ...], kind: Type | None) -> int:
        """Write a tensor that ops compute; kind: None for float32."""
        if kind is None:
            return self._tensor(name, shape, "float32")
        return self._tensor(name, shape, kind.dtype, [kind.scale], kind.zero_point)

    def constant(self, name: str, array: NDArray[Any], scales: NDArray[Any] | list[float] | None = None) -> int:
        """Write a constant once. scales: of its integers, one for all or one an entry of the first axis."""
        if name not in self.constants:
            self.buffers.append(np.ascontiguousarray(array).tobytes())
            place = len(self.buffers) - 1
            self.constants[name] = self._tensor(name, array.shape, array.dtype.name, scales, buffer=place)
        return self.constants[name]

    def op(self, name: str, dtype: str, inputs: list[int], output: int, options: str = "", **given: Any) -> int:
        """Write an op, with its version for a type and its options; return its output."""
        version, runtime = VERSIONS[name][dtype]
        self.runtimes.append(runtime)
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault((name, version), len(self.codes))
        operator.inputs, operator.outputs = inputs, [output]
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in given.items():
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)
        return output

    def packed(self, signature: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """Return the file, its inputs and outputs named by a signature."""
        import flatbuffers  # noqa: PLC0415 - comes with ai-edge-litert

        runtime = max(self.runtimes, key=lambda version: [int(part) for part in version.split(".")])
        metadata = self._made("Metadata", name=RUNTIME_KEY, buffer=len(self.buffers))
        buffers = [*self.buffers, runtime.encode().ljust(RUNTIME_BYTES, b"\0")]
        self.graph.name, self.graph.inputs, self.graph.outputs = signature, [*inputs.values()], [*outputs.values()]
        entering, leaving = (
            [self._made("TensorMap", name=name, tensorIndex=index) for name, index in part.items()]
            for part in (inputs, outputs)
        )
        model = self._made(
            "Model", version=SCHEMA, description="edgeseq", subgraphs=[self.graph], metadata=[metadata],
            buffers=[_Buffer(self.schema, content) for content in buffers],
            operatorCodes=[self._code(*entry) for entry in self.codes],
            signatureDefs=[self._made("SignatureDef", signatureKey=signature, inputs=entering, outputs=leaving)],
        )  # fmt: skip
        builder = flatbuffers.Builder(sum(map(len, buffers)) + 1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(  # noqa: PLR0917 - two calls, above
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        scales: NDArray[Any] | list[float] | None = None,
        zero_point: int = 0,
        buffer: int = 0,
    ) -> int:
        kind = getattr(self.schema.TensorType, dtype.upper())
        tensor = self._made("Tensor", name=name, shape=np.array(shape, np.int32), type=kind, buffer=buffer)
        if scales is not None:
            zeros = np.full(len(scales), zero_point, np.int64)
            tensor.quantization = _Quantization(self.schema, self._lists, np.asarray(scales, np.float32), zeros)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _code(self, name: str, version: int) -> Any:
        code = getattr(self.schema.BuiltinOperator, name)
        return self._made(
            "OperatorCode", builtinCode=code, deprecatedBuiltinCode=min(code, LAST_OLD_CODE), version=version
        )

    def _made(self, kind: str, **given: Any) -> Any:
        made = getattr(self.schema, f"{kind}T")()
        for key, value in given.items():
            setattr(made, key, value)
        return made


class _Buffer:
    """A constant's bytes, packed on a multiple of 16 as the schema demands; its own packer does not."""

    def __init__(self, schema: Any, content: bytes) -> None:
        self._schema, self._content = schema, content

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the library's name
        size = len(self._content)
        data = 0
        if size:
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self._content
            data = builder.EndVector()
        self._schema.BufferStart(builder)
        if data:
            self._schema.BufferAddData(builder, data)
        return self._schema.BufferEnd(builder)


class _Quantization:
    """Scales and zero points; equal lists stand in a file once, which for an entry a weight row are many bytes."""

    def __init__(
        self, schema: Any, lists: dict[tuple[str, bytes], int], scales: NDArray[np.float32], zeros: NDArray[np.int64]
    ) -> None:
        self._schema, self._lists, self._scales, self._zeros = schema, lists, scales, zeros

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the library's name
        places = []
        for array in (self._scales, self._zeros):
            key = array.dtype.name, array.tobytes()
            if key not in self._lists:
                self._lists[key] = builder.CreateNumpyVector(array)
            places.append(self._lists[key])
        self._schema.QuantizationParametersStart(builder)
        self._schema.QuantizationParametersAddScale(builder, places[0])
        self._schema.QuantizationParametersAddZeroPoint(builder, places[1])
        return self._schema.QuantizationParametersEnd(builder)
