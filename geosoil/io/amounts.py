"""Values of a sample table in the property's unit: cells below detection, organic matter, long lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from geosoil.errors import InputError, listing
from geosoil.soil import Property

from .cells import Cells, numbers
from .columns import FLAGS, Header, ValueColumns, find_role, names_of, parse_header, twin_of
from .screen import Finding
from .tables import Table
from .units import read_units

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64, Int64

__all__ = ["Amounts", "BelowDetection", "amounts", "refuse_below"]

BelowDetection: TypeAlias = Literal["error", "half", "limit", "zero", "drop"]
#: Share of the limit that a cell below detection stands for.
_SHARE = {"half": 0.5, "limit": 1.0}


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
        Observations without a value, or with one that cannot be used.
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
    notes: list[str]


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
        Its columns that have no other role.
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
        ``GS-UNIT-...`` of `read_units`, ``GS-SOM-FACTOR``, ``GS-PROPERTY-ABSENT``, ``GS-COLUMN-AMBIGUOUS``.
    """
    roles = {role: find_role(headers, role, None, table.name) for role in ("unit", "limit")}
    roles["property"] = find_role(headers, "property", None, table.name) if columns.listed else None
    cells = _stack(table, columns)
    other, code = _other(table, roles["property"], columns, soil_property)
    below = cells.below | (_flagged(table, headers, columns) & ~cells.missing)
    value = _below_as(cells.value, below, _limits(table, roles["limit"], cells.value), below_detection)
    units = read_units(
        table,
        columns,
        soil_property,
        unit=unit,
        column=roles["unit"],
        relevant=~(cells.missing | cells.bad | other),
    )
    value = value * units.factor
    text = ", ".join(h.text for h in columns.headers)
    notes = [f"{table.name}: {text} taken for {soil_property.code}"]
    if code != soil_property.code:
        value = value * _organic(table, soil_property, factor)
        notes.append(f"organic matter = {factor:g} x organic carbon, as stated")
    unknown = below & np.isnan(value) & ~units.missing
    findings = [
        Finding(np.broadcast_to(other, value.shape), "another property"),
        Finding(cells.missing, "no value"),
        Finding(below & (below_detection == "drop"), "a value below detection"),
        Finding(cells.bad, "a value that is not a number", "GS-SAMPLES-TEXT"),
        Finding(units.missing, "no unit", "GS-UNIT-MISSING"),
        Finding(
            unknown & (below_detection != "error"),
            "a value below detection without its limit",
            "GS-BELOW-DETECTION",
        ),
    ]
    return Amounts(
        value=value.ravel(),
        below=below.ravel(),
        findings=[Finding(one.rows.ravel(), one.reason, one.code) for one in findings],
        columns={"value": text, **{role: header.text for role, header in roles.items() if header}},
        unit=units.report,
        notes=notes,
    )


def refuse_below(table: Table, rows: Int64) -> None:
    """Raise for values below detection, where the caller has not said what they stand for."""
    if len(rows):
        raise InputError(
            f"{table.name}: {len(rows)} values are below detection",
            code="GS-BELOW-DETECTION",
            details=[f"row {listing(np.unique(rows).tolist())}", "rows are counted from 1, below the header"],
            hint="say what they stand for: below_detection = half, limit, zero or drop",
        )


def _stack(table: Table, columns: ValueColumns) -> Cells:
    """The cells of all value columns, (rows, columns)."""
    read = [numbers(table.frame[h.text]) for h in columns.headers]
    return Cells(
        np.stack([one.value for one in read], axis=1),
        np.stack([one.missing for one in read], axis=1),
        np.stack([one.bad for one in read], axis=1),
        np.stack([one.below for one in read], axis=1),
    )


def _other(table: Table, names: Header | None, columns: ValueColumns, soil_property: Property) -> tuple[Bool, str]:
    """Cells that hold another property, (rows, 1); and which one the rest holds: the one asked for, or its twin."""
    if names is None:
        return np.zeros((len(table.frame), 1), bool), columns.code
    cells = table.frame[names.text].astype("string").fillna("")
    stems = cells.map({text: parse_header(text).stem for text in cells.unique()})
    for known in (soil_property, twin_of(soil_property)):
        rows = stems.isin(names_of(known) if known else []).to_numpy(bool)
        if known and rows.any():
            return ~rows[:, None], known.code
    raise InputError(
        f"{table.name} has no rows for {soil_property.name.lower()} ({soil_property.code})",
        code="GS-PROPERTY-ABSENT",
        details=[f"column {names.text!r} holds: {listing(sorted(cells.unique()))}"],
        hint="ask for one of these, or name the column with the values",
    )


def _flagged(table: Table, headers: list[Header], columns: ValueColumns) -> Bool:
    """Cells that a column such as ``pb_below_dl`` flags as below detection, (rows, columns)."""
    flags = np.zeros((len(table.frame), len(columns.headers)), bool)
    for place, header in enumerate(columns.headers):
        names = {start + end for start in (_plain(header.text), header.stem) for end in FLAGS}
        for flag in (h for h in headers if _plain(h.text) in names):
            text = table.frame[flag.text].astype("string").str.strip().str.lower()
            flags[:, place] |= text.isin(["true", "1", "1.0", "yes", "y", "<"]).to_numpy(bool)
    return flags


def _plain(text: str) -> str:
    return re.sub(r"[^0-9a-z]+", "", text.lower())


def _limits(table: Table, column: Header | None, like: Float64) -> Float64:
    """Detection limits from a column of their own; NaN without one."""
    if column is None:
        return np.full_like(like, np.nan)
    return np.broadcast_to(numbers(table.frame[column.text]).value[:, None], like.shape)


def _below_as(value: Float64, below: Bool, limit: Float64, below_detection: BelowDetection) -> Float64:
    """Values, those below detection as the caller wants them: a share of the limit, or zero."""
    limit = np.where(np.isnan(value), limit, value)
    stand_in = np.zeros_like(value) if below_detection == "zero" else limit * _SHARE.get(below_detection, 1.0)
    return np.where(below, stand_in, value)


def _organic(table: Table, soil_property: Property, factor: float | None) -> float:
    """Factor from organic matter to organic carbon, or back."""
    if factor is not None and factor > 0:
        return 1.0 / factor if soil_property.code == "soc" else factor
    twin = twin_of(soil_property)
    raise InputError(
        f"{table.name} holds {twin.name.lower() if twin else '?'}, not {soil_property.name.lower()}",
        code="GS-SOM-FACTOR",
        hint="state the factor between them: organic_matter_factor = 1.724 is the usual one",
    )
