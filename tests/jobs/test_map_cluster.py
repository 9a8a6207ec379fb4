"""On a dask.distributed cluster of processes the maps are the same bytes, also when a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from distributed import Client, LocalCluster

import geosoil
from geosoil.errors import InputError, InterruptedRunError, PartialError, ResourceError
from geosoil.testing import write_raster

from .mapping import BANDS, make_model, make_stack

SHAPE, TILES = (300, 400), 12


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def files(folder: Path) -> dict[str, bytes]:
    """All maps of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of twelve tiles, two models, and their maps from this process."""
    folder = tmp_path_factory.mktemp("site")
    make_stack(folder / "scene.tif", SHAPE)
    make_model(folder / "soc.gsm", patch=5)
    make_model(folder / "pb.gsm", code="pb", kind="rf", bands=("ndvi", "twi"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        geosoil.map([folder / "soc.gsm", folder / "pb.gsm"], folder / "scene.tif", folder / "whole", tile_size=256)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes, which are started again when they die."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as made:
        yield made


def test_two_processes_make_the_maps_that_one_makes(
    cluster: LocalCluster, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The workers have another working folder: all that is sent to them has to say where it is.
    monkeypatch.chdir(site)
    (tmp_path / "Böden 1").mkdir()
    out = Path(os.path.relpath(tmp_path / "Böden 1", site))
    made = geosoil.map(["soc.gsm", "pb.gsm"], "scene.tif", out, tile_size=128, scheduler=cluster.scheduler_address)
    assert files(out) == files(site / "whole")
    assert len(made.maps) == 4
    assert made.record["tiles"] == {"made": TILES, "failed": {}}
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_a_worker_that_is_killed_in_the_middle_changes_nothing(
    cluster: LocalCluster, site: Path, tmp_path: Path
) -> None:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = sorted(client.run(os.getpid).values())
    killed: list[int] = []

    def progress(done: int, total: int, what: str) -> None:
        if done == 3 and what == "mapping" and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    geosoil.map(
        [site / "soc.gsm", site / "pb.gsm"],
        site / "scene.tif",
        tmp_path,
        tile_size=128,
        scheduler=cluster.scheduler_address,
        progress=progress,
    )
    assert killed
    assert files(tmp_path) == files(site / "whole")


def test_a_run_begun_here_goes_on_there_and_back(cluster: LocalCluster, site: Path, tmp_path: Path) -> None:
    told: list[int] = []

    def stop_at(count: int, told: list[int]) -> None:
        def progress(done: int, total: int, what: str) -> None:
            told.append(done)
            if done == count:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(InterruptedRunError) as caught:
            geosoil.map(
                [site / "soc.gsm", site / "pb.gsm"],
                site / "scene.tif",
                tmp_path,
                tile_size=128,
                num_workers=1,
                resume=True,
                scheduler=None if count < 5 else cluster.scheduler_address,
                progress=progress,
            )
        assert caught.value.exit_code == 143

    stop_at(3, told)
    there: list[int] = []
    stop_at(7, there)
    assert there[0] >= 3
    assert there[-1] < TILES
    geosoil.map([site / "soc.gsm", site / "pb.gsm"], site / "scene.tif", tmp_path, resume=True)
    assert files(tmp_path) == files(site / "whole")


def test_a_scene_in_memory_is_sent_window_by_window(cluster: LocalCluster, site: Path, tmp_path: Path) -> None:
    scene = geosoil.open_scene(site / "scene.tif").compute().chunk({"y": 100, "x": 90})
    here = geosoil.map(site / "soc.gsm", scene, tmp_path / "here", tile_size=128)
    there = geosoil.map(site / "soc.gsm", scene, tmp_path / "there", tile_size=128, scheduler=cluster.scheduler_address)
    assert [path.name for path in here.maps] == [path.name for path in there.maps]
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_where_there_is_no_cluster_nothing_is_written(site: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="carrier-pigeon://roof") as caught:
        geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path / "maps", scheduler="carrier-pigeon://roof")
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER", 6)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def torn(site: Path, tmp_path: Path) -> Path:
    """The scene with its last compressed block overwritten."""
    with rasterio.open(site / "scene.tif") as file:
        values, transform = file.read(), file.transform
    path = write_raster(
        tmp_path / "scene.tif", values, names=BANDS, transform=transform, nodata=np.nan,
        tiled=True, blockxsize=128, blockysize=128, compress="deflate", interleave="pixel",
    )  # fmt: skip
    with rasterio.open(path) as file:
        offset, size = (int(file.get_tag_item(f"BLOCK_{what}_3_2", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * size)
    return path


def test_what_a_worker_cannot_read_is_told_as_it_is_here(
    cluster: LocalCluster, site: Path, torn: Path, tmp_path: Path
) -> None:
    messages = []
    for scheduler in (None, cluster.scheduler_address):
        with pytest.raises(InputError) as caught:
            geosoil.map(
                site / "soc.gsm", torn, tmp_path / "maps", tile_size=128, scheduler=scheduler, overwrite=True,
                num_workers=1,
            )  # fmt: skip
        messages.append((caught.value.code, caught.value.message))
    assert messages[0] == messages[1]
    assert messages[0][0] == "GS-RASTER-READ"
    with pytest.raises(PartialError) as partial:
        geosoil.map(
            site / "soc.gsm", torn, tmp_path / "maps", tile_size=128, scheduler=cluster.scheduler_address,
            overwrite=True, keep_going=True,
        )  # fmt: skip
    assert partial.value.exit_code == 7
    record = json.loads((tmp_path / "maps" / "run.json").read_text(encoding="utf-8"))
    # Two cells of halo: the blocks round the one that is lost.
    assert sorted(int(index) for index in record["tiles"]["failed"]) == [6, 7, 10, 11]


def test_a_cluster_that_ends_in_the_middle_leaves_a_run_that_goes_on(site: Path, tmp_path: Path) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as own:

        def progress(done: int, total: int, what: str) -> None:
            if done == 2 and what == "mapping":
                own.close()

        began = time.monotonic()
        with pytest.raises(ResourceError) as caught:
            geosoil.map(
                [site / "soc.gsm", site / "pb.gsm"],
                site / "scene.tif",
                tmp_path,
                tile_size=128,
                scheduler=own.scheduler_address,
                progress=progress,
            )
        assert time.monotonic() - began < 40
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER", 6)
    assert "--resume" in caught.value.hint
    assert files(tmp_path) == {}
    geosoil.map([site / "soc.gsm", site / "pb.gsm"], site / "scene.tif", tmp_path, resume=True)
    assert files(tmp_path) == files(site / "whole")
