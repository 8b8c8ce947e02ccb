"""Makes the TFLite files here with other people's tools; run by hand, the tests only read what it wrote.

    pip install tensorflow-cpu==2.21 ai-edge-quantizer==0.10   # 1.8 GB, in an environment of its own
    python tests/stages/foreign/make_tflite.py

One GRU step, 4 inputs, 8 states, 2 scores, as TensorFlow's converter and as ai-edge-quantizer quantize it: the scales
of the state's two ends are calibrated one by one, so they differ, in the last bit or in earnest. Beside it a file of
two signatures, and one that keeps its state in a resource variable. truth.npz: frames, and the scores in float32.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_quantizer import quantizer, recipe

HERE = Path(__file__).parent
HIDDEN, INPUTS, STEPS = 8, 4, 300
FRAME = tf.TensorSpec((1, INPUTS), tf.float32, name="frame")
MEMORY = tf.TensorSpec((1, HIDDEN), tf.float32, name="memory")
rng = np.random.default_rng(7)
SHAPES = {"wi": (INPUTS, 24), "wh": (HIDDEN, 24), "bi": (24,), "bh": (24,), "wo": (HIDDEN, 2), "bo": (2,)}
W = {name: tf.constant(rng.normal(scale=0.5, size=shape), tf.float32) for name, shape in SHAPES.items()}
FRAMES = rng.uniform(-1, 1, size=(STEPS, 1, INPUTS)).astype(np.float32)


class Gru(tf.Module):
    @tf.function(input_signature=[FRAME, MEMORY])
    def step(self, frame: Any, memory: Any) -> Any:
        a, b = tf.matmul(frame, W["wi"]) + W["bi"], tf.matmul(memory, W["wh"]) + W["bh"]
        reset, update = tf.sigmoid(a[:, :8] + b[:, :8]), tf.sigmoid(a[:, 8:16] + b[:, 8:16])
        new = tf.tanh(a[:, 16:] + reset * b[:, 16:])
        following = (1 - update) * new + update * memory
        return {"score": tf.matmul(following, W["wo"]) + W["bo"], "memory_next": following}

    @tf.function(input_signature=[FRAME])
    def energy(self, frame: Any) -> Any:
        return {"energy": tf.reduce_sum(frame * frame, axis=1, keepdims=True)}


class Inside(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept = tf.Variable(tf.zeros((1, HIDDEN)))

    @tf.function(input_signature=[FRAME])
    def step(self, frame: Any) -> Any:
        self.kept.assign(tf.tanh(0.5 * self.kept + tf.matmul(frame, W["wi"][:, :HIDDEN])))
        return {"score": tf.matmul(self.kept, W["wo"])}


def seen() -> tuple[list[dict[str, Any]], Any]:
    memory, given, scores = tf.zeros((1, HIDDEN)), [], []
    for frame in FRAMES:
        given.append({"frame": frame, "memory": memory.numpy()})
        left = GRU.step(tf.constant(frame), memory)
        memory = left["memory_next"]
        scores.append(left["score"].numpy()[0])
    return given, np.array(scores)


GRU = Gru()
GIVEN, SCORES = seen()


def represent() -> Iterator[dict[str, Any]]:
    yield from GIVEN


def main() -> None:
    ops = tf.lite.OpsSet
    wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    made: dict[str, bytes] = {}
    inside = Inside()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(GRU, folder, signatures={"step": GRU.step})
        for name, kind, types in (
            ("int8", tf.int8, ops.TFLITE_BUILTINS_INT8),
            ("uint8", tf.uint8, ops.TFLITE_BUILTINS_INT8),
            ("int16", tf.int16, wide),
            ("float_outside", tf.float32, ops.TFLITE_BUILTINS_INT8),
        ):
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset, converter.target_spec.supported_ops = represent, [types]
            converter.inference_input_type = converter.inference_output_type = kind
            made[name] = converter.convert()
        plain = Path(folder) / "plain.tflite"
        plain.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
        for name, how in (
            ("other_int8", recipe.static_wi8_ai8()),
            ("other_int16", recipe.static_wi8_ai16()),
            ("other_dynamic", recipe.dynamic_wi8_afp32()),
        ):
            work = quantizer.Quantizer(str(plain), how)
            ranges = work.calibrate({"step": GIVEN}) if work.need_calibration else None
            work.quantize(ranges).export_model(str(HERE / f"{name}.tflite"), overwrite=True)
    for name, module, signatures in (
        ("two", GRU, {"step": GRU.step, "energy": GRU.energy}),
        ("inside", inside, {"step": inside.step}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures=signatures)
            made[name] = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures)).convert()
    for name, content in made.items():
        (HERE / f"{name}.tflite").write_bytes(content)
    np.savez_compressed(HERE / "truth.npz", frames=FRAMES[:, 0], scores=SCORES)


if __name__ == "__main__":
    main()
