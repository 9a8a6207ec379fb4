"""Prediction of random forests from flat arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["NODE", "predict"]

#: A node, all of it in one line of cache. A leaf is its own child on both sides; children are told by where they begin
#: among numbers of four bytes.
NODE = np.dtype([("feature", "u4"), ("threshold", "f4"), ("left", "u4"), ("right", "u4")])
#: Numbers of a node, and where they are in it.
_SIZE, _THRESHOLD, _LEFT = np.uint64(4), np.uint64(1), np.uint64(2)
#: Rows that walk one tree after the other, bytes: both stay in cache.
_BLOCK = 2**18
#: Rows whose walks go on side by side: while one waits for its node, the others have theirs.
_TOGETHER = 16


@njit(cache=True, nogil=True)
def predict(rows: Float32, root: Int64, nodes: NDArray[np.uint32], value: Float64, out: Float64) -> None:
    """Mean over trees.

    Parameters
    ----------
    rows : (n, F) float32
        Features, contiguous.
    root : (trees,) int64
        First node of each tree.
    nodes : (4 nodes,) uint32
        The nodes, each a `NODE`. A row goes left where ``row[feature] <= threshold``.
    value : (nodes,)
        Of the leaves.
    out : (n,) float64
        Filled.
    """
    # All places are unsigned, or each would be looked at for whether it counts from the end, at twice the time.
    threshold, numbers = nodes.view(np.float32), rows.reshape(-1)
    count, width = rows.shape
    place, begin = np.empty(_TOGETHER, np.uint64), np.empty(_TOGETHER, np.uint64)
    block = max(1, _BLOCK // (4 * max(1, width) * _TOGETHER)) * _TOGETHER
    out[:] = 0.0
    for first in range(0, count, block):
        for tree in range(len(root)):
            start = _SIZE * np.uint64(root[tree])
            for top in range(first, min(first + block, count), _TOGETHER):
                for k in range(_TOGETHER):
                    # Those beyond the last walk with it.
                    place[k], begin[k] = start, np.uint64(min(top + k, count - 1) * width)
                walking = True
                while walking:
                    walking = False
                    for k in range(_TOGETHER):
                        node = place[k]
                        small = numbers[begin[k] + np.uint64(nodes[node])] <= threshold[node + _THRESHOLD]
                        # A child is read from where it stands: of a choice the compiler may make a branch.
                        child = np.uint64(nodes[node + _LEFT + np.uint64(not small)])
                        walking |= child != node
                        place[k] = child
                for k in range(min(_TOGETHER, count - top)):
                    out[top + k] += value[place[k] // _SIZE]
    for i in range(count):
        out[i] /= len(root)
