"""The logarithm of lanes against NumPy's, and what is done before and after it."""

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseq.features import _logarithm
from edgeseq.features._lanes import LANES


@numba.njit
def levelled(values: Any, count: Any, reals: Any) -> None:
    _logarithm.logarithms(values, count, reals)


def found(x: Any, added: float = 0.0, least: float = -np.inf, factor: float = 1.0) -> NDArray[np.float64]:
    values = np.zeros(-(-len(x) // LANES) * LANES)
    values[: len(x)] = x
    levelled(values, len(x), np.array([added, least, factor]))
    return values[: len(x)]


def every_size() -> NDArray[np.float64]:
    """Numbers of every exponent, those below the least normal ones too, and many around 1."""
    rng = np.random.default_rng(0)
    powers = np.ldexp(rng.uniform(1, 2, (2098, 8)), np.arange(-1074, 1024)[:, None]).ravel()
    near = 1 + np.ldexp(rng.uniform(-1, 1, 4000), rng.integers(-52, 0, 4000))
    return np.concatenate([powers, near, [1.0, 0.5**0.5, 2**0.5, np.finfo(float).tiny, np.finfo(float).max, 5e-324]])


def test_it_is_numpys_but_for_the_last_bit() -> None:
    x = every_size()
    expected = np.log(x)
    np.testing.assert_array_less(np.abs(found(x) - expected), 2 * np.spacing(np.abs(expected)))
    assert found([1.0])[0] == 0


def test_what_has_no_logarithm() -> None:
    with np.errstate(all="ignore"):
        x = np.array([0.0, -0.0, np.inf, np.nan, -1.0, -np.inf, -5e-324, 1.0])
        np.testing.assert_array_equal(found(x), np.log(x))


@pytest.mark.parametrize("floor", [1e-10, 1e-320])
def test_floors(floor: float) -> None:
    x = np.array([0.0, floor / 2, floor, 1.0, 7.5, np.nan, np.inf])
    np.testing.assert_allclose(found(x, least=floor, factor=3.0), 3 * np.log(np.maximum(x, floor)), rtol=1e-15)
    np.testing.assert_allclose(found(x, added=floor), np.log(x + floor), rtol=1e-15)
