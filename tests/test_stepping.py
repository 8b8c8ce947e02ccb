"""What every step model does alike: what is no frame, no room for outputs or no state is refused; nothing changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseq.bundle import Graph, Tensor
from edgeseq.errors import ModelError
from edgeseq.models.named import NamedStep
from edgeseq.models.stepping import Stepping
from edgeseq.types import Frames, State

GRAPH = Graph(
    name="step",
    inputs=[Tensor(name="a", shape=[1, 1, 2]), Tensor(name="b", shape=[1, 1, 1])],
    outputs=[Tensor(name="sum", shape=[1, 1, 1]), Tensor(name="all", shape=[1, 1, 2])],
    states=[],
)


class Summed(Stepping):
    """The sum of all frames so far, and how many numbers they were; Ctrl-C comes in the step numbered `interrupt`."""

    backend, variant, warm_up, receptive_field = "plain", "float32", 0, None
    interrupt = -1

    def __init__(self, frames_per_step: int = 1) -> None:
        super().__init__(frames_per_step=frames_per_step, features=3, outputs=3, delay=0)
        self.reset()

    def _initial(self) -> list[Any]:
        return [np.zeros(3, np.float32)]

    def _named(self, state: list[Any]) -> State:
        return {"sum": state[0]}

    def _ordered(self, state: State) -> list[Any]:
        return [state["sum"]]

    def _compute(self, x: Frames) -> Frames:
        if self._steps == self.interrupt:
            raise KeyboardInterrupt
        self._state = [self._state[0] + x.astype(np.float32).reshape(-1, 3).sum(0)]
        return np.array(self._state[0])


X = np.arange(3, dtype=np.float32)
LOCKED = np.empty(3, np.float32)
LOCKED.flags.writeable = False


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize(
    ("x", "out", "says"),
    [
        (None, None, "real numbers .float32., not NoneType"),
        (X + 1j, None, "not complex64"),
        (X.astype("M8[s]"), None, "not datetime64"),
        (["a", "b", "c"], None, "not <U1"),
        ([[1], [1, 2]], None, "rows are not alike"),
        (X[:2], None, r"shape \(3,\), not \(2,\)"),
        (np.full(3, 1e300), None, "1e[+]300, beyond what float32 holds"),
        (np.full(3, np.longdouble(-1e300)), None, "beyond what float32 holds"),
        (np.full(3, np.inf), None, "NaN or infinity"),
        (X, [0.0, 0.0, 0.0], "not list"),
        (X, np.empty(1, np.float32), r"not float32\(1,\)"),
        (X, np.empty((2, 3), np.float32), r"not float32\(2, 3\)"),
        (X, np.empty(3, np.int32), "not int32"),
        (X, LOCKED, "read-only"),
    ],
)
def test_what_is_no_step_changes_nothing(x: Any, out: Any, says: str) -> None:
    model = Summed()
    model.step(X)
    before = model.get_state()
    with pytest.raises(ModelError, match=says):
        model.step(x, out)
    assert same(model.get_state(), before)
    if out is None:
        with pytest.raises(ModelError):
            model.run(x if x is None or isinstance(x, list) else x[None])
        assert same(model.get_state(), before)


def test_numbers_of_any_kind_are_frames() -> None:
    model = Summed()
    for x in ([0, 1, 2], X.astype(np.float64), X.astype(np.uint8), X.astype(np.float16), X > 0):
        model.reset()
        np.testing.assert_array_equal(model.step(x), np.asarray(x, np.float32))  # type: ignore[arg-type]
        np.testing.assert_array_equal(model.run([x, x])[-1], 3 * np.asarray(x, np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "the dict that get_state gave, not NoneType"),
        ({"steps": np.array(-1)}, "whole number from 0 on, not -1"),
        ({"steps": np.array(1.5)}, "whole number from 0 on, not 1.5"),
        ({"steps": np.array([1, 2])}, "whole number from 0 on"),
        ({"steps": 3}, "'steps' is an array, not int"),
        ({"sum": [0.0, 0.0, 0.0]}, "'sum' is an array, not list"),
        ({"sum": np.zeros(2, np.float32)}, r"float32\(2,\)"),
        ({"waiting": np.full((1, 3), np.nan)}, "NaN or infinity"),
        ({"waiting": np.zeros((2, 3))}, r"waiting frames have the shape \(2, 3\)"),
        ({"more": np.zeros(1)}, "the state has"),
    ],
)
def test_what_is_no_state_changes_nothing(change: Any, says: str) -> None:
    model = Summed(2)
    model.run(np.stack([X, X, X]))
    before = model.get_state()
    with pytest.raises(ModelError, match=says):
        model.set_state(change if change is None else {**before, **change})
    assert same(model.get_state(), before)


def test_a_run_that_is_interrupted_had_not_begun() -> None:
    model, x = Summed(2), np.random.default_rng(0).integers(0, 9, (11, 3)).astype(np.float32)
    model.run(x[:3])
    before = model.get_state()
    model.interrupt = 4
    with pytest.raises(KeyboardInterrupt):
        model.run(x[3:])
    assert same(model.get_state(), before)
    model.interrupt = -1
    np.testing.assert_array_equal(model.run(x[3:]), Summed(2).run(x)[1:])


def test_outputs_by_name_are_checked_before_anything_is_computed() -> None:
    model = NamedStep(Summed(), GRAPH)
    x = {"a": [0, 1], "b": [2]}
    out = {"sum": np.empty(1, np.float32), "all": np.empty(2, np.float32)}
    assert model.step(x, out) is out
    np.testing.assert_array_equal(np.concatenate([*out.values()]), X)
    before = model.get_state()
    for wrong, says in (
        (np.empty(3, np.float32), "as a dict of sum, all"),
        ({"sum": out["sum"]}, "as a dict of sum, all"),
        ({**out, "all": np.empty(1, np.float32)}, r"shape \(2,\)"),
        ({**out, "sum": LOCKED[:1]}, "read-only"),
    ):
        with pytest.raises(ModelError, match=says):
            model.step(x, wrong)
    with pytest.raises(ModelError, match="not complex"):
        model.step({**x, "b": [1j]}, out)
    assert same(model.get_state(), before)
