"""Covariate stacks as one lazy scene, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import groupby
from typing import Any, cast

import dask.array as da
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError, listing
from geosoil.registry import reader_for
from geosoil.types import Opened, PathLike, WindowReader

from .addresses import expand, redact, short_name
from .align import RESAMPLING, Aligned
from .cube import RasterReader, with_settings
from .gaofen.names import join_of
from .grids import outline_on, refuse_mismatch, same_grid, show_grid
from .lazy import lazy_array, reader_of
from .products import addresses_of
from .stack import Stack
from .stores import cube_of, facts_of
from .variables import Cube
from .wavelengths import mark_overlaps

__all__ = ["open_scene"]

Source = PathLike | xr.DataArray | xr.Dataset
#: What a band is of which a source does not say it, when another one does.
_UNTOLD: dict[str, Any] = {"classes": False, "good": True, "why": ""}


def open_scene(
    source: Source | Sequence[Source],
    *,
    align: PathLike | None = None,
    resampling: str = "bilinear",
    bands: Sequence[str] = (),
    classes: Iterable[str] = (),
    chunks: int = 512,
    crs: str | None = None,
    mapped: bool = True,
    wavelengths: PathLike | None = None,
    scale: float | None = None,
) -> xr.DataArray:
    """Open a covariate stack or a hyperspectral cube as a lazy scene.

    No data are read, but for few cells of a cube of which nothing else tells the scale.

    Parameters
    ----------
    source : path, DataArray or Dataset, or a sequence of them
        Files (GeoTIFF, COG, VRT, ENVI, JPEG 2000, NetCDF), Zarr stores, products of a sensor (a folder, an archive or
        their main file), folders, globs, ``https://``, ``s3://`` and ``/vsi`` addresses; or xarray objects with their
        dimensions in any order.
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
    mapped : bool
        Whether a map grid is needed. Else a source without one opens in sensor geometry: y counts lines downwards, x
        counts samples, and there is no CRS.
    wavelengths : path, optional
        Table with the columns ``wavelength`` [nm] and, where known, ``fwhm`` and ``good``, for a raster file that has
        no wavelengths, or wrong ones; or ``nm`` or ``um``, the unit of those of a file that does not state it.
    scale : float, optional
        Stored numbers are reflectance times this, whatever the file says: 10000, 100 for percent, 1.

    Returns
    -------
    DataArray
        ``(band, y, x)`` float32, NaN where there is no data; see the page on architecture. ``attrs["sources"]`` names
        the files, without what may be secret in their addresses. A cube has wavelengths in nm, and ``attrs`` say what
        it holds: ``quantity`` (reflectance from 0 to 1, radiance or bare counts, dn), ``units``, ``scale`` (how it was
        found), ``sensor`` and ``acquired`` where they are told, and ``notes``.

    Raises
    ------
    InputError
        With code ``GS-FILE-MISSING``, ``GS-RASTER-UNREADABLE``, ``GS-RASTER-TRUNCATED``, ``GS-CRS-MISSING``,
        ``GS-GRID-MISMATCH``, ``GS-GRID-ROTATED``, ``GS-BANDS-TWICE`` or ``GS-BANDS-UNKNOWN``; for cubes
        ``GS-ENVI-HEADER``, ``GS-RASTER-SIZE``, ``GS-BYTE-ORDER``, ``GS-WAVELENGTH``, ``GS-WAVELENGTH-UNIT``,
        ``GS-WAVELENGTH-TABLE``, ``GS-INTERLEAVE``, ``GS-LINES-SAMPLES``, ``GS-SCALE`` or ``GS-QUANTITY-MIXED``;
        ``GS-RASTER-READ`` when data are read later.
    UsageError
        ``GS-SOURCE`` where `source` is none of these, ``GS-RESAMPLING``, ``GS-CHUNKS``, ``GS-CUBE-SETTINGS``.

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
    how = RasterReader() if wavelengths is None and scale is None else _how(wavelengths, scale)
    parts = _parts(source, chunks, crs, mapped, how)
    sources = tuple(one for part in parts for one in part.sources)
    facts = _facts(parts)
    _check_unique(parts)
    offered = [name for part in parts for name in part.bands.names]
    _check_known("bands", bands, offered)
    _check_known("classes", class_names, offered)
    target = _target(parts, align, held=any(_is_held(one) for one in _listed(source)))
    marked = [_marked(part, class_names) for part in _stacked(_joined(parts))]
    placed = [_put_on(part, target, resampling) for part in marked]
    return _scene(_chosen(placed, bands), target, chunks, {"sources": sources, **facts})


def _check_settings(resampling: str, chunks: int) -> None:
    if resampling not in RESAMPLING:
        raise UsageError(
            f"resampling {resampling!r} is not known",
            code="GS-RESAMPLING",
            details=[f"known: {listing(RESAMPLING)}"],
        )
    if chunks < 1:
        raise UsageError(f"chunks of {chunks} cells are too small", code="GS-CHUNKS")


def _how(wavelengths: PathLike | None, scale: float | None) -> RasterReader:
    """The reader of raster files with what the user says of them."""
    return with_settings(RasterReader(), wavelengths, scale)


def _is_held(source: object) -> bool:
    """Whether a source is an object of the caller's, not a file."""
    return isinstance(source, (xr.DataArray, xr.Dataset))


def _listed(source: Source | Sequence[Source]) -> Sequence[Source]:
    return source if isinstance(source, (list, tuple)) else [cast(Source, source)]


def _parts(
    source: Source | Sequence[Source], chunks: int, crs: str | None, mapped: bool, how: RasterReader
) -> list[Opened]:
    listed = _listed(source)
    if any(_is_held(one) for one in listed):
        parts: list[Opened] = []
        for place, one in enumerate(listed, start=1):
            if isinstance(one, (xr.DataArray, xr.Dataset)):
                label = f"array {place}" if len(listed) > 1 else "the scene"
                parts.append(_held(one, label, chunks, crs, mapped))
            else:
                parts.extend(_open(address, crs, mapped, how) for address in addresses_of(one))
    else:
        addresses = addresses_of(cast(PathLike | Sequence[PathLike], source))
        parts = [_open(address, crs, mapped, how) for address in addresses]
    if how != RasterReader():
        _check_heeded(parts)
    return parts


def _held(source: xr.DataArray | xr.Dataset, label: str, chunks: int, crs: str | None, mapped: bool) -> Opened:
    cube = cube_of(source, chunks=chunks, crs=crs, label=label, mapped=mapped)
    sources = tuple(str(one) for one in source.attrs.get("sources", ()))
    return Opened(label, cube.bands, cube.geobox, reader_of(cube.array) or cube, sources, facts_of(source.attrs))


def _open(address: str, crs: str | None, mapped: bool = True, how: RasterReader | None = None) -> Opened:
    reader = reader_for(address)
    return (how if how is not None and isinstance(reader, RasterReader) else reader).open(
        address, crs=crs, mapped=mapped
    )


def _check_heeded(parts: Sequence[Opened]) -> None:
    """Refuse settings of one raster file that would be heeded by none or several, or by one without wavelengths."""
    files = [part for part in parts if isinstance(part.reader, Stack)]
    if len(files) != 1 or not files[0].bands.wavelength_nm:
        raise UsageError(
            "wavelengths and scale are settings of one raster file that has wavelengths",
            code="GS-CUBE-SETTINGS",
            details=[f"source: {redact(part.address)}" for part in parts[:10]],
            hint="open the file by itself; for one without wavelengths name a table of them: --wavelengths TABLE.csv",
        )


def _facts(parts: Sequence[Opened]) -> dict[str, Any]:
    """What all parts tell alike of their values, and the notes of all; nothing where one tells nothing."""
    notes = tuple(dict.fromkeys(note for part in parts for note in part.facts.get("notes", ())))
    told = [part.facts for part in parts]
    quantities = {part.facts["quantity"]: part for part in parts if "quantity" in part.facts}
    if len(quantities) > 1:
        raise InputError(
            f"the sources hold {' and '.join(sorted(quantities))}",
            code="GS-QUANTITY-MIXED",
            details=[f"{quantity}: {redact(part.address)}" for quantity, part in quantities.items()],
            hint="bring them to one quantity first",
        )
    alike = {
        name: value
        for name, value in told[0].items()
        if name != "notes" and all(name in one and _same(one[name], value) for one in told)
    }
    return {**alike, **({"notes": notes} if notes else {})}


def _same(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays
        return one is other


def _joined(parts: Sequence[Opened]) -> list[Opened]:
    """The parts of a cube in several files, with the overlaps of detectors between them marked."""
    if len(parts) < 2 or not all(part.bands.wavelength_nm for part in parts):
        return list(parts)
    sensors = {str(part.facts.get("sensor", "")) for part in parts}
    join = join_of(sensors.pop()) if len(sensors) == 1 else None
    bands, _ = mark_overlaps(_merged([part.bands for part in parts]), join_nm=join)
    found, first = [], 0
    for part in parts:
        places = range(first, first + len(part.bands))
        found.append(replace(part, bands=bands.take(places)))
        first = places.stop
    return found


def _check_unique(parts: Sequence[Opened]) -> None:
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


def _stacked(parts: Sequence[Opened]) -> list[Opened]:
    """Neighbouring files on one grid as one part, so that a chunk holds all of their bands."""
    found: list[Opened] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and _join(last, part):
            reader = Stack.of([last.reader, part.reader])
            found[-1] = replace(last, bands=_merged([last.bands, part.bands]), reader=reader)
        else:
            found.append(part)
    return found


def _join(last: Opened, part: Opened) -> bool:
    both_files = isinstance(last.reader, Stack) and isinstance(part.reader, Stack)
    return both_files and same_grid(last.geobox, part.geobox)


def _merged(bands: Sequence[Bands]) -> Bands:
    """The bands of several parts, one after the other; wavelengths that not all of them tell are left out."""

    def joined(field: str) -> tuple[Any, ...]:
        values = [getattr(one, field) for one in bands]
        if all(values) or (any(values) and field in _UNTOLD):
            filled = [told or (_UNTOLD[field],) * len(one) for told, one in zip(values, bands, strict=True)]
            return tuple(value for part in filled for value in part)
        return ()

    return Bands(**{field.name: joined(field.name) for field in fields(Bands)})


def _marked(part: Opened, classes: Sequence[str]) -> Opened:
    """The part with its class bands marked, beside those that it marks itself."""
    known = part.bands.classes or (False,) * len(part.bands)
    marks = tuple(mark or name in classes for name, mark in zip(part.bands.names, known, strict=True))
    return replace(part, bands=replace(part.bands, classes=marks))


def _target(parts: Sequence[Opened], align: PathLike | None, *, held: bool) -> GeoBox:
    """The scene's grid."""
    if align is None:
        try:
            refuse_mismatch([(part.address, part.geobox) for part in parts])
        except InputError as error:
            if held:
                error.hint = "put them on one grid first: one.odc.reproject(other.odc.geobox)"
            raise
        return parts[0].geobox
    bare = [part for part in parts if part.geobox.crs is None]
    if bare:
        raise InputError(
            f"{short_name(bare[0].address)} has no georeference, and cannot be aligned",
            code="GS-GRID-MISSING",
            hint="put it on a map grid first",
        )
    like = [_open(address, None) for address in expand(align)]
    refuse_mismatch([(part.address, part.geobox) for part in like])
    return like[0].geobox


def _put_on(part: Opened, target: GeoBox, resampling: str) -> Opened:
    if same_grid(part.geobox, target):
        return part
    _check_overlap(part, target)
    ways = tuple("nearest" if mark else resampling for mark in part.bands.classes)
    reader = Aligned(part.reader, part.geobox, target, ways)
    return replace(part, geobox=target, reader=reader)


def _check_overlap(part: Opened, target: GeoBox) -> None:
    if outline_on(part.geobox, target).intersects(target.extent):
        return
    raise InputError(
        f"{short_name(part.address)} lies outside the grid to align to",
        code="GS-GRID-APART",
        details=[f"it: {show_grid(part.geobox)}", f"to align to: {show_grid(target)}"],
        hint="check the CRS of both",
    )


def _chosen(parts: Sequence[Opened], wanted: Sequence[str]) -> list[Opened]:
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


def _data(readers: Sequence[WindowReader], chunks: int) -> da.Array:
    # The user's own arrays keep their chunks and their graph; all else is read window by window, as one.
    if any(isinstance(reader, Cube) for reader in readers):
        arrays = [one.array if isinstance(one, Cube) else lazy_array(one, chunks) for one in readers]
        return arrays[0] if len(arrays) == 1 else da.concatenate(arrays)
    return lazy_array(readers[0] if len(readers) == 1 else Stack.of(readers), chunks)


def _scene(parts: Sequence[Opened], grid: GeoBox, chunks: int, attrs: Mapping[str, Any]) -> xr.DataArray:
    data = _data([part.reader for part in parts], chunks)
    coords: dict[Any, Any] = {**xr_coords(grid, dims=("y", "x")), **_merged([part.bands for part in parts]).coords()}
    # Named, as xarray would else show dask's name of the data.
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords, name="scene", attrs=dict(attrs))
