"""Which columns of a table are bands: names such as ``350``, ``X350``, ``wl_1.35``, ``scan.350_ref`` or ``350.5nm``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from geosoil.errors import InputError, listing

__all__ = ["BandColumns", "find_bands"]

#: Some text, a number, text without digits.
_NAME = re.compile(r"((?:.*?[^\d.])?\.?)(\d+(?:\.\d+)?)(\D*)")
_UNITS = {"nm": 1.0, "um": 1000.0, "µm": 1000.0, "μm": 1000.0}
#: What wavelengths without a unit may be, and nm in one of them.
_RANGES = ((300.0, 3000.0, 1.0, "nm"), (0.3, 3.0, 1000.0, "um"))
#: Fewest columns that are a spectrum.
_FEWEST = 5
#: A second group of this share of the largest makes it unclear which one is meant.
_RIVAL = 0.5
#: Words in what stands round the number.
_WORDS = {"absorbance": ("abs", "log"), "reflectance": ("ref",)}


@dataclass(frozen=True, slots=True)
class BandColumns:
    """The columns that are bands, in rising order of wavelength.

    Attributes
    ----------
    names : tuple of str
        As the table has them.
    wavelength_nm : tuple of float
        Wavelengths, nm.
    quantity : str
        ``reflectance`` or ``absorbance`` where the names say so, else empty.
    notes : tuple of str
        What was found out.
    """

    names: tuple[str, ...]
    wavelength_nm: tuple[float, ...]
    quantity: str = ""
    notes: tuple[str, ...] = ()


def find_bands(names: Sequence[str], *, where: str, unit: str | None = None) -> BandColumns:
    """Find the bands among the columns of a table.

    Parameters
    ----------
    names : sequence of str
        All columns, in order.
    where : str
        What messages call the table.
    unit : {"nm", "um"}, optional
        Unit of the wavelengths, where the names do not tell it.

    Raises
    ------
    InputError
        ``GS-SPECTRA-COLUMNS`` (none, or two sets), ``GS-WAVELENGTH-UNIT``, ``GS-COLUMN-TWICE``, ``GS-WAVELENGTH`` (in
        no order).

    >>> found = find_bands(["id", "soc", "X2500", "X1500", "X900", "X700", "X450"], where="t.csv")
    >>> found.names, found.wavelength_nm
    (('X450', 'X700', 'X900', 'X1500', 'X2500'), (450.0, 700.0, 900.0, 1500.0, 2500.0))
    """
    groups: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for name in names:
        shape = _NAME.fullmatch(name.strip())
        if shape:
            groups.setdefault((shape[1].lower(), shape[3].lower().strip()), []).append((name, float(shape[2])))
    affixes, members = _spectrum(groups, where)
    factor, notes = _factor(affixes, [number for _, number in members], where, unit)
    wavelength = [float(f"{number * factor:.10g}") for _, number in members]
    order, turned = _order(wavelength, where)
    if turned:
        notes.append(turned)
    said = " ".join(affixes)
    quantity = next((kind for kind, words in _WORDS.items() if any(word in said for word in words)), "")
    return BandColumns(
        tuple(members[place][0] for place in order), tuple(wavelength[place] for place in order), quantity, tuple(notes)
    )


def _spectrum(
    groups: dict[tuple[str, str], list[tuple[str, float]]], where: str
) -> tuple[tuple[str, str], list[tuple[str, float]]]:
    """The largest group of columns that differ by a number only."""
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    if not ranked or len(ranked[0][1]) < _FEWEST:
        raise InputError(
            f"{where} has no spectral columns",
            code="GS-SPECTRA-COLUMNS",
            details=["expected: columns named by wavelengths, such as 350, X350, wl_350 or 350.5nm"],
            hint="one row a spectrum, one column a wavelength",
        )
    if len(ranked) > 1 and len(ranked[1][1]) >= _RIVAL * len(ranked[0][1]):
        sets = [f"{members[0][0]} to {members[-1][0]}: {len(members)} columns" for _, members in ranked[:2]]
        raise InputError(
            f"{where} has two sets of spectral columns",
            code="GS-SPECTRA-COLUMNS",
            details=sets,
            hint="keep one of them in the table",
        )
    return ranked[0]


def _factor(
    affixes: tuple[str, str], numbers: Sequence[float], where: str, unit: str | None
) -> tuple[float, list[str]]:
    """nm in one of the unit, and what was decided."""
    low, high = min(numbers), max(numbers)
    words = [word for part in affixes for word in re.split(r"[\W_]+", part) if word]
    told = unit or next((word for word in words if word in _UNITS), None)
    if told is not None:
        if told not in _UNITS or not (low * _UNITS[told] >= 100 and high * _UNITS[told] <= 100_000):
            raise _no_unit(where, f"has wavelengths that are none in {told[:20]}", low, high)
        return _UNITS[told], []
    for least, most, factor, name in _RANGES:
        if least <= low and high <= most:
            return factor, [f"{where}: wavelengths without a unit, all in {least:g} to {most:g}, taken as {name}"]
    raise _no_unit(where, "has wavelengths without a unit", low, high)


def _no_unit(where: str, problem: str, low: float, high: float) -> InputError:
    return InputError(
        f"{where} {problem}",
        code="GS-WAVELENGTH-UNIT",
        details=[f"column names: {low:g} to {high:g}", "without a unit: 300 to 3000 is nm, 0.3 to 3 is um"],
        hint='say unit="nm" or unit="um", or put it into the names (350nm); wavenumbers and energies are not read',
    )


def _order(wavelength: Sequence[float], where: str) -> tuple[list[int], str]:
    """Positions of rising wavelengths; detectors that overlap stay apart, one after the other."""
    twice = sorted({one for one in wavelength if wavelength.count(one) > 1}) if _repeats(wavelength) else []
    rises = sum(b > a for a, b in pairwise(wavelength))
    falling = 2 * rises < len(wavelength) - 1
    order = list(range(len(wavelength)))
    if falling:
        order.reverse()
    cuts = [0, *(k for k in range(1, len(order)) if wavelength[order[k]] <= wavelength[order[k - 1]]), len(order)]
    runs = [order[first:last] for first, last in pairwise(cuts)]
    if (twice and len(runs) == 1) or (any(len(run) < 3 for run in runs) and len(runs) > 1):
        problem, code = (
            ("has wavelengths twice", "GS-COLUMN-TWICE") if twice else ("has bands in no order", "GS-WAVELENGTH")
        )
        raise InputError(
            f"{where} {problem}",
            code=code,
            details=[f"nm: {listing(twice)}"] if twice else [f"nm: {listing(wavelength)}"],
            hint="sort the columns by wavelength, one column each",
        )
    runs.sort(key=lambda run: wavelength[run[0]])
    placed = [place for run in runs for place in run]
    if placed == list(range(len(wavelength))):
        return placed, ""
    return placed, f"{where}: bands put in rising order of wavelength"


def _repeats(values: Sequence[float]) -> bool:
    return len(set(values)) < len(values)
