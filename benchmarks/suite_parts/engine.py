"""What `geosoil map` takes: the run and its tiles, and where the threads' time goes; nothing of it is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

import geosoil
import geosoil.jobs.present as present_module
import geosoil.jobs.task as task_module
from geosoil.grid.spool import Ledger
from geosoil.io.rasterfile import MappedCells
from geosoil.jobs.task import Source, Task

from .scenes import Scene

__all__ = ["cores", "first_tile", "map_scene", "profile"]

#: Seconds between two looks at the threads.
_LOOK_S = 0.005
_ROOT = str(Path(geosoil.__file__).parent)
#: Where a tile's time is spent; what of `predict` is the reading of cells counts as reading.
_PHASES = ("read", "compute", "write")


class Clock:
    """Seconds that threads spend in phases, of which one may be inside another."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._inner = threading.local()

    def timed(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, timed; time of phases inside it counts there and not here."""

        def wrapped(*args: Any, **named: Any) -> Any:
            outer = getattr(self._inner, "seconds", 0.0)
            self._inner.seconds = 0.0
            start = time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                spent = time.perf_counter() - start
                with self._lock:
                    self.seconds[phase] += spent - self._inner.seconds
                self._inner.seconds = outer + spent

        return wrapped


@contextmanager
def _clocked(clock: Clock) -> Iterator[None]:
    """Time the reading, predicting and writing of tiles, and leave out project and report, which are not timed."""
    places: list[tuple[Any, str, str]] = [
        (Source, "read", "read"),
        (MappedCells, "pick", "read"),
        (MappedCells, "planes", "read"),
        (Task, "predict", "compute"),
        (task_module, "write_tile", "write"),
        (Ledger, "add", "write"),
    ]
    with ExitStack() as stack:
        for owner, name, phase in places:
            stack.enter_context(_replaced(owner, name, clock.timed(phase, getattr(owner, name))))
        stack.enter_context(_replaced(present_module, "present", lambda *args: (None, None)))
        yield


@contextmanager
def _replaced(owner: Any, name: str, other: Any) -> Iterator[None]:
    """Another attribute for as long as the block takes."""
    before = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, before)


def map_scene(
    model: Path,
    scene: Scene,
    out: Path,
    *,
    tile_size: int | None = None,
    num_workers: int | None = None,
    began: Callable[[], object] = bool,
) -> dict[str, Any]:
    """One run in this process.

    Parameters
    ----------
    began : callable
        Called when the first tile is about to be made.

    Returns
    -------
    dict
        ``run_s``: model, scene, tiles, maps written and read back, without project and report; ``tiles_s``: from the
        first tile's start to the last one's end; ``phases``: shares of the threads' time in that; ``busy``: the share
        of it that the cores worked; ``queued``: of the time in which threads could work, that in which they waited for
        a core, None where the system does not tell; and the plan.
    """
    moments: dict[str, list[float]] = {}
    worked: list[dict[int, tuple[float, float]]] = []

    def progress(done: int, total: int, message: str) -> None:
        if not moments:
            began()
        moments.setdefault(message, []).append(time.perf_counter())
        if message == "mapping" and done in {0, total}:
            worked.append(_worked())

    shutil.rmtree(out, ignore_errors=True)
    clock = Clock()
    with _clocked(clock):
        made = geosoil.map(
            model, scene.path, out, max_memory="8GB", masks=None, progress=progress, tile_size=tile_size,
            num_workers=num_workers,
        )  # fmt: skip
    plan = made.record["plan"]
    tiles_s = moments["mapping"][-1] - moments["mapping"][0]
    threads = tiles_s * plan["num_workers"]
    phases = {phase: clock.seconds[phase] / threads for phase in _PHASES}
    busy, queued = (
        sum(times[kind] - worked[0].get(thread, (0.0, 0.0))[kind] for thread, times in worked[-1].items())
        for kind in (0, 1)
    )
    return {
        "run_s": float(made.record["seconds"]),
        "tiles_s": tiles_s,
        "maps_s": moments["writing maps"][-1] - moments["writing maps"][0],
        "phases": phases | {"engine": 1 - sum(phases.values())},
        "busy": busy / (tiles_s * cores()),
        "queued": queued / (busy + queued) if _tells() else None,
        "tiles": plan["tiles"],
        "tile_size": plan["tile_size"],
        "num_workers": plan["num_workers"],
        "maps": [str(path) for path in made.maps],
    }


def _tells() -> bool:
    """Whether the system tells how long threads waited for a core."""
    return Path(f"/proc/self/task/{os.getpid()}/schedstat").exists()


def _worked() -> dict[int, tuple[float, float]]:
    """Seconds that each thread of this process has worked, its own and the system's for it, and waited for a core."""
    if not _tells():
        # In steps of 10 ms.
        return {one.id: (one.user_time + one.system_time, 0.0) for one in psutil.Process().threads()}
    found = {}
    for one in Path("/proc/self/task").iterdir():
        worked, waited, _ = (int(word) / 1e9 for word in (one / "schedstat").read_text().split())
        found[int(one.name)] = worked, waited
    return found


def first_tile(model: Path, scene: Scene, out: Path) -> float:
    """Seconds from the start of the command to its first finished tile."""
    shutil.rmtree(out, ignore_errors=True)
    words = [str(Path(sys.executable).with_name("geosoil")), "map", str(model), str(scene.path), str(out), "-q"]
    start = time.perf_counter()
    process = subprocess.Popen([*words, "--tile-size", "256"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            for ledger in out.glob(".geosoil-*/ledger.jsonl"):
                # The first line is the run's; each finished tile adds one.
                if ledger.read_bytes().count(b"\n") > 1:
                    return time.perf_counter() - start
            time.sleep(0.005)
        raise RuntimeError(f"geosoil map ended with {process.returncode} before a tile was seen")
    finally:
        process.terminate()
        process.wait()


def profile(model: Path, scene: Scene, out: Path, *, most: int = 12) -> list[dict[str, Any]]:
    """Where the threads' time goes: the innermost function of geosoil, and what it called, by looking now and then."""
    seen: defaultdict[str, float] = defaultdict(float)
    done = threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not done.wait(_LOOK_S):
            # A look comes late where a call keeps the interpreter to itself; the wait is that call's.
            now = time.perf_counter()
            _look(seen, now - last)
            last = now

    before = sys.getswitchinterval()
    sys.setswitchinterval(_LOOK_S / 10)
    watcher = threading.Thread(target=watch, daemon=True)
    try:
        # Not before the first tile: a frame that is looked at keeps what it holds, such as a map that is being closed.
        map_scene(model, scene, out, began=watcher.start)
    finally:
        done.set()
        sys.setswitchinterval(before)
    watcher.join()
    total = sum(seen.values()) or 1.0
    places = sorted(seen.items(), key=lambda one: -one[1])[:most]
    return [{"where": where, "share": seconds / total} for where, seconds in places]


def _look(seen: defaultdict[str, float], seconds: float) -> None:
    """Add the seconds since the last look to where the threads that make tiles and maps are."""
    names = {one.ident: one.name for one in threading.enumerate()}
    frames = sys._current_frames()
    for ident in list(frames):
        if names.get(ident, "").startswith("geosoil_"):
            seen[_place(frames[ident])] += seconds


def _place(frame: FrameType | None) -> str:
    """The innermost function of geosoil on a stack, with the line of it."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_ROOT):
            return f"{Path(path).relative_to(_ROOT)}:{frame.f_lineno} {frame.f_code.co_qualname}"
        frame = frame.f_back
    return "waiting for a tile"


def cores() -> int:
    """Cores that there are."""
    return os.cpu_count() or 1
