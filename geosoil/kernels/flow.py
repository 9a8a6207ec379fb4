"""Water over a surface: flooding from the edges inwards, and the area that drains through each cell.

The surface is handled as one row of cells after the other; a neighbour is numbered clockwise from north, and is
missing when it lies outside the map or holds no data. Long loops work on a part at a time, so that their callers can
tell how far they are, and stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["COLUMNS", "MISSING", "ROWS", "climb", "distribute", "downstream", "flood", "seed"]

#: Steps to the neighbours: N, NE, E, SE, S, SW, W, NW.
ROWS = np.array([-1, -1, 0, 1, 1, 1, 0, -1])
COLUMNS = np.array([0, 1, 1, 1, 0, -1, -1, -1])

#: States of a cell while the water rises.
UNTOUCHED, QUEUED, SETTLED, MISSING = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def _push(keys: Float64, cells: NDArray[Any], size: int, key: float, cell: int) -> int:
    """Add to the heap; returns its new size."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if keys[parent] <= key:
            break
        keys[place] = keys[parent]
        cells[place] = cells[parent]
        place = parent
    keys[place] = key
    cells[place] = cell
    return size + 1


@njit(cache=True, nogil=True)
def _drop_first(keys: Float64, cells: NDArray[Any], size: int) -> int:
    """Take the lowest out of the heap; returns its new size."""
    size -= 1
    key, cell = keys[size], cells[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if key <= keys[child]:
            break
        keys[place] = keys[child]
        cells[place] = cells[child]
        place = child
    keys[place] = key
    cells[place] = cell
    return size


@njit(cache=True, nogil=True)
def _at_edge(state: NDArray[np.uint8], i: int, j: int, height: int, width: int) -> bool:
    """Whether a neighbour is missing."""
    if i == 0 or j == 0 or i == height - 1 or j == width - 1:
        return True
    found = False
    for k in range(8):
        found |= state[(i + ROWS[k]) * width + j + COLUMNS[k]] == MISSING
    return found


@njit(cache=True, nogil=True)
def seed(state: NDArray[np.uint8], z: Float32, surface: Float64, width: int, keys: Float64, cells: NDArray[Any]) -> int:
    """Queue the cells at the edge of the data; returns their number, which may be more than the heap can take.

    Parameters
    ----------
    state : (n,) uint8
        `MISSING` or 0; edge cells are marked as queued when the heap takes them all.
    z : (n,) float32
        Heights.
    surface : (n,) float64
        Filled at the edge.
    width : int
        Cells in a row.
    keys, cells : (m,) float64, (m,) int
        The heap, empty.
    """
    height = len(state) // width
    count = 0
    for i in range(height):
        for j in range(width):
            if state[i * width + j] != MISSING and _at_edge(state, i, j, height, width):
                count += 1
    if count > len(keys):
        return count
    size = 0
    for i in range(height):
        for j in range(width):
            c = i * width + j
            if state[c] != MISSING and _at_edge(state, i, j, height, width):
                state[c] = QUEUED
                surface[c] = z[c]
                size = _push(keys, cells, size, surface[c], c)
    return size


@njit(cache=True, nogil=True)
def flood(
    z: Float32,
    width: int,
    rise: Float64,
    steps: int,
    state: NDArray[np.uint8],
    keys: Float64,
    cells: NDArray[Any],
    counts: Int64,
    surface: Float64,
    order: NDArray[Any],
) -> None:
    """Raise cells until each has a way down to the edge (priority flood: Wang and Liu 2006).

    Cells settle from low to high. A cell that waits at a raised height is lowered again when a later neighbour offers
    a lower one, so the result is the lowest surface on which all ways fall by at least `rise` a step; it does not
    depend on the order of equal heights.

    Parameters
    ----------
    z : (n,) float32
        Heights.
    width : int
        Cells in a row.
    rise : (8,) float64
        Least difference of height to each neighbour.
    steps : int
        Most cells to settle in this call.
    state, keys, cells, surface
        As `seed` left them, or this function.
    counts : (2,) int64
        Size of the heap, and number of settled cells; brought up to date. When the heap is nearly full, the call ends
        before its time.
    order : (valid,) int
        Filled: cells from low to high.
    """
    height = len(z) // width
    size, done = counts[0], counts[1]
    last = done + steps
    while size > 0 and done < last and size + 8 <= len(keys):
        level, c = keys[0], np.int64(cells[0])
        size = _drop_first(keys, cells, size)
        if state[c] == SETTLED:  # was lowered after this entry was made
            continue
        state[c] = SETTLED
        order[done] = c
        done += 1
        i = c // width
        j = c - i * width
        for k in range(8):
            y, x = i + ROWS[k], j + COLUMNS[k]
            if y < 0 or x < 0 or y >= height or x >= width:
                continue
            n = y * width + x
            if state[n] >= SETTLED:
                continue
            raised = max(float(z[n]), level + rise[k])
            if state[n] == UNTOUCHED or raised < surface[n]:
                state[n] = QUEUED
                surface[n] = raised
                size = _push(keys, cells, size, raised, n)
    counts[0], counts[1] = size, done


@njit(cache=True, nogil=True)
def distribute(
    surface: Float64,
    width: int,
    distance: Float64,
    exponent: float,
    order: NDArray[Any],
    first: int,
    last: int,
    area: Float64,
) -> float:
    """Hand the area of cells down to all lower neighbours, in shares of slope ** exponent (Freeman 1991).

    Beyond the edge the surface goes on as it comes from the opposite side, so that water leaves the map.

    Parameters
    ----------
    surface : (n,) float64
        Heights without pits, NaN where missing.
    width : int
        Cells in a row.
    distance : (8,) float64
        To each neighbour.
    exponent : float
        1.1 in Freeman's paper; higher values concentrate the flow.
    order : (valid,) int
        Cells from low to high; those from `last` - 1 down to `first` are handled, after all above them.
    first, last : int
        Part of `order`.
    area : (n,) float64
        Own area of each cell at first; that of its catchment when done.

    Returns
    -------
    float
        Area that left the map.
    """
    height = len(surface) // width
    share, target = np.empty(8), np.empty(8, np.int64)
    left = 0.0
    for place in range(last - 1, first - 1, -1):
        c = np.int64(order[place])
        i = c // width
        j = c - i * width
        z = surface[c]
        total = 0.0
        for k in range(8):
            y, x = i + ROWS[k], j + COLUMNS[k]
            share[k] = 0.0
            target[k] = -1
            fall = 0.0
            if y >= 0 and x >= 0 and y < height and x < width and not np.isnan(surface[y * width + x]):
                target[k] = y * width + x
                fall = z - surface[target[k]]
            else:
                y, x = i - ROWS[k], j - COLUMNS[k]
                if y >= 0 and x >= 0 and y < height and x < width and not np.isnan(surface[y * width + x]):
                    fall = surface[y * width + x] - z
            if fall > 0.0:
                share[k] = (fall / distance[k]) ** exponent
                total += share[k]
        if total == 0.0:
            left += area[c]
            continue
        for k in range(8):
            if share[k] > 0.0:
                part = area[c] * share[k] / total
                if target[k] >= 0:
                    area[target[k]] += part
                else:
                    left += part
    return left


@njit(cache=True, nogil=True)
def downstream(surface: Float64, width: int, distance: Float64, first: int, last: int, out: NDArray[Any]) -> None:
    """The neighbour of steepest descent (D8: O'Callaghan and Mark 1984); at equal slopes the first clockwise from N.

    Parameters
    ----------
    surface, width, distance
        As in `distribute`.
    first, last : int
        Rows to handle.
    out : (n,) int
        Filled with the cell that follows; the cell itself where it lies at the edge of the data, where water leaves
        the map, or has no lower neighbour; -1 where it is missing.
    """
    height = len(surface) // width
    for i in range(first, last):
        for j in range(width):
            c = i * width + j
            z = surface[c]
            if np.isnan(z):
                out[c] = -1
                continue
            steepest = 0.0
            best = c
            for k in range(8):
                y, x = i + ROWS[k], j + COLUMNS[k]
                if y < 0 or x < 0 or y >= height or x >= width or np.isnan(surface[y * width + x]):
                    best = c
                    break
                slope = (z - surface[y * width + x]) / distance[k]
                if slope > steepest:
                    steepest = slope
                    best = y * width + x
            out[c] = best


@njit(cache=True, nogil=True)
def climb(
    surface: Float64,
    down: NDArray[Any],
    order: NDArray[Any],
    drains: NDArray[np.bool_],
    first: int,
    last: int,
    out: Float32,
) -> None:
    """Height of cells above the drain that their water reaches (Nobre et al. 2011), or above where it leaves the map.

    Parameters
    ----------
    surface : (n,) float64
        Heights without pits.
    down : (n,) int
        As `downstream` gives it.
    order : (valid,) int
        Cells from low to high; those from `first` to `last` - 1 are handled, after all below them.
    drains : (n,) bool
        Cells of streams.
    first, last : int
        Part of `order`.
    out : (n,) float32
        Filled where `order` says.
    """
    for place in range(first, last):
        c = np.int64(order[place])
        below = np.int64(down[c])
        out[c] = 0.0 if drains[c] or below == c else out[below] + (surface[c] - surface[below])
