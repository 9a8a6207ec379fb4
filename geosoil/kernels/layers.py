"""What follows a matrix product in a dense layer: bias and activation, in one pass over what is still in cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32, Int64

__all__ = ["shift", "shift_relu", "standardise"]


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


@njit(cache=True, nogil=True)
def standardise(made: Float32, rows: Int64, scale: Float32, shift: Float32, out: Float32) -> None:
    """Some rows, standardised, and below them a row of ones and the squared length of each column.

    Parameters
    ----------
    made : (m, n) float32
    rows : (k,) int64
        Those that are taken; not checked.
    scale, shift : (k,) float32
        A row becomes ``row * scale + shift``.
    out : (k + 2, n) float32
        Filled.
    """
    count = len(rows)
    ones, length = out[count], out[count + 1]
    for j in range(made.shape[1]):
        ones[j] = 1
        length[j] = 0
    for i in range(count):
        row, gain, offset, z = made[rows[i]], scale[i], shift[i], out[i]
        for j in range(made.shape[1]):
            value = row[j] * gain + offset
            z[j] = value
            length[j] += value * value
