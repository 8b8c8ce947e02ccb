"""What holds for every plug-in, ours and registered ones: each is found by itself, none needs a line here.

A feature's example takes a stream of the channels a, b, c at 100 Hz; a decider's judges outputs of spread 1; a stage
says what its example takes, 4 samples a step; a sink with a `port` talks to a broker. More of every source
holds by tests/sources/test_source_conformance.py.
"""

import inspect
import itertools
import json
import tempfile
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import plugin_examples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq import plugins, tables
from edgeseq.errors import ConfigError, StateError
from edgeseq.types import (
    About,
    Channel,
    Checkable,
    Decider,
    Event,
    Feature,
    Output,
    Sink,
    Source,
    Stage,
    StreamSpec,
)

SPEC = StreamSpec((Channel("a"), Channel("b"), Channel("c")), 100.0)
PROTOCOLS = {"sources": Source, "features": Feature, "stages": Stage, "deciders": Decider, "sinks": Sink}
ABOUT = About("device", "pipeline", "model", "1", ("y",), "g")
ALL = [(kind, name) for kind in PROTOCOLS for name in plugins.known(kind)]


@pytest.fixture(autouse=True)
def examples_write_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def of(kind: str) -> Any:
    return pytest.mark.parametrize("name", plugins.known(kind))


def make(kind: str, name: str, **more: Any) -> Any:
    cls = plugins.find(kind, name)
    return cls(**{**plugin_examples.of(cls), **more})


def opened(name: str) -> Feature:
    feature: Feature = make("features", name)
    feature.open(SPEC)
    return feature


def samples(count: int, seed: int = 0) -> tuple[Any, Any]:
    values = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return np.arange(count, dtype=np.int64) * 10_000_000, values


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_parameters_are_toml_keys(kind: str, name: str) -> None:
    cls = plugins.find(kind, name)
    assert inspect.getdoc(cls), "the class says what it does and what its parameters are"
    kinds = {parameter.kind for parameter in inspect.signature(cls).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}
    document = tables.Document(Path("x.toml"), "", {})
    as_toml = {key: str(value) if isinstance(value, Path) else value for key, value in plugin_examples.of(cls).items()}
    assert cls(**tables.keywords(document, as_toml, cls)) is not None
    with pytest.raises(ConfigError, match="unknown key 'no_such_key'"):
        tables.keywords(document, {"no_such_key": 1}, cls)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_follows_its_protocol(kind: str, name: str) -> None:
    assert isinstance(make(kind, name), PROTOCOLS[kind])


@of("features")
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_feature_is_the_same_for_any_split(name: str, data: st.DataObject) -> None:
    t_ns, values = samples(60)
    cuts = sorted({0, len(values), *data.draw(st.lists(st.integers(1, len(values) - 1), max_size=8))})
    whole_t, whole = opened(name).push(t_ns, values)
    feature = opened(name)
    parts = [feature.push(t_ns[i:j], values[i:j]) for i, j in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole_t)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), whole)


@of("features")
def test_feature_takes_samples_in_any_form(name: str) -> None:
    t_ns, values = samples(200)
    values = np.rint(4 * values)
    expected = opened(name).push(t_ns, values)
    locked, locked_t = values.copy(), t_ns.copy()
    locked.flags.writeable = locked_t.flags.writeable = False
    forms: dict[str, Any] = {
        "read only": locked, "columns": np.asfortranarray(values), "gaps": np.repeat(values, 2, axis=0)[::2],
        "float64": values.astype(np.float64), "int16": values.astype(np.int16),
    }  # fmt: skip
    for form, given_values in forms.items():
        for size in (1, len(values)):
            feature = opened(name)
            parts = [feature.push(locked_t[i : i + size], given_values[i : i + size]) for i in range(0, 200, size)]
            frames = np.concatenate([part[1] for part in parts])
            np.testing.assert_array_equal(frames, expected[1], f"{form}, {size} at once", strict=True)
            np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), expected[0])


@of("features")
def test_feature_gives_what_its_spec_says(name: str) -> None:
    feature = make("features", name)
    spec = feature.open(SPEC)
    t_ns, frames = feature.push(*samples(500))
    assert frames.dtype == np.dtype(spec.dtype)
    assert frames.shape == (len(t_ns), len(spec.channels))
    assert t_ns.dtype == np.int64


@of("features")
def test_feature_after_reset_is_new(name: str) -> None:
    feature = opened(name)
    feature.push(*samples(77, seed=1))
    feature.reset()
    np.testing.assert_array_equal(feature.push(*samples(50))[1], opened(name).push(*samples(50))[1])


@of("features")
def test_feature_neither_alters_nor_keeps_arrays(name: str) -> None:
    feature, other = opened(name), opened(name)
    t_ns, values = samples(80)
    original = values.copy()
    _, first = feature.push(t_ns[:40], values[:40])
    np.testing.assert_array_equal(values, original)
    kept = first.copy()
    values[:40] = 1e9
    _, second = feature.push(t_ns[40:], values[40:])
    np.testing.assert_array_equal(first, kept)
    other.push(t_ns[:40], original[:40])
    np.testing.assert_array_equal(second, other.push(t_ns[40:], original[40:])[1])


@of("features")
@given(done=st.integers(0, 60), before=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_feature_goes_on_from_its_state(name: str, done: int, before: int) -> None:
    t_ns, values = samples(120)
    feature, other = opened(name), opened(name)
    feature.push(t_ns[:done], values[:done]) if done else None
    other.push(*samples(before, seed=1)) if before else None
    other.set_state(feature.get_state())
    following, again = feature.push(t_ns[done:], values[done:]), other.push(t_ns[done:], values[done:])
    np.testing.assert_array_equal(again[0], following[0])
    np.testing.assert_array_equal(again[1], following[1], strict=True)


@of("features")
def test_feature_state_is_a_copy(name: str) -> None:
    t_ns, values = samples(120)
    feature, other = opened(name), opened(name)
    feature.push(t_ns[:60], values[:60])
    state = feature.get_state()
    kept = {key: value.copy() for key, value in state.items()}
    other.set_state(state)
    following = feature.push(t_ns[60:], values[60:])
    for key, value in state.items():
        np.testing.assert_array_equal(value, kept[key], err_msg="it does not change with what goes on")
        value[...] = 1
    np.testing.assert_array_equal(other.push(t_ns[60:], values[60:])[1], following[1])


@of("features")
def test_feature_refuses_the_state_of_another(name: str) -> None:
    feature = opened(name)
    feature.push(*samples(60))
    state = feature.get_state()
    with pytest.raises(StateError, match="was taken of something else"):
        feature.set_state({**state, "no_such": np.zeros(3)})
    for key, value in state.items():
        for wrong in (value.astype(np.complex64), value[None]):
            with pytest.raises(StateError, match="was taken of something else"):
                feature.set_state({**state, key: wrong})
        with pytest.raises(StateError, match="was taken of something else"):
            feature.set_state({name: value for name, value in state.items() if name != key})


@of("features")
def test_feature_never_hides_a_nan(name: str) -> None:
    feature = opened(name)
    t_ns, values = samples(400)
    values[200] = np.nan
    _, frames = feature.push(t_ns, values)
    assert np.isnan(frames).any(), "a frame that leans on a NaN is NaN, so that it never reaches the model"
    feature.reset()
    assert np.isfinite(feature.push(*samples(400))[1]).all()


@of("features")
def test_feature_memory_is_bounded(name: str) -> None:
    feature = opened(name)
    chunk = samples(200)
    for _ in range(20):
        feature.push(*chunk)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        feature.push(*chunk)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < chunk[1].nbytes, "200 chunks leave less behind than one of them is large"


def stage_and_inputs(name: str) -> tuple[Stage, dict[str, Any], dict[str, tuple[int, ...]]]:
    stage = make("stages", name)
    shapes = plugins.find("stages", name).example_inputs()
    gives = stage.open(shapes, 4)
    rng = np.random.default_rng(0)
    return stage, {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}, dict(gives)


@of("stages")
def test_stage_is_a_pure_function(name: str) -> None:
    stage, inputs, gives = stage_and_inputs(name)
    state = stage.initial()
    kept = {key: value.copy() for key, value in (*inputs.items(), *state.items())}
    outputs, following = stage.step(inputs, state)
    assert {key: value.shape for key, value in outputs.items()} == gives
    assert all(value.dtype == np.float32 for value in outputs.values())
    assert {k: (v.shape, v.dtype) for k, v in following.items()} == {k: (v.shape, v.dtype) for k, v in state.items()}
    before = {key: value.copy() for key, value in (*outputs.items(), *following.items())}
    for key, value in (*inputs.items(), *state.items()):
        np.testing.assert_array_equal(value, kept[key])
        value[...] = 77
    for key, value in (*outputs.items(), *following.items()):
        np.testing.assert_array_equal(value, before[key], err_msg="nothing given is a view of what was taken")
    again = stage.step({key: kept[key] for key in inputs}, stage.initial())
    for key, value in (*again[0].items(), *again[1].items()):
        np.testing.assert_array_equal(value, before[key])
    assert stage.words()


def walk(decider: Decider, seed: int, count: int = 400, **more: Any) -> list[Event]:
    scores = np.cumsum(np.random.default_rng(seed).normal(size=count)).astype(np.float32)
    return [
        event
        for place, score in enumerate(scores)
        for event in decider.update(Output(place * 10**9, "m", np.full(4, score, np.float32), **more))
    ]


@of("deciders")
@pytest.mark.parametrize("seed", range(8))
def test_decider_tells_whole_alerts(name: str, seed: int) -> None:
    events = walk(decider := make("deciders", name), seed)
    alerts: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        alerts[event.alert].append(event)
    for place, alert in enumerate(alerts.values()):
        kinds = [event.kind for event in alert]
        assert kinds[0] == "raised"
        assert set(kinds[1:-1]) <= {"updated"}
        assert kinds[-1] == "cleared" or place == len(alerts) - 1
        assert [event.sequence for event in alert] == list(range(len(alert)))
        assert [event.t_ns for event in alert] == sorted(event.t_ns for event in alert)
    assert len({event.event_id for event in events}) == len(events)
    assert decider.level == (events[-1].level if events else "ok")


@of("deciders")
def test_decider_says_the_same_of_the_same(name: str) -> None:
    assert any(walk(make("deciders", name), seed) for seed in range(8)), "the example raises something"
    for seed in range(8):
        assert walk(make("deciders", name), seed) == walk(make("deciders", name), seed)


@of("deciders")
@given(seed=st.integers(0, 7), done=st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_decider_goes_on_from_its_state(name: str, seed: int, done: int) -> None:
    decider, other = make("deciders", name), make("deciders", name)
    walk(other, seed + 1)
    walk(decider, seed, done)
    walk(decider, seed, 3, warming=True)
    written = json.dumps(decider.get_state(), allow_nan=False)
    state = json.loads(written)
    other.set_state(state)
    assert (other.level, other.ignored) == (decider.level, decider.ignored)
    following = walk(decider, seed + 2)
    assert walk(other, seed + 2) == following
    assert json.dumps(state) == written, "neither changes what it was given"
    with pytest.raises(StateError):
        other.set_state({**state, "no_such": 1})
    for key in state:
        with pytest.raises(StateError):
            other.set_state({other_key: value for other_key, value in state.items() if other_key != key})


@of("deciders")
def test_decider_raises_nothing_on_warming_or_nan(name: str) -> None:
    decider = make("deciders", name)
    assert walk(decider, 1, warming=True) == []
    assert decider.ignored == {"warming": 400}
    for place in range(100):
        assert decider.update(Output(place, "m", np.full(4, np.nan, np.float32))) == []
    assert decider.ignored == {"warming": 400, "not_finite": 100}


@of("deciders")
def test_a_gap_keeps_a_standing_alert(name: str) -> None:
    for seed in range(8):
        decider = make("deciders", name)
        walk(decider, seed)
        level = decider.level
        decider.gap()
        assert decider.level == level


@of("sinks")
def test_sink_takes_everything(name: str, request: pytest.FixtureRequest) -> None:
    more = {}
    if "port" in inspect.signature(plugins.find("sinks", name)).parameters:
        more["port"] = request.getfixturevalue("mosquitto").port
    sink = make("sinks", name, **more)
    assert not isinstance(sink, Checkable) or sink.check()
    sink.open(ABOUT)
    for stream in ("", "a/b+c#$d\0", "m" * 5000, "ü"):
        for value in (0.5, np.nan, np.inf):
            sink.output(Output(2**62, stream, np.array([value], np.float32), warming=True), "ok")
        sink.event(Event("raised", "x@1", 0, stream, "warning", 1, float("nan"), 5, {"why": "x", "at": float("inf")}))
        sink.end(stream)
    sink.close()
    assert {reason: count for reason, count in sink.dropped.items() if count} == {}


@of("sinks")
def test_sink_that_never_opened_closes(name: str) -> None:
    make("sinks", name).close()
