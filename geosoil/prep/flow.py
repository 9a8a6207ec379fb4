"""Water on the land: pits filled, catchment areas by multiple flow, and the way of steepest descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from geosoil.errors import ResourceError, UsageError
from geosoil.kernels.flow import COLUMNS, MISSING, ROWS, climb, distribute, downstream, flood, seed
from geosoil.prep.terrain import Cell
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["Filled", "Holes", "catchment_area", "fill", "find_holes", "height_above", "steepest"]

#: Cells between two calls of `progress`: a fraction of a second.
PART = 2**19


@dataclass(frozen=True)
class Filled:
    """A surface without pits.

    Attributes
    ----------
    surface : (h, w) float64
        Heights, m; NaN where missing.
    order : (valid,) int32 or int64
        Cells from low to high, counted row by row.
    """

    surface: Float64
    order: NDArray[Any]


@dataclass(frozen=True)
class Holes:
    """Missing cells with data all round.

    Attributes
    ----------
    cells : (n,) int64
        Those of small holes, counted row by row.
    levels : (n,) float32
        Lowest height at the rim of the hole that a cell is in, m.
    small, large : int
        Number of holes up to the size that was asked for, and beyond.
    """

    cells: Int64
    levels: Float32
    small: int
    large: int


def find_holes(z: Float32, most: int) -> Holes:
    """Find small holes in the data, which are no lakes but gaps: water had better cross them than end there.

    Parameters
    ----------
    z : (h, w) float32
        Heights; NaN where missing.
    most : int
        Cells of the largest hole that counts as small.

    >>> z = np.float32([[5, 5, 5, 5], [5, np.nan, 4, 5], [5, 5, 5, np.nan]])
    >>> found = find_holes(z, 10)
    >>> found.cells.tolist(), found.levels.tolist(), found.small
    ([5], [4.0], 1)
    """
    missing = np.isnan(z)
    labels, count = ndimage.label(missing, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.ones(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        inside[edge] = False
    inside[0] = False
    small = inside & (sizes <= most)
    cells, levels = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if small[number]:
            rows, columns = (slice(one.start - 1, one.stop + 1) for one in place)
            own = labels[rows, columns] == number
            rim = ndimage.binary_dilation(own, np.ones((3, 3))) & ~own
            y, x = np.nonzero(own)
            cells.append((y + rows.start) * z.shape[1] + x + columns.start)
            levels.append(np.full(len(y), z[rows, columns][rim].min(), np.float32))
    return Holes(np.concatenate(cells), np.concatenate(levels), int(small.sum()), int((inside & ~small).sum()))


def fill(
    z: Float32,
    cell: Cell,
    *,
    min_slope: float = 0.01,
    most_heap: int | None = None,
    progress: Progress = quiet,
) -> Filled:
    """Fill pits so that water runs from every cell to the edge of the data (Wang and Liu 2006).

    The result is the lowest surface that is nowhere below the heights, and on which a way from each cell to the edge
    falls by at least `min_slope`. Besides the heights it takes 13 bytes a cell and 12 for each cell at the front of
    the water.

    Parameters
    ----------
    z : (h, w) float32
        Heights, m; NaN where missing. Water leaves at the border of the grid and at missing cells.
    cell : (float, float)
        Width and height of a cell, m.
    min_slope : float
        Least slope over what was filled, degrees, above 0: on a level lake water would not know where to go.
    most_heap : int, optional
        Bound of the memory for the front, bytes.
    progress : callable

    Returns
    -------
    Filled

    Raises
    ------
    UsageError
        ``GS-MIN-SLOPE``.
    ResourceError
        ``GS-MEMORY``: the front outgrows `most_heap`.

    >>> pit = np.float32([[3, 3, 3, 2], [3, 0, 3, 3], [3, 3, 3, 3]])
    >>> fill(pit, (1.0, 1.0)).surface[1].round(4).tolist()
    [3.0, 3.0002, 3.0, 3.0]
    """
    if not 0 < min_slope < 45:
        raise UsageError(
            f"a least slope of {min_slope:g} degrees is not usable", code="GS-MIN-SLOPE", hint="give one above 0: 0.01"
        )
    heights = np.ascontiguousarray(z, np.float32)
    width, cells = heights.shape[1], heights.size
    flat = heights.ravel()
    index = np.int32 if cells < 2**31 else np.int64
    state = np.where(np.isnan(flat), np.uint8(MISSING), np.uint8(0))
    valid = cells - int(np.count_nonzero(state == MISSING))
    surface = np.full(cells, np.nan)
    order = np.empty(valid, index)
    rise = distances(cell) * np.tan(np.radians(min_slope))
    keys, waiting = np.empty(1024), np.empty(1024, index)
    while (size := seed(state, flat, surface, width, keys, waiting)) > len(keys):
        keys, waiting = _larger(keys, waiting, size + 8, most_heap)
    counts = np.array([size, 0], np.int64)
    while counts[0]:
        if counts[0] + 8 > len(keys):
            keys, waiting = _larger(keys, waiting, len(keys) + max(len(keys) // 2, 1024), most_heap)
        flood(flat, width, rise, PART, state, keys, waiting, counts, surface, order)
        progress(int(counts[1]), valid, "filling pits")
    return Filled(surface.reshape(heights.shape), order)


def _larger(keys: Float64, cells: NDArray[Any], size: int, most: int | None) -> tuple[Float64, NDArray[Any]]:
    """The heap with more room."""
    entry = keys.itemsize + cells.itemsize
    if most is not None and (size + len(keys)) * entry > most:  # the old one goes when the new one is filled
        raise ResourceError(
            "the front of the rising water does not fit into the memory",
            code="GS-MEMORY",
            details=[f"cells at the front: {len(keys):,}, {entry} bytes each", f"allowed: {most / 2**20:,.0f} MB"],
            hint="give a higher --max-memory, or cut the DEM at its watersheds",
        )
    wider, others = np.empty(size), np.empty(size, cells.dtype)
    wider[: len(keys)], others[: len(cells)] = keys, cells
    return wider, others


def distances(cell: Cell) -> Float64:
    """From a cell to its eight neighbours, m, clockwise from north.

    >>> distances((3.0, 4.0)).tolist()
    [4.0, 5.0, 3.0, 5.0, 4.0, 5.0, 3.0, 5.0]
    """
    return np.hypot(COLUMNS * cell[0], ROWS * cell[1])


def catchment_area(
    filled: Filled, cell: Cell, *, exponent: float = 1.1, progress: Progress = quiet
) -> tuple[Float64, float]:
    """Area that drains through each cell, shared among all lower neighbours (Freeman 1991).

    Parameters
    ----------
    filled : Filled
        Surface, and its cells from low to high.
    cell : (float, float)
        Width and height of a cell, m.
    exponent : float
        Shares go with slope ** exponent; above 0.

    Returns
    -------
    area : (h, w) float64
        m2, the cell's own included; NaN where missing.
    left : float
        Area that left the map: that of all valid cells, m2.

    Raises
    ------
    UsageError
        ``GS-EXPONENT``.
    """
    if not 0 < exponent <= 100:
        raise UsageError(
            f"a flow exponent of {exponent:g} is not usable", code="GS-EXPONENT", hint="give one above 0: 1.1"
        )
    surface = filled.surface.ravel()
    area = np.where(np.isnan(surface), np.nan, cell[0] * cell[1])
    away, left, valid = distances(cell), 0.0, len(filled.order)
    for last in range(valid, 0, -PART):
        first = max(last - PART, 0)
        left += distribute(surface, filled.surface.shape[1], away, exponent, filled.order, first, last, area)
        progress(valid - first, valid, "gathering flow")
    return area.reshape(filled.surface.shape), left


def steepest(filled: Filled, cell: Cell, *, progress: Progress = quiet) -> NDArray[Any]:
    """The cell that each cell drains to by steepest descent (D8), both counted row by row.

    A cell at the edge of the data is where water leaves, and drains to itself; a missing one has -1.

    Returns
    -------
    (h * w,) int32 or int64
    """
    height, width = filled.surface.shape
    out = np.empty(height * width, filled.order.dtype)
    rows = max(PART // width, 1)
    for first in range(0, height, rows):
        last = min(first + rows, height)
        downstream(filled.surface.ravel(), width, distances(cell), first, last, out)
        progress(last, height, "steepest descent")
    return out


def height_above(filled: Filled, down: NDArray[Any], drains: Bool, *, progress: Progress = quiet) -> Float32:
    """Height of each cell above the drain that its water reaches (Nobre et al. 2011), on the filled surface, m.

    Parameters
    ----------
    filled : Filled
        Surface, and its cells from low to high.
    down : (h * w,) int
        As `steepest` gives it.
    drains : (h, w) bool
        Cells of streams.

    Returns
    -------
    (h, w) float32
        Above where the water leaves the map for cells that reach no drain; NaN where missing.
    """
    out = np.full(filled.surface.size, np.nan, np.float32)
    valid = len(filled.order)
    for first in range(0, valid, PART):
        last = min(first + PART, valid)
        climb(filled.surface.ravel(), down, filled.order, drains.ravel(), first, last, out)
        progress(last, valid, "height above drainage")
    return out.reshape(filled.surface.shape)
