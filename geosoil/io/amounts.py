"""Values of a sample table in the property's unit: stated units, organic matter, cells below detection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.errors import GeosoilError, InputError, listing
from geosoil.soil import Property, convert_unit, unit_of

from .cells import numbers
from .columns import FLAGS, Header, ValueColumns, find_role, names_of, parse_header, twin_of
from .screen import Finding
from .tables import Table

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64, Int64

__all__ = ["Amounts", "BelowDetection", "amounts"]

BelowDetection = Literal["error", "half", "limit", "zero", "drop"]
_SHARE = {"half": 0.5, "limit": 1.0, "zero": 0.0, "drop": 1.0, "error": 1.0}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Values in the property's unit, one an observation: table rows, and in each row the columns in order.

    Attributes
    ----------
    value : (n,) float64
        NaN where there is none.
    below : (n,) bool
        Below detection.
    findings : list of Finding
        Observations without a value, or with one that is not a number.
    columns : dict
        Role to column.
    unit : dict
        What unit was stated, where, and the factors used.
    notes : list of str
        What a user should know.
    """

    value: Float64
    below: Bool
    findings: list[Finding]
    columns: dict[str, str]
    unit: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def amounts(
    table: Table,
    headers: list[Header],
    columns: ValueColumns,
    soil_property: Property,
    *,
    unit: str | None,
    factor: float | None,
    below_detection: BelowDetection,
) -> Amounts:
    """Read the values of a property.

    Parameters
    ----------
    table : Table
        The samples.
    headers : list of Header
        Its columns.
    columns : ValueColumns
        Where the values are.
    soil_property : Property
        What they are.
    unit : str, optional
        Unit that the caller states.
    factor : float, optional
        Organic matter = factor x organic carbon.
    below_detection : str
        What a cell below detection stands for.

    Raises
    ------
    InputError
        ``GS-UNIT-MISSING``, ``GS-UNIT-UNKNOWN``, ``GS-UNIT-MISMATCH``, ``GS-UNIT-CONTRADICTION``, ``GS-SOM-FACTOR``.
    """
    cells = [numbers(table.frame[h.text]) for h in columns.headers]
    value, below, bad, missing = (
        np.stack([getattr(cell, name) for cell in cells], axis=1).ravel()
        for name in ("value", "below", "bad", "missing")
    )
    flagged = _flagged(table, headers, columns).ravel()
    below = below | (flagged & ~missing)
    found = {"value": ", ".join(h.text for h in columns.headers)}
    findings: list[Finding] = []
    code = columns.code
    if columns.listed:
        other, code = _other_properties(table, headers, soil_property, found)
        findings.append(Finding(other, "another property"))
    notes = [f"{table.name}: column {found['value']!r} is taken for {soil_property.code}"]
    value = np.where(below & np.isnan(value), _limits(table, headers, len(columns.headers), found), value)
    findings += [
        Finding(missing, "no value"),
        Finding(bad, "a value that is not a number", "GS-SAMPLES-TEXT"),
    ]
    if below_detection == "drop":
        findings.append(Finding(below, "a value below detection"))
    elif below_detection in ("half", "limit"):
        unknown = below & np.isnan(value)
        findings.append(Finding(unknown, "a value below detection whose limit is not told", "GS-BELOW-DETECTION"))
    value = np.where(below, 0.0 if below_detection == "zero" else value * _SHARE[below_detection], value)
    scale, without, report = _scale(table, headers, columns, soil_property, unit, found)
    findings.append(Finding(without & ~missing, "no unit", "GS-UNIT-MISSING"))
    value = value * scale
    if code != soil_property.code:
        value = value * _organic(table, soil_property, factor)
        notes.append(f"organic matter = {factor:g} x organic carbon, as stated")
    return Amounts(value, below, findings, found, report, notes)


def _organic(table: Table, soil_property: Property, factor: float | None) -> float:
    """Factor from organic matter to carbon, or back."""
    if factor is not None and factor > 0:
        return 1.0 / factor if soil_property.code == "soc" else factor
    twin = twin_of(soil_property)
    held = twin.name.lower() if twin else "its twin"
    raise InputError(
        f"{table.name} holds {held}, not {soil_property.name.lower()}",
        code="GS-SOM-FACTOR",
        hint="state the factor between them: organic_matter_factor = 1.724 is the usual one",
    )


def _flagged(table: Table, headers: list[Header], columns: ValueColumns) -> Bool:
    """Cells that a column such as ``pb_below_dl`` flags as below detection, (rows, columns)."""
    flags = np.zeros((len(table.frame), len(columns.headers)), bool)
    for place, header in enumerate(columns.headers):
        plain = re.sub(r"[^0-9a-z]+", "", header.text.lower())
        names = {start + end for start in (plain, header.stem) for end in FLAGS}
        for flag in (h for h in headers if re.sub(r"[^0-9a-z]+", "", h.text.lower()) in names):
            text = table.frame[flag.text].astype("string").str.strip().str.lower()
            flags[:, place] |= text.isin(["true", "1", "1.0", "yes", "y", "<"]).to_numpy(bool)
    return flags


def _limits(table: Table, headers: list[Header], repeat: int, found: dict[str, str]) -> Float64:
    """Detection limits from a column of their own; NaN without one."""
    header = find_role(headers, "limit", None, table.name)
    if header is None:
        return np.full(len(table.frame) * repeat, np.nan)
    found["limit"] = header.text
    return np.repeat(numbers(table.frame[header.text]).value, repeat)


def _other_properties(
    table: Table, headers: list[Header], soil_property: Property, found: dict[str, str]
) -> tuple[Bool, str]:
    """Rows that hold another property; and which one is read: the one asked for, else its twin."""
    header = find_role(headers, "property", None, table.name)
    if header is None:
        return np.zeros(len(table.frame), bool), soil_property.code
    found["property"] = header.text
    cells = table.frame[header.text].astype("string").fillna("")
    stems = cells.map({text: parse_header(text).stem for text in cells.unique()})
    for known in (soil_property, twin_of(soil_property)):
        rows = stems.isin(names_of(known)).to_numpy(bool) if known else np.zeros(len(stems), bool)
        if known and rows.any():
            return ~rows, known.code
    raise InputError(
        f"{table.name} has no rows for {soil_property.name.lower()} ({soil_property.code})",
        code="GS-PROPERTY-ABSENT",
        details=[f"column {header.text!r} holds: {listing(sorted(cells.unique()))}"],
        hint="ask for one of these, or name the column with the values",
    )


def _scale(
    table: Table,
    headers: list[Header],
    columns: ValueColumns,
    soil_property: Property,
    unit: str | None,
    found: dict[str, str],
) -> tuple[Float64, Bool, dict[str, Any]]:
    """Factor to the property's unit for each observation, where none is stated, and what was stated where."""
    rows, width = len(table.frame), len(columns.headers)
    stated = np.full((rows, width), None, object)
    by = []
    for source, units in (
        ("header", [h.unit for h in columns.headers]),
        ("column", _unit_cells(table, headers, found)),
        ("unit", None if unit is None else _known(unit, "the unit that is stated")),
        ("earlier reading", _remembered(table, columns)),
    ):
        given = np.full((rows, width), None, object)
        given[:] = units if not isinstance(units, np.ndarray) else units[:, None]
        _agree(table, columns, stated, given, source)
        if np.not_equal(given, None).any():
            by.append(source)
        stated = np.where(np.equal(stated, None), given, stated)
    if soil_property.unit == "1":
        stated[np.equal(stated, None)] = "1"
    without = np.equal(stated, None)
    if without.all() and rows:
        raise InputError(
            f"{table.name} does not say the unit of {listing([h.text for h in columns.headers], 3)}",
            code="GS-UNIT-MISSING",
            hint=f"state it: --unit {soil_property.unit} (or %, g/kg, dg/kg, mg/kg, ppm)",
        )
    factors = {one: _factor(table, one, soil_property) for one in dict.fromkeys(stated[~without].tolist())}
    scale = np.array([factors.get(one, np.nan) for one in stated.ravel().tolist()], np.float64)
    report = {"by": ", ".join(by) or "property", "inside": soil_property.unit, "factors": factors}
    return scale, without.ravel(), report


def _unit_cells(table: Table, headers: list[Header], found: dict[str, str]) -> Any:
    """Canonical unit of each row from the column ``unit``, None where empty."""
    header = find_role(headers, "unit", None, table.name)
    if header is None:
        return None
    found["unit"] = header.text
    cells = table.frame[header.text].astype("string").fillna("").str.strip()
    where = f"{table.name}, column {header.text!r}"
    units = {text: _known(text, where) if text else None for text in cells.unique()}
    return np.array([units[text] for text in cells], object)


def _remembered(table: Table, columns: ValueColumns) -> str | None:
    """Unit of samples that were read before: their column ``value`` is in the unit inside."""
    report = table.frame.attrs.get("report")
    if not isinstance(report, dict) or [h.text for h in columns.headers] != ["value"]:
        return None
    inside = report.get("unit", {}).get("inside")
    return inside if isinstance(inside, str) else None


def _agree(table: Table, columns: ValueColumns, stated: Any, given: Any, source: str) -> None:
    """Raise where a second statement of the unit differs from an earlier one."""
    differ = np.not_equal(stated, None) & np.not_equal(given, None) & np.not_equal(stated, given)
    if not differ.any():
        return
    row, place = np.argwhere(differ)[0]
    raise InputError(
        f"{table.name}: the unit of {columns.headers[place].text!r} is stated in two ways",
        code="GS-UNIT-CONTRADICTION",
        details=[
            f"{stated[row, place]} and, by {source}, {given[row, place]}",
            f"rows: {differ.any(axis=1).sum()}",
        ],
        hint="state it once, or correct the table",
    )


def _known(text: str, where: str) -> str:
    try:
        return unit_of(text)
    except GeosoilError as error:
        raise InputError(
            f"{where}: {error.message}", code=error.code, details=error.details, hint=error.hint
        ) from error


def _factor(table: Table, unit: str, soil_property: Property) -> float:
    try:
        return convert_unit(unit, soil_property.unit)
    except GeosoilError as error:
        raise InputError(
            f"{table.name}: {error.message} of {soil_property.code}",
            code=error.code,
            details=error.details,
            hint=error.hint,
        ) from error


def refuse_below(table: Table, rows: Int64) -> None:
    """Raise for values below detection that the caller has not said how to handle."""
    if len(rows):
        raise InputError(
            f"{table.name}: {len(rows)} values are below detection",
            code="GS-BELOW-DETECTION",
            details=[f"rows, counted from 1 below the header: {listing(rows.tolist())}"],
            hint="say what they stand for: below_detection = half, limit, zero or drop",
        )
