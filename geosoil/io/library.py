"""Spectral libraries: tables of any origin put on common bands, properties and units, and what is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from geosoil.errors import InputError, UsageError, listing
from geosoil.soil import properties
from geosoil.types import PathLike, Progress, as_path, quiet

from .librarycache import assemble, cache_folder, content_key, recall, remember
from .librarychecks import Neighbourhood, contradicted, copies, upside_down
from .librarygrid import common_grid, onto
from .librarytables import LibraryTable, find_items, read_item
from .librarytold import describe
from .spectravalues import QUANTITIES

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike

    from geosoil.types import Float32, Float64, Int64

__all__ = ["TOLERANCE", "open_library"]

log = logging.getLogger(__name__)

#: Spectra are copies where the root mean square of their difference is at most this, reflectance: three decimals round
#: by 2.9e-4, and different soils that were measured on one day came as near as 3.4e-4.
TOLERANCE = 3e-4
#: Reflectance above this is none.
_BRIGHTEST = 1.5
#: A spectrum with a median outside of these is in percent, or was divided by 100 once too often.
_LEVELS = (0.01, 3.0)
#: Spectra that are looked at in one go.
_ROWS = 2048
#: Faults that are named one by one.
_NAMED = 10
#: A value is contradicted where it is this many deviations from its spectral neighbours.
_GROSS = 8.0
#: A data set that is by this factor above or below what is like it elsewhere may be in another unit.
_OTHER_UNIT = 6.0
#: Why a spectrum is left out, in the order in which it is asked.
_FAULTS = ("missing", "mislabelled", "out_of_range", "saturated", "duplicated")
#: Values are the same within this share.
_SAME_VALUE = 0.01
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


@dataclass(eq=False)
class _Whole:
    """All spectra on common bands, with what belongs to each."""

    spectra: Float32
    wavelength_nm: Float64
    labels: dict[str, np.ndarray[Any, Any]]
    values: pd.DataFrame
    units: dict[str, str]
    table: Int64
    row: Int64
    fault: np.ndarray[Any, Any]
    original: Int64

    def agree(self, row: int, other: int) -> bool:
        """Whether two spectra have no values that differ."""
        one, two = self.values.iloc[[row, other]].to_numpy(np.float64)
        both = np.isfinite(one) & np.isfinite(two)
        return bool(np.allclose(one[both], two[both], rtol=_SAME_VALUE, atol=0))

    def take(self, rows: Int64) -> _Whole:
        """Some of the spectra."""
        return _Whole(
            self.spectra if len(rows) == len(self.spectra) else self.spectra[rows],
            self.wavelength_nm,
            {name: one[rows] for name, one in self.labels.items()},
            self.values.iloc[rows].reset_index(drop=True),
            self.units,
            self.table[rows],
            self.row[rows],
            self.fault[rows],
            self.original[rows],
        )


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
    key = content_key(_beside(files), [asdict(settings), asdict(description)]) if kept else ""
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


def _beside(files: list[Path]) -> list[Path]:
    """The files, and the tables beside them that may hold their values."""
    folders = {path.parent for path in files}
    more = {one for folder in folders for one in folder.iterdir() if one.is_file() and one.suffix.lower() in _VALUES}
    return sorted({*files, *more})


_VALUES = (".csv", ".txt", ".tsv", ".tab", ".parquet", ".pq", ".xlsx", ".xlsm")


def _put_together(items: Any, settings: _Settings, progress: Progress) -> xr.DataArray:
    read, left = [], []
    for number, item in enumerate(items):
        progress(number, len(items), f"reading {item.name}")
        found = read_item(
            item,
            quantity=settings.quantity,
            id_column=settings.id,
            factor=settings.organic_matter_factor,
        )
        if isinstance(found, str):
            left.append((item.name, found))
        else:
            _check_label(found)
            read.append(found)
    if not read:
        raise InputError(
            "no table of the library holds spectra",
            code="GS-LIBRARY-EMPTY",
            details=[f"{name}: {why}" for name, why in left[:_NAMED]],
            hint="one row a spectrum, one column a wavelength, named such as 350, X350 or 350nm",
        )
    grid = common_grid(read, settings.wavelengths, settings.range_nm, settings.step_nm, settings.short)
    left += grid.left
    notes = [note for table in read for note in (*table.notes, *table.properties.notes)] + list(grid.notes)
    report = _report(read, left)
    whole = _joined(read, grid.tables, grid.wavelength_nm)
    whole, averaged = _averaged(whole)
    report["averaged"] = averaged
    _find_faults(whole, settings.tolerance)
    _tell_faults(whole, read, report)
    progress(len(items), len(items), "comparing neighbours")
    whole = whole.take(np.flatnonzero(whole.fault == ""))
    if not len(whole.row):
        raise InputError(
            "no spectrum of the library is usable",
            code="GS-LIBRARY-EMPTY",
            details=[f"{report[fault]} {fault.replace('_', ' ')}" for fault in _FAULTS if report[fault]],
        )
    notes += _doubt(whole, read, report, settings.doubtful)
    report["used"] = len(whole.row)
    report["values"] = _value_report(whole, read)
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


def _joined(read: list[LibraryTable], places: tuple[int, ...], wavelength_nm: Float64) -> _Whole:
    """The tables on common bands, one below the other; each is let go once it is there."""
    tables = [read[place] for place in places]
    count = sum(len(table) for table in tables)
    spectra = np.empty((count, len(wavelength_nm)), np.float32) if len(tables) > 1 else None
    faults, start = [], 0
    codes = [code for code in properties() if any(code in table.properties.columns for table in tables)]
    codes += sorted({code for table in tables for code in table.properties.columns} - set(codes))
    values = pd.DataFrame(np.full((count, len(codes)), np.nan), columns=codes)
    for table in tables:
        here = slice(start, start + len(table))
        on = onto(table.values, table.wavelength_nm, wavelength_nm)
        if spectra is None:
            spectra = on
        else:
            spectra[here] = on
        table.values = np.empty((len(table), 0), np.float32)
        for code, column in table.properties.columns.items():
            values.loc[here.start : here.stop - 1, code] = column
        known = np.where(table.saturated, "saturated", "").astype(object)
        known[table.mislabelled] = "mislabelled"
        faults.append(known)
        start += len(table)
    held = {"sample": "ids", "source": "source", "instrument": "instrument", "country": "country"}
    labels = {name: np.concatenate([getattr(table, one) for table in tables]) for name, one in held.items()}
    lengths = [len(table) for table in tables]
    return _Whole(
        np.empty((0, 0), np.float32) if spectra is None else spectra,
        wavelength_nm,
        labels,
        values,
        {code: unit for table in tables for code, unit in table.properties.units.items()},
        np.repeat(np.asarray(places, np.int64), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        np.concatenate(faults),
        np.full(count, -1, np.int64),
    )


def _averaged(whole: _Whole) -> tuple[_Whole, int]:
    """One spectrum a sample: the mean of those that one table has of one id, where their values agree as well.

    Profiles of several layers share an id too; their values differ, and they stay apart.
    """
    keys = pd.DataFrame({"table": whole.table, "sample": whole.labels["sample"], "fault": whole.fault})
    if not keys.duplicated(keep=False).any() or not len(whole.values.columns):
        return whole, 0
    keys = pd.concat([keys, whole.values.fillna(np.inf)], axis=1)
    has = np.isfinite(whole.values.to_numpy(np.float64)).any(axis=1)
    several = keys.duplicated(keep=False).to_numpy() & has & np.isfinite(whole.spectra).all(axis=1)
    if not several.any():
        return whole, 0
    rows = np.flatnonzero(several)
    group = keys.iloc[rows].groupby(list(keys.columns), sort=False).ngroup().to_numpy()
    first = rows[np.unique(group, return_index=True)[1]]
    means = np.zeros((len(first), whole.spectra.shape[1]))
    np.add.at(means, group, whole.spectra[rows])
    whole.spectra[first] = means / np.bincount(group)[:, None]
    kept = ~several
    kept[first] = True
    return whole.take(np.flatnonzero(kept)), int(len(rows) - len(first))


def _find_faults(whole: _Whole, tolerance: float) -> None:
    """Mark spectra that cannot be used; the first fault counts."""

    def mark(where: Any, fault: str) -> None:
        whole.fault[np.asarray(where) & (whole.fault == "")] = fault

    spectra = whole.spectra
    low, high, middle = _levels(spectra)
    present = np.isfinite(middle)
    known, odd = whole.fault.copy(), whole.fault == "mislabelled"
    whole.fault[:] = ""
    mark(~present & ~odd, "missing")
    _, wrong = upside_down(spectra, whole.wavelength_nm)
    mark(wrong | odd | (middle < _LEVELS[0]) | (middle > _LEVELS[1]), "mislabelled")
    mark((low <= 0) | (high > _BRIGHTEST), "out_of_range")
    mark(known == "saturated", "saturated")
    rows = np.flatnonzero(whole.fault == "")
    # Of several copies the one with most values stays.
    rank = -np.isfinite(whole.values.to_numpy(np.float64)[rows]).sum(axis=1)
    of = copies(spectra[rows] if len(rows) < len(spectra) else spectra, tolerance, rank)
    copied = np.flatnonzero(of >= 0)
    for row, original in zip(rows[copied], rows[of[copied]], strict=True):
        # Dark, smooth soils come near to each other without being the same: then their values tell.
        if whole.agree(row, original) or np.array_equal(spectra[row], spectra[original]):
            whole.fault[row] = "duplicated"
            whole.original[row] = original


def _levels(spectra: Float32) -> tuple[Float64, Float64, Float64]:
    """Lowest and highest value and median of each spectrum; NaN where a band is missing."""
    found = np.full((3, len(spectra)), np.nan)
    thin = max(1, spectra.shape[1] // 50)
    for start in range(0, len(spectra), _ROWS):
        rows = spectra[start : start + _ROWS]
        here = slice(start, start + len(rows))
        # A missing band makes both missing.
        found[0, here], found[1, here] = rows.min(axis=1), rows.max(axis=1)
        found[2, here] = np.median(rows[:, ::thin], axis=1)
    found[:, np.isnan(found[0]) | np.isinf(found[0]) | np.isinf(found[1])] = np.nan
    return found[0], found[1], found[2]


def _tell_faults(whole: _Whole, read: list[LibraryTable], report: dict[str, Any]) -> None:
    report["faults"] = []
    for fault in _FAULTS:
        rows = np.flatnonzero(whole.fault == fault)
        report[fault] = len(rows)
        report["faults"] += [_where(whole, read, int(row), fault) for row in rows[:_NAMED]]


def _where(whole: _Whole, read: list[LibraryTable], row: int, fault: str) -> dict[str, Any]:
    file, line = read[whole.table[row]].place(int(whole.row[row]))
    found = {"fault": fault, "file": file, "row": line, "sample": str(whole.labels["sample"][row])}
    original = int(whole.original[row])
    if original >= 0:
        found["copy_of"] = str(whole.labels["sample"][original])
        found["other_values"] = not whole.agree(row, original)
    return found


def _doubt(whole: _Whole, read: list[LibraryTable], report: dict[str, Any], doubtful: str) -> list[str]:
    """Find values that spectral neighbours contradict, and data sets that look like another unit."""
    report["doubtful"] = {}
    if not len(whole.values.columns) or len(whole.row) < 20:
        return []
    number, names = pd.factorize(whole.labels["source"])
    near, notes = Neighbourhood(whole.spectra, np.asarray(number, np.int64)), []
    for code in whole.values.columns:
        values = whole.values[code].to_numpy(np.float64)
        known = properties().get(code)
        log_scale = known is not None and known.transform == "log"
        odd, expected = contradicted(values, near, _GROSS, log=log_scale)
        rows = np.flatnonzero(odd)
        report["doubtful"][code] = len(rows)
        for row in rows[:_NAMED]:
            report["faults"].append(
                {
                    **_where(whole, read, int(row), f"doubtful {code}"),
                    "value": float(values[row]),
                    "neighbours": float(expected[row]),
                }
            )
        if doubtful == "drop":
            whole.values.loc[rows, code] = np.nan
        if log_scale:
            notes += _units_in_doubt(code, values, near, names)
    return notes


def _units_in_doubt(code: str, values: Float64, near: Neighbourhood, names: Any) -> list[str]:
    """Data sets whose values are several times those of like spectra of other data sets."""
    notes = []
    for source, name in enumerate(names if len(names) > 1 else []):
        ratio = near.ratio_to_others(values, source)
        if np.isfinite(ratio) and not 1 / _OTHER_UNIT < ratio < _OTHER_UNIT:
            notes.append(
                f"{name}: {code} is {ratio:.2g} times that of like spectra of other data sets: is its unit right?"
            )
    return notes


def _value_report(whole: _Whole, read: list[LibraryTable]) -> dict[str, dict[str, int]]:
    found = {}
    for code in whole.values.columns:
        counts = {"used": int(whole.values[code].notna().sum())}
        for table in read:
            for why, count in table.properties.counts.get(code, {}).items():
                counts[why] = counts.get(why, 0) + count
        found[str(code)] = counts
    return found
