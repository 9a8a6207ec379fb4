"""Comparisons: what is asked is run, on the data that are there, and what cannot be done is said before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

from geosoil.config import load_study
from geosoil.errors import InputError
from geosoil.jobs.compare import compare, variants_of
from geosoil.jobs.comparison import FILES

Edit = Callable[[str, str], None]


@pytest.fixture
def quick(farm: Path, edit: Edit) -> Path:
    """One small forest of one depth, one repeat of two random folds."""
    edit("folds = 3\nrepeats = 2", "folds = 2\nrepeats = 1")
    edit('models = ["rf", "mtcnn"]', 'models = ["rf"]\nschemes = ["random"]')
    edit('"0-5", "5-15", "15-30"', '"0-10"')
    edit("trees = 40", "trees = 10")
    return farm / "study.toml"


def write_zones(path: Path, bands: np.ndarray) -> None:
    profile = {
        "driver": "GTiff", "height": 60, "width": 80, "count": len(bands), "dtype": "float32", "crs": "EPSG:32755",
        "transform": from_origin(500_000, 6_700_000, 90, 90),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(bands.astype("float32"))


def rmse(frame: pd.DataFrame) -> float:
    return float(np.sqrt(((frame["observed"] - frame["predicted"]) ** 2).mean()))


def test_a_comparison_that_goes_on_sees_that_the_data_changed(quick: Path, farm: Path) -> None:
    before = compare(quick, farm / "out").predictions
    kept = compare(quick, farm / "out", resume=True).predictions
    pd.testing.assert_frame_equal(before, kept)
    table = pd.read_csv(farm / "horizons.csv")
    table["soc_g_per_kg"] *= 10
    table.to_csv(farm / "horizons.csv", index=False)
    after = compare(quick, farm / "out", resume=True).predictions
    assert rmse(after) == pytest.approx(10 * rmse(before), rel=0.05)


def test_zones_come_from_a_raster_of_whole_numbers(quick: Path, farm: Path, edit: Edit) -> None:
    columns = np.arange(80)[None, :].repeat(60, axis=0)
    write_zones(farm / "climate.tif", (columns // 40 + 1)[None])
    edit('zones = "zone"', 'zones = "climate.tif"')
    found = compare(quick, farm / "out").predictions
    west = found["x"] < 500_000 + 40 * 90
    assert set(found.loc[west, "zone"]) == {"1"}
    assert set(found.loc[~west, "zone"]) == {"2"}
    zones = pd.read_csv(farm / "out" / "zones.csv")
    assert zones["n"].sum() == len(found)


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        ("nowhere", "neither a column of the samples nor a raster"),
        ("stack.tif", "has 3 bands, and one is needed"),
        ("quantity.tif", "is not a whole number"),
        ("absent.tif", "absent.tif"),
    ],
)
def test_zones_that_are_none_are_refused_before_any_work(
    zones: str, words: str, quick: Path, farm: Path, edit: Edit
) -> None:
    write_zones(farm / "quantity.tif", np.full((1, 60, 80), 0.25))
    edit('zones = "zone"', f'zones = "{zones}"')
    with pytest.raises(InputError, match=words):
        compare(quick, farm / "out")
    assert not (farm / "out").exists()


def test_a_study_asks_for_the_models_and_ablations_of_the_paper(farm: Path, edit: Edit) -> None:
    edit('models = ["rf", "mtcnn"]', 'models = ["rf", "cnn", "mtcnn", "transfer"]\npatches = [1, 5]')
    edit("frozen = []\ncovariate_curve = false", "frozen = [0, 2]\ncovariate_curve = true")
    study = load_study(farm / "study.toml", model__kind="transfer")
    variants = variants_of(study, bands=12)
    labels = [one.label for one in variants if one.study == "models"]
    assert labels == ["RF", "CNN", "MT-CNN", "Depth transfer"]
    assert [one.recipe.model.frozen for one in variants if one.study == "frozen"] == [0, 2]
    assert [one.recipe.model.patch for one in variants if one.study == "patch"] == [1, 3, 5]
    curve = [one for one in variants if one.study == "covariates"]
    assert [one.recipe.covariates.most for one in curve] == [1, 2, 3, 5, 8, 11, 12]
    assert {one.recipe.model.kind for one in curve} == {"rf"}


def test_a_forest_has_no_patch_to_vary(farm: Path, edit: Edit) -> None:
    edit("frozen = []", "frozen = []\npatches = [1, 3]")
    assert not [one for one in variants_of(load_study(farm / "study.toml"), 3) if one.study == "patch"]


def test_the_curve_of_covariates_falls_where_the_one_that_matters_comes_in(quick: Path, farm: Path, edit: Edit) -> None:
    edit("covariate_curve = false", "covariate_curve = true")
    found = compare(quick, farm / "out").predictions
    curve = found[found["study"] == "covariates"]
    errors = {level: rmse(curve[curve["level"] == level]) for level in (1, 2, 3)}
    # The ranking puts `wet` first: one covariate is as good as all.
    assert errors[1] < 1.3 * errors[3]
    assert "number of covariates" in (farm / "out" / "report.html").read_text(encoding="utf-8")
    # Those that are kept from replacing an input.
    assert {path.name for path in (farm / "out").iterdir()} <= {*FILES, "parts", "plots"}
