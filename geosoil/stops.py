"""How a run ends that is asked to: by SIGINT or SIGTERM, in order, and at once when asked again."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import InterruptedRunError

if TYPE_CHECKING:
    from .types import Progress

__all__ = ["GRACE_S", "SIGNALS", "Stop", "end_now", "handling", "listen", "stoppable"]

#: What ends a run.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds that work in flight may take to end after a stop; a thread in the middle of a long call is then left to it.
GRACE_S = 3.0
#: Seconds within which a further signal is no further wish: `timeout` sends one to a process and to its whole group.
TOGETHER_S = 0.3


class Stop:
    """Whether a run was asked to stop, by which signal, and when."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal = 0
        self._since = 0.0

    def ask(self, number: int = 0) -> None:
        """Stop taking work."""
        self.signal = number
        self._since = time.monotonic()
        self._event.set()

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    @property
    def overdue(self) -> bool:
        """Whether work in flight has had its time."""
        return self.asked and time.monotonic() - self._since > GRACE_S

    def error(self, hint: str) -> InterruptedRunError:
        """What to raise when work has ended."""
        terminated = self.signal == signal.SIGTERM
        return InterruptedRunError(
            "terminated; finished tiles are kept" if terminated else "interrupted; finished tiles are kept",
            code="GS-TERMINATED" if terminated else "GS-INTERRUPTED",
            hint=hint,
        )


class _Once:
    """A handler that calls a function with a signal's number, and takes signals that come together for one."""

    def __init__(self, handle: Callable[[int], None]) -> None:
        self._handle = handle
        self.heard = -math.inf

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if now - self.heard >= TOGETHER_S:
            self.heard = now
            self._handle(number)


@contextmanager
def handling(handle: Callable[[int], None], numbers: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Let signals call a function with their number, for as long as the block takes; several at a time call it once.

    Signals reach the main thread alone; in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    once = _Once(handle)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number, old in before.items():
            if isinstance(old, _Once):  # the second of two may come a moment after the block
                old.heard = max(old.heard, once.heard)
            # None: a handler that was not set from Python, which cannot be set again.
            if old is not None:
                signal.signal(number, old)


def end_now(number: int) -> None:
    """End the process by a signal, as it would have ended had nobody listened."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


@contextmanager
def listen(stop: Stop) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask for a stop; a second one ends the process at once, as it would have without."""

    def handle(number: int) -> None:
        if stop.asked:
            end_now(number)
        stop.ask(number)

    with handling(handle):
        yield


def stoppable(progress: Progress, stop: Stop) -> Progress:
    """A progress callback that ends a run which writes nothing before its end, once it was asked to stop."""

    def tick(done: int, total: int, message: str) -> None:
        progress(done, total, message)
        if stop.asked:
            code = stop.error("").code
            word = "terminated" if code == "GS-TERMINATED" else "interrupted"
            raise InterruptedRunError(f"{word}; nothing was written", code=code, hint="run the same command again")

    return tick
