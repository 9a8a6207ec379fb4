"""Loops over stored numbers: windows of any layout to float32 bands, scaled, gaps as NaN, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["EDGE", "band_lines", "band_planes", "band_points"]

#: Numbers beyond this are no quantity: the edge of float32, which nodata values are often a rounded copy of.
EDGE = 3.4e38
#: Columns that are turned from points to bands at once, so that lines of cache are used whole.
_TURN = 32


@njit(cache=True, nogil=True, inline="always")
def _line(
    stored: NDArray[Any], plain: bool, has: bool, nodata: float, scale: float, offset: float, out: Float32
) -> None:
    """One line of a band; in float64 where it is scaled, so that rounding comes once."""
    for j in range(len(stored)):
        value = stored[j]
        if (has and value == nodata) or not abs(np.float64(value)) < EDGE:
            out[j] = np.nan
        elif plain:
            out[j] = np.float32(value)
        else:
            out[j] = np.float32(np.float64(value) * scale + offset)


@njit(cache=True, nogil=True)
def band_planes(
    stored: NDArray[Any],
    bands: Int64,
    first: Int64,
    has: Bool,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Band sequential: ``stored`` is (bands, rows, columns).

    Parameters
    ----------
    stored : (B, R, C)
        What is in the file, or a window of it.
    bands : (n,) int64
        Planes that are wanted, in the order of `out`.
    first : (2,) int64
        First row and column that are wanted.
    has, nodata, scale, offset : (n,)
        Whether a band has a number for no data, which; and value = stored x scale + offset.
    out : (n, h, w) float32
        Filled.
    """
    count, height, width = out.shape
    top, left = first[0], first[1]
    for b in range(count):
        plain = scale[b] == 1.0 and offset[b] == 0.0
        for i in range(height):
            line = stored[bands[b], top + i, left : left + width]
            _line(line, plain, has[b], nodata[b], scale[b], offset[b], out[b, i])


@njit(cache=True, nogil=True)
def band_lines(
    stored: NDArray[Any],
    bands: Int64,
    first: Int64,
    has: Bool,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Band interleaved by line: ``stored`` is (rows, bands, columns); see `band_planes`."""
    count, height, width = out.shape
    top, left = first[0], first[1]
    for i in range(height):
        for b in range(count):
            plain = scale[b] == 1.0 and offset[b] == 0.0
            line = stored[top + i, bands[b], left : left + width]
            _line(line, plain, has[b], nodata[b], scale[b], offset[b], out[b, i])


@njit(cache=True, nogil=True)
def band_points(
    stored: NDArray[Any],
    bands: Int64,
    first: Int64,
    has: Bool,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Band interleaved by pixel: ``stored`` is (rows, columns, bands); see `band_planes`."""
    count, height, width = out.shape
    top, left = first[0], first[1]
    for i in range(height):
        for start in range(0, width, _TURN):
            stop = min(start + _TURN, width)
            for b in range(count):
                plain = scale[b] == 1.0 and offset[b] == 0.0
                line = stored[top + i, left + start : left + stop, bands[b]]
                _line(line, plain, has[b], nodata[b], scale[b], offset[b], out[b, i, start:stop])
