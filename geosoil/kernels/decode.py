"""Loops over stored numbers: windows of any layout to float32 bands, scaled, gaps as NaN, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from .prefetch import LINE, prefetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["EDGE", "band_lines", "band_points", "in_line", "pick_lines", "pick_points"]

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


def in_line(stored: NDArray[Any], *, by_band: bool) -> tuple[NDArray[Any], tuple[int, int], bool]:
    """The first arguments of `band_lines` and `pick_lines`.

    Parameters
    ----------
    stored : (B, R, C), or (R, B, C) where it is not `by_band`
        What is in a file, or a part of it, which need not be whole.

    >>> line, apart, by_band = in_line(np.arange(24).reshape(2, 3, 4)[:, 1:, :2], by_band=True)
    >>> line[[0, -1]].tolist(), apart, by_band
    ([4, 21], (12, 4), True)
    """
    size = stored.itemsize
    if stored.strides[2] != size or min(stored.strides) < 0:
        stored = np.ascontiguousarray(stored)
    ends = sum((count - 1) * stride for count, stride in zip(stored.shape, stored.strides, strict=True))
    line = np.lib.stride_tricks.as_strided(stored, (ends // size + 1 if stored.size else 0,), (size,), writeable=False)
    first, second = (stride // size for stride in stored.strides[:2])
    return line, (first, second) if by_band else (second, first), by_band


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
def band_lines(
    stored: NDArray[Any],
    apart: tuple[int, int],
    by_band: bool,
    bands: Int64,
    first: Int64,
    nodata: Float64,
    scale: Float64,
    offset: Float64,
    out: Float32,
) -> None:
    """Windows of a file whose columns lie together: band sequential, or interleaved by line.

    Parameters
    ----------
    stored : (s,)
        What is in the file, or a part of it, from the first number to the last.
    apart : (int, int)
        Numbers from a band to the next, and from a row to the next.
    by_band : bool
        Whether to go through it band by band, as files that are band sequential are; else row by row.
    bands : (n,) int64
        Bands that are wanted, in the order of `out`.
    first : (2,) int64
        First row and column that are wanted.
    nodata, scale, offset : (n,) float64
        A band's number for no data, NaN for none; and value = stored x scale + offset.
    out : (n, h, w) float32
        Filled.
    """
    # Lines are cut from one dimension: only of that does the compiler know that numbers lie side by side.
    count, height, width = out.shape
    outer, inner = (count, height) if by_band else (height, count)
    for one in range(outer):
        for two in range(inner):
            i, b = (two, one) if by_band else (one, two)
            start = bands[b] * apart[0] + (first[0] + i) * apart[1] + first[1]
            _line(stored[start : start + width], nodata[b], scale[b], offset[b], out[b, i])


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
    """Band interleaved by pixel: ``stored`` is (rows, columns, bands); see `band_lines`."""
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
def pick_lines(
    stored: NDArray[Any],
    apart: tuple[int, int],
    by_band: bool,
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
    """Cells of a file whose columns lie together.

    Groups of cells side by side are filled together: a line of the file then gives them all a longer run of numbers.

    Parameters
    ----------
    stored, apart, by_band
        As for `band_lines`.
    bands : (b,) int64
        Bands that are wanted, in the order of `out`.
    row, column : (n,) int64
        The cells, group by group and within each by rows; not checked.
    edges : (G + 1,) int64
        First cell of each group.
    first, last : (G,) int64
        First cell of each group that is to be filled, and one past the last.
    nodata, scale, offset : (b,) float64
        As for `band_lines`.
    out : (b * n,) float32
        Filled; group by group, each as (b, its cells).
    """
    # All in one function: to hand arrays to another one, for each line of each band, costs as much as to decode them.
    begin, section, group, rows = _sections(row, column, first, last)
    between = np.empty(column.max() + 1 if len(column) else 0, np.float32)
    count, height = len(bands), len(rows) - 1
    outer, inner = (count, height) if by_band else (height, count)
    step = LINE // stored.itemsize
    for one in range(outer):
        for two in range(inner):
            i, b = (two, one) if by_band else (one, two)
            far, near = one, two + _AHEAD
            if near >= inner:
                far, near = min(one + 1, outer - 1), min(near - inner, inner - 1)
            i_soon, b_soon = (near, far) if by_band else (far, near)
            start, stop = begin[section[rows[i_soon]]], begin[section[rows[i_soon + 1]] - 1]
            for j in range(column[start], column[stop - 1] + 1, step):
                prefetch(stored, bands[b_soon] * apart[0] + row[start] * apart[1] + j)
            line = stored[bands[b] * apart[0] + row[begin[section[rows[i]]]] * apart[1] :]
            none, gain, shift = nodata[b], scale[b], offset[b]
            plain = gain == 1 and shift == 0 and np.isnan(none)
            for s in range(rows[i], rows[i + 1]):
                g = group[s]
                # The value of cell k goes to out[place + k].
                place = edges[g] * count + b * (edges[g + 1] - edges[g]) - edges[g]
                run, end = section[s], section[s + 1] - 1
                start, stop = begin[run], begin[end]
                if (end - run) * _RUN <= stop - start or end - run == 1:
                    for k in range(run, end):
                        left, size = column[begin[k]], begin[k + 1] - begin[k]
                        numbers, values = line[left : left + size], out[place + begin[k] : place + begin[k + 1]]
                        if plain:
                            for j in range(size):
                                value = np.float32(numbers[j])
                                values[j] = value if abs(value) <= _EDGE32 else np.float32(np.nan)
                        else:
                            for j in range(size):
                                values[j] = _value(numbers[j], none, gain, shift)
                    continue
                # Runs are short: the columns between them are decoded too.
                left, size = column[start], column[stop - 1] + 1 - column[start]
                numbers = line[left : left + size]
                for j in range(size):
                    between[j] = _value(numbers[j], none, gain, shift)
                for k in range(start, stop):
                    out[place + k] = between[np.uint64(column[k] - left)]


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
    """Cells of a file interleaved by pixel: ``stored`` is (rows, columns, bands); see `pick_lines`."""
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
