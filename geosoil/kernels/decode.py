"""Loops over stored numbers: windows of any layout to float32 bands, scaled, gaps as NaN, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["EDGE", "band_lines", "band_planes", "band_points", "pick_lines", "pick_planes", "pick_points"]

#: Numbers beyond this are no quantity: the edge of float32, which nodata values are often a rounded copy of.
EDGE = 3.4e38
#: Columns that are turned from points to bands at once, so that lines of cache are used whole.
_TURN = 32


@njit(cache=True, nogil=True, inline="always")
def _value(value: Any, plain: bool, has: bool, nodata: float, scale: float, offset: float) -> np.float32:
    if (has and value == nodata) or not abs(np.float64(value)) < EDGE:
        return np.float32(np.nan)
    if plain:
        return np.float32(value)
    return np.float32(np.float64(value) * scale + offset)


@njit(cache=True, nogil=True, inline="always")
def _line(
    stored: NDArray[Any], plain: bool, has: bool, nodata: float, scale: float, offset: float, out: Float32
) -> None:
    """One line of a band; in float64 where it is scaled, so that rounding comes once."""
    for j in range(len(stored)):
        out[j] = _value(stored[j], plain, has, nodata, scale, offset)


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


@njit(cache=True, nogil=True, inline="always")
def _end_of_row(row: Int64, start: int) -> int:
    """One past the last cell of the row that a cell is in."""
    stop = start + 1
    while stop < len(row) and row[stop] == row[start]:
        stop += 1
    return stop


@njit(cache=True, nogil=True)
def _pick(
    stored: NDArray[Any],
    column: Int64,
    plain: bool,
    has: bool,
    nodata: float,
    scale: float,
    offset: float,
    lines: Float32,
    out: Float32,
) -> None:
    """Some columns of a line: all from the first to the last are decoded, which is quicker than one by one."""
    first, stop = column[0], column[-1] + 1
    if stop - first == len(column):
        _line(stored[first:stop], plain, has, nodata, scale, offset, out)
        return
    _line(stored[first:stop], plain, has, nodata, scale, offset, lines[: stop - first])
    for k in range(len(column)):
        out[k] = lines[np.uint64(column[k] - first)]


@njit(cache=True, nogil=True)
def pick_planes(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    has: Bool,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file that is band sequential: ``stored`` is (bands, rows, columns).

    Parameters
    ----------
    stored : (B, R, C)
        What is in the file, or a part of it.
    bands : (b,) int64
        Planes that are wanted, in the order of `out`.
    row, column : (n,) int64
        The cells, by rows; not checked.
    has, nodata, scale, offset : (b,)
        As for `band_planes`.
    out : (b, n) float32
        Filled.
    """
    lines = np.empty(stored.shape[2], np.float32)
    for b in range(len(bands)):
        plain = scale[b] == 1.0 and offset[b] == 0.0
        start = 0
        while start < len(row):
            stop = _end_of_row(row, start)
            line = stored[bands[b], row[start]]
            _pick(line, column[start:stop], plain, has[b], nodata[b], scale[b], offset[b], lines, out[b, start:stop])
            start = stop


@njit(cache=True, nogil=True)
def pick_lines(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    has: Bool,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by line: ``stored`` is (rows, bands, columns); see `pick_planes`."""
    lines = np.empty(stored.shape[2], np.float32)
    start = 0
    while start < len(row):
        stop = _end_of_row(row, start)
        for b in range(len(bands)):
            plain = scale[b] == 1.0 and offset[b] == 0.0
            line = stored[row[start], bands[b]]
            _pick(line, column[start:stop], plain, has[b], nodata[b], scale[b], offset[b], lines, out[b, start:stop])
        start = stop


@njit(cache=True, nogil=True)
def pick_points(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    has: Bool,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by pixel: ``stored`` is (rows, columns, bands); see `pick_planes`."""
    for start in range(0, len(row), _TURN):
        stop = min(start + _TURN, len(row))
        for b in range(len(bands)):
            plain = scale[b] == 1.0 and offset[b] == 0.0
            for k in range(start, stop):
                value = stored[row[k], column[k], bands[b]]
                out[b, k] = _value(value, plain, has[b], nodata[b], scale[b], offset[b])
