"""Commands in the tests' own process, and what every refusal has in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import Command, Edit, Ran  # noqa: TID252  (tests are no package that is installed)

__all__ = ["Command", "Edit", "Ran", "Refused"]

Refused = Callable[..., str]


@pytest.fixture
def typed(typed: Command, farm: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `geosoil` in the tests' own process, from the farm's folder."""
    monkeypatch.chdir(farm)
    return typed


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below a folder; files with their hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refused(farm: Path, typed: Command) -> Refused:
    """Run a command that must fail: one clear error, the documented exit code, and the folder as it was.

    Returns the error with its details and hint.
    """

    def run(*args: object, exit: int, code: str, command: Command | None = None) -> str:
        before = contents(farm)
        ran = typed(*args) if command is None else command(*args, cwd=farm)
        assert ran.code == exit, ran
        assert ran.out == ""
        assert ran.err.count("error: ") == 1, ran.err
        told = ran.err[ran.err.index("error: ") :]
        first, *rest = told.splitlines()
        assert first.endswith(f" [{code}]"), told
        assert len(first.removesuffix(f" [{code}]")) <= 100, first
        # Details and, last, what to do about it.
        assert rest, told
        assert all(line.startswith("  ") for line in rest), told
        assert "Traceback" not in ran.err
        assert contents(farm) == before
        return told

    return run
