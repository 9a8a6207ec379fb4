"""Many small partial least squares fits of one response in float32, as searches over a spectral library make them.

The spectra are not deflated (Dayal & MacGregor 1997): a component is two passes over them. The rows of a fit are
gathered into a block that stays in the second-level cache. The block's sides are multiples of what the processor takes
at once, filled up with zeros, which change no sum: there are no left-over rows or bands to go through. Whatever has the
length of the rows is float64, which costs little and keeps the scores orthogonal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["LANES", "ROWS", "coefficients", "components", "fit", "gather", "padded", "project", "space"]

#: Bands and rows are filled up to multiples of these.
LANES, ROWS = 32, 4

_FAST = {"reassoc", "contract", "nsz"}
_EPS = np.float32(1.1920929e-07)
_ZERO, _ONE = np.float32(0), np.float32(1)


def padded(count: int, unit: int) -> int:
    """The next multiple of a unit.

    >>> padded(211, 32)
    224
    """
    return -(-count // unit) * unit


@njit(cache=True, nogil=True, fastmath=_FAST)
def _dot(a: Float32, b: Float32) -> np.float32:
    total = _ZERO
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _dot64(a: Float64, b: Float64) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _subtract(a: Float64, share: float, b: Float64) -> None:
    for i in range(len(a)):
        a[i] -= share * b[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _divide(a: Float32, by: np.float32) -> None:
    factor = _ONE / by
    for j in range(len(a)):
        a[j] *= factor


@njit(cache=True, nogil=True, fastmath=_FAST)
def _scores(x: Float32, w: Float32, out: Float64) -> None:
    """``out = x w``, four rows at a time."""
    n, m = x.shape
    for i in range(0, n, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        ta, tb, tc, td = _ZERO, _ZERO, _ZERO, _ZERO
        for j in range(m):
            ta += a[j] * w[j]
            tb += b[j] * w[j]
            tc += c[j] * w[j]
            td += d[j] * w[j]
        out[i], out[i + 1], out[i + 2], out[i + 3] = ta, tb, tc, td


@njit(cache=True, nogil=True, fastmath=_FAST)
def _sum(x: Float32, value: Float64, out: Float32) -> None:
    """``out = x' value``, four rows at a time."""
    n, m = x.shape
    for j in range(m):
        out[j] = _ZERO
    for i in range(0, n, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        ta, tb = np.float32(value[i]), np.float32(value[i + 1])
        tc, td = np.float32(value[i + 2]), np.float32(value[i + 3])
        for j in range(m):
            out[j] += ta * a[j] + tb * b[j] + tc * c[j] + td * d[j]


@njit(cache=True, nogil=True, fastmath=_FAST)
def gather(
    x: Float32, y: Float32, rows: Int64, weight: Float32, work: Float32, rest: Float64, mean: Float32
) -> tuple[float, float]:
    """Rows centred by their weighted mean, times the root of their weight.

    Parameters
    ----------
    x, y : (N, m), (N,) float32
        All samples.
    rows : (n,) int
        Which are taken.
    weight : (n,) float32
        Their weights; a weight of two is a sample that is there twice.
    work, rest : (padded(n, ROWS), m) float32, (padded(n, ROWS),) float64
        Filled: spectra and response. The rows that fill the block up are not touched and have to be zero.
    mean : (m,) float32
        Filled.

    Returns
    -------
    centre, squares : float
        Weighted mean of y; sum of squares of `work`.
    """
    n, m = len(rows), len(mean)
    total, centre, squares = 0.0, 0.0, 0.0
    for i in range(n):
        row, into = x[rows[i]], work[i]
        for j in range(m):
            into[j] = row[j]
        total += weight[i]
        centre += weight[i] * y[rows[i]]
    centre /= total
    for i in range(n):
        rest[i] = weight[i] / total
    _sum(work, rest, mean)
    for i in range(n):
        into, root, own = work[i], np.sqrt(weight[i]), _ZERO
        rest[i] = root * (y[rows[i]] - centre)
        for j in range(m):
            into[j] = root * (into[j] - mean[j])
            own += into[j] * into[j]
        squares += float(own)
    return centre, squares


@njit(cache=True, nogil=True, fastmath=_FAST)
def components(
    x: Float32, rest: Float64, squares: float, w: Float32, t: Float64, mixed: Float64, q: Float64, p: Float32
) -> int:
    """Components of centred rows, as many as `w` has room for.

    Scores are made orthogonal to those before, and the weights come from what is left of the response. This is the same
    model as with deflated or rotated spectra, but no rounding error is handed on from one component to the next.

    Parameters
    ----------
    x, rest, squares : (n, m) float32, (n,) float64, float
        From `gather`; n a multiple of `ROWS`. What is left of the response is left in `rest`.
    w, t : (A, m) float32, (A, n) float64
        Filled: weights, orthogonal scores.
    mixed : (A, A) float64
        Filled above the diagonal: ``x w[a] = t[a] + sum(mixed[i, a] * t[i] for i < a)``.
    q : (A,) float64
        Filled: y-loadings.
    p : (A or 0, m) float32
        Filled where it has rows: loadings.

    Returns
    -------
    int
        Components that the data hold above the rounding errors; what lies beyond is not filled.
    """
    length = np.empty(len(w))
    smallest = 2 * _EPS * np.sqrt(squares)
    for a in range(len(w)):
        weight, score = w[a], t[a]
        _sum(x, rest, weight)
        norm = np.sqrt(_dot(weight, weight))
        if norm <= smallest * np.sqrt(_dot64(rest, rest)):
            return a
        _divide(weight, norm)
        _scores(x, weight, score)
        for i in range(a):
            share = _dot64(t[i], score) / length[i]
            _subtract(score, share, t[i])
            mixed[i, a] = share
        squared = _dot64(score, score)
        if squared <= smallest * smallest:
            return a
        share = _dot64(score, rest) / squared
        _subtract(rest, share, score)
        length[a], q[a] = squared, share
        if len(p):
            _sum(x, score, p[a])
            _divide(p[a], np.float32(squared))
    return len(w)


@njit(cache=True, nogil=True, fastmath=_FAST)
def coefficients(held: int, w: Float32, mixed: Float64, q: Float64, out: Float32) -> None:
    """Coefficients (m,) of so many components, from what `components` filled."""
    share = np.empty(held)
    for a in range(held - 1, -1, -1):
        share[a] = q[a]
        for i in range(a + 1, held):
            share[a] -= mixed[a, i] * share[i]
    for j in range(len(out)):
        out[j] = _ZERO
    for a in range(held):
        one, part = w[a], np.float32(share[a])
        for j in range(len(out)):
            out[j] += part * one[j]


@njit(cache=True, nogil=True)
def fit(x: Float32, y: Float32, rows: Int64, weight: Float32, most: int, mean: Float32, out: Float32) -> float:
    """Coefficients of `most` components on some rows.

    Parameters
    ----------
    x, y : (N, m) and (N,) float32
        All samples; m a multiple of `LANES`.
    rows, weight : (n,) int64, (n,) float32
        Which samples count, and how much.
    most : int
        Number of components, below n.
    mean, out : (m,) float32
        Filled: mean of the rows, and coefficients.

    Returns
    -------
    float
        Mean of y; a prediction is this and ``(x - mean) @ out``.
    """
    m = x.shape[1]
    work, rest, w, t, mixed, q = space(len(rows), m, most)
    centre, squares = gather(x, y, rows, weight, work, rest, mean)
    held = components(work, rest, squares, w, t, mixed, q, np.empty((0, m), np.float32))
    coefficients(held, w, mixed, q, out)
    return centre


@njit(cache=True, nogil=True)
def space(n: int, m: int, most: int) -> tuple[Float32, Float64, Float32, Float64, Float64, Float64]:
    """Arrays for fits of n rows, m bands and so many components: what `gather` and `components` fill."""
    block = -(-n // ROWS) * ROWS
    return (
        np.zeros((block, m), np.float32),
        np.zeros(block),
        np.empty((most, m), np.float32),
        np.empty((most, block)),
        np.zeros((most, most)),
        np.empty(most),
    )


@njit(cache=True, nogil=True, fastmath=_FAST)
def project(row: Float32, held: int, w: Float32, mixed: Float64, score: Float64) -> None:
    """Scores (A,) of a centred spectrum."""
    for a in range(held):
        score[a] = _dot(row, w[a])
        for i in range(a):
            score[a] -= mixed[i, a] * score[i]
