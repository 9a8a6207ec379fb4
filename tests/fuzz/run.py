"""Open spoilt files for as long as wanted, in child processes with little memory, and keep those that break the rules.

    python -m tests.fuzz.run --minutes 10 --kind envi

A case breaks the rules when anything but geosoil's own error comes out, when it takes more than 5 seconds of the
processor or 1 GB of memory, or when it ends or holds up the process. It stays in the folder of `--keep`, with what
happened in `why.txt`; the same kind and number make the same case again: `--kind envi --start 1234 --cases 1`.

A kind whose good files cannot be made here, as a package for them is not installed, is left out and said to be. The
command ends with 1 where a case broke the rules, a child did not start, a kind that can be made had no case, or all
kinds are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: Most time of the processor, seconds, and growth of memory, bytes, that a case may take.
SECONDS, BYTES = 5.0, 2**30
#: The parent's patience with a case on a busy machine, seconds.
_PATIENCE = 40.0
_ROOT = Path(__file__).parents[2]
#: What a child says first.
_READY = "ready"


def main() -> int:
    """Run as the command line says; 1 where a case broke the rules."""
    parser = argparse.ArgumentParser(description="Open spoilt files and keep those that break the rules.")
    parser.add_argument("--kind", action="append", help="kind of input; repeatable, all by default")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all kinds together")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=10**9, help="most cases of a kind")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder of the cases that failed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        _child(words.child, words.keep, words.start)
        return 0
    from .kinds import KINDS

    kinds = words.kind or list(KINDS)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        parser.error(f"no kind is called {', '.join(unknown)}; there are {', '.join(KINDS)}")
    failures = [_run(kind, words.start, words.cases, 60 * words.minutes / len(kinds), words.keep) for kind in kinds]
    return 1 if any(failures) or set(failures) == {None} else 0


class _LeftOut(Exception):  # noqa: N818 - not an error: the kind needs what is not installed
    """A kind cannot be made here."""


class _NotStartedError(Exception):
    """A child ended, or said nothing, before its first case."""


def _run(kind: str, start: int, cases: int, seconds: float, keep: Path) -> int | None:
    """One kind; the number of cases that failed, and 1 where there was none; None for a kind that is left out."""
    try:
        return _run_cases(kind, start, cases, seconds, keep)
    except _LeftOut as why:
        print(f"{kind}: left out, {why}", flush=True)  # noqa: T201
        return None
    except _NotStartedError as why:
        print(f"{kind}: no case, its process did not start\n{why}", flush=True)  # noqa: T201
        return 1


def _run_cases(kind: str, start: int, cases: int, seconds: float, keep: Path) -> int:
    ended, number, told = time.monotonic() + seconds, start, Counter[str]()
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{kind}-") as work:
        while time.monotonic() < ended and number < start + cases:
            for case, said in _cases(kind, Path(work), number, min(ended, time.monotonic() + 600)):
                number = case + 1
                told[said if said.startswith(("GS-", "ok")) else "failed"] += 1
                if not said.startswith(("GS-", "ok")):
                    place = _keep(keep, kind, case, Path(work) / f"case-{case}", said)
                    print(f"{kind} {case}: {said.splitlines()[-1][:200]} -> {place}", flush=True)  # noqa: T201
                if number >= start + cases:
                    break
    if number == start:
        print(f"{kind}: no case in {seconds:.0f} s; give more --minutes", flush=True)  # noqa: T201
        return 1
    codes = ", ".join(f"{code} {count}" for code, count in told.most_common() if code != "failed")
    print(f"{kind}: {number - start} cases, {told['failed']} failed; {codes}", flush=True)  # noqa: T201
    return told["failed"]


def _cases(kind: str, work: Path, number: int, ended: float) -> Iterator[tuple[int, str]]:
    """Cases of one child process, until it ends or the time is over; each with what came of it."""
    command = [sys.executable, "-m", "tests.fuzz.run", "--child", kind, "--keep", str(work), "--start", str(number)]
    with (work / "stderr").open("wb") as errors:
        child = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=errors, env=_quiet())
    assert child.stdout is not None
    try:
        said = _line(child.stdout, 10 * _PATIENCE)
        if said != _READY:
            if said:
                raise _LeftOut(said)
            raise _NotStartedError(_end_of(child, work, silent=said is None))
        while time.monotonic() < ended:
            said = _line(child.stdout, _PATIENCE)
            if not said:
                yield number, _end_of(child, work, silent=said is None)
                return
            yield number, said.replace("\t", "\n")
            number += 1
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _end_of(child: subprocess.Popen[bytes], work: Path, *, silent: bool) -> str:
    """What a child left on stderr, and on the last line how it ended and why."""
    if not silent:  # it is about to end by itself, with a code that tells why
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_PATIENCE)
    child.kill()
    code = child.wait()
    errors = (work / "stderr").read_text(errors="replace").strip()
    if silent:
        return f"{errors[-4000:]}\nno answer"
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
    lines = errors.splitlines() or ["it said nothing"]
    # A crash is told first, with its stack below it; an error last.
    why = next((line for line in lines if line.startswith("Fatal")), lines[-1])
    return f"{errors[-4000:]}\nprocess ended {how}: {why}"


def _quiet() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def _line(stream: IO[bytes], patience: float) -> str | None:
    """The next line; empty where the child has ended, None where it says nothing for long."""
    ready, _, _ = select.select([stream], [], [], patience)
    return stream.readline().decode().rstrip("\n") if ready else None


def _keep(keep: Path, kind: str, number: int, case: Path, said: str) -> Path:
    place = keep / f"{kind}-{number}"
    shutil.rmtree(place, ignore_errors=True)
    if case.exists():
        shutil.copytree(case, place)
    place.mkdir(parents=True, exist_ok=True)
    (place / "why.txt").write_text(said, encoding="utf-8", errors="replace")
    return place


def _child(kind: str, work: Path, number: int) -> None:
    """Say a line a case: ``ok``, a code, or what was wrong, with tabs for new lines; leave the files of the wrong."""
    from .kinds import KINDS

    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    seeds = work / "seeds"
    if not seeds.exists():
        made = Path(tempfile.mkdtemp(dir=work))
        try:
            KINDS[kind].make(made)
        except ImportError as error:
            told = " ".join(str(error).split())
            out.write(f"its files cannot be made here: {told}\n")
            return
        made.rename(seeds)  # whole or not at all
    for good in sorted(seeds.iterdir()):
        # Loads what is loaded lazily, and compiles, before memory and time count.
        if good.suffix != ".hdr":
            _try(kind, good)
    with contextlib.suppress(ValueError):
        most = _memory("VmSize") + 2 * BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BYTES, 2 * BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out.write(f"{_READY}\n")
    while True:
        folder = work / f"case-{number}"
        said = _measured(kind, seeds, folder, number)
        if said.startswith(("GS-", "ok")):
            shutil.rmtree(folder)
        out.write(said.strip().replace("\n", "\t") + "\n")
        number += 1


def _measured(kind: str, seeds: Path, folder: Path, number: int) -> str:
    from .kinds import make_case

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, _ = make_case(kind, seeds, folder, number)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began = _memory("VmRSS"), time.process_time()
    said = _try(kind, path)
    took, grew = time.process_time() - began, _memory("VmHWM") - before
    if took > SECONDS:
        return f"SLOW: {took:.1f} s, and {said}"
    if grew > BYTES:
        return f"LARGE: {grew / 2**20:.0f} MB, and {said}"
    return said


def _try(kind: str, path: Path) -> str:
    from .kinds import outcome

    try:
        return outcome(kind, path)
    except Exception:
        return traceback.format_exc()


def _memory(name: str) -> int:
    """A figure of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    sys.exit(main())
