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
        _turn(stored, bands, row, column, nodata, scale, offset, out[:, i])


@njit(cache=True, nogil=True)
def _runs(row: Int64, column: Int64, start: int, last: int, begin: Int64) -> int:
    """The runs of neighbours in the row that begins with a cell: where each begins, and one past the last; how many."""
    count, stop = 0, start
    while stop < last and row[stop] == row[start]:
        if stop == start or column[stop] != column[stop - 1] + 1:
            begin[count] = stop
            count += 1
        stop += 1
    begin[count] = stop
    return count


@njit(cache=True, nogil=True)
def _sections(row: Int64, column: Int64, first: Int64, last: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Cells of groups in sections, those of one group in one row: row by row, and within a row group by group.

    Returns
    -------
    begin : (r,) int64
        Where runs of neighbours begin, and for each section one past its last cell.
    section : (s + 1,) int64
        Where each section's are in `begin`.
    group : (s,) int64
    lines : (h + 1,) int64
        First section of each row that holds cells.
    """
    at = first.copy()
    total = (last - first).sum()
    begin, section, group = np.empty(2 * total, np.int64), np.empty(total + 1, np.int64), np.empty(total, np.int64)
    lines = np.empty(total + 1, np.int64)
    used = count = rows = 0
    while True:
        now = -1
        for g in range(len(at)):
            if at[g] < last[g] and (now < 0 or row[at[g]] < now):
                now = row[at[g]]
        if now < 0:
            break
        lines[rows] = count
        rows += 1
        for g in range(len(at)):
            if at[g] < last[g] and row[at[g]] == now:
                section[count], group[count] = used, g
                used += _runs(row, column, at[g], last[g], begin[used:]) + 1
                at[g] = begin[used - 1]
                count += 1
    section[count], lines[rows] = used, count
    return begin[:used], section[: count + 1], group[:count], lines[: rows + 1]


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
    nodata: float,
    scale: float,
    offset: float,
    lines: Float32,
    out: Float32,
    place: int,
) -> None:
    """Some columns of a line, in runs of neighbours; where these are short all columns between are decoded too.

    The value of cell k goes to ``out[place + k]``.
    """
    count = len(begin) - 1
    start, stop = begin[0], begin[count]
    if count * _RUN <= stop - start or count == 1:
        for k in range(count):
            cell, size = column[begin[k]], begin[k + 1] - begin[k]
            into = out[place + begin[k] : place + begin[k + 1]]
            _line(stored[cell : cell + size], nodata, scale, offset, into)
        return
    first, end = column[start], column[stop - 1] + 1
    _line(stored[first:end], nodata, scale, offset, lines[: end - first])
    for k in range(start, stop):
        out[place + k] = lines[np.uint64(column[k] - first)]


@njit(cache=True, nogil=True)
def pick_planes(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    edges: Int64,
    first: Int64,
    last: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file that is band sequential: ``stored`` is (bands, rows, columns).

    Groups of cells side by side are filled together: a line of the file then gives them all a longer run of numbers.

    Parameters
    ----------
    stored : (B, R, C)
        What is in the file, or a part of it.
    bands : (b,) int64
        Planes that are wanted, in the order of `out`.
    row, column : (n,) int64
        The cells, group by group and within each by rows; not checked.
    edges : (G + 1,) int64
        First cell of each group.
    first, last : (G,) int64
        First cell of each group that is to be filled, and one past the last.
    nodata, scale, offset : (b,) float64
        As for `band_planes`.
    out : (b * n,) float32
        Filled; group by group, each as (b, its cells).
    """
    lines = np.empty(stored.shape[2], np.float32)
    count = len(bands)
    begin, section, group, rows = _sections(row, column, first, last)
    height = len(rows) - 1
    for b in range(count):
        for i in range(height):
            ahead, band = i + _AHEAD, b
            if ahead >= height:
                ahead, band = min(ahead - height, height - 1), min(b + 1, count - 1)
            soon = begin[section[rows[ahead]] : section[rows[ahead + 1]]]
            _foresee(stored, bands[band], row[soon[0]], column[soon[0]], column[soon[-1] - 1])
            line = stored[bands[b], row[begin[section[rows[i]]]]]
            for s in range(rows[i], rows[i + 1]):
                part, g = begin[section[s] : section[s + 1]], group[s]
                place = edges[g] * count + b * (edges[g + 1] - edges[g]) - edges[g]
                _pick(line, column, part, nodata[b], scale[b], offset[b], lines, out, place)


@njit(cache=True, nogil=True)
def pick_lines(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    edges: Int64,
    first: Int64,
    last: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by line: ``stored`` is (rows, bands, columns); see `pick_planes`."""
    lines = np.empty(stored.shape[2], np.float32)
    count = len(bands)
    begin, section, group, rows = _sections(row, column, first, last)
    for i in range(len(rows) - 1):
        here = begin[section[rows[i]] : section[rows[i + 1]]]
        left, right = column[here[0]], column[here[-1] - 1]
        for b in range(count):
            _foresee(stored, row[here[0]], bands[min(b + _AHEAD, count - 1)], left, right)
            line = stored[row[here[0]], bands[b]]
            for s in range(rows[i], rows[i + 1]):
                part, g = begin[section[s] : section[s + 1]], group[s]
                place = edges[g] * count + b * (edges[g + 1] - edges[g]) - edges[g]
                _pick(line, column, part, nodata[b], scale[b], offset[b], lines, out, place)


@njit(cache=True, nogil=True)
def pick_points(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    edges: Int64,
    first: Int64,
    last: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by pixel: ``stored`` is (rows, columns, bands); see `pick_planes`."""
    for g in range(len(first)):
        size = edges[g + 1] - edges[g]
        into = out[edges[g] * len(bands) : edges[g + 1] * len(bands)].reshape((len(bands), size))
        some = slice(first[g], last[g])
        inner = into[:, first[g] - edges[g] : last[g] - edges[g]]
        _turn(stored, bands, row[some], column[some], nodata, scale, offset, inner)


@njit(cache=True, nogil=True)
def _turn(
    stored: NDArray[Any],
    bands: Int64,
    row: Int64,
    column: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Cells of a file interleaved by pixel to bands (b, n)."""
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
