"""A TFLite flatbuffer out of schema objects: tensors, ops with their versions, constants, one signature.

No TensorFlow: ai-edge-litert brings the schema. Equal content gives equal bytes, and stands in a file once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.program import Growing, Shape, Type, grows
from export.writers.tflite.versions import version

MISSING = "TFLite files need ai-edge-litert, which is not installed: pip install 'edgeseq[tflite]'."
IDENTIFIER = b"TFL3"
SCHEMA = 3
ALIGNMENT = 16
"""Of constants in the file, which runtimes read in place."""
RUNTIME_KEY, RUNTIME_BYTES = "min_runtime_version", 16
FIRST_RUNTIME = "1.5.0"
LAST_OLD_CODE = 127
"""The greatest op code that fits the field of the schema's first version, which old runtimes read."""
TYPED_BY_RESULT = {"QUANTIZE", "SPLIT"}
"""Ops whose version hangs on the type of what they give; SPLIT reads its axis first."""
FREE = -1
"""A length that is known once the inputs have theirs."""
Scales = NDArray[Any] | Sequence[float]


def schema() -> Any:
    """Import the format's schema. Raises ExportError naming the extra that brings it."""
    try:
        from ai_edge_litert import schema_py_generated  # noqa: PLC0415 - only an export with TFLite files needs it
    except ImportError as cause:
        raise ExportError(MISSING) from cause
    return schema_py_generated


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor. dtype: its NumPy name, or how its integers stand for real values."""

    shape: tuple[int, ...]
    dtype: str | Type

    @property
    def stored(self) -> str:
        """The NumPy name of what it holds."""
        return self.dtype if isinstance(self.dtype, str) else self.dtype.dtype


def signature(shape: Shape) -> NDArray[np.int32]:
    """Return a shape with what grows left open."""
    return np.array([FREE if isinstance(size, Growing) else size for size in shape], np.int32)


class File:
    """A file with one graph. Tensors are known by index; `tensors` tells of each, `computed` has what ops give."""

    def __init__(self) -> None:
        self.schema = schema()
        self.tensors: list[Tensor] = []
        self.computed: set[int] = set()
        self._graph = self.schema.SubGraphT()
        self._graph.tensors = []
        self._operators: list[tuple[Any, tuple[str, int], str]] = []
        # Buffer 0 is empty, by the format's rule: it is that of all tensors without constant content.
        self._buffers: dict[bytes, int] = {b"": 0}
        self._constants: dict[str, int] = {}
        self._shared: dict[Any, _Once] = {}

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str | Type) -> int:
        """Write a tensor that ops compute."""
        return self._tensor(name, shape, dtype, None if isinstance(dtype, str) else self._scaled(dtype))

    def constant(self, name: str, array: NDArray[Any], kind: Type | None = None, title: str = "") -> int:
        """Write a constant, once for a name. title: what it is called in the file; else it is the name's last part."""
        if kind is None:
            return self._constant(name, array, array.dtype.name, None, title)
        return self._constant(name, array, kind, self._scaled(kind), title)

    def weight(self, name: str, array: NDArray[Any], scales: Scales, axis: int = 0, title: str = "") -> int:
        """Write constant integers with one scale an entry of an axis, once."""
        return self._constant(name, array, array.dtype.name, self._quantization(scales, 0, axis), title)

    def rename(self, index: int, name: str) -> None:
        """Call a tensor otherwise."""
        self._graph.tensors[index].name = name

    def op(self, name: str, inputs: list[int], output: int, options: str = "", **given: Any) -> int:
        """Write an op, with its version for what it reads, and its options; return its output."""
        self.parts(name, inputs, [output], options, **given)
        return output

    def parts(self, name: str, inputs: list[int], outputs: list[int], options: str = "", **given: Any) -> None:
        """Write an op that gives several tensors."""
        read = [self.tensors[index] for index in inputs]
        dtype = self.tensors[outputs[0]].stored if name in TYPED_BY_RESULT else read[0].stored
        if name == "DEQUANTIZE" and isinstance(read[0].dtype, str) and dtype == "int8":
            dtype = "int8 rows"  # of integers with one scale alone that is known, and stands in their type
        number, runtime = version(name, dtype, [tensor.shape for tensor in read])
        operator = self.schema.OperatorT()
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options and vars(getattr(self.schema, f"{options}T")()):  # else they have no fields, and say nothing
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = self._once(options, **given)
        self._operators.append((operator, (name, number), runtime))
        self.computed.update(outputs)

    def packed(self, signature: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """Return the file, its inputs and outputs named by a signature, without the ops that nothing reads."""
        codes, runtime = self._finished(set(outputs.values()))
        places, buffers = self._compact({*inputs.values(), *outputs.values()})
        metadata = self._made("Metadata", name=RUNTIME_KEY, buffer=len(buffers))
        buffers.append(runtime.encode().ljust(RUNTIME_BYTES, b"\0"))
        self._graph.name = signature
        self._graph.inputs, self._graph.outputs = ([places[i] for i in part.values()] for part in (inputs, outputs))
        entering, leaving = (
            [self._made("TensorMap", name=name, tensorIndex=places[index]) for name, index in part.items()]
            for part in (inputs, outputs)
        )
        model = self._made(
            "Model", version=SCHEMA, description="edgeseq", subgraphs=[self._graph], metadata=[metadata],
            buffers=[_Buffer(self.schema, content) for content in buffers],
            operatorCodes=[self._code(*entry) for entry in codes],
            signatureDefs=[self._made("SignatureDef", signatureKey=signature, inputs=entering, outputs=leaving)],
        )  # fmt: skip
        builder = _builder(sum(map(len, buffers)) + 1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _finished(self, needed: set[int]) -> tuple[list[tuple[str, int]], str]:
        """Drop what nothing reads; return the ops' codes with their versions, and the first runtime that has them."""
        kept = []
        for entry in reversed(self._operators):
            if needed.intersection(entry[0].outputs.tolist()):
                needed.update(entry[0].inputs.tolist())
                kept.append(entry)
        codes: dict[tuple[str, int], int] = {}
        runtimes = [FIRST_RUNTIME]
        for operator, code, runtime in reversed(kept):
            operator.opcodeIndex = codes.setdefault(code, len(codes))
            runtimes.append(runtime)
        self._graph.operators = [operator for operator, _, _ in reversed(kept)]
        return list(codes), max(runtimes, key=lambda runtime: [int(part) for part in runtime.split(".")])

    def _compact(self, needed: set[int]) -> tuple[dict[int, int], list[bytes]]:
        """Drop the tensors that no op has, with what they hold; return where each is now, and the buffers."""
        for operator in self._graph.operators:
            needed.update(operator.inputs.tolist(), operator.outputs.tolist())
        places = {index: place for place, index in enumerate(sorted(needed))}
        for operator in self._graph.operators:
            operator.inputs, operator.outputs = (
                np.array([places[index] for index in part.tolist()], np.int32)
                for part in (operator.inputs, operator.outputs)
            )
        self._graph.tensors = [self._graph.tensors[index] for index in places]
        contents, buffers = [*self._buffers], {0: 0}
        for tensor in self._graph.tensors:
            tensor.buffer = buffers.setdefault(tensor.buffer, len(buffers))
        return places, [contents[index] for index in buffers]

    def _constant(self, name: str, array: NDArray[Any], dtype: str | Type, quantization: Any, title: str = "") -> int:
        if name not in self._constants:
            place = self._buffers.setdefault(np.ascontiguousarray(array).tobytes(), len(self._buffers))
            title = title or name.rpartition(".")[2]
            self._constants[name] = self._tensor(title, array.shape, dtype, quantization, place)
        return self._constants[name]

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: str | Type, quantization: Any, buffer: int = 0) -> int:
        known = Tensor(tuple(shape), dtype)
        kind = getattr(self.schema.TensorType, known.stored.upper())
        self._graph.tensors.append(
            self._made(
                "Tensor",
                name=name,
                shape=np.array(shape, np.int32),
                shapeSignature=signature(shape) if grows(tuple(shape)) else None,
                type=kind,
                buffer=buffer,
                quantization=quantization,
            )
        )
        self.tensors.append(known)
        return len(self.tensors) - 1

    def _scaled(self, kind: Type) -> Any:
        return self._quantization([kind.scale], kind.zero_point)

    def _quantization(self, scales: Scales, zero_point: int, axis: int = 0) -> Any:
        scale = np.asarray(scales, np.float32)
        zeros = np.full(len(scale), zero_point, np.int64)
        return self._once("QuantizationParameters", scale=scale, zeroPoint=zeros, quantizedDimension=axis)

    def _once(self, kind: str, **given: Any) -> Any:
        """Make what stands in the file once, however many refer to it."""
        key = kind, *((name, np.asarray(value).tobytes()) for name, value in given.items())
        if key not in self._shared:
            self._shared[key] = _Once(self._made(kind, **given))
        return self._shared[key]

    def _code(self, name: str, number: int) -> Any:
        code = getattr(self.schema.BuiltinOperator, name)
        return self._made(
            "OperatorCode", builtinCode=code, deprecatedBuiltinCode=min(code, LAST_OLD_CODE), version=number
        )

    def _made(self, kind: str, **given: Any) -> Any:
        made = getattr(self.schema, f"{kind}T")()
        for key, value in given.items():
            setattr(made, key, value)
        return made


def _builder(size: int) -> Any:
    """Return what packs, with equal names and lists written once: of shapes, of scales, of zero points a weight row."""
    import flatbuffers  # noqa: PLC0415 - comes with ai-edge-litert

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, array: NDArray[Any]) -> int:  # noqa: N802 - the library's name
            key = array.dtype.name, array.tobytes()
            if key not in known:
                known[key] = super().CreateNumpyVector(array)
            return known[key]

        def CreateString(self, text: str, *given: Any) -> int:  # noqa: N802 - the library's name
            if text not in names:
                names[text] = int(super().CreateString(text, *given))
            return names[text]

    known: dict[tuple[str, bytes], int] = {}
    names: dict[str, int] = {}
    return Builder(size)


class _Once:
    """A table that several others refer to, packed once."""

    def __init__(self, table: Any) -> None:
        self._table, self._place = table, 0

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the library's name
        self._place = self._place or int(self._table.Pack(builder))
        return self._place


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
