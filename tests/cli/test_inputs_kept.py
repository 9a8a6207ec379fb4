"""No command replaces a file that it reads, `--overwrite` or not; all are refused before any work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from geosoil.testing import make_scene, write_raster

from ..conftest import CRS  # noqa: TID252  (tests are no package that is installed)
from ..jobs.explaining import spectra_table, spectral_model  # noqa: TID252
from ..jobs.lent import make_lent  # noqa: TID252
from ..jobs.mapping import make_model, make_stack  # noqa: TID252
from ..jobs.spectra import make_site  # noqa: TID252
from .conftest import Command, Edit, Refused, contents

INPUT = {"exit": 4, "code": "GS-OUTPUT-INPUT"}

Make = Callable[[Path], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], Path]:
    """What a helper makes, once; not to be written to."""
    done: dict[Make, Path] = {}

    def get(make: Make) -> Path:
        if make not in done:
            done[make] = make(tmp_path_factory.mktemp(make.__name__))
        return done[make]

    return get


@pytest.fixture
def put(made: Callable[[Make], Path], farm: Path) -> Callable[[Make], Path]:
    """Bring what a helper makes into the farm, in the place of what is there."""

    def bring(make: Make) -> Path:
        for one in farm.iterdir():
            one.unlink()
        return Path(shutil.copytree(made(make), farm, dirs_exist_ok=True))

    return bring


def as_points(table: Path, target: Path) -> None:
    """A table written as a GeoPackage, with places."""
    frame = pd.read_csv(table)
    x, y = (frame[name] if name in frame else 500_000.0 + 100 * np.arange(len(frame)) for name in ("x", "y"))
    target.parent.mkdir(exist_ok=True)
    gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(x, y), crs=CRS).to_file(target, driver="GPKG")


def test_train_keeps_the_samples(farm: Path, edit: Edit, refused: Refused) -> None:
    as_points(farm / "horizons.csv", farm / "samples.gpkg")
    edit('"horizons.csv"', '"samples.gpkg"')
    told = refused("train", "study.toml", "-o", "soc.gsm", "--predictions", "samples.gpkg", "--overwrite", **INPUT)
    assert "choose another name" in told
    # No name is free that a link leads to.
    (farm / "other.gpkg").symlink_to(farm / "samples.gpkg")
    refused("train", "study.toml", "-o", "soc.gsm", "--predictions", "other.gpkg", "--overwrite", **INPUT)


def test_invert_keeps_the_samples(put: Callable[[Make], Path], edit: Edit, refused: Refused) -> None:
    farm = put(make_site)
    as_points(farm / "lab/samples.csv", farm / "samples.gpkg")
    edit('"lab/samples.csv"', '"samples.gpkg"')
    refused("invert", "study.toml", "-o", "soil.gsm", "--predictions", "samples.gpkg", "--overwrite", **INPUT)


def test_transfer_keeps_the_samples(put: Callable[[Make], Path], edit: Edit, refused: Refused) -> None:
    farm = put(make_lent)
    as_points(farm / "lab.csv", farm / "samples.gpkg")
    edit("[spectra]", '[samples]\npath = "samples.gpkg"\n[spectra]')
    refused("transfer", "study.toml", "-o", "soc.gsm", "--predictions", "samples.gpkg", "--overwrite", **INPUT)


@pytest.mark.parametrize("name", ["predictions.csv", "parts/horizons.parquet"])
def test_compare_keeps_the_samples(farm: Path, edit: Edit, refused: Refused, name: str) -> None:
    target = farm / "out" / name
    target.parent.mkdir(parents=True)
    frame = pd.read_csv(farm / "horizons.csv")
    if target.suffix == ".csv":
        frame.to_csv(target, index=False)
    else:
        frame.to_parquet(target)
    edit('"horizons.csv"', f'"out/{name}"')
    # The folder holds no comparison: nothing else would stop this one.
    refused("compare", "study.toml", "out", **INPUT)


def test_compare_keeps_laboratory_spectra(put: Callable[[Make], Path], edit: Edit, refused: Refused) -> None:
    farm = put(make_site)
    (farm / "out").mkdir()
    (farm / "lab/spectra.csv").rename(farm / "out/table.csv")
    edit('"lab/spectra.csv"', '"out/table.csv"')
    refused("compare", "study.toml", "out", **INPUT)


def test_compare_keeps_the_library(put: Callable[[Make], Path], edit: Edit, refused: Refused) -> None:
    farm = put(make_lent)
    (farm / "library/near.csv").rename(farm / "library/statistics.csv")
    refused("compare", "study.toml", "library", **INPUT)


def test_search_keeps_the_spectra(put: Callable[[Make], Path], edit: Edit, refused: Refused) -> None:
    farm = put(make_lent)
    (farm / "library/near.csv").rename(farm / "library/trials.csv")
    refused("search", "study.toml", "library", "--trials", 2, "--folds", 2, **INPUT)


def test_explain_keeps_the_spectra(farm: Path, refused: Refused) -> None:
    (farm / "why").mkdir()
    spectra_table(24).to_csv(farm / "why/attributions.csv", index=False)
    spectral_model("plsr").save(farm / "clay.gsm")
    refused("explain", "clay.gsm", "why/attributions.csv", "why", "--overwrite", **INPUT)
    refused("explain", "clay.gsm", "why/", "why", "--overwrite", **INPUT)


def test_predict_keeps_every_table_of_a_folder(farm: Path, refused: Refused) -> None:
    (farm / "many").mkdir()
    spectra_table(24).to_csv(farm / "many/a.csv", index=False)
    spectral_model("plsr").save(farm / "clay.gsm")
    refused("predict", "clay.gsm", "many/*.csv", "many/a.csv", "--overwrite", **INPUT)
    refused("predict", "clay.gsm", "many", "many/a.csv", "--overwrite", **INPUT)


def test_terrain_keeps_the_heights(farm: Path, refused: Refused) -> None:
    (farm / "terrain").mkdir()
    heights = 300 + np.cumsum(np.random.default_rng(0).random((1, 20, 30), np.float32), axis=2)
    write_raster(farm / "terrain/slope.tif", heights)
    refused("terrain", "terrain/slope.tif", "terrain", "--overwrite", **INPUT)
    (farm / "dem.vrt").write_text(
        "<VRTDataset rasterXSize='30' rasterYSize='20'><SRS>EPSG:32755</SRS>"
        "<GeoTransform>500000,30,0,6700000,0,-30</GeoTransform><VRTRasterBand dataType='Float32' band='1'>"
        "<SimpleSource><SourceFilename relativeToVRT='1'>terrain/slope.tif</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand></VRTDataset>",
        encoding="utf-8",
    )
    refused("terrain", "dem.vrt", "terrain", "--overwrite", **INPUT)


def test_map_keeps_samples_that_lie_where_the_maps_come_to(farm: Path, refused: Refused) -> None:
    make_model(farm / "soc.gsm", kind="rf")
    make_stack(farm / "cube.tif", (30, 40), missing=0.0)
    as_points(farm / "horizons.csv", farm / "samples.gpkg")
    # The folder holds no maps: nothing else would stop this one.
    refused("map", "soc.gsm", "cube.tif", ".", "--samples", "samples.gpkg", "-j", 1, **INPUT)


def test_map_keeps_its_scene(farm: Path, refused: Refused) -> None:
    make_model(farm / "soc.gsm", kind="rf")
    (farm / "maps").mkdir()
    make_stack(farm / "maps/soc_0-5cm_mean.tif", (30, 40), missing=0.0)
    refused("map", "soc.gsm", "maps/soc_0-5cm_mean.tif", "maps", "--overwrite", "-j", 1, **INPUT)
    refused("map", "soc.gsm", "maps/", "maps", "--overwrite", "-j", 1, **INPUT)


def test_map_keeps_a_store(farm: Path, refused: Refused) -> None:
    make_model(farm / "soc.gsm", kind="rf")
    scene = make_scene(shape=(30, 40)).reset_coords(drop=True).assign_attrs({})
    scene.rename("v").to_dataset().to_zarr(farm / "cube.zarr")
    refused("map", "soc.gsm", "cube.zarr", "cube.zarr", "-j", 1, **INPUT)


def test_a_picture_is_not_drawn_over_its_image(farm: Path, refused: Refused) -> None:
    scene = make_scene(shape=(12, 16)).compute()
    write_raster(farm / "cube.png", np.asarray(scene.values), names=["a", "b", "c"], driver="ENVI")
    assert (farm / "cube.hdr").exists()
    refused("info", "cube.png", "--quicklook", "cube.png", "--overwrite", **INPUT)


def test_the_demo_keeps_its_data(farm: Path, edit: Edit, refused: Refused) -> None:
    as_points(farm / "horizons.csv", farm / "predictions.gpkg")
    edit('"horizons.csv"', '"predictions.gpkg"')
    refused("demo", ".", "--data", ".", "--overwrite", "-q", **INPUT)


def test_a_log_is_added_to_no_table(farm: Path, edit: Edit, typed: Command) -> None:
    (farm / "horizons.csv").rename(farm / "horizons.txt")
    edit('"horizons.csv"', '"horizons.txt"')
    before = contents(farm)
    ran = typed("train", "study.toml", "-o", "soc.gsm", "--log-file", "horizons.txt")
    assert (ran.code, ran.out) == (2, "")
    assert "horizons.txt is there and is no log" in ran.err
    assert contents(farm) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("new.tif", "new.tif would be no name for a log; end it in .log or .txt"),
        ("absent/run.log", "absent is not there; name a folder that is, or make it first"),
        ("horizons.csv/run.log", "horizons.csv is no folder; name a folder that is, or make it first"),
        (".", ". is a folder; name a file in it: run.log"),
    ],
)
@pytest.mark.parametrize("command", [("train", "study.toml", "-o", "soc.gsm"), ("map", "soc.gsm", "scene.tif", "maps")])
def test_where_no_log_can_go_says_what_to_do(
    farm: Path, typed: Command, command: tuple[str, ...], name: str, told: str
) -> None:
    before = contents(farm)
    ran = typed(*command, "--log-file", name)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"Error: Invalid value for --log-file: {told}"
    assert contents(farm) == before


def test_a_log_goes_on(farm: Path, typed: Command) -> None:
    for _ in range(2):
        assert typed("train", "absent.toml", "-o", "soc.gsm", "--log-file", "run.log", "-q").code == 3
    first = "2026-01-31 08:15:00,123 INFO geosoil.jobs.train begun\n"
    (farm / "run.log").write_text(first, encoding="utf-8")
    assert typed("train", "absent.toml", "-o", "soc.gsm", "--log-file", "run.log", "-q").code == 3
    assert (farm / "run.log").read_text(encoding="utf-8").startswith(first)
