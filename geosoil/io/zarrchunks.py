"""Arrays of Zarr stores on the disk whose chunks are files with one codec: read and unpacked on the thread that asks.

Zarr itself hands a chunk from thread to thread, of which one copies them all.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numcodecs.compat import ensure_bytes

from .chunks import gather
from .zarrcodecs import UNPACKING, bound_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ZarrArray", "array_of"]


@dataclass(frozen=True)
class ZarrArray:
    """An array; see `chunks.Chunked`.

    Attributes
    ----------
    folder : Path
        Where its chunks are.
    dtype, stored : dtype
        Of what is read, and of what is in the files.
    codec : object or None
        Unpacks a chunk.
    metadata : object
        What Zarr knows of it; names the files.
    """

    folder: Path
    shape: tuple[int, ...]
    edges: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    fill: Any
    codec: Any = field(repr=False)
    metadata: Any = field(repr=False)

    def part(self, key: Sequence[int | slice]) -> NDArray[Any]:
        """What it has at a key of whole numbers and slices.

        Raises
        ------
        OSError, ValueError, RuntimeError
            A chunk cannot be read, is damaged, or unpacks to far more than its cells take.
        """
        return gather(key, self.shape, self.edges, self.dtype, self._chunk, self.fill)

    def _chunk(self, corner: tuple[int, ...]) -> NDArray[Any] | None:
        place = tuple(at // edge for at, edge in zip(corner, self.edges, strict=True))
        path = self.folder / self.metadata.encode_chunk_key(place)
        size = math.prod(self.edges) * self.stored.itemsize
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise OSError(f"{path.name} is no file")
            if found.st_size > bound_of(size):
                raise OSError(f"a chunk has {found.st_size:,} bytes, and its cells take {size:,}")
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        if self.codec is not None:
            raw = ensure_bytes(self.codec.decode(raw))
        if len(raw) != size:
            raise OSError(f"a chunk holds {len(raw):,} bytes, and its cells take {size:,}")
        return np.frombuffer(raw, self.stored).reshape(self.edges)


def array_of(array: zarr.Array[Any], address: str) -> ZarrArray | None:
    """An array of a store that `checked_codecs` opened; None for one that is left to Zarr, as with shards."""
    metadata = getattr(array, "metadata", None)  # what Zarr 2 has is another thing
    found = None if metadata is None or array.dtype.kind not in "iuf" else _codec_of(metadata, array.dtype)
    folder = Path(address) / array.path
    if found is None or not folder.is_dir():
        return None
    codec, stored = found
    if codec is not None:
        codec.bounded(bound_of(math.prod(array.chunks) * stored.itemsize))
    fill = 0 if array.fill_value is None else array.fill_value
    return ZarrArray(folder.absolute(), array.shape, array.chunks, array.dtype, stored, fill, codec, metadata)


def _codec_of(metadata: Any, dtype: np.dtype[Any]) -> tuple[Any, np.dtype[Any]] | None:
    """What unpacks chunks, None for nothing, and the type of what is in them; None where that is not all."""
    if metadata.zarr_format == 2:
        plain = not metadata.filters and metadata.order == "C"
        known = metadata.compressor is None or isinstance(metadata.compressor, tuple(UNPACKING.values()))
        return (metadata.compressor, dtype) if plain and known else None
    from . import zarr3codecs  # what it builds on is not in Zarr 2

    return zarr3codecs.lone_codec(metadata.codecs, dtype)
