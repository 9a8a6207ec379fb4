"""Raster files through rasterio: which are opened, how their bands are read lazily, and what can go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geosoil.errors import InputError, listing

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

    from geosoil.types import Float32

__all__ = ["RasterFile", "open_file", "public_name", "vsi_path"]

#: Drivers that foreign files are opened with; a VRT must say so in its name.
DRIVERS = ("GTiff", "ENVI", "JP2OpenJPEG", "AAIGrid", "EHdr", "HFA", "SAGA")
#: GDAL settings of every read: bounded cache, bounded network, nothing that runs.
SETTINGS: dict[str, Any] = {
    "GDAL_CACHEMAX": 64 * 2**20,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_TIMEOUT": 30,
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_PAM_ENABLED": "YES",
}


def vsi_path(path: str) -> str:
    """A path as GDAL takes it: https:// and s3:// through its virtual file systems.

    >>> vsi_path("s3://bucket/dem.tif"), vsi_path("dem.tif")
    ('/vsis3/bucket/dem.tif', 'dem.tif')
    """
    if path.startswith(("http://", "https://")):
        return f"/vsicurl/{path}"
    if path.startswith("s3://"):
        return f"/vsis3/{path.removeprefix('s3://')}"
    if path.startswith("gs://"):
        return f"/vsigs/{path.removeprefix('gs://')}"
    return path


def public_name(path: str) -> str:
    """A path without user, password and query, for messages and records.

    >>> public_name("https://me:secret@host/a.tif?token=1")
    'https://host/a.tif'
    """
    plain = re.sub(r"\?.*$", "", path) if "://" in path else path
    return re.sub(r"://[^/@]*@", "://", plain)


@contextmanager
def _opened(path: str, driver: str) -> Iterator[DatasetReader]:
    """A dataset of one driver, for the time of one read; never shared between threads."""
    settings = dict(SETTINGS)
    if not path.startswith("/vsi"):
        # Side files (.hdr, .aux.xml, .msk) are found by looking, which is cheap on a disk.
        settings["GDAL_DISABLE_READDIR_ON_OPEN"] = "FALSE"
    with rasterio.Env(**settings), rasterio.open(path, driver=driver) as dataset:
        yield dataset


@dataclass(frozen=True)
class RasterFile:
    """The bands of one raster file as a lazy array ``(band, y, x)`` of float32, NaN where there is no data.

    Opens the file for each read, so that it can be sent to other threads, processes and machines.

    Attributes
    ----------
    path : str
        As GDAL takes it.
    driver : str
        GDAL driver that the file was found to belong to.
    names : tuple of str
        Names of the bands.
    indexes : tuple of int
        Their numbers in the file, from 1.
    grid : GeoBox
        Grid of the array: the file's own, or the one that it is warped to.
    nodata, scales, offsets : tuple
        Of each band; nodata is compared before the scale is applied.
    masked : bool
        Whether the file brings a mask or an alpha band.
    resampling : str
        How the file is put on another grid; empty when it is read as it is.
    block : (int, int)
        Rows and columns that the file stores together.
    """

    path: str
    driver: str
    names: tuple[str, ...]
    indexes: tuple[int, ...]
    grid: GeoBox
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    masked: bool
    block: tuple[int, int]
    resampling: str = ""

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return len(self.indexes), int(self.grid.shape[0]), int(self.grid.shape[1])

    def on(self, grid: GeoBox, resampling: str) -> RasterFile:
        """The same on another grid."""
        return replace(self, grid=grid, resampling=resampling)

    def take(self, names: tuple[str, ...]) -> RasterFile:
        """Some of the bands."""
        place = [self.names.index(name) for name in names]

        def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[one] for one in place)

        return replace(
            self,
            names=names,
            indexes=pick(self.indexes),
            nodata=pick(self.nodata),
            scales=pick(self.scales),
            offsets=pick(self.offsets),
        )

    def __getitem__(self, key: tuple[Any, ...]) -> Float32:
        """Read a window; keys are slices or integer arrays on the band axis, slices on the others."""
        bands, rows, columns = key
        places = np.arange(len(self.indexes))[bands]
        single = np.ndim(places) == 0
        places = np.atleast_1d(places)
        top, bottom, down = rows.indices(self.shape[1]) if isinstance(rows, slice) else (rows, rows + 1, 1)
        left, right, across = (
            columns.indices(self.shape[2]) if isinstance(columns, slice) else (columns, columns + 1, 1)
        )
        window = Window(left, top, max(right - left, 0), max(bottom - top, 0))
        found = self._read([int(one) for one in places], window)[:, ::down, ::across]
        found = found[:, 0] if not isinstance(rows, slice) else found
        found = found[..., 0] if not isinstance(columns, slice) else found
        return found[0] if single else found

    def _read(self, places: list[int], window: Window) -> Float32:
        if not places or window.width == 0 or window.height == 0:
            return np.empty((len(places), int(window.height), int(window.width)), np.float32)
        indexes = [self.indexes[place] for place in places]
        try:
            with _opened(self.path, self.driver) as dataset:
                if self.resampling:
                    return self._warped(dataset, places, indexes, window)
                raw = dataset.read(indexes, window=window)
                masks = dataset.read_masks(indexes, window=window) if self.masked else None
        except (RasterioError, OSError) as error:
            raise InputError(
                f"{public_name(self.path)} cannot be read: rows {window.row_off}-{window.row_off + window.height}",
                code="GS-RASTER-READ",
                details=[
                    f"bands: {listing([self.names[place] for place in places])}",
                    f"columns: {window.col_off}-{window.col_off + window.width}",
                    str(error.__cause__ or error)[:300],
                ],
                hint="the file may be cut off or damaged: copy it again, or map the rest with --keep-going",
            ) from error
        found = np.empty(raw.shape, np.float32)
        for row, place in enumerate(places):
            found[row] = self._values(raw[row], place)
        if masks is not None:
            found[masks == 0] = np.nan
        return found

    def _values(self, raw: Any, place: int) -> Float32:
        """Stored numbers of one band as values; nodata and what is not finite become NaN."""
        nodata, scale, offset = self.nodata[place], self.scales[place], self.offsets[place]
        values = raw.astype(np.float32) if (scale, offset) == (1.0, 0.0) else (raw * scale + offset).astype(np.float32)
        if raw.dtype.kind == "f":
            values[~np.isfinite(raw)] = np.nan
        if nodata is not None and not np.isnan(nodata):
            missing = np.isclose(raw, nodata, rtol=1e-6, atol=0) if raw.dtype.kind == "f" else raw == nodata
            values[missing] = np.nan
        return values

    def _warped(self, dataset: DatasetReader, places: list[int], indexes: list[int], window: Window) -> Float32:
        """The window on the other grid, as a warp of the whole raster gives it."""
        found = np.empty((len(places), int(window.height), int(window.width)), np.float32)
        for row, (place, index) in enumerate(zip(places, indexes, strict=True)):
            nodata = self.nodata[place]
            # In float32 with NaN for what is missing: the file's own nodata may not be there, or be a value.
            with WarpedVRT(
                dataset,
                crs=self.grid.crs.to_wkt() if self.grid.crs else None,
                transform=self.grid.affine,
                width=int(self.grid.shape[1]),
                height=int(self.grid.shape[0]),
                resampling=Resampling[self.resampling],
                src_nodata=nodata,
                nodata=np.nan,
                working_dtype="float32",
                dtype="float32",
                tolerance=0.0,
                add_alpha=False,
                XSCALE=1,
                YSCALE=1,
            ) as warped:
                raw = warped.read(index, window=window)
            found[row] = raw * np.float32(self.scales[place]) + np.float32(self.offsets[place])
        found[~np.isfinite(found)] = np.nan
        return found


def open_file(path: str, *, crs: str | None = None) -> RasterFile:
    """Look at a raster file without reading a pixel.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``, ``GS-RASTER-UNREADABLE``, ``GS-RASTER-TRUNCATED``, ``GS-CRS-MISSING``,
        ``GS-RASTER-ROTATED``.
    """
    name = public_name(path)
    place = vsi_path(path)
    if not place.startswith("/vsi"):
        _check_file(Path(path))
    reasons = []
    for driver in _drivers(place):
        try:
            with _opened(place, driver) as dataset:
                return _describe(dataset, place, name, crs)
        except (RasterioError, OSError) as error:
            if "not recognized as being in a supported file format" not in str(error):
                reasons.append(f"{driver}: {error.__cause__ or error}".replace(path, name)[:300])
    raise InputError(
        f"{name} is not a raster that can be read",
        code="GS-RASTER-UNREADABLE",
        details=list(dict.fromkeys(reasons))[:5],
        hint="give a GeoTIFF, COG, VRT, ENVI, NetCDF or Zarr file",
    )


def _drivers(path: str) -> list[str]:
    """Drivers to try, by the file's own name; a VRT reads other files, so it must say that it is one."""
    if path.lower().split("?")[0].endswith(".vrt"):
        return ["VRT"]
    return list(DRIVERS)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path} does not exist", code="GS-FILE-MISSING", hint="check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty", code="GS-RASTER-UNREADABLE", hint="copy it again")


def _describe(dataset: DatasetReader, path: str, name: str, crs: str | None) -> RasterFile:
    wkt = dataset.crs.to_wkt() if dataset.crs else crs
    if wkt is None:
        raise InputError(
            f"{name} has no coordinate reference system",
            code="GS-CRS-MISSING",
            hint="assign one (gdal_edit.py -a_srs EPSG:n), or say which it is: --crs EPSG:n",
        )
    transform = dataset.transform
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise InputError(
            f"{name} is rotated, or not stored north up",
            code="GS-RASTER-ROTATED",
            details=[f"transform: {tuple(transform)[:6]}"],
            hint="warp it to a north-up grid first: gdalwarp, or --align LIKE with another grid",
        )
    _check_length(dataset, path, name)
    flags = dataset.mask_flag_enums
    return RasterFile(
        path=path,
        driver=dataset.driver,
        names=_names(dataset, name),
        indexes=tuple(dataset.indexes),
        grid=GeoBox((dataset.height, dataset.width), transform, wkt),
        nodata=tuple(dataset.nodatavals),
        scales=tuple(float(one) for one in dataset.scales),
        offsets=tuple(float(one) for one in dataset.offsets),
        masked=any(MaskFlags.per_dataset in one or MaskFlags.alpha in one for one in flags),
        block=tuple(int(edge) for edge in dataset.block_shapes[0]),
    )


def _names(dataset: DatasetReader, name: str) -> tuple[str, ...]:
    """Descriptions where every band has one, else the file's stem with a number."""
    described = [one.strip() if one else "" for one in dataset.descriptions]
    stem = Path(name).name.rsplit(".", 1)[0]
    if all(described) and len(set(described)) == len(described):
        return tuple(described)
    if dataset.count == 1:
        return (described[0] or stem,)
    return tuple(one or f"{stem}_{index}" for one, index in zip(described, dataset.indexes, strict=True))


def _check_length(dataset: DatasetReader, path: str, name: str) -> None:
    """A plain, uncompressed file shows by its size that it is cut off."""
    if path.startswith("/vsi") or dataset.driver not in {"GTiff", "ENVI"} or dataset.compression is not None:
        return
    expected = sum(
        dataset.height * dataset.width * np.dtype(kind).itemsize for kind in dataset.dtypes if kind != "complex_int16"
    )
    size = Path(path).stat().st_size
    sparse = dataset.driver == "GTiff" and size < expected and not _all_blocks(dataset)
    if size < expected and not sparse:
        raise InputError(
            f"{name} is cut off: {size} bytes of at least {expected}",
            code="GS-RASTER-TRUNCATED",
            hint="copy it again",
        )


def _all_blocks(dataset: DatasetReader) -> bool:
    """Whether the last block of a GeoTIFF claims to be in the file; a sparse file leaves blocks out."""
    rows, columns = dataset.block_shapes[-1]
    last = ((dataset.width - 1) // columns, (dataset.height - 1) // rows)
    return dataset.get_tag_item(f"BLOCK_OFFSET_{last[0]}_{last[1]}", "TIFF", bidx=dataset.count) is not None
