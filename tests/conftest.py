"""What several test files share."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin


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

#: Files that take longest, the longest first: what begins last should be short, or one core waits for the other.
SLOW = (
    "tests/test_examples.py",
    "tests/jobs/test_map_cluster.py",
    "tests/test_benchmarks.py",
    "tests/jobs/test_map_stops.py",
    "tests/jobs/test_compare_spectra.py",
    "tests/cli/test_commands.py",
    "tests/jobs/test_compare.py",
    "tests/cli/test_bad_input.py",
    "tests/cli/test_spectra_commands.py",
    "tests/jobs/test_train.py",
    "tests/jobs/test_invert.py",
    "tests/jobs/test_plan.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the slow files to the front; `pytest -n 2 --dist loadfile --no-loadscope-reorder` keeps that order."""
    rank = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


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


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `geosoil` as the installed command does, without the seconds that a process takes, and its end.

    What a process would show as a traceback is raised here.
    """
    (entry,) = entry_points(group="console_scripts", name="geosoil")
    main = import_module(entry.module).main
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Ran:
        words = [str(arg) for arg in args]
        monkeypatch.setattr(sys, "argv", ["geosoil", *words])
        capsys.readouterr()
        logger, pipe = logging.getLogger("geosoil"), signal.getsignal(signal.SIGPIPE)
        before = list(logger.handlers)
        try:
            with pytest.raises(SystemExit) as ended:
                main(words)
        finally:
            # What a process takes with it when it ends.
            logger.handlers = before
            signal.signal(signal.SIGPIPE, pipe)
        shown = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, shown.out, shown.err)

    return run


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the system refuse to write more than this into a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


CRS = "EPSG:32755"
CELL, HEIGHT, WIDTH = 90.0, 60, 80


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """60 profiles of three layers on 60 x 80 cells; carbon rises with `wet`, falls with depth, ignores `noise`."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    wet = np.sin(xx / 9) + np.cos(yy / 7)
    rock = (xx // 20 + 1).astype(float)
    noise = rng.standard_normal((HEIGHT, WIDTH))
    wet[5:8, 5:9] = np.nan
    profile = {
        "driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 3, "dtype": "float32", "nodata": -9999,
        "crs": CRS, "transform": from_origin(500_000, 6_700_000, CELL, CELL),
    }  # fmt: skip
    with rasterio.open(tmp_path / "stack.tif", "w", **profile) as file:
        for index, (name, band) in enumerate({"wet": wet, "rock": rock, "noise": noise}.items(), 1):
            file.write(np.nan_to_num(band, nan=-9999).astype("float32"), index)
            file.set_band_description(index, name)
    rows, columns = rng.integers(10, HEIGHT, 60), rng.integers(10, WIDTH, 60)
    records = []
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        for top, bottom in ((0, 10), (10, 30), (30, 60)):
            value = 10 * np.exp(0.6 * wet[row, column] - (top + bottom) / 60) * np.exp(0.05 * rng.standard_normal())
            x, y = 500_000 + (column + 0.5) * CELL, 6_700_000 - (row + 0.5) * CELL
            records.append((f"p{number:02d}", x, y, top, bottom, round(value, 3), "A" if column < 40 else "B"))
    names = ["profile_id", "x", "y", "top_cm", "bottom_cm", "soc_g_per_kg", "zone"]
    pd.DataFrame(records, columns=names).to_csv(tmp_path / "horizons.csv", index=False)
    (tmp_path / "study.toml").write_text(
        f"""
name = "Farm"
property = "soc"
[samples]
path = "horizons.csv"
crs = "{CRS}"
[depths]
intervals = ["0-5", "5-15", "15-30"]
[scene]
path = "stack.tif"
classes = {{ rock = "onehot" }}
[model]
kind = "rf"
patch = 3
trees = 40
epochs = 40
patience = 10
members = 1
[validation]
folds = 3
[compare]
models = ["rf", "mtcnn"]
folds = 3
repeats = 2
frozen = []
covariate_curve = false
zones = "zone"
""",
        encoding="utf-8",
    )
    return tmp_path


Edit = Callable[[str, str], None]


@pytest.fixture
def edit(farm: Path) -> Edit:
    """Replace a piece of the study file."""

    def change(old: str, new: str) -> None:
        path = farm / "study.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change
