"""Codecs of Zarr stores that strangers made: none runs code, reads beyond a damaged chunk, or unpacks without end."""

from __future__ import annotations

import bz2
import lzma
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import numcodecs
import zarr
from numcodecs.blosc import Blosc
from numcodecs.compat import ensure_bytes, ndarray_copy

__all__ = ["MOST_BYTES", "UNPACKING", "CheckedBlosc", "CheckedGZip", "CheckedZstd", "bound_of", "checked_codecs"]

#: Most bytes of a chunk, unpacked: it is held whole, whatever window of it is read.
MOST_BYTES = 2**30

#: A chunk may unpack to so many times what its cells take, and to so many bytes whatever they take: filters follow.
_ROOM, _LEAST = 8, 2**24
#: Length of Blosc's header, and the version of its format.
_HEADER, _VERSION = 16, 2
#: How frames of Zstandard begin, kinds of their blocks, and most bytes that a block becomes.
_MAGIC, _RAW, _REPEATED, _BLOCK = b"\x28\xb5\x2f\xfd", 0, 1, 2**17
_SWAP = threading.RLock()


def bound_of(size: int) -> int:
    """Most bytes that a chunk may unpack to whose cells take so many."""
    return min(max(_ROOM * size, _LEAST), MOST_BYTES)


class _Bounded:
    """What all of them have: the most bytes that a chunk may unpack to, of the store that is being opened."""

    #: For the next that are made; only changed while `_SWAP` is held.
    bound: ClassVar[int] = MOST_BYTES
    _most: int = MOST_BYTES

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**config).bounded(_Bounded.bound)

    def bounded(self, most: int) -> Any:
        """The same, which unpacks chunks to at most so many bytes."""
        self._most = most
        return self

    def _check(self, size: int) -> None:
        if size > self._most:
            raise ValueError(f"a chunk unpacks to {size:,} bytes or more; at most {self._most:,} can be right")

    def _unpack(self, packed: bytes, make: Callable[[], Any], out: Any) -> Any:
        """Streams one after the other, as long as they are in bounds."""
        parts: list[bytes] = []
        size = 0
        while packed or not parts:
            stream = make()
            parts.append(stream.decompress(packed, self._most + 1 - size))
            size += len(parts[-1])
            self._check(size)
            if not stream.eof:
                raise ValueError("a chunk is cut off")
            packed = stream.unused_data
        return ndarray_copy(parts[0] if len(parts) == 1 else b"".join(parts), out)


class CheckedBlosc(_Bounded, Blosc):  # type: ignore[misc]
    """Blosc that looks at a chunk's header first: the library trusts it, and ends the process over a wrong one."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked; raises ValueError where its header cannot be that of these bytes."""
        chunk = ensure_bytes(buf)
        unpacked, block, packed = (int.from_bytes(chunk[at : at + 4], "little") for at in (4, 8, 12))
        sound = len(chunk) >= _HEADER and chunk[0] == _VERSION and chunk[3] > 0 and packed == len(chunk)
        if not sound or not (unpacked == 0 or 0 < block <= unpacked):
            raise ValueError("a chunk is cut off or damaged: its header does not fit its size")
        self._check(unpacked)
        return super().decode(chunk, out)


class CheckedZlib(_Bounded, numcodecs.Zlib):  # type: ignore[misc]
    """Zlib."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked."""
        return self._unpack(ensure_bytes(buf), zlib.decompressobj, out)


class CheckedGZip(_Bounded, numcodecs.GZip):  # type: ignore[misc]
    """Gzip."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked."""
        return self._unpack(ensure_bytes(buf), lambda: zlib.decompressobj(zlib.MAX_WBITS + 16), out)


class CheckedBZ2(_Bounded, numcodecs.BZ2):  # type: ignore[misc]
    """Bzip2."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked."""
        return self._unpack(ensure_bytes(buf), bz2.BZ2Decompressor, out)


class CheckedLZMA(_Bounded, numcodecs.LZMA):  # type: ignore[misc]
    """LZMA."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked."""
        raw = self.filters if self.format == lzma.FORMAT_RAW else None
        return self._unpack(ensure_bytes(buf), lambda: lzma.LZMADecompressor(self.format, filters=raw), out)


class CheckedLZ4(_Bounded, numcodecs.LZ4):  # type: ignore[misc]
    """LZ4, whose chunks begin with their size."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked."""
        chunk = ensure_bytes(buf)
        self._check(int.from_bytes(chunk[:4], "little"))
        return super().decode(chunk, out)


class CheckedZstd(_Bounded, numcodecs.Zstd):  # type: ignore[misc]
    """Zstandard, whose frames tell their size, but for those that were written as a stream."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked."""
        chunk = ensure_bytes(buf)
        self._check(_most_of_frame(chunk))
        return super().decode(chunk, out)


def _most_of_frame(chunk: bytes) -> int:
    """Most bytes that the first frame of Zstandard unpacks to: its size, or its blocks' (RFC 8878, section 3.1.1)."""
    if len(chunk) < 6 or chunk[:4] != _MAGIC:
        return 0
    flags = chunk[4]
    single = flags >> 5 & 1
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[flags >> 6]
    if width:
        return int.from_bytes(chunk[start : start + width], "little") + (256 if width == 2 else 0)
    size, last = 0, 0
    while not last and start + 3 <= len(chunk):
        head = int.from_bytes(chunk[start : start + 3], "little")
        last, kind, length = head & 1, head >> 1 & 3, head >> 3
        size += length if kind in (_RAW, _REPEATED) else _BLOCK
        start += 3 + (1 if kind == _REPEATED else length)
    return size


class _Refused:
    """Stands for a codec whose data can run code."""

    @classmethod
    def from_config(cls, config: Any) -> Any:
        raise ValueError("its data are pickled, and could run code when they are read")


#: Those that unpack, by name.
UNPACKING: dict[str, Any] = {
    "blosc": CheckedBlosc,
    "zlib": CheckedZlib,
    "gzip": CheckedGZip,
    "bz2": CheckedBZ2,
    "lzma": CheckedLZMA,
    "lz4": CheckedLZ4,
    "zstd": CheckedZstd,
}
_CODECS: dict[str, Any] = {**UNPACKING, "pickle": _Refused}


@contextmanager
def checked_codecs(largest: int | None = None) -> Iterator[None]:
    """Stores that are opened in this block keep codecs that are safe to read with, also after it.

    Which class stands for the name of a codec is a setting of the whole process; other threads that open a store
    meanwhile get the same.

    Parameters
    ----------
    largest : int, optional
        Bytes of the store's largest chunk, where it is known already; chunks unpack to no more than a few times that.
    """
    registry = numcodecs.registry.codec_registry
    with _SWAP, ExitStack() as stack:
        stack.callback(setattr, _Bounded, "bound", _Bounded.bound)
        _Bounded.bound = MOST_BYTES if largest is None else bound_of(largest)
        before = {name: registry[name] for name in _CODECS if name in registry}
        registry.update(_CODECS)
        stack.callback(registry.update, before)
        if int(zarr.__version__.split(".")[0]) >= 3:
            from . import zarr3codecs  # what it builds on is not in Zarr 2

            stack.enter_context(zarr.config.set(zarr3codecs.settings()))
        yield
