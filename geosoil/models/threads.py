"""Settings of the whole process while any thread needs them; matrix products on one thread; memory of a thread.

Tiles are made side by side, and a product's bits depend on how it is shared out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["Scratch", "SharedSetting", "one_blas_thread"]


class Scratch(threading.local):
    """Memory of a thread that is written again and again: new memory costs as much as what is done in it.

    Parameters
    ----------
    least : int
        Columns that there is room for at least.
    """

    def __init__(self, least: int = 1) -> None:
        self._least = least
        self._held: dict[int, Float32] = {}

    def take(self, place: int, rows: int, columns: int) -> Float32:
        """Memory (rows, columns) for a place, such as a layer; what was in it is lost."""
        held = self._held.get(place)
        if held is None or held.size < rows * columns:
            held = self._held[place] = np.empty(rows * max(columns, self._least), np.float32)
        return held[: rows * columns].reshape(rows, columns)


class SharedSetting:
    """A setting of the process that the first thread makes which needs it, and the last one takes back."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._held = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        """For as long as the block takes."""
        with self._lock:
            if self._inside == 0:
                self._held.enter_context(self._make())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._held.close()


@cache
def _libraries() -> ThreadpoolController:
    """The libraries that are loaded when it is first asked for; NumPy's is among them."""
    return ThreadpoolController()


_one_thread = SharedSetting(lambda: _libraries().limit(limits=1, user_api="blas"))


def one_blas_thread() -> AbstractContextManager[None]:
    """Run NumPy's matrix products on the calling thread; the process goes back to its setting when all have left."""
    return _one_thread.held()
