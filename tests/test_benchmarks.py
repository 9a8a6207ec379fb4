"""The benchmarks run, and their checks hold; what they measure is not looked at."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rasterio

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
_PARTS = ("cases", "peers", "workloads")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("dense", "bands", 37),
        ("cars", "bands", 37),
        ("preprocessing", "bands", 285),
        ("terrain", "cells", 40_000),
        ("open_library", "bands", 211),
        ("rs_local", "bands", 211),
        ("attributions", "bands", 300),
        ("cnn_search", "bands", 24),
        ("made_limit", "few", 40),
    ],
)
def test_the_quick_run_ends_well(name: str, key: str, value: int, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[key] == value
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def suite() -> Iterator[ModuleType]:
    """The suite of the map engine; what it imports of its neighbours is found beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("suite")


@pytest.fixture(scope="module")
def measured(suite: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of the linear model on two formats."""
    out = tmp_path_factory.mktemp("suite")
    suite.main(["--quick", "--out", str(out), "--only", "plsr"])
    return out


def results_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "suite.json").read_text(encoding="utf-8"))
    return found


def test_peers_compute_the_maps_of_the_engine(measured: Path) -> None:
    cases = results_of(measured)["cases"]
    assert sorted(cases) == ["plsr: ENVI BIL", "plsr: GeoTIFF deflate band"]
    for case in cases.values():
        assert {name: peer["same"] for name, peer in case["peers"].items()} == {
            "rasterio loop": True,
            "apply_ufunc": True,
        }
        assert all(0 <= peer["difference"] < 1e-4 for peer in case["peers"].values())
        assert sum(case["ours"]["phases"].values()) == pytest.approx(1)
        assert set(case["ratios"]) == set(case["peers"])


def test_the_page_marks_every_target_and_loads_nothing(measured: Path) -> None:
    page = (measured / "suite.html").read_text(encoding="utf-8")
    assert page.count("at least 60% of the limit") == 2
    assert page.count("2 times the best peer") == 2
    assert page.count("<svg") == 1
    assert not re.search(r"<script|<link|<img|src=|@import|url\(http", page)
    assert sorted(path.name for path in measured.iterdir()) == ["suite.html", "suite.json"]


def test_a_run_that_goes_on_keeps_what_was_measured(
    suite: ModuleType, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results_of(measured)["cases"]
    suite.main(["--quick", "--out", str(measured), "--resume", "--only", "plsr,tiles"])
    after = results_of(measured)["cases"]
    assert {key: after[key] for key in before} == before
    assert after["tiles: 9 tiles of 128"]["tiles"] == 9
    assert capsys.readouterr().err.count(": kept") == 2
    with pytest.raises(SystemExit, match="another peers"):
        suite.main(["--quick", "--out", str(measured), "--resume", "--only", "plsr", "--peers", "rasterio loop"])


def test_a_peer_with_other_values_is_told_and_not_counted(suite: ModuleType, tmp_path: Path) -> None:
    cases, peers, workloads = (importlib.import_module(f"suite_parts.{name}") for name in _PARTS)
    bench = cases.Bench(tmp_path, True, False, ("rasterio loop",))
    scene = bench.scenes.make("GeoTIFF plain band", 64, 4)
    workload = workloads.plsr(tmp_path, 4)
    span = peers.Span(0, 0, 64, 64)

    def ask(rows: Any) -> dict[str, Any]:
        setting = cases.Setting(replace(workload, rows=rows), scene, span)
        right = workload.bundle.predict_block(cells)
        found: dict[str, Any] = cases.ask_peer(bench, "rasterio loop", setting, right, 1)
        return found

    with rasterio.open(scene.path) as file:
        cells = file.read()
    assert ask(workload.rows)["counts"]
    other = ask(lambda X: workload.rows(X) + 0.01)
    assert not other["counts"]
    assert other["difference"] == pytest.approx(0.01, rel=0.01)
    assert ask(lambda X: workload.rows(X[:, :2]))["left_out"].startswith("failed: ValueError")


@pytest.mark.parametrize(
    ("key", "share", "ratio", "reached"),
    [
        ("plsr: COG", 0.6, 2.0, [True, True]),
        ("plsr: COG", 0.59, 1.9, [False, False]),
        ("svr: COG", 0.7, 4.9, [True, False]),
        ("cnn: 9 x 9", 0.7, 80.0, [True, True]),
        ("fusion: BIL", 0.5, 1.0, [False]),
        ("forest: BIL", 1.0, 0.9, [True]),
        ("forest: BIL", 0.99, 3.0, [False]),
    ],
)
def test_targets_are_reached_from_their_bounds_on(
    suite: ModuleType, key: str, share: float, ratio: float, reached: list[bool]
) -> None:
    marks = importlib.import_module("suite_parts.targets").marks
    found = {
        "limit": {"read_s": 0.6, "decode_s": 2.0, "compute_s": 0.1},
        "ours": {
            "tiles_s": 1.0,
            "run_s": 2.0,
            "maps_s": 0.5,
            "phases": {"read": 0.7, "compute": 0.3},
            "busy": 0.95,
            "queued": 0.02,
        },
        "shares": {"tiles": share, "tiles_with_decoding": 0.9},
        "ratios": {"slow": 2 * ratio, "best": ratio},
        "ratios_finished": {"slow": 3 * ratio, "best": 2 * ratio},
        "patch": 9,
    }
    seen = marks({key: found, "svr: broken": {"failed": "no room"}})
    assert [mark.reached for mark in seen] == [*reached, True, True]
    assert all(bool(mark.reason) != mark.reached for mark in seen)


def test_the_engine_overhead_the_start_and_the_sizes_have_targets(suite: ModuleType) -> None:
    marks = importlib.import_module("suite_parts.targets").marks
    sizes = [{"mpixels": 1.0, "tiles_s": 0.2, "run_s": 0.4}, {"mpixels": 400.0, "tiles_s": 0.23, "run_s": 0.3}]
    cases = {
        "start: x": {"plsr": 2.9, "cnn": 3.1, "seconds": 9.0},
        "tiles: x": {"phases": {"read": 0.5, "engine": 0.04}, "tiles_s": 9.0, "num_workers": 2, "tiles": 9},
        "sizes: x": {"sizes": sizes},
    }
    seen = {mark.case: mark.reached for mark in marks(cases)}
    assert seen == {"start: x, cnn": False, "start: x, plsr": True, "tiles: x": True, "sizes: x": False}


def test_idle_cores_queues_for_them_and_memory_above_the_limit_miss_their_targets(suite: ModuleType) -> None:
    marks = importlib.import_module("suite_parts.targets").marks
    limit = {"read_s": 0.6, "decode_s": 0.0, "compute_s": 0.1}
    rest = {"limit": limit, "shares": {"tiles": 0.9}, "ratios": {}, "patch": 1}
    phases = {"read": 0.5, "compute": 0.5}
    runs = [(0.5, 0.95, 0.01), (0.5, 0.6, 0.01), (0.5, 0.95, 0.4), (0.1, 0.2, 0.9)]
    cases = {
        f"fusion: {place}": rest | {"ours": {"tiles_s": s, "busy": b, "queued": q, "phases": phases}}
        for place, (s, b, q) in enumerate(runs)
    }
    cores = [mark for mark in marks(cases) if mark.case.startswith("3 cases")]
    assert [mark.reached for mark in cores] == [False, False]
    assert "fusion: 1" in cores[0].seen
    assert "40.0%, fusion: 2" in cores[1].seen
    row = {
        "model": "linear",
        "edge": 4000,
        "limit_mb": 1000,
        "peak_mb": 999,
        "planned_mb": 990,
        "kills": 0,
        "exit_code": 0,
    }
    held = [row | {"ok": True, "same_corner": True}, row | {"ok": False, "same_corner": True, "peak_mb": 1001}]
    assert [mark.reached for mark in marks({"memory: x": {"cases": held, "limit": "RLIMIT_DATA"}})] == [True, False]
