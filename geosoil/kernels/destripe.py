"""Loops over the columns of a push-broom image: how neighbouring detector elements differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["median_first", "steps"]


@njit(cache=True, nogil=True)
def _median(values: Float32, n: int) -> float:
    """Median of the first `n` values, which are moved about (quickselect); NaN for none."""
    if n == 0:
        return np.nan
    middle = n // 2
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    upper = values[middle]
    if n % 2:
        return float(upper)
    lower = values[0]
    for i in range(1, middle):
        lower = max(lower, values[i])
    return 0.5 * (float(lower) + float(upper))


@njit(cache=True, nogil=True)
def steps(lines: Float32, least: int, most_off: float, step: Float32, sums: Float64) -> None:
    """From each column to the next: how much brighter, and how that changes with brightness.

    Parameters
    ----------
    lines : (p, n, w) float32
        What is not finite is left out.
    least : int
        Fewest lines that a pair of columns needs.
    most_off : float
        Differences further from their median, in median absolute deviations, are edges and stay out of the sums.
    step : (p, w - 1) float32
        Filled: median of the differences; NaN where too few lines.
    sums : (4, p, w - 1) float64
        Added to: products of difference and mean and squares of the mean, both centred; the mean; 1.
    """
    bands, height, width = lines.shape
    mean, gap, work = np.empty(height, np.float32), np.empty(height, np.float32), np.empty(height, np.float32)
    for b in range(bands):
        for j in range(width - 1):
            n = 0
            for i in range(height):
                left, right = lines[b, i, j], lines[b, i, j + 1]
                if np.isfinite(left) and np.isfinite(right):
                    mean[n] = 0.5 * (left + right)
                    gap[n] = work[n] = right - left
                    n += 1
            if n < least:
                step[b, j] = np.nan
                continue
            centre = _median(work, n)
            step[b, j] = centre
            for i in range(n):
                work[i] = abs(gap[i] - centre)
            reach = most_off * _median(work, n)
            kept = 0
            level = total = 0.0
            for i in range(n):
                if abs(gap[i] - centre) <= reach:
                    level += mean[i]
                    total += gap[i]
                    kept += 1
            level /= kept
            total /= kept
            product = square = 0.0
            for i in range(n):
                if abs(gap[i] - centre) <= reach:
                    off = mean[i] - level
                    product += off * (gap[i] - total)
                    square += off * off
            sums[0, b, j] += product
            sums[1, b, j] += square
            sums[2, b, j] += level
            sums[3, b, j] += 1.0


@njit(cache=True, nogil=True)
def median_first(values: Float32, out: Float32) -> None:
    """Medians along the first axis of ``(k, n)`` values into `out` ``(n,)``; NaN are left out."""
    count, width = values.shape
    column = np.empty(count, np.float32)
    for j in range(width):
        n = 0
        for i in range(count):
            if np.isfinite(values[i, j]):
                column[n] = values[i, j]
                n += 1
        out[j] = _median(column, n)
