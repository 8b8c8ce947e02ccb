"""Compiled methods: put in the place of those in Python only where objects lie in memory as is expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgeseq import direct
from edgeseq.jit import method


@method()
def twice(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """Count calls on the board, and leave all to Python."""
    at = direct.board(self)
    if at != 0:
        direct.i64(at)[0] += 1
    return direct.in_python(self, arguments, count, keywords)


def counted() -> Any:
    """Return an object of a class of its own, whose calls are counted once they are compiled."""

    class Counted(direct.Boarded):
        def __init__(self) -> None:
            self._board = np.zeros(1, np.int64)

        def twice(self, x: float, *, more: float = 0) -> float:
            """Return 2 x and more."""
            return 2 * x + more

    return Counted()


@pytest.fixture
def table_anew() -> Iterator[None]:
    """Have memory looked at again, in the test and after it."""
    direct.table.cache_clear()
    yield
    direct.table.cache_clear()


def test_a_compiled_method_takes_the_place_of_one_in_python() -> None:
    made = counted()
    plain = type(made).twice
    for _ in range(2):  # the second time does nothing
        direct.put(type(made), "twice", twice, made)
        assert getattr(type(made), direct.IN_PYTHON) is plain
    assert made.twice(3) == 6
    assert made.twice(3, more=1) == made.twice(more=1, x=3) == 7
    assert made._board[0] == 3
    with pytest.raises(TypeError, match="unsupported operand"):
        made.twice(None)
    assert type(made).twice.__doc__ == plain.__doc__
    assert type(made).twice.__text_signature__ == "($self, x, *, more=0)"


@pytest.mark.parametrize("field", ["_TYPE", "_HELD", "_COUNT", "_SLOT"])
@pytest.mark.usefixtures("table_anew")
def test_where_objects_lie_otherwise_all_stays_in_python(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, field, 3)
    made = counted()
    direct.put(type(made), "twice", twice, made)
    assert made.twice(3) == 6
    assert not made._board[0]


@pytest.mark.usefixtures("table_anew")
def test_another_interpreter_than_c_python_stays_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct.sys, "implementation", type("Other", (), {"name": "pypy"}))
    assert direct.table() is None
    assert direct.address() == 0
