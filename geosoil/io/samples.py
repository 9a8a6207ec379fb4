"""Points, profiles and horizons to samples: one row a layer, in the property's unit, every other row counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import geopandas as gpd
import numpy as np
import pandas as pd

from geosoil.errors import InputError, UsageError, listing
from geosoil.soil import Property, property_of
from geosoil.types import PathLike

from .amounts import Amounts, BelowDetection, amounts, refuse_below
from .columns import LENGTHS, find_values
from .intervals import Intervals, find_depths, intervals
from .positions import Positions, from_sites, headers_of, locate
from .screen import Finding, Screen, overlapping, twice
from .tables import Table, read_table, typed

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64, Int64

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
        What this function gave is given back as it is.
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
        ``GS-SAMPLES-...`` for rows, which are named; ``GS-UNIT-...``, ``GS-SOM-FACTOR``, ``GS-BELOW-DETECTION``,
        ``GS-DEPTH-...``, ``GS-CRS-...``, ``GS-COLUMN-...`` and ``GS-TABLE-...`` for what the table does not tell,
        or tells twice.
    UsageError
        ``GS-OPTION`` for an option with an unknown value.

    >>> table = pd.DataFrame({"id": ["A", "A"], "lon": 21.5, "lat": 41.5, "top": [0, 20], "bottom": [20, 40],
    ...                       "soc_pct": [2.0, 0.5]})
    >>> samples = open_samples(table, crs="EPSG:4326")
    >>> samples[["profile", "top_cm", "bottom_cm", "value"]].values.tolist()
    [['A', 0.0, 20.0, 20.0], ['A', 20.0, 40.0, 5.0]]
    >>> samples.attrs["report"]["unit"]
    {'by': 'header', 'inside': 'g/kg', 'factors': {'%': 10.0}}
    """
    _check_options(below_detection=below_detection, invalid=invalid, depth_unit=depth_unit)
    soil_property = property if isinstance(property, Property) else property_of(property)
    if _is_read(source, soil_property):
        return cast("gpd.GeoDataFrame", source)
    table = read_table(source, layer=layer)
    place = _place(table, sites, crs=crs, id=id, x=x, y=y, invalid=invalid)
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
    seen = _Observations(table, row, place, layers, measured)
    screen = Screen(row + 1, table.name, invalid, place.profile.to_numpy(object)[row])
    _screen(screen, seen, soil_property)
    if below_detection == "error":
        refuse_below(table, screen.row[screen.used & measured.below])
    screen.settle()
    report = _report(screen, seen, below_detection)
    _refuse_empty(report)
    _tell(measured.value[screen.used], soil_property, report)
    # A wide table has one value column an interval; the report joins their names.
    taken = {*report["columns"].values(), *(h.text for h in values.headers)}
    samples = _result(seen, screen.used, soil_property, taken)
    samples.attrs = {"report": report}
    return samples


def _is_read(source: PathLike | pd.DataFrame, soil_property: Property) -> bool:
    """Whether a table is what `open_samples` gave, perhaps with rows left out since."""
    if not isinstance(source, gpd.GeoDataFrame) or "report" not in source.attrs:
        return False
    columns = {"profile", "property", "top_cm", "bottom_cm", "value"}
    return columns <= set(source.columns) and bool((source["property"] == soil_property.code).all())


@dataclass(frozen=True, slots=True)
class _Observations:
    """Where, how deep and how much: what a table says of each layer, whose row in it is ``row``."""

    table: Table
    row: Int64
    place: Positions
    layers: Intervals
    measured: Amounts


_OPTIONS = {
    "below_detection": get_args(BelowDetection),
    "invalid": ("error", "drop"),
    "depth_unit": tuple(LENGTHS),
}


def _check_options(**given: str) -> None:
    for name, value in given.items():
        if value not in _OPTIONS[name]:
            raise UsageError(
                f"{name} = {value!r} is not known",
                code="GS-OPTION",
                details=[f"known: {listing(_OPTIONS[name])}"],
            )


def _place(
    table: Table,
    sites: PathLike | pd.DataFrame | None,
    *,
    crs: str | None,
    id: str | None,
    x: str | None,
    y: str | None,
    invalid: Literal["error", "drop"],
) -> Positions:
    """Positions from the table itself, or from the table of sites."""
    if sites is None:
        return locate(table, crs=crs, id=id, x=x, y=y)
    site_table = read_table(sites)
    place = from_sites(table, site_table, crs=crs, id=id, x=x, y=y, invalid=invalid)
    place.notes.extend(site_table.notes)
    return place


def _screen(screen: Screen, seen: _Observations, soil_property: Property) -> None:
    """Take out what holds nothing, then what cannot be right, then what contradicts other rows."""
    placed = [Finding(one.rows[seen.row], one.reason, one.code) for one in seen.place.findings]
    findings = [*seen.measured.findings, *placed, *seen.layers.findings]
    for one in (*sorted(findings, key=lambda one: bool(one.code)), *_impossible(seen, soil_property)):
        screen.take(one)
    value, top, bottom = seen.measured.value, seen.layers.top_cm, seen.layers.bottom_cm
    profile = pd.factorize(seen.place.profile)[0].astype(np.int64)[seen.row]

    def take(find: Callable[[Int64], Bool], reason: str, code: str) -> None:
        screen.take(Finding(screen.among(find), reason, code))

    take(lambda at: seen.place.far_apart(seen.row[at]), "a profile at several places", "GS-SAMPLES-POSITION")
    take(lambda at: twice(profile[at], top[at], bottom[at], value[at]), "a layer that occurs twice", "GS-SAMPLES-TWICE")
    take(lambda at: overlapping(profile[at], top[at], bottom[at]), "layers that overlap", "GS-SAMPLES-OVERLAP")


def _impossible(seen: _Observations, soil_property: Property) -> list[Finding]:
    """Values and depths that no layer can have."""
    value, top, bottom = seen.measured.value, seen.layers.top_cm, seen.layers.bottom_cm
    lowest, highest = soil_property.lowest, soil_property.highest
    unit = "" if soil_property.unit == "1" else f" {soil_property.unit}"
    low = "a negative value" if lowest == 0 else f"a value below {lowest:g}{unit}"
    return [
        Finding(np.isinf(value), "an infinite value", "GS-SAMPLES-INFINITE"),
        Finding(value < lowest, low, "GS-SAMPLES-RANGE"),
        Finding(value > highest, f"a value above {highest:g}{unit}", "GS-SAMPLES-RANGE"),
        Finding(np.isinf(top) | np.isinf(bottom), "an infinite depth", "GS-SAMPLES-DEPTH"),
        Finding((top < 0) | (bottom < 0), "a negative depth (litter?)", "GS-SAMPLES-DEPTH"),
        Finding(bottom < top, "a bottom above its top", "GS-SAMPLES-INVERTED"),
        Finding(bottom == top, "a layer without thickness", "GS-SAMPLES-INVERTED"),
    ]


def _report(screen: Screen, seen: _Observations, below_detection: BelowDetection) -> dict[str, Any]:
    """What was found, converted and left out; plain enough for JSON."""
    place, layers, measured = seen.place, seen.layers, seen.measured
    return {
        "source": seen.table.name,
        "rows": len(seen.row),
        "used": int(screen.used.sum()),
        "profiles": int(place.profile.iloc[seen.row[screen.used]].nunique()),
        "columns": {**place.columns, **layers.columns, **measured.columns},
        "unit": measured.unit,
        "below_detection": {"count": int((screen.used & measured.below).sum()), "as": below_detection},
        "dropped": screen.counts(),
        "examples": screen.examples(),
        "sites": place.sites,
        "notes": [*seen.table.notes, *place.notes, *layers.notes, *measured.notes],
    }


def _refuse_empty(report: dict[str, Any]) -> None:
    if report["used"] == 0:
        taken = ", ".join(f"{role}={name!r}" for role, name in report["columns"].items())
        raise InputError(
            f"{report['source']}: none of {report['rows']} rows can be used",
            code="GS-SAMPLES-EMPTY",
            details=[f"{count} with {reason}" for reason, count in report["dropped"].items()],
            hint=f"check the columns that were taken: {taken}",
        )


def _tell(value: Float64, soil_property: Property, report: dict[str, Any]) -> None:
    """Note and log values outside the usual range, and the rows left out."""
    low, high = soil_property.usual
    count = int(((value < low) | (value > high)).sum())
    if count:
        unit = "" if soil_property.unit == "1" else f" {soil_property.unit}"
        report["notes"].append(f"{count} values outside the usual {low:g} to {high:g}{unit}")
        log.warning("%s: %s", report["source"], report["notes"][-1])
    # Rows of other properties are no loss, only another table in the same file.
    lost = {reason: count for reason, count in report["dropped"].items() if reason != "another property"}
    if lost:
        reasons = listing([f"{count} with {reason}" for reason, count in lost.items()])
        log.warning(
            "%s: %d of %d rows are used; left out: %s", report["source"], report["used"], report["rows"], reasons
        )


def _result(seen: _Observations, used: Bool, soil_property: Property, taken: Collection[str]) -> gpd.GeoDataFrame:
    """The rows that are used, as samples."""
    at = seen.row[used]
    known = {
        "profile": seen.place.profile.iloc[at].to_numpy(object),
        "property": soil_property.code,
        "top_cm": seen.layers.top_cm[used],
        "bottom_cm": seen.layers.bottom_cm[used],
        "value": seen.measured.value[used],
    }
    frame = pd.DataFrame({**known, **_beside(seen.table.frame, at, taken), **_beside(seen.place.extra, at, taken)})
    points = gpd.points_from_xy(seen.place.x[at], seen.place.y[at])
    return gpd.GeoDataFrame(frame, geometry=points, crs=seen.place.crs)


def _beside(frame: pd.DataFrame, at: Int64, taken: Collection[str]) -> dict[str, pd.Series]:
    """The columns without a role, for the rows at these places; one named like a result gets ``_given`` added."""
    geometry = frame.active_geometry_name if isinstance(frame, gpd.GeoDataFrame) else None
    names = [name for name in frame.columns if str(name) not in taken and name != geometry]
    kept = {name: f"{name}_given" if str(name) in _RESULT else str(name) for name in names}
    return {kept[name]: typed(frame[name].iloc[at].reset_index(drop=True)) for name in names}
