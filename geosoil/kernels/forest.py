"""Prediction of random forests from flat arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["NODE", "predict"]

#: A node, all of it in one line of cache. A leaf is its own child on both sides.
NODE = np.dtype([("feature", "i4"), ("threshold", "f4"), ("left", "i4"), ("right", "i4")])
#: Rows that walk one tree after the other, so that both stay in cache.
_BLOCK = 512
#: Rows whose walks go on side by side: while one waits for its node, the others have theirs.
_TOGETHER = 16


@njit(cache=True, nogil=True)
def predict(rows: Float32, root: Int64, nodes: NDArray[Any], value: Float64, out: Float64) -> None:
    """Mean over trees.

    Parameters
    ----------
    rows : (n, F) float32
        Features.
    root : (trees,) int64
        First node of each tree.
    nodes : (nodes,) NODE
        A row goes left where ``row[feature] <= threshold``; children are counted from the first node of all.
    value : (nodes,)
        Of the leaves.
    out : (n,) float64
        Filled.
    """
    place = np.empty(_TOGETHER, np.int64)
    for first in range(0, len(rows), _BLOCK):
        last = min(first + _BLOCK, len(rows))
        out[first:last] = 0.0
        for tree in range(len(root)):
            for begin in range(first, last, _TOGETHER):
                count = min(_TOGETHER, last - begin)
                place[:count] = root[tree]
                walking = True
                while walking:
                    walking = False
                    for k in range(count):
                        node = nodes[place[k]]
                        left, right = node.left, node.right
                        # Both children are there, so that this is a choice and no branch to be guessed.
                        child = left if rows[begin + k, node.feature] <= node.threshold else right
                        walking |= child != place[k]
                        place[k] = child
                for k in range(count):
                    out[begin + k] += value[place[k]]
        for i in range(first, last):
            out[i] /= len(root)
