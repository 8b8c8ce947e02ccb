"""The transforms inside kernels against NumPy's, the tapers against SciPy's."""

from typing import Any, get_args

import numba
import numpy as np
import pytest
from scipy import signal

from edgeseq.features import _fft


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("size", [2, 5, 64])
@pytest.mark.parametrize("name", get_args(_fft.Taper))
def test_tapers(name: Any, size: int, symmetric: bool) -> None:  # noqa: FBT001
    expected = signal.get_window(name, size, fftbins=not symmetric)
    np.testing.assert_allclose(_fft.taper(name, size, symmetric=symmetric), expected, atol=1e-9)


@numba.njit
def there_and_back(x: Any, weights: Any, row: Any, spectrum: Any, squares: Any, back: Any) -> None:  # noqa: PLR0917
    _fft.tapered(x, weights, row)
    _fft.forward(row, spectrum)
    _fft.power(spectrum, squares)
    _fft.backward(spectrum, back)


@pytest.mark.parametrize(("n", "size"), [(8, 8), (512, 400), (15, 14), (2560, 2560)])
@pytest.mark.parametrize(("real", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_transforms(n: int, size: int, real: Any, tolerance: float) -> None:
    x = np.random.default_rng(n).normal(size=size).astype(real)
    weights = _fft.taper("hamming", size).astype(real)
    row, back, squares = np.full(n, np.nan, real), np.empty(n, real), np.empty(n // 2 + 1, real)
    spectrum = np.empty(n // 2 + 1, np.result_type(real, np.complex64))
    there_and_back(x, weights, row, spectrum, squares, back)
    expected = np.fft.rfft(np.asarray(x * weights, np.float64), n)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(spectrum, expected, atol=tolerance * scale)
    np.testing.assert_allclose(squares, np.abs(expected) ** 2, atol=tolerance * scale**2)
    np.testing.assert_allclose(back, row, atol=tolerance)
    np.testing.assert_array_equal(row[size:], 0)
