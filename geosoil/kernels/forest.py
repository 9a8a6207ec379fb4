"""Prediction of random forests from flat arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["predict"]

#: Rows that walk one tree together, so that the tree stays in cache.
_BLOCK = 512


@njit(cache=True, nogil=True)
def predict(
    rows: Float32,
    start: Int64,
    feature: NDArray[np.int32],
    threshold: Float64,
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    value: Float64,
    out: Float64,
) -> None:
    """Mean over trees.

    Parameters
    ----------
    rows : (n, F) float32
        Features.
    start : (trees + 1,) int64
        First node of each tree; children are counted from there.
    feature, threshold, left, right, value : (nodes,)
        A row goes left where ``row[feature] <= threshold``; a negative feature marks a leaf.
    out : (n,) float64
        Filled.
    """
    trees = len(start) - 1
    for first in range(0, len(rows), _BLOCK):
        last = min(first + _BLOCK, len(rows))
        for i in range(first, last):
            out[i] = 0.0
        for tree in range(trees):
            base = start[tree]
            for i in range(first, last):
                node = base
                column = feature[node]
                while column >= 0:
                    node = base + left[node] if rows[i, column] <= threshold[node] else base + right[node]
                    column = feature[node]
                out[i] += value[node]
        for i in range(first, last):
            out[i] /= trees
