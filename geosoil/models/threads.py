"""Matrix products on one thread: tiles are made side by side, and a product's bits depend on how it is shared out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]

_lock = threading.Lock()
_inside = 0
_limit = ExitStack()


@cache
def _libraries() -> ThreadpoolController:
    """The libraries that are loaded when it is first asked for; NumPy's is among them."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run NumPy's matrix products on the calling thread; the process goes back to its setting when all have left."""
    global _inside
    with _lock:
        if _inside == 0:
            _limit.enter_context(_libraries().limit(limits=1, user_api="blas"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.close()
