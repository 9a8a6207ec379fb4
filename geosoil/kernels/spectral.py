"""Loops along the band axis: the steps of preprocessing, and a walk over them that keeps a spectrum in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types
from numba.extending import overload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Int64

    #: float32 or float64; all arrays of a call have the same.
    Row = NDArray[Any]

__all__ = [
    "ABSORBANCE",
    "CONTINUUM",
    "COUNTS",
    "FILTER",
    "INTERPOLATE",
    "MSC",
    "PROJECT",
    "SCALE",
    "SNV",
    "absorbance",
    "continuum",
    "convolve",
    "interpolate",
    "msc",
    "project_out",
    "scale",
    "snv",
    "splice",
    "walk",
]

# Codes of the steps in a program; see `walk`.
ABSORBANCE, SNV, PROJECT, FILTER, MSC, CONTINUUM, SCALE, INTERPOLATE = range(8)

#: What `walk` counts: rows with a missing value, values raised to the floor, rows too bright, rows without shape.
COUNTS = ("missing", "floored", "bright", "flat")
_MISSING, _FLOORED, _BRIGHT, _FLAT = range(4)
# What a step says of its row.
_FINE = -1

# Bands of the middle detector that tell how a spectrum goes on.
_SPLICE_BANDS = 10
# Sums, in float64 always, may be regrouped and products fused, so that they run in vector registers; NaN and infinity
# keep their meaning.
_SUMS = {"reassoc", "contract"}
_LOG10_2 = 0.30102999566398119521
_TWICE_LOG10_E = 2 / np.log(10.0)
_S1, _S2, _S4 = np.float32(1), np.float32(_LOG10_2), np.float32(_TWICE_LOG10_E)
_T3, _T5, _T7, _T9 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)


def _log10(value: float) -> float:
    """Logarithm of a positive, normal number; the mathematical library's own would not run in vector registers."""
    return float(np.log10(value))


# x = 2^e m with m between sqrt(1/2) and sqrt(2), and log m = 2 artanh((m - 1)/(m + 1)), a series that is short here.
@overload(_log10, inline="always")
def _log10_of(value: Any) -> Any:
    if value == types.float32:

        def single(value: Any) -> Any:
            bits = np.float32(value).view(np.int32)
            exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
            mantissa = np.int32(bits - (exponent << np.int32(23))).view(np.float32)
            s = (mantissa - _S1) / (mantissa + _S1)
            q = s * s
            series = (((_T9 * q + _T7) * q + _T5) * q + _T3) * q + _S1
            return np.float32(exponent) * _S2 + _S4 * s * series

        return single

    def double(value: Any) -> Any:
        bits = np.float64(value).view(np.int64)
        exponent = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)
        mantissa = np.int64(bits - (exponent << np.int64(52))).view(np.float64)
        s = (mantissa - 1.0) / (mantissa + 1.0)
        q = s * s
        series = ((((1 / 21 * q + 1 / 19) * q + 1 / 17) * q + 1 / 15) * q + 1 / 13) * q + 1 / 11
        series = ((((series * q + 1 / 9) * q + 1 / 7) * q + 1 / 5) * q + 1 / 3) * q + 1.0
        return exponent * _LOG10_2 + _TWICE_LOG10_E * s * series

    return double


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _finite(row: Row) -> bool:
    """Whether all values are finite: zero times them is zero, else NaN."""
    nothing = row.dtype.type(0)
    total = nothing
    for j in range(len(row)):
        total += row[j] * nothing
    return bool(total == nothing)


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _mean(row: Row) -> Any:
    total = 0.0
    for j in range(len(row)):
        total += row[j]
    return total / len(row)


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _dot(left: Row, right: Row) -> Any:
    total = 0.0
    for j in range(len(left)):
        total += left[j] * right[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def absorbance(row: Row, limits: Row, out: Row, counts: Int64) -> int:
    """``-log10(R)``; what is below the floor is raised to it and counted.

    Parameters
    ----------
    row, out : (p,) float
        Reflectance, 0 to 1; `out` is filled.
    limits : (2,) float
        Floor and ceiling of reflectance.
    counts : (4,) int64
        Added to; see `COUNTS`.

    Returns
    -------
    int
        What is wrong with the row, a place in `COUNTS`, or -1.
    """
    floor, ceiling = limits[0], limits[1]
    low, high = 0, 0
    for j in range(len(row)):
        low += row[j] < floor
        high += row[j] > ceiling
    if high:
        return _BRIGHT
    counts[_FLOORED] += low
    for j in range(len(row)):
        out[j] = -_log10(max(row[j], floor))
    return _FINE


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def snv(row: Row, tolerance: Row, out: Row) -> int:
    """Standard normal variate: ``(x - mean) / sd`` of the row, sd with n - 1 (Barnes, Dhanoa and Lister 1989).

    Parameters
    ----------
    row, out : (p,) float
    tolerance : (1,) float
        A spread below this share of the mean is none.
    """
    count = len(row)
    centre = _mean(row)
    squares = 0.0
    for j in range(count):
        squares += (row[j] - centre) * (row[j] - centre)
    spread = np.sqrt(squares / max(count - 1, 1))
    if not spread > tolerance[0] * abs(centre):
        return _FLAT
    gain = 1.0 / spread
    for j in range(count):
        out[j] = (row[j] - centre) * gain
    return _FINE


@njit(cache=True, nogil=True)
def project_out(row: Row, basis: Row, out: Row) -> int:
    """What is left of a row when some shapes are taken out by least squares.

    Parameters
    ----------
    row, out : (p,) float
    basis : (k * p,) float
        Orthonormal shapes, one after the other.
    """
    count = len(row)
    out[:] = row
    for start in range(0, len(basis), count):
        shape = basis[start : start + count]
        amount = _dot(row, shape)
        for j in range(count):
            out[j] -= amount * shape[j]
    return _FINE


@njit(cache=True, nogil=True)
def convolve(row: Row, layout: Int64, weights: Row, out: Row) -> int:
    """Weighted sums over a window that moves along each segment.

    Parameters
    ----------
    row, out : (p,), (q,) float
    layout : (2 + 3 s,) int64
        Width of the window; whether the edges are kept; for each segment its first band in `row`, its first band in
        `out`, and its number of windows.
    weights : (w,) or (w + 2 h w,) float
        Of the window; and of the first and last windows for each of the h edge bands on both sides.
    """
    width, edges = layout[0], layout[1]
    half = width // 2
    for place in range(2, len(layout), 3):
        first, start, windows = layout[place], layout[place + 1], layout[place + 2]
        if edges:
            last = first + windows - 1
            for k in range(half):
                left = weights[width * (1 + k) : width * (2 + k)]
                right = weights[width * (1 + half + k) : width * (2 + half + k)]
                out[start + k] = _dot(row[first : first + width], left)
                out[start + half + windows + k] = _dot(row[last : last + width], right)
            start += half
        target = out[start : start + windows]
        source = row[first : first + windows + width - 1]
        for j in range(windows):
            target[j] = source[j] * weights[0]
        for k in range(1, width):
            weight = weights[k]
            if weight != 0:
                for j in range(windows):
                    target[j] += source[j + k] * weight
    return _FINE


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def msc(row: Row, reference: Row, out: Row) -> int:
    """Multiplicative scatter correction: fit ``x = a + m r``, take ``(x - a) / m`` (Geladi et al. 1985).

    Parameters
    ----------
    row, out : (p,) float
    reference : (p + 2,) float
        The reference less its mean and divided by its sum of squares; its mean; and the least slope that counts.
    """
    count = len(row)
    slope = _dot(row, reference[:count])
    if not abs(slope) > reference[count + 1]:
        return _FLAT
    offset = _mean(row) - slope * reference[count]
    gain = 1.0 / slope
    for j in range(count):
        out[j] = (row[j] - offset) * gain
    return _FINE


@njit(cache=True, nogil=True, error_model="numpy")
def continuum(row: Row, inverted: int, places: Row, out: Row, hull: Int64, counts: Int64) -> int:
    """Divide by the upper hull, linear between its bands (Clark and Roush 1984).

    Parameters
    ----------
    row, out : (p,) float
        `row` is overwritten.
    inverted : int
        1 for absorbance: the hull of 1/A, and one over the result less 1.
    places : (1 + p,) float
        The least value, to which smaller ones are raised and counted, then the wavelengths, rising.
    hull : (p,) int64
        Working space.
    counts : (4,) int64
        Added to.
    """
    count, floor = len(row), places[0]
    one = row.dtype.type(1)
    wavelength = places[1:]
    low = 0
    for j in range(count):
        low += row[j] < floor
        row[j] = max(row[j], floor)
    counts[_FLOORED] += low
    if inverted:
        for j in range(count):
            row[j] = one / row[j]
    top = 0
    for j in range(count):
        while top >= 2:
            a, b = hull[top - 2], hull[top - 1]
            rise = (row[b] - row[a]) * (wavelength[j] - wavelength[a])
            if rise > (row[j] - row[a]) * (wavelength[b] - wavelength[a]):
                break
            top -= 1
        hull[top] = j
        top += 1
    out[0] = one
    for k in range(1, top):
        a, b = hull[k - 1], hull[k]
        slope = (row[b] - row[a]) / (wavelength[b] - wavelength[a])
        for j in range(a + 1, b):
            out[j] = row[j] / (row[a] + slope * (wavelength[j] - wavelength[a]))
        out[b] = one
    if inverted:
        for j in range(count):
            out[j] = one / out[j] - one
    return _FINE


@njit(cache=True, nogil=True)
def scale(row: Row, constants: Row, out: Row) -> int:
    """``(x - centre) * gain``, with the p centres and then the p gains in `constants`."""
    count = len(row)
    for j in range(count):
        out[j] = (row[j] - constants[j]) * constants[count + j]
    return _FINE


@njit(cache=True, nogil=True)
def interpolate(row: Row, lower: Int64, share: Row, out: Row) -> int:
    """Between the bands ``lower`` and ``lower + 1``, by the share of the second; both (q,)."""
    for j in range(len(lower)):
        a, b = row[lower[j]], row[lower[j] + 1]
        out[j] = a + share[j] * (b - a)
    return _FINE


@njit(cache=True, nogil=True)
def walk(
    rows: Row,
    codes: Int64,
    lengths: Int64,
    layouts: Int64,
    layout_start: Int64,
    constants: Row,
    constant_start: Int64,
    out: Row,
    counts: Int64,
) -> None:
    """Take every row through all steps, on two buffers of one row.

    Parameters
    ----------
    rows : (n, p) float
        Spectra. A row with a value that is not finite becomes NaN.
    codes : (k,) int64
        The steps.
    lengths : (k + 1,) int64
        Number of bands before the first and after each step.
    layouts, layout_start : (l,), (k + 1,) int64
        Whole numbers of all steps one after the other, and where those of each step begin.
    constants, constant_start : (c,) float, (k + 1,) int64
        The same for the other numbers, of the rows' type.
    out : (n, q) float
        Filled.
    counts : (4,) int64
        Added to; see `COUNTS`.
    """
    longest = 1
    for k in range(len(lengths)):
        longest = max(longest, lengths[k])
    work = np.empty((2, longest), rows.dtype)
    hull = np.empty(longest, np.int64)
    for i in range(len(rows)):
        here = 0
        source = work[0, : lengths[0]]
        for j in range(lengths[0]):
            source[j] = rows[i, j]
        state = _FINE if _finite(source) else _MISSING
        for k in range(len(codes)):
            if state != _FINE:
                break
            source = work[here, : lengths[k]]
            target = work[1 - here, : lengths[k + 1]]
            layout = layouts[layout_start[k] : layout_start[k + 1]]
            values = constants[constant_start[k] : constant_start[k + 1]]
            code = codes[k]
            if code == ABSORBANCE:
                state = absorbance(source, values, target, counts)
            elif code == SNV:
                state = snv(source, values, target)
            elif code == PROJECT:
                state = project_out(source, values, target)
            elif code == FILTER:
                state = convolve(source, layout, values, target)
            elif code == MSC:
                state = msc(source, values, target)
            elif code == CONTINUUM:
                state = continuum(source, layout[0], values, target, hull, counts)
            elif code == SCALE:
                state = scale(source, values, target)
            else:
                state = interpolate(source, layout, values, target)
            here = 1 - here
        if state == _FINE:
            for j in range(out.shape[1]):
                out[i, j] = work[here, j]
        else:
            counts[state] += 1
            for j in range(out.shape[1]):
                out[i, j] = np.nan


@njit(cache=True, nogil=True)
def splice(rows: Row, wavelength: Row, ends: Int64) -> None:
    """Shift the outer of three detectors so that the spectrum has no steps at their joins.

    A straight line through the ten bands of the middle detector next to a join says where the last or first band of
    the outer one should lie.

    Parameters
    ----------
    rows : (n, p) float
        Changed in place.
    wavelength : (p,) float64
        Wavelengths, nm, rising.
    ends : (2,) int64
        One past the last band of the first and of the second detector.
    """
    first, second = ends[0], ends[1]
    bands = rows.shape[1]
    reach = min(_SPLICE_BANDS, second - first)
    if reach < 2:
        return
    for i in range(len(rows)):
        row = rows[i]
        if first > 0:
            shift = _line(row, wavelength, first, first + reach, wavelength[first - 1]) - row[first - 1]
            for j in range(first):
                row[j] += shift
        if second < bands:
            shift = _line(row, wavelength, second - reach, second, wavelength[second]) - row[second]
            for j in range(second, bands):
                row[j] += shift


@njit(cache=True, nogil=True)
def _line(row: Row, wavelength: Row, start: int, stop: int, place: float) -> float:
    """Where a straight line through some bands lies at another wavelength."""
    centre, mean = 0.0, 0.0
    for j in range(start, stop):
        centre += wavelength[j] / (stop - start)
        mean += row[j] / (stop - start)
    together, squares = 0.0, 0.0
    for j in range(start, stop):
        together += (wavelength[j] - centre) * (row[j] - mean)
        squares += (wavelength[j] - centre) ** 2
    return mean + together / squares * (place - centre)
