"""Work in several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from geosoil.jobs.pool import run_tasks

WORK = """
import os, sys, time
from pathlib import Path
from geosoil.jobs.pool import run_tasks

def work(folder, place):
    (Path(folder) / f"{place}.pid").write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    run_tasks(work, [(sys.argv[1], 0), (sys.argv[1], 1)], num_workers=2)
"""


def double(value: int) -> int:
    if value < 0:
        raise ValueError("below 0")
    return 2 * value


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    assert run_tasks(double, [(3,), (1,), (2,)], num_workers=workers) == [6, 2, 4]


def test_what_a_process_raises_is_raised_here_and_the_threads_are_as_before() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    with pytest.raises(ValueError, match="below 0"):
        run_tasks(double, [(1,), (-1,)], num_workers=2)
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_processes_end_with_the_one_that_started_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    parent = subprocess.Popen([sys.executable, tmp_path / "work.py", tmp_path], stderr=subprocess.PIPE, text=True)
    marks = [tmp_path / "0.pid", tmp_path / "1.pid"]
    deadline = time.monotonic() + 50
    while not all(mark.exists() and mark.read_text() for mark in marks):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [psutil.Process(int(mark.read_text())) for mark in marks]
    parent.send_signal(getattr(signal, name))
    _, said = parent.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    if name != "SIGKILL":
        assert "what was not finished is lost" in said
        assert "leaked" not in said
