"""How a signal ends a search: at once, with its workers, and so that the same command goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from geosoil.errors import InterruptedRunError

__all__ = ["ended_by_signals"]


@contextmanager
def ended_by_signals(*, kept: bool) -> Iterator[None]:
    """Let SIGINT and SIGTERM raise an error here, so that workers are ended and nothing is left behind.

    A second signal ends the process as it would have without. Signals reach the main thread alone; in any other this
    does nothing.

    Parameters
    ----------
    kept : bool
        Whether finished trials are on disk.

    Raises
    ------
    InterruptedRunError
        ``GS-INTERRUPTED``, ``GS-TERMINATED``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_DFL)
        terminated = number == signal.SIGTERM
        raise InterruptedRunError(
            f"{'terminated' if terminated else 'interrupted'}; "
            + ("finished trials are kept" if kept else "nothing was written"),
            code="GS-TERMINATED" if terminated else "GS-INTERRUPTED",
            hint="the same command goes on from there" if kept else "run it again",
        )

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            # None: a handler that was not set from Python, which cannot be set again.
            if old is not None:
                signal.signal(number, old)
