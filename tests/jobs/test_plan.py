"""A plan keeps to the memory that it may use, says what would do, and touches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import psutil
import pytest
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import geosoil
from geosoil.errors import OutputError, ResourceError, UsageError
from geosoil.grid.tiles import BLOCK
from geosoil.io.blocks import Cut
from geosoil.jobs.plan import Plan, bytes_of, make_plan, memory_bound, memory_here
from geosoil.models.bundle import Bundle

from .mapping import BANDS, make_model, make_stack


def grid_of(shape: tuple[int, int]) -> GeoBox:
    return GeoBox(shape, Affine(30, 0, 740_000, 0, -30, 6_680_000), "EPSG:32755")


def unread(shape: tuple[int, int]) -> xr.DataArray:
    """A scene that cannot be read."""

    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a plan must not read")

    data = da.zeros((len(BANDS), *shape), np.float32, chunks=(-1, 4096, 4096)).map_blocks(refuse, dtype=np.float32)
    coords = {**xr_coords(grid_of(shape), dims=("y", "x")), "band": list(BANDS)}
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords)


@pytest.fixture(scope="module")
def model() -> Bundle:
    return make_model(kind="rf")


class TestSizes:
    """Sizes as people write them."""

    @pytest.mark.parametrize(
        ("text", "size"),
        [("4GB", 4 * 10**9), ("4G", 4 * 10**9), ("1.5 GB", 15 * 10**8), ("512MiB", 512 * 2**20), ("2GiB", 2**31),
         ("100kB", 10**5), ("100KB", 10**5), ("1TB", 10**12), ("1000", 1000), (" 7 MB ", 7 * 10**6), (12345, 12345),
         ("1e9", 10**9), ("2.5E+9", 25 * 10**8), ("4e3 MB", 4 * 10**9), (1.5e9, 15 * 10**8)],
    )  # fmt: skip
    def test_a_size_is_read(self, text: float | str, size: int) -> None:
        assert bytes_of(text) == size

    def test_more_than_the_machine_has_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        there = memory_here()
        assert 0 < there <= psutil.virtual_memory().total
        assert memory_bound(there) == there
        assert caplog.messages == []
        assert memory_bound("64TB") == 64 * 10**12
        assert caplog.messages == [
            f"--max-memory 64TB is more than the {there / 1e6:,.0f} MB that there are here: the system may end the run"
        ]

    @pytest.mark.parametrize(
        ("line", "folder", "name"),
        [
            ("0::/jobs/7\n", "jobs/7", "memory.max"),
            ("0::/jobs/7/step\n", "jobs/7", "memory.max"),
            ("0::/\n", "", "memory.max"),
            ("0::/elsewhere\n", "", "memory.max"),
            ("4:cpu,memory:/jobs/7\n0::/\n", "memory/jobs/7", "memory.limit_in_bytes"),
        ],
    )
    def test_a_control_group_may_have_less(self, tmp_path: Path, line: str, folder: str, name: str) -> None:
        (tmp_path / "root" / folder).mkdir(parents=True)
        (tmp_path / "groups").write_text(line, encoding="utf-8")
        limit = tmp_path / "root" / folder / name
        for told, found in (("12345\n", 12345), ("max\n", psutil.virtual_memory().total)):
            limit.write_text(told, encoding="utf-8")
            assert memory_here(tmp_path / "groups", tmp_path / "root") == found
        assert memory_here(tmp_path / "absent", tmp_path / "root") == psutil.virtual_memory().total

    @pytest.mark.parametrize(
        "text", ["", "much", "4XB", "-4GB", "4GB more", "1,5GB", "GB", "e9", "1e999", "nan", "inf"]
    )
    def test_anything_else_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            bytes_of(text)
        assert (caught.value.code, caught.value.exit_code) == ("GS-SIZE", 2)
        assert repr(text) in caught.value.message
        assert "4GB" in caught.value.hint


class TestMemory:
    """The plan stays in the memory."""

    def make(
        self, model: Bundle, shape: tuple[int, int], memory: int, workers: int = 4, tile_size: int | None = None
    ) -> Plan:
        return make_plan(
            grid_of(shape), [model], model.outputs(("mean", "Q0.05")), bands=30, tile_size=tile_size,
            max_memory=memory, num_workers=workers,
        )  # fmt: skip

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        shape=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
        memory=st.integers(10**8, 10**10),
        workers=st.integers(1, 64),
        tile_size=st.sampled_from([None, None, 128, 512, 2048]),
    )
    def test_a_plan_fits_or_there_is_none(
        self, shape: tuple[int, int], memory: int, workers: int, tile_size: int | None, model: Bundle
    ) -> None:
        try:
            plan = self.make(model, shape, memory, workers, tile_size)
        except ResourceError:
            with pytest.raises(ResourceError) as caught:
                self.make(model, shape, memory, 1, tile_size)
            assert (caught.value.code, caught.value.exit_code) == ("GS-MEMORY", 6)
            return
        assert psutil.Process().memory_info().rss < plan.memory["all"] <= memory
        assert 1 <= plan.num_workers <= workers
        assert plan.tile_size % BLOCK == 0
        assert tile_size in (None, plan.tile_size)
        assert sum(tile.height * tile.width for tile in plan.tiles) == shape[0] * shape[1]

    @pytest.mark.parametrize("tile_size", [None, 128, 1024])
    def test_the_least_memory_that_is_named_is_enough(self, tile_size: int | None, model: Bundle) -> None:
        with pytest.raises(ResourceError, match="50 MB are too few") as caught:
            self.make(model, (5000, 5000), 50_000_000, tile_size=tile_size)
        option, size = caught.value.hint.split()[1:]
        assert option == "--max-memory"
        plan = self.make(model, (5000, 5000), bytes_of(size), tile_size=tile_size)
        assert tile_size in (None, plan.tile_size)
        assert plan.memory["all"] > bytes_of(size) - 2 * 10**8, "and not much more than enough"

    def test_more_memory_gives_more_workers_first_and_larger_tiles_then(self, model: Bundle) -> None:
        resident = psutil.Process().memory_info().rss
        plans = [self.make(model, (20_000, 20_000), resident + more * 10**8) for more in range(5, 60)]
        kept = [(plan.num_workers, plan.tile_size) for plan in plans]
        assert kept == sorted(kept)
        assert kept[0][0] < kept[-1][0] == 4
        assert kept[-1][1] == 1024

    def test_tiles_far_smaller_than_blocks_that_cannot_be_kept_are_avoided(self, model: Bundle) -> None:
        """One worker on larger tiles is quicker than two that decode each block sixteen times."""
        memory = psutil.Process().memory_info().rss + 480 * 10**6

        def made(cut: Cut | None) -> tuple[int, int]:
            plan = make_plan(
                grid_of((4096, 4096)), [make_model(patch=9)], model.outputs(("mean",)), bands=100, tile_size=None,
                max_memory=memory, num_workers=2, cut=cut,
            )  # fmt: skip
            return plan.num_workers, plan.tile_size

        assert made(None) == (2, 128)
        assert made(Cut(512, 512, 100 * 4 * 512**2)) == (1, 256)
        assert made(Cut(128, 128, 10**6)) == (2, 128)

    def test_a_wide_patch_a_band_and_an_output_cost_memory(self, model: Bundle) -> None:
        def needed(one: Bundle, bands: int, statistics: tuple[str, ...]) -> int:
            plan = make_plan(
                grid_of((9000, 9000)), [one], one.outputs(statistics), bands=bands, tile_size=512,
                max_memory=10**11, num_workers=2,
            )  # fmt: skip
            return plan.memory["workers"]

        least = needed(model, 3, ("mean",))
        assert needed(make_model(patch=15), 3, ("mean",)) > least
        assert needed(model, 100, ("mean",)) > least + 2 * 97 * 4 * 512**2
        assert needed(model, 3, ("mean", "Q0.5")) >= least + 2 * 2 * 4 * 512**2

    def test_every_worker_gets_several_tiles_of_a_scene_that_has_them(self, model: Bundle) -> None:
        for edge in (1500, 3000, 9000):
            plan = self.make(model, (edge, edge), 10**11, workers=8)
            assert len(plan.tiles) >= 2 * plan.num_workers
            assert plan.num_workers == 8

    def test_a_tile_size_off_the_lattice_is_refused(self, model: Bundle) -> None:
        with pytest.raises(UsageError) as caught:
            self.make(model, (500, 500), 10**10, tile_size=200)
        assert caught.value.code == "GS-TILE-SIZE"


class TestPlan:
    """What `geosoil.plan` and `--dry-run` tell."""

    def test_a_plan_reads_no_cell(self, model: Bundle) -> None:
        plan = geosoil.plan(model, unread((9000, 7000)), statistics=("mean", "Q0.9"), num_workers=3, tile_size=1024)
        assert (len(plan.tiles), plan.tile_size, plan.halo, plan.num_workers, plan.bands) == (63, 1024, 0, 3, 3)
        told = json.loads(json.dumps(plan.to_dict()))
        assert (told["rows"], told["columns"], told["tiles"]) == (9000, 7000, 63)
        assert told["outputs"][:2] == ["soc_0-5cm_mean.tif", "soc_0-5cm_Q0.9.tif"]
        assert told["memory_bytes"]["all"] <= 4 * 10**9
        assert "63 of 1024 x 1024 cells" in plan.describe()
        assert "soc_5-15cm_Q0.9.tif" in plan.describe()

    def test_the_halo_is_that_of_the_widest_patch_and_bands_are_those_that_are_needed(self) -> None:
        models = [make_model(patch=9, bands=BANDS[:1]), make_model(code="pb", patch=3, bands=BANDS[1:2])]
        plan = geosoil.plan(models, unread((600, 600)))
        assert (plan.halo, plan.bands, len(plan.outputs)) == (4, 2, 4)

    def test_a_run_for_which_there_is_no_memory_is_refused_before_anything_is_written(
        self, model: Bundle, tmp_path: Path
    ) -> None:
        with pytest.raises(ResourceError) as caught:
            geosoil.map(model, unread((600, 600)), tmp_path / "maps", max_memory="10MB")
        assert caught.value.code == "GS-MEMORY"
        assert list(tmp_path.iterdir()) == []

    def test_a_run_for_which_there_is_no_room_is_refused_before_anything_is_read(
        self, model: Bundle, tmp_path: Path
    ) -> None:
        with pytest.raises(OutputError, match="too little room") as caught:
            geosoil.map(model, unread((600_000, 600_000)), tmp_path / "maps", num_workers=2)
        assert (caught.value.code, caught.value.exit_code) == ("GS-NO-SPACE", 4)
        assert "needed: " in caught.value.details[0]
        assert list(tmp_path.iterdir()) == []

    def test_a_dry_run_prints_the_plan_and_makes_no_folder(self, typed: Callable[..., Any], tmp_path: Path) -> None:
        make_stack(tmp_path / "s.tif", (300, 200))
        make_model(tmp_path / "soc.gsm")
        before = sorted(path.name for path in tmp_path.iterdir())
        ran = typed("map", "soc.gsm", "s.tif", "maps", "--dry-run", "--json", "--tile-size", 256, "-j", 2)
        assert ran.code == 0, ran.err
        assert ran.json["schema"] == 1
        assert ran.json["plan"]["outputs"] == ["soc_0-5cm_mean.tif", "soc_5-15cm_mean.tif"]
        assert (ran.json["plan"]["tiles"], ran.json["plan"]["num_workers"]) == (2, 2)
        assert sorted(path.name for path in tmp_path.iterdir()) == before


class TestTruth:
    """What a run takes is not more than the plan said."""

    def test_the_memory_and_the_space_of_a_real_run_stay_in_its_plan(self, tmp_path: Path) -> None:
        make_stack(tmp_path / "s.tif", (900, 1100), missing=0.0)
        make_model(tmp_path / "soc.gsm", patch=9)
        code = (
            "import json\n"
            "import geosoil\n"
            "from pathlib import Path\n"
            "most = 0\n"
            "def progress(done, total, what):\n"
            "    global most\n"
            "    sizes = [path.stat().st_blocks * 512 for path in list(Path('maps').rglob('*')) if path.exists()]\n"
            "    most = max(most, sum(sizes))\n"
            "made = geosoil.map('soc.gsm', 's.tif', 'maps', statistics=('mean', 'Q0.05', 'Q0.95'),\n"
            "    num_workers=2, tile_size=1024, max_memory='2GB', progress=progress, co={'COMPRESS': 'NONE'})\n"
            # Not ru_maxrss: a new process begins with the peak of the one that started it.
            "status = Path('/proc/self/status').read_text()\n"
            "peak = int(status.partition('VmHWM:')[2].split()[0]) * 1024\n"
            "print(json.dumps({'peak': peak, 'most': most, **made.record['plan']}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ}
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["peak"] <= told["memory_bytes"]["all"] <= 2e9
        assert 0 < told["most"] <= told["space_bytes"]
