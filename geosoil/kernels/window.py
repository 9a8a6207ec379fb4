"""Loops over the cells of a tile: raw bands to features, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Bool, Float32, Int64

__all__ = ["encode", "valid"]


@njit(cache=True, nogil=True)
def encode(
    raw: Float32,
    first: Int64,
    codes: Float32,
    code_start: Int64,
    scale: Float32,
    shift: Float32,
    fill: Float32,
    mask: bool,
    out: Float32,
) -> int:
    """Encode bands into channels-last features.

    Parameters
    ----------
    raw : (B, h, w) float32
        Bands; what is not finite is missing.
    first : (B + 1,) int64
        First feature column of each band, and the number of columns of all.
    codes, code_start : (K,) float32, (B + 1,) int64
        Class codes of all class bands one after the other, and where those of each band begin; none for a quantity.
    scale, shift : (B,) float32
        A quantity becomes ``(value - shift) * scale``.
    fill : (F,) float32
        Features of a missing value.
    mask : bool
        Whether the last column marks cells where a band is missing.
    out : (h, w, F) float32
        Filled.

    Returns
    -------
    int
        Number of cells with a class code that is not known; these are filled as missing.
    """
    bands, height, width = raw.shape
    columns = first[bands]
    unseen = 0
    for i in range(height):
        if mask:
            for j in range(width):
                out[i, j, columns] = 0.0
        for b in range(bands):
            start, stop = first[b], first[b + 1]
            if code_start[b] == code_start[b + 1]:
                gain, offset, missing = scale[b], shift[b], fill[start]
                for j in range(width):
                    value = raw[b, i, j]
                    if np.isfinite(value):
                        out[i, j, start] = (value - offset) * gain
                    else:
                        out[i, j, start] = missing
                        if mask:
                            out[i, j, columns] = 1.0
                continue
            for j in range(width):
                value = raw[b, i, j]
                found = -1
                if np.isfinite(value):
                    for k in range(code_start[b], code_start[b + 1]):
                        if codes[k] == value:
                            found = k - code_start[b]
                            break
                    if found < 0:
                        unseen += 1
                if found >= 0:
                    for c in range(start, stop):
                        out[i, j, c] = 0.0
                    out[i, j, start + found] = 1.0
                else:
                    for c in range(start, stop):
                        out[i, j, c] = fill[c]
                    if mask:
                        out[i, j, columns] = 1.0
    return unseen


@njit(cache=True, nogil=True)
def valid(raw: Float32, codes: Float32, code_start: Int64, out: Bool) -> None:
    """Whether all bands of a cell are finite, and class codes known.

    Parameters
    ----------
    raw : (B, h, w) float32
    codes, code_start
        As in `encode`.
    out : (h, w) bool
        Filled.
    """
    bands, height, width = raw.shape
    for i in range(height):
        for j in range(width):
            out[i, j] = True
        for b in range(bands):
            begin, end = code_start[b], code_start[b + 1]
            for j in range(width):
                value = raw[b, i, j]
                if not np.isfinite(value):
                    out[i, j] = False
                elif end > begin:
                    known = False
                    for k in range(begin, end):
                        if codes[k] == value:
                            known = True
                            break
                    if not known:
                        out[i, j] = False
