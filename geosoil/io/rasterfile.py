"""Raster files that GDAL reads: what the header says of each band, and windows of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geosoil.errors import InputError, listing
from geosoil.kernels.decode import EDGE
from geosoil.types import Footprint

from .addresses import redact, short_name
from .blocks import Cut, read_blocks, shares_blocks
from .gdal import Handle, borrow
from .rawfile import Decoding, RawLayout, decode_window, pick_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Int64

__all__ = ["BandFormat", "MappedCells", "RasterFile"]


@dataclass(frozen=True, slots=True)
class BandFormat:
    """How a band is stored.

    Attributes
    ----------
    index : int
        Number in the file, from 1.
    nodata : float or None
        Stored number that stands for no data.
    scale, offset : float
        Value = stored number x scale + offset.
    """

    index: int
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0

    def missing(self, stored: NDArray[Any]) -> Bool:
        """Where stored numbers stand for no data, or are none."""
        if stored.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                missing: Bool = ~(np.abs(stored) < EDGE)  # NaN and infinity too
            if self.nodata is not None and np.isfinite(self.nodata):
                missing |= stored == stored.dtype.type(self.nodata)
            return missing
        # A nodata value that the integer type cannot hold is never met.
        return np.asarray(stored == self.nodata) if self.nodata is not None else np.zeros(stored.shape, bool)


@dataclass(frozen=True)
class RasterFile:
    """The header of a raster file, and its windows.

    Attributes
    ----------
    handle : Handle
        The file.
    names : tuple of str
        Names of the bands.
    formats : tuple of BandFormat
        How each of them is stored.
    geobox : GeoBox
        Grid, north up.
    masked : bool
        Whether the file has a mask or an alpha band.
    south_up : bool
        Whether the file stores the southernmost row first.
    raw : RawLayout or None
        Where its numbers are, for a file that holds nothing else; GDAL is then not needed for them.
    kept : int
        Bytes of a block, decoded and as stored, that GDAL keeps for each time that the file is open.
    number : int
        Bytes of a number as GDAL gives it.
    cut : (int, int), optional
        Rows and columns that are decoded as a whole; None where single rows can be read.
    """

    handle: Handle
    names: tuple[str, ...]
    formats: tuple[BandFormat, ...]
    geobox: GeoBox = field(repr=False)
    masked: bool = False
    south_up: bool = False
    raw: RawLayout | None = None
    kept: int = 0
    number: int = 4
    cut: tuple[int, int] | None = None

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("geosoil.RasterFile", self.handle.address, self.handle.stamp, self.formats, self.masked, self.south_up)

    def take(self, positions: list[int]) -> RasterFile:
        """The file with some of its bands."""
        return replace(
            self,
            names=tuple(self.names[place] for place in positions),
            formats=tuple(self.formats[place] for place in positions),
        )

    @property
    def is_mapped(self) -> bool:
        """Whether windows are decoded straight from a map of the file into memory."""
        return self.raw is not None and not self.south_up and not self.masked

    @cached_property
    def planes(self) -> Int64:
        """Where the bands are in the file."""
        return np.array([one.index - 1 for one in self.formats], np.int64)

    @cached_property
    def decoding(self) -> Decoding:
        """How the bands of a mapped file become values."""
        return _decoding(self.formats, np.dtype("float32" if self.raw is None else self.raw.dtype))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        rows, cols = self.geobox.shape
        return len(self.names), int(rows), int(cols)

    def footprint(self, rows: int, cols: int) -> Footprint:
        """See `types.Measured`."""
        cells = len(self.formats) * rows * cols
        if self.raw is not None and self.is_mapped:
            return Footprint(4 * cells, shared=self.raw.held(len(self.formats)) * rows)
        # Values, the numbers as they are stored, and a mask as bytes and as truth values.
        return Footprint((4 + self.number + 2 * self.masked) * cells, kept=self.kept)

    def blocks(self) -> Cut | None:
        """See `blocks.Blocked`."""
        if self.cut is None or self.masked:
            return None
        return Cut(*self.cut, self.cut[0] * self.cut[1] * len(self.formats) * self.number)

    def cells(self, rows: tuple[int, int], cols: tuple[int, int]) -> MappedCells | None:
        """The cells of a window, to be read as they are asked for; None where the file cannot be read so."""
        return MappedCells(self, rows, rows, cols) if self.is_mapped else None

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """One windowed read of the bands, on the calling thread.

        Raises
        ------
        InputError
            ``GS-RASTER-READ`` with file, bands and window.
        """
        formats = [self.formats[place] for place in bands]
        if self.raw is not None and self.is_mapped:
            values = np.empty((len(formats), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
            how = self.decoding.take(bands)
            for top, bottom, stored in self.raw.parts(self.handle, rows, len(formats)):
                part = values[:, top - rows[0] : bottom - rows[0]]
                decode_window(stored, self.raw.interleave, self.planes[bands], (0, cols[0]), how, part)
            return values
        stored, mask = self.read_stored([one.index for one in formats], rows, cols)
        # Numbers that are as wide as values become values where they are.
        values = stored if stored.dtype == np.float32 else np.empty(stored.shape, np.float32)
        decode_window(stored, "bsq", np.arange(len(formats)), (0, 0), _decoding(formats, stored.dtype), values)
        if mask is not None:
            values[mask == 0] = np.nan
        return values[:, ::-1] if self.south_up else values

    def read_stored(
        self, indexes: list[int], rows: tuple[int, int], cols: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Numbers as they are stored, by the bands' numbers in the file, with the mask where the file has one.

        In a file that is stored from the south on, the rows come in that order.
        """
        height, width = (int(edge) for edge in self.geobox.shape)
        span = (height - rows[1], height - rows[0]) if self.south_up else rows
        try:
            blocks = self.blocks() if shares_blocks() else None
            if blocks is None:
                return self._decoded(indexes, span, cols)
            blocks = replace(blocks, bytes=blocks.bytes // len(self.formats) * len(indexes))
            stored = read_blocks(
                (self.handle, tuple(indexes)), blocks, (height, width), span, cols,
                lambda rows, cols: self._decoded(indexes, rows, cols)[0],
            )  # fmt: skip
        except (rasterio.errors.RasterioError, OSError) as error:
            raise self._unreadable(indexes, rows, cols, error) from error
        return stored, None

    def _decoded(
        self, indexes: list[int], rows: tuple[int, int], cols: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """A window of the file itself, its rows as they are stored, by GDAL."""
        window = Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])
        with borrow(self.handle) as dataset:
            kinds = {dataset.dtypes[index - 1] for index in indexes}
            # Bands of several types come as the smallest type that holds them all.
            dtype = np.result_type(*kinds) if len(kinds) > 1 else None
            stored = dataset.read(indexes, window=window, out_dtype=dtype)
            return stored, dataset.read_masks(indexes, window=window) if self.masked else None

    def _unreadable(
        self, indexes: list[int], rows: tuple[int, int], cols: tuple[int, int], error: Exception
    ) -> InputError:
        names = [one for one, kept in zip(self.names, self.formats, strict=True) if kept.index in indexes]
        reason = error.__cause__ or error
        return InputError(
            f"{short_name(self.handle.address)} cannot be read in rows {rows[0]}-{rows[1] - 1}",
            code="GS-RASTER-READ",
            details=[
                f"file: {redact(self.handle.address)}",
                f"bands: {listing(names, 5)}",
                f"window: rows {rows[0]} to {rows[1] - 1}, columns {cols[0]} to {cols[1] - 1}",
                f"GDAL: {redact(str(reason))[:300]}",
            ],
            hint="the file is cut off or damaged, or its disk or server failed: copy it again",
        )


def _decoding(formats: Sequence[BandFormat], dtype: np.dtype[Any]) -> Decoding:
    """The formats of bands as arrays, for numbers of a type."""
    # What is not finite is no data anyhow.
    nodata = np.array([np.nan if one.nodata is None else one.nodata for one in formats], np.float64)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            nodata = nodata.astype(dtype)  # rounded as the stored numbers are
    return Decoding(
        nodata.astype(np.float64),
        np.array([one.scale for one in formats], np.float64),
        np.array([one.offset for one in formats], np.float64),
    )


@dataclass(frozen=True)
class MappedCells:
    """Cells of a mapped file that are decoded as they are asked for; see `types.Cells`.

    Attributes
    ----------
    file : RasterFile
        The bands, all of one file.
    kept : (int, int)
        Rows of the file that stay mapped while cells of them are read.
    rows, cols : (int, int)
        First, and one past the last, of the window.
    """

    file: RasterFile
    kept: tuple[int, int]
    rows: tuple[int, int]
    cols: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return len(self.file.names), self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    def part(self, rows: slice, cols: slice) -> MappedCells:
        """A part of the window."""
        top, left = self.rows[0], self.cols[0]
        return replace(
            self,
            rows=(top + rows.start, min(top + rows.stop, self.rows[1])),
            cols=(left + cols.start, min(left + cols.stop, self.cols[1])),
        )

    @cached_property
    def _parts(self) -> list[tuple[int, int, NDArray[Any]]]:
        """The maps of the file that hold the window; the file is looked at once, not for every run of cells."""
        raw, file = self.file.raw, self.file
        return [] if raw is None else list(raw.parts(file.handle, self.kept, len(file.formats), self.rows))

    def planes(self, bands: Int64) -> Float32:
        """Some of the bands (b, h, w)."""
        shape = self.shape[1:]
        row, column = (one.ravel() for one in np.indices(shape))
        out = np.empty(len(bands) * len(row), np.float32)
        self.pick(bands, row, column, np.array([0, len(row)]), out)
        return out.reshape(-1, *shape)

    def pick(self, bands: Int64, row: Int64, column: Int64, edges: Int64, out: Float32) -> None:
        """See `types.Cells`."""
        raw = self.file.raw
        if raw is None or not len(row):
            return
        row, column, how = row + self.rows[0], column + self.cols[0], self.file.decoding.take(bands)
        groups = list(pairwise(edges.tolist()))
        for top, bottom, stored in self._parts:
            spans = np.array([first + np.searchsorted(row[first:last], (top, bottom)) for first, last in groups])
            if (spans[:, 0] == spans[:, 1]).all():
                continue
            some = (edges, np.ascontiguousarray(spans[:, 0]), np.ascontiguousarray(spans[:, 1]))
            pick_cells(stored, raw.interleave, self.file.planes[bands], (row - top, column), some, how, out)
