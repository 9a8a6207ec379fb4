"""Random subsets of a spectral library, each fitted by PLS and scored on local samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from .pls1 import coefficients, components, gather, project, space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Float64, Int64

    Int32 = NDArray[np.int32]

__all__ = ["add_scores", "draw", "judge"]

_FAST = {"reassoc", "contract", "nsz"}
_ZERO, _ONE = np.float32(0), np.float32(1)
_STEP, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@njit(cache=True, nogil=True)
def _scrambled(z: np.uint64) -> np.uint64:
    """Scramble 64 bits (the finaliser of SplitMix64, Steele, Lea & Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def draw(key: np.uint64, number: int, size: int, taken: Bool, out: Int32) -> None:
    """Draw different places below `size`, each subset as likely; the same for the same key and number.

    Parameters
    ----------
    key : uint64
        Of the seed and the round.
    number : int
        Of the draw: it depends on no other draw.
    taken : (>= size,) bool
        Work space, all False before and after.
    out : (k,) int32
        Filled; k is at most `size`.
    """
    state = _scrambled(key ^ _scrambled(np.uint64(number) + _STEP))
    count, many = 0, np.uint64(size)
    while count < len(out):
        state += _STEP
        place = np.int64(((_scrambled(state) >> np.uint64(32)) * many) >> np.uint64(32))
        if not taken[place]:
            taken[place] = True
            out[count] = place
            count += 1
    for i in range(len(out)):
        taken[out[i]] = False


@njit(cache=True, nogil=True, fastmath=_FAST)
def _standardise(work: Float32, rows: int, spread: Float32) -> float:
    """Divide centred rows by each band's standard deviation (n - 1), which is filled in; their new sum of squares."""
    n, m = work.shape
    for j in range(m):
        spread[j] = _ZERO
    for i in range(n):
        row = work[i]
        for j in range(m):
            spread[j] += row[j] * row[j]
    degrees, squares = np.float32(max(rows - 1, 1)), 0.0
    for j in range(m):
        sd = np.sqrt(spread[j] / degrees)
        squares += float(degrees) if sd > _ZERO else 0.0
        spread[j] = sd if sd > _ZERO else _ONE
    for i in range(n):
        row = work[i]
        for j in range(m):
            row[j] /= spread[j]
    return squares


@njit(cache=True, nogil=True, fastmath=_FAST)
def _response_error(
    local: Float32, wanted: Float32, mean: Float32, spread: Float32, centre: np.float32, b: Float32
) -> float:
    """Root mean squared error of the predictions."""
    total = 0.0
    for j in range(len(b)):
        b[j] /= spread[j]
    for i in range(len(local)):
        row, found = local[i], centre
        for j in range(len(b)):
            found += (row[j] - mean[j]) * b[j]
        total += (found - wanted[i]) ** 2
    return float(np.sqrt(total / len(local)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def _spectral_error(
    local: Float32, bands: int, mean: Float32, spread: Float32, held: int, w: Float32, mixed: Float64, p: Float32
) -> float:
    """Root mean square of what the components leave of the spectra."""
    total, rest, score = 0.0, np.empty_like(mean), np.empty(len(w))
    for i in range(len(local)):
        for j in range(len(rest)):
            rest[j] = (local[i, j] - mean[j]) / spread[j]
        project(rest, held, w, mixed, score)
        for a in range(held):
            part = np.float32(score[a])
            for j in range(len(rest)):
                rest[j] -= part * p[a, j]
        for j in range(bands):
            total += (rest[j] * spread[j]) ** 2
    return float(np.sqrt(total / (len(local) * bands)))


@njit(cache=True, nogil=True)
def judge(
    x: Float32,
    y: Float32,
    local: Float32,
    wanted: Float32,
    bands: int,
    most: int,
    response: bool,
    standardise: bool,
    key: np.uint64,
    first: int,
    drawn: Int32,
    score: Float64,
) -> None:
    """Draw subsets of a library, fit each, and score it on the local samples.

    Parameters
    ----------
    x, y : (N, m) and (N,) float32
        The library; m a multiple of `LANES`, zero beyond the bands.
    local, wanted : (l, m) and (l,) float32
        The local samples, of which a fit sees nothing.
    bands : int
        How many of the m are bands.
    most : int
        Number of components.
    response : bool
        Whether the score is the error of the response; else that of the spectra, and `wanted` is not looked at.
    standardise : bool
        Whether each subset's bands are divided by their standard deviation in it.
    key, first : uint64, int
        See `draw`; `first` is the number of the first.
    drawn, score : (d, k) int32, (d,) float64
        Filled: places of each subset, and its score.
    """
    size, m = x.shape
    k = drawn.shape[1]
    work, rest, w, t, mixed, q = space(k, m, most)
    p = np.empty((0 if response else most, m), np.float32)
    weight, spread = np.ones(k, np.float32), np.ones(m, np.float32)
    mean, b = np.empty(m, np.float32), np.empty(m, np.float32)
    taken = np.zeros(size, np.bool_)
    for one in range(len(drawn)):
        draw(key, first + one, size, taken, drawn[one])
        centre, squares = gather(x, y, drawn[one], weight, work, rest, mean)
        if standardise:
            squares = _standardise(work, k, spread)
        held = components(work, rest, squares, w, t, mixed, q, p)
        if response:
            coefficients(held, w, mixed, q, b)
            score[one] = _response_error(local, wanted, mean, spread, np.float32(centre), b)
        else:
            score[one] = _spectral_error(local, bands, mean, spread, held, w, mixed, p)


@njit(cache=True, nogil=True)
def add_scores(drawn: Int32, score: Float64, total: Float64, count: Int64) -> None:
    """Add each subset's score to its members, in the order of the subsets.

    Parameters
    ----------
    drawn, score : (d, k) int32, (d,) float64
        From `judge`.
    total, count : (N,) float64, (N,) int64
        Grow: sum of the scores of the subsets that hold a sample, and their number.
    """
    for one in range(len(drawn)):
        for i in drawn[one]:
            total[i] += score[one]
            count[i] += 1
