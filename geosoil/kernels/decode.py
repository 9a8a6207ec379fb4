"""Loops over stored numbers: windows of any layout to float32 bands, scaled, gaps as NaN, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from .prefetch import LINE, prefetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["EDGE", "band_lines", "band_planes", "band_points", "pick_lines", "pick_planes", "pick_points"]

#: Numbers beyond this are no quantity: the edge of float32, which nodata values are often a rounded copy of.
EDGE = 3.4e38
#: The same among float32, of which it is none.
_EDGE32 = np.float32(EDGE)
#: Cells that are turned from points to bands at once, so that lines of cache are used whole.
_TURN = 32
#: Cells in a run of neighbours from which on runs are quicker to decode one by one than with what is between them.
_RUN = 16
#: Lines of bands, or rows of a band, that are asked for ahead: they are pages apart, which no processor foresees.
_AHEAD = 4


@njit(cache=True, nogil=True, inline="always")
def _value(stored: Any, nodata: float, scale: float, offset: float) -> np.float32:
    """A number as a value: in float64, so that rounding comes once; without a branch, so that several go at once."""
    value = np.float64(stored)
    gone = (value == nodata) | (not abs(value) < EDGE)
    return np.float32(np.nan) if gone else np.float32(value * scale + offset)


@njit(cache=True, nogil=True, inline="always")
def _line(stored: NDArray[Any], nodata: float, scale: float, offset: float, out: Float32) -> None:
    """One line of a band."""
    if scale == 1 and offset == 0 and np.isnan(nodata):
        for j in range(len(stored)):
            value = np.float32(stored[j])
            out[j] = value if abs(value) <= _EDGE32 else np.float32(np.nan)
        return
    for j in range(len(stored)):
        out[j] = _value(stored[j], nodata, scale, offset)


@njit(cache=True, nogil=True)
def band_planes(
    stored: NDArray[Any],
    bands: Int64,
    first: Int64,
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
    nodata, scale, offset : (n,) float64
        A band's number for no data, NaN for none; and value = stored x scale + offset.
    out : (n, h, w) float32
        Filled.
    """
    count, height, width = out.shape
    top, left = first[0], first[1]
    for b in range(count):
        for i in range(height):
            line = stored[bands[b], top + i, left : left + width]
            _line(line, nodata[b], scale[b], offset[b], out[b, i])


@njit(cache=True, nogil=True)
def band_lines(
    stored: NDArray[Any],
    bands: Int64,
    first: Int64,
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
            line = stored[top + i, bands[b], left : left + width]
            _line(line, nodata[b], scale[b], offset[b], out[b, i])


@njit(cache=True, nogil=True)
def band_points(
    stored: NDArray[Any],
    bands: Int64,
    first: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Band interleaved by pixel: ``stored`` is (rows, columns, bands); see `band_planes`."""
    _, height, width = out.shape
    row, column = np.empty(width, np.int64), np.arange(width) + first[1]
    for i in range(height):
        row[:] = first[0] + i
        pick_points(stored, bands, row, column, nodata, scale, offset, out[:, i])


@njit(cache=True, nogil=True)
def _runs(row: Int64, column: Int64, start: int, begin: Int64) -> int:
    """The runs of neighbours in the row that begins with a cell: where each begins, and one past the last; how many."""
    count, stop = 0, start
    while stop < len(row) and row[stop] == row[start]:
        if stop == start or column[stop] != column[stop - 1] + 1:
            begin[count] = stop
            count += 1
        stop += 1
    begin[count] = stop
    return count


@njit(cache=True, nogil=True)
def _foresee(stored: NDArray[Any], i: int, j: int, first: int, last: int) -> None:
    """Ask for the columns of a line from the first to the last."""
    for column in range(first, last + 1, LINE // stored.itemsize):
        prefetch(stored, i, j, column)


@njit(cache=True, nogil=True)
def _pick(
    stored: NDArray[Any],
    column: Int64,
    begin: Int64,
    count: int,
    nodata: float,
    scale: float,
    offset: float,
    lines: Float32,
    out: Float32,
) -> None:
    """Some columns of a line, in runs of neighbours; where these are short all columns between are decoded too."""
    start, stop = begin[0], begin[count]
    if count * _RUN <= stop - start or count == 1:
        for k in range(count):
            cell, size = column[begin[k]], begin[k + 1] - begin[k]
            _line(stored[cell : cell + size], nodata, scale, offset, out[begin[k] : begin[k + 1]])
        return
    first, last = column[start], column[stop - 1] + 1
    _line(stored[first:last], nodata, scale, offset, lines[: last - first])
    for k in range(start, stop):
        out[k] = lines[np.uint64(column[k] - first)]


@njit(cache=True, nogil=True)
def pick_planes(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
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
    nodata, scale, offset : (b,) float64
        As for `band_planes`.
    out : (b, n) float32
        Filled.
    """
    lines = np.empty(stored.shape[2], np.float32)
    # The runs of all rows, row after row, and where each row's are: a band is then walked through once.
    begin, rows = np.empty(2 * len(row) + 1, np.int64), np.empty(len(row) + 1, np.int64)
    start = used = count = 0
    while start < len(row):
        rows[count] = used
        used += _runs(row, column, start, begin[used:]) + 1
        start = begin[used - 1]
        count += 1
    rows[count] = used
    for b in range(len(bands)):
        for i in range(count):
            part = begin[rows[i] : rows[i + 1]]
            ahead, band = i + _AHEAD, b
            if ahead >= count:
                ahead, band = min(ahead - count, count - 1), min(b + 1, len(bands) - 1)
            soon = begin[rows[ahead] : rows[ahead + 1]]
            _foresee(stored, bands[band], row[soon[0]], column[soon[0]], column[soon[-1] - 1])
            line = stored[bands[b], row[part[0]]]
            _pick(line, column, part, len(part) - 1, nodata[b], scale[b], offset[b], lines, out[b])


@njit(cache=True, nogil=True)
def pick_lines(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by line: ``stored`` is (rows, bands, columns); see `pick_planes`."""
    lines, begin = np.empty(stored.shape[2], np.float32), np.empty(len(row) + 1, np.int64)
    start = 0
    while start < len(row):
        count = _runs(row, column, start, begin)
        first, last = column[start], column[begin[count] - 1]
        for b in range(len(bands)):
            _foresee(stored, row[start], bands[min(b + _AHEAD, len(bands) - 1)], first, last)
            line = stored[row[start], bands[b]]
            _pick(line, column, begin, count, nodata[b], scale[b], offset[b], lines, out[b])
        start = begin[count]


@njit(cache=True, nogil=True)
def pick_points(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by pixel: ``stored`` is (rows, columns, bands); see `pick_planes`."""
    if not len(bands):
        return
    # All bands from the first to the last are decoded, which is quicker than one by one.
    first = bands.min()
    count = bands.max() + 1 - first
    absent, factor, shift = np.full(count, np.nan), np.ones(count), np.zeros(count)
    for b in range(len(bands)):
        place = bands[b] - first
        absent[place], factor[place], shift[place] = nodata[b], scale[b], offset[b]
    turned = np.empty((_TURN, count), np.float32)
    for start in range(0, len(row), _TURN):
        stop = min(start + _TURN, len(row))
        for k in range(start, stop):
            cell, values = stored[row[k], column[k], first : first + count], turned[k - start]
            for place in range(count):
                values[place] = _value(cell[place], absent[place], factor[place], shift[place])
        for b in range(len(bands)):
            place = np.uint64(bands[b] - first)
            for k in range(stop - start):
                out[b, start + k] = turned[k, place]
