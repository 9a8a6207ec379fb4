"""Depths of the rows of a sample table: two columns, one column of intervals, headers, or one interval for all."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.soil import parse_depths

from .cells import numbers
from .columns import LENGTHS, Header, ValueColumns, find_role
from .screen import Finding
from .tables import Table

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["DepthColumns", "Intervals", "find_depths", "intervals"]

#: Depths are kept to this many decimals of a cm: float32 leaves noise such as 10.0000001490116.
_DECIMALS = 3
_INTERVAL = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:[-–—_]|to)\s*(\d+(?:\.\d+)?)\s*(cm|mm|m)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DepthColumns:
    """The columns that hold depths: top and bottom, or intervals as text, or none."""

    top: Header | None = None
    bottom: Header | None = None
    text: Header | None = None

    @property
    def layered(self) -> bool:
        """Whether there are any."""
        return self.top is not None or self.text is not None

    @property
    def columns(self) -> dict[str, str]:
        """Role to column."""
        pairs = (("top", self.top), ("bottom", self.bottom), ("interval", self.text))
        return {role: header.text for role, header in pairs if header is not None}


@dataclass(frozen=True, slots=True)
class Intervals:
    """Depths, one an observation.

    Attributes
    ----------
    top_cm, bottom_cm : (n,) float64
        NaN where there is none.
    columns : dict
        Role to column.
    findings : list of Finding
        Observations without a depth, or with one that cannot be right.
    notes : list of str
        What a user should know.
    """

    top_cm: Float64
    bottom_cm: Float64
    columns: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_depths(table: Table, headers: list[Header], *, top: str | None, bottom: str | None) -> DepthColumns:
    """The depth columns of a table.

    Raises
    ------
    InputError
        ``GS-SAMPLES-DEPTHS`` where one of the two is lacking, ``GS-COLUMN-AMBIGUOUS``, ``GS-COLUMN-MISSING``.
    """
    upper = find_role(headers, "top", top, table.name)
    lower = find_role(headers, "bottom", bottom, table.name)
    if (upper is None) != (lower is None):
        present, lacking = ("top", "bottom") if lower is None else ("bottom", "top")
        held = upper or lower
        raise InputError(
            f"{table.name} has a column for the {present} of layers, but none for the {lacking}",
            code="GS-SAMPLES-DEPTHS",
            details=[f"{present}: {held.text!r}" if held else ""],
            hint=f"name the other column: {lacking}",
        )
    if upper is not None:
        return DepthColumns(upper, lower)
    text = find_role(headers, "interval", None, table.name)
    # A column "depth" may as well hold the depth to rock: only intervals count.
    if text is not None and table.frame[text.text].astype("string").str.fullmatch(_INTERVAL.pattern, case=False).any():
        return DepthColumns(text=text)
    return DepthColumns()


def intervals(
    table: Table, found: DepthColumns, values: ValueColumns, *, depth: str | None, depth_unit: str
) -> Intervals:
    """Depths in cm of each observation: table rows, and in each row the value columns in order.

    Raises
    ------
    InputError
        ``GS-DEPTH-MISSING`` where nothing tells the depths, ``GS-DEPTH-UNIT`` where units contradict.
    UsageError
        ``GS-DEPTH-TWICE`` where `depth` is given and the table has depths.
    """
    rows = len(table.frame)
    stated = found.columns or ({"interval": "headers"} if values.wide else {})
    if depth is not None and stated:
        raise UsageError(
            f"depth {depth} is given, and {table.name} has depths of its own",
            code="GS-DEPTH-TWICE",
            details=[f"{role}: {name}" for role, name in stated.items()],
            hint="leave depth out",
        )
    if values.wide:
        edges = np.array([h.interval for h in values.headers], np.float64)
        notes = [f"{table.name}: depths from the headers, not from {name!r}" for name in found.columns.values()]
        return Intervals(np.tile(edges[:, 0], rows), np.tile(edges[:, 1], rows), notes=notes)
    if found.text is not None:
        return _from_text(table, found.text, depth_unit)
    if found.top is not None and found.bottom is not None:
        return _from_columns(table, found.top, found.bottom, depth_unit)
    if depth is None:
        raise InputError(
            f"{table.name} does not say the depths of its samples",
            code="GS-DEPTH-MISSING",
            details=[f"columns: {', '.join(str(name) for name in list(table.frame.columns)[:20])}"],
            hint='name the columns (top, bottom), or give one interval for all rows: depth = "0-20"',
        )
    one = parse_depths([depth])[0]
    note = f"{table.name}: all rows are taken to be from {one}, as stated"
    return Intervals(np.full(rows, float(one.top_cm)), np.full(rows, float(one.bottom_cm)), notes=[note])


def _from_columns(table: Table, top: Header, bottom: Header, depth_unit: str) -> Intervals:
    unit = _length_unit(table, (top, bottom), depth_unit)
    upper, lower = numbers(table.frame[top.text]), numbers(table.frame[bottom.text])
    bad = upper.bad | lower.bad | upper.below | lower.below
    findings = [
        Finding(~bad & (upper.missing | lower.missing), "no depth"),
        Finding(bad, "a depth that is not a number", "GS-SAMPLES-TEXT"),
    ]
    notes = [] if unit == "cm" else [f"{table.name}: depths are in {unit}"]
    return Intervals(
        _to_cm(upper.value, unit),
        _to_cm(lower.value, unit),
        {"top": top.text, "bottom": bottom.text},
        findings,
        notes,
    )


def _to_cm(depth: Float64, unit: str) -> Float64:
    return np.round(depth * LENGTHS[unit], _DECIMALS)


def _length_unit(table: Table, headers: tuple[Header, ...], depth_unit: str) -> str:
    """The unit of the depths: from the headers, else as stated (cm is the default, and gives way to a header)."""
    said = {h.unit for h in headers if h.unit in LENGTHS} | ({depth_unit} if depth_unit != "cm" else set())
    if len(said) > 1:
        raise InputError(
            f"{table.name}: the unit of the depths is stated in {len(said)} ways",
            code="GS-DEPTH-UNIT",
            details=[f"columns: {', '.join(h.text for h in headers)}; depth_unit: {depth_unit}"],
            hint="state it once, or correct the headers",
        )
    return str(said.pop()) if said else depth_unit


def _from_text(table: Table, header: Header, depth_unit: str) -> Intervals:
    """Intervals such as ``0-20 cm``."""
    default = _length_unit(table, (header,), depth_unit)
    cells = table.frame[header.text].astype("string").fillna("").str.strip()
    matches = [_INTERVAL.fullmatch(cell) for cell in cells]
    scale = [LENGTHS[(m[3] or default).lower()] if m else np.nan for m in matches]
    edges = np.array([(float(m[1]), float(m[2])) if m else (np.nan, np.nan) for m in matches]).reshape(-1, 2)
    edges = np.round(edges * np.array(scale)[:, None], _DECIMALS)
    empty = (cells == "").to_numpy(bool)
    findings = [
        Finding(empty, "no depth"),
        Finding(np.isnan(edges[:, 0]) & ~empty, "a depth that is not an interval such as 0-20", "GS-SAMPLES-TEXT"),
    ]
    return Intervals(edges[:, 0], edges[:, 1], {"interval": header.text}, findings)
