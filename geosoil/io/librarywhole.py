"""All spectra of a library on common bands, with what belongs to each; and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.soil import properties

from .librarychecks import Neighbourhood, contradicted, copies, upside_down
from .librarygrid import onto
from .librarytables import LibraryTable

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = [
    "FAULTS",
    "NAMED",
    "Whole",
    "average_repeats",
    "count_values",
    "doubt_values",
    "find_faults",
    "join_tables",
    "tell_faults",
]

#: Reflectance above this is none.
_BRIGHTEST = 1.5
#: A spectrum with a median outside of these is in percent, or was divided by 100 once too often.
_LEVELS = (0.01, 3.0)
#: Spectra that are looked at in one go.
_ROWS = 2048
#: Faults that are named one by one.
NAMED = 10
#: A value is contradicted where it is this many deviations from its spectral neighbours.
_GROSS = 8.0
#: A data set that is by this factor above or below what is like it elsewhere may be in another unit.
_OTHER_UNIT = 6.0
#: Why a spectrum is left out, in the order in which it is asked.
FAULTS = ("missing", "mislabelled", "out_of_range", "saturated", "duplicated")
#: Values are the same within this share.
_SAME_VALUE = 0.01


@dataclass(eq=False)
class Whole:
    """All spectra on common bands, with what belongs to each.

    Attributes
    ----------
    spectra : (n, p) float32
        Reflectance; NaN where a band is missing.
    wavelength_nm : (p,) float64
    labels : dict of str to (n,) array of str
        ``sample``, ``source``, ``instrument`` and ``country``.
    values : DataFrame
        A row a spectrum, a column a property.
    units : dict of str to str
        By property.
    table, row : (n,) int64
        Where each is from: place of its table, and row in it.
    fault : (n,) array of str
        One of `FAULTS`, empty for none.
    original : (n,) int64
        Row of the spectrum that this one is a copy of; -1 for none.
    """

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

    def take(self, rows: Int64) -> Whole:
        """Some of the spectra."""
        return Whole(
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


def join_tables(read: list[LibraryTable], places: tuple[int, ...], wavelength_nm: Float64) -> Whole:
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
    return Whole(
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


def average_repeats(whole: Whole) -> tuple[Whole, int]:
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


def find_faults(whole: Whole, tolerance: float) -> None:
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


def tell_faults(whole: Whole, read: list[LibraryTable], report: dict[str, Any]) -> None:
    """Count the faults in the report, and name the first of each."""
    report["faults"] = []
    for fault in FAULTS:
        rows = np.flatnonzero(whole.fault == fault)
        report[fault] = len(rows)
        report["faults"] += [_where(whole, read, int(row), fault) for row in rows[:NAMED]]


def _where(whole: Whole, read: list[LibraryTable], row: int, fault: str) -> dict[str, Any]:
    file, line = read[whole.table[row]].place(int(whole.row[row]))
    found = {"fault": fault, "file": file, "row": line, "sample": str(whole.labels["sample"][row])}
    original = int(whole.original[row])
    if original >= 0:
        found["copy_of"] = str(whole.labels["sample"][original])
        found["other_values"] = not whole.agree(row, original)
    return found


def doubt_values(whole: Whole, read: list[LibraryTable], report: dict[str, Any], doubtful: str) -> list[str]:
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
        for row in rows[:NAMED]:
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


def count_values(whole: Whole, read: list[LibraryTable]) -> dict[str, dict[str, int]]:
    """How many values of each property are used, and how many were not usable, and why."""
    found = {}
    for code in whole.values.columns:
        counts = {"used": int(whole.values[code].notna().sum())}
        for table in read:
            for why, count in table.properties.counts.get(code, {}).items():
                counts[why] = counts.get(why, 0) + count
        found[str(code)] = counts
    return found
