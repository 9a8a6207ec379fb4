"""Covariate stacks to one lazy scene, whatever they are stored in."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geosoil.bands import Bands
from geosoil.errors import InputError, listing
from geosoil.io.gdal import RasterFile, open_file, public_name
from geosoil.types import PathLike

__all__ = ["open_scene"]

#: What a folder or a glob offers as rasters.
SUFFIXES = (".tif", ".tiff", ".geotiff", ".vrt", ".img", ".dat", ".bsq", ".bil", ".bip", ".jp2", ".asc", ".sdat", ".nc")
#: Part of a cell by which two grids may differ and still be the same.
_TOLERANCE = 1e-3


def open_scene(
    source: PathLike | Sequence[PathLike] | xr.DataArray | xr.Dataset,
    *,
    align: PathLike | None = None,
    resampling: str = "bilinear",
    bands: Sequence[str] = (),
    classes: Iterable[str] = (),
    chunks: int = 512,
    crs: str | None = None,
) -> xr.DataArray:
    """Open a covariate stack as one lazy scene; no pixel is read.

    Parameters
    ----------
    source : path, sequence of paths, DataArray or Dataset
        A raster, several, a folder of rasters, a glob, a VRT, a NetCDF file, a Zarr store, an address (https://, s3://),
        or what xarray holds already.
    align : path, optional
        Put all rasters on the grid of this one. Without it, rasters on different grids are refused.
    resampling : str
        How quantities are put there; class bands always take the nearest cell.
    bands : sequence of str
        Take these, in this order; default all.
    classes : iterable of str
        Bands that hold class codes.
    chunks : int
        Edge of the dask chunks, cells.
    crs : str, optional
        CRS of rasters that have none.

    Returns
    -------
    DataArray
        ``(band, y, x)``, float32, NaN where there is no data; the grid is ``scene.odc.geobox``.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``, ``GS-RASTER-UNREADABLE``, ``GS-RASTER-TRUNCATED``, ``GS-CRS-MISSING``,
        ``GS-GRID-MISMATCH``, ``GS-BANDS-TWICE``, ``GS-BANDS-UNKNOWN``.
    """
    classes = tuple(classes)
    if isinstance(source, xr.DataArray | xr.Dataset):
        scene = _from_xarray(source, chunks, crs, name="the scene")
    else:
        paths = _paths(source)
        stores = [path for path in paths if _is_store(path)]
        if stores and len(paths) > 1:
            raise InputError(
                "NetCDF and Zarr scenes are opened alone",
                code="GS-RASTER-UNREADABLE",
                details=[f"given: {listing(paths, 5)}"],
                hint="give one store, or open and join them with xarray first",
            )
        scene = (
            _from_store(paths[0], chunks, crs)
            if stores
            else _from_files(paths, align, resampling, classes, chunks, crs)
        )
    return _mark(scene, bands, classes)


def _paths(source: PathLike | Sequence[PathLike]) -> list[str]:
    """The files that a source names."""
    if not isinstance(source, str | Path) and isinstance(source, Sequence):
        return [path for one in source for path in _paths(one)]
    text = str(source)
    if "://" in text or text.startswith("/vsi"):
        return [text]
    path = Path(text).expanduser()
    if path.is_dir() and not _is_store(str(path)):
        found = sorted(str(one) for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        where = "folder"
    elif not path.exists() and any(sign in text for sign in "*?["):
        found, where = sorted(glob.glob(str(path))), "pattern"  # noqa: PTH207  (a pattern of the user's)
    else:
        return [str(path)]
    if not found:
        raise InputError(f"{where} {text} holds no raster", code="GS-FILE-MISSING", hint="check the path")
    return found


def _is_store(path: str) -> bool:
    """Whether xarray opens it: NetCDF, or a Zarr store."""
    plain = path.rstrip("/").lower()
    return plain.endswith((".nc", ".nc4", ".zarr")) or (Path(path) / ".zgroup").exists()


def _from_files(
    paths: Sequence[str],
    align: PathLike | None,
    resampling: str,
    classes: Sequence[str],
    chunks: int,
    crs: str | None,
) -> xr.DataArray:
    files = [open_file(path, crs=crs) for path in paths]
    grid = open_file(str(align), crs=crs).grid if align is not None else files[0].grid
    placed: list[RasterFile] = []
    for file in files:
        if _same(file.grid, grid):
            placed.append(file)
        elif align is None:
            raise _differ(files[0], file)
        else:
            placed += _aligned(file, grid, resampling, classes)
    names = [name for file in placed for name in file.names]
    Bands(tuple(names))  # refuses names that occur twice
    parts = [
        da.from_array(
            file,
            chunks=(file.shape[0], chunks, chunks),
            name=f"raster-{tokenize(file.path, file.indexes, file.resampling, str(file.grid))}",
            asarray=False,
            meta=np.empty((0, 0, 0), np.float32),
            inline_array=True,
        )
        for file in placed
    ]
    data = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=0)
    scene = _scene(data, names, grid)
    scene.attrs["sources"] = tuple(dict.fromkeys(public_name(path) for path in paths))
    return scene


def _aligned(file: RasterFile, grid: GeoBox, resampling: str, classes: Sequence[str]) -> list[RasterFile]:
    """The bands of a file on another grid, band by band where classes and quantities are mixed."""
    ways = ["nearest" if name in classes else resampling for name in file.names]
    if len(set(ways)) == 1:
        return [file.on(grid, ways[0])]
    return [file.take((name,)).on(grid, way) for name, way in zip(file.names, ways, strict=True)]


def _scene(data: da.Array, names: Sequence[str], grid: GeoBox) -> xr.DataArray:
    coords = xr_coords(grid, dims=("y", "x"))
    return xr.DataArray(data, dims=("band", "y", "x"), coords={"band": list(names), **coords}, name="scene")


def _same(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids are one, to a thousandth of a cell."""
    if tuple(one.shape) != tuple(other.shape) or one.crs != other.crs:
        return False
    cell = min(abs(float(other.resolution.x)), abs(float(other.resolution.y)))
    corners = [abs(a - b) for a, b in zip(tuple(one.boundingbox), tuple(other.boundingbox), strict=True)]
    return max(corners) <= _TOLERANCE * cell


def _differ(first: RasterFile, other: RasterFile) -> InputError:
    return InputError(
        f"{Path(public_name(other.path)).name} is on another grid than {Path(public_name(first.path)).name}",
        code="GS-GRID-MISMATCH",
        details=[_say_grid(public_name(first.path), first.grid), _say_grid(public_name(other.path), other.grid)],
        hint="put all on one grid: --align LIKE (align = in the study's [scene])",
    )


def _say_grid(name: str, grid: GeoBox) -> str:
    epsg = grid.crs.epsg if grid.crs else None
    label = f"EPSG:{epsg}" if epsg else (str(grid.crs)[:40] if grid.crs else "no CRS")
    return (
        f"{name}: {grid.shape[1]} x {grid.shape[0]} cells of {float(grid.resolution.x):.8g} x "
        f"{abs(float(grid.resolution.y)):.8g}, upper left {grid.affine.c:.10g}, {grid.affine.f:.10g}, {label}"
    )


def _from_store(path: str, chunks: int, crs: str | None) -> xr.DataArray:
    name = public_name(path)
    try:
        if path.rstrip("/").lower().endswith((".nc", ".nc4")):
            dataset = xr.open_dataset(path, engine="h5netcdf", chunks={}, decode_coords="all")
        else:
            dataset = xr.open_zarr(path, chunks={}, decode_coords="all")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if "://" not in path and not Path(path).exists():
            raise InputError(f"{name} does not exist", code="GS-FILE-MISSING", hint="check the path") from error
        raise InputError(
            f"{name} is not a NetCDF or Zarr store that can be read",
            code="GS-RASTER-UNREADABLE",
            details=[str(error)[:300]],
        ) from error
    scene = _from_xarray(dataset, chunks, crs, name)
    scene.attrs["sources"] = (name,)
    return scene


def _from_xarray(source: xr.DataArray | xr.Dataset, chunks: int, crs: str | None, name: str) -> xr.DataArray:
    """Variables and further dimensions become bands."""
    arrays = [source] if isinstance(source, xr.DataArray) else [source[key] for key in source.data_vars]
    parts = [_bands_of(array, single=isinstance(source, xr.DataArray)) for array in arrays if array.ndim >= 2]
    parts = [part for part in parts if part is not None]
    if not parts:
        raise InputError(f"{name} holds no grid with rows and columns", code="GS-RASTER-UNREADABLE")
    scene = parts[0] if len(parts) == 1 else xr.concat(parts, "band", coords="minimal", compat="override")
    if not np.issubdtype(scene.dtype, np.float32):
        scene = scene.astype(np.float32)
    if scene.chunks is not None:
        scene = scene.chunk({"band": -1, "y": chunks, "x": chunks})
    if scene["y"].size > 1 and scene["y"][1] > scene["y"][0]:
        scene = scene.isel(y=slice(None, None, -1))
    known = source.odc.crs or (scene.odc.crs if scene.odc.geobox is not None else None)
    if known is None and crs is None:
        raise InputError(
            f"{name} has no coordinate reference system",
            code="GS-CRS-MISSING",
            hint="write one with it (spatial_ref), or say which it is: --crs EPSG:n",
        )
    scene = scene.odc.assign_crs(known if known is not None else crs)
    if scene.odc.geobox is None:
        raise InputError(
            f"{name} is not on a regular grid", code="GS-RASTER-ROTATED", hint="warp it to a regular grid first"
        )
    scene.attrs = {"sources": tuple(source.attrs.get("sources", ()))}
    return scene


_Y, _X = ("y", "latitude", "lat", "northing"), ("x", "longitude", "lon", "easting")


def _bands_of(array: xr.DataArray, *, single: bool) -> xr.DataArray | None:
    """One variable as ``(band, y, x)``; None where it has no rows and columns."""
    lower = {str(dim).lower(): dim for dim in array.dims}
    y = next((lower[name] for name in _Y if name in lower), None)
    x = next((lower[name] for name in _X if name in lower), None)
    if y is None or x is None:
        return None
    array = array.rename({dim: new for dim, new in ((y, "y"), (x, "x")) if dim != new})
    others = [dim for dim in array.dims if dim not in ("y", "x")]
    label = str(array.name) if array.name is not None else "band"
    if not others:
        array = array.expand_dims(band=[label])
    elif others != ["band"] or not single:
        values = array.stack(band=others) if len(others) > 1 else array.rename({others[0]: "band"})
        keys = values["band"].values.tolist() if "band" in values.coords else list(range(1, values.sizes["band"] + 1))
        names = ["_".join(str(part) for part in (key if isinstance(key, tuple) else (key,))) for key in keys]
        values = values.drop_vars([name for name in values.coords if name == "band" or name in others])
        array = values.assign_coords(band=names if single else [f"{label}_{one}" for one in names])
    else:
        labels = array["band"].values.tolist() if "band" in array.coords else range(1, array.sizes["band"] + 1)
        named = array.attrs.get("long_name")
        if isinstance(named, tuple | list) and len(named) == array.sizes["band"]:
            labels = named
        array = array.assign_coords(band=[str(one) for one in labels])
    keep = {"band", "y", "x", "spatial_ref", "wavelength", "fwhm", "good", "classes"}
    array = array.drop_vars([name for name in array.coords if name not in keep])
    found: xr.DataArray = array.transpose("band", "y", "x")
    return found


def _mark(scene: xr.DataArray, bands: Sequence[str], classes: Sequence[str]) -> xr.DataArray:
    """The bands asked for, and which of them hold classes."""
    offered = Bands.of(scene).names
    for wanted, what in ((bands, "bands"), (classes, "scene.classes")):
        missing = [name for name in wanted if name not in offered]
        if missing:
            near = get_close_matches(missing[0], offered, n=3)
            raise InputError(
                f"{what} names what the scene does not hold: {listing(missing, 5)}",
                code="GS-BANDS-UNKNOWN",
                details=[f"offered: {listing(offered)}", *([f"near: {listing(near)}"] if near else [])],
            )
    if bands:
        scene = scene.isel(band=[offered.index(name) for name in bands])
    names = Bands.of(scene).names
    if classes:
        scene = scene.assign_coords(classes=("band", [name in classes for name in names]))
    return scene
