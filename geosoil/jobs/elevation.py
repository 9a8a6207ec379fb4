"""Elevation models: what their cells measure on the ground, and their heights in metres."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from dask.local import get_sync
from odc.geo.geobox import GeoBox

from geosoil.errors import InputError, UsageError, listing
from geosoil.io.gdal import borrow
from geosoil.io.grids import show_crs, show_grid
from geosoil.io.headers import open_raster
from geosoil.io.raster import open_scene
from geosoil.prep.terrain import Cell
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["Elevation", "open_elevation", "read_heights"]

log = logging.getLogger(__name__)

#: Metres in the units that files name for heights.
_METRES = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet"), 0.3048),
    **dict.fromkeys(("us-ft", "ftus", "us survey foot", "us survey feet"), 1200 / 3937),
    **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), 0.01),
    **dict.fromkeys(("dm", "decimetre", "decimetres", "decimeter", "decimeters"), 0.1),
}
#: Heights that land has, m: from below the trenches of the sea to above Everest.
_LOWEST, _HIGHEST = -11_500.0, 9_000.0
#: Share by which lengths on the map may differ from those on the ground before it is said.
_DISTORTION = 0.02
_METRES_A_DEGREE = 111_320.0


@dataclass(frozen=True)
class Elevation:
    """An elevation model, none of its heights read.

    Attributes
    ----------
    name : str
        What messages call it.
    scene : DataArray
        ``(1, y, x)``, lazy.
    grid : GeoBox
        North up.
    cell : (float, float)
        Width and height of a cell, m.
    z_factor : float
        Metres in the unit of the heights.
    notes : tuple of str
        What a user should know of it.
    """

    name: str
    scene: xr.DataArray
    grid: GeoBox
    cell: Cell
    z_factor: float
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """Cells of the grid."""
        return int(self.grid.shape[0]) * int(self.grid.shape[1])


def open_elevation(
    dem: PathLike | xr.DataArray, *, band: int | None = None, crs: str | None = None, z_factor: float | None = None
) -> Elevation:
    """Open an elevation model.

    Parameters
    ----------
    dem : path or DataArray
        Heights on a projected grid.
    band : int, optional
        Band of a file with several, from 1.
    crs : str, optional
        CRS of a file that has none.
    z_factor : float, optional
        Metres in the unit of the heights; 1 by default, where the file names no other unit.

    Raises
    ------
    InputError
        ``GS-DEM-BANDS``, ``GS-DEM-TINY``, ``GS-DEM-GEOGRAPHIC``, ``GS-DEM-UNIT``; and as `open_scene`.
    UsageError
        ``GS-BAND``, ``GS-Z-FACTOR``.
    """
    if z_factor is not None and not 0 < z_factor < np.inf:
        raise UsageError(f"a height factor of {z_factor:g} is not usable", code="GS-Z-FACTOR", hint="feet: 0.3048")
    scene = open_scene(dem, crs=crs)
    sources = scene.attrs.get("sources", ())
    name = str(sources[0]).replace("\\", "/").rsplit("/", 1)[-1] if sources else "the elevation model"
    scene = _one_band(scene, band, name)
    grid = scene.odc.geobox
    if min(grid.shape) < 3:
        raise InputError(
            f"{name[:60]} has {grid.shape[1]} x {grid.shape[0]} cells; terrain needs at least 3 x 3",
            code="GS-DEM-TINY",
            hint="give a larger piece of the elevation model",
        )
    cell, notes = _metric(grid, name)
    factor, more = _height_unit(sources, band or 1, name, z_factor)
    for note in (*notes, *more):
        log.warning("%s", note)
    return Elevation(name, scene, grid, cell, factor, (*notes, *more))


def _one_band(scene: xr.DataArray, band: int | None, name: str) -> xr.DataArray:
    count = scene.sizes["band"]
    if band is None and count != 1:
        raise InputError(
            f"{name[:50]} has {count} bands; an elevation model has one",
            code="GS-DEM-BANDS",
            details=[f"bands: {listing([str(one) for one in scene['band'].values])}"],
            hint="name the one that holds the heights, counted from 1: --bidx 1",
        )
    if band is not None and not 1 <= band <= count:
        raise UsageError(
            f"{name[:50]} has no band {band}",
            code="GS-BAND",
            details=[f"bands: {listing([str(one) for one in scene['band'].values])}"],
            hint=f"give a number from 1 to {count}",
        )
    place = (band or 1) - 1
    return scene[place : place + 1]


def _metric(grid: GeoBox, name: str) -> tuple[Cell, list[str]]:
    """Width and height of a cell, m, and what is wrong with them."""
    crs = pyproj.CRS.from_user_input(grid.crs.to_wkt()) if grid.crs else None
    if crs is None or not crs.is_projected:
        raise _geographic(grid, crs, name)
    factor = float(crs.axis_info[0].unit_conversion_factor)
    cell = (abs(grid.affine.a) * factor, abs(grid.affine.e) * factor)
    return cell, _distortion(grid, crs)


def _centre(grid: GeoBox, crs: pyproj.CRS) -> tuple[float, float]:
    """Longitude and latitude of the middle of the grid."""
    x, y = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return float(lon), float(lat)


def _utm(lon: float, lat: float) -> str:
    """The UTM zone of a place.

    >>> _utm(149.0, -32.0), _utm(-97.4, 32.7)
    ('EPSG:32755', 'EPSG:32614')
    """
    zone = min(int((lon + 180) // 6) + 1, 60)
    return f"EPSG:{32700 + zone if lat < 0 else 32600 + zone}"


def _geographic(grid: GeoBox, crs: pyproj.CRS | None, name: str) -> InputError:
    hint = "put it on a grid in metres first, as with gdalwarp -t_srs"
    if crs is not None and crs.is_geographic:
        lon, lat = _centre(grid, crs)
        degree = float(np.degrees(crs.axis_info[0].unit_conversion_factor))
        metres = float(f"{abs(grid.affine.e) * degree * _METRES_A_DEGREE:.2g}")
        hint = (
            "put it on a grid in metres first, such as\n"
            f"gdalwarp -t_srs {_utm(lon, lat)} -tr {metres:g} {metres:g} -r bilinear {name} dem_metres.tif"
        )
    return InputError(
        f"{name[:50]} is not on a grid in metres, so it has no slopes",
        code="GS-DEM-GEOGRAPHIC",
        details=[f"found: {show_grid(grid)}", "expected: a projected CRS"],
        hint=hint,
    )


def _distortion(grid: GeoBox, crs: pyproj.CRS) -> list[str]:
    """A note where lengths on the map are not those on the ground."""
    lon, lat = _centre(grid, crs)
    found = pyproj.Proj(crs).get_factors(lon, lat)
    scales = (found.parallel_scale, found.meridional_scale)
    worst = max(scales, key=lambda scale: abs(scale - 1))
    if not np.isfinite(worst) or abs(worst - 1) <= _DISTORTION:
        return []
    return [
        f"lengths in {show_crs(grid.crs)} are {worst:.3g} times those on the ground here, so slopes and areas are "
        f"wrong by as much; {_utm(lon, lat)} would be right"
    ]


def _height_unit(sources: Any, band: int, name: str, z_factor: float | None) -> tuple[float, list[str]]:
    """Metres in the unit of the heights."""
    if z_factor is not None:
        return z_factor, []
    stated = ""
    if len(sources) == 1:
        try:
            with borrow(open_raster(str(sources[0])).handle) as dataset:
                stated = (dataset.units[band - 1] or "").strip()
        except InputError:  # not one of GDAL's files
            stated = ""
    metres = _METRES.get(stated.lower())
    if metres is not None and metres != 1.0:
        raise InputError(
            f"the heights of {name[:50]} are in {stated[:20]}, not in metres",
            code="GS-DEM-UNIT",
            hint=f"have them converted: --z-factor {metres:.9g}",
        )
    return 1.0, [f"the unit of the heights, {stated!r}, is taken as metres"] if stated and metres is None else []


def read_heights(elevation: Elevation, progress: Progress = quiet) -> Float32:
    """All heights, m, ``(h, w)`` float32; NaN where missing.

    Raises
    ------
    InputError
        ``GS-DEM-EMPTY``, ``GS-DEM-HEIGHTS``; ``GS-RASTER-READ``.
    """
    height, width = (int(edge) for edge in elevation.grid.shape)
    out = np.empty((height, width), np.float32)
    data = elevation.scene.data[0]
    first = 0
    for rows in data.chunks[0]:
        out[first : first + rows] = data[first : first + rows].compute(scheduler=get_sync)
        first += rows
        progress(first, height, "reading heights")
    np.copyto(out, np.nan, where=~np.isfinite(out))
    if elevation.z_factor != 1.0:
        out *= np.float32(elevation.z_factor)
    _check_heights(out, elevation.name)
    return out


def _check_heights(z: Float32, name: str) -> None:
    if np.isnan(z).all():
        raise InputError(
            f"{name[:60]} holds no height: all of its cells are empty",
            code="GS-DEM-EMPTY",
            hint="check its nodata value",
        )
    lowest, highest = float(np.nanmin(z)), float(np.nanmax(z))
    if lowest < _LOWEST or highest > _HIGHEST or lowest == -9999:
        odd = lowest if lowest < _LOWEST or lowest == -9999 else highest
        raise InputError(
            f"{name[:40]} holds heights that no land has, such as {odd:g} m",
            code="GS-DEM-HEIGHTS",
            details=[f"found: {lowest:g} to {highest:g} m"],
            hint=f"where {odd:g} means no data, declare it (gdal_edit.py -a_nodata {odd:g}); "
            "where heights are not in metres, give --z-factor",
        )
