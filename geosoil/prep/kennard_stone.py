"""Kennard-Stone: samples that cover the space of the spectra evenly (Kennard & Stone 1969)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from geosoil.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Bool, Float64, Int64

__all__ = ["kennard_stone"]

#: Pairs of samples whose distances are in memory at once.
_PAIRS = 2**24
#: Pairs that are computed again at once.
_BLOCK = 4096
#: Bound on the rounding of distances from a product, relative to the largest squared norm.
_ROUNDING = 1e-9


def kennard_stone(
    X: ArrayLike,
    k: int,
    *,
    pc: float | None = None,
    metric: str = "euclidean",
    groups: ArrayLike | None = None,
    init: ArrayLike | None = None,
) -> Int64:
    """Rows of k samples, in the order in which they were taken.

    The two samples farthest apart come first, then always the sample whose distance to its nearest taken one is the
    largest; of equal ones the first row. Of duplicates the second comes last.

    Parameters
    ----------
    X : (n, p) array-like
        Spectra.
    k : int
        Number of samples, 2 to n (1 with `init`).
    pc : float, optional
        Work on principal components of the centred spectra: their number, or below 1 the share of the variance that
        they hold at least.
    metric : str
        ``euclidean``, or ``mahalanobis``: components divided by their standard deviations; needs `pc`.
    groups : (n,) array-like, optional
        With a sample the others of its group are taken, so there may be more than k.
    init : sequence of int, optional
        Rows that are taken before.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``; ``GS-SAMPLES-FEW``: more samples wanted than there are.
    UsageError
        ``GS-KENNARD-STONE``: options that do not go together.

    >>> kennard_stone([[0.0], [1.0], [2.0], [9.0], [4.0]], 3).tolist()
    [0, 3, 4]
    """
    points = _points(_matrix(X, k), pc, metric)
    members = np.arange(len(points)) if groups is None else np.asarray(groups)
    if members.shape != (len(points),):
        raise InputError(f"{len(points)} samples have {members.size} groups", code="GS-SPECTRA-SHAPE")
    starters = _starters(points, k) if init is None else _given(init, len(points))
    taken: list[int] = []
    left = np.ones(len(points), np.bool_)
    nearest = np.full(len(points), np.inf)
    for one in starters:
        _take(one, members, points, left, nearest, taken)
    while len(taken) < k:
        _take(int(np.argmax(np.where(left, nearest, -1.0))), members, points, left, nearest, taken)
    return np.array(taken, np.int64)


def _matrix(X: ArrayLike, k: int) -> Float64:
    X = np.asarray(X, np.float64)
    if X.ndim != 2 or X.shape[1] < 1:
        raise InputError(f"spectra have the shape {X.shape}, not (n, p)", code="GS-SPECTRA-SHAPE")
    if not np.isfinite(X).all():
        raise InputError("spectra have missing values", code="GS-SPECTRA-NAN", hint="drop these samples or bands")
    if not 1 <= k <= len(X):
        raise InputError(f"{k} of {len(X)} samples cannot be selected", code="GS-SAMPLES-FEW")
    return X


def _points(X: Float64, pc: float | None, metric: str) -> Float64:
    """Where the samples lie: the spectra themselves, or their scores."""
    if metric not in ("euclidean", "mahalanobis") or (metric == "mahalanobis" and pc is None):
        raise UsageError(
            f"metric {metric!r} does not go with pc = {pc}",
            code="GS-KENNARD-STONE",
            hint="take 'euclidean', or 'mahalanobis' with a number of components",
        )
    if pc is None:
        return X
    left, values, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    held = int((values > values[0] * max(X.shape) * np.finfo(np.float64).eps).sum()) if values[0] > 0 else 1
    count = _count(values, pc)
    if count < 1 or count > held:
        raise UsageError(f"{pc} components were asked for, the spectra hold {held}", code="GS-KENNARD-STONE")
    scores: Float64 = left[:, :count] * (1.0 if metric == "mahalanobis" else values[:count])
    return scores


def _count(values: Float64, pc: float) -> int:
    """Number of components that were asked for, from singular values."""
    if not 0 < pc < 1:
        return int(pc)
    share = np.cumsum(values**2) / max((values**2).sum(), np.finfo(np.float64).tiny)
    return min(int(np.searchsorted(share, pc)) + 1, len(values))


def _starters(points: Float64, k: int) -> list[int]:
    """The two samples farthest apart."""
    if k < 2:
        raise UsageError("the selection begins with two samples", code="GS-KENNARD-STONE", hint="take k = 2, or init")
    n = len(points)
    centred = points - points.mean(axis=0)
    squared = (centred**2).sum(axis=1)
    best, pair = -1.0, [0, 1]
    block = max(1, _PAIRS // n)
    for start in range(0, n, block):
        rows = centred[start : start + block]
        product = squared[start : start + block, None] - 2 * rows @ centred.T + squared
        # A product is fast but rounds; the pairs that it puts next to the largest are computed again.
        limit = max(float(product.max()), best) - _ROUNDING * float(squared.max())
        first, second = np.nonzero(product >= limit)
        first += start
        for part in range(0, len(first), _BLOCK):
            i, j = first[part : part + _BLOCK], second[part : part + _BLOCK]
            distance = ((points[i] - points[j]) ** 2).sum(axis=1)
            if distance.max() > best:
                place = int(distance.argmax())
                best, pair = float(distance[place]), [int(i[place]), int(j[place])]
    # All samples alike: any two will do.
    return pair if pair[0] != pair[1] else [0, 1]


def _given(init: ArrayLike, n: int) -> list[int]:
    rows = np.asarray(init, np.int64).ravel()
    if len(rows) == 0 or len(np.unique(rows)) != len(rows) or rows.min() < 0 or rows.max() >= n:
        raise UsageError(f"init does not name different rows of {n}", code="GS-KENNARD-STONE")
    return [int(one) for one in rows]


def _take(one: int, members: NDArray[Any], points: Float64, left: Bool, nearest: Float64, taken: list[int]) -> None:
    """Take a sample with its group, and bring the distances to the nearest taken sample up to date."""
    if not left[one]:
        return
    others = np.flatnonzero(left & (members == members[one]))
    for row in [one, *others[others != one]]:
        left[row] = False
        taken.append(int(row))
        np.minimum(nearest, cdist(points, points[row : row + 1], "sqeuclidean")[:, 0], out=nearest)
