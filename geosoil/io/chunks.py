"""Parts of arrays that are stored in chunks, decoded on the thread that asks for them; and how xarray reads them so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Chunked", "gather", "read_by"]

# First cell, and one past the last, along each axis.
Spans = tuple[tuple[int, int], ...]


class Chunked(Protocol):
    """An array of a file; it goes to other processes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""
        ...

    def part(self, key: Sequence[int | slice]) -> NDArray[Any]:
        """What it has at a key of whole numbers and slices."""
        ...


def gather(
    key: Sequence[int | slice],
    shape: tuple[int, ...],
    edges: tuple[int, ...],
    dtype: np.dtype[Any],
    chunk: Callable[[tuple[int, ...]], NDArray[Any] | None],
    fill: Any,
) -> NDArray[Any]:
    """What an array has at a key, from the chunks that it touches.

    Parameters
    ----------
    key : sequence of int or slice
        One for each axis.
    shape, edges : tuple of int
        Of the array, and of a chunk; those at its end are as large as all others.
    chunk : callable
        The chunk whose first cell is given, whole; None where it was never written.
    fill : scalar
        What is in such chunks.

    >>> gather((slice(1, 6, 2),), (7,), (3,), np.dtype(int), lambda corner: corner[0] + np.arange(3), 0)
    array([1, 3, 5])
    """
    slices = [one if isinstance(one, slice) else slice(one, one + 1) for one in key]
    ranges = [range(*one.indices(size)) for one, size in zip(slices, shape, strict=True)]
    spans = tuple((min(one[0], one[-1]), max(one[0], one[-1]) + 1) if one else (0, 0) for one in ranges)
    out = np.empty([last - first for first, last in spans], dtype)
    for corner, inside, into in _touched(edges, spans):
        found = chunk(corner)
        out[into] = fill if found is None else found[inside]
    steps = tuple(
        slice(None, None, one.step) if isinstance(asked, slice) else 0 for asked, one in zip(key, ranges, strict=True)
    )
    return out[steps]


def _touched(
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


@dataclass(frozen=True)
class _Asked(BackendArray):
    """An array as xarray asks for it."""

    array: Chunked

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.array.part)


def read_by(dataset: xr.Dataset, arrays: Mapping[str, Chunked]) -> xr.Dataset:
    """A dataset, opened and not decoded, some of whose variables are read in another way."""
    variables = {}
    for name, array in arrays.items():
        one = dataset.variables[name]
        if one.shape == array.shape and one.dtype == array.dtype:
            variables[name] = xr.Variable(one.dims, indexing.LazilyIndexedArray(_Asked(array)), one.attrs, one.encoding)
    return dataset.assign(variables)
