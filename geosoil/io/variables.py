"""Bands that are xarray variables or dask arrays already: windows of them, and what their numbers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.local import get_sync
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.types import Footprint

from .addresses import is_remote, redact
from .blocks import Cut, read_blocks, several, shares_blocks
from .rawfile import Decoding, decode_window

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import NDArray

    from geosoil.types import Float32, Int64

__all__ = ["Cube", "Variable", "VariableStack", "is_plain"]

#: Attributes that tell which numbers stand for no data; the first two are those of the conventions (CF).
_GAPS = ("_FillValue", "missing_value", "nodata")
#: Chunks of a store that are held at the same time for a window, decoded and half as large as they are stored.
_TOGETHER = 2


@dataclass(frozen=True)
class Variable:
    """A variable with any further dimensions, each combination of them one band.

    Attributes
    ----------
    array : DataArray
        Further dimensions, then rows from the north, then columns.
    planes : tuple of int
        The bands: positions in the further dimensions, counted as if they were one.
    """

    array: xr.DataArray = field(repr=False)
    planes: tuple[int, ...]

    def read(self, places: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """The window of some of the bands."""
        planes = np.asarray(self.planes)[places]
        window = self.array[..., slice(*rows), slice(*cols)]
        if self.array.ndim == 3:
            # A file often stores the bands of a cell together: take the whole range in one read.
            first = int(planes.min())
            return decode(_values(window[first : int(planes.max()) + 1]), self.array.attrs, planes - first)
        if self.array.ndim == 2:
            return decode(_values(window)[np.newaxis], self.array.attrs, planes)
        places_of = np.unravel_index(planes, self.array.shape[:-2])
        values = np.stack([_values(window[tuple(int(p) for p in place)]) for place in zip(*places_of, strict=True)])
        return decode(values, self.array.attrs)

    def footprint(self, rows: int, cols: int) -> int:
        """Bytes that reading a window takes at most: as stored, as values, where they are missing, and chunks."""
        first, last = (min(self.planes), max(self.planes)) if self.array.ndim == 3 else (0, len(self.planes) - 1)
        size = self.array.dtype.itemsize
        window = (last + 1 - first) * rows * cols * (size + 4 + 2)
        chunks = self._chunks()
        if not all(chunks):
            return window
        touched = math.prod(
            1 if edge % cells == 0 else -(-cells // edge) + (cells % edge > 0)
            for cells, edge in zip((rows, cols), chunks[-2:], strict=True)
        )
        return window + max(3 * min(touched, _TOGETHER) // 2, 3) * math.prod(chunks) * size

    def cut(self, bands: int) -> Cut | None:
        """How so many of its bands are decoded: chunks, of small ones several; None where there are none."""
        edges = self._chunks()
        if not all(edges):
            return None
        rows, columns = (several(*axis) for axis in zip(edges[-2:], self.array.shape[-2:], strict=True))
        return Cut(rows, columns, 4 * bands * rows * columns)

    def _chunks(self) -> list[int]:
        """Edges of the chunks that are decoded as a whole; 0 along dimensions that have none."""
        if self.array.chunks is not None:
            return [max(along) for along in self.array.chunks]
        told = self.array.encoding.get("preferred_chunks", {})
        return [int(told.get(dim, 0)) for dim in self.array.dims]

    def lazy(self, chunks: int) -> da.Array:
        """The bands as a dask array ``(band, y, x)``."""
        array = self.array
        data = array.data if array.chunks is not None else da.from_array(array.values, chunks="auto")
        data = data.reshape((-1, *array.shape[-2:]))
        if array.chunks is None:
            data = data.rechunk((-1, chunks, chunks))
        lazy: da.Array = data.map_blocks(
            decode, dict(array.attrs), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
        )
        return lazy


def _values(window: xr.DataArray) -> NDArray[Any]:
    if window.chunks is not None:
        return np.asarray(window.data.compute(scheduler=get_sync))
    return np.asarray(window.values)


def is_plain(variable: xr.Variable) -> bool:
    """Whether `decode` makes of stored numbers with rows and columns what the conventions (CF) say."""
    told = [
        np.asarray(variable.attrs[name])
        for name in (*_GAPS[:2], "scale_factor", "add_offset")
        if name in variable.attrs
    ]
    numbers = all(one.ndim == 0 and one.dtype.kind in "iuf" for one in told)
    return variable.ndim > 1 and variable.dtype.kind in "iuf" and numbers and "_Unsigned" not in variable.attrs


def decode(values: NDArray[Any], attrs: Mapping[Hashable, Any], bands: Int64 | None = None) -> Float32:
    """Bands of stored values (B, h, w) as float32 with NaN for no data, where the attributes still say how.

    Parameters
    ----------
    bands : (n,) int64, optional
        Which of them, in this order; default: all.

    >>> decode(np.array([[[10, -1]]], np.int16), {"_FillValue": -1, "scale_factor": 0.5})
    array([[[ 5., nan]]], dtype=float32)
    """
    values = _native(values)
    bands = np.arange(len(values)) if bands is None else bands
    told = [np.atleast_1d(np.asarray(attrs[name])) for name in _GAPS if name in attrs]
    gaps = np.unique(np.concatenate(told)) if told else np.empty(0)
    if gaps.dtype.kind in "iuf" and values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            gaps = np.unique(gaps.astype(values.dtype))  # rounded as the stored numbers are
    one = float(gaps[0]) if len(gaps) == 1 else np.nan
    scale, offset = float(attrs.get("scale_factor", 1.0)), float(attrs.get("add_offset", 0.0))
    how = Decoding(*(np.full(len(bands), number) for number in (one, scale, offset)))
    out = np.empty((len(bands), *values.shape[1:]), np.float32)
    decode_window(values, "bsq", bands, (0, 0), how, out)
    if len(gaps) > 1:
        out[np.isin(values[bands], gaps)] = np.nan
    return out


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers of a kind that loops can be compiled for."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    return (
        values.astype(np.float32)
        if values.dtype == np.float16
        else values.astype(values.dtype.newbyteorder("="), copy=False)
    )


@dataclass(frozen=True)
class VariableStack:
    """Variables on one grid, their bands one after the other.

    Attributes
    ----------
    variables : tuple of Variable
        Where values come from.
    bands : Bands
        What is known of the bands.
    geobox : GeoBox
        Their grid.
    stamp : str
        What tells these data from others, for dask; the address with the time of change.
    """

    variables: tuple[Variable, ...] = field(repr=False)
    bands: Bands
    geobox: GeoBox = field(repr=False)
    stamp: str = field(default="", repr=False)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("geosoil.VariableStack", self.bands, [one.planes for one in self.variables], self.stamp)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        rows, cols = self.geobox.shape
        return len(self.bands), int(rows), int(cols)

    def take(self, positions: list[int]) -> VariableStack:
        """Some of the bands, in the order given."""
        owners = [(one, plane) for one in self.variables for plane in one.planes]
        runs: list[Variable] = []
        for one, plane in (owners[position] for position in positions):
            if runs and runs[-1].array is one.array:
                runs[-1] = replace(runs[-1], planes=(*runs[-1].planes, plane))
            else:
                runs.append(replace(one, planes=(plane,)))
        return replace(self, variables=tuple(runs), bands=self.bands.take(positions))

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `lazy.WindowReader`."""
        out = np.empty((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
        first = 0
        for one in self.variables:
            wanted = np.flatnonzero((bands >= first) & (bands < first + len(one.planes)))
            if len(wanted):
                try:
                    out[wanted] = self._window(one, bands[wanted] - first, rows, cols)
                except Exception as error:  # each engine and codec raises its own kinds
                    raise self._unreadable(self.bands.names[bands[wanted[0]]], rows, cols, error) from error
            first += len(one.planes)
        return out

    def _window(self, one: Variable, places: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """A window of a variable, from blocks that are shared where there is room for them."""
        cut = one.cut(len(places)) if shares_blocks() else None
        if cut is None or is_remote(self.stamp):  # a server is asked for all chunks at once
            return one.read(places, rows, cols)
        planes = tuple(np.asarray(one.planes)[places].tolist())
        return read_blocks(
            (self.stamp, one.array.name, planes), cut, self.shape[1:], rows, cols,
            lambda rows, cols: one.read(places, rows, cols),
        )  # fmt: skip

    def blocks(self) -> Cut | None:
        """See `blocks.Blocked`."""
        return None if is_remote(self.stamp) else Cut.joined(one.cut(len(one.planes)) for one in self.variables)

    def footprint(self, rows: int, cols: int) -> Footprint:
        """See `types.Measured`."""
        return Footprint(4 * len(self.bands) * rows * cols + max(one.footprint(rows, cols) for one in self.variables))

    def _unreadable(self, name: str, rows: tuple[int, int], cols: tuple[int, int], error: Exception) -> InputError:
        return InputError(
            f"band {name[:30]!r} cannot be read in rows {rows[0]}-{rows[1] - 1}",
            code="GS-RASTER-READ",
            details=[
                f"file: {redact(self.stamp.split('|')[0])}",
                f"window: rows {rows[0]} to {rows[1] - 1}, columns {cols[0]} to {cols[1] - 1}",
                redact(str(error))[:300],
            ],
            hint="the file is cut off or damaged, or its disk or server failed: copy it again",
        )

    def lazy(self, chunks: int) -> da.Array:
        """The bands as one dask array; the chunks of variables that are dask arrays are kept."""
        arrays = [one.lazy(chunks) for one in self.variables]
        return arrays[0] if len(arrays) == 1 else da.concatenate(arrays)


@dataclass(frozen=True)
class Cube:
    """A scene that somebody has opened already: its own dask array, neither copied nor computed.

    Attributes
    ----------
    array : dask array
        ``(band, y, x)`` float32, northernmost row first.
    bands : Bands
        What the scene says of them.
    geobox : GeoBox
        Its grid.
    """

    array: da.Array = field(repr=False)
    bands: Bands
    geobox: GeoBox = field(repr=False)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("geosoil.Cube", self.array.name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        bands, rows, cols = self.array.shape
        return int(bands), int(rows), int(cols)

    def take(self, positions: list[int]) -> Cube:
        """Some of the bands, by slices: unlike a list, dask joins them with later windows into one small read."""
        runs = _runs(positions)
        slices = [self.array[run.start : run.stop] for run in runs]
        array = slices[0] if len(slices) == 1 else da.concatenate(slices)
        return Cube(array, self.bands.take(positions), self.geobox)

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `lazy.WindowReader`."""
        window = self.take(bands.tolist()).array[:, slice(*rows), slice(*cols)]
        return np.asarray(window.compute(scheduler=get_sync), np.float32)


def _runs(positions: list[int]) -> list[range]:
    """Positions as runs of neighbours.

    >>> _runs([4, 5, 6, 2])
    [range(4, 7), range(2, 3)]
    """
    runs: list[range] = []
    for position in positions:
        if runs and runs[-1].stop == position:
            runs[-1] = range(runs[-1].start, position + 1)
        else:
            runs.append(range(position, position + 1))
    return runs
