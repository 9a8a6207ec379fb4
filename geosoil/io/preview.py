"""What is in a table or a raster file before anything is done with it: roles of columns, formats of bands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import geopandas as gpd
import numpy as np

from geosoil.errors import InputError
from geosoil.soil import Property, properties

from .addresses import is_remote, short_name
from .columns import Header, ValueColumns, datum, find_position, find_role, find_values, names_of, parse_header
from .cube import data_of
from .gdal import borrow
from .headers import open_raster, readable
from .intervals import DepthColumns, find_depths
from .positions import headers_of
from .products import addresses_of, is_product
from .rasterfile import RasterFile
from .stores import is_store
from .tables import Table

__all__ = ["preview_bands", "preview_samples"]

#: Cells that are read in all for the range of values, where nothing in a file tells its range.
_MOST_READ = 2**22


def preview_samples(table: Table) -> dict[str, Any]:
    """Which columns `open_samples` would take for what.

    Returns
    -------
    dict
        ``taken``: role to column; ``values``: for each property that is recognised its columns, their unit (None where
        nothing states it) and whether the headers hold the depths; ``geometry``: CRS, extent and types of a vector
        file; ``problems``: what could be meant in several ways.
    """
    headers = headers_of(table)
    problems: list[str] = []

    def tried(find: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return find()
        except InputError as error:
            problems.append("; ".join((error.message, *error.details)))
            return otherwise

    geometry = _geometry(table)
    east, north = (
        (None, None) if geometry else tried(lambda: find_position(headers, None, None, table.name), (None, None))
    )
    found = {"id": tried(lambda: find_role(headers, "id", None, table.name), None), "x": east, "y": north}
    taken = {role: header.text for role, header in found.items() if header is not None}
    free = [header for header in headers if header.text not in taken.values()]
    depths = tried(lambda: find_depths(table, free, top=None, bottom=None), DepthColumns())
    taken.update(depths.columns)
    free = [header for header in free if header.text not in taken.values()]
    unit = tried(lambda: find_role(free, "unit", None, table.name), None)
    listed = tried(lambda: find_role(free, "property", None, table.name), None)
    values = []
    for one in properties().values():
        columns = _values(one, free, depths, table, problems)
        if columns is None or (columns.listed and not _is_listed(one, listed, table)):
            continue
        values.append(_say_values(one, columns, unit))
        if columns.listed and listed is not None:
            taken["property"] = listed.text
    if unit is not None:
        taken["unit"] = unit.text
    hint = datum(east) if east is not None else None
    return {
        "taken": taken,
        "values": values,
        **({"geometry": geometry} if geometry else {}),
        **({"crs_hint": hint} if hint else {}),
        "problems": problems,
    }


def _geometry(table: Table) -> dict[str, Any] | None:
    """CRS, extent and types of the geometries of a vector file."""
    frame = table.frame
    if not isinstance(frame, gpd.GeoDataFrame) or frame.active_geometry_name is None:
        return None
    edges = [float(edge) for edge in frame.total_bounds]
    return {
        "types": sorted(str(one) for one in frame.geom_type.dropna().unique()),
        "crs": None
        if frame.crs is None
        else (f"EPSG:{frame.crs.to_epsg()}" if frame.crs.to_epsg() else frame.crs.name),
        "extent": edges if np.isfinite(edges).all() else None,
    }


def _values(
    one: Property, free: list[Header], depths: DepthColumns, table: Table, problems: list[str]
) -> ValueColumns | None:
    """The columns of a property itself, not of its twin; None where there are none."""
    try:
        columns = find_values(free, one, None, layered=depths.layered, where=table.name)
    except InputError as error:
        if error.code != "GS-COLUMN-MISSING":
            problems.append("; ".join((error.message, *error.details)))
        return None
    return columns if columns.code == one.code else None


def _is_listed(one: Property, listed: Header | None, table: Table) -> bool:
    """Whether a column that names properties row by row names this one."""
    if listed is None:
        return False
    names = names_of(one)
    return any(parse_header(str(text)).stem in names for text in table.frame[listed.text].dropna().unique())


def _say_values(one: Property, columns: ValueColumns, unit: Header | None) -> dict[str, Any]:
    units = dict.fromkeys(header.unit for header in columns.headers if header.unit)
    stated = ", ".join(units) or (f"as in {unit.text}" if unit is not None else None)
    return {
        "property": one.code,
        "name": one.name,
        "columns": [header.text for header in columns.headers],
        "unit": stated or ("1" if one.unit == "1" else None),
        "wide": columns.wide,
    }


def preview_bands(source: Any) -> list[dict[str, Any]]:
    """How the files of a scene store their bands: a dict a file; none for stores, arrays and products of a sensor.

    Each has its ``driver``, ``tags``, and a dict a band: name, whether that was ``made_up`` for want of one in the
    file, dtype, nodata, scale, offset, whether it has a colour table (``palette``), and, where the file tells it or
    little has to be read for it, the range of its values.
    """
    found, left = [], _MOST_READ
    for address in addresses_of(source):
        if not is_store(address) and not is_product(address):
            facts, read = _file(address, left)
            found.append(facts)
            left -= read
    return found


def _file(address: str, most: int) -> tuple[dict[str, Any], int]:
    """What a file says of its bands, and how many cells were read for it."""
    file = open_raster(data_of(address), mapped=False)
    with borrow(file.handle) as dataset:
        whole: dict[str, str] = readable(dataset.tags, {})
        tags = {str(name): str(value) for name, value in whole.items()}
        driver = str(dataset.driver)
        described = readable(lambda: dataset.descriptions, (None,) * dataset.count)
        bands = []
        for name, form in zip(file.names, file.formats, strict=True):
            place = form.index - 1
            bands.append(
                {
                    "name": name,
                    "made_up": not (described[place] or "").strip(),
                    "dtype": str(dataset.dtypes[place]),
                    "nodata": None if form.nodata is None else str(float(form.nodata)),
                    "scale": form.scale,
                    "offset": form.offset,
                    "palette": dataset.colorinterp[place].name == "palette",
                    **_stated(readable(partial(dataset.tags, form.index), {}), form.scale, form.offset),
                }
            )
    facts = {"file": short_name(address), "driver": driver, "tags": tags, "bands": bands}
    told = all("lowest" in band for band in bands)
    return facts, 0 if told else _read_ranges(file, bands, most)


def _stated(tags: dict[str, str], scale: float, offset: float) -> dict[str, float]:
    """The range that GDAL's statistics state, as values."""
    try:
        stored = [float(tags[f"STATISTICS_{which}"]) for which in ("MINIMUM", "MAXIMUM")]
    except (KeyError, ValueError):
        return {}
    if not np.isfinite(stored).all():
        return {}
    lowest, highest = sorted(one * scale + offset for one in stored)
    return {"lowest": lowest, "highest": highest}


def _read_ranges(file: RasterFile, bands: list[dict[str, Any]], most: int) -> int:
    """The range of values of a small file, by reading it; how many cells were read."""
    rows, cols = (int(edge) for edge in file.geobox.shape)
    cells = rows * cols * len(bands)
    if cells > most or is_remote(file.handle.address):
        return 0
    try:
        values = file.read(np.arange(len(bands)), (0, rows), (0, cols))
    except InputError:  # a block that cannot be read is told where it is needed
        return 0
    for band, one in zip(bands, values, strict=True):
        good = one[np.isfinite(one)]
        if good.size and "lowest" not in band:
            band.update(lowest=float(good.min()), highest=float(good.max()))
    return cells
