"""Layers to depth intervals: equal-area quadratic splines, or the interval that each raw layer stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from geosoil.errors import InputError, UsageError, listing
from geosoil.kernels.spline import EXACT, FROM_FIRST_CM, FROM_TOP, interval_means
from geosoil.soil import OVERLAP_TOLERANCE_CM, Depth

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Bool, Float64, Int64

__all__ = ["Sampling", "layer_targets", "spline_depths", "spline_profiles"]

Sampling: TypeAlias = Literal["exact", "mpspline2", "ithir"]
_SAMPLINGS = {"exact": EXACT, "mpspline2": FROM_TOP, "ithir": FROM_FIRST_CM}

#: Thickness given to a last layer whose lower end is not known, as in the R package mpspline2.
OPEN_LAYER_CM = 10.0


def spline_depths(
    samples: pd.DataFrame,
    depths: Sequence[Depth],
    *,
    smoothing: float = 0.1,
    min_cover: float = 0.5,
    lowest: float | None = None,
    highest: float | None = None,
    overlaps: Literal["error", "nan"] = "error",
    sampling: Sampling = "exact",
) -> pd.DataFrame:
    """Means over depth intervals, from the equal-area spline of each profile.

    Parameters
    ----------
    samples : DataFrame
        One row a layer: ``profile``, ``top_cm``, ``bottom_cm``, ``value``.
    depths : sequence of Depth
        Intervals wanted.
    smoothing, min_cover, lowest, highest, overlaps, sampling
        As for `spline_profiles`.

    Returns
    -------
    DataFrame
        One row a profile, in order of first appearance; one float column an interval, named by ``Depth.label``; NaN
        where the profile does not cover the interval enough.

    Raises
    ------
    InputError
        ``GS-SAMPLES-OVERLAP`` where layers of a profile overlap and `overlaps` is ``"error"``.

    >>> layers = pd.DataFrame({"profile": "P1", "top_cm": [0, 10], "bottom_cm": [10, 40], "value": [20.0, 20.0]})
    >>> spline_depths(layers, [Depth(0, 5), Depth(15, 30), Depth(60, 100)]).loc["P1"].tolist()
    [20.0, 20.0, nan]
    """
    rows, names = pd.factorize(samples["profile"])
    means = spline_profiles(
        rows,
        samples["top_cm"],
        samples["bottom_cm"],
        samples["value"],
        [(depth.top_cm, depth.bottom_cm) for depth in depths],
        smoothing=smoothing,
        min_cover=min_cover,
        lowest=lowest,
        highest=highest,
        overlaps=overlaps,
        sampling=sampling,
        names=names,
    )
    return pd.DataFrame(means, index=pd.Index(names, name="profile"), columns=[depth.label for depth in depths])


def spline_profiles(
    profile: ArrayLike,
    top_cm: ArrayLike,
    bottom_cm: ArrayLike,
    value: ArrayLike,
    intervals_cm: ArrayLike,
    *,
    smoothing: float = 0.1,
    min_cover: float = 0.5,
    lowest: float | None = None,
    highest: float | None = None,
    overlaps: Literal["error", "nan"] = "error",
    sampling: Sampling = "exact",
    names: Sequence[object] | pd.Index | None = None,
) -> Float64:
    """Means over depth intervals, from the equal-area spline of each profile; arrays in, array out.

    Parameters
    ----------
    profile : (L,) int
        Row of the result that a layer belongs to, from 0 on.
    top_cm, bottom_cm, value : (L,) float
        Layers in any order. Those without a value, with a negative depth or without thickness are left out. A first
        top that is missing is 0, a last bottom that is missing 10 cm below its top.
    intervals_cm : (T, 2) float
        Tops and bottoms of the intervals wanted.
    smoothing : float
        Lambda; towards 0 the layer means are kept. Its effect grows with the number of layers.
    min_cover : float
        Least share of an interval that lies between a profile's first top and last bottom; 0 takes any cover. The
        mean is that of the covered part: nothing is extrapolated.
    lowest, highest : float, optional
        Limits that the result is held to.
    overlaps : {"error", "nan"}
        What to do with a profile whose layers overlap: raise, or leave its row NaN.
    sampling : {"exact", "mpspline2", "ithir"}
        Exact integral, or the mean at whole centimetres as these R packages take it (for comparisons; the three
        differ by up to 12 % in steep topsoils).
    names : sequence, optional
        How messages call the profiles; row numbers by default.

    Returns
    -------
    (P, T) float64
        P is the largest row + 1. NaN where an interval is not covered enough.

    References
    ----------
    Bishop, McBratney & Laslett (1999), Geoderma 91, 27-45; Malone et al. (2009), Geoderma 154, 138-152.

    >>> spline_profiles([0, 0], [0, 10], [10, 30], [30.0, 10.0], [(0, 30)], smoothing=1e-9).round(6)
    array([[16.666667]])
    """
    if smoothing < 0 or sampling not in _SAMPLINGS or overlaps not in ("error", "nan"):
        raise UsageError(
            f"smoothing {smoothing}, sampling {sampling!r}, overlaps {overlaps!r} do not make a spline",
            code="GS-SPLINE",
            details=[f"sampling: {listing(list(_SAMPLINGS))}; overlaps: error, nan; smoothing: 0 or more"],
        )
    row = np.asarray(profile, np.int64)
    count = int(row.max(initial=-1)) + 1
    row, top, bottom, values = _clean(row, _floats(top_cm), _floats(bottom_cm), _floats(value))
    overlapping = np.unique(row[1:][_overlap(row, top, bottom)])
    if len(overlapping) and overlaps == "error":
        shown = [str(one if names is None else names[one]) for one in overlapping]
        raise InputError(
            f"layers overlap in {len(overlapping)} profile{'s' * (len(overlapping) > 1)}",
            code="GS-SAMPLES-OVERLAP",
            details=[f"profiles: {listing(shown)}"],
            hint='correct their depths, or leave these profiles out (invalid = "drop")',
        )
    interval = _floats(intervals_cm).reshape(-1, 2)
    out = np.empty((count, len(interval)))
    interval_means(
        np.searchsorted(row, np.arange(count + 1)).astype(np.int64),
        top,
        bottom,
        values,
        np.ascontiguousarray(interval[:, 0]),
        np.ascontiguousarray(interval[:, 1]),
        float(smoothing),
        float(min_cover),
        -np.inf if lowest is None else float(lowest),
        np.inf if highest is None else float(highest),
        _SAMPLINGS[sampling],
        out,
    )
    out[overlapping] = np.nan
    return out


def layer_targets(samples: pd.DataFrame, depths: Sequence[Depth]) -> tuple[Int64, Float64]:
    """The interval that each layer stands for, and its mid-depth: for models that take depth as an input.

    Parameters
    ----------
    samples : DataFrame
        One row a layer: ``top_cm``, ``bottom_cm``.
    depths : sequence of Depth
        Intervals of the study.

    Returns
    -------
    target : (L,) int64
        Index of the interval that contains the mid-point, else of the nearest one.
    middle_cm : (L,) float64
        Mid-points, cm.

    >>> layers = pd.DataFrame({"top_cm": [0, 10, 150], "bottom_cm": [10, 20, 170]})
    >>> layer_targets(layers, [Depth(0, 5), Depth(5, 15), Depth(15, 30)])
    (array([1, 2, 2]), array([  5.,  15., 160.]))
    """
    middle = (_floats(samples["top_cm"]) + _floats(samples["bottom_cm"])) / 2.0
    top = np.array([depth.top_cm for depth in depths], np.float64)
    bottom = np.array([depth.bottom_cm for depth in depths], np.float64)
    above = top[None, :] - middle[:, None]
    below = middle[:, None] - bottom[None, :]
    outside = np.maximum(np.maximum(above, below), 0.0)
    # A mid-point on a border belongs to the interval that begins there: prefer the deeper of two equal distances.
    nearest = len(depths) - 1 - np.argmin(outside[:, ::-1], axis=1)
    return nearest.astype(np.int64), middle


def _floats(values: ArrayLike) -> Float64:
    return np.ascontiguousarray(values, np.float64)


def _clean(row: Int64, top: Float64, bottom: Float64, value: Float64) -> tuple[Int64, Float64, Float64, Float64]:
    """Usable layers, by profile and from the surface down; missing ends of the first and last layer filled."""
    known = np.isfinite(value) & ~(np.isnan(top) & np.isnan(bottom))
    row, top, bottom, value = _take(known, row, top, bottom, value)
    order = np.lexsort((bottom, np.where(np.isnan(top), bottom, top), row))
    row, top, bottom, value = _take(order, row, top, bottom, value)
    new = np.ones(len(row), bool)
    new[1:] = row[1:] != row[:-1]
    last = np.roll(new, -1)
    top = np.where(np.isnan(top) & new, 0.0, top)
    bottom = np.where(np.isnan(bottom) & last, top + OPEN_LAYER_CM, bottom)
    # Comparisons with NaN are False, so a layer that still lacks an end goes too.
    return _take((top >= 0.0) & (bottom > top), row, top, bottom, value)


def _take(
    keep: NDArray[np.generic], row: Int64, top: Float64, bottom: Float64, value: Float64
) -> tuple[Int64, Float64, Float64, Float64]:
    return row[keep], top[keep], bottom[keep], value[keep]


def _overlap(row: Int64, top: Float64, bottom: Float64) -> Bool:
    """Whether a layer begins above the end of the one before it, (L - 1,)."""
    return np.asarray((row[1:] == row[:-1]) & (top[1:] < bottom[:-1] - OVERLAP_TOLERANCE_CM), np.bool_)
