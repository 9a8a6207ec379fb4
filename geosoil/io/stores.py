"""NetCDF files, Zarr stores and xarray objects: variables and their further dimensions become bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401 - gives xarray objects their .odc
import xarray as xr
from affine import Affine
from dask.base import tokenize
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.errors import InputError, listing

from .addresses import is_remote, redact, short_name, suffix
from .headers import choose_crs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["Planes", "is_store", "open_store", "planes_of"]

_NETCDF = frozenset({".nc", ".nc4", ".cdf", ".h5", ".hdf5"})
#: Names of rows and columns, as they are met.
_SPATIAL = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"), ("yc", "xc"))
#: Part of a cell by which coordinates may leave a regular grid; those of float32 are rounded.
_REGULAR = 0.05


@dataclass(frozen=True)
class Planes:
    """Two-dimensional planes of xarray objects on one grid, one a band.

    Attributes
    ----------
    names : tuple of str
        Names of the bands.
    arrays : tuple of DataArray
        One ``(y, x)`` plane a band, its northernmost row first.
    geobox : GeoBox
        Their grid.
    stamp : str
        What tells these data from others, for dask.
    known : Bands or None
        What the object said of its bands.
    """

    names: tuple[str, ...]
    arrays: tuple[xr.DataArray, ...] = field(repr=False)
    geobox: GeoBox = field(repr=False)
    stamp: str = ""
    known: Bands | None = None

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("geosoil.Planes", self.names, self.stamp)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        rows, cols = self.geobox.shape
        return len(self.names), int(rows), int(cols)

    def take(self, positions: list[int]) -> Planes:
        """Some of the planes."""
        return Planes(
            tuple(self.names[place] for place in positions),
            tuple(self.arrays[place] for place in positions),
            self.geobox,
            self.stamp,
            self.known.take(positions) if self.known is not None else None,
        )

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `lazy.WindowReader`."""
        out = np.empty((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
        for place, band in enumerate(bands):
            window = self.arrays[band][slice(*rows), slice(*cols)]
            try:
                values = window.data.compute(scheduler="synchronous") if window.chunks is not None else window.values
            except (OSError, RuntimeError, ValueError) as error:
                raise InputError(
                    f"band {self.names[band]!r} cannot be read in rows {rows[0]}-{rows[1] - 1}",
                    code="GS-RASTER-READ",
                    details=[
                        f"source: {redact(self.stamp) or 'an xarray object'}",
                        f"window: rows {rows[0]} to {rows[1] - 1}, columns {cols[0]} to {cols[1] - 1}",
                        redact(str(error))[:300],
                    ],
                    hint="the file is cut off or damaged, or its disk or server failed: copy it again",
                ) from error
            out[place] = _finite(np.asarray(values), self.arrays[band].attrs)
        return out

    def dask(self, chunks: int) -> da.Array:
        """The planes as one dask array; the chunks of planes that are dask arrays are kept."""
        planes = [self._plane(place, chunks) for place in range(len(self.names))]
        return da.stack(planes)

    def _plane(self, place: int, chunks: int) -> da.Array:
        plane = self.arrays[place]
        data = plane.data if plane.chunks is not None else da.from_array(plane.values, chunks=chunks)
        return data.map_blocks(
            _finite, plane.attrs, dtype=np.float32, meta=np.empty((0, 0), np.float32), name=None, token=None
        )


def _finite(values: NDArray[Any], attrs: dict[str, Any]) -> Float32:
    """Values as float32 with NaN for no data, where the attributes still say how they are stored."""
    nodata = attrs.get("_FillValue", attrs.get("missing_value", attrs.get("nodata")))
    scale, offset = float(attrs.get("scale_factor", 1.0)), float(attrs.get("add_offset", 0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        out = (values * scale + offset if (scale, offset) != (1.0, 0.0) else values).astype(np.float32)
        out[~np.isfinite(out)] = np.nan
    if nodata is not None:
        out[np.isin(values, np.asarray(nodata).astype(values.dtype, casting="unsafe"))] = np.nan
    return out


def is_store(address: str) -> bool:
    """Whether xarray opens the address: NetCDF by its suffix, Zarr by its suffix or because it is a folder.

    >>> is_store("cube.zarr/"), is_store("dem.tif")
    (True, False)
    """
    return suffix(address) in _NETCDF | {".zarr"} or (not is_remote(address) and Path(address).is_dir())


def open_store(address: str, *, crs: str | None = None) -> Planes:
    """Open a NetCDF file or a Zarr store.

    Raises
    ------
    InputError
        ``GS-RASTER-UNREADABLE``, ``GS-CRS-MISSING``, ``GS-GRID-MISSING``, ``GS-GRID-IRREGULAR``.
    """
    try:
        dataset = xr.open_dataset(
            address, engine=_engine(address), chunks=None, cache=False, decode_coords="all", decode_times=False
        )
    except Exception as error:  # each engine raises its own kinds
        raise InputError(
            f"{short_name(address)} is not a raster that can be read",
            code="GS-RASTER-UNREADABLE",
            details=[f"file: {redact(address)}", redact(str(error))[:300]],
            hint="download it first" if is_remote(address) else "check that it is a whole NetCDF file or Zarr store",
        ) from error
    return planes_of(dataset, address, crs=crs, stamp=_stamp(address))


def _engine(address: str) -> str:
    if suffix(address) not in _NETCDF:
        return "zarr"
    if is_remote(address):
        return "h5netcdf"
    with Path(address).open("rb") as file:
        return "scipy" if file.read(3) == b"CDF" else "h5netcdf"


def _stamp(address: str) -> str:
    changed = "" if is_remote(address) else f" {Path(address).stat().st_mtime_ns}"
    return address + changed


def planes_of(
    source: xr.DataArray | xr.Dataset, address: str = "the scene", *, crs: str | None = None, stamp: str = ""
) -> Planes:
    """The planes of an xarray object, dimensions in any order.

    Parameters
    ----------
    source : DataArray or Dataset
        Variables without rows and columns are passed over.
    address : str
        How messages call it.
    crs : str, optional
        CRS where the object has none.
    stamp : str
        What tells these data from others; default: dask's token of them.
    """
    variables = _gridded(source, address)
    first = variables[0]
    geobox = _geobox(first, source, address, crs)
    rows, _ = _spatial(first)  # type: ignore[misc]
    ascending = first[rows].size > 1 and rows in first.coords and float(first[rows][1]) > float(first[rows][0])
    single = isinstance(source, xr.DataArray)
    planes = [
        (name, plane[::-1] if ascending else plane)
        for variable in variables
        for name, plane in _planes(variable, single=single)
    ]
    known = Bands.of(source) if single and _is_scene(source) else None
    return Planes(
        names=known.names if known is not None else tuple(name for name, _ in planes),
        arrays=tuple(plane for _, plane in planes),
        geobox=geobox,
        stamp=stamp or tokenize(source),
        known=known,
    )


def _is_scene(source: xr.DataArray | xr.Dataset) -> bool:
    """Whether its bands are named, as those of a scene."""
    return "band" in source.dims and "band" in source.coords and source["band"].dtype.kind in "UTO"


def _spatial(array: xr.DataArray) -> tuple[str, str] | None:
    lower = {str(dim).lower(): str(dim) for dim in array.dims}
    for rows, cols in _SPATIAL:
        if rows in lower and cols in lower:
            return lower[rows], lower[cols]
    return None


def _gridded(source: xr.DataArray | xr.Dataset, address: str) -> list[xr.DataArray]:
    found = [source] if isinstance(source, xr.DataArray) else list(source.data_vars.values())
    gridded = [one for one in found if _spatial(one) is not None and one.dtype.kind in "iufb"]
    if not gridded:
        raise InputError(
            f"{short_name(address)} holds no grid with rows and columns",
            code="GS-RASTER-UNREADABLE",
            details=[f"{one.name or 'array'}: {listing([str(dim) for dim in one.dims])}" for one in found[:10]],
            hint="name its dimensions y and x, or latitude and longitude",
        )
    shapes = {tuple(one.sizes[dim] for dim in _spatial(one) or ()) for one in gridded}
    if len(shapes) > 1:
        raise InputError(
            f"variables of {short_name(address)} have different grids",
            code="GS-GRID-MISMATCH",
            details=[f"{one.name}: {dict(one.sizes)}" for one in gridded[:10]],
            hint="open one of them with xarray and give that",
        )
    return gridded


def _planes(variable: xr.DataArray, *, single: bool) -> Iterator[tuple[str, xr.DataArray]]:
    """The planes of one variable, named after it and its further coordinates."""
    spatial = _spatial(variable)
    others = [dim for dim in variable.dims if str(dim) not in (spatial or ())]
    ordered = variable.transpose(*others, *(spatial or ()))
    labels = [_labels(variable, str(dim), single=single) for dim in others]
    name = str(variable.name) if variable.name is not None else ""
    for index in product(*[range(variable.sizes[dim]) for dim in others]):
        parts = [text for text in (labels[axis][place] for axis, place in enumerate(index)) if text]
        # Labels that name the bands of a single array stand alone; others say which slice of the variable it is.
        named = single and parts and not all(part.isdecimal() for part in parts)
        yield "_".join(parts if named else [name or "band", *parts]) if parts else (name or "band"), ordered[index]


def _labels(variable: xr.DataArray, dim: str, *, single: bool) -> list[str]:
    """Names along a further dimension; empty for one of length 1 that need not be told."""
    size = variable.sizes[dim]
    named = variable.attrs.get("long_name")
    if single and dim == "band" and isinstance(named, (tuple, list)) and len(named) == size:
        return [str(one) for one in named]
    if dim in variable.coords and variable[dim].dtype.kind in "UTO":
        return [str(one) for one in variable[dim].values.tolist()]
    if size == 1:
        return [""]
    values = variable[dim].values.tolist() if dim in variable.coords else range(1, size + 1)
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in values]


def _geobox(array: xr.DataArray, source: xr.DataArray | xr.Dataset, address: str, crs: str | None) -> GeoBox:
    rows, cols = _spatial(array)  # type: ignore[misc]
    down, down_step = _axis(array, rows, address, -1)
    across, across_step = _axis(array, cols, address, 1)
    found = array.odc.crs if array.odc.crs is not None else source.odc.crs
    chosen = choose_crs(found, crs, address)
    if across_step <= 0:
        raise InputError(
            f"{short_name(address)} has a rotated or mirrored grid",
            code="GS-GRID-ROTATED",
            details=[f"{cols} goes from {across[0]:.10g} in steps of {across_step:.10g}"],
            hint=f"sort it: scene.sortby({cols!r})",
        )
    step = abs(down_step)
    top = max(float(down[0]), float(down[-1])) + step / 2
    left = float(across[0]) - across_step / 2
    return GeoBox((len(down), len(across)), Affine(across_step, 0, left, 0, -step, top), chosen)


def _axis(array: xr.DataArray, dim: str, address: str, sign: int) -> tuple[Float64, float]:
    """Cell centres along an axis, and their step."""
    if dim not in array.coords:
        raise InputError(
            f"{short_name(address)} has no coordinates along {dim!r}",
            code="GS-GRID-MISSING",
            hint="give it the coordinates of the cell centres",
        )
    centres = array[dim].values.astype(np.float64)
    if len(centres) < 2:
        return centres, _lone_step(array, dim, address, sign)
    step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    off = np.abs(centres - (centres[0] + step * np.arange(len(centres))))
    if not np.isfinite(centres).all() or step == 0 or off.max() > _REGULAR * abs(step):
        raise InputError(
            f"{short_name(address)} is not on a regular grid",
            code="GS-GRID-IRREGULAR",
            details=[f"along {dim!r} the step is {step:.10g}, and one centre is {off.max():.3g} off"],
            hint="resample it to a regular grid first",
        )
    return centres, step


def _lone_step(array: xr.DataArray, dim: str, address: str, sign: int) -> float:
    """Cell size along an axis of one cell, from what odc-geo or GDAL noted."""
    noted = array[dim].attrs.get("resolution")
    if noted is not None:
        return float(noted)
    words = str(array.coords["spatial_ref"].attrs.get("GeoTransform", "")) if "spatial_ref" in array.coords else ""
    numbers = [float(one) for one in words.split()]
    if len(numbers) == 6:
        return numbers[1] if sign > 0 else numbers[5]
    raise InputError(
        f"{short_name(address)} has one cell along {dim!r}, and no cell size",
        code="GS-GRID-MISSING",
        hint=f"set the attribute 'resolution' of coordinate {dim!r}",
    )
