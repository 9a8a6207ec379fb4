"""Parts of HDF5 datasets; deflated chunks are inflated here, on any thread, and never to more than their cells take.

HDF5 itself inflates a chunk however long it gets, so that a file of a megabyte can take all memory, and one chunk at a
time in the whole process.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .chunks import gather

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HdfArray", "chunk_bytes", "deflated", "part"]

#: Filters that are undone here, in the order in which they were applied.
_PIPELINES = frozenset(
    (*before, h5py.h5z.FILTER_DEFLATE, *after)
    for before in ((), (h5py.h5z.FILTER_SHUFFLE,))
    for after in ((), (h5py.h5z.FILTER_FLETCHER32,))
)
#: Bytes of the checksum behind a chunk. It is not looked at: the deflated bytes have one of their own.
_CHECKSUM = 4


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

    def chunk(corner: tuple[int, ...]) -> NDArray[Any] | None:
        if dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
            return None
        skipped, raw = dataset.id.read_direct_chunk(corner)
        return _decoded(raw, filters, skipped, dataset)

    return gather(key, dataset.shape, dataset.chunks, dataset.dtype, chunk, dataset.fillvalue)


def chunk_bytes(dataset: h5py.Dataset) -> int:
    """What one chunk takes when it is inflated; 0 where there are none."""
    return 0 if dataset.chunks is None else int(np.prod(dataset.chunks)) * dataset.dtype.itemsize


def _filters(dataset: h5py.Dataset) -> tuple[int, ...]:
    if dataset.chunks is None:
        return ()
    settings = dataset.id.get_create_plist()
    return tuple(settings.get_filter(place)[0] for place in range(settings.get_nfilters()))


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
class HdfArray:
    """A deflated variable of a NetCDF file; see `chunks.Chunked`."""

    address: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def part(self, key: Sequence[int | slice]) -> NDArray[Any]:
        """See `part`."""
        with h5py.File(self.address, "r") as file:
            return part(file[self.name], key)


def deflated(address: str) -> dict[str, HdfArray]:
    """The variables of a file that `part` inflates, by name."""
    where = str(Path(address).absolute())
    with h5py.File(address, "r") as file:
        return {
            name: HdfArray(where, name, one.shape, one.dtype)
            for name in file
            if isinstance(file.get(name, getlink=True), h5py.HardLink)
            and isinstance(one := file[name], h5py.Dataset)
            and _filters(one) in _PIPELINES
            and one.dtype.kind in "iuf"
        }
