"""Small files by somebody else as step models: whole = chunks = steps, state out and in, and what they compute."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import small_models
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from small_chains import ECHO, SPECTRAL, chain, signal

from edgeseq.errors import ModelError
from edgeseq.types import StepModel


@pytest.mark.parametrize("text", [ECHO, SPECTRAL])
def test_whole_chunks_and_steps_agree(tmp_path: Path, text: str) -> None:
    model = chain(tmp_path, text)
    assert isinstance(model, StepModel)
    x = signal(163)
    whole = np.concatenate([model.run(x), model.flush()])
    kept = model.get_state()

    @given(cuts=st.lists(st.integers(0, len(x)), max_size=6))
    @settings(max_examples=25, deadline=None)
    def split(cuts: list[int]) -> None:
        part = model.fork()
        places = [0, *sorted(cuts), len(x)]
        rows = [part.run(x[a:b]) for a, b in itertools.pairwise(places)]
        np.testing.assert_array_equal(np.concatenate([*rows, part.flush()]), whole)
        assert {k: v.tobytes() for k, v in part.get_state().items()} == {k: v.tobytes() for k, v in kept.items()}

    split()
    stepped, hop = model.fork(), model.frames_per_step
    for row in range(len(x) // hop):
        np.testing.assert_array_equal(stepped.step(x[row * hop : (row + 1) * hop]), whole[row])


@pytest.mark.parametrize("text", [ECHO, SPECTRAL])
def test_state_out_and_in(tmp_path: Path, text: str) -> None:
    model, x = chain(tmp_path, text), signal(150)
    model.run(x[:77])
    kept = model.get_state()
    after = model.run(x[77:])
    other = model.fork()
    other.set_state(kept)
    for value in kept.values():
        value[...] = 9
    np.testing.assert_array_equal(other.run(x[77:]), after)
    other.reset()
    np.testing.assert_array_equal(other.run(x), model.fork().run(x))
    flushed = model.flush()
    np.testing.assert_array_equal(model.flush(), flushed, "flush leaves the state as it was")
    with pytest.raises(ModelError, match="the model wants"):
        other.set_state({})
    with pytest.raises(ModelError, match="the model wants"):
        other.set_state({**other.get_state(), next(iter(kept)): np.zeros(3)})


def test_forks_share_nothing(tmp_path: Path) -> None:
    model, x = chain(tmp_path, SPECTRAL), signal(96)
    alone = model.fork().run(x)
    one, two = model.fork(), model.fork()
    for start in range(0, 96, 8):
        row = one.run(x[start : start + 8])
        two.run(signal(8, seed=start + 5))
        np.testing.assert_array_equal(row[0], alone[start // 8])


def test_echo_computes_what_it_should(tmp_path: Path) -> None:
    model, x = chain(tmp_path, ECHO), signal(400)
    np.testing.assert_allclose(model.run(x).ravel(), small_models.echo_reference(x.ravel()), rtol=1e-6)
    assert (model.frames_per_step, model.delay, model.backend) == (4, 0, "onnx")
    assert set(model.get_state()) == {"onnx.h", "onnx.past.x", "steps", "waiting"}


@pytest.mark.parametrize("text", [ECHO, SPECTRAL])
def test_nan_and_wrong_shapes_are_refused(tmp_path: Path, text: str) -> None:
    model = chain(tmp_path, text)
    before = model.get_state()
    with pytest.raises(ModelError, match="NaN or infinity"):
        model.run(np.full((8, 1), np.nan, np.float32))
    with pytest.raises(ModelError, match="frames of shape"):
        model.run(np.zeros((8, 2), np.float32))
    with pytest.raises(ModelError, match="frames of shape"):
        model.step(np.zeros(3, np.float32))
    model.run(np.zeros((1, 1), np.float32))
    with pytest.raises(ModelError, match="unfinished step"):
        model.step(np.zeros((model.frames_per_step, 1), np.float32))
    assert int(before["steps"]) == int(model.get_state()["steps"]) == 0


def test_states_start_where_they_are_told(tmp_path: Path) -> None:
    more = 'states = [{ input = "h", output = "h_next", initial = 2.0 }]\n'
    model = chain(tmp_path, ECHO + more)
    np.testing.assert_array_equal(model.run(np.zeros((8, 1), np.float32)), [[2.0] * 4, [1.0] * 4])


def test_states_of_one_shape_are_told_apart_by_the_configuration(tmp_path: Path) -> None:
    text = '[[model]]\ntype = "onnx"\nfile = "two.onnx"\nhop = 4\nstates = [{ input = "a", output = "a_next" }, '
    x, a, b = signal(40), np.zeros(4, np.float32), np.zeros(4, np.float32)
    right = chain(tmp_path, text + '{ input = "b", output = "b_next" }]').run(x)
    for row, block in zip(right, x.reshape(-1, 4), strict=True):
        a, b = block + a - b, a
        np.testing.assert_allclose(row, a, rtol=1e-5, atol=1e-6)


def test_sizes_that_the_file_leaves_open(tmp_path: Path) -> None:
    small_models.echo(tmp_path / "open.onnx", state=["a", "b", "c"], frame=["batch", "time"])
    text = ECHO.replace("echo", "open") + 'states = [{ input = "h", output = "h_next", shape = [2, 2, 1] }]\n'
    x = signal(40)
    np.testing.assert_array_equal(chain(tmp_path, text).run(x), chain(tmp_path, ECHO).run(x))


@pytest.mark.parametrize("open_sizes", [True, False])
def test_tflite_float(tmp_path: Path, *, open_sizes: bool) -> None:
    small_models.tflite_sum(tmp_path / "one.tflite", (1, 3), open_sizes=open_sizes)
    text = '[[model]]\ntype = "tflite"\nfile = "one.tflite"\nhop = 3\nstates = [{ input = "h", output = "h_next"'
    x = signal(30) * np.float32(0.1)
    shape = ", shape = [1, 3]" if open_sizes else ""
    y = chain(tmp_path, text + shape + " }]").run(x)
    # LiteRT's own tanh is a rational approximation, good to a few units of float32 at 1.
    np.testing.assert_allclose(y, np.tanh(np.cumsum(x.reshape(-1, 3), axis=0)), atol=1e-6)


def test_tflite_quantized_takes_and_gives_real_values(tmp_path: Path) -> None:
    path = small_models.tflite_sum(tmp_path / "one.tflite", (1, 3), quantized=True)
    text = '[[model]]\ntype = "tflite"\nfile = "one.tflite"\nhop = 3\nstates = [{ input = "h", output = "h_next" }]'
    x = signal(60) * np.float32(0.1)
    y = chain(tmp_path, text).run(x)
    # The same by hand on the file's integers: the state leaves in 1/16 from 7 and enters in 1/32 from -5.
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    h = np.full((1, 3), -5, np.int8)
    for row, block in zip(y, x.reshape(-1, 1, 3), strict=True):
        interpreter.set_tensor(0, (np.rint(block * 64) + 3).astype(np.int8))
        interpreter.set_tensor(1, h)
        interpreter.invoke()
        np.testing.assert_array_equal(row, interpreter.get_tensor(3)[0] / np.float32(128))
        h = np.clip((interpreter.get_tensor(2).astype(int) - 7) * 2 - 5, -128, 127).astype(np.int8)
