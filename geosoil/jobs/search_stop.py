"""How a signal ends a search: at once, with its workers, and so that the same command goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from geosoil.errors import InterruptedRunError
from geosoil.grid.sweep import SIGNALS, handling

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

    def handle(number: int) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        terminated = number == signal.SIGTERM
        raise InterruptedRunError(
            f"{'terminated' if terminated else 'interrupted'}; "
            + ("finished trials are kept" if kept else "nothing was written"),
            code="GS-TERMINATED" if terminated else "GS-INTERRUPTED",
            hint="the same command goes on from there" if kept else "run it again",
        )

    with handling(handle):
        yield
