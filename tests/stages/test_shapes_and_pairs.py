"""How values are laid into inputs, and which output is which state's next value."""

import numpy as np
import pytest

from edgeseq.stages._fit import fit
from edgeseq.stages._pairing import Port, agree, pair

FLOAT = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("given", "into", "shape", "swapped"),
    [
        ((512, 1), (1, 512), (1, 512), False),
        ((1, 257), (1, 1, 257), (1, 1, 257), False),
        ((576, 1), (None, None), (1, 576), False),
        ((5, 40), (None, None, None), (1, 5, 40), False),
        ((5, 40), (1, 40, 5), (1, 40, 5), True),
        ((1, 257, 2), (1, 257, 1, 2), (1, 257, 1, 2), False),
        ((1, 257, 2), (1, 2, 257, 1), (1, 2, 257, 1), True),
        ((4, 4), (1, 4, 4), (1, 4, 4), False),
        ((1, 1), (), (), False),
        ((7, 1), (None, 1), (7, 1), False),
    ],
)
def test_a_value_is_laid_into_an_input(
    given: tuple[int, ...], into: tuple[int | None, ...], shape: tuple[int, ...], *, swapped: bool
) -> None:
    found = fit(given, into)
    assert found is not None
    assert (found.shape, found.swapped) == (shape, swapped)
    values = np.arange(np.prod(given), dtype=np.float32).reshape(given)
    laid = found.lay(values)
    assert laid.shape == shape
    squeezed = np.squeeze(values)
    np.testing.assert_array_equal(np.squeeze(laid), squeezed.T if swapped else squeezed)


@pytest.mark.parametrize(
    ("given", "into"), [((512, 1), (1, 500)), ((2, 3, 4), (4, 3, 2)), ((5, 40), (1, 200)), ((4, 1), (2, None, 128))]
)
def test_what_does_not_fit_is_told(given: tuple[int, ...], into: tuple[int | None, ...]) -> None:
    assert fit(given, into) is None


def ports(**shapes: tuple[int | None, ...]) -> list[Port]:
    return [Port(name, shape, FLOAT) for name, shape in shapes.items()]


def test_shapes_that_differ_tell_all() -> None:
    states, outputs = ports(h=(1, 8), c=(1, 2, 8)), ports(y=(1, 4), cn=(1, 2, 8), hn=(1, 8))
    assert pair(states, outputs) == ({"h": "hn", "c": "cn"}, True)


def test_an_open_size_that_only_one_assignment_can_serve() -> None:
    # h could take either; c only one of them, so h must take the other.
    states, outputs = ports(h=(None, 8), c=(2, 8)), ports(y=(1, 4), a=(2, 8), b=(3, 8))
    assert pair(states, outputs) == ({"h": "b", "c": "a"}, True)


def test_two_ways_are_none() -> None:
    assert pair(ports(h=(1, 8), c=(1, 8)), ports(y=(1, 4), a=(1, 8), b=(1, 8)))[1] is False
    assert pair(ports(h=(1, 8)), ports(y=(1, 8), hn=(1, 8)))[1] is False


def test_what_is_offered_for_judging_goes_by_names() -> None:
    found, only = pair(ports(h=(1, 8), c=(1, 8)), ports(cn=(1, 8), y=(1, 8), hn=(1, 8)))
    assert (found, only) == ({"h": "hn", "c": "cn"}, False)


def test_a_result_must_be_left() -> None:
    assert pair(ports(h=(1, 8)), ports(hn=(1, 8))) == (None, False)
    assert pair(ports(h=(1, 8)), ports(y=(1, 2), z=(1, 3))) == (None, False)
    assert pair([], ports(y=(1, 2))) == ({}, True)


def test_many_states_of_one_shape_take_no_time() -> None:
    states = ports(**{f"h{i}": (1, 8) for i in range(60)})
    assert pair(states, ports(**{f"o{i}": (1, 8) for i in range(59)}, y=(3,), z=(4,))) == (None, False)


def test_types_count() -> None:
    assert not agree(Port("h", (1,), FLOAT), Port("h", (1,), np.dtype(np.int64)))
    assert not agree(Port("h", (1,), FLOAT), Port("h", (1, 1), FLOAT))
    assert agree(Port("h", (1, None), FLOAT), Port("h", (None, 3), FLOAT))
