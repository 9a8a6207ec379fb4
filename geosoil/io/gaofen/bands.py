"""Bands of a product from its calibration files: gains, wavelengths, which are good and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError, listing
from geosoil.io.addresses import short_name
from geosoil.io.wavelengths import ROUNDING

from .layout import Sides
from .names import DETECTORS, Family
from .tables import DESIGN, OVERRIDE, read_gains, read_response

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64

__all__ = ["OVERLAP", "Calibration", "bands_of", "calibration_of", "weak_gains"]

#: How the reason begins why a band is not good that the other detector has too.
OVERLAP = "detectors overlap"
#: A gain below this part of the median of so many neighbours on each side stands for a band without light.
WEAK = 0.2
NEIGHBOURS = 20

# Centres may lie this far from those that the detector was built for, nm, on average.
_MOST_SHIFT = 150.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the files of a product say of a detector.

    Attributes
    ----------
    gains, offsets : tuple of float
        Radiance = gain x stored number + offset, W m-2 sr-1 um-1.
    centres_nm, fwhm_nm : tuple of float
        Centres and widths of the bands, nm.
    notes : tuple of str
        What was assumed, and what looks odd.
    """

    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    centres_nm: tuple[float, ...]
    fwhm_nm: tuple[float, ...]
    notes: tuple[str, ...] = ()


def calibration_of(family: Family, label: str, sides: Sides, *, nominal: bool) -> Calibration:
    """Gains and wavelengths of a detector.

    Parameters
    ----------
    family : Family
        The sensor.
    label : str
        ``VN`` or ``SW``.
    sides : mapping
        The calibration files.
    nominal : bool
        Take the wavelengths that the sensor was built for where the product has no list, or none that can be right.

    Raises
    ------
    InputError
        ``GS-CALIBRATION-MISSING``, ``GS-CALIBRATION-ROWS``, ``GS-CALIBRATION-NUMBERS``, ``GS-WAVELENGTHS``.
    """
    what = f"{label}_gains"
    if what not in sides:
        raise _missing(family, label, "RadCal", what, sides, OVERRIDE.format(what=what))
    source, content = sides[what]
    gains, offsets = read_gains(content, source, what, *_counts(family, label))
    centres, widths, notes = _response(family, label, sides, nominal)
    if len(content.replace(b",", b" ").replace(b";", b" ").split()) == len(gains):
        notes.append(f"{label}: {short_name(source)} has gains alone; offsets are taken as 0")
    weak = weak_gains(gains)
    if weak.any():
        notes.append(f"{label}: gains below a fifth of their neighbours', little light: {_runs(label, weak, centres)}")
    return Calibration(_floats(gains), _floats(offsets), _floats(centres), _floats(widths), tuple(notes))


def _floats(values: Float64) -> tuple[float, ...]:
    return tuple(float(one) for one in values)


def _counts(family: Family, label: str) -> tuple[int, int]:
    """Bands of a detector, and of the other one."""
    other = DETECTORS[1 - DETECTORS.index(label)]
    return family.detectors[label].bands, family.detectors[other].bands


def _response(family: Family, label: str, sides: Sides, nominal: bool) -> tuple[Float64, Float64, list[str]]:
    try:
        return _listed(family, label, sides)
    except InputError as error:
        if not nominal:
            raise
        built, lacking = family.detectors[label], error.message
    note = f"{label}: nominal wavelengths of {family.name}, as {lacking}"
    return np.linspace(built.first_nm, built.last_nm, built.bands), np.full(built.bands, built.fwhm_nm), [note]


def _listed(family: Family, label: str, sides: Sides) -> tuple[Float64, Float64, list[str]]:
    """Centres and widths of the product's list, and notes on it."""
    what, built = f"{label}_response", family.detectors[label]
    if what not in sides:
        raise _missing(family, label, "Spectralresponse", what, sides, f"{OVERRIDE.format(what=what)}\n{DESIGN}")
    source, content = sides[what]
    centres, widths, note = read_response(content, source, what, *_counts(family, label))
    if abs(float(centres.mean()) - (built.first_nm + built.last_nm) / 2) > _MOST_SHIFT:
        raise InputError(
            f"the wavelengths given for {label} are not those of this detector",
            code="GS-WAVELENGTHS",
            details=[
                f"file: {source}",
                f"found: {centres.min():g} to {centres.max():g} nm",
                f"expected: about {built.first_nm:g} to {built.last_nm:g} nm",
            ],
            hint=f"{OVERRIDE.format(what=what)}\n{DESIGN}",
        )
    return centres, widths, [note] if note else []


def _missing(family: Family, label: str, word: str, what: str, sides: Sides, hint: str) -> InputError:
    part = {"VN": "VNIR", "SW": "SWIR"}[label]
    return InputError(
        f"the product has no {word} file for {part}",
        code="GS-CALIBRATION-MISSING",
        details=[
            f"expected: {family.code}_AHSI_{part}_{word}.raw or {family.code}_AHSI_{word}_{part}.raw",
            "looked for: beside the images and one folder up",
            f"found: {listing([source for source, _ in sides.values()]) or 'no calibration files'}",
        ],
        hint=hint,
    )


def weak_gains(gains: Float64) -> Bool:
    """Where gains collapse: below a fifth of the running median over 20 bands on each side.

    >>> gains = np.ones(60)
    >>> gains[30:33] = 0.01
    >>> np.flatnonzero(weak_gains(gains))
    array([30, 31, 32])
    """
    padded = np.pad(gains, NEIGHBOURS, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1)
    weak: Bool = gains < WEAK * np.nanmedian(windows, axis=1)
    return weak


def bands_of(family: Family, parts: Mapping[str, Calibration], join_nm: float) -> Bands:
    """The bands of both detectors, VN then SW, in the order of the files.

    Where the detectors overlap, those of VN end and those of SW begin at the join; the two are never sorted into
    each other.
    """
    names: list[str] = []
    centres: list[float] = []
    widths: list[float] = []
    why: list[str] = []
    for label in DETECTORS:
        part = parts[label]
        names += [f"{label}{number:03d}" for number in range(1, len(part.gains) + 1)]
        centres += part.centres_nm
        widths += part.fwhm_nm
        why += [
            _why(family, label, centre, gain, join_nm) for centre, gain in zip(part.centres_nm, part.gains, strict=True)
        ]
    return Bands(
        names=tuple(names),
        wavelength_nm=tuple(centres),
        fwhm_nm=tuple(widths),
        good=tuple(not reason for reason in why),
        why=tuple(why),
    )


def _why(family: Family, label: str, centre: float, gain: float, join_nm: float) -> str:
    """Why a band is not good; empty for one that is."""
    beyond = centre >= join_nm - ROUNDING
    if beyond == (label == "VN"):
        return f"{OVERLAP}: {'beyond' if beyond else 'short of'} the join at {join_nm:g} nm"
    for low, high in family.bad_nm:
        if low < centre < high:
            where = f"below {high:g}" if low <= 0 else f"above {low:g}" if high >= 3000 else f"{low:g}-{high:g}"
            return f"listed for {family.name}: {where} nm"
    return "" if gain > 0 else "its gain is not above 0"


def _runs(label: str, flags: Bool, centres: Float64) -> str:
    """Flagged bands as runs: ``SW043-SW049 (1362-1412 nm)``."""
    shown = []
    for first, last in _edges(np.flatnonzero(flags).tolist()):
        name = f"{label}{first + 1:03d}" + (f"-{label}{last + 1:03d}" if last > first else "")
        shown.append(f"{name} ({centres[first]:.0f}" + (f"-{centres[last]:.0f} nm)" if last > first else " nm)"))
    return listing(shown)


def _edges(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = places[0]
    for place in places[1:]:
        if place > last + 1:
            yield first, last
            first = place
        last = place
    yield first, last
