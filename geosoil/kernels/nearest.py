"""Memory-based learning: for each spectrum its nearest neighbours, a small PLS on them, and its prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from .pls1 import components, gather, project, space

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["coordinates", "nearest", "predict"]

_FAST = {"reassoc", "contract", "nsz"}
_ZERO = np.float32(0)
#: Samples whose distances are in the first-level cache at once.
_CHUNK = 2048
#: Weight of the farthest neighbour, whose tricube is zero.
_LEAST = np.float32(1e-4)
_TINY = 1e-30


@njit(cache=True, nogil=True, fastmath=_FAST)
def coordinates(x: Float32, axes: Float32, out: Float32) -> None:
    """``out = x axes'``: (n, m) and (q, m) to (n, q); a row's result depends on no other row."""
    for i in range(len(x)):
        for c in range(len(axes)):
            total = _ZERO
            for j in range(x.shape[1]):
                total += x[i, j] * axes[c, j]
            out[i, c] = total


@njit(cache=True, nogil=True)
def _sink(far: Float32, row: Int64) -> None:
    """Let the first entry of a heap, whose largest is first, sink to its place."""
    place, count = 0, len(far)
    while True:
        child = 2 * place + 1
        if child >= count:
            return
        if child + 1 < count and far[child + 1] > far[child]:
            child += 1
        if far[child] <= far[place]:
            return
        far[place], far[child] = far[child], far[place]
        row[place], row[child] = row[child], row[place]
        place = child


@njit(cache=True, nogil=True, fastmath=_FAST)
def _squared(z: Float32, start: int, stop: int, point: Float32, out: Float32) -> None:
    """Squared distances of the samples from `start` to `stop`."""
    for i in range(stop - start):
        out[i] = _ZERO
    for c in range(len(point)):
        axis, value = z[c, start:stop], point[c]
        for i in range(stop - start):
            gap = axis[i] - value
            out[i] += gap * gap


@njit(cache=True, nogil=True)
def nearest(z: Float32, point: Float32, always: int, rows: Int64, far: Float32, chunk: Float32) -> None:
    """The nearest samples of a point; of equally near ones the first.

    Parameters
    ----------
    z : (q, N) float32
        Coordinates of the samples.
    point : (q,) float32
        Coordinates of the point.
    always : int
        So many of the last samples are taken whatever their distance; at most k.
    rows, far : (k,) int64, (k,) float32
        Filled: places, and squared distances; k is at most N.
    chunk : (>= 2048,) float32
        Work space.
    """
    free, left = z.shape[1] - always, len(rows) - always
    near, own = far[:left], rows[:left]
    near[:] = np.inf
    for start in range(0, free if left else 0, _CHUNK):
        stop = min(start + _CHUNK, free)
        _squared(z, start, stop, point, chunk)
        limit = near[0]
        for i in range(stop - start):
            if chunk[i] < limit:
                near[0], own[0] = chunk[i], start + i
                _sink(near, own)
                limit = near[0]
    for i in range(always):
        rows[left + i] = free + i
    for start in range(0, always, _CHUNK):
        stop = min(start + _CHUNK, always)
        _squared(z, free + start, free + stop, point, far[left + start : left + stop])


@njit(cache=True, nogil=True)
def _tricube(far: Float32, weight: Float32) -> None:
    """Multiply weights by ``(1 - (d / largest d)**3)**3``, nowhere zero."""
    largest = far.max()
    if largest <= 0:
        return
    for i in range(len(far)):
        near = np.float32(1) - np.sqrt(far[i] / largest) ** 3
        weight[i] *= max(near * near * near, _LEAST)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _average(
    rest: Float32, held: int, low: int, w: Float32, mixed: Float64, q: Float64, p: Float32, r: Float32, b: Float32
) -> float:
    """Weighted mean of the predictions, above the mean of y, of `low` to `held` components.

    A prediction counts by ``1 / (s g)``: s is what its components leave of the spectrum, g its coefficients' size.
    """
    m = len(rest)
    score = np.empty(held)
    project(rest, held, w, mixed, score)
    value, total, weights = 0.0, 0.0, 0.0
    b[:] = _ZERO
    for a in range(held):
        part, share, turned = np.float32(score[a]), np.float32(q[a]), r[a]
        turned[:] = w[a]
        for i in range(a):
            mix, before = np.float32(mixed[i, a]), r[i]
            for j in range(m):
                turned[j] -= mix * before[j]
        left, size = _ZERO, _ZERO
        loading = p[a]
        for j in range(m):
            rest[j] -= part * loading[j]
            left += rest[j] * rest[j]
        for j in range(m):
            b[j] += share * turned[j]
            size += b[j] * b[j]
        value += q[a] * score[a]
        if a + 1 >= low:
            weight = 1 / max(np.sqrt(np.float64(left) * np.float64(size)), _TINY)
            total += weight * value
            weights += weight
    return total / weights


@njit(cache=True, nogil=True)
def predict(
    x: Float32,
    y: Float32,
    weight: Float32,
    z: Float32,
    spectra: Float32,
    points: Float32,
    k: int,
    always: int,
    low: int,
    high: int,
    tricube: bool,
    clip: bool,
    out: Float64,
) -> None:
    """Predict spectra, each by weighted-average PLS on its neighbours.

    Parameters
    ----------
    x, y, weight : (N, m), (N,), (N,) float32
        The memory; m a multiple of ``pls1.LANES``.
    z : (q, N) float32
        Its coordinates, in which neighbours are near.
    spectra, points : (n, m), (n, q) float32
        What is predicted, and its coordinates.
    k, always : int
        Number of neighbours; see `nearest`.
    low, high : int
        Least and largest component count of the average; `high` below k.
    tricube : bool
        Whether near neighbours count more.
    clip : bool
        Whether predictions are held in the range of the neighbours' values.
    out : (n,) float64
        Filled.
    """
    m = x.shape[1]
    work, rest, w, t, mixed, q = space(k, m, high)
    p, r = np.empty((high, m), np.float32), np.empty((high, m), np.float32)
    mean, row, b, chunk = (
        np.empty(m, np.float32),
        np.empty(m, np.float32),
        np.empty(m, np.float32),
        np.empty(_CHUNK, np.float32),
    )
    rows, far, own = np.empty(k, np.int64), np.empty(k, np.float32), np.empty(k, np.float32)
    for one in range(len(spectra)):
        nearest(z, points[one], always, rows, far, chunk)
        own[:] = weight[rows]
        if tricube:
            _tricube(far, own)
        value, squares = gather(x, y, rows, own, work, rest, mean)
        held = components(work, rest, squares, w, t, mixed, q, p)
        if held:
            row[:] = spectra[one] - mean
            value += _average(row, held, min(low, held), w, mixed, q, p, r, b)
        if clip:
            value = min(max(value, y[rows].min()), y[rows].max())
        out[one] = value
