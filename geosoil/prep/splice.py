"""The join of two detectors: how much brighter one is than the other where they overlap, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float32, Float64, Int64

__all__ = ["LIMITS", "Splice", "SpliceCounts", "plan_splice"]

#: A factor beyond these is no step between detectors but noise, or two places on the ground.
LIMITS = (0.8, 1.25)
#: Classes of the factors in a report, from one limit to the other.
_CLASSES = 450


@dataclass(frozen=True)
class Splice:
    """Where two detectors overlap, and which of them is scaled.

    Attributes
    ----------
    first, second : tuple of int
        Positions of all bands of the two detectors.
    low, high : tuple of int
        Bands of the first detector in the overlap, and those of the second that they are compared with.
    weights : (len(low), len(high)) float32
        Interpolation of the second detector to the first one's wavelengths.
    scaled : {"first", "second"}
        The detector that is multiplied; the other one is right.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    weights: Float32
    scaled: Literal["first", "second"] = "first"

    def factors(self, values: Float32) -> tuple[Float32, Float32]:
        """Factor of each pixel of a window.

        Parameters
        ----------
        values : (p, n, w) float32
            All bands, as radiance; NaN where there is no data.

        Returns
        -------
        factor, raw : (n, w) float32
            What to multiply the scaled detector by: the median of the ratios in the overlap within `LIMITS`, 1 where
            there is none; and the median before it was limited, NaN where there is none.
        """
        left = values[list(self.low)]
        right = np.tensordot(self.weights, values[list(self.high)], axes=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = right / left if self.scaled == "first" else left / right
            ratios[~((left > 0) & (right > 0))] = np.nan
        raw = _median(ratios)
        return np.where(np.isnan(raw), np.float32(1), np.clip(raw, *LIMITS)).astype(np.float32), raw

    def __call__(self, values: Float32, counts: SpliceCounts | None = None) -> Float32:
        """Scale one detector of ``(p, n, w)`` values in place, and return them; factors are counted where asked."""
        factor, raw = self.factors(values)
        for place in self.first if self.scaled == "first" else self.second:
            values[place] *= factor
        if counts is not None:
            counts.add(raw)
        return values


def _median(ratios: Float32) -> Float32:
    """Median over the first axis, without those that are missing; quicker than nanmedian for a few bands."""
    ordered = np.sort(ratios, axis=0)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=0)
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(ordered) - 1)
    take = [np.take_along_axis(ordered, one[None], axis=0)[0] for one in (lower, upper)]
    return np.where(count > 0, 0.5 * (take[0] + take[1]), np.nan).astype(np.float32)


def plan_splice(
    wavelength_nm: ArrayLike,
    detectors: tuple[Sequence[int], Sequence[int]],
    *,
    scaled: Literal["first", "second"] = "first",
    usable: Sequence[int] | None = None,
) -> Splice:
    """Find the overlap of two detectors.

    Parameters
    ----------
    wavelength_nm : (p,) array
        Of all bands.
    detectors : (sequence of int, sequence of int)
        Positions of the bands of the one with the shorter wavelengths, and of the other.
    scaled : {"first", "second"}
        The detector that is multiplied. The first by default: its end is the noisier one.
    usable : sequence of int, optional
        Bands that hold values; default: all.

    Raises
    ------
    InputError
        ``GS-SPLICE``: the detectors do not overlap.
    UsageError
        ``GS-SPLICE``: `scaled` is neither.

    >>> plan = plan_splice([900.0, 1000.0, 1010.0, 1005.0, 1015.0, 1100.0], ([0, 1, 2], [3, 4, 5]))
    >>> plan.low, plan.high, plan.weights.round(2).tolist()
    ((2,), (3, 4), [[0.5, 0.5]])
    """
    if scaled not in {"first", "second"}:
        raise UsageError(f"the detector to scale is first or second, not {scaled!r}", code="GS-SPLICE")
    nm = np.asarray(wavelength_nm, np.float64)
    allowed = set(range(len(nm)) if usable is None else usable)
    one, other = (np.array([place for place in part if place in allowed], np.int64) for part in detectors)
    low = one[(nm[one] >= nm[other].min()) & (nm[one] <= nm[other].max())] if other.size else one[:0]
    if not low.size:
        spans = [f"{nm[part].min():g} to {nm[part].max():g} nm" if part.size else "no band" for part in (one, other)]
        raise InputError(
            "the detectors do not overlap, so that their step cannot be measured",
            code="GS-SPLICE",
            details=[f"first: {spans[0]}", f"second: {spans[1]}"],
            hint="leave the splice out",
        )
    order = other[np.argsort(nm[other], kind="stable")]
    weights = _interpolation(nm[low], nm[order])
    used: Int64 = np.flatnonzero(weights.any(axis=0))
    return Splice(
        first=tuple(int(place) for place in detectors[0]),
        second=tuple(int(place) for place in detectors[1]),
        low=tuple(low.tolist()),
        high=tuple(order[used].tolist()),
        weights=weights[:, used].astype(np.float32),
        scaled=scaled,
    )


def _interpolation(wanted: Float64, known: Float64) -> Float64:
    """Weights ``(wanted, known)`` of linear interpolation."""
    return np.stack([np.interp(wanted, known, unit) for unit in np.eye(len(known))], axis=1)


class SpliceCounts:
    """Counts of the factors over windows, for a report."""

    def __init__(self) -> None:
        self._edges = np.linspace(*LIMITS, _CLASSES + 1)
        self._counts = np.zeros(_CLASSES, np.int64)
        self._below = self._above = 0

    def add(self, raw: Float32) -> None:
        """Count in the factors of a window before they were limited."""
        known = raw[np.isfinite(raw)]
        self._below += int((known < LIMITS[0]).sum())
        self._above += int((known > LIMITS[1]).sum())
        self._counts += np.histogram(known, self._edges)[0]

    def report(self) -> dict[str, Any]:
        """``pixels``; ``quantiles`` 5, 50 and 95 % of the factors; ``limited``, the share that was cut to `LIMITS`."""
        inside = int(self._counts.sum())
        pixels = inside + self._below + self._above
        if not pixels:
            return {"pixels": 0, "quantiles": [], "limited": 0.0}
        reached = np.concatenate([[self._below], self._below + np.cumsum(self._counts)]) / pixels
        quantiles = np.interp([0.05, 0.5, 0.95], reached, self._edges)
        limited = (self._below + self._above) / pixels
        return {"pixels": pixels, "quantiles": [round(float(one), 4) for one in quantiles], "limited": limited}
