"""Partial least squares of one response, for searches that fit it thousands of times.

Improved kernel PLS, algorithm 1 (Dayal & MacGregor 1997): the spectra are never deflated, so a component costs one pass
over them. Rows are taken four at a time: scores and loadings come from the same pass, while the rows are in cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["coefficients", "components", "held_out"]

_EPS = 2.220446049250313e-16


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _score_and_load(x: Float64, r: Float64, p: Float64) -> float:
    """Loadings ``p = x' x r`` of a rotation, not divided by the squared score norm, which is returned."""
    n, m = x.shape
    p[:] = 0.0
    norm = 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        ta, tb, tc, td = 0.0, 0.0, 0.0, 0.0
        for j in range(m):
            ta += a[j] * r[j]
            tb += b[j] * r[j]
            tc += c[j] * r[j]
            td += d[j] * r[j]
        norm += ta * ta + tb * tb + tc * tc + td * td
        for j in range(m):
            p[j] += ta * a[j] + tb * b[j] + tc * c[j] + td * d[j]
    for i in range(whole, n):
        a, ta = x[i], 0.0
        for j in range(m):
            ta += a[j] * r[j]
        norm += ta * ta
        for j in range(m):
            p[j] += ta * a[j]
    return norm


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a: Float64, b: Float64) -> float:
    total = 0.0
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@njit(cache=True, nogil=True)
def components(x: Float64, s: Float64, most: int, p: Float64, r: Float64, q: Float64) -> int:
    """Rotations and y-loadings; the coefficients of a components are ``sum(q[i] * r[i] for i < a)``.

    Parameters
    ----------
    x : (n, m) float64
        Centred spectra, rows contiguous.
    s : (m,) float64
        ``x' y``; overwritten.
    most : int
        Number of components wanted.
    p, r : (>= most, m) float64
        Filled: loadings, rotations.
    q : (>= most,) float64
        Filled; 0 from the first component that the data do not hold.

    Returns
    -------
    int
        Components that the data hold. The rest would be rounding errors: the covariance with y is used up, or the
        scores vanish beside the largest.
    """
    q[:most] = 0.0
    first = np.sqrt(_dot(s, s))
    largest = 0.0
    for a in range(most):
        norm = np.sqrt(_dot(s, s))
        if norm <= _EPS * first:
            return a
        for j in range(len(s)):
            r[a, j] = s[j] / norm
        w = r[a].copy()
        for i in range(a):
            share = _dot(p[i], w)
            for j in range(len(s)):
                r[a, j] -= share * r[i, j]
        squared = _score_and_load(x, r[a], p[a])
        largest = max(largest, squared)
        if squared <= _EPS * largest:
            return a
        q[a] = _dot(r[a], s) / squared
        for j in range(len(s)):
            s[j] -= p[a, j] * q[a]
            p[a, j] /= squared
    return most


@njit(cache=True, nogil=True)
def _centred(
    x: Float64, y: Float64, rows: Int64, columns: Int64, work: Float64, mean: Float64, s: Float64
) -> tuple[int, float]:
    """Take rows and columns into the front of `work`, centred, and ``x' y`` into `s`; returns the mean of y too."""
    n, m = len(rows), len(columns)
    centre = 0.0
    for i in range(n):
        centre += y[rows[i]]
    centre /= n
    mean[:] = 0.0
    for i in range(n):
        row = x[rows[i]]
        for j in range(m):
            work[i, j] = row[columns[j]]
            mean[j] += work[i, j]
    for j in range(m):
        mean[j] /= n
    s[:] = 0.0
    for i in range(n):
        value = y[rows[i]] - centre
        for j in range(m):
            work[i, j] -= mean[j]
            s[j] += work[i, j] * value
    return n, centre


@njit(cache=True, nogil=True)
def coefficients(x: Float64, y: Float64, rows: Int64, columns: Int64, most: int, out: Float64) -> int:
    """Coefficients of `most` components on some rows and columns.

    Parameters
    ----------
    x, y : (N, M) and (N,) float64
        Spectra and response, of which only the rows and columns given are looked at.
    rows, columns : (n,), (m,) int64
        Which.
    most : int
        Number of components, below n and at most m.
    out : (m,) float64
        Filled, in the order of `columns`.

    Returns
    -------
    int
        Components that the data hold.
    """
    m = len(columns)
    work, mean, s = np.empty((len(rows), m)), np.empty(m), np.empty(m)
    p, r, q = np.empty((most, m)), np.empty((most, m)), np.empty(most)
    _centred(x, y, rows, columns, work, mean, s)
    held = components(work, s, most, p, r, q)
    out[:] = 0.0
    for a in range(held):
        for j in range(m):
            out[j] += q[a] * r[a, j]
    return held


@njit(cache=True, nogil=True)
def held_out(
    x: Float64, y: Float64, columns: Int64, fold: Int64, folds: int, most: int, out: Float64, work: Float64
) -> None:
    """Predictions of each row by models that did not see its fold, for 1 to `most` components.

    Parameters
    ----------
    x, y : (N, M) and (N,) float64
        Spectra and response.
    columns : (m,) int64
        Bands that are used.
    fold : (N,) int64
        Fold of each row, 0 to folds - 1.
    most : int
        Number of components; smaller than each training part.
    out : (most, N) float64
        Filled.
    work : (N, m) float64
        Work space.
    """
    m = len(columns)
    mean, s, row = np.empty(m), np.empty(m), np.empty(m)
    p, r, q = np.empty((most, m)), np.empty((most, m)), np.empty(most)
    for one in range(folds):
        train = np.flatnonzero(fold != one)
        size, centre = _centred(x, y, train, columns, work, mean, s)
        held = components(work[:size], s, most, p, r, q)
        for i in np.flatnonzero(fold == one):
            for j in range(m):
                row[j] = x[i, columns[j]] - mean[j]
            value = centre
            for a in range(most):
                if a < held:
                    value += q[a] * _dot(row, r[a])
                out[a, i] = value
