"""Bands to leave out: those that water vapour and noise take, those that a user lists, those that a scene shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError, listing

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Float32, Float64

__all__ = [
    "DEFAULT_WINDOWS",
    "WATER_EDGES",
    "SceneStatistics",
    "Window",
    "bad_bands",
    "describe_bad",
    "scene_statistics",
]


@dataclass(frozen=True, slots=True)
class Window:
    """Wavelengths that are left out, limits included.

    Attributes
    ----------
    low_nm, high_nm : float
        Limits, nm; may be infinite.
    why : str
        Reason, in a few words.
    """

    low_nm: float
    high_nm: float
    why: str


#: Water vapour as in Ou et al. (GF-5, soil spectra), and the noisy ends of the common sensors.
DEFAULT_WINDOWS = (
    Window(-np.inf, np.nextafter(400.0, 0), "noisy below 400 nm"),
    Window(1342.0, 1451.0, "water vapour 1342-1451 nm"),
    Window(1771.0, 1977.0, "water vapour 1771-1977 nm"),
    Window(np.nextafter(2430.0, np.inf), np.inf, "noisy above 2430 nm"),
)
#: Weaker water vapour: noisy, not dead. An option.
WATER_EDGES = (
    Window(900.0, 960.0, "edge of water vapour 900-960 nm"),
    Window(1110.0, 1160.0, "edge of water vapour 1110-1160 nm"),
)

LISTED = "listed by the user"
#: A band is noisy below this ratio of its level to its noise.
_NOISY = 5.0
#: Columns that differ from their neighbours by this share of the band's level are stripes.
_STRIPED = 0.05
#: Least share of the pixels that have to have a value.
_EMPTY = 0.01
#: Normal SD in one median absolute deviation.
_MAD = 1.4826
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:nm)?\s*-\s*(\d+(?:\.\d+)?)\s*(?:nm)?\s*")


@dataclass(frozen=True, eq=False)
class SceneStatistics:
    """What a sparse look at a scene shows of its bands.

    Attributes
    ----------
    filled : (b,) float64
        Share of the pixels that were looked at and have a value other than 0.
    spread : (b,) float64
        Largest less smallest value.
    snr : (b,) float64
        Median level over noise; the noise is what neighbouring pixels differ by and neighbouring bands do not explain.
        NaN where it cannot be told.
    stripes : (b,) float64
        Typical step of the columns' medians against their neighbours', beyond that of rows, as a share of the level.
    pixels : int
        Pixels that were looked at.
    """

    filled: Float64
    spread: Float64
    snr: Float64
    stripes: Float64
    pixels: int

    def reasons(self) -> list[str]:
        """Why each band is not to be used; empty text for one that is."""
        said = []
        for filled, spread, snr, stripes in zip(self.filled, self.spread, self.snr, self.stripes, strict=True):
            if filled < _EMPTY:
                said.append("empty")
            elif spread == 0:
                said.append("constant")
            elif snr < _NOISY:
                said.append("noisy in the scene")
            elif stripes > _STRIPED:
                said.append("striped in the scene")
            else:
                said.append("")
        return said


def bad_bands(
    bands: Bands,
    *,
    windows: Sequence[Window | tuple[float, float]] = DEFAULT_WINDOWS,
    listed: Iterable[str | tuple[float, float]] = (),
    keep: Iterable[str | tuple[float, float]] = (),
    water_edges: bool = False,
    statistics: SceneStatistics | None = None,
) -> Bands:
    """Mark bands that are not to be used, and say why.

    A user's word wins: what is in `keep` stays whatever else speaks against it, what is `listed` goes. Then come what
    the bands' file said, wavelengths, and what the scene shows; a band keeps the first reason.

    Parameters
    ----------
    bands : Bands
        Bands, of which some may be marked already.
    windows : sequence of Window or (low, high)
        Wavelengths to leave out, nm, limits included. Bands without wavelengths are not touched.
    listed, keep : iterable of str or (low, high)
        Names of bands, ranges of wavelengths such as ``"1340-1460"`` or pairs of numbers, nm.
    water_edges : bool
        Whether to leave `WATER_EDGES` out too.
    statistics : SceneStatistics, optional
        From `scene_statistics`.

    Returns
    -------
    Bands
        The same bands with ``good`` and ``why``.

    Raises
    ------
    UsageError
        ``GS-BANDS-LIST``: a name that no band has, a range in which there is none, or the same band in both lists.
    InputError
        ``GS-BANDS-NONE``: no band is left. ``GS-BANDS-LENGTH``: statistics of other bands.

    >>> bands = Bands(("a", "b", "c"), wavelength_nm=(390.0, 1400.0, 2200.0))
    >>> bad_bands(bands).why
    ('noisy below 400 nm', 'water vapour 1342-1451 nm', '')
    """
    reasons = list(bands.why) if bands.why else [""] * len(bands)
    if bands.good:
        marked = zip(reasons, bands.good, strict=True)
        reasons = ["" if good else why or "marked bad in the file" for why, good in marked]
    spans = [one if isinstance(one, Window) else Window(*one, f"{one[0]:g}-{one[1]:g} nm") for one in windows]
    for span in (*spans, *(WATER_EDGES if water_edges else ())):
        for place in _inside(bands, span.low_nm, span.high_nm):
            reasons[place] = reasons[place] or span.why
    if statistics is not None:
        shown = statistics.reasons()
        if len(shown) != len(bands):
            raise InputError(f"statistics of {len(shown)} bands for {len(bands)}", code="GS-BANDS-LENGTH")
        reasons = [first or second for first, second in zip(reasons, shown, strict=True)]
    out, stays = _places(bands, listed), _places(bands, keep)
    if out & stays:
        names = [bands.names[place] for place in sorted(out & stays)]
        raise UsageError(f"bands are listed to go and to stay: {listing(names, 3)}", code="GS-BANDS-LIST")
    reasons = [
        "" if place in stays else LISTED if place in out and not why else why for place, why in enumerate(reasons)
    ]
    if all(reasons):
        raise InputError("no band is left", code="GS-BANDS-NONE", details=_described(bands, reasons))
    return replace(bands, good=tuple(not why for why in reasons), why=tuple(reasons))


def _inside(bands: Bands, low: float, high: float) -> list[int]:
    return [place for place, nm in enumerate(bands.wavelength_nm) if nm > 0 and low <= nm <= high]


def _places(bands: Bands, wanted: Iterable[str | tuple[float, float]]) -> set[int]:
    """Positions of bands by name or range."""
    found: set[int] = set()
    names = {name: place for place, name in enumerate(bands.names)}
    for one in [wanted] if isinstance(wanted, str) else wanted:
        if isinstance(one, str) and one in names:
            found.add(names[one])
            continue
        span = _span(one)
        inside = _inside(bands, *span) if span else []
        if not inside:
            raise UsageError(
                f"no band is called, or lies in, {str(one)[:40]!r}",
                code="GS-BANDS-LIST",
                details=[f"bands: {listing(bands.names)}"],
                hint='name bands, or ranges in nm such as "1340-1460"',
            )
        found.update(inside)
    return found


def _span(one: str | tuple[float, float]) -> tuple[float, float] | None:
    if not isinstance(one, str):
        return float(one[0]), float(one[1])
    shape = _RANGE.fullmatch(one)
    return (float(shape[1]), float(shape[2])) if shape else None


def describe_bad(bands: Bands) -> list[str]:
    """What goes and why, grouped by reason, in lines for a log or a report.

    >>> marked = bad_bands(Bands(("a", "b", "c", "d"), wavelength_nm=(1390.0, 1400.0, 1410.0, 2200.0)))
    >>> describe_bad(marked)
    ['1 of 4 bands stay', 'water vapour 1342-1451 nm: 3 bands (1390-1410 nm)']
    """
    return _described(bands, bands.why or ("",) * len(bands))


def _described(bands: Bands, reasons: Sequence[str]) -> list[str]:
    lines = [f"{sum(not why for why in reasons)} of {len(bands)} bands stay"]
    for reason in dict.fromkeys(why for why in reasons if why):
        places = [place for place, why in enumerate(reasons) if why == reason]
        count = f"{len(places)} band{'s' * (len(places) > 1)}"
        lines.append(f"{reason}: {count} ({listing(_ranges(bands, places))})")
    return lines


def _ranges(bands: Bands, places: Sequence[int]) -> list[str]:
    """Runs of neighbouring bands, by wavelength, or by name where there is none."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])

    def called(place: int) -> str:
        return f"{bands.wavelength_nm[place]:g}" if bands.wavelength_nm else bands.names[place]

    unit = " nm" if bands.wavelength_nm else ""
    return [f"{called(run[0])}{unit}" if len(run) == 1 else f"{called(run[0])}-{called(run[-1])}{unit}" for run in runs]


def scene_statistics(scene: xr.DataArray, *, windows: int = 9, size: int = 48, seed: int = 0) -> SceneStatistics:
    """Look at a few small windows of a scene, all bands.

    Parameters
    ----------
    scene : (band, y, x) DataArray
        Lazy scenes are read at these windows only.
    windows : int
        Number of windows, spread over the scene.
    size : int
        Width and height of a window, cells.
    seed : int
        Shifts the windows within their parts of the scene.

    Notes
    -----
    Noise follows Roger and Arnold (1996) in spirit: a value is predicted from its neighbours along the line and from
    the bands on both sides; the median absolute deviation of what is left is the noise.
    """
    _, height, width = scene.shape
    if not height or not width:
        raise InputError("the scene has no pixels", code="GS-SCENE-EMPTY")
    rng = np.random.default_rng(seed)
    side = max(1, int(np.ceil(np.sqrt(windows))))
    found = []
    for row in range(side):
        for column in range(side):
            top = _start(row, side, height, size, rng)
            left = _start(column, side, width, size, rng)
            part = scene[:, top : top + size, left : left + size].values
            found.append(np.asarray(part, np.float32))
    return _statistics(found)


def _start(part: int, parts: int, length: int, size: int, rng: np.random.Generator) -> int:
    """First cell of a window within its part of the scene."""
    low = part * length // parts
    high = max(low, (part + 1) * length // parts - size)
    return min(int(rng.integers(low, high + 1)), max(0, length - size))


def _statistics(parts: Sequence[Float32]) -> SceneStatistics:
    flat = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    present = np.isfinite(flat) & (flat != 0)
    known = np.where(present, flat, np.nan).astype(np.float64)
    count = present.sum(axis=1)
    filled = count / flat.shape[1]
    with np.errstate(invalid="ignore"):
        spread = np.where(count > 0, np.fmax.reduce(known, axis=1) - np.fmin.reduce(known, axis=1), 0.0)
    level = np.array([_median(row) for row in known])
    noise = _noise(parts)
    stripes = _stripes(parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.where(noise > 0, np.abs(level) / noise, np.where(np.isnan(noise), np.nan, np.inf))
        return SceneStatistics(filled, spread, snr, stripes / np.abs(level), flat.shape[1])


def _median(values: Float64) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else np.nan


def _noise(parts: Sequence[Float32]) -> Float64:
    """SD of what the next pixels and the next bands do not explain."""
    bands = len(parts[0])
    # Second differences along the line take the surface's slope out and leave noise times the root of 6.
    across = [np.diff(_gaps(part), 2, axis=2).reshape(bands, -1) / np.sqrt(6.0) for part in parts]
    rest = np.concatenate(across, axis=1)
    found = np.array([_MAD * _median(np.abs(row)) for row in rest])
    for band in range(1, bands - 1):
        sides = (rest[band - 1] + rest[band + 1]) / 2
        usable = np.isfinite(sides) & np.isfinite(rest[band])
        power = float(sides[usable] @ sides[usable]) if usable.sum() > 50 else 0.0
        if power > 0:
            # What is seen in the next bands too is surface, not noise.
            slope = float(rest[band][usable] @ sides[usable]) / power
            found[band] = min(found[band], _MAD * _median(np.abs(rest[band][usable] - slope * sides[usable])))
    return found


def _gaps(part: Float32) -> Float64:
    return np.where(np.isfinite(part) & (part != 0), part, np.nan).astype(np.float64)


def _stripes(parts: Sequence[Float32]) -> Float64:
    """Typical step of columns against their two neighbours, beyond that of rows, which the surface alone makes."""
    turned = [part.transpose(0, 2, 1) for part in parts]
    return np.sqrt(np.maximum(_column_steps(parts) ** 2 - _column_steps(turned) ** 2, 0.0))


def _column_steps(parts: Sequence[Float32]) -> Float64:
    steps = [np.zeros((len(parts[0]), 0))]
    for part in parts:
        columns = _column_medians(_gaps(part))
        steps.append(columns[:, 1:-1] - (columns[:, :-2] + columns[:, 2:]) / 2)
    return np.array([_MAD * _median(np.abs(row)) for row in np.concatenate(steps, axis=1)])


def _column_medians(part: Float64) -> Float64:
    """Medians (b, columns); NaN for a column that is more than half empty."""
    gaps = np.isnan(part)
    level = np.array([_median(band) for band in part])
    medians = np.median(np.where(gaps, level[:, None, None], part), axis=1)
    return np.where(gaps.mean(axis=1) > 0.5, np.nan, medians)
