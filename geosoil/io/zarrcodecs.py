"""Codecs of Zarr stores that strangers made: none runs code, and none reads beyond a damaged chunk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numcodecs
import zarr
from numcodecs.blosc import Blosc
from numcodecs.compat import ensure_contiguous_ndarray

__all__ = ["MOST_BYTES", "CheckedBlosc", "checked_codecs"]

#: Most bytes of a chunk, unpacked: it is held whole, whatever window of it is read.
MOST_BYTES = 2**30

#: A header of Blosc: version of the format, of the codec, flags, size of an item; bytes unpacked, of a block, packed.
_HEADER, _VERSION = 16, 2
_SWAP = threading.RLock()


class CheckedBlosc(Blosc):  # type: ignore[misc]
    """Blosc that looks at a chunk's header first: the library trusts it, and ends the process over a wrong one."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk unpacked; raises ValueError where its header cannot be that of these bytes."""
        chunk = ensure_contiguous_ndarray(buf).view("u1")
        if not _is_sound(chunk[:_HEADER].tobytes(), len(chunk)):
            raise ValueError("a chunk is cut off or damaged: its header does not fit its size")
        return super().decode(buf, out)


def _is_sound(header: bytes, size: int) -> bool:
    if len(header) < _HEADER:
        return False
    unpacked, block, packed = (int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12))
    fits = packed == size and unpacked <= MOST_BYTES and (unpacked == 0 or 0 < block <= max(unpacked, 1))
    return header[0] == _VERSION and header[3] > 0 and fits


class _Refused:
    """Stands for a codec whose data can run code."""

    codec_id = "pickle"

    @classmethod
    def from_config(cls, config: Any) -> Any:
        raise ValueError("its data are pickled, and could run code when they are read")


@contextmanager
def checked_codecs() -> Iterator[None]:
    """Stores that are opened in this block keep codecs that are safe to read with, also after it.

    Which class stands for the name of a codec is a setting of the whole process; other threads that open a store
    meanwhile get the same.
    """
    registry = numcodecs.registry.codec_registry
    ours: dict[str, Any] = {"blosc": CheckedBlosc, "pickle": _Refused}
    with _SWAP, ExitStack() as stack:
        before = {name: registry[name] for name in ours if name in registry}
        registry.update(ours)
        stack.callback(registry.update, before)
        if int(zarr.__version__.split(".")[0]) >= 3:
            from . import zarr3codecs  # what it builds on is not in Zarr 2

            stack.enter_context(zarr.config.set({"codecs.blosc": zarr3codecs.NAME}))
        yield
