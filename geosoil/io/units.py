"""Units of the values in a sample table: stated in headers, in a column or by the caller, never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import GeosoilError, InputError, listing
from geosoil.soil import Property, convert_unit, unit_of

from .columns import Header, ValueColumns
from .tables import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float64

__all__ = ["Units", "read_units"]


@dataclass(frozen=True, slots=True)
class Units:
    """Factors to the property's unit.

    Attributes
    ----------
    factor : (rows, columns) float64
        NaN where no unit is stated.
    report : dict
        ``by`` what the unit is stated, the unit ``inside``, and the ``factors`` by stated unit.
    """

    factor: Float64
    report: dict[str, Any]

    @property
    def missing(self) -> Bool:
        """Cells without a unit, (rows, columns)."""
        return np.isnan(self.factor)


def read_units(
    table: Table,
    columns: ValueColumns,
    soil_property: Property,
    *,
    unit: str | None,
    column: Header | None,
    relevant: Bool,
) -> Units:
    """The unit of each cell, and the factor to the property's unit.

    Parameters
    ----------
    table : Table
        The samples.
    columns : ValueColumns
        Where the values are.
    soil_property : Property
        What they are; one without a unit, such as pH, needs no statement.
    unit : str, optional
        Unit that the caller states.
    column : Header, optional
        Column with the unit of each row.
    relevant : (rows, columns) bool
        Cells whose unit matters.

    Raises
    ------
    InputError
        ``GS-UNIT-MISSING``, ``GS-UNIT-UNKNOWN``, ``GS-UNIT-MISMATCH``, ``GS-UNIT-CONTRADICTION``.
    """
    # "" stands for no unit; canonical units are never empty.
    units: NDArray[Any] = np.full(relevant.shape, "", object)
    sources = []
    for source, given in _statements(table, columns, unit, column, relevant):
        given = np.where(relevant, np.broadcast_to(given, relevant.shape), "")
        differ = (units != "") & (given != "") & (units != given)
        if differ.any():
            row, place = (int(one) for one in np.argwhere(differ)[0])
            pair = (units[row, place], given[row, place])
            raise _contradiction(table, columns.headers[place], pair, source, int(differ.sum()))
        if (given != "").any():
            sources.append(source)
        units = np.where(units == "", given, units)
    if soil_property.unit == "1":
        units = np.where(units == "", "1", units)
    stated = [str(one) for one in dict.fromkeys(units[relevant].tolist()) if one]
    if not stated and relevant.any():
        raise InputError(
            f"{table.name} does not say the unit of {listing([h.text for h in columns.headers], 3)}",
            code="GS-UNIT-MISSING",
            hint=f"state it: --unit {soil_property.unit} (or %, g/kg, dg/kg, mg/kg, ppm);\n"
            f'in a study: unit = "{soil_property.unit}" in [properties.{soil_property.code}]',
        )
    factors = {one: _factor(table, one, soil_property) for one in stated}
    factor = np.full(relevant.shape, np.nan)
    for one, times in factors.items():
        factor[units == one] = times
    return Units(factor, {"by": ", ".join(sources) or "property", "inside": soil_property.unit, "factors": factors})


def _statements(
    table: Table, columns: ValueColumns, unit: str | None, column: Header | None, relevant: Bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Who states the unit, and what of each cell; "" for nothing."""
    yield "header", np.array([[h.unit or "" for h in columns.headers]], object)
    if column is not None:
        cells = table.frame[column.text].astype("string").fillna("").str.strip()
        cells = cells.where(np.asarray(relevant.any(axis=1), np.bool_), "")
        where = f"{table.name}, column {column.text!r}"
        known = {text: _known(text, where) if text else "" for text in cells.unique()}
        yield "column", np.array([[known[text]] for text in cells], object).reshape(-1, 1)
    if unit is not None:
        yield "unit", np.array([[_known(unit, "the unit that is given")]], object)
    # Samples that were read before are in the unit inside, and say so.
    before = table.frame.attrs.get("report")
    if isinstance(before, dict) and [h.text for h in columns.headers] == ["value"]:
        yield "earlier reading", np.array([[str(before.get("unit", {}).get("inside", ""))]], object)


def _contradiction(table: Table, header: Header, units: tuple[str, str], source: str, count: int) -> InputError:
    return InputError(
        f"{table.name}: the unit of {header.text!r} is stated in two ways",
        code="GS-UNIT-CONTRADICTION",
        details=[f"{units[0]}, and {units[1]} by the {source}; {count} cells"],
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
            f"{table.name}, {soil_property.code}: {error.message}",
            code=error.code,
            details=error.details,
            hint=error.hint,
        ) from error
