"""The benchmarks run, and their checks hold; what they measure is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("dense", "bands", 37),
        ("mapping", "bands", 37),
        ("cars", "bands", 37),
        ("preprocessing", "bands", 285),
        ("terrain", "cells", 40_000),
        ("open_library", "bands", 211),
        ("rs_local", "bands", 211),
        ("attributions", "bands", 300),
        ("cnn_search", "bands", 24),
    ],
)
def test_the_quick_run_ends_well(name: str, key: str, value: int, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[key] == value
    assert list(tmp_path.iterdir()) == []
