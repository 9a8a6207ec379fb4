"""Derivatives of a surface from the 3 x 3 cells round each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["first_derivatives", "second_derivatives"]


@njit(cache=True, nogil=True)
def _or_reflected(value: float, opposite: float, centre: float) -> float:
    """A neighbour's height; where it is missing, its opposite mirrored at the centre; the centre's where both are."""
    if not np.isnan(value):
        return value
    return centre if np.isnan(opposite) else 2.0 * centre - opposite


@njit(cache=True, nogil=True)
def _corner(value: float, opposite: float, centre: float, one: float, other: float) -> float:
    """The same for a diagonal neighbour; where both are missing, the plane through the centre and its two sides."""
    if np.isnan(value) and np.isnan(opposite):
        return one + other - centre
    return _or_reflected(value, opposite, centre)


@njit(cache=True, nogil=True)
def first_derivatives(z: Float32, dx: float, dy: float, horn: bool, east: Float64, north: Float64) -> None:
    """Rise towards the east and the north of each cell.

    Parameters
    ----------
    z : (h + 2, w + 2) float32
        Heights with one cell more on each side, NaN where missing.
    dx, dy : float
        Size of a cell in units of the heights.
    horn : bool
        Weigh all eight neighbours (Horn 1981) and not the four nearest (Zevenbergen and Thorne 1987).
    east, north : (h, w) float64
        Filled; NaN where the cell is missing.
    """
    height, width = east.shape
    for i in range(height):
        for j in range(width):
            c = float(z[i + 1, j + 1])
            if np.isnan(c):
                east[i, j] = np.nan
                north[i, j] = np.nan
                continue
            n, s = _or_reflected(z[i, j + 1], z[i + 2, j + 1], c), _or_reflected(z[i + 2, j + 1], z[i, j + 1], c)
            w, e = _or_reflected(z[i + 1, j], z[i + 1, j + 2], c), _or_reflected(z[i + 1, j + 2], z[i + 1, j], c)
            if not horn:
                east[i, j] = (e - w) / (2.0 * dx)
                north[i, j] = (n - s) / (2.0 * dy)
                continue
            nw = _corner(z[i, j], z[i + 2, j + 2], c, n, w)
            ne = _corner(z[i, j + 2], z[i + 2, j], c, n, e)
            sw = _corner(z[i + 2, j], z[i, j + 2], c, s, w)
            se = _corner(z[i + 2, j + 2], z[i, j], c, s, e)
            east[i, j] = (ne + 2.0 * e + se - nw - 2.0 * w - sw) / (8.0 * dx)
            north[i, j] = (nw + 2.0 * n + ne - sw - 2.0 * s - se) / (8.0 * dy)


@njit(cache=True, nogil=True)
def second_derivatives(z: Float32, dx: float, dy: float, xx: Float64, yy: Float64, xy: Float64) -> None:
    """Second derivatives of the surface through the 3 x 3 cells (Zevenbergen and Thorne 1987).

    Parameters
    ----------
    z : (h + 2, w + 2) float32
        As in `first_derivatives`.
    dx, dy : float
        Size of a cell in units of the heights.
    xx, yy, xy : (h, w) float64
        Filled: twice to the east, twice to the north, once each; NaN where the cell is missing.
    """
    height, width = xx.shape
    for i in range(height):
        for j in range(width):
            c = float(z[i + 1, j + 1])
            if np.isnan(c):
                xx[i, j] = np.nan
                yy[i, j] = np.nan
                xy[i, j] = np.nan
                continue
            n, s = _or_reflected(z[i, j + 1], z[i + 2, j + 1], c), _or_reflected(z[i + 2, j + 1], z[i, j + 1], c)
            w, e = _or_reflected(z[i + 1, j], z[i + 1, j + 2], c), _or_reflected(z[i + 1, j + 2], z[i + 1, j], c)
            nw = _corner(z[i, j], z[i + 2, j + 2], c, n, w)
            ne = _corner(z[i, j + 2], z[i + 2, j], c, n, e)
            sw = _corner(z[i + 2, j], z[i, j + 2], c, s, w)
            se = _corner(z[i + 2, j + 2], z[i, j], c, s, e)
            xx[i, j] = (e + w - 2.0 * c) / (dx * dx)
            yy[i, j] = (n + s - 2.0 * c) / (dy * dy)
            xy[i, j] = (ne + sw - nw - se) / (4.0 * dx * dy)
