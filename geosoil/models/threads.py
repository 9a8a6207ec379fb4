"""Settings of the whole process while any thread needs them; matrix products on one thread.

Tiles are made side by side, and a product's bits depend on how it is shared out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["SharedSetting", "one_blas_thread"]


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
