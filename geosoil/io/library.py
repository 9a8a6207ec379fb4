"""Spectral libraries: tables of any origin put on common bands, properties and units, and what is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.errors import InputError, UsageError, listing
from geosoil.types import PathLike, Progress, as_path, quiet

from .librarycache import assemble, cache_folder, content_key, recall, remember
from .librarychecks import upside_down
from .librarygrid import common_grid
from .librarytables import LibraryTable, find_items, read_item, with_tables_beside
from .librarytold import describe
from .librarywhole import (
    FAULTS,
    NAMED,
    average_repeats,
    count_values,
    doubt_values,
    find_faults,
    join_tables,
    tell_faults,
)
from .spectravalues import QUANTITIES

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike

__all__ = ["TOLERANCE", "open_library"]

log = logging.getLogger(__name__)

#: Spectra are copies where the root mean square of their difference is at most this, reflectance: three decimals round
#: by 2.9e-4, and different soils that were measured on one day came as near as 3.4e-4.
TOLERANCE = 3e-4
#: Share of a table's spectra that have to be upside down for the table to be.
_MOST = 0.9


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a library depends on besides its files."""

    quantity: str | None
    id: str | None
    wavelengths: tuple[float, ...] | None
    range_nm: tuple[float, float] | None
    step_nm: float | None
    short: str
    organic_matter_factor: float | None
    tolerance: float
    doubtful: str


def open_library(
    source: PathLike | Iterable[PathLike],
    *,
    tables: PathLike | Mapping[str, Any] | None = None,
    quantity: Literal["reflectance", "percent", "absorbance"] | None = None,
    id: str | None = None,
    wavelengths: ArrayLike | None = None,
    range_nm: tuple[float, float] | None = None,
    step_nm: float | None = None,
    short: Literal["leave", "refuse"] = "leave",
    organic_matter_factor: float | None = None,
    tolerance: float = TOLERANCE,
    doubtful: Literal["keep", "drop"] = "keep",
    cache: PathLike | bool = False,
    progress: Progress = quiet,
) -> xr.DataArray:
    """Open a spectral library.

    Parameters
    ----------
    source : path or sequence of paths
        Folders (with those below them), globs and files: wide tables (CSV, Parquet, Excel) with one row a spectrum, and
        ``.asd`` and ``.sed`` files. The layouts of LUCAS, OSSL and ICRAF-ISRIC are known.
    tables : path or mapping, optional
        What single tables hold, where it is not to be recognised: a TOML file or a mapping, see ``docs/libraries.md``;
        else ``library.toml`` in the folder, where there is one.
    quantity, id
        What the spectra of tables are, and the column of ids, where ``tables`` does not say it; see `open_spectra`.
    wavelengths : (p,) array-like, optional
        Common bands, nm, rising.
    range_nm : (float, float), optional
        Range of the common bands; else where all tables overlap.
    step_nm : float, optional
        Their spacing; else that of the coarsest table, rounded up to 1, 2, 5, 10 ... nm.
    short : {"leave", "refuse"}
        What to do with tables that do not cover the bands that were asked for.
    organic_matter_factor : float, optional
        What organic matter is divided by to stand for organic carbon where that is missing; 1.724 is the usual one.
    tolerance : float
        Root mean square of the difference of two spectra that are copies, reflectance.
    doubtful : {"keep", "drop"}
        Whether values that are grossly unlike those of their spectral neighbours stay, and are only reported.
    cache : path or bool
        A folder to keep the library in, under the hash of all files and settings; True for the user's own.

    Returns
    -------
    xarray.DataArray
        ``(sample, band)``, float32, reflectance 0 to 1. Coordinates ``sample`` (ids), ``source`` (data set),
        ``instrument`` and ``country`` of each sample, ``band`` and ``wavelength`` [nm]. attrs: ``values`` (DataFrame,
        a column a property in geosoil's unit, NaN where there is none), ``value_units``, ``report`` (counts, and the
        first ten of each fault with file and row), ``notes``, ``sources``.

    Raises
    ------
    InputError
        ``GS-LIBRARY-EMPTY``, ``GS-LIBRARY-RANGE`` (no common bands, or a table that does not cover them),
        ``GS-SPECTRA-QUANTITY`` (percent or absorbance in the place of reflectance), ``GS-LIBRARY-TOML``; as
        `open_spectra` and, for columns that are described, ``GS-COLUMN-MISSING``, ``GS-UNIT-MISSING``.
    UsageError
        ``GS-LIBRARY``, ``GS-LIBRARY-TOML``, ``GS-SOURCE``.
    """
    settings = _settings(
        quantity, id, wavelengths, range_nm, step_nm, short, organic_matter_factor, tolerance, doubtful
    )
    folder = _folder(source)
    description = describe(tables, folder)
    items, files = find_items(source, description, folder)
    kept = cache_folder(cache)
    key = content_key(with_tables_beside(files), [asdict(settings), asdict(description)]) if kept else ""
    found = recall(kept, key) if kept else None
    if found is None:
        found = _put_together(items, settings, progress)
        if kept:
            remember(kept, key, found)
        found.attrs["report"]["cached"] = False
    else:
        found.attrs["report"]["cached"] = True
    found.attrs["sources"] = tuple(str(path) for path in files)
    return found


def _settings(quantity: Any, id_column: Any, wavelengths: Any, *rest: Any) -> _Settings:
    """The settings, checked."""
    range_nm, step_nm, short, factor, tolerance, doubtful = rest
    bands = None if wavelengths is None else tuple(float(one) for one in np.asarray(wavelengths, np.float64).ravel())
    pair = None if range_nm is None else (float(range_nm[0]), float(range_nm[1]))
    checks = (
        (quantity is None or quantity in QUANTITIES, "quantity", f"one of {listing(QUANTITIES)}", quantity),
        (short in ("leave", "refuse"), "short", "leave or refuse", short),
        (doubtful in ("keep", "drop"), "doubtful", "keep or drop", doubtful),
        (step_nm is None or step_nm > 0, "step_nm", "a positive number of nm", step_nm),
        (factor is None or factor > 0, "organic_matter_factor", "a positive number", factor),
        (0 <= tolerance < 0.1, "tolerance", "a reflectance of 0 to 0.1", tolerance),
        (pair is None or 0 < pair[0] < pair[1], "range_nm", "two wavelengths in nm, the lower one first", range_nm),
        (
            bands is None or (len(bands) >= 2 and bool(np.all(np.diff(bands) > 0)) and bands[0] > 0),
            "wavelengths",
            "two or more, in nm, rising",
            bands and bands[:3],
        ),
    )
    for fine, name, expected, given in checks:
        if not fine:
            raise UsageError(
                f"{name} of a library is not usable",
                code="GS-LIBRARY",
                details=[f"expected: {expected}", f"found: {given!r}"[:90]],
            )
    return _Settings(quantity, id_column, bands, pair, step_nm, short, factor, tolerance, doubtful)


def _folder(source: Any) -> Path | None:
    """The folder that paths in a description are counted from."""
    if not isinstance(source, (str, Path)):
        return None
    path = as_path(source)
    return path if path.is_dir() else path.parent


def _put_together(items: Any, settings: _Settings, progress: Progress) -> xr.DataArray:
    read, unread = [], []
    for number, item in enumerate(items):
        progress(number, len(items), f"reading {item.name}")
        found = read_item(
            item,
            quantity=settings.quantity,
            id_column=settings.id,
            factor=settings.organic_matter_factor,
        )
        if isinstance(found, str):
            unread.append((item, found))
        else:
            _check_label(found)
            read.append(found)
    # A table whose values stand beside the spectra of another one was used after all.
    used = {table.values_from for table in read}
    left = [(item.name, why) for item, why in unread if item.files[0] not in used]
    if not read:
        raise InputError(
            "no table of the library holds spectra",
            code="GS-LIBRARY-EMPTY",
            details=[f"{name}: {why}" for name, why in left[:NAMED]],
            hint="one row a spectrum, one column a wavelength, named such as 350, X350 or 350nm",
        )
    grid = common_grid(read, settings.wavelengths, settings.range_nm, settings.step_nm, settings.short)
    left += grid.left
    notes = [note for table in read for note in (*table.notes, *table.properties.notes)] + list(grid.notes)
    report = _report(read, left)
    whole = join_tables(read, grid.tables, grid.wavelength_nm)
    whole, averaged = average_repeats(whole)
    report["averaged"] = averaged
    find_faults(whole, settings.tolerance)
    tell_faults(whole, read, report)
    progress(len(items), len(items), "comparing neighbours")
    whole = whole.take(np.flatnonzero(whole.fault == ""))
    if not len(whole.row):
        raise InputError(
            "no spectrum of the library is usable",
            code="GS-LIBRARY-EMPTY",
            details=[f"{report[fault]} {fault.replace('_', ' ')}" for fault in FAULTS if report[fault]],
        )
    notes += doubt_values(whole, read, report, settings.doubtful)
    report["used"] = len(whole.row)
    report["values"] = count_values(whole, read)
    for note in notes:
        log.info("%s", note)
    return assemble(
        whole.spectra,
        whole.wavelength_nm,
        whole.labels,
        whole.values,
        {"value_units": whole.units, "report": report, "notes": notes, "sources": ()},
    )


def _check_label(table: LibraryTable) -> None:
    """Refuse a table whose spectra are upside down: absorbance that is called reflectance, or the other way round."""
    right, wrong = upside_down(table.values, table.wavelength_nm)
    if wrong.mean() < _MOST or right.any():
        return
    other = "absorbance" if table.quantity != "absorbance" else "reflectance"
    raise InputError(
        f"{table.item.name}: spectra called {table.quantity} have the shape of {other}",
        code="GS-SPECTRA-QUANTITY",
        details=[f"{int(wrong.sum())} of {len(table)} get darker to the red, or brighter at the water band of 1930 nm"],
        hint=f'say what they are: quantity = "{other}" for this table in library.toml',
    )


def _report(read: list[LibraryTable], left: list[tuple[str, str]]) -> dict[str, Any]:
    rows = [
        {
            "table": table.item.name,
            "spectra": len(table),
            "from_nm": float(table.wavelength_nm[0]),
            "to_nm": float(table.wavelength_nm[-1]),
            "step_nm": table.step_nm,
            "stored_as": table.quantity,
            "layout": table.layout,
            "properties": sorted(table.properties.columns),
        }
        for table in read
    ]
    gone = {name for name, _ in left}
    return {
        "tables": rows,
        "left_out": [{"table": name, "why": why} for name, why in left],
        "read": sum(len(table) for table in read if table.item.name not in gone),
    }
