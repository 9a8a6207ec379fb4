"""Plots along wavelength: spectra before and after, what is selected, and how it goes with a property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from geosoil.report.plots import bare_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geosoil.soil import Property
    from geosoil.types import Float64

__all__ = ["COLOURS", "LABELS", "SUPPORT_CAPTION", "correlation_figure", "spectra_figure", "support_figure"]

#: Colours of the kinds of spectra; told apart by colour-blind readers.
COLOURS = {"laboratory": "#1b6ca8", "satellite": "#c8553d", "generated": "#3a7d44", "mixed": "#6a4c93"}
LABELS = {"laboratory": "laboratory", "satellite": "satellite", "generated": "generated", "mixed": "mixed"}
SUPPORT_CAPTION = (
    "How often the repeats of the selection took a wavelength, of satellite spectra upwards and of generated ones "
    "downwards; those that the model keeps are dark."
)
#: A gap in wavelength wider than this many usual steps is left open.
_GAP = 3.0


def segments(wavelength_nm: Float64) -> list[slice]:
    """Runs of bands without a gap, so that no line crosses what was left out.

    >>> segments(np.array([400.0, 410.0, 420.0, 600.0, 610.0]))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    steps = np.diff(wavelength_nm)
    usual = float(np.median(np.abs(steps))) if len(steps) else 1.0
    cuts = np.flatnonzero((steps > _GAP * usual) | (steps <= 0)) + 1
    edges = [0, *cuts.tolist(), len(wavelength_nm)]
    return [slice(first, last) for first, last in pairwise(edges)]


def _line(axes: Axes, wavelength: Float64, values: Float64, colour: str, label: str, **style: Any) -> None:
    for place, run in enumerate(segments(wavelength)):
        axes.plot(wavelength[run], values[run], color=colour, label=label if place == 0 else None, **style)


def spectra_figure(spectra: Mapping[str, Any]) -> Figure:
    """Mean and middle 80 % of satellite, laboratory and generated spectra, and how far these are from the laboratory's.

    The spread of the laboratory spectra stands beside: one that is no nearer tells no more than their mean.

    Parameters
    ----------
    spectra : mapping
        ``wavelength_nm`` (q,); ``satellite``, ``laboratory``, ``generated`` (n, q) or None; ``label`` of the values.
    """
    wavelength = np.asarray(spectra["wavelength_nm"])
    kinds = [kind for kind in ("laboratory", "satellite", "generated") if spectra.get(kind) is not None]
    two = "laboratory" in kinds and len(kinds) > 1
    figure = Figure(figsize=(8.5, 5.4 if two else 3.2), layout="constrained")
    rows = figure.subplots(2 if two else 1, 1, sharex=True, squeeze=False)[:, 0]
    for kind in kinds:
        rows_of = np.asarray(spectra[kind])
        _line(rows[0], wavelength, rows_of.mean(axis=0), COLOURS[kind], LABELS[kind], linewidth=1.6)
        low, high = np.quantile(rows_of, [0.1, 0.9], axis=0)
        for run in segments(wavelength):
            rows[0].fill_between(wavelength[run], low[run], high[run], color=COLOURS[kind], alpha=0.15, linewidth=0)
    bare_axes(rows[0]).set_ylabel(spectra.get("label", "preprocessed value"))
    rows[0].legend(frameon=False, ncols=3, loc="upper left")
    if two:
        far = np.asarray(spectra["laboratory"])
        _line(rows[1], wavelength, far.std(axis=0), "0.35", "spread", linewidth=1.2, linestyle=":")
        for kind in kinds[1:]:
            error = np.sqrt(((np.asarray(spectra[kind]) - far) ** 2).mean(axis=0))
            _line(rows[1], wavelength, error, COLOURS[kind], LABELS[kind], linewidth=1.4)
        bare_axes(rows[1]).set_ylabel("RMS difference\nfrom laboratory")
    rows[-1].set_xlabel("wavelength [nm]")
    return figure


def support_figure(properties: Sequence[Property], spectra: Mapping[str, Any]) -> Figure:
    """How often the selection took each wavelength of the spectra read (up) and generated (down), and which are kept.

    Parameters
    ----------
    spectra : mapping
        ``wavelength_nm`` (q,); ``read``, the kind of the spectra that are read; ``support`` and ``frequency``, tuples
        of (2 q,) by property, generated features last.
    """
    wavelength = np.asarray(spectra["wavelength_nm"])
    bands = len(wavelength)
    figure = Figure(figsize=(8.5, 0.9 + 0.8 * len(properties)), layout="constrained")
    axes = bare_axes(figure.subplots())
    named: set[str] = set()
    for row, (support, frequency) in enumerate(zip(spectra["support"], spectra["frequency"], strict=True)):
        axes.axhline(row, color="0.8", linewidth=0.6)
        for up, kind, half in ((-1, spectra["read"], slice(None, bands)), (1, "generated", slice(bands, None))):
            kept, height = support[half], row + up * 0.42 * frequency[half]
            for part, shade in ((~kept & (frequency[half] > 0), 0.25), (kept, 1.0)):
                # Only what some property keeps is in the legend, and once.
                new = shade == 1.0 and kept.any() and kind not in named
                named |= {kind} if new else set()
                label = LABELS[kind] if new else "_nolegend_"
                axes.vlines(wavelength[part], row, height[part], color=COLOURS[kind], alpha=shade, label=label)
    axes.set_yticks(range(len(properties)), [soil.name for soil in properties])
    axes.set_ylim(len(properties) - 0.5, -0.5)
    axes.set_xlabel("wavelength [nm]")
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def correlation_figure(wavelength_nm: Float64, correlations: Mapping[str, Mapping[str, Float64]]) -> Figure:
    """Correlation of each kind of spectrum with each property along wavelength.

    Parameters
    ----------
    correlations : mapping
        Name of a property to kind of spectrum to (q,) coefficients.
    """
    count = len(correlations)
    figure = Figure(figsize=(8.5, 0.6 + 2.1 * count), layout="constrained")
    rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, kinds) in zip(rows, correlations.items(), strict=True):
        for kind, values in kinds.items():
            _line(axes, wavelength_nm, np.asarray(values), COLOURS[kind], LABELS[kind], linewidth=1.3)
        axes.axhline(0, color="0.6", linewidth=0.8)
        bare_axes(axes).set_ylabel(f"r with\n{name.lower()}")
        axes.set_ylim(-1, 1)
    rows[0].legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    rows[-1].set_xlabel("wavelength [nm]")
    return figure
