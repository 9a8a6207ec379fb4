"""Class breaks that people can read: one set for all depths of a property."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.enums import Resampling

from geosoil.types import PathLike

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["class_breaks", "decimated", "rounded_breaks"]

#: Longest edge of a map as it is read for breaks and pictures, cells.
EDGE = 512


def class_breaks(paths: Sequence[PathLike], classes: int = 7) -> list[float]:
    """Breaks shared by several maps, from their pooled values.

    Only a decimated copy of each map is read (from its overviews), so the memory does not grow with the maps.

    Parameters
    ----------
    paths : sequence of path
        Maps of one property at several depths.
    classes : int
        Number of classes wanted; maps with few distinct values get fewer.

    Returns
    -------
    list of float
        Upper bounds of all classes but the last, increasing.
    """
    parts = [values[np.isfinite(values)] for values in map(decimated, paths)]
    return rounded_breaks(np.concatenate(parts) if parts else np.empty(0), classes)


def decimated(path: PathLike, edge: int = EDGE) -> Float32:
    """A map with no edge longer than `edge` cells, ``(rows, columns)`` float32, NaN where there is no data."""
    with rasterio.open(path) as file:
        step = max(1.0, max(file.shape) / edge)
        shape = tuple(max(1, round(length / step)) for length in file.shape)
        values = file.read(1, out_shape=shape, masked=True, out_dtype="float32", resampling=Resampling.nearest)
    filled: Float32 = values.filled(np.nan)
    return filled


def rounded_breaks(values: Float32 | Float64, classes: int = 7) -> list[float]:
    """Breaks half-way between equal shares and equal steps, rounded to multiples of 1, 2 or 5 times a power of ten.

    Equal shares of the values alone would put most of a topsoil into the last class, since the depths below it hold
    the lower values; equal steps alone would leave skewed properties one class for nearly all cells. The steps are
    equal on the scale of the square root, from the 2nd to the 98th percentile. Rounding moves a break by at most a
    quarter of the distance to its neighbours, so that the order is kept.

    >>> rounded_breaks(np.linspace(0.0, 70.0, 701))
    [8.0, 16.0, 24.0, 34.0, 45.0, 55.0]
    >>> rounded_breaks(np.geomspace(10.0, 1000.0, 1000), classes=4)
    [50.0, 200.0, 400.0]
    """
    if not values.size:
        return [0.0]
    finite = values.astype(np.float64)
    shares = np.arange(1, classes) / classes
    low, high = np.quantile(finite, (0.02, 0.98))
    steps = _square(_root(low) + shares * (_root(high) - _root(low)))
    middle = np.unique((np.quantile(finite, shares) + steps) / 2)
    if len(middle) == 1:
        return [float(f"{middle[0]:.3g}")]
    gaps = np.diff(middle)
    nearest = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
    return sorted({_multiple(value, _step(gap / 2)) for value, gap in zip(middle, nearest, strict=True)})


def _root(values: Float64) -> Float64:
    """The square root, with the sign of the value."""
    root: Float64 = np.sign(values) * np.sqrt(np.abs(values))
    return root


def _square(values: Float64) -> Float64:
    """Inverse of `_root`."""
    square: Float64 = np.sign(values) * values**2
    return square


def _step(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    # Rounded, since 0.3 / 0.1 is a little less than 3.
    return float(max(step for step in (1.0, 2.0, 5.0) if step <= round(most / power, 9)) * power)


def _multiple(value: float, step: float) -> float:
    """The nearest multiple of a step, without the noise of binary fractions."""
    return float(f"{round(value / step) * step:.12g}")
