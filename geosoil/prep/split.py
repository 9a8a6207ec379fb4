"""Folds: by profile at random, or in spatial blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import verde as vd

from geosoil.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64, Int64

__all__ = ["block_size_m", "random_folds", "spatial_folds"]


def random_folds(groups: ArrayLike, folds: int, seed: int) -> Int64:
    """A fold for each row; rows of one group share it, and folds hold nearly equally many groups.

    Parameters
    ----------
    groups : (n,) array-like
        Profile, plot or pixel block of each row.
    folds : int
        Number of folds, at least two.

    Raises
    ------
    InputError
        ``GS-FOLDS``: there are fewer groups than folds.

    >>> sorted(np.bincount(random_folds([1, 1, 2, 3, 4], 2, seed=0)).tolist())
    [2, 3]
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if folds < 2 or len(names) < folds:
        raise InputError(f"{len(names)} profiles do not make {folds} folds", code="GS-FOLDS", hint="take fewer folds")
    dealt = np.empty(len(names), np.int64)
    dealt[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % folds
    return dealt[place]


def block_size_m(x: Float64, y: Float64, folds: int) -> float:
    """Edge of square blocks, in units of the coordinates, of which about ten a fold cover the extent.

    >>> block_size_m(np.array([0.0, 1000.0]), np.array([0.0, 1000.0]), 10)
    100.0
    """
    area = max(float(np.ptp(x)), 1e-9) * max(float(np.ptp(y)), 1e-9)
    return float(f"{np.sqrt(area / (10 * folds)):.2g}")


def spatial_folds(x: ArrayLike, y: ArrayLike, folds: int, seed: int, *, block_m: float | None = None) -> Int64:
    """A fold for each point; points of one square block share it (Roberts et al. 2017).

    Parameters
    ----------
    x, y : (n,) array-like
        Coordinates, metres.
    folds : int
        Number of folds, balanced by their numbers of points.
    block_m : float, optional
        Edge of the blocks; by default such that about ten blocks a fold cover the extent.

    Raises
    ------
    InputError
        ``GS-FOLDS``: fewer blocks hold points than there are folds.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    size = block_m if block_m is not None else block_size_m(x, y, folds)
    points = np.column_stack([x, y])
    splitter = vd.BlockKFold(spacing=size, n_splits=folds, shuffle=True, random_state=seed, balance=True)
    found = np.full(len(x), -1, np.int64)
    try:
        for fold, (_, held_out) in enumerate(splitter.split(points)):
            found[held_out] = fold
    except ValueError as error:
        raise InputError(
            f"blocks of {size:g} m are too few for {folds} spatial folds",
            code="GS-FOLDS",
            details=[str(error)],
            hint="give smaller blocks (validation.block_m) or fewer folds",
        ) from error
    counts = np.bincount(found[found >= 0], minlength=folds)
    if (found < 0).any() or (counts == 0).any():
        raise InputError(
            f"blocks of {size:g} m leave a spatial fold empty", code="GS-FOLDS", hint="give smaller blocks"
        )
    return found
