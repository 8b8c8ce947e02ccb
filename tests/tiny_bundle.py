"""A bundle small enough to read: one leaky average per stream, as float ONNX, written by hand."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tomli_w
from numpy.typing import NDArray
from onnx import TensorProto, helper


def write(
    path: Path,
    leak: float = 0.5,
    *,
    rate_hz: float = 1.0,
    features: Sequence[Mapping[str, Any]] = (),
    reset: str = "start",
    max_steps: int | None = None,
) -> Path:
    """Write a bundle whose model is h = leak * h + (1 - leak) * x over one channel, y = h, behind features.

    reset: what resets h. max_steps: the frames that it takes from a reset.
    """
    path.mkdir(parents=True)
    onnx.save(_graph(leak), path / "step.float32.onnx")
    manifest = {
        "schema": 1,
        "name": "leaky-average",
        "version": "1.0.0",
        "description": "A leaky average of one channel.",
        "stream": {"rate_hz": rate_hz, "channels": [{"name": "life", "unit": "cycles"}]},
        **({"features": list(features)} if features else {}),
        "output": {"kind": "regression", "names": ["rul"], "unit": "cycles", "lower_is_worse": True},
        "decider": {
            "type": "hysteresis",
            "direction": "below",
            "warning": 40.0,
            "critical": 15.0,
            "warning_clear": 50.0,
            "critical_clear": 25.0,
        },
        "graphs": [
            {
                "name": "step",
                "inputs": [{"name": "x", "shape": [1, 1]}],
                "outputs": [{"name": "y", "shape": [1, 1]}],
                "states": [{"name": "h", "shape": [1, 1], "reset": reset}],
                "warm_up": 8,
                **({} if max_steps is None else {"max_steps": max_steps}),
            }
        ],
        "files": [
            {
                "path": "step.float32.onnx",
                "graph": "step",
                "variant": "float32",
                "format": "onnx",
                "states": [{"name": "h", "input": "h", "output": "h_next", "dtype": "float32"}],
                "float_macs": 2,
            }
        ],
        "defaults": {"ort": "float32"},
        "parity": [
            {
                "variant": "float32",
                "backend": "ort",
                "steps": 10000,
                "max_abs_err": 1e-7,
                "rms_err": 1e-8,
                "metric": "max",
                "tolerance": 1e-5,
                "passed": True,
            }
        ],
        "origin": {"framework": "none", "source": "tests/tiny_bundle.py"},
    }
    (path / "bundle.toml").write_bytes(tomli_w.dumps(manifest).encode())
    frames = np.linspace(1, 0.1, 50, dtype=np.float32)[:, None]
    np.savez(path / "parity.npz", frames=frames, at=np.arange(50), outputs=_outputs(frames[:, 0], leak)[:, None])
    sign(path)
    return path


def sign(path: Path) -> None:
    """Write the sums of a bundle's files anew."""
    names = sorted(file.name for file in path.iterdir() if file.name != "SHA256SUMS")
    sums = "".join(f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (path / "SHA256SUMS").write_text(sums, encoding="utf-8")


def _outputs(x: NDArray[np.float32], leak: float) -> NDArray[np.float64]:
    rows, h = [], 0.0
    for value in x.astype(np.float64):
        h = leak * h + (1 - leak) * value
        rows.append(h)
    return np.array(rows)


def _graph(leak: float) -> onnx.ModelProto:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1])

    constants = [helper.make_tensor(name, TensorProto.FLOAT, [1], [of]) for name, of in (("a", leak), ("b", 1 - leak))]
    nodes = [
        helper.make_node("Mul", ["h", "a"], ["kept"]),
        helper.make_node("Mul", ["x", "b"], ["new"]),
        helper.make_node("Add", ["kept", "new"], ["h_next"]),
        helper.make_node("Identity", ["h_next"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "step", [value("x"), value("h")], [value("y"), value("h_next")], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
