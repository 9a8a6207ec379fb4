"""`--device`: the same maps from networks on a device; told in the record, never mixed, refused without one."""

from __future__ import annotations

import logging
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

import geosoil
from geosoil.errors import OutputError, ResourceError, UsageError
from geosoil.grid.tiles import plan_tiles
from geosoil.jobs.devices import DeviceName, find, place
from geosoil.jobs.map import _plan
from geosoil.jobs.maprun import MapRun
from geosoil.jobs.matching import prepare
from geosoil.jobs.provenance import gather_facts
from geosoil.jobs.task import Device, windows_of
from geosoil.models.bundle import Bundle
from geosoil.models.cnn import PatchPredictor, Standard
from geosoil.models.device import HALF_ERROR, OnDevice, half_error, on_device

from .mapping import make_model, make_stack

DEVICES = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
SHAPE = (100, 130)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with gaps, and a model of networks."""
    folder = tmp_path_factory.mktemp("site")
    make_stack(folder / "scene.tif", SHAPE)
    make_model(folder / "soc.gsm", patch=5)
    return folder


def block_of(site: Path, edge: int = 28) -> NDArray[np.float32]:
    """A corner of the scene with all bands."""
    with rasterio.open(site / "scene.tif") as file:
        block: NDArray[np.float32] = file.read()[:, :edge, :edge]
    return block


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_tiles_are_those_of_the_ordinary_path(site: Path, device: torch.device) -> None:
    task, stack = prepare([site / "soc.gsm", make_model(code="pb", kind="rf")], site / "scene.tif", ("mean", "Q0.9"))
    moved = place(task, stack, (device, "some device"))
    assert isinstance(moved.models[0].predictor, OnDevice)
    assert moved.models[1] is task.models[1], "a forest stays where it is"
    tolerance = HALF_ERROR if moved.device.precision[0] == "half" else 1e-5
    for tile in plan_tiles(*SHAPE, 128):
        raw = windows_of(stack, task.halo)(tile).read()
        np.testing.assert_allclose(moved.predict(raw, tile), task.predict(raw, tile), rtol=3 * tolerance)
    assert moved.device.kind == device.type
    assert moved.device.name == "some device"
    assert moved.device.precision[1] == "cpu"
    told = gather_facts(moved, stack, 128, float("nan"), {})["device"]
    assert told == {"kind": device.type, "name": "some device", "precision": list(moved.device.precision)}


def test_single_precision_is_the_ordinary_path_to_five_digits(site: Path) -> None:
    model = geosoil.load_model(site / "soc.gsm")
    _, moved = in_both(model)
    block = block_of(site)
    np.testing.assert_allclose(moved.predict_block(block), model.predict_block(block), rtol=1e-5)
    assert moved.sha256 == model.sha256


def in_both(model: Bundle) -> tuple[Bundle, Bundle]:
    """The model in half and in single precision."""
    plain, cpu = model.predictor, torch.device("cpu")
    assert isinstance(plain, PatchPredictor)
    half, single = (replace(model, predictor=OnDevice.of(plain, cpu, half=one)) for one in (True, False))
    return half, single


@pytest.mark.parametrize(("shrunk", "expected"), [(0.05, "half"), (1.0, "single")])
def test_half_precision_is_taken_where_its_error_allows_it(site: Path, shrunk: float, expected: str) -> None:
    model = geosoil.load_model(site / "soc.gsm")
    assert isinstance(model.predictor, PatchPredictor)
    standard = Standard.bare(np.zeros(2), shrunk * model.predictor.standard.spread)
    model = replace(model, predictor=replace(model.predictor, standard=standard))
    block = block_of(site)
    assert (half_error(*in_both(model), block) < HALF_ERROR) == (expected == "half")
    moved, how = on_device(model, torch.device("cpu"), block)
    assert how == expected
    np.testing.assert_allclose(moved.predict_block(block), model.predict_block(block), rtol=2 * HALF_ERROR)


def test_half_precision_is_left_where_its_numbers_end_or_nothing_is_known(site: Path) -> None:
    model = geosoil.load_model(site / "soc.gsm")
    block = block_of(site)
    for raw in (np.float32(1e9) * block, np.full(block.shape, np.nan, np.float32)):
        assert half_error(*in_both(model), raw) == float("inf")
        assert on_device(model, torch.device("cpu"), raw)[1] == "single"


def test_forests_stay_on_the_cpu_and_that_is_said(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    task, stack = prepare(make_model(code="pb", kind="rf"), site / "scene.tif", ("mean",))
    with caplog.at_level(logging.WARNING, logger="geosoil"):
        assert place(task, stack, (torch.device("cpu"), "some device")) is task
    assert "model 'pb' has no patch networks and is computed on the CPU" in caplog.text


def test_a_device_that_is_not_there_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        assert find("cuda") is not None
        return
    model, scene = tmp_path / "no-model.gsm", tmp_path / "no-scene.tif"
    for job in (
        lambda: geosoil.plan(model, scene, device="cuda"),
        lambda: geosoil.map(model, scene, tmp_path / "maps", device="cuda"),
    ):
        with pytest.raises(ResourceError, match="'cuda' was asked for, and none is here") as caught:
            job()
        assert (caught.value.code, caught.value.exit_code) == ("GS-DEVICE", 6)
        assert "cpu" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_and_a_device_of_this_machine_exclude_each_other() -> None:
    with pytest.raises(UsageError) as caught:
        find("cuda", "tcp://127.0.0.1:1")
    assert (caught.value.code, caught.value.exit_code) == ("GS-DEVICE-SCHEDULER", 2)
    assert find("auto", "tcp://127.0.0.1:1") is None
    assert find("cpu") is None


def test_a_run_is_not_gone_on_with_on_another_device(site: Path, tmp_path: Path) -> None:
    task, stack = prepare(site / "soc.gsm", site / "scene.tif", ("mean",))
    there = replace(task, device=Device("cuda", "some GPU", ("half",)))
    begun = MapRun(tmp_path, _plan(there, stack, 128, "4GB", 1), there, stack, float("nan"), {})
    begun.begin(resume=False, overwrite=False)
    with pytest.raises(OutputError) as caught:
        geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, resume=True, num_workers=1)
    assert caught.value.code == "GS-RESUME-KEY"
    (line,) = caught.value.details
    assert line.startswith("device: ")
    assert "some GPU" in line


if torch.cuda.is_available():  # nothing to run elsewhere

    def test_the_maps_of_a_gpu_are_those_of_the_cpu(site: Path, tmp_path: Path) -> None:
        for kind in typing.get_args(DeviceName)[1:]:
            made = geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path / kind, device=kind, tile_size=128)
            assert made.record["device"]["kind"] == kind
        for path in (tmp_path / "cpu").glob("*.tif"):
            with rasterio.open(path) as one, rasterio.open(tmp_path / "cuda" / path.name) as other:
                np.testing.assert_allclose(other.read(1), one.read(1), rtol=3 * HALF_ERROR)
