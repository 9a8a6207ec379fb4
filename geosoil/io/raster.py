"""Covariate stacks as one lazy scene, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from itertools import chain, groupby
from typing import Any, cast

import dask.array as da
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError, listing
from geosoil.types import PathLike, WindowReader

from .addresses import expand, redact, short_name
from .align import RESAMPLING, Aligned
from .grids import refuse_mismatch, same_crs, same_grid, show_grid
from .headers import open_raster
from .lazy import lazy_array, reader_of
from .rasterfile import FileStack
from .stores import cube_of, is_store, open_store
from .variables import Cube

__all__ = ["open_scene"]

Source = PathLike | xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class _Part:
    """Some of the scene's bands: what messages call them, their names, grid, reader, and the files they come from."""

    address: str
    bands: Bands
    geobox: GeoBox
    reader: WindowReader
    sources: tuple[str, ...]
    held: bool = False  # an object of the caller's, not a file

    def data(self, chunks: int) -> da.Array:
        # The user's own arrays keep their chunks and their graph; all else is read window by window.
        return self.reader.array if isinstance(self.reader, Cube) else lazy_array(self.reader, chunks)


def open_scene(
    source: Source | Sequence[Source],
    *,
    align: PathLike | None = None,
    resampling: str = "bilinear",
    bands: Sequence[str] = (),
    classes: Iterable[str] = (),
    chunks: int = 512,
    crs: str | None = None,
) -> xr.DataArray:
    """Open a covariate stack as a lazy scene; no data are read.

    Parameters
    ----------
    source : path, DataArray or Dataset, or a sequence of them
        Files (GeoTIFF, COG, VRT, ENVI, JPEG 2000, NetCDF), Zarr stores, folders, globs, ``https://``, ``s3://`` and
        ``/vsi`` addresses; or xarray objects with their dimensions in any order.
    align : path, optional
        Raster whose grid all others are put on. Without it, sources on different grids are refused.
    resampling : {"bilinear", "nearest", "cubic", "average", "mode"}
        How `align` takes values; class bands are always taken from the nearest cell.
    bands : sequence of str
        Bands to open, in this order; default: all.
    classes : iterable of str
        Bands that hold class codes.
    chunks : int
        Edge of the chunks, cells.
    crs : str, optional
        CRS of sources that have none.

    Returns
    -------
    DataArray
        ``(band, y, x)`` float32, NaN where there is no data; see the page on architecture. ``attrs["sources"]`` names
        the files, without what may be secret in their addresses.

    Raises
    ------
    InputError
        With code ``GS-FILE-MISSING``, ``GS-RASTER-UNREADABLE``, ``GS-RASTER-TRUNCATED``, ``GS-CRS-MISSING``,
        ``GS-GRID-MISMATCH``, ``GS-GRID-ROTATED``, ``GS-BANDS-TWICE`` or ``GS-BANDS-UNKNOWN``; ``GS-RASTER-READ`` when
        data are read later.
    UsageError
        ``GS-SOURCE`` where `source` is none of these, ``GS-RESAMPLING``, ``GS-CHUNKS``.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> stack = xr.Dataset(
    ...     {"dem": (("y", "x"), np.ones((2, 3))), "lithology": (("y", "x"), np.ones((2, 3), int))},
    ...     coords={"y": [30.0, 10.0], "x": [5.0, 25.0, 45.0]},
    ... )
    >>> scene = open_scene(stack, crs="EPSG:32755", classes=["lithology"])
    >>> scene.dims, scene["band"].values.tolist(), scene["classes"].values.tolist()
    (('band', 'y', 'x'), ['dem', 'lithology'], [False, True])
    """
    _check_settings(resampling, chunks)
    class_names = tuple(classes)
    parts = _parts(source, chunks, crs)
    sources = tuple(one for part in parts for one in part.sources)
    _check_unique(parts)
    offered = [name for part in parts for name in part.bands.names]
    _check_known("bands", bands, offered)
    _check_known("classes", class_names, offered)
    target = _target(parts, align)
    marked = [_marked(part, class_names) for part in _stacked(parts)]
    placed = [_put_on(part, target, resampling) for part in marked]
    return _scene(_chosen(placed, bands), target, chunks, sources)


def _check_settings(resampling: str, chunks: int) -> None:
    if resampling not in RESAMPLING:
        raise UsageError(
            f"resampling {resampling!r} is not known",
            code="GS-RESAMPLING",
            details=[f"known: {listing(RESAMPLING)}"],
        )
    if chunks < 1:
        raise UsageError(f"chunks of {chunks} cells are too small", code="GS-CHUNKS")


def _parts(source: Source | Sequence[Source], chunks: int, crs: str | None) -> list[_Part]:
    if isinstance(source, (xr.DataArray, xr.Dataset)):
        return [_held(source, "the scene", chunks, crs)]
    if isinstance(source, (list, tuple)) and any(isinstance(one, (xr.DataArray, xr.Dataset)) for one in source):
        parts: list[_Part] = []
        for place, one in enumerate(source, start=1):
            if isinstance(one, (xr.DataArray, xr.Dataset)):
                parts.append(_held(one, f"array {place}", chunks, crs))
            else:
                parts.extend(_open(address, crs) for address in expand(one))
        return parts
    return [_open(address, crs) for address in expand(cast(PathLike | Sequence[PathLike], source))]


def _held(source: xr.DataArray | xr.Dataset, label: str, chunks: int, crs: str | None) -> _Part:
    cube = cube_of(source, chunks=chunks, crs=crs, label=label)
    sources = tuple(str(one) for one in source.attrs.get("sources", ()))
    return _Part(label, cube.bands, cube.geobox, reader_of(cube.array) or cube, sources, held=True)


def _open(address: str, crs: str | None) -> _Part:
    sources = (redact(address),)
    if is_store(address):
        stack = open_store(address, crs=crs)
        return _Part(address, stack.bands, stack.geobox, stack, sources)
    file = open_raster(address, crs=crs)
    return _Part(address, Bands(file.names), file.geobox, FileStack((file,)), sources)


def _check_unique(parts: Sequence[_Part]) -> None:
    owners: dict[str, list[str]] = {}
    for part in parts:
        for name in part.bands.names:
            owners.setdefault(name, []).append(redact(part.address))
    twice = {name: places for name, places in owners.items() if len(places) > 1}
    if twice:
        raise InputError(
            f"band names occur twice: {listing(list(twice), 3)}",
            code="GS-BANDS-TWICE",
            details=[f"{name}: {listing(places, 3)}" for name, places in list(twice.items())[:10]],
            hint="rename the bands, or leave one of the files out",
        )


def _check_known(what: str, asked: Sequence[str], offered: Sequence[str]) -> None:
    missing = [name for name in asked if name not in offered]
    if not missing:
        return
    near = [
        f"{name}: perhaps {listing([repr(one) for one in close])}"
        for name in missing[:10]
        if (close := get_close_matches(name, offered, n=2))
    ]
    raise InputError(
        f"{what} that the scene does not have: {listing([repr(name) for name in missing], 3)}",
        code="GS-BANDS-UNKNOWN",
        details=[f"the scene has: {listing(offered, 20)}", *near],
        hint=f"correct the names of the {what}",
    )


def _stacked(parts: Sequence[_Part]) -> list[_Part]:
    """Neighbouring files on one grid as one part, so that a chunk holds all of their bands."""
    found: list[_Part] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and _join(last, part):
            files = cast(FileStack, last.reader).files + cast(FileStack, part.reader).files
            found[-1] = replace(last, bands=_merged([last.bands, part.bands]), reader=FileStack(files))
        else:
            found.append(part)
    return found


def _join(last: _Part, part: _Part) -> bool:
    both_files = isinstance(last.reader, FileStack) and isinstance(part.reader, FileStack)
    return both_files and same_grid(last.geobox, part.geobox)


def _merged(bands: Sequence[Bands]) -> Bands:
    """The bands of several parts, one after the other; what not all of them tell is left out."""

    def joined(field: str) -> tuple[Any, ...]:
        values = [getattr(one, field) for one in bands]
        return tuple(chain.from_iterable(values)) if all(values) else ()

    return Bands(**{field.name: joined(field.name) for field in fields(Bands)})


def _marked(part: _Part, classes: Sequence[str]) -> _Part:
    """The part with its class bands marked, beside those that it marks itself."""
    known = part.bands.classes or (False,) * len(part.bands)
    marks = tuple(mark or name in classes for name, mark in zip(part.bands.names, known, strict=True))
    return replace(part, bands=replace(part.bands, classes=marks))


def _target(parts: Sequence[_Part], align: PathLike | None) -> GeoBox:
    """The scene's grid."""
    if align is None:
        try:
            refuse_mismatch([(part.address, part.geobox) for part in parts])
        except InputError as error:
            if any(part.held for part in parts):
                error.hint = "put them on one grid first: one.odc.reproject(other.odc.geobox)"
            raise
        return parts[0].geobox
    like = [_open(address, None) for address in expand(align)]
    refuse_mismatch([(part.address, part.geobox) for part in like])
    return like[0].geobox


def _put_on(part: _Part, target: GeoBox, resampling: str) -> _Part:
    if same_grid(part.geobox, target):
        return part
    _check_overlap(part, target)
    ways = tuple("nearest" if mark else resampling for mark in part.bands.classes)
    reader = Aligned(part.reader, part.geobox, target, ways)
    return replace(part, geobox=target, reader=reader)


def _check_overlap(part: _Part, target: GeoBox) -> None:
    if _overlap(part.geobox, target):
        return
    raise InputError(
        f"{short_name(part.address)} lies outside the grid to align to",
        code="GS-GRID-APART",
        details=[f"it: {show_grid(part.geobox)}", f"to align to: {show_grid(target)}"],
        hint="check the CRS of both",
    )


def _overlap(one: GeoBox, other: GeoBox) -> bool:
    outline = one.extent if same_crs(one.crs, other.crs) or other.crs is None else one.footprint(other.crs)
    return bool(outline.intersects(other.extent))


def _chosen(parts: Sequence[_Part], wanted: Sequence[str]) -> list[_Part]:
    """The bands asked for, in that order; neighbours from one part stay together."""
    if not wanted:
        return list(parts)
    owners = {name: (part, place) for part in parts for place, name in enumerate(part.bands.names)}
    found = []
    for _, group in groupby((owners[name] for name in wanted), key=lambda owner: id(owner[0])):
        members = list(group)
        part, places = members[0][0], [place for _, place in members]
        found.append(replace(part, bands=part.bands.take(places), reader=part.reader.take(places)))
    return found


def _scene(parts: Sequence[_Part], grid: GeoBox, chunks: int, sources: tuple[str, ...]) -> xr.DataArray:
    arrays = [part.data(chunks) for part in parts]
    data = arrays[0] if len(arrays) == 1 else da.concatenate(arrays)
    coords: dict[Any, Any] = {**xr_coords(grid, dims=("y", "x")), **_merged([part.bands for part in parts]).coords()}
    # Named, as xarray would else show dask's name of the data.
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords, name="scene", attrs={"sources": sources})
