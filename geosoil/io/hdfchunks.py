"""Parts of HDF5 datasets; deflated chunks are inflated here, on any thread, and never to more than their cells take.

HDF5 itself inflates a chunk however long it gets, so that a file of a megabyte can take all memory, and one chunk at a
time in the whole process.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bounded", "chunk_bytes", "part"]

#: Filters that are undone here, in the order in which they were applied.
_PIPELINES = frozenset(
    (*before, h5py.h5z.FILTER_DEFLATE, *after)
    for before in ((), (h5py.h5z.FILTER_SHUFFLE,))
    for after in ((), (h5py.h5z.FILTER_FLETCHER32,))
)
#: Bytes of the checksum behind a chunk. It is not looked at: the deflated bytes have one of their own.
_CHECKSUM = 4

# First cell, and one past the last, along each axis.
Spans = tuple[tuple[int, int], ...]


def part(dataset: h5py.Dataset, key: Sequence[int | slice]) -> NDArray[Any]:
    """What a dataset has at a key of whole numbers and slices, as the dataset itself would give it.

    Raises
    ------
    OSError
        A chunk is damaged, or holds more than its cells take.
    """
    filters = _filters(dataset)
    if filters not in _PIPELINES or dataset.dtype.kind not in "iuf":
        return np.asarray(dataset[tuple(key)])
    slices = [one if isinstance(one, slice) else slice(one, one + 1) for one in key]
    ranges = [range(*one.indices(size)) for one, size in zip(slices, dataset.shape, strict=True)]
    if not all(ranges):
        return np.asarray(dataset[tuple(key)])
    spans = tuple((min(one[0], one[-1]), max(one[0], one[-1]) + 1) for one in ranges)
    whole = _window(dataset, filters, spans)
    steps = tuple(
        slice(None, None, one.step) if isinstance(asked, slice) else 0 for asked, one in zip(key, ranges, strict=True)
    )
    return whole[steps]


def chunk_bytes(dataset: h5py.Dataset) -> int:
    """What one chunk takes when it is inflated; 0 where there are none."""
    return 0 if dataset.chunks is None else int(np.prod(dataset.chunks)) * dataset.dtype.itemsize


def _filters(dataset: h5py.Dataset) -> tuple[int, ...]:
    if dataset.chunks is None:
        return ()
    settings = dataset.id.get_create_plist()
    return tuple(settings.get_filter(place)[0] for place in range(settings.get_nfilters()))


def _window(dataset: h5py.Dataset, filters: tuple[int, ...], spans: Spans) -> NDArray[Any]:
    out = np.empty([last - first for first, last in spans], dataset.dtype)
    for corner, inside, into in _chunks(dataset.chunks, spans):
        stored = dataset.id.get_chunk_info_by_coord(corner)
        if stored.byte_offset is None:  # nobody has written it
            out[into] = dataset.fillvalue
            continue
        skipped, raw = dataset.id.read_direct_chunk(corner)
        out[into] = _decoded(raw, filters, skipped, dataset)[inside]
    return out


def _chunks(
    edges: tuple[int, ...], spans: Spans
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """The chunks that a window touches: the first cell of each, what of it is wanted, and where that goes."""
    along = [range(first // edge, -(-last // edge)) for edge, (first, last) in zip(edges, spans, strict=True)]
    for places in product(*along):
        corner = tuple(place * edge for place, edge in zip(places, edges, strict=True))
        starts = [max(first, at) for at, (first, _) in zip(corner, spans, strict=True)]
        stops = [min(last, at + edge) for at, edge, (_, last) in zip(corner, edges, spans, strict=True)]
        bounds = list(zip(starts, stops, strict=True))
        inside = tuple(slice(start - at, stop - at) for at, (start, stop) in zip(corner, bounds, strict=True))
        into = tuple(
            slice(start - first, stop - first) for (first, _), (start, stop) in zip(spans, bounds, strict=True)
        )
        yield corner, inside, into


def _decoded(raw: bytes, filters: tuple[int, ...], skipped: int, dataset: h5py.Dataset) -> NDArray[Any]:
    """A chunk as numbers; a bit of `skipped` says that a filter was not applied to it."""
    size = chunk_bytes(dataset)
    for place in reversed(range(len(filters))):
        if skipped >> place & 1:
            continue
        if filters[place] == h5py.h5z.FILTER_FLETCHER32:
            raw = raw[:-_CHECKSUM]
        elif filters[place] == h5py.h5z.FILTER_DEFLATE:
            raw = _inflated(raw, size)
        else:
            raw = np.frombuffer(raw, np.uint8).reshape(dataset.dtype.itemsize, -1).T.tobytes()
    if len(raw) != size:
        raise OSError(f"a chunk of {dataset.name!r} holds {len(raw):,} bytes, and its cells take {size:,}")
    return np.frombuffer(raw, dataset.dtype).reshape(dataset.chunks)


def _inflated(raw: bytes, size: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(raw, size)
        more = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise OSError(f"a chunk cannot be inflated: {error}") from error
    if more:
        raise OSError(f"a chunk inflates to more than the {size:,} bytes that its cells take")
    if not inflater.eof:
        raise OSError("a chunk ends in the middle")
    return out


@dataclass(frozen=True)
class _Part(BackendArray):
    """A variable of a NetCDF file as xarray asks for it."""

    address: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._part)

    def _part(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        with h5py.File(self.address, "r") as file:
            return part(file[self.name], key)


def bounded(dataset: xr.Dataset, address: str) -> xr.Dataset:
    """A NetCDF file, opened and not decoded, of which deflated variables are read by `part`."""
    variables = {}
    with h5py.File(address, "r") as file:
        for name, one in dataset.variables.items():
            stored = file.get(str(name))
            if isinstance(stored, h5py.Dataset) and _filters(stored) in _PIPELINES and one.shape == stored.shape:
                lazy = indexing.LazilyIndexedArray(
                    _Part(str(Path(address).absolute()), str(name), one.shape, one.dtype)
                )
                variables[name] = xr.Variable(one.dims, lazy, one.attrs, one.encoding)
    return dataset.assign(variables)
