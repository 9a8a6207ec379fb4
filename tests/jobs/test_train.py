"""Training end to end, on files and on objects, with the truth known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

import geosoil
from geosoil.config import load_study
from geosoil.errors import GeosoilError, InputError, OutputError, UsageError
from geosoil.jobs.dataset import build
from geosoil.jobs.fit import cross_validate, fit, folds_of, recipe_of
from geosoil.jobs.train import summary, train
from geosoil.soil import Depth
from geosoil.testing import make_samples, make_scene

Edit = Callable[[str, str], None]


@pytest.mark.parametrize("kind", ["rf", "transfer"])
def test_a_known_truth_is_found(kind: str, farm: Path) -> None:
    study = load_study(
        farm / "study.toml", model__kind=kind, model__trees=15, model__epochs=150, model__learning_rate=3e-3
    )
    bundle = train(study, farm / "soc.gsm")
    scores = {row["depth"]: row for row in bundle.card.properties[0].scores}
    assert scores["all"]["R2"] > 0.7
    assert scores["all"]["split"] == "random 3-fold cross-validation by profile"
    assert "wet" in bundle.bands
    assert bundle.card.counts["profiles"] == 60
    assert geosoil.load_model(farm / "soc.gsm").sha256 == bundle.sha256
    assert "RMSE [g/kg]" in summary(bundle)


def test_the_same_seed_gives_the_same_model_for_any_number_of_processes(farm: Path) -> None:
    study = load_study(farm / "study.toml", model__kind="mtcnn", model__epochs=3)
    one, two = (train(study, num_workers=count) for count in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.residuals, two.residuals, strict=True))
    tile = np.random.default_rng(0).random((len(one.bands), 8, 8), np.float32)
    assert np.array_equal(one.predict_block(tile, unseen="missing"), two.predict_block(tile, unseen="missing"), True)


def test_objects_that_the_user_has_serve_as_well_as_files(farm: Path) -> None:
    study = load_study(farm / "study.toml", model__trees=5)
    table = pd.read_csv(farm / "horizons.csv")
    points = gpd.GeoDataFrame(
        table.drop(columns=["x", "y"]), geometry=gpd.points_from_xy(table.x, table.y), crs="EPSG:32755"
    )
    scene = geosoil.open_scene(farm / "stack.tif", classes=["rock"])
    from_objects = train(study, samples=points.to_crs("EPSG:4326"), scene=scene)
    from_files = train(study)
    assert np.allclose(from_objects.residuals[0], from_files.residuals[0])


def test_a_study_made_in_python_needs_no_paths_beside_objects() -> None:
    scene = make_scene(shape=(24, 24))
    study = geosoil.Study(
        property="pb",
        samples={"invalid": "drop"},
        depths={"intervals": ["0-5", "5-15"]},
        model={"kind": "rf", "trees": 5},
        validation={"folds": 3},
    )
    samples = make_samples(scene, 40, property="pb")
    bundle = geosoil.train(study, samples=samples, scene=scene)
    assert bundle.soil_properties[0].code == "pb"
    with pytest.raises(UsageError, match=r"samples\.path is missing") as caught:
        geosoil.train(study, scene=scene)
    assert caught.value.code == "GS-STUDY"
    with pytest.raises(UsageError, match=r"scene\.path is missing"):
        geosoil.train(study, samples=samples)


def test_folds_are_by_profile_and_held_out_predictions_come_from_other_profiles(farm: Path) -> None:
    study = load_study(farm / "study.toml", model__trees=5)
    data = build(study)
    recipe = recipe_of(study)
    folds = folds_of(data, "random", 3, seed=0)
    before = cross_validate(data, recipe, folds, seed=0)
    # What a fold holds does not enter its own predictions: spoil it, and they stay.
    spoiled = folds[data.layers.profile] == 0
    data.layers.value[spoiled] *= 50
    again = fit(data, np.flatnonzero(folds != 0), recipe, seed=0)
    rows = np.flatnonzero(folds == 0)
    np.testing.assert_array_equal(
        again.scaled(data.raw[rows], data.bands), before.fits[0].scaled(data.raw[rows], data.bands)
    )


def test_the_frame_pairs_each_layer_with_its_prediction(farm: Path) -> None:
    study = load_study(farm / "study.toml", model__trees=5)
    data = build(study)
    checked = cross_validate(data, recipe_of(study), folds_of(data, "spatial", 3, seed=0), seed=0)
    frame = checked.frame(data)
    assert len(frame) == len(data.layers)
    assert frame["predicted"].notna().all()
    assert (frame.groupby("profile")["fold"].nunique() == 1).all()


def test_raw_layers_with_depth_as_an_input(farm: Path, edit: Edit) -> None:
    edit('["0-5", "5-15", "15-30"]', '["0-10", "10-30"]\nmethod = "raw"')
    bundle = train(load_study(farm / "study.toml", model__trees=5))
    assert bundle.card.properties[0].depths == ((0, 10), (10, 30))
    tile = np.stack([np.full((4, 4), 0.5), np.ones((4, 4)), np.zeros((4, 4))]).astype(np.float32)
    places = [("wet", "rock", "noise").index(name) for name in bundle.bands]
    found = bundle.predict_block(np.ascontiguousarray(tile[places]))
    assert (found[0] > found[1]).all()


def test_profiles_outside_and_on_gaps_are_counted(farm: Path) -> None:
    table = pd.read_csv(farm / "horizons.csv")
    table.loc[table.profile_id == "p00", "x"] = 0.0
    table.loc[table.profile_id == "p01", ["x", "y"]] = [500_000 + 6.5 * 90, 6_700_000 - 6.5 * 90]
    table.to_csv(farm / "horizons.csv", index=False)
    data = build(load_study(farm / "study.toml"))
    assert data.report["outside"] == ["p00"]
    assert data.report["no_data"] == ["p01"]
    assert len(data) == 58


def test_a_depth_that_nobody_sampled_is_left_out_and_said(
    farm: Path, edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    edit('"15-30"]', '"15-30", "100-200"]')
    data = build(load_study(farm / "study.toml"))
    assert data.depths == (Depth(0, 5), Depth(5, 15), Depth(15, 30))
    assert "100-200 cm" in caplog.text


def test_all_profiles_outside_shows_both_extents(farm: Path, edit: Edit) -> None:
    edit('crs = "EPSG:32755"', 'crs = "EPSG:32633"')
    with pytest.raises(InputError, match="all 60 profiles lie outside") as caught:
        build(load_study(farm / "study.toml"))
    assert caught.value.code == "GS-SAMPLES-OUTSIDE"
    assert "500000" in caught.value.details[0].replace(",", "")


def test_too_few_profiles_say_where_the_others_went(farm: Path) -> None:
    table = pd.read_csv(farm / "horizons.csv")
    table[table.profile_id < "p02"].to_csv(farm / "horizons.csv", index=False)
    with pytest.raises(InputError, match="2 profiles") as caught:
        build(load_study(farm / "study.toml"))
    assert caught.value.code == "GS-SAMPLES-FEW"


def test_an_existing_model_is_kept_before_any_work(farm: Path) -> None:
    (farm / "soc.gsm").write_text("mine")
    with pytest.raises(OutputError):
        train(farm / "study.toml", farm / "soc.gsm")
    assert (farm / "soc.gsm").read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("patch = 3", "patch = 4", UsageError, "model.patch"),
        ("trees = 40", "treees = 40", UsageError, "did you mean 'trees'"),
        ('property = "soc"', 'property = "gold"', UsageError, "gold"),
        ('kind = "rf"', 'kind = "svm"', UsageError, "model.kind"),
        ('path = "stack.tif"', 'path = "stack2.tif"', InputError, "stack2.tif"),
        ('path = "horizons.csv"', 'path = "nothing.csv"', InputError, "nothing.csv"),
        ('rock = "onehot"', 'stone = "onehot"', InputError, "stone"),
        ('"5-15", "15-30"', '"3-15", "15-30"', UsageError, "overlap"),
        ("folds = 3\n[compare]", "folds = 3\nscheme = 'spatial'\nblock_m = 1e6\n[compare]", InputError, "block"),
    ],
)
def test_a_wrong_study_is_one_clear_error(
    old: str, new: str, error: type[GeosoilError], words: str, farm: Path, edit: Edit
) -> None:
    edit(old, new)
    with pytest.raises(error) as caught:
        train(farm / "study.toml")
    assert words in caught.value.render()
