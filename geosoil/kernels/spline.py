"""Equal-area quadratic splines through soil layers (Bishop, McBratney & Laslett 1999; Malone et al. 2009).

The curve of a profile is quadratic in layers and linear in gaps, has a continuous value and slope, and is flat at
both ends. With layer thickness ``h``, gap ``g`` below a layer and smoothing ``lambda``, the slopes ``b`` at the
n - 1 inner borders solve ``(R + 6 n lambda Q Q') b = 6 Q y``, where R and QQ' are tridiagonal. It is the published
system ``Z s = y, b = 6 R^-1 Q s`` with Z eliminated: a profile costs O(n), and ``lambda = 0`` is no special case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["EXACT", "FROM_FIRST_CM", "FROM_TOP", "fit_curve", "interval_means"]

#: How the mean over an interval is taken: closed-form integral; the mean of the curve at top, top + 1, ...
#: bottom - 1 cm, as the R package mpspline2; or at top + 1, ... bottom cm, as the R package ithir.
EXACT, FROM_TOP, FROM_FIRST_CM = 0, 1, 2


@njit(cache=True, nogil=True)
def fit_curve(
    top: Float64,
    bottom: Float64,
    value: Float64,
    smoothing: float,
    mean: Float64,
    slope: Float64,
    start: Float64,
    bend: Float64,
) -> None:
    """Coefficients of the curve of one profile; the last four arguments are filled.

    In layer i the curve is ``start[i] + slope[i] t + bend[i] t**2`` with ``t = depth - top[i]``; in the gap below
    it, a line of slope ``slope[i + 1]``.

    Parameters
    ----------
    top, bottom, value : (n,) float64
        Layers from the surface down, without overlaps; n at least 1.
    smoothing : float
        Lambda; 0 keeps the layer means exactly.
    mean : (n,) float64
        Filled with the smoothed layer means.
    slope : (n + 1,) float64
        Filled with the slopes at the tops of the layers, and 0 at the end.
    start, bend : (n,) float64
        Filled with the constant and the quadratic coefficients.
    """
    n = len(value)
    stiffness = n * smoothing
    upper = np.empty(n, np.float64)
    slope[0] = 0.0
    slope[n] = 0.0
    # Thomas algorithm; the system is diagonally dominant, so it needs no pivoting.
    for i in range(n - 1):
        thick, next_thick = bottom[i] - top[i], bottom[i + 1] - top[i + 1]
        diagonal = 2.0 * (thick + next_thick) + 6.0 * (top[i + 1] - bottom[i]) + 12.0 * stiffness
        right = 6.0 * (value[i + 1] - value[i])
        if i > 0:
            lower = thick - 6.0 * stiffness
            diagonal -= lower * upper[i - 1]
            right -= lower * slope[i]
        upper[i] = (next_thick - 6.0 * stiffness) / diagonal
        slope[i + 1] = right / diagonal
    for i in range(n - 3, -1, -1):
        slope[i + 1] -= upper[i] * slope[i + 2]
    for i in range(n):
        thick = bottom[i] - top[i]
        mean[i] = value[i] + stiffness * (slope[i + 1] - slope[i])
        bend[i] = (slope[i + 1] - slope[i]) / (2.0 * thick)
        start[i] = mean[i] - slope[i] * thick / 2.0 - bend[i] * thick * thick / 3.0


@njit(cache=True, nogil=True)
def _integral(
    upper: float, lower: float, top: Float64, bottom: Float64, slope: Float64, start: Float64, bend: Float64
) -> float:
    """Integral of the curve from depth `upper` to `lower`, as far as the profile reaches."""
    total = 0.0
    n = len(top)
    for i in range(n):
        p, q = max(upper, top[i]) - top[i], min(lower, bottom[i]) - top[i]
        if q > p:
            total += start[i] * (q - p) + slope[i] * (q * q - p * p) / 2.0 + bend[i] * (q**3 - p**3) / 3.0
        if i + 1 < n:
            # The gap, measured upwards from the layer below it.
            p, q = max(upper, bottom[i]) - top[i + 1], min(lower, top[i + 1]) - top[i + 1]
            if q > p:
                total += start[i + 1] * (q - p) + slope[i + 1] * (q * q - p * p) / 2.0
    return total


@njit(cache=True, nogil=True)
def _at(depth: float, top: Float64, bottom: Float64, slope: Float64, start: Float64, bend: Float64) -> float:
    """The curve at one depth between the first top and the last bottom."""
    for i in range(len(top)):
        t = depth - top[i]
        if t < 0.0:  # in the gap above layer i
            return float(start[i] + slope[i] * t)
        if depth <= bottom[i]:
            return float(start[i] + slope[i] * t + bend[i] * t * t)
    return np.nan


@njit(cache=True, nogil=True)
def _sampled(
    upper: float,
    lower: float,
    first: int,
    top: Float64,
    bottom: Float64,
    slope: Float64,
    start: Float64,
    bend: Float64,
    lowest: float,
    highest: float,
) -> float:
    """Mean of the curve, limited, at whole centimetres from ``upper + first`` on, ``lower - upper`` of them.

    Like mpspline2 (first = 0) it leaves out what is not inside the profile, and like ithir (first = 1) it goes on
    with the value of the first top above it.
    """
    total, count = 0.0, 0
    for step in range(round(lower - upper)):
        depth = upper + first + step
        inside = depth >= top[0] if first == 0 else True
        beyond = depth >= bottom[-1] if first == 0 else depth > bottom[-1]
        if inside and not beyond:
            at = _at(max(depth, top[0]), top, bottom, slope, start, bend)
            total += min(max(at, lowest), highest)
            count += 1
    return total / count if count > 0 else np.nan


@njit(cache=True, nogil=True)
def interval_means(
    first: Int64,
    top: Float64,
    bottom: Float64,
    value: Float64,
    upper: Float64,
    lower: Float64,
    smoothing: float,
    min_cover: float,
    lowest: float,
    highest: float,
    sampling: int,
    out: Float64,
) -> None:
    """Means of the curves of many profiles over depth intervals.

    Parameters
    ----------
    first : (P + 1,) int64
        Layers of profile p are ``first[p]`` to ``first[p + 1] - 1``; a profile may have none.
    top, bottom, value : (L,) float64
        Layers, from the surface down within each profile, without overlaps; cm and the property's unit.
    upper, lower : (T,) float64
        Intervals, cm.
    smoothing : float
        Lambda.
    min_cover : float
        Least share of an interval between the profile's first top and last bottom.
    lowest, highest : float
        Limits of the result (of the curve, where it is sampled); infinite for none.
    sampling : int
        `EXACT`, `FROM_TOP` or `FROM_FIRST_CM`.
    out : (P, T) float64
        Filled; NaN where an interval is not covered enough.
    """
    most = 0
    for p in range(len(first) - 1):
        most = max(most, first[p + 1] - first[p])
    mean, start, bend = np.empty(most), np.empty(most), np.empty(most)
    slope = np.empty(most + 1)
    for p in range(len(first) - 1):
        begin, end = first[p], first[p + 1]
        n = end - begin
        if n == 0:
            out[p, :] = np.nan
            continue
        u, v = top[begin:end], bottom[begin:end]
        m, b, a, c = mean[:n], slope[: n + 1], start[:n], bend[:n]
        fit_curve(u, v, value[begin:end], smoothing, m, b, a, c)
        for t in range(len(upper)):
            covered = min(lower[t], v[-1]) - max(upper[t], u[0])
            if covered <= 0.0 or covered < min_cover * (lower[t] - upper[t]) - 1e-9:
                out[p, t] = np.nan
            elif sampling == EXACT:
                whole = _integral(upper[t], lower[t], u, v, b, a, c)
                out[p, t] = min(max(whole / covered, lowest), highest)
            else:
                step = 0 if sampling == FROM_TOP else 1
                out[p, t] = _sampled(upper[t], lower[t], step, u, v, b, a, c, lowest, highest)
