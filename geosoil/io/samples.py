"""Points, profiles and horizons to samples: one row a layer, in the property's unit, every other row counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd

from geosoil.errors import InputError, listing
from geosoil.soil import Property, property_of
from geosoil.types import PathLike

from .amounts import Amounts, BelowDetection, amounts, refuse_below
from .columns import find_values
from .intervals import Intervals, find_depths, intervals
from .positions import Positions, from_sites, headers_of, locate
from .screen import Finding, Screen, overlapping, twice
from .tables import Table, read_table, typed

if TYPE_CHECKING:
    from geosoil.types import Bool, Int64

__all__ = ["open_samples"]

log = logging.getLogger(__name__)

_RESULT = ("profile", "property", "top_cm", "bottom_cm", "value", "geometry")


def open_samples(
    source: PathLike | pd.DataFrame,
    *,
    property: Property | str = "soc",
    column: str | None = None,
    unit: str | None = None,
    sites: PathLike | pd.DataFrame | None = None,
    layer: str | None = None,
    crs: str | None = None,
    id: str | None = None,
    x: str | None = None,
    y: str | None = None,
    top: str | None = None,
    bottom: str | None = None,
    depth_unit: Literal["cm", "m", "mm"] = "cm",
    depth: str | None = None,
    organic_matter_factor: float | None = None,
    below_detection: BelowDetection = "error",
    invalid: Literal["error", "drop"] = "error",
) -> gpd.GeoDataFrame:
    """Read soil samples: one row a layer.

    Parameters
    ----------
    source : path or (Geo)DataFrame
        CSV and other text, Excel, Parquet, GeoPackage and whatever geopandas reads. Long (one row a layer), long
        with columns ``property``, ``value``, ``unit``, or wide (one row a profile, columns such as ``soc_0-5cm``).
    property : Property or str
        What to read.
    column : str, optional
        Column with the values, or a template such as ``"c_{top}_{bottom}"``; recognised by name by default.
    unit : str, optional
        Unit of the values, where neither the header (``soc [g/kg]``, ``soc_pct``) nor a column ``unit`` states it.
    sites : path or DataFrame, optional
        Table with one row a profile: id, coordinates, further columns.
    layer : str, optional
        Layer of a vector file, or sheet of a workbook.
    crs : str, optional
        CRS of the coordinate columns; a file that has its own needs none.
    id, x, y, top, bottom : str, optional
        Names of columns; recognised by default.
    depth_unit : {"cm", "m", "mm"}
        Unit of the depths, where the header does not state it.
    depth : str, optional
        Interval of all rows, such as ``"0-20"``, for a table without depths.
    organic_matter_factor : float, optional
        Organic matter = factor x organic carbon; without it the one is never taken for the other.
    below_detection : {"error", "half", "limit", "zero", "drop"}
        What a cell such as ``<0.5`` stands for.
    invalid : {"error", "drop"}
        Rows that contradict themselves: refuse the table, or leave them out and count them.

    Returns
    -------
    GeoDataFrame
        ``profile``, ``property``, ``top_cm``, ``bottom_cm``, ``value`` (in ``property.unit``), ``geometry`` (points
        in the table's CRS) and all other columns as they came. ``attrs["report"]`` says what was found, converted
        and left out, with reasons; ``rows`` = ``used`` + the sum of ``dropped``.

    Raises
    ------
    InputError
        What was expected and what was found, with the rows, and what to do.

    >>> table = pd.DataFrame({"id": ["A", "A"], "lon": 21.5, "lat": 41.5, "top": [0, 20], "bottom": [20, 40],
    ...                       "soc_pct": [2.0, 0.5]})
    >>> samples = open_samples(table, crs="EPSG:4326")
    >>> samples[["profile", "top_cm", "bottom_cm", "value"]].values.tolist()
    [['A', 0.0, 20.0, 20.0], ['A', 20.0, 40.0, 5.0]]
    >>> samples.attrs["report"]["unit"]
    {'by': 'header', 'inside': 'g/kg', 'factors': {'%': 10.0}}
    """
    soil_property = property if isinstance(property, Property) else property_of(property)
    table = read_table(source, layer=layer)
    if sites is None:
        place = locate(table, crs=crs, id=id, x=x, y=y)
    else:
        site_table = read_table(sites)
        place = from_sites(table, site_table, crs=crs, id=id, x=x, y=y, invalid=invalid)
        place.notes.extend(site_table.notes)
    free = [h for h in headers_of(table) if h.text not in place.columns.values()]
    depths = find_depths(table, free, top=top, bottom=bottom)
    free = [h for h in free if h.text not in depths.columns.values()]
    values = find_values(free, soil_property, column, layered=depths.layered, where=table.name)
    layers = intervals(table, depths, values, depth=depth, depth_unit=depth_unit)
    measured = amounts(
        table,
        free,
        values,
        soil_property,
        unit=unit,
        factor=organic_matter_factor,
        below_detection=below_detection,
    )
    row = np.repeat(np.arange(len(table.frame)), len(values.headers))
    screen = Screen(row + 1, table.name, invalid)
    _screen(screen, row, place, layers, measured, soil_property)
    if below_detection == "error":
        refuse_below(table, screen.row[screen.used & measured.below])
    screen.settle()
    report = {
        "source": table.name,
        "rows": len(row),
        "used": int(screen.used.sum()),
        "profiles": int(place.profile.iloc[row[screen.used]].nunique()),
        "columns": {**place.columns, **layers.columns, **measured.columns},
        "unit": measured.unit,
        "below_detection": {"count": int((screen.used & measured.below).sum()), "as": below_detection},
        "dropped": screen.counts(),
        "examples": screen.examples(),
        "sites": place.sites,
        "notes": [*table.notes, *place.notes, *layers.notes, *measured.notes],
    }
    return _result(table, row, place, layers, measured, soil_property, screen.used, report)


def _screen(
    screen: Screen, row: Int64, place: Positions, layers: Intervals, measured: Amounts, soil_property: Property
) -> None:
    """Take out what holds nothing, then what cannot be right, then what contradicts other rows."""
    placed = [Finding(one.rows[row], one.reason, one.code) for one in place.findings]
    findings = [*measured.findings, *placed, *layers.findings]
    for one in sorted(findings, key=lambda one: bool(one.code)):
        screen.take(one)
    value, top, bottom = measured.value, layers.top_cm, layers.bottom_cm
    unit = "" if soil_property.unit == "1" else f" {soil_property.unit}"
    low = "a negative value" if soil_property.lowest == 0 else f"a value below {soil_property.lowest:g}{unit}"
    for one in (
        Finding(np.isinf(value), "an infinite value", "GS-SAMPLES-INFINITE"),
        Finding(value < soil_property.lowest, low, "GS-SAMPLES-RANGE"),
        Finding(
            value > soil_property.highest, f"a value above {soil_property.highest:g}{unit}", "GS-SAMPLES-RANGE"
        ),
        Finding(np.isinf(top) | np.isinf(bottom), "an infinite depth", "GS-SAMPLES-DEPTH"),
        Finding((top < 0) | (bottom < 0), "a negative depth (litter?)", "GS-SAMPLES-DEPTH"),
        Finding(bottom < top, "a bottom above its top", "GS-SAMPLES-INVERTED"),
        Finding(bottom == top, "a layer without thickness", "GS-SAMPLES-INVERTED"),
    ):
        screen.take(one)
    profile = pd.factorize(place.profile)[0].astype(np.int64)[row]
    for find, reason, code in (
        (lambda at: place.far_apart(row[at]), "a profile at several places", "GS-SAMPLES-POSITION"),
        (
            lambda at: twice(profile[at], top[at], bottom[at], value[at]),
            "a layer that occurs twice",
            "GS-SAMPLES-TWICE",
        ),
        (lambda at: overlapping(profile[at], top[at], bottom[at]), "layers that overlap", "GS-SAMPLES-OVERLAP"),
    ):
        screen.take(Finding(screen.among(find), reason, code))


def _result(
    table: Table,
    row: Int64,
    place: Positions,
    layers: Intervals,
    measured: Amounts,
    soil_property: Property,
    used: Bool,
    report: dict[str, Any],
) -> gpd.GeoDataFrame:
    """The rows that are left, as samples."""
    if not used.any():
        raise InputError(
            f"{table.name}: none of {len(row)} rows can be used",
            code="GS-SAMPLES-EMPTY",
            details=[f"{count} with {reason}" for reason, count in report["dropped"].items()],
            hint="check the columns that were taken: "
            + ", ".join(f"{k}={v!r}" for k, v in report["columns"].items()),
        )
    at = row[used]
    value = measured.value[used]
    _unusual(table, value, soil_property, report)
    known = {
        "profile": place.profile.iloc[at].to_numpy(object),
        "property": soil_property.code,
        "top_cm": layers.top_cm[used],
        "bottom_cm": layers.bottom_cm[used],
        "value": value,
    }
    taken = {name for text in report["columns"].values() for name in (text, *text.split(", "))}
    frame = pd.DataFrame(known, index=pd.RangeIndex(len(at)))
    for source in (table.frame, place.extra):
        geometry = source.geometry.name if isinstance(source, gpd.GeoDataFrame) else None
        for name in source.columns:
            if str(name) not in taken and name != geometry:
                kept = str(name) if str(name) not in (*_RESULT, *frame.columns) else f"{name}_given"
                frame[kept] = typed(source[name].iloc[at].reset_index(drop=True))
    points = gpd.points_from_xy(place.x[at], place.y[at])
    samples = gpd.GeoDataFrame(frame, geometry=points, crs=place.crs)
    samples.attrs = {"report": report}
    return samples


def _unusual(table: Table, value: Any, soil_property: Property, report: dict[str, Any]) -> None:
    """Note values outside the usual range of the property."""
    low, high = soil_property.usual
    count = int(((value < low) | (value > high)).sum())
    if count:
        unit = "" if soil_property.unit == "1" else f" {soil_property.unit}"
        note = f"{count} values outside the usual {low:g} to {high:g}{unit}"
        report["notes"].append(note)
        log.warning("%s: %s", table.name, note)
    if report["dropped"]:
        total = sum(report["dropped"].values())
        reasons = listing([f"{n} with {reason}" for reason, n in report["dropped"].items()])
        log.info("%s: %d of %d rows are not used: %s", table.name, total, report["rows"], reasons)
