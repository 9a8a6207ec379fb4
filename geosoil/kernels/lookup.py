"""A table of a curve, looked up for whole tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["look_up"]


@njit(cache=True, nogil=True, error_model="numpy")
def look_up(
    x: Float32, knots: Float64, values: Float64, slopes: Float64, lowest: float, highest: float, out: Float32
) -> None:
    """What ``np.interp`` gives, to the bit, held within limits; quick where the knots are about evenly spaced.

    Parameters
    ----------
    x : (n,) float32
        NaN stays.
    knots, values : (k,) float64
        The table, of two knots or more; constant beyond its ends.
    slopes : (k - 1,) float64
        Of the pieces.
    out : (n,) float32
        Filled.
    """
    last = len(knots) - 1
    inverse = last / (knots[last] - knots[0])
    for i in range(len(x)):
        value = np.float64(x[i])
        if np.isnan(value):
            out[i] = np.float32(np.nan)
            continue
        if value <= knots[0]:
            found = values[0]
        elif value >= knots[last]:
            found = values[last]
        else:
            place = min(int((value - knots[0]) * inverse), last - 1)
            while knots[place] > value:
                place -= 1
            while knots[place + 1] <= value:
                place += 1
            found = values[place]
            if value != knots[place]:
                found = slopes[place] * (value - knots[place]) + values[place]
            if np.isnan(found):  # from an infinite value on
                found = slopes[place] * (value - knots[place + 1]) + values[place + 1]
        out[i] = np.float32(min(max(found, lowest), highest))
