"""What several test files share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def geosoil(tmp_path: Path) -> Command:
    """Run the installed `geosoil` command as a user does, in an own process."""

    def run(*args: object, timeout: float = 120, cwd: Path | None = None, env: dict[str, str] | None = None) -> Ran:
        command = [str(Path(sys.executable).with_name("geosoil")), *(str(arg) for arg in args)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd or tmp_path,
            env={**os.environ, **(env or {})},
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
