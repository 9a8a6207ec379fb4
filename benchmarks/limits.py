"""A limit of the operating system on the memory of a command: a control group where one may be made, or RLIMIT_DATA."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GROUP", "RLIMIT", "Peak", "limited", "way_to_limit"]

#: How the bound is kept: all that the process and its files' pages take, or its own writable memory.
GROUP, RLIMIT = "control group", "RLIMIT_DATA"
_ROOT = Path("/sys/fs/cgroup")
#: Names of the files of a group, version 2 and version 1.
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_SWAPS = (("memory.swap.max", "0"), ("memory.swappiness", "0"))
_PEAKS = ("memory.peak", "memory.max_usage_in_bytes")
_KILLS = ("memory.events", "memory.oom_control")
_LOOK_S = 0.02


@dataclass(frozen=True)
class Peak:
    """What a command took.

    Attributes
    ----------
    code : int
        Its exit code; negative where a signal ended it.
    seconds : float
        From its start to its end.
    resident : int
        Most that was resident, bytes: its own memory and the pages of files that it had mapped.
    own : int
        Most of that which was its own, bytes.
    group : int or None
        Most that its control group was charged with, bytes, pages of files that it read included.
    kills : int
        How often the system killed a process for want of memory.
    """

    code: int
    seconds: float
    resident: int
    own: int
    group: int | None
    kills: int


def limited(words: Sequence[str], limit: int, environment: Mapping[str, str]) -> Peak:
    """Run a command that the system holds to a limit, bytes."""
    with _group(limit) as group:
        if group is None:
            entry, first = 'ulimit -d "$0" && exec "$@"', str(limit // 1024)
        else:
            entry, first = 'echo 0 >"$0" && exec "$@"', str(group / "cgroup.procs")
        start = time.perf_counter()
        process = subprocess.Popen(
            ["/bin/sh", "-c", entry, first, *words], env=dict(environment), stdout=subprocess.DEVNULL
        )
        try:
            resident, own = _watch(process)
        except BaseException:  # such as Ctrl-C: nothing may stay in the group
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        charged = None if group is None else int(_one_of(group, _PEAKS) or 0)
        return Peak(process.returncode, seconds, resident, own, charged, 0 if group is None else _kills(group))


def way_to_limit() -> str:
    """How this system can keep a bound."""
    with _group(2**30) as group:
        return RLIMIT if group is None else GROUP


@contextmanager
def _group(limit: int) -> Iterator[Path | None]:
    """A control group inside the caller's own, with the limit and without swap; None where none can be had."""
    made: Path | None = None
    for parent in _parents():
        made = parent / f"geosoil-{time.monotonic_ns()}"
        try:
            made.mkdir()
            name = next(name for name in _LIMITS if (made / name).exists())
            (made / name).write_text(str(limit))
            for file, value in _SWAPS:
                if (made / file).exists():
                    (made / file).write_text(value)
        except (OSError, StopIteration):
            with suppress(OSError):
                made.rmdir()
            made = None
        else:
            break
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def _parents() -> Iterator[Path]:
    """The group of this process, of both versions."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                yield _ROOT / "memory" / path.lstrip("/")
            elif not controllers and (_ROOT / "cgroup.controllers").exists():
                yield _ROOT / path.lstrip("/")


def _watch(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Peaks of the resident and of its own memory until it ends, bytes; the first is kept by the system."""
    resident = own = 0
    path = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        # The shell that becomes the command is small; nothing of this process is counted.
        with suppress(OSError, KeyError):
            told = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines())
            resident = max(resident, 1024 * int(told["VmHWM"].split()[0]))
            own = max(own, 1024 * int(told["RssAnon"].split()[0]))
        time.sleep(_LOOK_S)
    return resident, own


def _one_of(group: Path, names: Sequence[str]) -> str | None:
    for name in names:
        with suppress(OSError):
            return (group / name).read_text(encoding="utf-8").strip()
    return None


def _kills(group: Path) -> int:
    told = dict(line.split() for line in (_one_of(group, _KILLS) or "").splitlines())
    return int(told.get("oom_kill", 0))
