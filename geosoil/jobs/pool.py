"""Independent pieces of work, in this process or in several, which end at once when this one is told to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from geosoil.errors import InterruptedRunError
from geosoil.models.threads import one_blas_thread
from geosoil.stops import SIGNALS, end_now, handling
from geosoil.types import Progress, quiet

__all__ = ["ended_by_signals", "process_pool", "run_tasks"]

R = TypeVar("R")


def run_tasks(
    function: Callable[..., R],
    tasks: Sequence[tuple[Any, ...]],
    *,
    num_workers: int = 1,
    progress: Progress = quiet,
    message: str = "",
) -> list[R]:
    """``[function(*task) for task in tasks]``, in the order of the tasks.

    Parameters
    ----------
    function : callable
        From a module, so that a process can find it.
    num_workers : int
        Processes. With 1, the default, none is started: a script without a main guard would run again in each.
    progress, message
        Called with ``message`` after each task.

    Raises
    ------
    InterruptedRunError
        ``GS-INTERRUPTED``, ``GS-TERMINATED``: a signal came while processes were at work; they are ended.
    """
    progress(0, len(tasks), message)
    if num_workers <= 1 or len(tasks) <= 1:
        results = []
        # On one thread, as in processes of their own: the bits of a matrix product depend on how it is shared out.
        with one_blas_thread():
            for done, task in enumerate(tasks, 1):
                results.append(function(*task))
                progress(done, len(tasks), message)
        return results
    found: dict[int, R] = {}
    ended = ended_by_signals("what was not finished is lost", "run it again, with --resume where the command has it")
    with _one_thread_each(), ended, process_pool(min(num_workers, len(tasks))) as pool:
        futures = {pool.submit(function, *task): place for place, task in enumerate(tasks)}
        for done, future in enumerate(as_completed(futures), 1):
            found[futures[future]] = future.result()
            progress(done, len(tasks), message)
    return [found[place] for place in range(len(tasks))]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are started here take one thread, or they fight for the cores."""
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        yield
    finally:
        for name, value in threads.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def process_pool(
    count: int, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Processes to submit work to; after an error in the block they are ended, whatever they are at.

    Parameters
    ----------
    count : int
        Processes.
    begin, arguments
        What each calls first.
    """
    # Spawned, not forked: torch and OpenMP do not survive a fork.
    others = set(active_children())
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_arrive, initargs=(begin, arguments))
    with _broken_pipes_as_errors():
        try:
            _launch(pool, count)
            yield pool
        except BaseException:
            # A task may take minutes, and nobody waits for it any more.
            for process in set(active_children()) - others:
                process.kill()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def ended_by_signals(fate: str, hint: str) -> Iterator[None]:
    """Let SIGINT and SIGTERM raise an error here, so that processes are ended and nothing is left behind.

    A second signal ends the process as it would have without. Signals reach the main thread alone; in any other this
    does nothing.

    Parameters
    ----------
    fate, hint : str
        What becomes of the work, and what the user can do.

    Raises
    ------
    InterruptedRunError
        ``GS-INTERRUPTED``, ``GS-TERMINATED``.
    """

    asked = False

    def handle(number: int) -> None:
        nonlocal asked
        if asked:
            end_now(number)
        asked = True
        terminated = number == signal.SIGTERM
        raise InterruptedRunError(
            f"{'terminated' if terminated else 'interrupted'}; {fate}",
            code="GS-TERMINATED" if terminated else "GS-INTERRUPTED",
            hint=hint,
        )

    with handling(handle):
        yield


@contextmanager
def _broken_pipes_as_errors() -> Iterator[None]:
    """Where a closed pipe ends the process, as in the command line, let the end of a worker not do so."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _launch(pool: ProcessPoolExecutor, count: int) -> None:
    """Start all processes of a pool, deaf to signals until they have arrived.

    One that a signal ends before it has read what it is sent would take this process along, by a broken pipe.
    """
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if masks else set()
    try:
        for _ in range(count):  # a process for each, as none is idle so early
            pool.submit(int)
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _arrive(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """What a process does first."""
    # An interrupt from the keyboard reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # One whose parent is killed is ended by nobody else.
    threading.Thread(target=_leave_with, args=(parent_process(),), daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _leave_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)
