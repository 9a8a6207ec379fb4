"""Where the rows of a sample table lie: geometries, coordinate columns or a table of sites, in one stated CRS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import shapely

from geosoil.errors import InputError, UsageError

from .cells import ids, numbers
from .columns import Header, datum, find_position, find_role, is_geographic, is_sample_id, parse_header
from .screen import Finding, Screen, scattered
from .tables import Table

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64, Int64

__all__ = ["Positions", "from_sites", "headers_of", "locate"]


@dataclass(frozen=True, slots=True)
class Positions:
    """Profile and position of each row of a table.

    Attributes
    ----------
    profile : Series of str
        Empty where there is none.
    x, y : (n,) float64
        Position in `crs`; x is east.
    crs : CRS
        Of the positions.
    columns : dict
        Role to column.
    findings : list of Finding
        Rows that lack a position, or whose position cannot be right.
    extra : DataFrame
        Further columns of the sites, a row for each row of the table.
    notes : list of str
        What a user should know.
    sites : dict
        What was used of the table of sites, and what was not.
    """

    profile: pd.Series
    x: Float64
    y: Float64
    crs: pyproj.CRS
    columns: dict[str, str]
    findings: list[Finding]
    extra: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)
    sites: dict[str, Any] = field(default_factory=dict)

    @property
    def metres(self) -> float:
        """Length of a unit of x and y, m; for a projected CRS."""
        return float(self.crs.axis_info[0].unit_conversion_factor) if self.crs.axis_info else 1.0

    def far_apart(self, rows: Int64) -> Bool:
        """Of these rows, those whose profile lies at several places."""
        profile = pd.factorize(self.profile.iloc[rows])[0]
        return scattered(profile, self.x[rows], self.y[rows], geographic=self.crs.is_geographic, metres=self.metres)


def headers_of(table: Table) -> list[Header]:
    """The columns of a table, taken apart; without its geometry."""
    frame = table.frame
    skip = {frame.geometry.name} if _has_geometry(frame) else set()
    return [parse_header(str(name)) for name in frame.columns if name not in skip]


def _has_geometry(frame: pd.DataFrame) -> bool:
    return isinstance(frame, gpd.GeoDataFrame) and frame.active_geometry_name is not None


def locate(table: Table, *, crs: str | None, id: str | None, x: str | None, y: str | None) -> Positions:
    """Positions from a table that holds them itself.

    Raises
    ------
    InputError
        ``GS-SAMPLES-XY`` (none found), ``GS-CRS-MISSING``, ``GS-CRS-MISMATCH``, ``GS-COLUMN-AMBIGUOUS``,
        ``GS-COLUMN-MISSING``.
    """
    headers = headers_of(table)
    columns: dict[str, str] = {}
    if _has_geometry(table.frame) and x is None and y is None:
        found = _from_geometry(table, crs)
    else:
        found, columns = _from_columns(table, headers, crs, x, y)
    px, py, known, findings = found
    if known.is_geographic:
        off = (np.abs(px) > 360) | (np.abs(py) > 90)
        findings.append(Finding(off, "a position that is not longitude and latitude", "GS-SAMPLES-POSITION"))
    findings.append(Finding(np.isinf(px) | np.isinf(py), "an infinite position", "GS-SAMPLES-POSITION"))
    header = find_role(headers, "id", id, table.name)
    place = pd.Series(pd.factorize(pd.MultiIndex.from_arrays([px, py]))[0] + 1).astype(str)
    notes = []
    if header is None:
        profile = place
        notes.append(f"{table.name}: no column with ids; every position is a profile")
    elif id is None and is_sample_id(header) and table.frame[header.text].is_unique and not place.is_unique:
        # An id for each layer would part the layers of a profile, and let them leak from fold to fold.
        profile = place
        notes.append(f"{table.name}: {header.text} is an id for each layer; every position is a profile")
    else:
        columns["id"] = header.text
        profile = ids(table.frame[header.text])
    findings.insert(0, Finding((profile == "").to_numpy(bool), "no profile id"))
    return Positions(profile, px, py, known, columns, findings, notes=notes)


_Found = tuple["Float64", "Float64", pyproj.CRS, list[Finding]]


def _from_geometry(table: Table, crs: str | None) -> _Found:
    geometry = table.frame.geometry
    shapes = np.asarray(geometry.array)
    single = (shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOINT) & (
        shapely.get_num_geometries(shapes) == 1
    )
    shapes = np.where(single, shapely.get_geometry(shapes, 0), shapes)
    missing = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    point = shapely.get_type_id(shapes) == shapely.GeometryType.POINT
    findings = [
        Finding(missing, "no coordinates"),
        Finding(~missing & ~point, "a geometry that is not a point", "GS-SAMPLES-GEOMETRY"),
    ]
    shapes[~point | missing] = None  # GEOS has no x of an empty point
    return shapely.get_x(shapes), shapely.get_y(shapes), _crs_of(table, geometry.crs, crs), findings


def _from_columns(
    table: Table, headers: list[Header], crs: str | None, x: str | None, y: str | None
) -> tuple[_Found, dict[str, str]]:
    east, north = find_position(headers, x, y, table.name)
    if east is None or north is None:
        raise InputError(
            f"{table.name} has no coordinates",
            code="GS-SAMPLES-XY",
            details=[f"columns: {', '.join(h.text for h in headers[:20])}"],
            hint="name the columns with x and y, or give the table of sites (sites)",
        )
    across, along = numbers(table.frame[east.text]), numbers(table.frame[north.text])
    missing = across.missing | along.missing
    findings = [
        Finding(missing, "no coordinates"),
        Finding(
            ~missing & ~np.isfinite(across.value + along.value) & (across.bad | along.bad),
            "coordinates that are not numbers",
            "GS-SAMPLES-TEXT",
        ),
    ]
    known = _crs_of(table, None, crs, east)
    if is_geographic(east) and known.is_projected:
        raise InputError(
            f"{table.name}: {east.text!r} and {north.text!r} are degrees, {known.name} is not",
            code="GS-CRS-MISMATCH",
            hint=_state(datum(east) or "EPSG:4326"),
        )
    return (across.value, along.value, known, findings), {"x": east.text, "y": north.text}


def _crs_of(table: Table, own: Any, stated: str | None, east: Header | None = None) -> pyproj.CRS:
    """The CRS of a table: its own, or the one stated; raises where there is none, or where the two differ."""
    if stated is None:
        if own is None:
            raise _no_crs(table, east)
        return pyproj.CRS.from_user_input(own)
    try:
        wanted = pyproj.CRS.from_user_input(stated)
    except pyproj.exceptions.CRSError as error:
        raise UsageError(f"CRS {stated!r} is not known", code="GS-CRS-UNKNOWN", hint="write it as EPSG:4326") from error
    if own is not None and not wanted.equals(pyproj.CRS.from_user_input(own), ignore_axis_order=True):
        raise InputError(
            f"{table.name} has a CRS of its own, and it is not {stated}",
            code="GS-CRS-MISMATCH",
            details=[f"found: {pyproj.CRS.from_user_input(own).name}", f"stated: {wanted.name}"],
            hint="leave the CRS out, or correct the file",
        )
    return wanted


def _no_crs(table: Table, east: Header | None) -> InputError:
    example = "EPSG:32755"
    if east is not None and is_geographic(east):
        example = datum(east) or "EPSG:4326"
    return InputError(
        f"{table.name} does not say the CRS of its coordinates",
        code="GS-CRS-MISSING",
        details=[f"x is column {east.text!r}"] if east else [],
        hint=_state(example),
    )


def _state(crs: str) -> str:
    """How to state the CRS of coordinate columns."""
    return f'state the CRS of the columns, as in crs = "{crs}" (in a study: in [samples])'


def from_sites(
    table: Table,
    sites: Table,
    *,
    crs: str | None,
    id: str | None,
    x: str | None,
    y: str | None,
    invalid: Literal["error", "drop"],
) -> Positions:
    """Positions from a table of sites, joined by profile id.

    Raises
    ------
    InputError
        Those of `locate` for the sites; ``GS-SAMPLES-ID`` where one of the tables has no ids,
        ``GS-SAMPLES-ID-TWICE`` where a site is listed twice.
    """
    wanted = [h.text for h in headers_of(sites)]
    place = locate(sites, crs=crs, id=id if id in wanted else None, x=x, y=y)
    header = find_role(headers_of(table), "id", id, table.name)
    if header is None or "id" not in place.columns:
        lacking = table if header is None else sites
        raise InputError(
            f"{lacking.name} has no column with profile ids to join sites and samples by",
            code="GS-SAMPLES-ID",
            hint="name it: id",
        )
    used, report = _screen_sites(sites, place, invalid)
    row = pd.Series(used, index=place.profile.iloc[used].to_numpy())
    profile = ids(table.frame[header.text])
    at = row.reindex(profile.to_numpy()).to_numpy(np.float64, na_value=np.nan)
    lost = np.isnan(at)
    index = np.where(lost, 0, at).astype(np.int64)
    roles = set(place.columns.values())
    keep = [h.text for h in headers_of(sites) if h.text not in roles]
    own = {str(name) for name in table.frame.columns}
    extra = pd.DataFrame(sites.frame[[name for name in keep if name not in own]])
    nothing = np.full(len(index), np.nan)
    return Positions(
        profile=profile,
        x=np.where(lost, np.nan, place.x[index]) if len(place.x) else nothing,
        y=np.where(lost, np.nan, place.y[index]) if len(place.y) else nothing,
        crs=place.crs,
        columns={**place.columns, "id": header.text},
        findings=[
            Finding((profile == "").to_numpy(bool), "no profile id"),
            Finding(lost, f"no site in {sites.name}"),
        ],
        extra=extra.iloc[index].reset_index(drop=True) if len(extra) else pd.DataFrame(),
        sites=report,
    )


def _screen_sites(sites: Table, place: Positions, invalid: Literal["error", "drop"]) -> tuple[Int64, dict[str, Any]]:
    """Rows of the sites that can be joined, each id once."""
    screen = Screen(np.arange(1, len(sites.frame) + 1), sites.name, invalid, place.profile.to_numpy(object))
    for finding in place.findings:
        screen.take(finding)

    def again(rows: Int64) -> Bool:
        names = place.profile.iloc[rows]
        far = place.far_apart(rows)
        return names.duplicated().to_numpy(bool) | (far & names.duplicated(keep=False).to_numpy(bool))

    screen.take(Finding(screen.among(again), "an id that occurs twice", "GS-SAMPLES-ID-TWICE"))
    screen.settle()
    report = {
        "source": sites.name,
        "rows": len(sites.frame),
        "used": int(screen.used.sum()),
        "dropped": screen.counts(),
        "examples": screen.examples(),
    }
    return np.flatnonzero(screen.used), report
