"""Laboratory spectra, from spectrometers' files and wide tables, to reflectance by sample and wavelength."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike as OsPathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from geosoil.errors import InputError, UsageError, listing
from geosoil.kernels.spectral import splice as splice_kernel
from geosoil.types import PathLike, as_path

from .addresses import short_name
from .spectrarows import check_one_unit
from .spectratables import WideTable, read_frame, read_wide
from .spectravalues import QUANTITIES, to_reflectance
from .spectrometer import Measured, read_asd, read_sed

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["SPECTROMETERS", "TABLES", "TEXTS", "open_spectra", "spectra_files"]

#: Suffixes of spectrometers' files, and what reads them.
SPECTROMETERS = {".asd": read_asd, ".sed": read_sed}
#: Suffixes that ASD's older programs number their files by.
_NUMBERED = re.compile(r"\.\d{3}")
#: Suffixes of tables of text, and of all tables that may hold spectra.
TEXTS = (".csv", ".txt", ".tsv", ".tab")
TABLES = (*TEXTS, ".parquet", ".pq", ".xlsx", ".xlsm")
#: Column names that are an id, when nobody says which one is.
_IDS = (
    "id",
    "sample_id",
    "sampleid",
    "sample id",
    "sample",
    "sample_name",
    "spectrum",
    "spectrum_id",
    "name",
    "lab_id",
)
#: Joins of the three detectors of field spectrometers, nm.
_SPLICE_NM = (1000.0, 1830.0)
#: Wavelengths of two files are the same within this, nm.
_SAME_NM = 0.05
#: Reflectance of soils and of what lies on them.
_BRIGHTEST = 1.5
#: Spectra that are counted at a time.
_ROWS = 2048


@dataclass(eq=False)
class _Part:
    """Spectra of one source."""

    values: Float32
    wavelength_nm: Float64
    ids: list[str]
    table: pd.DataFrame
    where: str
    quantity: str = ""
    notes: list[str] = field(default_factory=list)
    saturated: int = 0
    splice_nm: tuple[float, ...] = ()
    measured: bool = False


def open_spectra(
    source: PathLike | pd.DataFrame | Iterable[PathLike],
    *,
    quantity: Literal["reflectance", "percent", "absorbance"] | None = None,
    id: str | None = None,
    splice: bool = False,
    unit: Literal["nm", "um"] | None = None,
    mixed: Literal["refuse", "keep"] = "refuse",
) -> xr.DataArray:
    """Open laboratory spectra.

    Parameters
    ----------
    source : path, DataFrame or sequence of paths
        ``.asd`` and ``.sed`` files; tables (CSV, Parquet, Excel) with one row a spectrum and one column a wavelength;
        folders and globs of them.
    quantity : {"reflectance", "percent", "absorbance"}, optional
        What a table holds: reflectance 0 to 1, reflectance in percent, or log10(1/R). Without it, what the names of the
        columns or of the file say; else what the values show, when they show it clearly.
    id : str, optional
        Column with the samples' ids; else a column of a usual name, else row numbers.
    splice : bool
        Whether to take out the steps at the joins of a field spectrometer's detectors (1000 and 1830 nm, or as its
        files say), by shifting the outer detectors to the middle one.
    unit : {"nm", "um"}, optional
        Unit of the wavelengths of tables that do not tell it.
    mixed : {"refuse", "keep"}
        What to do with a table of which some rows are in another unit than the others.

    Returns
    -------
    xarray.DataArray
        Dimensions ``(sample, band)``, float32, reflectance 0 to 1. Coordinates ``sample`` (ids as text; they may
        repeat), ``band`` (names) and ``wavelength`` (nm, rising; only where two detectors overlap it steps back once).
        attrs: ``quantity``, ``units``, ``table`` (DataFrame of all other columns, one row a spectrum), ``notes`` (tuple
        of what was decided), ``report`` (counts of what is odd), ``sources``.

    Raises
    ------
    InputError
        ``GS-SPECTRA-COLUMNS``, ``GS-SPECTRA-CELLS``, ``GS-SPECTRA-EMPTY``, ``GS-SPECTRA-QUANTITY`` (not clear, or not
        what was said), ``GS-SPECTRA-MIXED`` (not the same in all rows), ``GS-SPECTRA-GRID`` (files of different
        wavelengths), ``GS-WAVELENGTH-UNIT``, ``GS-WAVELENGTH``, ``GS-COLUMN-TWICE``, ``GS-COLUMN-MISSING`` (no such id
        column), ``GS-TABLE-READ``, ``GS-TABLE-RAGGED``, ``GS-SPECTRUM-READ``, ``GS-SPECTRUM-TRUNCATED``,
        ``GS-SPECTRUM-REFERENCE``, ``GS-SPECTRUM-TYPE``, ``GS-FILE-MISSING``.
    UsageError
        ``GS-SPECTRA-QUANTITY``, ``GS-SOURCE``.

    Examples
    --------
    >>> frame = pd.DataFrame({"id": ["a", "b"], **{f"{nm}nm": [0.2, 0.3] for nm in range(400, 900, 50)}})
    >>> spectra = open_spectra(frame, quantity="reflectance")
    >>> spectra.sizes["sample"], spectra.wavelength.values[:3].tolist(), spectra.attrs["report"]["spectra"]
    (2, [400.0, 450.0, 500.0], 2)
    """
    if quantity is not None and quantity not in QUANTITIES:
        raise UsageError(
            f"quantity {str(quantity)[:30]!r} is not known", code="GS-SPECTRA-QUANTITY", details=[listing(QUANTITIES)]
        )
    if isinstance(source, pd.DataFrame):
        parts, files = [_of_table(read_frame(source, unit=unit), "the table", id)], ["a table"]
    else:
        paths = spectra_files(source)
        parts, files = _parts(paths, id, unit), [str(path) for path in paths]
    for part in parts:
        part.quantity = _convert(part, quantity, mixed=mixed == "keep")
    whole = _joined(parts)
    if splice:
        _splice(whole)
    return _array(whole, files)


def spectra_files(source: PathLike | Iterable[PathLike]) -> list[Path]:
    """The files that a source of spectra names, in order.

    Raises
    ------
    InputError, UsageError
        ``GS-FILE-MISSING`` where there are none, ``GS-SOURCE``.
    """
    if isinstance(source, (str, OsPathLike)):
        return _files_of(as_path(source))
    if not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray)):
        raise UsageError(f"a path is needed, not an object of type {type(source).__name__}", code="GS-SOURCE")
    return [path for one in source for path in _files_of(as_path(one))]


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    known = (*SPECTROMETERS, *TABLES)
    if path.is_dir():
        found = [one for one in path.iterdir() if one.is_file() and (_instrument(one) or one.suffix.lower() in TABLES)]
        # Tables beside instruments' files are lists of samples and the like.
        found = [one for one in found if _instrument(one)] or found
    else:
        found = [Path(one) for one in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - absolute patterns
        found = [one for one in found if one.is_file()]
    if not found:
        missing = "holds no spectra" if path.is_dir() else "does not exist"
        raise InputError(
            f"{short_name(str(path))} {missing}",
            code="GS-FILE-MISSING",
            details=[f"looked for: {path}"],
            hint=f"spectra end in {listing(known, len(known))}",
        )
    return sorted(found)


def _instrument(path: Path) -> str:
    """The suffix of an instrument's kind of file; empty for a table."""
    suffix = path.suffix.lower()
    return suffix if suffix in SPECTROMETERS else ".asd" if _NUMBERED.fullmatch(suffix) else ""


def _parts(paths: Sequence[Path], id_column: str | None, unit: str | None) -> list[_Part]:
    instruments = [path for path in paths if _instrument(path)]
    tables = [path for path in paths if path not in set(instruments)]
    parts = [_of_table(read_wide(path, unit=unit), short_name(str(path)), id_column) for path in tables]
    if instruments:
        measured = [SPECTROMETERS[_instrument(path)](path) for path in instruments]
        parts.append(_of_instruments(instruments, measured))
    return parts


def _of_table(wide: WideTable, where: str, id_column: str | None) -> _Part:
    column = _id_column(wide.table, where, id_column)
    notes = [*wide.notes, *wide.bands.notes]
    if column is None:
        ids = [str(number) for number in range(1, len(wide.values) + 1)]
        notes.append(f"{where}: no column of ids; samples are numbered from 1")
    else:
        ids = [_text(one) for one in wide.table[column]]
    said = wide.bands.quantity or next((one for one in QUANTITIES if one in where.lower()), "")
    return _Part(wide.values, np.array(wide.bands.wavelength_nm), ids, wide.table, where, quantity=said, notes=notes)


def _text(value: Any) -> str:
    """An id as text; whole numbers that a table holds as floats lose their point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _id_column(table: pd.DataFrame, where: str, wanted: str | None) -> str | None:
    names = [str(name) for name in table.columns]
    if wanted is not None:
        if wanted in names:
            return wanted
        raise InputError(
            f"{where} has no column {wanted[:30]!r}", code="GS-COLUMN-MISSING", details=[f"columns: {listing(names)}"]
        )
    return next((name for usual in _IDS for name in names if name.strip().lower() == usual), None)


def _of_instruments(paths: Sequence[Path], measured: Sequence[Measured]) -> _Part:
    first = measured[0].wavelength_nm
    other = [
        path.name
        for path, one in zip(paths, measured, strict=True)
        if len(one.wavelength_nm) != len(first) or np.abs(one.wavelength_nm - first).max() > _SAME_NM
    ]
    if other:
        raise _different(paths[0].name, other)
    facts = pd.DataFrame([{"file": path.name, **one.facts} for path, one in zip(paths, measured, strict=True)])
    return _Part(
        np.array([one.reflectance for one in measured], np.float32),
        first,
        [path.stem for path in paths],
        facts,
        short_name(str(paths[0].parent)),
        measured=True,
        saturated=sum(one.saturated for one in measured),
        splice_nm=next((one.splice_nm for one in measured if one.splice_nm), ()),
    )


def _different(first: str, other: Sequence[str]) -> InputError:
    return InputError(
        f"{len(other)} files have other wavelengths than {first[:40]}",
        code="GS-SPECTRA-GRID",
        details=[f"files: {listing(other)}"],
        hint="open them apart, and resample one to the other",
    )


def _convert(part: _Part, wanted: str | None, *, mixed: bool) -> str:
    """To reflectance in place; returns what the values were."""
    if not len(part.values):
        raise InputError(f"{part.where} holds no spectra", code="GS-SPECTRA-EMPTY")
    if part.measured:
        return "reflectance"
    if not mixed:
        check_one_unit(part.values, part.wavelength_nm, part.ids, part.where)
    found = to_reflectance(part.values, part.wavelength_nm, wanted, part.where, named=part.quantity)
    if found.why:
        part.notes.append(f"{part.where}: {found.why}")
    return found.quantity


def _joined(parts: Sequence[_Part]) -> _Part:
    first = parts[0]
    if len(parts) == 1:
        return first
    other = [
        one.where
        for one in parts
        if len(one.wavelength_nm) != len(first.wavelength_nm)
        or np.abs(one.wavelength_nm - first.wavelength_nm).max() > _SAME_NM
    ]
    if other:
        raise _different(first.where, other)
    return _Part(
        np.concatenate([one.values for one in parts]),
        first.wavelength_nm,
        [name for one in parts for name in one.ids],
        pd.concat([one.table for one in parts], ignore_index=True),
        f"{len(parts)} sources",
        quantity=", ".join(sorted({one.quantity for one in parts})),
        notes=[note for one in parts for note in one.notes],
        saturated=sum(one.saturated for one in parts),
        splice_nm=next((one.splice_nm for one in parts if one.splice_nm), ()),
    )


def _splice(part: _Part) -> None:
    joins = part.splice_nm or _SPLICE_NM
    ends = np.searchsorted(part.wavelength_nm, joins, side="right").astype(np.int64)
    splice_kernel(part.values, part.wavelength_nm, ends)
    part.notes.append(f"detectors joined at {joins[0]:g} and {joins[1]:g} nm: outer ones shifted to the middle one")


def _array(part: _Part, files: Sequence[str]) -> xr.DataArray:
    names = [f"{one:.10g}" for one in part.wavelength_nm]
    if len(set(names)) < len(names):
        names = [f"{name}_{place}" for place, name in enumerate(names, start=1)]
    return xr.DataArray(
        part.values,
        dims=("sample", "band"),
        coords={
            "sample": ("sample", part.ids),
            "band": ("band", names),
            "wavelength": ("band", part.wavelength_nm),
        },
        attrs={
            "quantity": "reflectance",
            "units": "1",
            "table": part.table,
            "notes": tuple(part.notes),
            "report": _report(part),
            "sources": tuple(files),
        },
    )


def _report(part: _Part) -> dict[str, Any]:
    """Counts of what is odd."""
    missing, low, high = np.zeros((3, len(part.values)), bool)
    seen: set[int] = set()
    for start in range(0, len(part.values), _ROWS):
        rows = part.values[start : start + _ROWS]
        here = slice(start, start + len(rows))
        missing[here] = ~np.isfinite(rows.sum(axis=1))
        low[here] = np.fmin.reduce(rows, axis=1) <= 0
        high[here] = np.fmax.reduce(rows, axis=1) > _BRIGHTEST
        seen.update(hash(row.tobytes()) for row in rows[~missing[here]])
    return {
        "spectra": len(part.values),
        "bands": len(part.wavelength_nm),
        "stored_as": part.quantity,
        "missing": int(missing.sum()),
        "not_positive": int(low.sum()),
        "too_bright": int(high.sum()),
        "saturated": part.saturated,
        "duplicated_ids": len(part.ids) - len(set(part.ids)),
        "duplicated_spectra": int((~missing).sum()) - len(seen),
    }
