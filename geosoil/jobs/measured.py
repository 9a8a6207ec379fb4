"""What `geosoil info` tells of spectra of a laboratory: how many, which wavelengths, what their values are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.errors import InputError, listing
from geosoil.io.preview import preview_samples
from geosoil.io.spectra import SPECTROMETERS, TABLES, open_spectra
from geosoil.io.spectratables import WideTable, read_frame, read_wide
from geosoil.io.tables import Table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["describe_property", "describe_spectra", "is_spectrometer_file", "tell_spectra"]

#: Fewest columns of a table of spectra; a few numbered columns are something else.
_FEWEST = 30
#: What keeps values from being told, and not spectra from being seen.
_UNCLEAR = frozenset({"GS-SPECTRA-QUANTITY", "GS-SPECTRA-MIXED"})
#: What is counted of spectra, in words.
_ODD = {
    "missing": "with missing values",
    "not_positive": "with values at or below 0",
    "too_bright": "above 1.5",
    "saturated": "saturated",
    "duplicated_ids": "with an id that occurs before",
    "duplicated_spectra": "equal to another",
}


def is_spectrometer_file(path: Path) -> bool:
    """Whether a path is a file of a spectrometer, or a folder of some with nothing but text beside.

    A folder that also holds tables is a library, whose tables tell of the spectra.
    """
    with suppress(OSError):  # what is no path at all, or must not be read, is said by who opens it
        if path.is_dir():
            held = {one.suffix.lower() for one in path.iterdir()}
            return bool(held & {*SPECTROMETERS}) and held <= {*SPECTROMETERS, ".md", ""}
        return path.is_file() and path.suffix.lower() in SPECTROMETERS
    return False


def tell_spectra(source: Path | pd.DataFrame) -> dict[str, Any] | None:
    """What a spectrometer's file, a folder of them or a wide table holds; None for a table of something else.

    Raises
    ------
    InputError
        As `open_spectra`, for spectrometers' files.
    """
    measured = isinstance(source, Path) and is_spectrometer_file(source)
    if isinstance(source, Path) and not measured and source.suffix.lower() not in TABLES:
        return None
    try:
        spectra = open_spectra(source)
    except InputError as error:
        if measured:
            raise
        return _unclear(source, error) if error.code in _UNCLEAR else None
    return _told(spectra) if measured or spectra.sizes["band"] >= _FEWEST else None


def _told(spectra: xr.DataArray) -> dict[str, Any]:
    counts = spectra.attrs["report"]
    return {
        **_axis(np.asarray(spectra["wavelength"].values, np.float64)),
        "spectra": int(spectra.sizes["sample"]),
        "quantity": str(counts["stored_as"]),
        "odd": {name: int(counts[name]) for name in _ODD if counts.get(name)},
        "notes": [str(one) for one in spectra.attrs["notes"]],
        **_beside(spectra.attrs["table"]),
    }


def _unclear(source: Path | pd.DataFrame, error: InputError) -> dict[str, Any] | None:
    """Spectra of which it is not clear what their values are; None where there are too few columns."""
    wide: WideTable = read_wide(source) if isinstance(source, Path) else read_frame(source)
    if len(wide.bands.names) < _FEWEST:
        return None
    return {
        **_axis(np.array(wide.bands.wavelength_nm)),
        "spectra": len(wide.values),
        "quantity": "mixed" if error.code == "GS-SPECTRA-MIXED" else "",
        "odd": {},
        "notes": ["; ".join((error.message, *error.details)), *wide.notes, *wide.bands.notes],
        **_beside(wide.table),
    }


def _axis(wavelength_nm: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    steps = np.diff(wavelength_nm)
    return {
        "bands": len(wavelength_nm),
        "wavelength_nm": [float(wavelength_nm.min()), float(wavelength_nm.max())],
        "spacing_nm": [float(steps.min()), float(np.median(steps)), float(steps.max())] if len(steps) else [],
    }


def _beside(table: pd.DataFrame) -> dict[str, Any]:
    """The columns that are no spectrum, and the properties that are recognised among them."""
    found = preview_samples(Table(table, "the table of the spectra"))
    return {
        "columns": [str(one) for one in table.columns],
        "taken": found["taken"],
        "properties": [{key: one[key] for key in ("property", "name", "columns", "unit")} for one in found["values"]],
    }


def describe_spectra(told: Mapping[str, Any]) -> list[str]:
    """The same in words, a fact a line.

    >>> told = {"spectra": 2, "bands": 3, "wavelength_nm": [400.0, 420.0], "spacing_nm": [10.0, 10.0, 10.0],
    ...         "quantity": "percent", "odd": {}, "notes": [], "columns": ["id"], "taken": {}, "properties": []}
    >>> describe_spectra(told)[:2]
    ['3 wavelengths, 400 to 420 nm, every 10 nm', 'values are reflectance in percent']
    """
    low, high = told["wavelength_nm"]
    lines = [f"{told['bands']} wavelengths, {low:g} to {high:g} nm{_spacing(told['spacing_nm'])}"]
    names = {
        "percent": "reflectance in percent",
        "": "not clear: state them in a study, under [spectra]",
        "mixed": "not all in the same unit",
    }
    lines.append(f"values are {names.get(told['quantity'], told['quantity'])}")
    lines += [f"{count} {_ODD[name]}" for name, count in told["odd"].items()]
    lines.append(f"other columns: {listing(told['columns'], 20) or 'none'}")
    lines += [describe_property(one) for one in told["properties"]]
    return [*lines, *(f"note: {note}" for note in told["notes"])]


def describe_property(told: Mapping[str, Any]) -> str:
    """The columns that a property is taken from, and their unit."""
    unit = {None: "unit not stated", "1": "no unit"}.get(told["unit"], f"unit {told['unit']}")
    return f"{told['name'].lower()} ({told['property']}) from {listing(told['columns'], 6)}, {unit}"


def _spacing(spacing_nm: list[float]) -> str:
    if not spacing_nm:
        return ""
    least, usual, most = spacing_nm
    even = most - least <= 0.02 * abs(usual)
    return f", every {usual:.4g} nm" if even else f", {least:.3g} to {most:.3g} nm apart, mostly {usual:.3g}"
