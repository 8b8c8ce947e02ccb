"""The transforms inside kernels against NumPy's, the tapers against SciPy's."""

from typing import Any, get_args

import numba
import numpy as np
import pytest
from scipy import signal

from edgeseq.features import _butterflies, _fft


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("size", [2, 5, 64])
@pytest.mark.parametrize("name", get_args(_fft.Taper))
def test_tapers(name: Any, size: int, symmetric: bool) -> None:  # noqa: FBT001
    expected = signal.get_window(name, size, fftbins=not symmetric)
    np.testing.assert_allclose(_fft.taper(name, size, symmetric=symmetric), expected, atol=1e-9)


@numba.njit
def there_and_back(plan: Any, x: Any, weights: Any, row: Any, spectrum: Any, squares: Any, back: Any) -> None:  # noqa: PLR0917
    _fft.tapered(x, weights, row)
    _fft.power(plan, row, squares)
    _fft.forward(plan, row, spectrum)
    _fft.backward(plan, spectrum, back)


SIZES = [1 << power for power in range(1, 18)]
"""Of which the smallest are for rocket-fft."""


FIVES = [640, 1280, 2560, 3200, 6400, 16_000, 25_600, 80_000]


@pytest.mark.parametrize(
    ("n", "size"), [*((n, n) for n in SIZES), *((n, n) for n in FIVES), (512, 400), (15, 14), (400, 399)]
)
def test_transforms(n: int, size: int) -> None:
    x = np.random.default_rng(n).normal(size=size)
    weights = _fft.taper("hamming", size)
    row, back, squares = np.full(n, np.nan), np.empty(n), np.full(n // 2 + 2, np.nan)
    spectrum = np.full(n // 2 + 2, np.nan, np.complex128)
    plan = _fft.plan(n)
    for _ in range(2):
        there_and_back(plan, x, weights, row, spectrum[:-1], squares[:-1], back)
    expected = np.fft.rfft(x * weights, n)
    tolerance = 4 * np.finfo(np.float64).eps * max(1, np.log2(n)) * np.abs(expected).max()
    np.testing.assert_allclose(spectrum[:-1], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(squares[:-1], np.abs(expected) ** 2, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(back, row, atol=1e-13)
    np.testing.assert_array_equal(row[size:], 0)
    assert np.isnan([squares[-1], spectrum[-1]]).all()  # nothing is written behind


@pytest.mark.parametrize("n", [128, 512, 2560, 8192])
def test_a_line_is_as_exact_as_it_is_small(n: int) -> None:
    """A tone on a line leaves the others to rounding, of which pocketfft makes as much."""
    x = np.cos(2 * np.pi * 7 * np.arange(n) / n)
    squares = np.empty(n // 2 + 1)
    there_and_back(_fft.plan(n), x, np.ones(n), np.empty(n), np.empty(len(squares), np.complex128), squares, x.copy())
    assert squares[7] == pytest.approx(n**2 / 4, rel=1e-14)
    assert np.delete(squares, 7).max() < n**2 * 1e-31


@pytest.mark.parametrize("n", [1, 2, 4, 5, 8, 16, 32])
def test_butterflies(n: int) -> None:
    z = np.random.default_rng(n).normal(size=(n, 2))
    found = np.array(_butterflies.transformed([tuple(each) for each in z.tolist()]))
    np.testing.assert_allclose(found @ [1, 1j], np.fft.fft(z @ [1, 1j]), atol=1e-14)
