"""Blocks of files, decoded once for the windows that touch them: threads that read side by side share them."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Blocked", "Cut", "read_blocks", "several", "shared_blocks", "shares_blocks"]

#: Rows and columns that are decoded together at least.
_LEAST = 128

#: ``read(rows, columns)`` to stored numbers (bands, h, w).
Read = Callable[[tuple[int, int], tuple[int, int]], "NDArray[Any]"]


@dataclass(frozen=True, slots=True)
class Cut:
    """How files are cut into blocks that are decoded as a whole.

    Attributes
    ----------
    rows, columns : int
        Of a block, or of several that are taken together.
    bytes : int
        Of one, all bands that are read.
    """

    rows: int
    columns: int
    bytes: int

    @classmethod
    def joined(cls, cuts: Iterable[Cut | None]) -> Cut | None:
        """That of several files: blocks as large as the largest, the bytes of all; None where none is cut.

        >>> Cut.joined([Cut(256, 128, 10), None, Cut(128, 512, 3)])
        Cut(rows=256, columns=512, bytes=46)
        """
        found = [cut for cut in cuts if cut is not None]
        if not found:
            return None
        rows, columns = max(cut.rows for cut in found), max(cut.columns for cut in found)
        return cls(rows, columns, sum(cut.bytes * rows * columns // (cut.rows * cut.columns) for cut in found))


def several(edge: int, size: int) -> int:
    """Cells along an axis that are decoded together: of small blocks several, as one is hardly worth a read of its own.

    >>> several(512, 2000), several(16, 2000), several(16, 40)
    (512, 128, 48)
    """
    return edge * -(-min(_LEAST, size) // edge)


@runtime_checkable
class Blocked(Protocol):
    """A `types.WindowReader` that shares the blocks of its files."""

    def blocks(self) -> Cut | None:
        """How they are cut, each as large as the largest; None where none is."""
        ...


class _Blocks:
    """Decoded blocks, those used last; as many as the runs that share them have room for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._coming: dict[Hashable, threading.Event] = {}
        self._size = 0
        self.most = 0

    def grow(self, size: int) -> None:
        """Have room for so many bytes more, or fewer; nothing is kept where there is none."""
        with self._lock:
            self.most += size
            self._drop()

    def _drop(self) -> None:
        while self._held and self._size > self.most:
            self._size -= self._held.popitem(last=False)[1].nbytes

    def get(self, key: Hashable, size: int, make: Callable[[], NDArray[Any]], *, wait: bool) -> NDArray[Any] | None:
        """The block of a key; None where another thread makes it and this one is not to wait."""
        while True:
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
                    return self._held[key]
                coming = self._coming.get(key)
                if coming is None:
                    self._coming[key] = threading.Event()
                    self._size += size  # before it is made, so that it never comes on top
                    self._drop()
            if coming is None:
                return self._made(key, size, make)
            if not wait:
                return None
            # It may have failed there, or be gone again: then this thread makes it.
            coming.wait()

    def _made(self, key: Hashable, size: int, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        made = None
        try:
            made = make()
        finally:
            with self._lock:
                self._size -= size
                if made is not None:
                    self._held[key] = made
                    self._size += made.nbytes
                    self._drop()
                self._coming.pop(key).set()
        return made


_blocks = _Blocks()


@contextmanager
def shared_blocks(size: int) -> Iterator[None]:
    """Keep so many bytes of decoded blocks while windows are read; runs side by side have the room of all."""
    _blocks.grow(size)
    try:
        yield
    finally:
        _blocks.grow(-size)


def shares_blocks() -> bool:
    """Whether there is room for decoded blocks."""
    return _blocks.most > 0


def read_blocks(
    file: Hashable, cut: Cut, shape: tuple[int, int], rows: tuple[int, int], cols: tuple[int, int], read: Read
) -> NDArray[Any]:
    """A window, put together from blocks that are decoded once.

    Parameters
    ----------
    file : hashable
        Tells the file, and the bands that are read, from others.
    shape : (int, int)
        Rows and columns of the file, at whose edges blocks are cut off.
    read : callable
        Decodes a part of the file that is a block.

    Returns
    -------
    (bands, h, w)
        As they are stored.
    """
    window: NDArray[Any] | None = None
    waiting = deque(
        (down, right)
        for down in range(rows[0] // cut.rows, -(-rows[1] // cut.rows))
        for right in range(cols[0] // cut.columns, -(-cols[1] // cut.columns))
    )
    passed = 0  # blocks in a row that other threads are at
    while waiting:
        down, right = place = waiting.popleft()
        first, last = down * cut.rows, min((down + 1) * cut.rows, shape[0])
        left, end = right * cut.columns, min((right + 1) * cut.columns, shape[1])

        def make(rows: tuple[int, int] = (first, last), cols: tuple[int, int] = (left, end)) -> NDArray[Any]:
            return read(rows, cols)

        block = _blocks.get((file, place), cut.bytes, make, wait=passed > len(waiting))
        if block is None:
            waiting.append(place)
            passed += 1
            continue
        passed = 0
        if window is None:
            window = np.empty((len(block), rows[1] - rows[0], cols[1] - cols[0]), block.dtype)
        inner = (max(first, rows[0]), min(last, rows[1])), (max(left, cols[0]), min(end, cols[1]))
        (top, bottom), (near, far) = inner
        part = block[:, top - first : bottom - first, near - left : far - left]
        window[:, top - rows[0] : bottom - rows[0], near - cols[0] : far - cols[0]] = part
    assert window is not None  # noqa: S101 - a window has cells
    return window
