"""Cubes as one GeoTIFF: streamed, read back block by block, and renamed into place."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geosoil.bands import Bands
from geosoil.errors import OutputError, UsageError, listing
from geosoil.types import Progress, quiet

from .atomic import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Int64

__all__ = ["COMPRESSIONS", "DTYPES", "INT16_SCALE", "check_settings", "write_cube"]

#: Edge of the blocks in the file, cells.
BLOCK = 256
#: GDAL's own cache while a cube is written, bytes: a row of blocks of a group of bands.
CACHE = 64 * 2**20
#: Types to store, and the number for no data.
DTYPES = {"float32": float("nan"), "int16": -32768.0}
#: Whole numbers are reflectance times this.
INT16_SCALE = 10_000
#: Ways to compress; without is read and written ten times as fast.
COMPRESSIONS = ("none", "zstd", "deflate")
# Bands that are written at a time.
_GROUP = 8
_FULL = ("no space", "too large", "write error")

#: ``windows(rows, columns)`` gives what reads the bands of that window: ``read(positions)`` to (p, h, w).
Windows: TypeAlias = Callable[[tuple[int, int], tuple[int, int]], "Callable[[Int64], Float32]"]


def write_cube(
    path: Path,
    windows: Windows,
    bands: Bands,
    grid: GeoBox,
    *,
    tags: Mapping[str, str],
    dtype: str = "float32",
    compress: str = "none",
    units: str = "1",
    progress: Progress = quiet,
) -> dict[str, int]:
    """Write a cube: whole, or not at all.

    Every band is tagged with ``wavelength``, ``wavelength_units``, ``fwhm``, ``bbl`` and ``why``, in nm, and the same
    stands in GDAL's own IMAGERY domain, in um.

    Parameters
    ----------
    path : Path
        Final name.
    windows : callable
        Gives the values of a window, bands group by group; called row of blocks by row of blocks.
    bands : Bands
        Names, and what is known of the wavelengths.
    grid : GeoBox
        Without a CRS for an image in sensor geometry.
    tags : mapping
        Of the dataset.
    dtype : {"float32", "int16"}
        The latter for reflectance: times 10,000, with GDAL's scale set.
    compress : {"none", "zstd", "deflate"}
    units : str
        Of the values.

    Returns
    -------
    dict
        ``cells`` of the grid, ``valid`` ones (with a value in some band), and values that ``clipped`` to int16.

    Raises
    ------
    OutputError
        ``GS-NO-SPACE``, ``GS-NOT-WRITABLE``, ``GS-NOT-VERIFIED``.
    UsageError
        ``GS-CUBE-SETTINGS``.
    """
    check_settings(dtype, compress)
    counts = {"cells": int(grid.shape[0]) * int(grid.shape[1]), "valid": 0, "clipped": 0}
    checksums: list[int] = []
    try:
        with replacing(path) as part, rasterio.Env(GDAL_CACHEMAX=CACHE), _quiet_about_no_map():
            with rasterio.open(part, "w", **_profile(bands, grid, dtype, compress)) as file:
                _describe(file, bands, tags, dtype, units)
                for rows, cols in _strips(grid):
                    _write(file, windows(rows, cols), rows, dtype, counts, checksums)
                    progress(rows[1], int(grid.shape[0]), "writing")
            _verify(part, path, grid, checksums, progress)
    except RasterioError as error:
        why = str(error.__cause__ or error)
        raise OutputError(
            f"{path.name[:60]} cannot be written",
            code="GS-NO-SPACE" if any(sign in why.lower() for sign in _FULL) else "GS-NOT-WRITABLE",
            details=[f"file: {path}", why[:300]],
            hint="check the space on the disk",
        ) from error
    return counts


@contextmanager
def _quiet_about_no_map() -> Iterator[None]:
    """Without rasterio's warning of what was asked for: an image in sensor geometry."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def check_settings(dtype: str, compress: str) -> None:
    """Raise UsageError ``GS-CUBE-SETTINGS`` for a type or compression that cannot be written."""
    for what, word, known in (("type", dtype, list(DTYPES)), ("compression", compress, list(COMPRESSIONS))):
        if word not in known:
            raise UsageError(f"{what} {word!r} is not known: {listing(known)}", code="GS-CUBE-SETTINGS")


def _strips(grid: GeoBox) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    height, width = int(grid.shape[0]), int(grid.shape[1])
    step = _edge(height)
    for row in range(0, height, step):
        yield (row, min(row + step, height)), (0, width)


def _edge(size: int) -> int:
    """Edge of the blocks along one side; a small image is not filled up to a whole block."""
    return min(BLOCK, -(-size // 16) * 16)


def _profile(bands: Bands, grid: GeoBox, dtype: str, compress: str) -> dict[str, Any]:
    placed = {} if grid.crs is None else {"crs": grid.crs.to_wkt(), "transform": grid.affine}
    packed = {} if compress == "none" else {"compress": compress, "predictor": 3 if dtype == "float32" else 2}
    return {
        "driver": "GTiff",
        "height": int(grid.shape[0]),
        "width": int(grid.shape[1]),
        "count": len(bands),
        "dtype": dtype,
        "nodata": DTYPES[dtype],
        "tiled": True,
        "blockxsize": _edge(int(grid.shape[1])),
        "blockysize": _edge(int(grid.shape[0])),
        "interleave": "band",
        "bigtiff": "IF_SAFER",
        **placed,
        **packed,
    }


def _describe(file: Any, bands: Bands, tags: Mapping[str, str], dtype: str, units: str) -> None:
    file.update_tags(**tags)
    file.units = (units,) * len(bands)
    if dtype == "int16":
        file.scales = (1 / INT16_SCALE,) * len(bands)
    for place, name in enumerate(bands.names):
        file.set_band_description(place + 1, name)
        own, imagery = _band_tags(bands, place)
        file.update_tags(place + 1, **own)
        if imagery:
            file.update_tags(place + 1, ns="IMAGERY", **imagery)


def _band_tags(bands: Bands, place: int) -> tuple[dict[str, str], dict[str, str]]:
    own: dict[str, str] = {}
    imagery: dict[str, str] = {}
    if bands.wavelength_nm:
        nm = bands.wavelength_nm[place]
        own.update(wavelength=repr(nm), wavelength_units="Nanometers")
        imagery["CENTRAL_WAVELENGTH_UM"] = f"{nm / 1000:.6f}"
    if bands.fwhm_nm:
        own["fwhm"] = repr(bands.fwhm_nm[place])
        imagery["FWHM_UM"] = f"{bands.fwhm_nm[place] / 1000:.6f}"
    if bands.good:
        own["bbl"] = str(int(bands.good[place]))
    if bands.why and bands.why[place]:
        own["why"] = bands.why[place]
    return own, imagery


def _write(
    file: Any,
    read: Callable[[Int64], Float32],
    rows: tuple[int, int],
    dtype: str,
    counts: dict[str, int],
    checksums: list[int],
) -> None:
    window = Window(0, rows[0], file.width, rows[1] - rows[0])
    valid = np.zeros((rows[1] - rows[0], file.width), bool)
    for group in _groups(file.count):
        values = read(group)
        valid |= np.isfinite(values).any(axis=0)
        stored = _stored(values, dtype, counts)
        checksums.append(_checksum(stored))
        file.write(stored, (group + 1).tolist(), window=window)
    counts["valid"] += int(valid.sum())


def _groups(count: int) -> Iterator[Int64]:
    for first in range(0, count, _GROUP):
        yield np.arange(first, min(first + _GROUP, count))


def _stored(values: Float32, dtype: str, counts: dict[str, int]) -> NDArray[Any]:
    if dtype == "float32":
        return values
    limits = np.iinfo(np.int16)
    whole = np.round(values * np.float32(INT16_SCALE))
    missing = np.isnan(whole)
    with np.errstate(invalid="ignore"):
        # The lowest number stands for no data.
        counts["clipped"] += int(((whole > limits.max) | (whole <= limits.min)).sum())
    whole = np.clip(whole, limits.min + 1, limits.max)
    whole[missing] = DTYPES[dtype]
    return whole.astype(np.int16)


def _checksum(stored: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(stored).data)


def _verify(part: Path, path: Path, grid: GeoBox, checksums: list[int], progress: Progress) -> None:
    """Read all back: a full disk may show at no earlier moment."""
    left = iter(checksums)
    try:
        with rasterio.open(part) as file:
            for rows, cols in _strips(grid):
                window = Window.from_slices(rows, cols)
                for group in _groups(file.count):
                    if _checksum(file.read((group + 1).tolist(), window=window)) != next(left):
                        raise _not_whole(path, f"rows {rows[0]}-{rows[1]} differ when read back")
                progress(rows[1], int(grid.shape[0]), "reading back")
    except RasterioError as error:
        raise _not_whole(path, str(error.__cause__ or error)[:300]) from error


def _not_whole(path: Path, why: str) -> OutputError:
    return OutputError(
        f"{path.name[:60]} did not reach the disk whole",
        code="GS-NOT-VERIFIED",
        details=[f"file: {path}", why],
        hint="check the disk and its space",
    )
