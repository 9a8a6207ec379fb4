"""Loops over the cells of a tile: reflectances to mask flags, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Int64

    UInt16 = NDArray[np.uint16]

__all__ = ["flag", "tally"]


@njit(cache=True, nogil=True, inline="always")
def _index(one: float, other: float) -> float:
    """Normalized difference; 0 where the sum is not positive, as it is in noise."""
    total = one + other
    return (one - other) / total if total > 1e-6 else 0.0


@njit(cache=True, nogil=True)
def flag(
    values: Float32,
    place: Int64,
    optional: int,
    on: Int64,
    limit: Float32,
    nodata: int,
    out: UInt16,
) -> None:
    """Flags of each cell.

    Parameters
    ----------
    values : (k, h, w) float32
        Reflectances 0 to 1; what is not finite is missing.
    place : (10,) int64
        Where in `values` the reflectances at 452, 560, 660, 800, 1355, 1610, 1650, 2000, 2100 and 2200 nm are; -1 for
        one that no rule needs.
    optional : int
        Place of the one band that may be missing in a cell; -1 for none.
    on : (9,) int64
        Bit of each rule, 0 for one that is off: cloud, thin cloud, shadow, NDWI, dark water, green vegetation, dry
        vegetation, residue or wet soil, snow.
    limit : (13,) float32
        Thresholds: cloud, cirrus, blue and blue/red under cirrus, shadow at 800 and at 1650 nm, NDWI, water at 1650
        nm, NDVI, nCAI, NBR2, NDSI, snow at 800 nm.
    nodata : int
        Flag of a cell that lacks a reflectance.
    out : (h, w) uint16
        Filled.
    """
    bands, height, width = values.shape
    blue, green, red, nir, cirrus = place[0], place[1], place[2], place[3], place[4]
    near, swir, left, middle, right = place[5], place[6], place[7], place[8], place[9]
    for i in range(height):
        for j in range(width):
            found = 0
            for b in range(bands):
                if b != optional and not np.isfinite(values[b, i, j]):
                    found = nodata
                    break
            if found:
                out[i, j] = found
                continue
            cold = 0
            if on[8]:
                ndsi = _index(values[green, i, j], values[near, i, j])
                if ndsi > limit[11] and values[nir, i, j] > limit[12]:
                    cold = on[8]
            clouded = 0
            if on[0] and not cold and values[blue, i, j] > limit[0] and values[green, i, j] > limit[0]:
                clouded = on[0]
            if on[1] and not cold and not clouded:
                high, low = values[blue, i, j], values[red, i, j]
                if values[cirrus, i, j] > limit[1] and high > limit[2] and high > limit[3] * low:
                    found |= on[1]
            if on[2] and values[nir, i, j] < limit[4] and values[swir, i, j] < limit[5]:
                found |= on[2]
            if not cold and not clouded:
                if on[3] and _index(values[green, i, j], values[nir, i, j]) > limit[6]:
                    found |= on[3]
                if on[4] and values[swir, i, j] < limit[7]:
                    found |= on[4]
            if on[5] and _index(values[nir, i, j], values[red, i, j]) > limit[8]:
                found |= on[5]
            if on[6]:
                shoulders = 0.5 * (values[left, i, j] + values[right, i, j])
                if _index(shoulders, values[middle, i, j]) > limit[9]:
                    found |= on[6]
            if on[7] and _index(values[near, i, j], values[right, i, j]) > limit[10]:
                found |= on[7]
            out[i, j] = found | cold | clouded


@njit(cache=True, nogil=True)
def tally(flags: UInt16, nodata: int, out: Int64) -> None:
    """Count cells by bit.

    Parameters
    ----------
    flags : (n,) uint16
    nodata : int
        Flag of cells without data.
    out : (18,) int64
        Filled: cells with each of the 16 bits, all cells, and cells without any flag.
    """
    out[:] = 0
    out[16] = flags.size
    for i in range(flags.size):
        value = flags[i]
        if value == 0:
            out[17] += 1
            continue
        for bit in range(16):
            if value >> bit & 1:
                out[bit] += 1
