"""What is changed in a quantized ONNX file is caught by what is there to catch it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_exporter import resum

from edgeseq import bundle as bundles
from edgeseq.verification import verify
from export import macs

Change = Callable[[onnx.ModelProto], None]


def tensors(model: onnx.ModelProto, ending: str) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if tensor.name.endswith(ending)]


def stored(model: onnx.ModelProto, name: str) -> Any:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    return numpy_helper.to_array(tensor)


def put(model: onnx.ModelProto, name: str, array: Any) -> None:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def widest(model: onnx.ModelProto) -> str:
    """Return the name of the greatest weight."""
    return max(tensors(model, ".weight"), key=lambda tensor: int(np.prod(tensor.dims))).name


def scaled(model: onnx.ModelProto) -> None:
    name = f"{widest(model)}.scale"
    put(model, name, stored(model, name) * np.float32(1.2))


def swapped(model: onnx.ModelProto) -> None:
    name = widest(model)
    put(model, name, np.roll(stored(model, name), 1, axis=0))


def biased(model: onnx.ModelProto) -> None:
    for tensor in tensors(model, ".bias"):
        put(model, tensor.name, -stored(model, tensor.name))


def shifted(model: onnx.ModelProto) -> None:
    """Move the zero point of what the first product gives to the end of its range: all below is cut off."""
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Gemm")
    (quantize,) = (node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == name)
    zero = stored(model, quantize.input[2])
    put(model, quantize.input[2], np.array(np.iinfo(zero.dtype).min, zero.dtype))


def another_curve(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Tanh")
    node.op_type = "Sigmoid"


def unchanged(_: onnx.ModelProto) -> None:
    pass


def turned(model: onnx.ModelProto) -> None:
    """Store the weights the other way around: the same function, which onnxruntime rewrites to MatMulNBits."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Gemm":
            dequantize = makers.get(node.input[1])
            if dequantize is None:
                continue  # a product kept in float32
            name = dequantize.input[0]
            if not name.endswith(".turned"):
                put(model, name, stored(model, name).T)
            for attribute in dequantize.attribute:
                attribute.i = 1
            node.attribute.remove(next(a for a in node.attribute if a.name == "transB"))


def floated(model: onnx.ModelProto) -> None:
    """Let the products read real values: their inputs are no longer put on integers."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Gemm":
            dequantize = makers[node.input[0]]
            quantize = makers.get(dequantize.input[0])
            made = None if quantize is None else makers.get(quantize.input[0])
            # Behind a product, the quantization may be its relu as well.
            if quantize is not None and quantize.op_type == "QuantizeLinear" and (not made or made.op_type != "Gemm"):
                node.input[0] = quantize.input[0]


def patched(bundle: bundles.Bundle, folder: Path, variant: str, change: Change) -> tuple[bundles.Bundle, Path]:
    copy = Path(shutil.copytree(bundle.path, folder / "b"))
    path = copy / f"step.{variant}.onnx"
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    resum(copy)
    return bundles.read(copy), path


def failed(bundle: bundles.Bundle) -> list[tuple[str, str]]:
    return [(verdict.variant, verdict.backend) for verdict in verify.verify(bundle) if not verdict.passed]


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("int8", scaled), ("int8", swapped), ("int8", biased), ("int8", shifted), ("int8", another_curve),
        ("w8a16", scaled), ("w8a16", swapped), ("w8a16", biased), ("w8a16", another_curve),
    ],
)  # fmt: skip
def test_what_was_changed_in_a_file_is_named(
    variant: str, change: Change, gru_bundle: bundles.Bundle, tmp_path: Path
) -> None:
    assert failed(patched(gru_bundle, tmp_path, variant, change)[0]) == [(variant, "ort")]


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_a_file_that_is_only_saved_anew_passes(variant: str, gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    bundle, path = patched(gru_bundle, tmp_path, variant, unchanged)
    assert not failed(bundle)
    counted, file = macs.count(onnx.load(path)), gru_bundle.file(variant, "onnx")
    assert (counted.integer, counted.floating) == (file.integer_macs, file.float_macs)


def test_products_on_real_values_are_counted_as_float(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    """They are nearer to the original, so that no replay tells them apart: the count does."""
    bundle, path = patched(gru_bundle, tmp_path, "int8", floated)
    assert not failed(bundle)
    counted, file = macs.count(onnx.load(path)), gru_bundle.file("int8", "onnx")
    assert counted.integer < file.integer_macs
    assert counted.floating > 0 == file.float_macs


def test_weights_stored_the_other_way_around_become_matmulnbits_and_are_named(
    gru_bundle: bundles.Bundle, tmp_path: Path
) -> None:
    bundle, path = patched(gru_bundle, tmp_path, "w8a16", turned)
    assert "MatMulNBits" in {node.op_type for node in macs.optimize(onnx.load(path)).graph.node}
    assert failed(bundle) == [("w8a16", "ort")]
