"""Windowed readers as dask arrays: a slice of a chunk reads only that slice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import dask.array as da
import numpy as np
from dask.base import tokenize

from geosoil.types import Footprint, WindowReader

from .blocks import Blocked, Cut
from .stack import Stack, footprint_of

if TYPE_CHECKING:
    from geosoil.types import Float32, Int64

__all__ = ["cut_of_files", "footprint", "lazy_array", "reader_of"]


@dataclass(frozen=True)
class _Sliced:
    """What dask slices: keys become windows."""

    reader: WindowReader

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.reader.shape

    def __getitem__(self, key: Any) -> Float32:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (3 - len(keys)))
        bands, rows, cols = (np.arange(size)[one] for size, one in zip(self.shape, keys, strict=True))
        (top, bottom), (left, right) = _span(rows), _span(cols)
        if np.size(bands) and bottom > top and right > left:
            window = self.reader.read(np.atleast_1d(bands), (top, bottom), (left, right))
        else:
            window = np.empty((np.size(bands), bottom - top, right - left), np.float32)
        # Steps and single rows are taken from the window; the bands are there already.
        inner = window[0] if np.ndim(bands) == 0 else window
        inner = inner if _whole(rows) else inner[..., rows - top, :]
        return inner if _whole(cols) else inner[..., cols - left]


def _span(places: Int64) -> tuple[int, int]:
    """First and one past the last of the places."""
    return (int(np.min(places)), int(np.max(places)) + 1) if np.size(places) else (0, 0)


def _whole(places: Int64) -> bool:
    """Whether the places are those from the first to the last in order."""
    return bool(np.ndim(places) == 1 and (np.diff(places) == 1).all())


# By the name of the array; an entry lives as long as some graph holds the reader.
_readers: WeakValueDictionary[str, _Sliced] = WeakValueDictionary()


def lazy_array(reader: WindowReader, chunks: int) -> da.Array:
    """The reader as a dask array, all bands in a chunk; no data is read.

    Parameters
    ----------
    reader : WindowReader
        Where the windows come from.
    chunks : int
        Edge of the chunks, cells.
    """
    sliced = _Sliced(reader)
    name = f"geosoil-{tokenize(reader, chunks)}"
    array: da.Array = da.from_array(
        _readers.setdefault(name, sliced),
        chunks=(max(reader.shape[0], 1), chunks, chunks),
        name=name,
        asarray=True,
        fancy=True,
        lock=False,
        meta=np.empty((0, 0, 0), np.float32),
    )
    return array


def footprint(array: Any, rows: int, cols: int, *, by_cells: bool = False) -> Footprint:
    """Memory of reading windows of so many rows and columns.

    With `by_cells`, windows that can be are read as their cells are asked for.
    """
    reader = reader_of(array) if isinstance(array, da.Array) else None
    if reader is None:
        # The chunks, or what is cut from them, and the window that they make.
        return Footprint(2 * 4 * array.shape[0] * rows * cols)
    found = footprint_of(reader, rows, cols)
    by_cells = by_cells and isinstance(reader, Stack) and reader.cells((0, 1), (0, 1)) is not None
    return replace(found, own=0) if by_cells else found


def cut_of_files(array: Any) -> Cut | None:
    """How the files behind an array are cut into blocks that are decoded as a whole; None where none is."""
    reader = reader_of(array) if isinstance(array, da.Array) else None
    return reader.blocks() if isinstance(reader, Blocked) else None


def reader_of(array: da.Array) -> WindowReader | None:
    """The reader behind an array that `lazy_array` made in this process; None for any other array.

    Taking bands from the reader costs nothing. Taking them from the array makes dask read all bands of a chunk.
    """
    sliced = _readers.get(array.name)
    return None if sliced is None else sliced.reader
