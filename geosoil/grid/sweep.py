"""A function over tiles: on dask's threads here, or on a dask.distributed cluster."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

import dask.threaded

from geosoil.errors import GeosoilError, ResourceError, UsageError, listing
from geosoil.stops import Stop

__all__ = ["check_address", "sweep_cluster", "sweep_threads"]

T = TypeVar("T")

#: How a scheduler may be spoken to; tcp where an address does not say.
_SCHEMES = ("tcp", "tls", "ws", "wss")
#: Seconds that a scheduler has to answer.
CONNECT_S = 10.0
#: Seconds after which a cluster is asked for its workers again, and how long it may have none.
_LOOK_S, _NO_WORKER_S = 2.0, 30.0
#: Seconds that the fetching of a result, which is a number, may take.
_FETCH_S = 2.0


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
        client = _connect(address, stop)
        if client is not None:
            _sweep(client, submit, collect, iter(items), address, stop)


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


def check_address(address: str) -> None:
    """Refuse what is no address of a scheduler, before any work.

    Raises
    ------
    UsageError
        ``GS-SCHEDULER-ADDRESS``.

    Examples
    --------
    >>> check_address("tcp://10.0.0.5:8786"), check_address("node7:8786")
    (None, None)
    >>> check_address("http://node7:8787")
    Traceback (most recent call last):
    geosoil.errors.UsageError: 'http://node7:8787' is no address of a dask scheduler [GS-SCHEDULER-ADDRESS]
      http is none of tcp, tls, ws, wss
      give what `dask scheduler` prints when it starts, as --scheduler tcp://HOST:8786
    """
    why = _why_none(address)
    if why:
        raise UsageError(
            f"{address.rpartition('@')[2]!r} is no address of a dask scheduler",
            code="GS-SCHEDULER-ADDRESS",
            details=[why],
            hint="give what `dask scheduler` prints when it starts, as --scheduler tcp://HOST:8786",
        )


def _why_none(address: str) -> str:
    """What is wrong with an address; empty for one that may be right."""
    if not address.strip():
        return "it is empty"
    if Path(address).is_file():
        return 'it is a file; the address stands in it, as "address"'
    scheme, sign, place = address.rpartition("://")
    if scheme == "inproc":  # of a cluster in this process, which only a script can know
        return ""
    if sign and scheme not in _SCHEMES:
        return f"{scheme} is none of {listing(_SCHEMES)}"
    try:
        found = urlsplit(f"//{place}")
        if not found.hostname or found.port is None:
            return "it has no host" if not found.hostname else "it has no port"
        if "@" in found.netloc:
            return "a name or a password stands before the host; schedulers take none"
        if found.path or found.query or found.fragment:
            return "something follows the port"
    except ValueError as error:  # of a port that is no number
        return str(error)
    return ""


def _connect(address: str, stop: Stop) -> Any:
    """A client; None after a stop."""
    from distributed import Client

    # In a thread of its own, for a notebook has a loop on this one.
    with ThreadPoolExecutor(1, thread_name_prefix="geosoil-connect") as pool:
        reached = pool.submit(asyncio.run, _reach(address, stop)).result()
    if not reached:
        return None
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise _lost(address, str(error)) from error


async def _reach(address: str, stop: Stop) -> bool:
    """Whether a scheduler answers; False after a stop.

    A client waits for ever where something else listens, and is deaf to signals while it waits.
    """
    from distributed.comm.core import connect
    from distributed.security import Security

    try:
        security = Security().get_connection_args("client")
        if address.startswith(("tls:", "wss:")) and security["ssl_context"] is None:
            raise OSError("dask's settings here (distributed.comm.tls) name no certificates, which tls needs")
        trying = asyncio.ensure_future(connect(address, timeout=CONNECT_S, **security))
        end = time.monotonic() + CONNECT_S
        while not trying.done() and not stop.asked:
            if time.monotonic() > end:
                raise TimeoutError(f"what listens there did not answer as a scheduler does in {CONNECT_S:g} s")
            await asyncio.wait([trying], timeout=0.1)
        if not trying.done():
            trying.cancel()
            return False
        await trying.result().close()
    except Exception as error:  # whatever the other side says, or dask of its settings
        raise _lost(address, str(error)) from error
    return True


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
