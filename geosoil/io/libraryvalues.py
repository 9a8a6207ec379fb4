"""Values of the samples of a library, from whatever columns, in the units of geosoil's properties."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geosoil.errors import InputError
from geosoil.soil import Property, convert_unit, properties, unit_of

from .cells import ids as id_texts
from .cells import numbers
from .columns import Header, named, names_of, parse_header
from .librarylayouts import Layout, first_of, plain
from .librarytold import Column, Told

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["NOT_TAKEN", "Values", "join_values", "take_values"]

#: How notes of columns end that could hold a property and do not tell enough.
NOT_TAKEN = ": not taken"

#: Names of columns with ids.
_USUAL = ("id", "sample_id", "sample", "sample_name", "spectrum", "spectrum_id", "name", "lab_id", "file")
#: Least share of the spectra that a table found beside them has to have values for.
_MATCH = 0.5


@dataclass(eq=False)
class Values:
    """Values of n samples.

    Attributes
    ----------
    columns : dict of str to (n,) float64
        By code; NaN where there is none.
    units : dict of str to str
        By code.
    notes : list of str
        Where they are from.
    counts : dict of str to dict of str to int
        By code: cells that are ``out_of_range``, ``below_detection`` or ``unreadable``; all of them become NaN.
    """

    columns: dict[str, Float64] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


def take_values(table: pd.DataFrame, told: Told, layout: Layout | None, where: str) -> Values:
    """Find the columns with values, and bring them to the properties' units.

    What is told comes first, then what a layout says, then columns that are called like a property and say their unit.
    A column without a unit is not taken but noted: nothing is guessed.

    Raises
    ------
    InputError
        ``GS-COLUMN-MISSING``, ``GS-UNIT-MISSING``, ``GS-UNIT-UNKNOWN``, ``GS-UNIT-MISMATCH`` for columns that are told.
    """
    found = Values()
    headers = [parse_header(str(name)) for name in table.columns]
    for column in told.properties:
        _take_told(found, table, headers, column, where)
    for code, columns in (layout.values([str(name) for name in table.columns]) if layout else {}).items():
        if code not in found.columns:
            for name, unit in columns:
                _add(found, code, table[name], unit, name, where, properties()[code])
    for known in properties().values():
        if known.code not in found.columns:
            _recognise(found, table, headers, known, where)
    _carbon_of_matter(found, told.organic_matter_factor, where)
    return found


def _take_told(found: Values, table: pd.DataFrame, headers: Sequence[Header], column: Column, where: str) -> None:
    header = named(headers, column.column, where)
    known = properties().get(column.code)
    unit = column.unit or header.unit
    if unit is None and known is not None and known.unit != "1":
        raise InputError(
            f"{where}: column {header.text[:30]!r} has no unit",
            code="GS-UNIT-MISSING",
            details=[f"property: {column.code} [{known.unit}]"],
            hint=f'say it: {column.code} = {{ column = "{header.text}", unit = "..." }}',
        )
    try:
        _add(found, column.code, table[header.text], unit or "1", header.text, where, known)
    except InputError as error:
        if error.code not in ("GS-UNIT-UNKNOWN", "GS-UNIT-MISMATCH"):
            raise
        details = [f"column: {header.text}", *error.details]
        hint = "per mass is needed; what is given per volume becomes it by the density, which only you know"
        raise InputError(f"{where}: {error.message}"[:99], code=error.code, details=details, hint=hint) from error


def _add(found: Values, code: str, column: pd.Series, unit: str, name: str, where: str, known: Property | None) -> None:
    """Put a column beside the others; cells that are there already stay."""
    factor = convert_unit(unit, known.unit) if known is not None else 1.0
    cells = numbers(column)
    value = np.where(cells.below | cells.bad, np.nan, cells.value * factor)
    low, high = (known.lowest, known.highest) if known is not None else (-np.inf, np.inf)
    outside = np.isfinite(value) & ((value < low) | (value > high))
    value[outside | ~np.isfinite(value)] = np.nan
    if not np.isfinite(value).any():
        return
    counts = found.counts.setdefault(code, {"out_of_range": 0, "below_detection": 0, "unreadable": 0})
    counts["out_of_range"] += int(outside.sum())
    counts["below_detection"] += int(cells.below.sum())
    counts["unreadable"] += int(cells.bad.sum())
    before = found.columns.get(code)
    found.columns[code] = value if before is None else np.where(np.isfinite(before), before, value)
    found.units[code] = known.unit if known is not None else _spelled(unit)
    shown = "" if unit == "1" else f" [{unit}]"
    found.notes.append(f"{where}: {code} from {name}{shown}{f' x {factor:g}' if factor != 1 else ''}")


def _spelled(unit: str) -> str:
    try:
        return unit_of(unit)
    except InputError:
        return unit


def _recognise(found: Values, table: pd.DataFrame, headers: Sequence[Header], known: Property, where: str) -> None:
    names = names_of(known)
    fits = [header for header in headers if header.stem in names and header.interval is None]
    # In the order in which the property lists its names.
    order = [re.sub(r"[^0-9a-z]+", "", text.lower()) for text in (known.code, known.name, *known.synonyms)]
    for header in sorted(fits, key=lambda one: order.index(one.stem)):
        unit = header.unit or ("1" if known.unit == "1" else None)
        if unit is None:
            found.notes.append(f"{where}: column {header.text!r} looks like {known.code}, but has no unit{NOT_TAKEN}")
            continue
        try:
            _add(found, known.code, table[header.text], unit, header.text, where, known)
        except InputError:
            found.notes.append(f"{where}: column {header.text!r} is not in a unit of {known.code}{NOT_TAKEN}")
        if known.code in found.columns:
            return


def _carbon_of_matter(found: Values, factor: float | None, where: str) -> None:
    """Organic carbon from organic matter, where a factor is stated and carbon itself is missing."""
    if factor is None or "som" not in found.columns:
        return
    carbon = found.columns.get("soc", np.full(len(found.columns["som"]), np.nan))
    fill = ~np.isfinite(carbon) & np.isfinite(found.columns["som"])
    if fill.any():
        found.columns["soc"] = np.where(fill, found.columns["som"] / factor, carbon)
        found.units["soc"] = properties()["soc"].unit
        found.notes.append(f"{where}: soc of {int(fill.sum())} samples is organic matter divided by {factor:g}")


def join_values(
    table: pd.DataFrame, ids: Sequence[str], beside: pd.DataFrame, told: Told, layout: Layout | None, *, needed: bool
) -> tuple[pd.DataFrame, int]:
    """Put the columns of a table of values beside those of the spectra, by the samples' ids.

    Parameters
    ----------
    table : DataFrame
        Columns that stand beside the spectra.
    ids : sequence of str
        Of the spectra.
    beside : DataFrame
        The values.
    needed : bool
        Whether a table that does not fit is an error; else it is left aside.

    Returns
    -------
    table : DataFrame
    matched : int
        Number of spectra with a row of values; 0 where the table was left aside.

    Raises
    ------
    InputError
        ``GS-COLUMN-MISSING``, ``GS-SPECTRA-NAMES``: no ids, or none that meet.
    """
    columns = [str(name) for name in beside.columns]
    own = [told.id] if told.id else []
    usual = [*own, *(layout.ids if layout else ()), *_USUAL]
    candidates = [name for name in dict.fromkeys(first_of(columns, [one]) for one in usual) if name]
    best, matched = "", 0
    for name in candidates:
        known = {_stem(one) for one in id_texts(beside[name]) if one}
        count = sum(_stem(one) in known for one in ids)
        best, matched = (name, count) if count > matched else (best, matched)
    if not matched or (not needed and matched < _MATCH * len(ids)):
        if not needed:
            return table, 0
        raise InputError(
            f"no spectrum of {told.path[:40]} has a row in {told.values[:40]}",
            code="GS-SPECTRA-NAMES",
            details=[f"columns of ids: {candidates}", f"spectra: {list(ids)[:5]}"],
            hint='both tables need a column with the samples\' ids; name it: id = "..."',
        )
    rows: dict[str, int] = {}
    for place, one in enumerate(id_texts(beside[best])):
        rows.setdefault(_stem(one), place)
    where = np.array([rows.get(_stem(one), -1) for one in ids])
    taken = {plain(str(name)) for name in table.columns}
    more = beside[[name for name in beside.columns if plain(str(name)) not in taken]]
    joined = more.take(np.maximum(where, 0)).reset_index(drop=True)
    joined = joined.mask(pd.Series(where < 0))
    return pd.concat([table.reset_index(drop=True), joined], axis=1), matched


def _stem(one: str) -> str:
    """An id without the suffix of a spectrometer's file."""
    return re.sub(r"\.(asd|sed)$", "", one.strip().lower())
