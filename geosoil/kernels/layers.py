"""What follows a matrix product in a dense layer: bias and activation, in one pass over what is still in cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["shift", "shift_relu"]


@njit(cache=True, nogil=True)
def shift(values: Float32, bias: Float32) -> None:
    """Add a bias a row.

    Parameters
    ----------
    values : (m, n) float32
        Changed in place.
    bias : (m,) float32
    """
    for i in range(values.shape[0]):
        one = bias[i]
        for j in range(values.shape[1]):
            values[i, j] += one


@njit(cache=True, nogil=True)
def shift_relu(values: Float32, bias: Float32) -> None:
    """Add a bias a row, and put 0 for what is negative then; NaN stays.

    Parameters
    ----------
    values : (m, n) float32
        Changed in place.
    bias : (m,) float32
    """
    for i in range(values.shape[0]):
        one = bias[i]
        for j in range(values.shape[1]):
            value = values[i, j] + one
            values[i, j] = np.float32(0) if value < 0 else value
