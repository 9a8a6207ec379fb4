"""NetCDF files, Zarr stores and xarray objects: which variables are bands, how they are called, on which grid."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import odc.geo.xr  # noqa: F401 - gives xarray objects their .odc
import xarray as xr
import zarr
from affine import Affine
from dask.base import tokenize
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.errors import InputError, listing
from geosoil.types import Opened

from .addresses import is_remote, redact, short_name, suffix
from .chunks import Chunked, read_by
from .grids import LONGEST
from .hdfchunks import deflated
from .headers import NO_MAP, choose_crs, sensor_grid, unreadable_crs
from .variables import Cube, Variable, VariableStack, is_plain
from .wavelengths import Spectral
from .zarrchunks import ZarrArray, array_of
from .zarrcodecs import MOST_BYTES, checked_codecs

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["StoreReader", "cube_of", "facts_of", "is_store", "open_store"]

_NETCDF = frozenset({".nc", ".nc4", ".cdf", ".h5", ".hdf5"})
#: Names of rows and columns, as they are met.
_SPATIAL = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"), ("yc", "xc"))
#: Labels that are no name: a number or a time.
_NUMBER = re.compile(r"-?[\d.]+|\d{4}-\d\d-\d\d(T[\d:]+)?")
#: Part of a cell by which coordinates may leave a regular grid; those of float32 are rounded.
_REGULAR = 0.05
#: What a scene tells of its values.
_FACTS = ("quantity", "units", "level", "sensor", "acquired", "notes", "scale", "sun_zenith_deg", "sun_azimuth_deg")


@dataclass(frozen=True)
class StoreReader:
    """Opens NetCDF files and Zarr stores."""

    def accepts(self, address: str) -> bool:
        """Whether `is_store`."""
        return is_store(address)

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """See `types.Reader`."""
        stack = open_store(address, crs=crs, mapped=mapped)
        attrs = [one.array.attrs for one in stack.variables]
        facts = facts_of(attrs[0]) if len(attrs) == 1 and stack.bands.wavelength_nm else {}
        return Opened(address, stack.bands, stack.geobox, stack, (redact(address),), facts)


def facts_of(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """What the attributes of a scene tell of its values.

    A scene of `open_scene`, which names its sources, keeps them all. Of others only what is known is taken, and
    nothing where they do not say what the values are.
    """
    if "sources" in attrs:
        found = {str(name): value for name, value in attrs.items() if name != "sources"}
    elif attrs.get("quantity") in {"reflectance", "radiance", "dn"}:
        found = {name: attrs[name] for name in _FACTS if name in attrs}
    else:
        return {}
    if "notes" in found:
        notes = found["notes"]
        found["notes"] = (notes,) if isinstance(notes, str) else tuple(str(one) for one in notes)
    return found


def is_store(address: str) -> bool:
    """Whether xarray opens the address: NetCDF by its suffix, Zarr by its suffix or because it is a folder.

    >>> is_store("cube.zarr/"), is_store("dem.tif")
    (True, False)
    """
    return suffix(address) in _NETCDF | {".zarr"} or (not is_remote(address) and Path(address).is_dir())


def open_store(address: str, *, crs: str | None = None, mapped: bool = True) -> VariableStack:
    """Open a NetCDF file or a Zarr store.

    Raises
    ------
    InputError
        ``GS-RASTER-UNREADABLE``, ``GS-CRS-MISSING``, ``GS-GRID-MISSING``, ``GS-GRID-IRREGULAR``.
    """
    try:
        engine = _engine(address)
        if engine == "h5netcdf" and not is_remote(address):
            # Damage at the root is seen here; a half-opened file of h5netcdf fails once more when it is thrown away.
            with h5py.File(address, "r") as file:
                dict(file.attrs)
                _check_hdf(file)
        ours: Mapping[str, Chunked] = {}
        checked: AbstractContextManager[None] = nullcontext()
        if engine == "zarr":
            largest, ours = _chunked(address)
            checked = checked_codecs(largest)
        elif engine == "h5netcdf" and not is_remote(address):
            ours = deflated(address)
        with checked, warnings.catch_warnings():
            # Nor has a store to have its metadata a second time in one place.
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
            dataset = xr.open_dataset(address, engine=engine, chunks=None, cache=False, decode_cf=False)
            dataset = read_by(dataset, ours)
            # What we can decode ourselves is done when it is read, as for files: in one pass, and to the same numbers.
            scaled: Any = {name: not is_plain(one) for name, one in dataset.variables.items()}
            dataset = xr.decode_cf(dataset, decode_coords="all", decode_times=False, mask_and_scale=scaled)
        for one in dataset.coords.values():
            if one.ndim < 2:  # what is told of bands; rows and columns are there already
                one.load()
    except Exception as error:  # each engine and codec raises its own kinds
        raise InputError(
            f"{short_name(address)} is not a raster that can be read",
            code="GS-RASTER-UNREADABLE",
            details=[f"file: {redact(address)}", redact(str(error))[:300]],
            hint="download it first" if is_remote(address) else "check that it is a whole NetCDF file or Zarr store",
        ) from error
    if suffix(address) not in _NETCDF:
        # A Zarr store lists its members as they come, and not twice in the same order.
        dataset = dataset[sorted(dataset.data_vars, key=str)]
    return _stack_of(dataset, address, crs, _stamp(address), mapped=mapped)


def _check_hdf(file: h5py.File) -> None:
    """Raise ValueError for sizes that no memory holds: they are a lie, or not meant to be read in windows."""
    for name in file:
        # A link may lead nowhere, or to another file.
        one = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(one, h5py.Dataset) and one.shape is not None:
            if one.external:
                raise ValueError(f"the values of {name!r} lie in another file, {one.external[0][0]!r:.100}")
            bare = str(one.attrs.get("NAME", "")).startswith("This is a netCDF dimension but not a netCDF variable")
            _check_sizes(name, one.shape, one.chunks or (), one.dtype.itemsize, read_whole=one.is_scale and not bare)


def _chunked(address: str) -> tuple[int, dict[str, ZarrArray]]:
    """Bytes of the largest chunk of a Zarr store, and the arrays that we read; raises ValueError as `_check_hdf`."""
    largest, ours = 0, {}
    with checked_codecs():
        for name, one in zarr.open_group(address, mode="r").arrays():
            # The third format has names of dimensions, the second keeps them among the attributes.
            dims = getattr(one.metadata, "dimension_names", None) or one.attrs.get("_ARRAY_DIMENSIONS")
            _check_sizes(name, one.shape, one.chunks, one.dtype.itemsize, read_whole=dims in ([name], (name,)))
            largest = max(largest, math.prod(one.chunks) * one.dtype.itemsize)
            if not is_remote(address) and (array := array_of(one, address)) is not None:
                ours[name] = array
    return largest, ours


def _check_sizes(name: str, shape: Sequence[int], chunks: Sequence[int], itemsize: int, *, read_whole: bool) -> None:
    if read_whole and math.prod(shape) > LONGEST:
        raise ValueError(f"{name!r} has {math.prod(shape):,} coordinates; at most {LONGEST:,} are read")
    if (size := math.prod(chunks) * itemsize) > MOST_BYTES:
        raise ValueError(f"a chunk of {name!r} is {size / 2**30:,.1f} GiB; at most {MOST_BYTES / 2**30:.0f} is read")


def _engine(address: str) -> str:
    if suffix(address) not in _NETCDF:
        return "zarr"
    if is_remote(address):
        return "h5netcdf"
    with Path(address).open("rb") as file:
        return "scipy" if file.read(3) == b"CDF" else "h5netcdf"


def _stamp(address: str) -> str:
    return address if is_remote(address) else f"{address}|{Path(address).stat().st_mtime_ns}"


def cube_of(
    source: xr.DataArray | xr.Dataset,
    *,
    chunks: int,
    crs: str | None = None,
    label: str = "the scene",
    mapped: bool = True,
) -> Cube:
    """The bands of an xarray object as one lazy array; dask arrays keep their chunks and stay uncomputed.

    Parameters
    ----------
    source : DataArray or Dataset
        Dimensions in any order; variables without rows and columns are passed over.
    chunks : int
        Edge of the chunks of what is not chunked yet, cells.
    crs : str, optional
        CRS where the object has none.
    label : str
        What messages call it.
    mapped : bool
        Whether a map grid is needed.
    """
    stack = _stack_of(source, label, crs, tokenize(source), mapped=mapped)
    if isinstance(source, xr.DataArray) and _is_scene(source):
        return Cube(source.data, stack.bands, stack.geobox)
    return Cube(stack.lazy(chunks), stack.bands, stack.geobox)


def _is_scene(source: xr.DataArray) -> bool:
    """Whether `open_scene` made it, so that nothing is left to decode."""
    ours = source.dims == ("band", "y", "x") and source.dtype == np.float32 and source.chunks is not None
    in_order = ours and (bool(source["y"][0] >= source["y"][-1]) or source.odc.crs is None)
    return in_order and "sources" in source.attrs and "classes" in source.coords


def _stack_of(
    source: xr.DataArray | xr.Dataset, address: str, crs: str | None, stamp: str, *, mapped: bool
) -> VariableStack:
    gridded = _gridded(source, address)
    single = isinstance(source, xr.DataArray)
    bands = _bands(gridded, single=single)
    try:
        geobox = _geobox(gridded[0], source, address, crs)
        return VariableStack(tuple(_north_up(one) for one in gridded), bands, geobox, stamp)
    except InputError as error:
        if mapped or error.code not in NO_MAP:
            raise
    ordered = tuple(_planes(one.transpose(..., *_spatial(one))) for one in gridded)  # type: ignore[misc]
    return VariableStack(ordered, bands, sensor_grid(ordered[0].array.shape[-2:]), stamp)  # type: ignore[arg-type]


def _bands(gridded: list[xr.DataArray], *, single: bool) -> Bands:
    """What is known of the bands; names along a band axis stand alone, so that a written scene comes back as it was."""
    named = [_has_named_bands(one) for one in gridded]
    if named == [True]:
        return _in_nm(Bands.of(_plain_facts(gridded[0])), gridded[0])
    told = [_names(one, single=single) for one in gridded]
    if sum(named) == 1:
        place = named.index(True)
        alone = [str(name) for name in gridded[place]["band"].values.tolist()]
        others = {name for names in told[:place] + told[place + 1 :] for name in names}
        if not others & set(alone):
            told[place] = alone
    return Bands(tuple(name for names in told for name in names))


def _plain_facts(array: xr.DataArray) -> xr.DataArray:
    """The array without coordinates that only share their name with what `Bands` takes."""
    kinds = {"classes": "iufb", "wavelength": "iufb", "fwhm": "iufb", "good": "iufb", "why": "UTO"}
    facts = [field for field in kinds if field in array.coords]
    return array.drop_vars(
        [one for one in facts if array[one].dims != ("band",) or array[one].dtype.kind not in kinds[one]]
    )


def _in_nm(bands: Bands, array: xr.DataArray) -> Bands:
    """The bands with wavelengths in nm, where their coordinate states another unit."""
    unit = array["wavelength"].attrs.get("units") if bands.wavelength_nm else None
    if unit is None:
        return bands
    where = str(array.name or "the scene")
    found = Spectral.of(bands.wavelength_nm, str(unit), fwhm=bands.fwhm_nm, where=where)
    return replace(bands, wavelength_nm=found.wavelength_nm, fwhm_nm=found.fwhm_nm)


def _has_named_bands(source: xr.DataArray) -> bool:
    others = set(source.dims) - set(_spatial(source) or ())
    return others == {"band"} and "band" in source.coords and source["band"].dtype.kind in "UTO"


def _north_up(array: xr.DataArray) -> Variable:
    """The variable with rows and columns last, its northernmost row first."""
    rows, cols = _spatial(array)  # type: ignore[misc]
    ordered = array.transpose(..., rows, cols)
    centres = ordered[rows].values
    flip = len(centres) > 1 and centres[1] > centres[0]
    return _planes(ordered.isel({rows: slice(None, None, -1)}) if flip else ordered)


def _planes(ordered: xr.DataArray) -> Variable:
    return Variable(ordered, tuple(range(int(np.prod(ordered.shape[:-2])))))


def _names(variable: xr.DataArray, *, single: bool) -> list[str]:
    """Names of a variable's planes, after it and its further coordinates."""
    spatial = _spatial(variable)
    others = [str(dim) for dim in variable.dims if str(dim) not in (spatial or ())]
    name = str(variable.name) if variable.name is not None else "band"
    found = []
    for labels in product(*[_labels(variable, dim, single=single) for dim in others]):
        parts = [label for label in labels if label]
        # Labels in words name the bands of a single array; others say which slice of the variable it is.
        worded = single and parts and not all(_NUMBER.fullmatch(part) for part in parts)
        found.append("_".join(parts if worded else [name, *parts]))
    return found


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
    times = _times(variable[dim]) if dim in variable.coords else []
    if times:
        return times
    values = variable[dim].values.tolist() if dim in variable.coords else range(1, size + 1)
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in values]


def _times(labels: xr.DataArray) -> list[str]:
    """Days, where they tell the labels apart, else seconds; empty where the labels are no times.

    >>> _times(xr.DataArray([0, 31], dims="time", attrs={"units": "days since 2001-01-01"}))
    ['2001-01-01', '2001-02-01']
    """
    if " since " in str(labels.attrs.get("units", "")):
        try:
            labels = xr.decode_cf(xr.Dataset({"times": labels.variable.to_base_variable()}))["times"]
        except (ValueError, OverflowError, ImportError):  # units or a calendar that xarray alone cannot decode
            return []
    if labels.dtype.kind != "M" or bool(labels.isnull().any()):
        return []
    days, seconds = ([str(one) for one in np.datetime_as_string(labels.values, unit=unit)] for unit in ("D", "s"))
    return days if len(set(days)) == len(days) else seconds


def _geobox(array: xr.DataArray, source: xr.DataArray | xr.Dataset, address: str, crs: str | None) -> GeoBox:
    rows, cols = _spatial(array)  # type: ignore[misc]
    down, down_step = _axis(array, rows, address, -1)
    across, across_step = _axis(array, cols, address, 1)
    found = _crs_told(array, source, address)
    if found is None and (down[0], down_step, across[0], across_step) == (0.5, 1, 0.5, 1):
        raise InputError(
            f"{short_name(address)} is in sensor geometry, and has no place on the map",
            code="GS-GRID-MISSING",
            details=["its y counts lines and its x samples"],
            hint="put the image on a map grid first, as with gdalwarp; to look at it: mapped=False",
        )
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
    affine = Affine(across_step, 0, left, 0, -step, top)
    if not 0 < abs(affine.determinant) < math.inf:
        raise InputError(
            f"{short_name(address)} has cells of no size",
            code="GS-GRID-IRREGULAR",
            details=[f"steps: {across_step:.10g} along {cols!r}, {step:.10g} along {rows!r}"],
            hint="correct its coordinates",
        )
    return GeoBox((len(down), len(across)), affine, chosen)


def _crs_told(array: xr.DataArray, source: xr.DataArray | xr.Dataset, address: str) -> CRS | None:
    """What an array, or else the whole that it is of, says of its CRS."""
    try:
        found: CRS | None = array.odc.crs
        return source.odc.crs if found is None else found
    except Exception as error:  # odc-geo and pyproj raise several kinds
        raise unreadable_crs(address, error) from error


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
    words = str(array.coords["spatial_ref"].attrs.get("GeoTransform", "")) if "spatial_ref" in array.coords else ""
    with suppress(TypeError, ValueError):  # no numbers
        noted = array[dim].attrs.get("resolution")
        numbers = [float(one) for one in words.split()]
        if noted is not None:
            return float(noted)
        if len(numbers) == 6:
            return numbers[1] if sign > 0 else numbers[5]
    raise InputError(
        f"{short_name(address)} has one cell along {dim!r}, and no cell size",
        code="GS-GRID-MISSING",
        hint=f"set the attribute 'resolution' of coordinate {dim!r}",
    )
