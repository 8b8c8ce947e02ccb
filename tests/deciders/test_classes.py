"""The decider of classes against plain loops over whole histories, and its parameters' order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.deciders.classes import Classes
from edgeseq.errors import ConfigError
from edgeseq.types import Event, Output

NAMES = ["none", "a", "b"]
PLAIN: dict[str, Any] = {"names": NAMES, "background": ["none"], "threshold": 0.6}
A, B, NONE = [0.1, 0.9, 0.0], [0.1, 0.0, 0.9], [1.0, 0.0, 0.0]


def feed(decider: Classes, rows: list[list[float]], **more: Any) -> list[tuple[int, str, str]]:
    return [(event.t_ns, event.kind, event.level) for event in events(decider, rows, **more)]


def events(decider: Classes, rows: list[list[float]], first: int = 0) -> list[Event]:
    return [
        event
        for place, row in enumerate(rows, start=first)
        for event in decider.update(Output(place, "m", np.array(row, np.float32)))
    ]


def test_a_class_is_raised_and_cleared() -> None:
    told = events(decider := Classes(**PLAIN), [NONE, A, A, [0.7, 0.31, 0.0], [0.7, 0.29, 0.0]])
    assert [(event.t_ns, event.kind, event.level) for event in told] == [(1, "raised", "a"), (4, "cleared", "ok")]
    assert [event.severity for event in told] == [1, 0]
    assert [event.event_id for event in told] == ["m@1-0", "m@1-1"]
    assert [event.evidence["class"] for event in told] == ["a", "a"]
    assert told[0].score == pytest.approx(0.9)
    assert decider.level == "ok"


def test_background_raises_nothing_however_likely() -> None:
    assert feed(Classes(**PLAIN), [NONE] * 20) == []


def test_a_class_takes_over_by_clearing_the_one_before() -> None:
    held = Classes(**PLAIN | {"threshold": 0.5, "release": 0.0})
    assert feed(held, [A, B]) == [(0, "raised", "a"), (1, "cleared", "ok"), (1, "raised", "b")]


def test_the_likeliest_of_several_is_told() -> None:
    assert feed(Classes(**PLAIN | {"threshold": 0.1}), [[0.1, 0.4, 0.5]]) == [(0, "raised", "b")]


def test_the_average_is_over_the_last_outputs_and_waits_for_them() -> None:
    smooth = Classes(**PLAIN | {"smooth": 3})
    # 0.9, 0.9, 0.3 are 0.7 on average; two outputs are not enough to say anything.
    assert feed(smooth, [A, A, [0.7, 0.3, 0.0], NONE, NONE]) == [(2, "raised", "a"), (4, "cleared", "ok")]


def test_an_alert_stands_as_long_as_it_is_held() -> None:
    held = Classes(**PLAIN | {"hold": 3})
    rows = [A, NONE, B, B, B]
    assert feed(held, rows) == [(0, "raised", "a"), (4, "cleared", "ok"), (4, "raised", "b")]


def test_logits_are_turned_into_probabilities() -> None:
    logits = Classes(**PLAIN | {"logits": True, "release": 0.3})
    (event,) = events(logits, [[1000.0, 1000.0, 0.0], [0.0, 3.0, 1.0]])
    assert (event.t_ns, event.level) == (1, "a")
    assert event.score == pytest.approx(np.exp(3) / (1 + np.exp(3) + np.exp(1)))


def test_a_gap_starts_the_average_anew() -> None:
    smooth = Classes(**PLAIN | {"smooth": 3})
    assert feed(smooth, [A, A]) == []
    smooth.gap()
    assert feed(smooth, [A, A], first=2) == []
    assert feed(smooth, [A], first=4) == [(4, "raised", "a")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"background": ["nothing"]}, "background names 'nothing', which is none of none, a, b"),
        ({"background": NAMES}, "at least one of them no background"),
        ({"names": ["a", "a", "none"]}, "names must be different"),
        ({"threshold": float("nan")}, "threshold = nan must be a number"),
        ({"release": 0.7}, "release = 0.7 not above it"),
        ({"smooth": 0}, "smooth must lie between 1 and 1,000,000 outputs"),
        ({"smooth": 10**12}, "smooth must lie between"),
        ({"hold": -1}, "hold be at least 0"),
        ({"logits": True, "threshold": 2.0}, "the average is a probability: threshold = 2 and release = 1 must"),
        ({"logits": True, "release": -0.1}, "or never cleared"),
    ],
)
def test_wrong_parameters_are_explained(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Classes(**PLAIN | wrong)


def plainly(rows: list[list[float]], threshold: float, release: float, smooth: int, hold: int) -> list[tuple[int, str]]:
    """The rules once more, over the whole history: which class stands from when, "" for none."""
    stands, since, told = "", 0, []
    for t in range(smooth - 1, len(rows)):
        average = np.mean(np.array(rows[t - smooth + 1 : t + 1], np.float32).astype(np.float64), axis=0)
        best = 1 if average[1] >= average[2] else 2
        if stands and t - since <= hold:
            continue
        reached = average[best] >= threshold
        if stands and (average[NAMES.index(stands)] < release or (reached and NAMES[best] != stands)):
            stands = ""
            told.append((t, ""))
        if not stands and reached:
            stands, since = NAMES[best], t
            told.append((t, stands))
    return told


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=3, max_size=3), max_size=40),
    smooth=st.integers(1, 4),
    hold=st.integers(0, 4),
    threshold=st.sampled_from([0.25, 0.5, 0.75]),
    release=st.sampled_from([0.125, 0.25]),
)
def test_it_keeps_the_rules(rows: list[list[float]], smooth: int, hold: int, threshold: float, release: float) -> None:
    decider = Classes(names=NAMES, background=["none"], threshold=threshold, release=release, smooth=smooth, hold=hold)
    told = [(t, "" if kind == "cleared" else level) for t, kind, level in feed(decider, rows)]
    assert told == plainly(rows, threshold, release, smooth, hold)
