"""Maps as Cloud Optimized GeoTIFFs: streamed, verified block by block, and renamed into place."""

from __future__ import annotations

import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what rasterio.shutil raises; it has no public name
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geosoil.errors import OutputError, UsageError
from geosoil.io.atomic import output_error, settle

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["Statistics", "check_options", "write_cog"]

#: Edge of the blocks in the file, cells.
BLOCK = 512
#: GDAL's own cache while maps are written, bytes.
CACHE = 64 * 2**20
#: Defaults of GDAL's COG driver; deflate opens everywhere.
PROFILE = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "LEVEL": "5", "BLOCKSIZE": str(BLOCK), "BIGTIFF": "IF_SAFER"}
#: Creation options that leave grid, type and values alone, but for lossy compression.
OPTIONS = (
    "ADD_ALPHA", "BIGTIFF", "BLOCKSIZE", "COMPRESS", "GEOTIFF_VERSION", "LEVEL", "MAX_Z_ERROR", "MAX_Z_ERROR_OVERVIEW",
    "NUM_THREADS", "OVERVIEWS", "OVERVIEW_COMPRESS", "OVERVIEW_COUNT", "OVERVIEW_PREDICTOR", "OVERVIEW_QUALITY",
    "OVERVIEW_RESAMPLING", "PREDICTOR", "QUALITY", "RESAMPLING", "SPARSE_OK", "STATISTICS",
)  # fmt: skip
#: Those that tell the overviews; the driver then makes them itself.
_OF_OVERVIEWS = ("BLOCKSIZE", "OVERVIEWS", "OVERVIEW_COUNT", "OVERVIEW_RESAMPLING", "RESAMPLING")
#: What GDAL says where no more bytes could be written.
_FULL = ("no space", "too large", "write error")

#: ``window(rows, columns)`` to the values there, NaN for none.
Windows = Callable[[tuple[int, int], tuple[int, int]], "Float32"]


def check_options(options: Mapping[str, str]) -> None:
    """Refuse creation options that GDAL's COG driver would pass over; raises UsageError ``GS-CREATION-OPTION``.

    >>> check_options({"compress": "ZSTD", "LEVEL": "9"})
    """
    for name in options:
        if name.upper() not in OPTIONS:
            near = get_close_matches(name.upper(), OPTIONS, n=1)
            raise UsageError(
                f"creation option {name!r} is not known",
                code="GS-CREATION-OPTION",
                details=[f"known: {', '.join(OPTIONS)}"],
                hint=f"did you mean {near[0]}?" if near else "see GDAL's COG driver",
            )


@dataclass
class Statistics:
    """Statistics of the valid cells of a map, gathered window by window (Chan et al. 1983)."""

    cells: int = 0
    valid: int = 0
    lowest: float = float("inf")
    highest: float = float("-inf")
    mean: float = 0.0
    squares: float = 0.0
    checksums: list[int] = field(default_factory=list, repr=False)

    def add(self, values: Float32) -> None:
        """Count a window in."""
        self.cells += values.size
        self.checksums.append(zlib.crc32(np.ascontiguousarray(values).tobytes()))
        good = values[np.isfinite(values)].astype(np.float64)
        if not good.size:
            return
        mean = float(good.mean())
        squares = float(((good - mean) ** 2).sum())
        total = self.valid + good.size
        gap = mean - self.mean
        self.squares += squares + gap**2 * self.valid * good.size / total
        self.mean += gap * good.size / total
        self.valid = total
        self.lowest, self.highest = min(self.lowest, float(good.min())), max(self.highest, float(good.max()))

    @property
    def sd(self) -> float:
        """Standard deviation, with n."""
        return float(np.sqrt(self.squares / self.valid)) if self.valid else float("nan")

    @classmethod
    def read(cls, path: Path) -> Statistics:
        """The statistics that a map's tags hold."""
        with rasterio.open(path) as file:
            tags, cells = file.tags(1), file.width * file.height
        share = float(tags.get("STATISTICS_VALID_PERCENT", 0)) / 100
        if "STATISTICS_MEAN" not in tags:
            return cls(cells=cells)
        valid = round(cells * share)
        return cls(
            cells=cells,
            valid=valid,
            lowest=float(tags["STATISTICS_MINIMUM"]),
            highest=float(tags["STATISTICS_MAXIMUM"]),
            mean=float(tags["STATISTICS_MEAN"]),
            squares=float(tags["STATISTICS_STDDEV"]) ** 2 * valid,
        )

    def tags(self) -> dict[str, str]:
        """As GDAL keeps them; empty for a map without a valid cell."""
        if not self.valid:
            return {"STATISTICS_VALID_PERCENT": "0"}
        return {
            "STATISTICS_MINIMUM": repr(self.lowest),
            "STATISTICS_MAXIMUM": repr(self.highest),
            "STATISTICS_MEAN": repr(self.mean),
            "STATISTICS_STDDEV": repr(self.sd),
            "STATISTICS_VALID_PERCENT": f"{100 * self.valid / self.cells:.4g}",
        }


def write_cog(
    path: Path,
    window: Windows,
    grid: GeoBox,
    work: Path,
    *,
    tags: Mapping[str, str],
    description: str,
    unit: str,
    nodata: float = float("nan"),
    dtype: str = "float32",
    resampling: str = "average",
    options: Mapping[str, str] | None = None,
    num_threads: int = 1,
) -> Statistics:
    """Write one map.

    A plain tiled GeoTIFF is streamed first: GDAL's COG driver, fed directly, would hold the whole map in memory. The
    finished file is opened again and every block compared, since a full disk may show at no earlier moment.

    Parameters
    ----------
    path : Path
        Final name; takes its place only when the file is whole.
    window : callable
        Gives the values of a window; called once for each block, row by row.
    grid : GeoBox
        Grid of the map.
    work : Path
        Folder for the intermediate file, on the same file system.
    tags : mapping
        Dataset tags.
    nodata : float
        Value of cells without one; a number where the type is one of integers.
    dtype : str
        Type in the file; `window` gives float32 all the same, so integers beyond 2**24 do not pass.
    resampling : {"average", "nearest"}
        Of the overviews; nearest for classes.
    options : mapping
        Creation options of GDAL's COG driver, over the defaults.
    num_threads : int
        Threads that compress and compare; the bytes are the same.

    Raises
    ------
    OutputError
    """
    name = f"{path.stem}-{secrets.token_hex(4)}"
    plain, part = work / f"{name}.plain.tif", work / f"{name}.tif"
    statistics = Statistics()
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_NUM_THREADS=1):
            _stream(plain, window, grid, statistics, tags, description, unit, nodata, dtype)
            if not any(option.upper() in _OF_OVERVIEWS for option in options or {}):
                _shrink(plain, grid, resampling)
            ours = {**PROFILE, "OVERVIEW_RESAMPLING": resampling.upper(), "NUM_THREADS": str(num_threads)}
            creation = {**ours, **{name.upper(): value for name, value in (options or {}).items()}}
            rasterio.shutil.copy(str(plain), str(part), driver="COG", **creation)
            _verify(part, path, grid, statistics, nodata, num_threads)
        settle(part, path)
    except (RasterioError, CPLE_BaseError) as error:
        why = str(error.__cause__ or error)
        full = _is_full(work, why)
        if not full and "read" in why.lower():  # what was written a moment ago
            raise _not_whole(path, why[:300]) from error
        raise OutputError(
            f"{path} cannot be written",
            code="GS-NO-SPACE" if full else "GS-NOT-WRITABLE",
            details=[why[:300]],
            hint="check the space on the disk and the creation options, then go on with --resume",
        ) from error
    except OSError as error:
        raise error if isinstance(error, OutputError) else output_error(path, error) from error
    finally:
        plain.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return statistics


def _is_full(work: Path, why: str) -> bool:
    """Whether a write failed for want of room: GDAL says so, or says something else and no block has room."""
    if any(sign in why.lower() for sign in _FULL):
        return True
    try:
        return shutil.disk_usage(work).free < 4 * BLOCK**2
    except OSError:
        return False


def _windows(grid: GeoBox) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    height, width = int(grid.shape[0]), int(grid.shape[1])
    for row in range(0, height, BLOCK):
        for column in range(0, width, BLOCK):
            yield (row, min(row + BLOCK, height)), (column, min(column + BLOCK, width))


def _stream(
    plain: Path,
    window: Windows,
    grid: GeoBox,
    statistics: Statistics,
    tags: Mapping[str, str],
    description: str,
    unit: str,
    nodata: float,
    dtype: str,
) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": int(grid.shape[0]),
        "width": int(grid.shape[1]),
        "count": 1,
        "dtype": dtype,
        "nodata": nodata,
        "crs": grid.crs.to_wkt() if grid.crs else None,
        "transform": grid.affine,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "bigtiff": "IF_SAFER",
    }
    with rasterio.open(plain, "w", **profile) as file:
        file.set_band_description(1, description)
        file.units = (unit,)
        for rows, columns in _windows(grid):
            values = window(rows, columns)
            statistics.add(values)
            if not np.isnan(nodata):
                values = _with_nodata(values, nodata)
            file.write(values.astype(dtype, copy=False), 1, window=Window.from_slices(rows, columns))
        file.update_tags(**tags)
        file.update_tags(1, **statistics.tags())


def _shrink(plain: Path, grid: GeoBox, resampling: str) -> None:
    """Overviews as the COG driver would make them: it would compress them once for itself, and then once more."""
    longest = max(int(edge) for edge in grid.shape)
    factors: list[int] = []
    while longest > BLOCK:
        longest //= 2
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=BLOCK), rasterio.open(plain, "r+") as file:
            file.build_overviews(factors, Resampling[resampling])


def _with_nodata(values: Float32, nodata: float) -> Float32:
    """The values with a number for none; raises OutputError where that number is a value."""
    if (values == np.float32(nodata)).any():
        raise OutputError(
            f"the map holds the value {nodata:g}, which is to mean no data",
            code="GS-NODATA-VALUE",
            hint="choose another --nodata, such as -9999, and start again with --overwrite",
        )
    return np.where(np.isnan(values), np.float32(nodata), values)


def _verify(part: Path, path: Path, grid: GeoBox, statistics: Statistics, nodata: float, num_threads: int) -> None:
    """Read every block back."""
    blocks = list(zip(statistics.checksums, _windows(grid), strict=True))

    def read(first: int) -> None:
        with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_NUM_THREADS=1), rasterio.open(part) as file:
            for checksum, (rows, columns) in blocks[first::num_threads]:
                values = file.read(1, window=Window.from_slices(rows, columns), out_dtype="float32")
                if not np.isnan(nodata):
                    values[values == np.float32(nodata)] = np.nan
                if zlib.crc32(np.ascontiguousarray(values).tobytes()) != checksum:
                    where = f"rows {rows[0]}-{rows[1]}, columns {columns[0]}-{columns[1]}"
                    raise _not_whole(path, f"{where} differ when read back")

    try:
        with ThreadPoolExecutor(num_threads, thread_name_prefix="geosoil") as pool:
            list(pool.map(read, range(min(num_threads, len(blocks)))))
    except RasterioError as error:
        raise _not_whole(path, str(error.__cause__ or error)[:300]) from error


def _not_whole(path: Path, why: str) -> OutputError:
    return OutputError(
        f"{path} did not reach the disk whole",
        code="GS-NOT-VERIFIED",
        details=[why],
        hint="check the disk and its space, and that no creation option drops digits; then go on with --resume",
    )
