"""Loops over the cells of a map: values from between the pixels of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["CUBIC", "bilinear", "cubic", "nearest"]

#: Keys' parameter (1981) of the cubic kernel.
CUBIC = -0.5


@njit(cache=True, nogil=True)
def nearest(image: Float32, line: Float64, sample: Float64, out: Float32) -> None:
    """The pixel that a cell lies in.

    Parameters
    ----------
    image : (n, w) float32
        NaN where there is no data.
    line, sample : (h, c) float64
        Where each cell lies; whole numbers are the centres of pixels. NaN for a cell beside the image.
    out : (h, c) float32
        Filled; NaN where there is no data.
    """
    lines, samples = image.shape
    for i in range(line.shape[0]):
        for j in range(line.shape[1]):
            y, x = line[i, j], sample[i, j]
            out[i, j] = np.nan
            if -0.5 <= y < lines - 0.5 and -0.5 <= x < samples - 0.5:
                out[i, j] = image[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]


@njit(cache=True, nogil=True, inline="always")
def _between(image: Float32, y: float, x: float) -> float:
    """Bilinear value; NaN where one of the pixels that count is missing."""
    lines, samples = image.shape
    if not (0 <= y <= lines - 1 and 0 <= x <= samples - 1):
        return np.nan
    top, left = int(y), int(x)
    down, right = y - top, x - left
    bottom, last = min(top + 1, lines - 1), min(left + 1, samples - 1)
    upper = float(image[top, left])
    if right > 0:
        upper = (1 - right) * upper + right * image[top, last]
    if down == 0:
        return upper
    lower = float(image[bottom, left])
    if right > 0:
        lower = (1 - right) * lower + right * image[bottom, last]
    return (1 - down) * upper + down * lower


@njit(cache=True, nogil=True)
def bilinear(image: Float32, line: Float64, sample: Float64, out: Float32) -> None:
    """Linear between the four pixels around a cell; NaN where one of them is missing. As `nearest`."""
    for i in range(line.shape[0]):
        for j in range(line.shape[1]):
            out[i, j] = _between(image, line[i, j], sample[i, j])


@njit(cache=True, nogil=True, inline="always")
def _weight(distance: float) -> float:
    d = abs(distance)
    if d < 1:
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
    return CUBIC * (((d - 5) * d + 8) * d - 4) if d < 2 else 0.0


@njit(cache=True, nogil=True)
def cubic(image: Float32, line: Float64, sample: Float64, out: Float32) -> None:
    """Cubic convolution over 16 pixels (Keys 1981); bilinear where one of them is missing. As `nearest`."""
    lines, samples = image.shape
    for i in range(line.shape[0]):
        for j in range(line.shape[1]):
            y, x = line[i, j], sample[i, j]
            if not (1 <= y < lines - 2 and 1 <= x < samples - 2):
                out[i, j] = _between(image, y, x)
                continue
            top, left = int(y) - 1, int(x) - 1
            total = 0.0
            for a in range(4):
                row = 0.0
                for b in range(4):
                    row += _weight(x - left - b) * image[top + a, left + b]
                total += _weight(y - top - a) * row
            out[i, j] = total if np.isfinite(total) else _between(image, y, x)
