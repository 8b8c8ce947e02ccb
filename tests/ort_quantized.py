"""ONNX models as onnxruntime's quantizer makes them, in all its forms, and with their edges in integers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

U8, S8, S16 = QuantType.QUInt8, QuantType.QInt8, QuantType.QInt16
QDQ, OPERATORS = QuantFormat.QDQ, QuantFormat.QOperator
Feeds = Sequence[Mapping[str, np.ndarray[Any, Any]]]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Feeds) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Any:
        return next(self._left, None)


def static(
    source: Path,
    target: Path,
    feeds: Feeds,
    form: Any,
    kinds: tuple[Any, Any],
    *,
    channels: bool = False,
    without: Sequence[str] = (),
) -> Path:
    """Quantize with fixed scales, seen on these feeds. kinds: of activations and weights; without: nodes left float."""
    quantize_static(
        str(source), str(target), _Reader(feeds), quant_format=form, activation_type=kinds[0], weight_type=kinds[1],
        per_channel=channels, nodes_to_exclude=list(without),
    )  # fmt: skip
    return target


def dynamic(source: Path, target: Path, kind: Any = S8) -> Path:
    """Quantize weights; activations get a scale at run time."""
    quantize_dynamic(str(source), str(target), weight_type=kind)
    return target


def with_integer_edges(source: Path, target: Path) -> Path:
    """Take the first QuantizeLinear behind each input and the last DequantizeLinear before each output away.

    So do the tools that prepare a model for an accelerator: inputs and outputs are the integers themselves.
    """
    model = onnx.load(source)
    graph = model.graph
    zeros = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in graph.initializer}
    for value in graph.input:
        readers = [node for node in graph.node if value.name in node.input]
        assert [node.op_type for node in readers] == ["QuantizeLinear"]
        _rename(graph, readers[0].output[0], value.name)
        _integer(value, zeros[readers[0].input[2]])
        graph.node.remove(readers[0])
    for value in graph.output:
        last = next(node for node in graph.node if value.name in node.output)
        assert last.op_type == "DequantizeLinear"
        # Nodes inside may read the real numbers of an output: they go on reading them, by another name.
        _rename(graph, value.name, f"{value.name}_real", outputs=False)
        stored, last.output[0] = last.input[0], f"{value.name}_real"
        graph.node.append(helper.make_node("Identity", [stored], [value.name]))
        _integer(value, zeros[last.input[2]])
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return target


def _rename(graph: Any, old: str, new: str, *, outputs: bool = True) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        if outputs:
            node.output[:] = [new if name == old else name for name in node.output]


def _integer(value: Any, dtype: Any) -> None:
    value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(dtype)


def gru_step(path: Path, seed: int = 0) -> Path:
    """Write a GRU step out of Gemm and elementwise ops: x [1, 4], h [1, 8] -> y [1, 2], h_next."""
    rng = np.random.default_rng(seed)
    sizes = {"wi": (4, 24), "wh": (8, 24), "bi": (24,), "bh": (24,), "wo": (8, 2), "bo": (2,)}
    weights = {name: rng.normal(scale=0.5, size=size).astype(np.float32) for name, size in sizes.items()}
    weights["one"] = np.ones(1, np.float32)
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "wi", "bi"], ["a"], "a"),
        node("Gemm", ["h", "wh", "bh"], ["b"], "b"),
        node("Split", ["a"], ["ar", "az", "an"], "split_a", axis=1),
        node("Split", ["b"], ["br", "bz", "bn"], "split_b", axis=1),
        node("Add", ["ar", "br"], ["sr"], "sr"),
        node("Sigmoid", ["sr"], ["r"], "r"),
        node("Add", ["az", "bz"], ["sz"], "sz"),
        node("Sigmoid", ["sz"], ["z"], "z"),
        node("Mul", ["r", "bn"], ["rb"], "rb"),
        node("Add", ["an", "rb"], ["sn"], "sn"),
        node("Tanh", ["sn"], ["n"], "n"),
        node("Sub", ["one", "z"], ["left"], "left"),
        node("Mul", ["left", "n"], ["new"], "new"),
        node("Mul", ["z", "h"], ["kept"], "kept"),
        node("Add", ["new", "kept"], ["h_next"], "h_next"),
        node("Gemm", ["h_next", "wo", "bo"], ["y"], "y"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "step", [value("x", TensorProto.FLOAT, [1, 4]), value("h", TensorProto.FLOAT, [1, 8])],
        [value("y", TensorProto.FLOAT, [1, 2]), value("h_next", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path
