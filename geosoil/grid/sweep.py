"""A function over tiles: on dask's threads here, or on a dask.distributed cluster; and how a signal stops it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import dask.threaded

from geosoil.errors import GeosoilError, InterruptedRunError, ResourceError
from geosoil.types import Progress

__all__ = ["SIGNALS", "Stop", "handling", "listen", "stoppable", "sweep_cluster", "sweep_threads"]

T = TypeVar("T")

#: Seconds that work in flight may take to end after a stop; a thread in the middle of a long call is then left to it.
GRACE_S = 3.0
#: Seconds that a scheduler has to answer.
CONNECT_S = 10.0
#: Seconds after which a cluster is asked for its workers again, and how long it may have none.
_LOOK_S, _NO_WORKER_S = 2.0, 30.0
#: Seconds that the fetching of a result, which is a number, may take.
_FETCH_S = 2.0


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


#: What ends a run.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handling(handle: Callable[[int], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call a function with their number, for as long as the block takes.

    Signals reach the main thread alone; in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: handle(number))
    try:
        yield
    finally:
        for number, old in before.items():
            # None: a handler that was not set from Python, which cannot be set again.
            if old is not None:
                signal.signal(number, old)


@contextmanager
def listen(stop: Stop) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask for a stop; a second one ends the process at once, as it would have without."""

    def handle(number: int) -> None:
        if stop.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.ask(number)

    with handling(handle):
        yield


def stoppable(progress: Progress, stop: Stop) -> Progress:
    """A progress callback that ends a run which writes nothing before its end, once it was asked to stop."""

    def tick(done: int, total: int, message: str) -> None:
        if stop.asked:
            code = stop.error("").code
            word = "terminated" if code == "GS-TERMINATED" else "interrupted"
            raise InterruptedRunError(f"{word}; nothing was written", code=code, hint="run the same command again")
        progress(done, total, message)

    return tick


def sweep_threads(work: Callable[[T], None], items: Sequence[T], *, num_workers: int, stop: Stop) -> None:
    """Call `work` for each item on dask's threaded scheduler.

    The first error stops the taking of items, and is raised when those in flight have ended. After a stop this returns
    once they have, or when they have had their time: what then still runs must be of no consequence.

    Parameters
    ----------
    work : callable
        Called with each item, on several threads.
    items : sequence
        Taken in this order.
    num_workers : int
        Threads.
    """
    errors: list[BaseException] = []
    waiting, taking, end = iter(items), threading.Lock(), object()

    def several() -> None:
        while not stop.asked and not errors:
            try:
                with taking:
                    item: Any = next(waiting, end)
                if item is end:
                    return
                work(item)
            except BaseException as error:
                errors.append(error)

    def run() -> None:
        # A task a thread, which takes items until there are none: what dask does for a task costs as much as a small
        # tile, and it would call them in an order of its own.
        graph: dict[Any, Any] = {("thread", place): (several,) for place in range(min(num_workers, len(items)))}
        try:
            with ThreadPoolExecutor(num_workers, thread_name_prefix="geosoil") as pool:
                dask.threaded.get(graph, list(graph), pool=pool)
        except BaseException as error:  # such as a system that gives no more threads
            errors.append(error)

    if not items:
        return
    # Not on this thread, which must stay free to give up on work that hangs.
    runner = threading.Thread(target=run, name="geosoil-sweep", daemon=True)
    runner.start()
    while runner.is_alive() and not stop.overdue:
        runner.join(0.1)
    if errors and not stop.asked:
        raise errors[0]


def sweep_cluster(
    submit: Callable[[Any, T], Any],
    collect: Callable[[T, Any], None],
    items: Iterable[T],
    *,
    address: str,
    stop: Stop,
) -> None:
    """Send each item to a dask.distributed cluster, two for each of its threads at a time, whose number may change.

    Parameters
    ----------
    submit : callable
        ``submit(client, item)`` to a future.
    collect : callable
        Called on this thread with each item and what its future gave.
    address : str
        Of the scheduler.

    Raises
    ------
    ResourceError
        ``GS-SCHEDULER``: no cluster answers, it has no worker, it went away, or its workers cannot do the work.
    """
    with _quiet():
        _sweep(_connect(address), submit, collect, iter(items), address, stop)


def _sweep(
    client: Any,
    submit: Callable[[Any, T], Any],
    collect: Callable[[T, Any], None],
    waiting: Iterator[T],
    address: str,
    stop: Stop,
) -> None:
    pending: dict[Any, T] = {}
    try:
        finished: SimpleQueue[Any] = SimpleQueue()
        crew = _Crew(client, address)

        def feed() -> None:
            # Something at any time: a cluster that lost its workers may get others.
            for item in islice(waiting, max(0, max(2, 2 * crew.threads) - len(pending))):
                future = submit(client, item)
                pending[future] = item
                future.add_done_callback(finished.put)

        feed()
        while pending and not stop.asked:
            with suppress(Empty):
                future = finished.get(timeout=0.1)
                try:
                    made = _result(future, address)
                except _Late:
                    future.add_done_callback(finished.put)
                else:
                    item = pending.pop(future)
                    # A result that is still wanted when its worker dies is made again.
                    future.release()
                    collect(item, made)
            crew.look()
            feed()
    finally:
        if pending and client.status == "running":
            client.cancel(list(pending), force=True)
        client.close(timeout=2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave it to geosoil to say that a scheduler is gone, where dask's client would print tracebacks."""
    import distributed.client  # sets levels of its own when it is first imported

    logger = logging.getLogger(distributed.client.__name__)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Crew:
    """The threads of a cluster; asked for now and then, for workers come and go."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._asked_at = self._seen_at = time.monotonic()
        self.threads = self._count()

    def look(self) -> None:
        """Raise where the scheduler is gone, or has had no worker for long."""
        if self._client.status != "running":
            raise _lost(self._address, "the connection was lost")
        now = time.monotonic()
        if now - self._asked_at < _LOOK_S:
            return
        self._asked_at = now
        self.threads = self._count()
        if self.threads:
            self._seen_at = now
        elif now - self._seen_at > _NO_WORKER_S:
            raise _without_workers(self._address)

    def _count(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except (OSError, TimeoutError) as error:  # the connection went while it was asked
            raise _lost(self._address, str(error)) from error


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise _lost(address, str(error)) from error
    try:
        client.wait_for_workers(1, timeout=_NO_WORKER_S)
    except TimeoutError as error:
        client.close(timeout=2)
        raise _without_workers(address) from error
    return client


class _Late(Exception):  # noqa: N818 - not an error: the work is done again
    """The worker that had a finished result died with it."""


def _result(future: Any, address: str) -> Any:
    """What a future gave, or its error in geosoil's own words."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        return future.result(timeout=_FETCH_S)
    except (CancelledError, CommClosedError) as error:
        raise _lost(address, "it gave up the work") from error
    except KilledWorker as error:
        raise ResourceError(
            f"workers of the dask cluster at {address} died of a tile",
            code="GS-SCHEDULER",
            details=["one after the other ended while it had the tile, as they do where the memory is too small"],
            hint="give workers more memory, or smaller tiles (--tile-size) to a new run; go on with --resume",
        ) from error
    except (GeosoilError, OSError) as error:
        # One of a worker's own would have another status.
        if isinstance(error, TimeoutError) and future.status != "error":
            raise _Late from error
        raise
    except Exception as error:  # whatever the other machine raised
        raise ResourceError(
            f"a worker of the dask cluster at {address} failed",
            code="GS-SCHEDULER",
            details=[f"{type(error).__name__}: {error}"[:300]],
            hint="check that all workers have this version of geosoil and see the same folders",
        ) from error


def _lost(address: str, why: str) -> ResourceError:
    return ResourceError(
        f"no dask scheduler answers at {address}",
        code="GS-SCHEDULER",
        details=[why[:300]],
        hint="start one (dask scheduler, dask worker ADDRESS), and go on with --resume",
    )


def _without_workers(address: str) -> ResourceError:
    return ResourceError(
        f"the dask cluster at {address} has no worker",
        code="GS-SCHEDULER",
        hint="start workers (dask worker ADDRESS), and go on with --resume",
    )
