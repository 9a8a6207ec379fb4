"""A function over tiles: on dask's threads here, or on a dask.distributed cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import dask.threaded

from geosoil.errors import InputError, InterruptedRunError, ResourceError
from geosoil.grid.tiles import Tile

__all__ = ["Stop", "listen", "sweep_cluster", "sweep_threads"]

R = TypeVar("R")


class Stop:
    """Whether a run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal = 0

    def ask(self, number: int = 0) -> None:
        """Stop taking tiles."""
        self.signal = number
        self._event.set()

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def error(self, hint: str) -> InterruptedRunError:
        """What to raise once the tiles in flight have ended."""
        terminated = self.signal == signal.SIGTERM
        return InterruptedRunError(
            "terminated; finished tiles are kept" if terminated else "interrupted; finished tiles are kept",
            code="GS-TERMINATED" if terminated else "GS-INTERRUPTED",
            hint=hint,
        )


@contextmanager
def listen(stop: Stop) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask for a stop; a second one ends the process at once, as it would have without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.ask(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def sweep_threads(work: Callable[[Tile], None], tiles: Sequence[Tile], *, num_workers: int, stop: Stop) -> None:
    """Call `work` for each tile on dask's threaded scheduler.

    The first error stops the taking of tiles, and is raised when those in flight have ended.
    """
    errors: list[BaseException] = []

    def one(tile: Tile) -> None:
        if stop.asked or errors:
            return
        try:
            work(tile)
        except BaseException as error:
            errors.append(error)

    # Tasks without arguments: dask need not look into what they hold.
    graph: dict[Any, Any] = {("tile", tile.index): (partial(one, tile),) for tile in tiles}
    if graph:
        dask.threaded.get(graph, list(graph), num_workers=num_workers)
    if errors:
        raise errors[0]


def sweep_cluster(
    submit: Callable[[Any, Tile], Any],
    collect: Callable[[Tile, Any], None],
    tiles: Sequence[Tile],
    *,
    address: str,
    stop: Stop,
) -> int:
    """Send each tile to a dask.distributed cluster, a few for each worker at a time.

    Parameters
    ----------
    submit : callable
        ``submit(client, tile)`` to a future.
    collect : callable
        Called here with each tile and what its future gave.
    address : str
        Of the scheduler.

    Returns
    -------
    int
        Number of workers.

    Raises
    ------
    ResourceError
        ``GS-SCHEDULER``: no cluster answers, it has no worker, or it went away.
    """
    from distributed import Client, as_completed
    from distributed.comm.core import CommClosedError

    lost = ResourceError(
        f"no dask scheduler answers at {address}",
        code="GS-SCHEDULER",
        hint="start one (dask scheduler, dask worker ADDRESS), and go on with --resume",
    )
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise lost from error
    try:
        try:
            client.wait_for_workers(1, timeout=30)
        except TimeoutError as error:
            raise ResourceError(
                f"the dask cluster at {address} has no worker",
                code="GS-SCHEDULER",
                hint="start workers: dask worker ADDRESS",
            ) from error
        threads = sum(client.nthreads().values())
        waiting = iter(tiles)
        pending: dict[Any, Tile] = {}
        queue = as_completed()

        def feed(count: int) -> None:
            for _ in range(count):
                tile = None if stop.asked else next(waiting, None)
                if tile is None:
                    return
                future = submit(client, tile)
                pending[future] = tile
                queue.add(future)

        feed(2 * threads)
        for future in queue:
            collect(pending.pop(future), future.result())
            feed(1)
        return threads
    except (CommClosedError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise lost from error
    finally:
        client.close(timeout=2)
