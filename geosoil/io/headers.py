"""Looking at a raster file without reading a pixel: is it one, is it whole, on which grid, with which bands."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags

from geosoil.errors import InputError

from . import enviheader
from .addresses import is_remote, redact, short_name, stem, suffix
from .blocks import several
from .gdal import DRIVERS, SOURCES_EACH, Handle, borrow, open_dataset
from .grids import LONGEST, parse_crs, same_crs, show_crs
from .rasterfile import BandFormat, RasterFile
from .rawfile import RawLayout
from .vrt import mosaic_fault, names_from_sources

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

T = TypeVar("T")

__all__ = ["NO_MAP", "Tags", "choose_crs", "open_raster", "open_told", "readable", "sensor_grid", "unreadable_crs"]

#: Codes of what keeps an image off the map; it still has lines and samples.
NO_MAP = frozenset({"GS-GRID-MISSING", "GS-GRID-ROTATED", "GS-GRID-IRREGULAR", "GS-CRS-MISSING", "GS-CRS-UNREADABLE"})

# Blocks of a TIFF are looked at in so many steps along each axis.
_LOOKS = 3
# Formats that are decoded in blocks, and most bytes that are decoded together.
_IN_BLOCKS = ("GTiff", "JP2OpenJPEG")
_MOST_CUT = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Tags:
    """What a raster file tells of itself, as GDAL gives it.

    Attributes
    ----------
    driver : str
        GDAL's name of the format.
    whole, envi : mapping
        Tags of the file, and its ENVI header.
    bands, imagery : tuple of mapping
        Tags of each band; those of the domain IMAGERY, which is rounded.
    """

    driver: str
    whole: Mapping[str, str]
    envi: Mapping[str, str]
    bands: tuple[Mapping[str, str], ...]
    imagery: tuple[Mapping[str, str], ...]


def open_raster(address: str, *, crs: str | None = None, mapped: bool = True) -> RasterFile:
    """Open a raster file that GDAL reads.

    Parameters
    ----------
    address : str
        Path or URL.
    crs : str, optional
        CRS of a file that has none.
    mapped : bool
        Whether a map grid is needed; else a file without one opens with lines and samples as y and x.

    Raises
    ------
    InputError
        ``GS-RASTER-UNREADABLE``, ``GS-RASTER-TRUNCATED``, ``GS-RASTER-SIZE``, ``GS-ENVI-HEADER``, ``GS-CRS-MISSING``,
        ``GS-CRS-UNREADABLE``, ``GS-GRID-ROTATED``, ``GS-GRID-MISSING``.
    """
    return open_told(address, crs=crs, mapped=mapped)[0]


def open_told(address: str, *, crs: str | None = None, mapped: bool = True) -> tuple[RasterFile, Tags]:
    """The same, with what the file tells of itself."""
    _check_content(address)
    handle = Handle.of(address)
    try:
        with warnings.catch_warnings():
            # It is refused below, or asked for.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with borrow(handle) as dataset:
                file = _describe(handle, dataset, crs, mapped)
                return file, _tags(dataset, file)
    except rasterio.errors.CRSError as error:  # rasterio itself stumbles over it at opening
        raise unreadable_crs(address, error) from error
    except (rasterio.errors.RasterioError, OSError, UnicodeDecodeError) as error:
        _check_envi(address, handle.stamp[1])
        raise _unreadable(address, f"GDAL: {redact(str(error.__cause__ or error))[:300]}") from error


def choose_crs(found: CRS | None, given: str | None, address: str) -> CRS:
    """The CRS of a source: its own, or the one that the user names for it."""
    if given is None:
        if found is None:
            raise InputError(
                f"{short_name(address)} has no coordinate reference system",
                code="GS-CRS-MISSING",
                details=[f"file: {redact(address)}"],
                hint="write it into the file, as with gdal_edit.py -a_srs EPSG:32755 and the code of the data;\n"
                "for the scene itself, not for a land-use or other raster beside it, this does too:\n"
                'crs = "EPSG:32755" in [scene] of a study, or --crs EPSG:32755',
            )
        return _complete(found, address)
    wanted = parse_crs(given)
    if found is not None and not same_crs(found, wanted):
        raise InputError(
            f"{short_name(address)} has a CRS, and it is not the one given",
            code="GS-CRS-MISMATCH",
            details=[f"in the file: {show_crs(found)}", f"given: {show_crs(wanted)}"],
            hint="leave --crs out, or correct the file; to put it on another grid use --align",
        )
    return found or wanted


def _complete(crs: CRS, address: str) -> CRS:
    """The CRS, if it has all its parameters: PROJ takes one without, and fails when it is written down."""
    try:
        crs.proj.to_cf()
    except Exception as error:  # pyproj looks its parameters up, and raises several kinds
        raise unreadable_crs(address, error) from error
    return crs


def sensor_grid(shape: tuple[int, int]) -> GeoBox:
    """The grid of an image in sensor geometry: one cell a sample and a line, lines counted downwards; no CRS."""
    return GeoBox(shape, Affine.identity(), None)


def _unreadable(address: str, reason: str) -> InputError:
    return InputError(
        f"{short_name(address)} is not a raster that can be read",
        code="GS-RASTER-UNREADABLE",
        details=[f"file: {redact(address)}", reason],
        hint=f"formats: {', '.join(DRIVERS)} (COG is a GTiff), VRT named .vrt, NetCDF, Zarr",
    )


def _truncated(address: str, details: list[str]) -> InputError:
    return InputError(
        f"{short_name(address)} is cut off",
        code="GS-RASTER-TRUNCATED",
        details=[f"file: {redact(address)}", *details],
        hint="copy or download it again",
    )


def _check_content(address: str) -> None:
    """Say plainly what a local file is when its first bytes tell that it is no raster."""
    if is_remote(address):
        return
    path = Path(address)
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    except OSError as error:
        raise _unreadable(address, str(error)) from error
    if path.stat().st_size == 0:
        raise _unreadable(address, "the file is empty")
    if start.startswith(b"version https://git-lfs"):
        raise _unreadable(address, "it is a Git LFS pointer: fetch the file itself")
    if suffix(address) == ".vrt":
        if fault := mosaic_fault(path):
            raise _unreadable(address, fault)
    elif start.startswith(b"<"):
        raise _unreadable(address, "it begins like a web page or XML: a download that failed?")


def _describe(handle: Handle, dataset: DatasetReader, crs: str | None, mapped: bool) -> RasterFile:
    address = handle.address
    if dataset.count == 0:
        raise _unreadable(address, "it holds no bands (perhaps only subdatasets)")
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise _unreadable(address, "its numbers are complex")
    _check_whole(handle, dataset)
    _check_edges(address, dataset)
    geobox, south_up = _grid(dataset, crs, mapped, address)
    indexes = [
        index
        for index, colour in zip(dataset.indexes, dataset.colorinterp, strict=True)
        if colour is not ColorInterp.alpha or dataset.count == 1
    ]
    every = dataset.mask_flag_enums
    flags = [every[index - 1] for index in indexes]
    return RasterFile(
        handle=handle,
        names=_names(dataset, indexes, address),
        formats=_formats(dataset, indexes),
        geobox=geobox,
        masked=any(MaskFlags.per_dataset in one or MaskFlags.alpha in one for one in flags),
        south_up=south_up,
        raw=RawLayout.of(handle, dataset),
        kept=_kept(handle.address, dataset),
        number=np.result_type(*set(dataset.dtypes)).itemsize,
        cut=_cut(handle.address, dataset),
    )


def _check_edges(address: str, dataset: DatasetReader) -> None:
    if max(dataset.shape) > LONGEST:
        raise InputError(
            f"{short_name(address)} has more rows or columns than any map",
            code="GS-RASTER-SIZE",
            details=[
                f"file: {redact(address)}",
                f"found: {dataset.width:,} x {dataset.height:,} cells; at most {LONGEST:,} each way are read",
            ],
            hint="check how the file was made; cut it into parts where it is meant so",
        )


def _cut(address: str, dataset: DatasetReader) -> tuple[int, int] | None:
    """Rows and columns that are decoded as a whole: a block, or as many small ones as are worth a read of their own.

    A server is asked for the blocks of a window all at once, which is quicker than one by one.
    """
    shapes = set(dataset.block_shapes)
    if dataset.driver not in _IN_BLOCKS or len(shapes) > 1 or is_remote(address):
        return None
    edges, sizes = shapes.pop(), (dataset.height, dataset.width)
    least = [several(edge, size) for edge, size in zip(edges, sizes, strict=True)]
    each = dataset.count * np.result_type(*set(dataset.dtypes)).itemsize
    rows, columns = next(
        (cut for cut in ((least[0], least[1]), (edges[0], least[1])) if cut[0] * cut[1] * each <= _MOST_CUT), edges
    )
    return rows, columns


def _kept(address: str, dataset: DatasetReader, depth: int = 2) -> int:
    """Bytes that GDAL keeps of an open TIFF: the block that it decoded last, of all bands where they lie together.

    Of a compressed block also the bytes as they are stored, here the most of some blocks, and a quarter more. Of a
    mosaic it keeps several sources, of which some are looked at.
    """
    if dataset.driver == "VRT" and depth:
        sources = [one for one in dataset.files if one != dataset.name and not is_remote(one)]
        most = max((_kept_of_source(one, depth - 1) for one in sources[:_LOOKS]), default=0)
        return most * min(len(sources), SOURCES_EACH)
    if dataset.driver != "GTiff":
        return 0
    told = dataset.tags(ns="IMAGE_STRUCTURE")
    together = dataset.count > 1 and told.get("INTERLEAVE") == "PIXEL"
    cells = max(rows * columns for rows, columns in dataset.block_shapes)
    block = cells * np.dtype(dataset.dtypes[0]).itemsize * (dataset.count if together else 1)
    stored = 0
    if "COMPRESSION" in told:
        sizes = [] if is_remote(address) else _stored(dataset)
        stored = min(block, 5 * max(sizes) // 4) if sizes else block
    return (block if together else 0) + stored


def _kept_of_source(address: str, depth: int) -> int:
    """The same for a source of a mosaic; what cannot be opened is said when it is read."""
    try:
        with open_dataset(address) as source:
            return _kept(address, source, depth)
    except rasterio.errors.RasterioError:
        return 0


def _stored(dataset: DatasetReader) -> list[int]:
    """Bytes of some blocks of a TIFF, spread over it, as they are stored."""
    rows, columns = dataset.block_shapes[0]
    downs, rights = (
        {share * (-(-cells // edge) - 1) // _LOOKS for share in range(_LOOKS + 1)}
        for cells, edge in ((dataset.height, rows), (dataset.width, columns))
    )
    found = [dataset.get_tag_item(f"BLOCK_SIZE_{right}_{down}", "TIFF", bidx=1) for down in downs for right in rights]
    return [int(size) for size in found if size]


def _formats(dataset: DatasetReader, indexes: list[int]) -> tuple[BandFormat, ...]:
    # Each of these asks GDAL for all bands at once.
    nodata, scales, offsets = dataset.nodatavals, dataset.scales, dataset.offsets
    return tuple(
        BandFormat(index, nodata[index - 1], float(scales[index - 1]), float(offsets[index - 1])) for index in indexes
    )


def _names(dataset: DatasetReader, indexes: list[int], address: str) -> tuple[str, ...]:
    """Descriptions; for bands that have none the file's stem, numbered where the file has more than one."""
    texts = readable(lambda: dataset.descriptions, (None,) * dataset.count)
    described = [(texts[index - 1] or "").strip() for index in indexes]
    if not all(described):
        others = names_from_sources(dataset, address, indexes)
        described = [
            name or (other if other not in described else "") for name, other in zip(described, others, strict=True)
        ]
    base = stem(address)
    if len(indexes) == 1:
        return (described[0] or base,)
    return tuple(name or f"{base}_{index}" for name, index in zip(described, indexes, strict=True))


def _tags(dataset: DatasetReader, file: RasterFile) -> Tags:
    indexes = [one.index for one in file.formats]
    return Tags(
        driver=str(dataset.driver),
        whole=readable(dataset.tags, {}),
        envi=readable(lambda: dataset.tags(ns="ENVI"), {}),
        bands=tuple(readable(partial(dataset.tags, index), {}) for index in indexes),
        imagery=tuple(readable(partial(dataset.tags, index, ns="IMAGERY"), {}) for index in indexes),
    )


def readable(read: Callable[[], T], otherwise: T) -> T:
    """What a file tells, or something else where its text is in an encoding that rasterio cannot read."""
    try:
        return read()
    except UnicodeDecodeError:
        return otherwise


def _grid(dataset: DatasetReader, crs: str | None, mapped: bool, address: str) -> tuple[GeoBox, bool]:
    """The grid, and whether the file is turned over for it."""
    shape = (dataset.height, dataset.width)
    try:
        found = _crs_of(dataset, address)
        if found is not None and not (found.projected or found.geographic):
            found = None  # a local one, as ENVI's "Arbitrary", is no place on the map
        transform = _check_transform(address, dataset)
        return _north_up(shape, transform, choose_crs(found, crs, address))
    except InputError as error:
        if mapped or error.code not in NO_MAP:
            raise
        return sensor_grid(shape), False


def _crs_of(dataset: DatasetReader, address: str) -> CRS | None:
    try:
        return CRS(dataset.crs.to_wkt(version="WKT2_2019")) if dataset.crs else None
    except Exception as error:  # rasterio, odc-geo and pyproj raise several kinds
        raise unreadable_crs(address, error) from error


def unreadable_crs(address: str, error: Exception) -> InputError:
    """The error for a file whose CRS no library understands."""
    return InputError(
        f"{short_name(address)} has a coordinate reference system that cannot be read",
        code="GS-CRS-UNREADABLE",
        details=[f"file: {redact(address)}", f"found: {type(error).__name__}: {str(error)[:200]}"],
        hint="correct it in the file, as with gdal_edit.py -a_srs EPSG:32755 and the code of the data",
    )


def _check_transform(address: str, dataset: DatasetReader) -> Affine:
    transform: Affine = dataset.transform
    if transform == Affine.identity() or not _is_finite(transform, dataset):
        raise InputError(
            f"{short_name(address)} has no georeference",
            code="GS-GRID-MISSING",
            details=[f"file: {redact(address)}"],
            hint="give it one, as with gdal_translate -a_ullr, or warp it by its control points with gdalwarp",
        )
    if transform.b or transform.d or transform.a <= 0 or transform.e == 0 or transform.determinant == 0:
        raise InputError(
            f"{short_name(address)} has a rotated or mirrored grid",
            code="GS-GRID-ROTATED",
            details=[f"file: {redact(address)}", f"transform: {tuple(transform)[:6]}"],
            hint="put it on a north-up grid first, as with gdalwarp",
        )
    return transform


def _is_finite(transform: Affine, dataset: DatasetReader) -> bool:
    """Whether all corners have a place; damaged tags hold what is no number, or lies beyond all of them."""
    corner = transform * (dataset.width, dataset.height)
    return all(math.isfinite(one) for one in (*transform, *corner))


def _north_up(shape: tuple[int, int], transform: Affine, crs: CRS) -> tuple[GeoBox, bool]:
    """The grid with its northernmost row first, and whether that turned it over."""
    if transform.e < 0:
        return GeoBox(shape, transform, crs), False
    turned = transform * Affine.translation(0, shape[0]) * Affine.scale(1, -1)
    return GeoBox(shape, turned, crs), True


def _check_whole(handle: Handle, dataset: DatasetReader) -> None:
    """Compare the size of a local file with where its header says that the data end."""
    if is_remote(handle.address):
        return
    if dataset.driver == "ENVI":
        _check_envi(handle.address, handle.stamp[1])
    elif dataset.driver == "GTiff":
        end = max(_end_of(dataset, 1), _end_of(dataset, dataset.count))
        if end > handle.stamp[1]:
            raise _truncated(
                handle.address, [f"size: {handle.stamp[1]} bytes", f"needed: at least {end} bytes, says its header"]
            )


def _end_of(dataset: DatasetReader, band: int) -> int:
    """Where the last block of a TIFF band ends, bytes; 0 for a block that a sparse file leaves out."""
    rows, cols = dataset.block_shapes[band - 1]
    block = f"{(dataset.width - 1) // cols}_{(dataset.height - 1) // rows}"
    start = dataset.get_tag_item(f"BLOCK_OFFSET_{block}", "TIFF", bidx=band)
    size = dataset.get_tag_item(f"BLOCK_SIZE_{block}", "TIFF", bidx=band)
    return int(start) + int(size) if start and size else 0


def _check_envi(address: str, size: int) -> None:
    """Refuse an ENVI header that lies; says more than GDAL does, and what GDAL does not see."""
    header = None if is_remote(address) else enviheader.find_header(Path(address))
    if header is None or not enviheader.is_header(header):
        return
    entries = enviheader.read_header(header)
    enviheader.check_layout(entries, header)
    begin, band = enviheader.layout(entries)
    expected = begin + band * int(entries["bands"])
    if size == expected or entries.get("file compression", "0") != "0":
        return
    details = [f"size: {size} bytes", f"its header says: {expected} bytes"]
    if (size - begin) % band == 0 and size > begin:
        details.append(f"the size is that of {(size - begin) // band} bands; its header says {entries['bands']}")
    if size < expected:
        raise _truncated(address, details)
    raise InputError(
        f"{short_name(address)} is longer than its header says",
        code="GS-RASTER-SIZE",
        details=[f"file: {address}", *details],
        hint="correct lines, samples, bands, data type or header offset in the header, or take the header of this file",
    )
