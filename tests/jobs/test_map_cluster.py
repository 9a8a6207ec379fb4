"""On a cluster of processes, each at its own address, the maps are the same bytes, whoever comes, goes or dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from distributed import Client

import geosoil
from geosoil.errors import InputError, InterruptedRunError, PartialError, ResourceError, UsageError
from geosoil.grid.sweep import sweep_cluster
from geosoil.grid.tiles import plan_tiles
from geosoil.jobs.task import Task, remote_work
from geosoil.stops import Stop
from geosoil.testing import write_raster
from geosoil.testing.cluster import Machines, machines

from .mapping import BANDS, make_model, make_stack

SHAPE, TILES = (300, 400), 12
#: Imported once for all processes.
NEEDED = ("geosoil.jobs.task", "geosoil.models.cnn", "geosoil.models.forest")


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    # A user can wait, the tests need not.
    monkeypatch.setattr("geosoil.grid.sweep._LOOK_S", 0.2)


def files(folder: Path) -> dict[str, bytes]:
    """All maps of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of twelve tiles, two models, and the maps of both and of one from this process."""
    folder = tmp_path_factory.mktemp("site")
    make_stack(folder / "scene.tif", SHAPE)
    make_model(folder / "soc.gsm", patch=5)
    make_model(folder / "pb.gsm", code="pb", kind="rf", bands=("ndvi", "twi"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        geosoil.map([folder / "soc.gsm", folder / "pb.gsm"], folder / "scene.tif", folder / "both", tile_size=256)
        geosoil.map(folder / "soc.gsm", folder / "scene.tif", folder / "whole", tile_size=256)
    return folder


@pytest.fixture(scope="module")
def _all() -> Iterator[Machines]:
    with machines(2, preload=NEEDED) as made:
        yield made


@pytest.fixture
def cluster(_all: Machines) -> Machines:
    """At least two workers, whatever happened to others."""
    hire(_all, max(2, len(_all.living)))
    return _all


def hire(cluster: Machines, count: int) -> None:
    """Start or kill workers until there are so many."""
    for worker in cluster.living[count:]:
        worker.kill()
    cluster.add(count - len(cluster.living))


def tiles_made(cluster: Machines) -> dict[str, int]:
    """How many pieces of work each worker has done."""
    with Client(cluster.address, set_as_default=False) as client:
        return dict(client.run(lambda dask_worker: dask_worker.state.executed_count))


def map_soc(site: Path, out: Path, **options: Any) -> None:
    """One model on the scene, in tiles of 128 cells."""
    geosoil.map(site / "soc.gsm", site / "scene.tif", out, tile_size=128, **options)


def test_two_machines_make_the_maps_that_one_makes(
    cluster: Machines, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hire(cluster, 2)
    # The workers have another working folder: all that is sent to them has to say where it is.
    monkeypatch.chdir(site)
    (tmp_path / "Böden 1").mkdir()
    out = Path(os.path.relpath(tmp_path / "Böden 1", site))
    made = geosoil.map(["soc.gsm", "pb.gsm"], "scene.tif", out, tile_size=128, scheduler=cluster.address)
    assert files(out) == files(site / "both")
    assert len(made.maps) == 4
    assert made.record["tiles"] == {"made": TILES, "failed": {}}
    (part,) = made.record["parts"]
    assert (part["tiles"], part["workers"]) == (TILES, 2)
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert len({machine.host for machine in (cluster.scheduler, *cluster.living)}) == 3
    assert sorted(tiles_made(cluster)) == sorted(worker.address for worker in cluster.living)
    assert all(tiles_made(cluster).values())


def test_a_worker_of_another_version_makes_no_tile(
    cluster: Machines, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geosoil, "__version__", "0.0.1")
    with pytest.raises(ResourceError, match="another version of geosoil") as caught:
        map_soc(site, tmp_path / "maps", scheduler=cluster.address)
    assert caught.value.code == "GS-SCHEDULER"
    assert "here: 0.0.1" in caught.value.details
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_does_not_see_the_folder_says_which(cluster: Machines, site: Path, tmp_path: Path) -> None:
    model = geosoil.load_model(site / "pb.gsm")
    stack = geosoil.open_scene(site / "scene.tif").sel(band=list(model.bands))
    task = Task((model,), ((0, 1),), 0, ("mean",), "error")
    (tmp_path / "here").mkdir()
    submit = remote_work(task, stack, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    with pytest.raises(ResourceError, match="does not see the output folder") as caught:
        sweep_cluster(submit, lambda tile, made: None, plan_tiles(*SHAPE, 128), address=cluster.address, stop=Stop())
    assert f"folder: {tmp_path / 'here'}" in caught.value.details


def test_a_run_begun_here_goes_on_there_and_back(cluster: Machines, site: Path, tmp_path: Path) -> None:
    told: list[int] = []

    def stop_at(count: int, told: list[int]) -> None:
        def progress(done: int, total: int, what: str) -> None:
            told.append(done)
            if done == count:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(InterruptedRunError) as caught:
            geosoil.map(
                site / "soc.gsm",
                site / "scene.tif",
                tmp_path,
                tile_size=128,
                num_workers=1,
                resume=True,
                scheduler=None if count < 5 else cluster.address,
                progress=progress,
            )
        assert caught.value.exit_code == 143

    stop_at(3, told)
    there: list[int] = []
    stop_at(7, there)
    assert there[0] >= 3
    assert there[-1] < TILES
    geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, resume=True)
    assert files(tmp_path) == files(site / "whole")


def test_a_scene_in_memory_is_sent_window_by_window(cluster: Machines, site: Path, tmp_path: Path) -> None:
    scene = geosoil.open_scene(site / "scene.tif").compute().chunk({"y": 100, "x": 90})
    made = geosoil.map(site / "soc.gsm", scene, tmp_path, tile_size=128, scheduler=cluster.address)
    assert len(made.maps) == 2
    for path in made.maps:
        with rasterio.open(path) as there, rasterio.open(site / "whole" / path.name) as here:
            assert there.read(1).tobytes() == here.read(1).tobytes()


def test_where_there_is_no_cluster_nothing_is_written(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geosoil.grid.sweep.CONNECT_S", 1.0)
    with pytest.raises(ResourceError, match=r"tcp://127\.0\.0\.1:9") as caught:
        map_soc(site, tmp_path / "maps", scheduler="tcp://127.0.0.1:9")
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER", 6)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_address_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="carrier-pigeon://roof") as caught:
        geosoil.map("absent.gsm", "absent.tif", tmp_path / "maps", scheduler="carrier-pigeon://roof")
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER-ADDRESS", 2)


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
    cluster: Machines, site: Path, torn: Path, tmp_path: Path
) -> None:
    messages = []
    for scheduler in (None, cluster.address):
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
            site / "soc.gsm", torn, tmp_path / "maps", tile_size=128, scheduler=cluster.address,
            overwrite=True, keep_going=True,
        )  # fmt: skip
    assert partial.value.exit_code == 7
    record = json.loads((tmp_path / "maps" / "run.json").read_text(encoding="utf-8"))
    # Two cells of halo: the blocks round the one that is lost.
    assert sorted(int(index) for index in record["tiles"]["failed"]) == [6, 7, 10, 11]


def test_machines_that_join_get_tiles_and_one_that_is_killed_costs_its_tiles_only(
    cluster: Machines, site: Path, tmp_path: Path
) -> None:
    hire(cluster, 2)
    joined: list[str] = []
    kept: dict[Path, tuple[int, int]] = {}
    later: dict[Path, tuple[int, int]] = {}

    def seen() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.glob(".geosoil-*/*.f32")}

    def progress(done: int, total: int, what: str) -> None:
        if done == 1 and what == "mapping":
            joined.extend(worker.address for worker in cluster.add(2))
            time.sleep(0.2)  # after which a run sees them
        if done == 3 and what == "mapping":
            ledger = next(tmp_path.glob(".geosoil-*/ledger.jsonl")).read_text(encoding="utf-8").splitlines()[1:]
            noted = {f"{json.loads(line)['tile']:07d}.f32" for line in ledger}
            kept.update({path: facts for path, facts in seen().items() if path.name in noted})
            time.sleep(0.2)  # after which the scheduler knows that their results are at hand
            cluster.living[0].kill()
        if done == 0 and what == "writing maps":
            later.update(seen())

    map_soc(site, tmp_path, scheduler=cluster.address, progress=progress)
    assert len(cluster.living) == 3
    assert len(kept) == 3
    assert {path: later[path] for path in kept} == kept
    assert files(tmp_path) == files(site / "whole")
    made = tiles_made(cluster)
    assert len(made) == 3
    assert all(made[address] for address in joined)


def test_when_all_workers_are_killed_the_run_waits_and_then_says_so(
    cluster: Machines, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hire(cluster, 2)
    monkeypatch.setattr("geosoil.grid.sweep._NO_WORKER_S", 1.0)

    def progress(done: int, total: int, what: str) -> None:
        if done == 2 and what == "mapping":
            hire(cluster, 0)

    with pytest.raises(ResourceError, match="has no worker") as caught:
        map_soc(site, tmp_path, scheduler=cluster.address, progress=progress)
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER", 6)
    assert "--resume" in caught.value.hint
    assert len(next(tmp_path.glob(".geosoil-*/ledger.jsonl")).read_text(encoding="utf-8").splitlines()) >= 3


def test_a_tile_that_kills_its_workers_does_not_go_round_for_ever(cluster: Machines) -> None:
    hire(cluster, 4)
    with pytest.raises(ResourceError, match="died of a tile") as caught:
        sweep_cluster(
            lambda client, item: client.submit(os._exit, item, pure=False),
            lambda item, found: None,
            [1],
            address=cluster.address,
            stop=Stop(),
        )
    assert caught.value.code == "GS-SCHEDULER"
    assert "--tile-size" in caught.value.hint


def test_when_the_scheduler_is_killed_one_machine_ends_the_run_with_the_same_bytes(
    site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with machines(1, preload=NEEDED) as own:

        def progress(done: int, total: int, what: str) -> None:
            if done == 2 and what == "mapping":
                own.scheduler.kill()

        began = time.monotonic()
        with pytest.raises(ResourceError) as caught:
            map_soc(site, tmp_path, scheduler=own.address, progress=progress)
        assert time.monotonic() - began < 40
    assert "Traceback" not in capfd.readouterr().err
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER", 6)
    assert "--resume" in caught.value.hint
    assert files(tmp_path) == {}
    done: list[int] = []
    map_soc(site, tmp_path, resume=True, progress=lambda count, total, what: done.append(count))
    assert done[0] >= 2
    assert files(tmp_path) == files(site / "whole")
