"""Pooling in float64 against onnxruntime, over all that its attributes may say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from export.frontends.pools import POOLS
from export.graph import session


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_pools_are_onnxruntimes(kind: str, data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, 2))
    kernel, strides, dilations = (
        data.draw(st.lists(st.integers(1, top), min_size=axes, max_size=axes)) for top in (4, 3, 2)
    )
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    if kind == "MaxPool":
        attributes["dilations"] = dilations
    how = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if how == "NOTSET":
        attributes["pads"] = [data.draw(st.integers(0, size - 1)) for size in (*kernel, *kernel)]
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    else:
        attributes["auto_pad"] = how
        # onnxruntime itself stops where a stride is larger than the kernel.
        assume(how == "VALID" or all(a <= b for a, b in zip(strides, kernel, strict=True)))
        assume(how == "VALID" or "dilations" not in attributes or set(dilations) == {1})
    if kind == "AveragePool" and not attributes.get("ceil_mode"):
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
        assume(how == "NOTSET" or not attributes["count_include_pad"])
    x = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(1, 2, *[11, 9][:axes])).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], **attributes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)], [onnx.ValueInfoProto(name="y")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    expected = session(model).run(None, {"x": x})[0]
    given_y: Any = ReferenceEvaluator(model, new_ops=list(POOLS)).run(None, {"x": x.astype(np.float64)})
    np.testing.assert_allclose(given_y[0], expected, atol=1e-6)
