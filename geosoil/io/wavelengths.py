"""Wavelengths of bands: as a file or a side table gives them, their unit, and where detectors overlap."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError, listing

from .addresses import short_name

__all__ = [
    "LISTED",
    "OVERLAP",
    "ROUNDING",
    "TABLE_HINT",
    "UNKNOWN",
    "Spectral",
    "band_words",
    "detectors",
    "has_wavelengths",
    "mark_overlaps",
    "numbers_of",
    "read_table",
]

#: Why a band is not good.
LISTED = "listed bad in the file"
OVERLAP = "detector overlap"
UNKNOWN = "no wavelength in the file"

#: nm in one of a unit, by the spellings that are met.
_UNITS = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns"), 1000.0),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1000.0),
}
#: Spellings of "nobody knows".
_UNSTATED = frozenset({"", "unknown", "index", "none", "unitless"})
#: Wavelengths that the sun lights the ground with, by unit.
_OF_SUNLIGHT = {"nm": (300.0, 3000.0), "um": (0.3, 3.0)}
#: Bands that may have one wavelength in common, however few there are: one of each detector.
_MOST_ALIKE = 2
#: What helps where a file does not tell its wavelengths right.
TABLE_HINT = "name a table with the columns wavelength and, where known, fwhm: --wavelengths TABLE.csv"
#: Optical wavelengths, nm: from the ultraviolet to the thermal infrared.
_OPTICAL_NM = (100.0, 100_000.0)
#: Lists rounded to a tenth of a nanometre meet at one join.
ROUNDING = 0.05
#: Fewest bands of a detector; shorter runs mean that the bands are in no order.
_FEWEST = 3
#: Largest side table, bytes.
_MOST_TABLE = 10 * 2**20
_YES, _NO = frozenset({"1", "1.0", "true", "yes", "good"}), frozenset({"0", "0.0", "false", "no", "bad"})


@dataclass(frozen=True, slots=True)
class Spectral:
    """What a file tells of the wavelengths of its bands.

    Attributes
    ----------
    wavelength_nm, fwhm_nm : tuple of float
        Centres and widths, nm; widths empty where they are not told.
    good : tuple of bool
        The file's own list of good bands; empty where it has none.
    notes : tuple of str
        What had to be decided.
    why : tuple of str
        What the file says of bands that are not good; empty where it says nothing.
    """

    wavelength_nm: tuple[float, ...]
    fwhm_nm: tuple[float, ...] = ()
    good: tuple[bool, ...] = ()
    notes: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        wavelength: Sequence[float],
        unit: str | None,
        *,
        fwhm: Sequence[float] = (),
        good: Sequence[bool] = (),
        where: str,
    ) -> Spectral:
        """Numbers as they stand in a file, with their unit.

        Parameters
        ----------
        wavelength, fwhm : sequence of float
            In one unit; a wavelength of 0 stands for none.
        unit : str or None
            As the file spells it.
        where : str
            What messages call the file.

        Raises
        ------
        InputError
            ``GS-WAVELENGTH`` where numbers are no wavelengths, or most of them one; ``GS-WAVELENGTH-UNIT`` where the
            unit is not told, not known, or contradicted by the numbers.
        """
        known = [one for one in wavelength if one != 0]
        wrong = [one for one in known if not (math.isfinite(one) and one > 0)]
        if wrong or not known:
            raise InputError(
                f"{short_name(where)} has wavelengths that are none",
                code="GS-WAVELENGTH",
                details=[f"file: {where}", f"found: {listing(wrong or list(wavelength), 5)}"],
                hint=f"correct them, or {TABLE_HINT}",
            )
        common, times = Counter(known).most_common(1)[0]
        if times > max(_MOST_ALIKE, len(known) // 2):
            raise InputError(
                f"{short_name(where)} has one wavelength for most of its bands",
                code="GS-WAVELENGTH",
                details=[f"file: {where}", f"found: {common:g} for {times} of {len(known)} bands"],
                hint=f"correct them, or {TABLE_HINT}",
            )
        factor = _factor(known, unit, where)
        unusable = any(not math.isfinite(one) or one < 0 for one in fwhm) or not any(fwhm)
        widths = () if unusable else tuple(fwhm)
        notes = ("widths (FWHM) that are no widths are left out",) if fwhm and not widths else ()
        return cls(
            wavelength_nm=tuple(_scaled(one, factor) for one in wavelength),
            fwhm_nm=tuple(_scaled(one, factor) for one in widths),
            good=tuple(good),
            notes=notes,
        )

    def bands(self, names: Sequence[str], classes: Sequence[bool] = ()) -> Bands:
        """Bands of these names, with what is known of their wavelengths."""
        listed = self.good or (True,) * len(names)
        said = self.why or ("",) * len(names)
        why = [
            UNKNOWN if wavelength == 0 else "" if good else reason or LISTED
            for wavelength, good, reason in zip(self.wavelength_nm, listed, said, strict=True)
        ]
        return Bands(
            tuple(names),
            classes=tuple(classes),
            wavelength_nm=self.wavelength_nm,
            fwhm_nm=self.fwhm_nm,
            good=tuple(not reason for reason in why),
            why=tuple(why),
        )


def _scaled(value: float, factor: float) -> float:
    """To nm, without the noise that a product of decimals leaves behind: 0.41824 um is 418.24 nm."""
    return value if factor == 1 else float(f"{value * factor:.10g}")


def _factor(known: Sequence[float], unit: str | None, where: str) -> float:
    """nm in one of the unit, which has to be told: numbers alone may have lost theirs on the way."""
    spelled = (unit or "").strip().strip("{}").strip().lower()
    low, high = min(known), max(known)
    if spelled in _UNSTATED:
        raise _unit_error(where, "has wavelengths without a unit", low, high)
    if spelled not in _UNITS:
        raise _unit_error(where, f"has wavelengths in {spelled[:20]!r}, which is not known", low, high)
    factor = _UNITS[spelled]
    if low * factor < _OPTICAL_NM[0] or high * factor > _OPTICAL_NM[1]:
        raise _unit_error(where, f"has wavelengths that are none in {spelled[:20]}", low, high)
    return factor


def _unit_error(where: str, problem: str, low: float, high: float) -> InputError:
    fit = [unit for unit, (least, most) in _OF_SUNLIGHT.items() if least <= low and high <= most]
    likely = [f"they would be those of sunlight in {unit}" for unit in fit]
    unit = fit[0] if fit else "nm"
    return InputError(
        f"{short_name(where)} {problem}",
        code="GS-WAVELENGTH-UNIT",
        details=[
            f"file: {where}",
            f"found: {low:g} to {high:g}",
            *likely,
            "known units: nanometers (nm), micrometers (um)",
        ],
        hint=f'say it: --wavelengths {unit}, or wavelengths = "{unit}" under [scene] in a study;\n'
        "or state it in the file (ENVI: wavelength units = Nanometers), "
        f"or {TABLE_HINT}",
    )


def numbers_of(text: str) -> list[float] | None:
    """The numbers of a list, with or without braces; None where something else is among them.

    >>> numbers_of("{400.02, 409.82,\\n 419.62}"), numbers_of("{a, 1}")
    ([400.02, 409.82, 419.62], None)
    """
    words = [word for word in re.split(r"[,;\s]+", text.strip().strip("{}")) if word]
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def read_table(path: Path, count: int) -> Spectral:
    """A side table of wavelengths: CSV with the column ``wavelength``, and ``fwhm`` and ``good`` where they are known.

    They are nm, or in the unit that stands in the header: ``wavelength_nm``, ``wavelength [um]``.

    Raises
    ------
    InputError
        ``GS-WAVELENGTH-TABLE``; as `Spectral.of`.
    """
    header, rows = _rows(path)
    columns = {_column(name): place for place, name in enumerate(header)}
    if "wavelength" not in columns:
        raise _table_error(path, "has no column wavelength", [f"columns: {listing(header)}"])
    if len(rows) != count:
        raise _table_error(path, "has not one row a band", [f"rows: {len(rows)}", f"bands: {count}"])
    unit = _unit_in(header[columns["wavelength"]])
    fwhm = _floats(path, rows, columns["fwhm"]) if "fwhm" in columns else []
    good = _flags(path, rows, columns["good"]) if "good" in columns else []
    found = Spectral.of(_floats(path, rows, columns["wavelength"]), unit or "nm", fwhm=fwhm, good=good, where=str(path))
    return replace(found, notes=(f"wavelengths are those of {path.name}", *found.notes))


def has_wavelengths(path: Path) -> bool:
    """Whether the first line of a table has a column of wavelengths."""
    with path.open("rb") as file:
        first = file.readline(10_000)
    return any(_column(name) == "wavelength" for name in re.split(r"[,;\t]", first.decode("utf-8-sig", "replace")))


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        if path.stat().st_size > _MOST_TABLE:
            raise _table_error(path, "is too large for a table of wavelengths", [f"size: {path.stat().st_size} bytes"])
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise _table_error(path, "cannot be read", [error.strerror or str(error)]) from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(cell.strip() for cell in row)]
    return (lines[0], lines[1:]) if lines else ([], [])


def _column(name: str) -> str:
    """What a column is: its first word, in lower case; the names of a bad-band list are those of good bands."""
    word = re.split(r"[\s_\[(]", name.strip().strip('"').lower())[0]
    return {"wavelengths": "wavelength", "wl": "wavelength", "bbl": "good"}.get(word, word)


def _unit_in(name: str) -> str | None:
    found = re.search(r"(?:[_\s\[(])([a-zµμ]+)[\])]?\s*$", name.strip().strip('"').lower())
    return found[1] if found else None


def _cells(path: Path, rows: list[list[str]], place: int) -> list[str]:
    short = [number for number, row in enumerate(rows, start=1) if len(row) <= place]
    if short:
        raise _table_error(path, "has rows that are too short", [f"rows: {listing(short)}"])
    return [row[place].strip() for row in rows]


def _floats(path: Path, rows: list[list[str]], place: int) -> list[float]:
    cells = _cells(path, rows, place)
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise _table_error(path, "holds something that is no number", [str(error)]) from error


def _flags(path: Path, rows: list[list[str]], place: int) -> list[bool]:
    cells = [cell.lower() for cell in _cells(path, rows, place)]
    odd = [cell for cell in cells if cell not in _YES | _NO]
    if odd:
        raise _table_error(path, "marks bands neither good nor bad", [f"found: {listing(odd, 5)}", "known: 1, 0"])
    return [cell in _YES for cell in cells]


def _table_error(path: Path, problem: str, details: list[str]) -> InputError:
    return InputError(
        f"{short_name(str(path))} {problem}",
        code="GS-WAVELENGTH-TABLE",
        details=[f"file: {path}", *details],
        hint="give a CSV with a row a band and the columns wavelength, and where known fwhm and good",
    )


def detectors(wavelength_nm: Sequence[float]) -> list[range]:
    """Bands of each detector: runs in which wavelengths rise, or fall where most of them fall.

    Returns
    -------
    list of range
        Positions; empty where the bands are in no order.

    >>> detectors([400, 500, 600, 580, 680, 780])
    [range(0, 3), range(3, 6)]
    """
    steps = np.diff(np.asarray(wavelength_nm, np.float64))
    if not len(steps):
        return [range(len(wavelength_nm))]
    sign = 1.0 if np.median(steps) >= 0 else -1.0
    ends = [0, *(np.flatnonzero(sign * steps <= 0) + 1).tolist(), len(wavelength_nm)]
    runs = [range(first, last) for first, last in pairwise(ends)]
    return runs if len(runs) == 1 or all(len(run) >= _FEWEST for run in runs) else []


def mark_overlaps(
    bands: Bands, keep: Literal["middle", "longer"] = "middle", *, join_nm: float | None = None
) -> tuple[Bands, tuple[str, ...]]:
    """Mark the bands that another detector covers better as not good; the order stays.

    Where the good bands of two detectors overlap, the one that begins at shorter wavelengths is kept up to the join,
    and the other one from there on.

    Parameters
    ----------
    bands : Bands
        With wavelengths.
    keep : {"middle", "longer"}
        The join: the middle of the overlap, or its beginning, so that the detector of the longer wavelengths has all.
    join_nm : float, optional
        The sensor's own join, which counts for overlaps that it lies in: from there on the bands of the longer
        wavelengths are kept.

    Returns
    -------
    Bands
        The same with ``good`` and ``why``.
    notes : tuple of str
        Where detectors were joined, or why not.

    >>> bands = Bands(tuple("abcdef"), wavelength_nm=(400, 500, 600, 560, 660, 760))
    >>> mark_overlaps(bands)[0].good
    (True, True, False, False, True, True)
    """
    known = [place for place, one in enumerate(bands.wavelength_nm) if one > 0]
    wavelength = np.asarray(bands.wavelength_nm, np.float64)
    runs = [[known[place] for place in run] for run in detectors(wavelength[known].tolist())]
    if not runs:
        return bands, ("the wavelengths are in no order: no overlap of detectors is looked for",)
    good = list(bands.good) or [True] * len(bands)
    why = list(bands.why) or [""] * len(bands)
    notes = []
    # A list of bad bands may have cut the overlap already.
    runs = [kept for run in runs if (kept := [place for place in run if good[place]])]
    for pair in combinations(runs, 2):
        shorter, longer = sorted(pair, key=lambda run: float(wavelength[run].min()))
        low, high = float(wavelength[longer].min()), float(wavelength[shorter].max())
        if low > high:
            continue
        if wavelength[longer].max() <= high:
            notes.append(f"a detector lies within another one ({low:g} to {wavelength[longer].max():g} nm): not joined")
            continue
        join = low if keep == "longer" else (low + high) / 2
        if own := join_nm is not None and low - ROUNDING <= join_nm <= high + ROUNDING:
            join = join_nm
        # In the middle the shorter one has the join itself, else the longer one.
        start = join - ROUNDING if own else join if keep == "longer" else math.nextafter(join, math.inf)
        lost = [place for place in shorter if wavelength[place] >= start]
        lost += [place for place in longer if wavelength[place] < start]
        for place in (place for place in lost if good[place]):
            good[place], why[place] = False, OVERLAP
        whose = ", where the sensor's meet" if own else ""
        notes.append(f"detectors overlap at {low:g} to {high:g} nm and are joined at {join:g} nm{whose}")
    return replace(bands, good=tuple(good), why=tuple(why)), tuple(notes)


def band_words(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags or header entries with their names in lower case and with blanks, as ENVI spells them.

    >>> band_words({"Wavelength_Units": "nm"})
    {'wavelength units': 'nm'}
    """
    return {re.sub(r"[_\s]+", " ", name).strip().lower(): value.strip() for name, value in tags.items()}
