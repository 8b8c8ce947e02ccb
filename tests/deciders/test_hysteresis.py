"""The hysteresis decider against plain if-statements over whole histories, and its thresholds' order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.errors import ConfigError
from edgeseq.types import Event, Output

ABOVE = {"direction": "above", "warning": 10, "warning_clear": 8, "critical": 20, "critical_clear": 15}
BELOW = {"direction": "below", "warning": 50, "warning_clear": 60, "critical": 20, "critical_clear": 25}


def feed(decider: Hysteresis, scores: list[float], stream: str = "m") -> list[Event]:
    return [
        event
        for place, score in enumerate(scores)
        for event in decider.update(Output(place, stream, np.array([score], np.float32)))
    ]


def told(events: list[Event]) -> list[tuple[int, str, str]]:
    return [(event.t_ns, event.kind, event.level) for event in events]


def test_two_levels_up_and_down() -> None:
    events = feed(Hysteresis(**ABOVE), [0, 10, 9, 20, 16, 14, 9, 7.9, 10])
    assert told(events) == [
        (1, "raised", "warning"),
        (3, "updated", "critical"),
        (5, "updated", "warning"),
        (7, "cleared", "ok"),
        (8, "raised", "warning"),
    ]
    assert [event.severity for event in events] == [1, 2, 1, 0, 1]
    assert [event.event_id for event in events] == ["m@1-0", "m@1-1", "m@1-2", "m@1-3", "m@8-0"]


def test_straight_to_critical_and_straight_back() -> None:
    assert told(feed(Hysteresis(**BELOW), [100, 5, 100])) == [(1, "raised", "critical"), (2, "cleared", "ok")]


def test_thresholds_are_reached_at_and_left_beyond() -> None:
    assert told(feed(Hysteresis(direction="above", warning=1), [1, 1, 0.999])) == [
        (0, "raised", "warning"),
        (2, "cleared", "ok"),
    ]
    assert told(feed(Hysteresis(**BELOW), [50, 60, 60.1])) == [(0, "raised", "warning"), (2, "cleared", "ok")]


def test_durations_count_outputs_in_a_row() -> None:
    decider = Hysteresis(**ABOVE, min_steps=3, clear_steps=2)
    events = feed(decider, [10, 10, 9, 10, 10, 10, 7, 9, 7, 7])
    assert told(events) == [(5, "raised", "warning"), (9, "cleared", "ok")]


def test_nan_and_warming_neither_count_nor_break_a_row() -> None:
    decider = Hysteresis(**ABOVE, min_steps=3)
    decider.update(Output(0, "m", np.array([99], np.float32), warming=True))
    assert told(feed(decider, [10, float("nan"), 10, float("inf"), 10])) == [(4, "raised", "warning")]
    assert decider.ignored == {"warming": 1, "not_finite": 2}


def test_a_gap_breaks_a_row_but_not_an_alert() -> None:
    decider = Hysteresis(**ABOVE, min_steps=2, clear_steps=2)
    assert feed(decider, [10]) == []
    decider.gap()
    assert feed(decider, [10]) == []
    assert len(feed(decider, [10])) == 1
    assert feed(decider, [0]) == []
    decider.gap()
    assert decider.level == "warning"
    assert feed(decider, [0]) == []
    assert len(feed(decider, [0])) == 1


def test_evidence_says_why() -> None:
    events = feed(Hysteresis(**BELOW, min_steps=2), [45, 44, 10, 9, 70])
    assert events[0].evidence == {
        "direction": "below",
        "threshold": 50,
        "steps": 2,
        "before": "ok",
        "worst": 44,
    }
    assert events[1].evidence["threshold"] == 20
    assert events[1].evidence["before"] == "warning"
    assert events[2].evidence["worst"] == pytest.approx(9)
    assert events[2].evidence["threshold"] == 60
    assert [event.score for event in events] == [44, 9, 70]


def test_another_output_may_decide() -> None:
    decider = Hysteresis(direction="above", warning=1, output=2)
    assert decider.update(Output(0, "m", np.array([5, 5, 0], np.float32))) == []
    assert len(decider.update(Output(1, "m", np.array([0, 0, 1], np.float32)))) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"warning_clear": 11}, "warning_clear = 11 is on the bad side of warning = 10"),
        ({"critical_clear": 21}, "critical_clear = 21 is on the bad side of critical = 20"),
        ({"critical": 10, "critical_clear": 9}, "critical = 10 must be above warning = 10"),
        ({"critical": 5, "critical_clear": 4}, "critical = 5 must be above warning = 10"),
        ({"critical_clear": 7}, "critical_clear must not be on the good side of warning_clear = 8"),
        ({"critical": None}, "critical_clear stands without critical"),
        ({"warning": float("nan")}, "warning and warning_clear must be finite"),
        ({"min_steps": 0}, "at least 1"),
        ({"clear_steps": 0}, "at least 1"),
        ({"output": -1}, "counts from 0"),
        ({"direction": "up"}, "'above' or 'below'"),
    ],
)
def test_thresholds_that_contradict_each_other(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Hysteresis(**{**ABOVE, **more})
    assert message in str(caught.value)


def test_below_is_checked_the_other_way_round() -> None:
    with pytest.raises(ConfigError, match="warning_clear = 40 is on the bad side of warning = 50"):
        Hysteresis(**{**BELOW, "warning_clear": 40})
    with pytest.raises(ConfigError, match="critical = 70 must be below warning = 50"):
        Hysteresis(**{**BELOW, "critical": 70, "critical_clear": 80})


scores = st.lists(st.sampled_from([0.0, 7.0, 8.0, 9.0, 10.0, 14.0, 15.0, 19.0, 20.0, 25.0]), max_size=60)


@given(scores=scores, min_steps=st.integers(1, 4), clear_steps=st.integers(1, 4))
@settings(deadline=None)
def test_levels_are_those_of_plain_history(scores: list[float], min_steps: int, clear_steps: int) -> None:
    decider = Hysteresis(**ABOVE, min_steps=min_steps, clear_steps=clear_steps)
    mirrored = Hysteresis(
        direction="below",
        warning=-10,
        warning_clear=-8,
        critical=-20,
        critical_clear=-15,
        min_steps=min_steps,
        clear_steps=clear_steps,
    )
    level = "ok"
    for place, score in enumerate(scores):
        recent = scores[max(0, place + 1 - min_steps) : place + 1]
        calm = scores[max(0, place + 1 - clear_steps) : place + 1]

        def all_of(part: list[float], count: int, test: Any) -> bool:
            return len(part) == count and all(test(value) for value in part)

        if level != "critical" and all_of(recent, min_steps, lambda value: value >= 20):
            level = "critical"
        elif level == "ok" and all_of(recent, min_steps, lambda value: value >= 10):
            level = "warning"
        elif level != "ok" and all_of(calm, clear_steps, lambda value: value < 8):
            level = "ok"
        elif level == "critical" and all_of(calm, clear_steps, lambda value: value < 15):
            level = "warning"
        feed(decider, [score])
        feed(mirrored, [-score])
        assert decider.level == mirrored.level == level
