"""Putting a raster on another grid, window by window, with the values that a warp of the whole raster gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points

from geosoil.errors import UsageError, listing
from geosoil.types import Footprint

from .gdal import gdal_env
from .grids import same_crs
from .stack import footprint_of

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64, WindowReader

__all__ = ["RESAMPLING", "Aligned"]

# Rows and columns: first and one past the last.
_Window: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

#: Ways to take values from another grid; a class band is always taken from the nearest cell.
RESAMPLING = ("nearest", "bilinear", "cubic", "average", "mode")

# Ways that weigh several cells by a kernel round the nearest.
_SPREADING = frozenset({"bilinear", "cubic"})
# Most source cells (all bands together) held for one warp: 64 MiB of float32, which GDAL holds three times over.
_MOST_CELLS = 2**24
# Error of the coordinates in source cells. Zero would be exact too, but rasterio 1.4 does not take it.
_EXACT = 1e-9
# Longer than a window's edge may be what surrounds it on a grid that is turned against it: neighbouring zones of UTM.
_TURNED = 1.15


@dataclass(frozen=True)
class Aligned:
    """A reader seen through another grid.

    The warp of a window equals that window of a warp of the whole raster: coordinates are transformed exactly rather
    than approximated over the window, the ratio of the two cell sizes is fixed rather than measured on the window, and
    the window of the source has room for the resampling kernel. Values are warped as float32 after decoding, with NaN
    for no data, each band by itself.

    Attributes
    ----------
    reader : WindowReader
        Where values come from.
    source, target : GeoBox
        Its grid, and the one to put it on.
    resampling : tuple of str
        Of `RESAMPLING`, one a band.
    """

    reader: WindowReader
    source: GeoBox = field(repr=False)
    target: GeoBox = field(repr=False)
    resampling: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.resampling) - set(RESAMPLING))
        if unknown:
            raise UsageError(
                f"resampling {listing(unknown)!r} is not known",
                code="GS-RESAMPLING",
                details=[f"known: {listing(RESAMPLING)}"],
            )

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        grids = [(tuple(grid.shape), tuple(grid.affine), str(grid.crs)) for grid in (self.source, self.target)]
        return ("geosoil.Aligned", self.reader, grids, self.resampling)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        rows, cols = self.target.shape
        return self.reader.shape[0], int(rows), int(cols)

    def take(self, positions: list[int]) -> Aligned:
        """The same with some of the bands."""
        reader = self.reader.take(positions)
        return replace(self, reader=reader, resampling=tuple(self.resampling[place] for place in positions))

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `lazy.WindowReader`."""
        scale = self.scale()
        window = self._source_window(rows, cols, scale)
        if window is None:
            return np.full((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.nan, np.float32)
        halves = self._halves(window, bands, rows, cols)
        if halves is not None:
            return halves
        values = self.reader.read(bands, *window)
        out = np.empty((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
        for way in dict.fromkeys(self.resampling[band] for band in bands):
            places = [place for place, band in enumerate(bands) if self.resampling[band] == way]
            chosen = values if len(places) == len(bands) else values[places]
            out[places] = self._warp(chosen, window, rows, cols, way, scale)
        if np.isnan(values).any():
            self._keep_gaps(out, values, bands, window, rows, cols, scale)
        return out

    def _keep_gaps(
        self,
        out: Float32,
        values: Float32,
        bands: Int64,
        window: _Window,
        rows: tuple[int, int],
        cols: tuple[int, int],
        scale: tuple[float, float],
    ) -> None:
        """Take out what a kernel has spread into cells whose nearest source cell has no data.

        GDAL does so itself for a file of one band, but not for one of several with gaps in different places.
        """
        gaps = np.asarray(np.isnan(values).any(axis=(1, 2)))
        places = [place for place, band in enumerate(bands) if gaps[place] and self.resampling[band] in _SPREADING]
        if places:
            nearest = self._warp(values[places], window, rows, cols, "nearest", scale)
            out[places] = np.where(np.isnan(nearest), np.float32(np.nan), out[places])

    def scale(self) -> tuple[float, float]:
        """Target cells a source cell, along columns and rows, in the middle of the target; at most 1."""
        across, down = self._steps()
        return min(1.0, 1.0 / across), min(1.0, 1.0 / down)

    def _steps(self) -> tuple[float, float]:
        """Source cells a target cell, along columns and rows, in the middle of the target."""
        rows, cols = self.target.shape
        middle = np.array([[cols / 2, rows / 2], [cols / 2 + 1, rows / 2], [cols / 2, rows / 2 + 1]])
        at = self._to_source(middle[:, 0], middle[:, 1])
        if not np.isfinite(at).all():
            return 1.0, 1.0
        steps = np.hypot(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0])
        return float(steps[0]), float(steps[1])

    def footprint(self, rows: int, cols: int) -> Footprint:
        """See `types.Measured`."""
        bands, height, width = self.reader.shape
        steps, scale = self._steps(), self.scale()
        # As `_source_window` has it, with room for grids that are turned against each other.
        tall, wide = (
            min(size, math.ceil(_TURNED * step * cells) + 2 * _room(one))
            for size, step, cells, one in zip((height, width), steps[::-1], (rows, cols), scale[::-1], strict=True)
        )
        inner = footprint_of(self.reader, tall, wide)
        share = min(1.0, _MOST_CELLS / (bands * tall * wide))
        # What is read, GDAL's file of it and what it warps from, and where it is missing; the window, what GDAL warps
        # and hands on of it, and the nearest cells, which say where a kernel has to leave gaps.
        source, target = bands * tall * wide * share, bands * rows * cols
        return replace(inner, own=int(share * inner.own + 9 * source + 4 * 4 * target))

    def _halves(
        self,
        window: _Window,
        bands: Int64,
        rows: tuple[int, int],
        cols: tuple[int, int],
    ) -> Float32 | None:
        """The window read in two parts where its source is too large to hold at once."""
        (top, bottom), (left, right) = window
        if len(bands) * (bottom - top) * (right - left) <= _MOST_CELLS:
            return None
        if rows[1] - rows[0] == cols[1] - cols[0] == 1:
            return None if len(bands) == 1 else self._joined_bands(bands, rows, cols)
        if rows[1] - rows[0] >= cols[1] - cols[0]:
            middle = (rows[0] + rows[1]) // 2
            parts = [self.read(bands, half, cols) for half in ((rows[0], middle), (middle, rows[1]))]
            return np.concatenate(parts, axis=1)
        middle = (cols[0] + cols[1]) // 2
        parts = [self.read(bands, rows, half) for half in ((cols[0], middle), (middle, cols[1]))]
        return np.concatenate(parts, axis=2)

    def _joined_bands(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        return np.concatenate([self.read(bands[place : place + 1], rows, cols) for place in range(len(bands))])

    def _to_source(self, cols: Float64, rows: Float64) -> Float64:
        """Columns and rows of the target, fractions allowed, as those of the source, (2, n)."""
        x, y = _apply(self.target.affine, cols, rows)
        if not same_crs(self.source.crs, self.target.crs):
            with gdal_env():
                moved = transform_points(_wkt(self.target), _wkt(self.source), x.tolist(), y.tolist())
            x, y = np.asarray(moved[0]), np.asarray(moved[1])
        return np.stack(_apply(~self.source.affine, x, y))

    def _source_window(
        self, rows: tuple[int, int], cols: tuple[int, int], scale: tuple[float, float]
    ) -> _Window | None:
        """Rows and columns of the source that a window of the target draws on; None for none."""
        across = np.arange(cols[0], cols[1] + 1, dtype=np.float64)
        down = np.arange(rows[0], rows[1] + 1, dtype=np.float64)
        border_cols = np.concatenate([across, across, np.full(len(down), cols[0]), np.full(len(down), cols[1])])
        border_rows = np.concatenate([np.full(len(across), rows[0]), np.full(len(across), rows[1]), down, down])
        at = self._to_source(border_cols, border_rows)
        at = at[:, np.isfinite(at).all(axis=0)]
        if at.shape[1] == 0:
            return None
        spans = []
        for axis, size in ((1, self.source.shape[0]), (0, self.source.shape[1])):
            room = _room(scale[axis])
            first, last = math.floor(at[axis].min()) - room, math.ceil(at[axis].max()) + room
            first, last = max(first, 0), min(last, int(size))
            if last <= first:
                return None
            spans.append((first, last))
        return spans[0], spans[1]

    def _warp(
        self,
        values: Float32,
        window: _Window,
        rows: tuple[int, int],
        cols: tuple[int, int],
        way: str,
        scale: tuple[float, float],
    ) -> Float32:
        source, target = self._local_transforms()
        profile = {
            "driver": "GTiff",
            "count": values.shape[0],
            "height": values.shape[1],
            "width": values.shape[2],
            "dtype": "float32",
            "nodata": math.nan,
            "crs": _wkt(self.source),
            "transform": source * Affine.translation(window[1][0], window[0][0]),
            "interleave": "band",
        }
        # In one CRS both grids get the very same words, so that GDAL sees that there is nothing to transform.
        alike = same_crs(self.source.crs, self.target.crs)
        with gdal_env(), MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(values)
            with (
                memory.open() as dataset,
                WarpedVRT(
                    dataset,
                    crs=_wkt(self.source if alike else self.target),
                    transform=target * Affine.translation(cols[0], rows[0]),
                    width=cols[1] - cols[0],
                    height=rows[1] - rows[0],
                    resampling=Resampling[way],
                    src_nodata=math.nan,
                    nodata=math.nan,
                    tolerance=_EXACT,
                    warp_mem_limit=256,
                    XSCALE=repr(scale[0]),
                    YSCALE=repr(scale[1]),
                    UNIFIED_SRC_NODATA="NO",
                    SAMPLE_GRID="YES",
                    SOURCE_EXTRA="16",
                ) as warped,
            ):
                found: Float32 = warped.read()
        return found

    def _local_transforms(self) -> tuple[Affine, Affine]:
        """Transforms of both grids; in one CRS from a common corner, where rounding is smallest."""
        source, target = self.source.affine, self.target.affine
        if not same_crs(self.source.crs, self.target.crs):
            return source, target
        shift = Affine.translation(-target.c, -target.f)
        return shift * source, shift * target


def _room(scale: float) -> int:
    """Source cells round a window: the cubic kernel reaches two cells of the coarser grid; two more for rounding."""
    return math.ceil(2 / scale) + 2


def _apply(affine: Affine, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """Points through a transform without rotation."""
    return affine.a * x + affine.c, affine.e * y + affine.f


def _wkt(grid: GeoBox) -> str:
    return str(grid.crs.to_wkt()) if grid.crs is not None else ""
