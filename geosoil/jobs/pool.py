"""Independent pieces of work, in this process or in several."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from geosoil.types import Progress, quiet

__all__ = ["end_with_parent", "run_tasks"]

R = TypeVar("R")


def end_with_parent() -> None:
    """Let this process of a pool end when its parent does: one that is killed cannot end it any more."""
    threading.Thread(target=_leave_with, args=(parent_process(),), daemon=True).start()


def _leave_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)


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
    """
    progress(0, len(tasks), message)
    if num_workers <= 1 or len(tasks) <= 1:
        results = []
        for done, task in enumerate(tasks, 1):
            results.append(function(*task))
            progress(done, len(tasks), message)
        return results
    # Spawned, not forked: torch and OpenMP do not survive a fork. One thread each, or they fight for the cores.
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        with ProcessPoolExecutor(
            min(num_workers, len(tasks)), mp_context=get_context("spawn"), initializer=end_with_parent
        ) as pool:
            futures = {pool.submit(function, *task): place for place, task in enumerate(tasks)}
            found: dict[int, R] = {}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    found[futures[future]] = future.result()
                    progress(done, len(tasks), message)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, value in threads.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return [found[place] for place in range(len(tasks))]
