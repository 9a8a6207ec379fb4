"""What `geosoil info` tells of a spectral library: data sets, bands, properties, and what is wrong with its spectra."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.errors import listing
from geosoil.io.library import open_library
from geosoil.io.librarytables import files_within
from geosoil.io.librarytold import DESCRIPTION
from geosoil.io.librarywhole import FAULTS
from geosoil.io.spectra import SPECTROMETERS, TABLES
from geosoil.soil import properties

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["describe_library", "is_library", "tell_library"]

#: What else may lie in a library's folder.
_BESIDE = frozenset({"", ".md", ".toml", ".json", ".pdf", ".rst"})
#: Files of a folder that are looked at, and bytes of a description.
_MOST_FILES, _MOST_BYTES = 10_000, 2**20
#: Notes that are shown.
_MOST_NOTES = 20
#: What is wrong with spectra, in words.
_WRONG = {
    "missing": "with a missing band",
    "mislabelled": "in another unit than they are called (percent, absorbance)",
    "out_of_range": "with reflectance of 0 or less, or above 1.5",
    "saturated": "with a detector that was full, dark or stuck",
    "duplicated": "that copy another",
}
#: Notes that tell of nothing but how a file was read.
_PLAIN = (": encoding ", ": wavelengths without a unit")


def is_library(path: Path) -> bool:
    """Whether a path is a folder of tables or spectrometers' files, and nothing but these, or a library's description.

    A folder with a ``library.toml`` is a library whatever else lies in it.
    """
    with suppress(OSError):
        if path.is_dir():
            return (path / DESCRIPTION).is_file() or _holds_tables_alone(path)
        return path.suffix.lower() == ".toml" and path.is_file() and _describes(path)
    return False


def _holds_tables_alone(folder: Path) -> bool:
    found = False
    for number, one in enumerate(files_within(folder)):
        if number == _MOST_FILES:
            break
        suffix = one.suffix.lower()
        if one.name.startswith("."):
            continue
        if suffix not in _BESIDE and suffix not in TABLES and suffix not in SPECTROMETERS:
            return False
        found |= suffix not in _BESIDE
    return found


def _describes(path: Path) -> bool:
    """Whether a TOML file describes the tables of a library; a study does not."""
    if path.name == DESCRIPTION:
        return True
    if path.stat().st_size > _MOST_BYTES:
        return False
    try:
        return isinstance(tomllib.loads(path.read_text(encoding="utf-8")).get("table"), list)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return False


def tell_library(path: Path) -> dict[str, Any]:
    """What a library holds.

    Parameters
    ----------
    path : Path
        A folder, or a description in it.

    Returns
    -------
    dict
        ``sets``, ``bands``, ``wavelength_nm``, ``properties``, ``read``, ``used``, ``wrong`` (counts), ``faults`` (the
        first of each, with file and row), ``left_out``, ``notes``.

    Raises
    ------
    InputError, UsageError
        As `open_library`.
    """
    library = open_library(path if path.is_dir() else path.parent, tables=None if path.is_dir() else path)
    report = library.attrs["report"]
    wavelength = library["wavelength"].values
    return {
        "sets": _sets(library),
        "bands": len(wavelength),
        "wavelength_nm": [float(wavelength[0]), float(wavelength[-1])],
        "properties": _properties(library),
        "read": int(report["read"]),
        "used": int(report["used"]),
        "averaged": int(report["averaged"]),
        "wrong": {fault: int(report[fault]) for fault in FAULTS if report[fault]},
        "doubtful": {code: count for code, count in report["doubtful"].items() if count},
        "faults": list(report["faults"]),
        "left_out": list(report["left_out"]),
        "notes": list(library.attrs["notes"]),
    }


def _sets(library: xr.DataArray) -> list[dict[str, Any]]:
    """A data set each: its samples, instruments and countries, and how many have which property."""
    values = library.attrs["values"].reset_index(drop=True)
    labels = pd.DataFrame({name: library[name].values.astype(str) for name in ("source", "instrument", "country")})
    found = []
    for name, rows in labels.groupby("source", sort=False):
        held = values.loc[rows.index].notna().sum()
        found.append(
            {
                "name": str(name),
                "samples": len(rows),
                "instruments": sorted({*rows["instrument"]} - {""}),
                "countries": sorted({*rows["country"]} - {""}),
                "values": {str(code): int(count) for code, count in held.items() if count},
            }
        )
    return found


def _properties(library: xr.DataArray) -> list[dict[str, Any]]:
    """A property each: its samples, and the range of their values."""
    values, units = library.attrs["values"], library.attrs["value_units"]
    found = []
    for code in values.columns:
        held = values[code].dropna().to_numpy(np.float64)
        known = properties().get(code)
        unusable = {why: n for why, n in library.attrs["report"]["values"][code].items() if why != "used" and n}
        span = (
            dict(zip(("lowest", "median", "highest"), np.quantile(held, [0, 0.5, 1]), strict=True)) if len(held) else {}
        )
        found.append(
            {
                "property": str(code),
                "name": str(code) if known is None else known.name,
                "unit": str(units.get(code, "")),
                "samples": len(held),
                **{name: float(value) for name, value in span.items()},
                "unusable": {str(why): int(count) for why, count in unusable.items()},
            }
        )
    return found


def describe_library(found: Mapping[str, Any]) -> list[str]:
    """The same in words, a fact a line."""
    sets = found["sets"]
    bands = [note for note in found["notes"] if note.startswith("common bands:")]
    lines = [
        f"{found['path']}: a spectral library of {len(sets)} data {'set' if len(sets) == 1 else 'sets'}, "
        f"{found['used']} samples",
        *bands,
        "data sets:",
        *(f"  {_set(one)}" for one in sets),
        "properties:" if found["properties"] else "properties: none is recognised; name their columns in library.toml",
        *(f"  {_property(one)}" for one in found["properties"]),
    ]
    lines += _checked(found)
    lines += [f"left out {one['table']}: {one['why']}" for one in found["left_out"]]
    # What concerns all tables comes last, and matters most.
    plain = [note for note in found["notes"] if any(one in note for one in _PLAIN)]
    notes = [note for note in found["notes"][::-1] if note not in bands and note not in plain]
    lines += [f"note: {note}" for note in notes[:_MOST_NOTES]]
    return [*lines, *([f"and {len(notes) - _MOST_NOTES} more notes: --json"] if len(notes) > _MOST_NOTES else [])]


def _set(one: Mapping[str, Any]) -> str:
    told = [f"{one['samples']} samples"]
    told += [f"{count} with {code}" for code, count in one["values"].items() if count < one["samples"]]
    told += [listing(one["countries"], 3)] if one["countries"] else []
    told += [listing(one["instruments"], 3)] if one["instruments"] else ["instrument not stated"]
    return f"{one['name']}: {', '.join(told)}"


def _property(one: Mapping[str, Any]) -> str:
    unit = "" if one["unit"] in ("", "1") else f" {one['unit']}"
    span = f", {one['lowest']:.4g} to {one['highest']:.4g}{unit}, median {one['median']:.4g}" if one["samples"] else ""
    lost = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in one["unusable"].items())
    name = one["property"] if one["name"].lower() == one["property"] else f"{one['name'].lower()} ({one['property']})"
    return f"{name}: {one['samples']} samples{span}" + (f"; not usable: {lost}" if lost else "")


def _checked(found: Mapping[str, Any]) -> list[str]:
    """What the checks found, with the first of each by file and row."""
    lines = []
    for fault, count in found["wrong"].items():
        named = [
            f"{one['file']} row {one['row']} ({one['sample']})" for one in found["faults"] if one["fault"] == fault
        ]
        lines.append(f"left out: {count} {_WRONG[fault]}: {listing(named, 5)}")
    if found["averaged"]:
        lines.append(f"{found['averaged']} further scans of the same samples are in their means")
    for code, count in found["doubtful"].items():
        named = [
            f"{one['file']} row {one['row']} ({one['value']:.3g}, like spectra {one['neighbours']:.3g})"
            for one in found["faults"]
            if one["fault"] == f"doubtful {code}"
        ]
        lines.append(f"doubtful: {count} of the values of {code}, unlike those of like spectra: {listing(named, 5)}")
    return lines or [f"checks: nothing is wrong with the {found['read']} spectra"]
