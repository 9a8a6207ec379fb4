"""Tables of attributions: one row an input, the wavelengths that matter, and what two models share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .absorptions import constituents_at

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64

__all__ = ["Window", "compare_importance", "importance_table", "important_windows", "smoothed"]

#: Full width at half maximum of the smoothing along wavelength, nm: neighbouring bands share what one of them has.
SMOOTH_NM = 30.0
#: Share of all importance that the windows hold.
_HELD = 0.5
#: Windows that are named.
_MOST = 12


@dataclass(frozen=True, slots=True)
class Window:
    """A run of wavelengths that matters.

    Attributes
    ----------
    first_nm, last_nm : float
    share : float
        Of all importance.
    """

    first_nm: float
    last_nm: float
    share: float

    @property
    def label(self) -> str:
        """Such as ``2180-2230 nm``."""
        return (
            f"{self.first_nm:.0f}-{self.last_nm:.0f} nm" if self.last_nm > self.first_nm else f"{self.first_nm:.0f} nm"
        )


def smoothed(wavelength_nm: Float64, values: Float64, width_nm: float = SMOOTH_NM) -> Float64:
    """Values smoothed along wavelength by a Gaussian of this full width at half maximum.

    >>> smoothed(np.array([500.0, 510.0, 900.0]), np.array([0.0, 1.0, 5.0])).round(2).tolist()
    [0.42, 0.58, 5.0]
    """
    away = (wavelength_nm[:, None] - wavelength_nm[None]) / (width_nm / 2.3548)
    weight = np.exp(-0.5 * away**2)
    return np.asarray(weight @ values / weight.sum(axis=1), np.float64)


def importance_table(
    values: Float64,
    inputs: Float64,
    output: Float64,
    names: Sequence[str],
    *,
    wavelength_nm: Float64 | None = None,
    source: Sequence[str] = (),
    read: Bool | None = None,
    width: int = 1,
) -> pd.DataFrame:
    """What the contributions of samples say of each input.

    Parameters
    ----------
    values : (n, p) float64
        Contributions.
    inputs : (n, p) float64
        The inputs themselves; NaN where an input is no single number.
    output : (n,) float64
        Predictions.
    names : sequence of str
    wavelength_nm : (p,) float64, optional
    source : sequence of str
        Kind of spectrum of each input, where there are several.
    read : (p,) bool, optional
        Whether the model looks at it.
    width : int
        Neighbouring inputs that the model cannot tell apart; the columns ``window_...`` hold them.

    Returns
    -------
    DataFrame
        ``input``, ``mean_abs``, ``mean``; ``mean_low`` and ``mean_high``, over the thirds of samples with the lowest
        and highest predictions; ``direction`` (correlation of input and contribution); ``share`` of all importance; and
        for spectra ``wavelength``, ``smoothed`` (mean_abs), ``window_first``, ``window_last``, ``window_mean_abs``.
    """
    mean_abs = np.abs(values).mean(axis=0)
    order = np.argsort(output, kind="stable")
    third = max(1, len(order) // 3)
    total = mean_abs.sum()
    columns: dict[str, object] = {"input": list(names)}
    if source:
        columns["source"] = list(source)
    if wavelength_nm is not None:
        columns["wavelength"] = wavelength_nm
    columns |= {
        "mean_abs": mean_abs,
        "mean": values.mean(axis=0),
        "mean_low": values[order[:third]].mean(axis=0),
        "mean_high": values[order[-third:]].mean(axis=0),
        "direction": _correlations(inputs, values),
        "share": mean_abs / total if total > 0 else mean_abs,
    }
    if wavelength_nm is not None:
        kinds = np.asarray(source) if source else np.full(len(names), "")
        smooth = np.empty(len(names))
        for kind in np.unique(kinds):
            own = kinds == kind
            smooth[own] = smoothed(wavelength_nm[own], mean_abs[own])
        first, last, windowed = _windows(wavelength_nm, values, width)
        columns |= {"smoothed": smooth, "window_first": first, "window_last": last, "window_mean_abs": windowed}
    if read is not None:
        columns["read"] = read
    return pd.DataFrame(columns)


def _correlations(inputs: Float64, values: Float64) -> Float64:
    """Correlation of each column with its contributions; NaN where one of them does not vary."""
    a, b = inputs - inputs.mean(axis=0), values - values.mean(axis=0)
    below = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(below > 1e-30, (a * b).sum(axis=0) / np.where(below > 0, below, 1), np.nan))


def _windows(wavelength_nm: Float64, values: Float64, width: int) -> tuple[Float64, Float64, Float64]:
    """For each input the span of the window that it is in, and the mean absolute contribution of the whole window."""
    starts = np.arange(0, values.shape[1], width)
    member = np.arange(values.shape[1]) // width
    whole = np.abs(np.add.reduceat(values, starts, axis=1)).mean(axis=0)
    ends = np.minimum(starts + width, values.shape[1]) - 1
    return wavelength_nm[starts][member], wavelength_nm[ends][member], whole[member]


def important_windows(wavelength_nm: Float64, importance: Float64, *, held: float = _HELD) -> list[Window]:
    """The fewest wavelengths that hold a share of all importance, as runs, the one with the largest share first.

    >>> nm = np.arange(400.0, 500.0, 10.0)
    >>> [one.label for one in important_windows(nm, np.array([0, 0, 9, 8, 0, 0, 0, 5, 0, 0.0]), held=0.9)]
    ['420-430 nm', '470 nm']
    """
    total = float(importance.sum())
    if total <= 0:
        return []
    chosen = _held(importance, held)
    return [
        Window(float(wavelength_nm[run[0]]), float(wavelength_nm[run[-1]]), float(importance[run].sum()) / total)
        for run in sorted(_runs(wavelength_nm, chosen), key=lambda run: -float(importance[run].sum()))
    ][:_MOST]


def _held(importance: Float64, held: float) -> Bool:
    """The inputs, largest first, that hold the share."""
    order = np.argsort(-importance, kind="stable")
    share = np.cumsum(importance[order]) / importance.sum()
    chosen = np.zeros(len(importance), np.bool_)
    chosen[order[: int(np.searchsorted(share, held - 1e-12)) + 1]] = True
    return chosen


def _runs(wavelength_nm: Float64, chosen: Bool) -> list[np.ndarray]:
    """Neighbouring chosen places."""
    places = np.flatnonzero(chosen)
    if not len(places):
        return []
    step = 2.5 * float(np.median(np.abs(np.diff(wavelength_nm)))) if len(wavelength_nm) > 1 else 1.0
    away = np.abs(np.diff(wavelength_nm[places]))
    cuts = np.flatnonzero((np.diff(places) > 1) | (away > step)) + 1
    return [places[a:b] for a, b in pairwise([0, *cuts.tolist(), len(places)])]


def compare_importance(
    own_nm: Float64, own: Float64, other_nm: Float64, other: Float64
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Which wavelengths two models share, which the first one lost, and which it won.

    Both curves are brought to the first model's wavelengths where both have them, and to a sum of 1. A wavelength
    matters to a model when it is among the fewest that hold half of its importance.

    Parameters
    ----------
    own_nm, own : (p,) float64
        Wavelengths and smoothed importance of the model.
    other_nm, other : (q,) float64
        Of the model that it is compared with: the source of a transfer.

    Returns
    -------
    DataFrame
        ``change`` (``shared``, ``lost``, ``new``), ``first``, ``last`` [nm], ``own``, ``other`` (shares), and
        ``constituents`` known to absorb there; the largest first in each kind.
    dict
        ``correlation`` (of ranks) and ``overlap`` (sum of the smaller shares, 0 to 1).
    """
    order = np.argsort(other_nm, kind="stable")
    inside = (own_nm >= other_nm.min()) & (own_nm <= other_nm.max())
    nm, a = own_nm[inside], own[inside]
    columns = ["change", "first", "last", "own", "other", "constituents"]
    if not inside.any() or a.sum() <= 0:
        return pd.DataFrame(columns=columns), {"correlation": float("nan"), "overlap": float("nan")}
    b = np.interp(nm, other_nm[order], other[order])
    a, b = a / a.sum(), b / max(float(b.sum()), 1e-300)
    here, there = _held(a, _HELD), _held(b, _HELD)
    rows = []
    for change, chosen in (("shared", here & there), ("lost", there & ~here), ("new", here & ~there)):
        found = [
            (change, float(nm[run[0]]), float(nm[run[-1]]), float(a[run].sum()), float(b[run].sum()))
            for run in _runs(nm, chosen)
        ]
        found.sort(key=lambda row: -(row[3] + row[4]))
        rows += [(*row, "; ".join(constituents_at(row[1], row[2])[:5])) for row in found]
    here_rank, there_rank = (np.argsort(np.argsort(one)).astype(np.float64) for one in (a, b))
    alike = {"correlation": float(np.corrcoef(here_rank, there_rank)[0, 1]), "overlap": float(np.minimum(a, b).sum())}
    return pd.DataFrame(rows, columns=columns), alike
