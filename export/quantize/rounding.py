"""Rounds a matrix of weights to integers so that its products, not its entries, come out nearest.

Rounding each weight by itself leaves errors that add up over correlated inputs. Here the weights are rounded a column
at a time and each column's error is taken up by the columns still to come, weighted by how the inputs go together.

Source: Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained transformers", ICLR 2023,
algorithm 1; the mean error that remains goes into the bias (Nagel et al., "Data-free quantization through weight
equalization and bias correction", ICCV 2019, section 4.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
DAMPING = 0.01
"""Share of the inputs' mean energy that is added to each, so that inputs that hardly vary do not carry errors."""
LEVELS = 127


def round_weights(
    weight: Matrix, scale: NDArray[np.float64], inputs: Matrix, stored: Matrix
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return the integers, int8[outputs, inputs], and the bias correction, float64[outputs].

    weight: [outputs, inputs]. scale: [outputs]. inputs: [samples, inputs] as they are in float; stored: the same as the
    integer engine will see them.
    """
    energy = stored.T @ stored / max(len(stored), 1)
    mean = float(np.mean(np.diag(energy)))
    damped = energy + np.eye(len(energy)) * max(DAMPING * mean, 1e-12)
    # The upper factor of the inverse holds, row by row, how far each later column makes up for an earlier one.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = weight.copy()
    integers = np.zeros(weight.shape, np.int8)
    for column in range(weight.shape[1]):
        rounded = np.clip(np.rint(left[:, column] / scale), -LEVELS, LEVELS)
        integers[:, column] = rounded
        error = (left[:, column] - rounded * scale) / factor[column, column]
        left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    lost = inputs.mean(axis=0) @ weight.T - stored.mean(axis=0) @ (integers * scale[:, None]).T
    return integers, lost
