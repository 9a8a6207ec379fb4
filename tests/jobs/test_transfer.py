"""Models of few samples and a library: what helps and what does no harm, nothing that leaks, files, maps, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import geosoil
from geosoil.bands import Bands
from geosoil.config import Study
from geosoil.errors import InputError, UsageError
from geosoil.io.spectra import open_spectra
from geosoil.jobs.compare_spectra import partition
from geosoil.jobs.info import describe, info
from geosoil.jobs.inversion import SpectralRecipe, TrainingFits, cross_validate_spectra, folds_of_pairs
from geosoil.jobs.invert import summary, train_spectra
from geosoil.jobs.lending import Lent, lend, teaches_same
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.predict import predict_spectra
from geosoil.jobs.transfer import build_transfer, recipe_of_transfer, transfer
from geosoil.models.bundle import load_model
from geosoil.models.fusion import FusionSettings

from .lent import LOCAL, lent_study, make_lent

Array = NDArray[Any]
#: Every way, with a regression.
WAYS = [
    ("local", "plsr"), ("local", "svr"), ("local", "rf"), ("local", "dnn"), ("library", "plsr"), ("spiked", None),
    ("instances", "plsr"), ("neighbours", None), ("tuned", "resnet"), ("tuned", "cnn"), ("instances-tuned", "resnet"),
    ("instances-tuned", "cnn"), ("mixture", None),
]  # fmt: skip
#: Those whose fits take a moment.
LIGHT = [("local", "plsr"), ("library", "plsr"), ("spiked", None), ("instances", "plsr"), ("neighbours", None)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Farm and library; not to be written to."""
    return make_lent(tmp_path_factory.mktemp("lent"))


@pytest.fixture(scope="module")
def study(site: Path) -> Study:
    return lent_study(site)


@pytest.fixture(scope="module")
def data(study: Study) -> PairSet:
    """The farm's samples with the library."""
    return build_transfer(study)


@pytest.fixture(scope="module")
def nets(study: Study, data: PairSet) -> Lent:
    """The library's networks, of all ways that take one over."""
    return lend(data, [quick(study, data, *one) for one in WAYS], study.seed)


def errors_of(study: Study, data: PairSet, *ways: tuple[str, str | None], few: int = 24) -> dict[str, float]:
    """RMSE of each way on samples that Kennard and Stone do not choose."""
    study = study.model_copy(update={"compare": study.compare.model_copy(update={"local": few})})
    folds = partition(study, data, "kennard-stone", 0)
    recipes = [recipe_of_transfer(study, data, *one) for one in ways]
    checked = cross_validate_spectra(data, recipes, folds, 0, lent=lend(data, recipes, 0))
    out = folds >= 0
    return {
        kind: float(np.sqrt(np.mean((one.predicted[out, 0] - data.values[out, 0]) ** 2)))
        for (kind, _), one in zip(ways, checked, strict=True)
    }


def quick(study: Study, data: PairSet, kind: str, head: str | None) -> SpectralRecipe:
    """A recipe that is fitted in a moment."""
    recipe = recipe_of_transfer(study, data, kind, head)
    found = replace(recipe.head, trees=5, budget=2)
    assert recipe.transfer is not None
    return replace(recipe, head=found, transfer=replace(recipe.transfer, head=found))


def fitted_state(data: PairSet, recipe: SpectralRecipe, rows: Array, lent: Lent) -> tuple[Any, dict[str, Array]]:
    """All that a fit on some samples leaves."""
    found = TrainingFits(data, rows, 0, lent=lent).fit(recipe)
    meta, arrays = found.predictor.state()
    return (meta, found.transforms), arrays


def assert_same(one: tuple[Any, dict[str, Array]], other: tuple[Any, dict[str, Array]]) -> None:
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, array in one[1].items():
        np.testing.assert_array_equal(array, other[1][name], err_msg=name)


class TestKnownTruth:
    """A library that is like the farm helps, and one that is not does little harm."""

    def test_a_library_with_a_like_data_set_beats_the_local_model(self, site: Path, data: PairSet) -> None:
        study = lent_study(site, transfer={"instances": 40, "draws": 20, "drop": 0.1})
        ways = (("local", "plsr"), *LIGHT[2:], ("mixture", None))
        found = errors_of(study, data, *ways)
        for kind in ("spiked", "instances", "neighbours"):
            assert found[kind] < found["local"], found
        assert found["mixture"] < 0.75 * found["local"]

    def test_a_useless_library_makes_a_mixture_little_worse_than_the_local_model(self, tmp_path: Path) -> None:
        mixed, taught = [], []
        for seed in range(3):
            study = lent_study(make_lent(tmp_path / str(seed), seed=seed, shuffled=True))
            found = errors_of(study, build_transfer(study), ("local", "plsr"), ("mixture", None), ("library", "plsr"))
            mixed.append(found["mixture"] / found["local"])
            taught.append(found["library"] / found["local"])
        assert np.mean(mixed) < 1.3
        assert all(one < other for one, other in zip(mixed, taught, strict=True))

    def test_a_model_of_copper_is_learned_on_a_library_of_ph(self, site: Path) -> None:
        study = lent_study(site, property="cu", library={"property": "ph"})
        data = build_transfer(study)
        assert not teaches_same(data)
        found = errors_of(study, data, ("tuned", "cnn"), ("mixture", None), few=40)
        assert max(found.values()) < 0.5 * data.values[:, 0].std()

    def test_the_way_that_suits_the_library_is_taken_unasked(self, site: Path, data: PairSet) -> None:
        assert recipe_of_transfer(lent_study(site, transfer={"kind": None}), data).model == "mixture"
        other = lent_study(site, property="cu", library={"property": "ph"}, transfer={"kind": None})
        recipe = recipe_of_transfer(other, build_transfer(other))
        assert (recipe.model, recipe.head.kind) == ("tuned", "resnet")

    def test_what_the_library_teaches_is_compared_with_the_properties_that_are_predicted(self, site: Path) -> None:
        """`property` of a study is not one of those under [invert] that are predicted."""
        copper = lent_study(site, invert={"properties": ["cu"]}, library={"property": "soc"}, transfer={"kind": None})
        assert recipe_of_transfer(copper, build_transfer(copper)).model == "tuned"
        acid = lent_study(site, invert={"properties": ["ph"]}, library={"property": "ph"}, transfer={"kind": None})
        assert recipe_of_transfer(acid, build_transfer(acid)).model == "mixture"

    @pytest.mark.parametrize("kind", ["epo", "glsw"])
    def test_a_fusion_that_would_move_the_library_is_refused(self, site: Path, data: PairSet, kind: str) -> None:
        pairs = replace(data, laboratory=data.satellite.copy())
        study = lent_study(site, fusion={"kind": kind}, invert={"spectra": "generated"})
        with pytest.raises(UsageError, match="moves laboratory spectra too") as caught:
            recipe_of_transfer(study, pairs)
        assert caught.value.code == "GS-FUSION"
        unasked = lent_study(site, invert={"spectra": "generated", "head": "svr"})
        assert recipe_of_transfer(unasked, pairs).fusion == FusionSettings()

    def test_several_properties_are_learned_at_once(self, site: Path) -> None:
        study = lent_study(site, invert={"properties": ["soc", "ph"]})
        bundle = transfer(study)
        assert [one.code for one in bundle.card.properties] == ["soc", "ph"]
        assert all(one.scores[-1]["R2"] > 0.5 for one in bundle.card.properties)


class TestNothingLeaks:
    """What a fit holds out decides nothing in it."""

    @pytest.mark.parametrize(("kind", "head"), WAYS)
    def test_held_out_samples_do_not_change_a_fit(
        self, study: Study, data: PairSet, nets: Lent, kind: str, head: str | None
    ) -> None:
        rng = np.random.default_rng(1)
        rows, out = np.arange(0, 40), np.arange(40, LOCAL)
        satellite, values = data.satellite.copy(), data.values.copy()
        satellite[out] = rng.permutation(satellite[out]) * 0.7
        values[out] = 100 * rng.permutation(values[out])
        other = replace(data, satellite=satellite, laboratory=satellite, values=values)
        recipe = quick(study, data, kind, head)
        assert_same(fitted_state(data, recipe, rows, nets), fitted_state(other, recipe, rows, nets))

    def test_what_is_lent_has_seen_no_local_sample(self, study: Study, data: PairSet) -> None:
        recipe = recipe_of_transfer(study, data, "tuned", "cnn")
        noise = np.random.default_rng(2).random(data.satellite.shape)
        other = replace(data, satellite=noise, laboratory=noise, values=7 * data.values + 1)
        (one,), (two,) = lend(data, [recipe], 0).values(), lend(other, [recipe], 0).values()
        assert_same(one.state(), two.state())

    @pytest.mark.parametrize("away", [0.0, 3e-4])
    def test_copies_of_local_samples_are_taken_out_of_the_library(
        self, site: Path, study: Study, data: PairSet, tmp_path: Path, away: float
    ) -> None:
        """Their values would tell those that are held out: here they are wrong, so that nothing can hide it."""
        lab = pd.read_csv(site / "lab.csv")
        copies = lab.iloc[::3].drop(columns="cu_mg_per_kg").assign(soc_g_per_kg=400.0)
        copies["id"] = "again " + copies["id"]
        bands = [name for name in copies.columns if name.isdigit()]
        copies[bands] += away * np.random.default_rng(3).standard_normal((len(copies), len(bands)))
        for name in ("near.csv", "far.parquet"):
            (tmp_path / name).write_bytes((site / "library" / name).read_bytes())
        copies.to_csv(tmp_path / "copied.csv", index=False)
        found = build_transfer(lent_study(site, library={"path": str(tmp_path)}))
        assert found.report["library"]["copies"] == len(copies)
        assert found.library is not None
        assert data.library is not None
        assert set(found.library.names) == set(data.library.names)
        recipe = recipe_of_transfer(study, data, "spiked")
        order = {name: place for place, name in enumerate(found.library.names.tolist())}
        same = replace(found, library=found.library.take(np.array([order[one] for one in data.library.names.tolist()])))
        assert_same(fitted_state(same, recipe, np.arange(LOCAL), {}), fitted_state(data, recipe, np.arange(LOCAL), {}))

    def test_kennard_and_stone_choose_by_spectra_alone(self, study: Study, data: PairSet) -> None:
        one = partition(study, data, "kennard-stone", 0)
        other = replace(data, values=np.random.default_rng(4).random(data.values.shape))
        assert np.array_equal(one, partition(study, other, "kennard-stone", 9))
        assert (one == -1).sum() == study.compare.local
        turned = np.random.default_rng(5).permutation(LOCAL)
        moved = replace(
            data, satellite=data.satellite[turned], laboratory=data.satellite[turned], values=data.values[turned],
            names=data.names[turned],
        )  # fmt: skip
        chosen = set(moved.names[partition(study, moved, "kennard-stone", 0) < 0])
        assert chosen == set(data.names[one < 0])

    def test_samples_of_a_round_are_a_quarter_and_never_learned_from(self, study: Study, data: PairSet) -> None:
        rounds = [partition(study, data, "rounds", seed) for seed in range(3)]
        for folds in rounds:
            assert set(folds) == {-1, 0}
            assert (folds == 0).sum() == LOCAL // 4
        assert not np.array_equal(rounds[0], rounds[1])
        recipe = recipe_of_transfer(study, data, "spiked")
        (checked,) = cross_validate_spectra(data, [recipe], rounds[0], 0)
        assert np.array_equal(np.isfinite(checked.predicted[:, 0]), rounds[0] == 0)
        assert len(checked.residuals[0]) == LOCAL // 4


class TestScores:
    """What a model file says of itself."""

    def test_scores_are_of_each_sample_held_out_once(self, study: Study, data: PairSet) -> None:
        bundle = transfer(study)
        recipe = recipe_of_transfer(study, data)
        folds = folds_of_pairs(data, "random", 4, study.seed)
        (checked,) = cross_validate_spectra(data, [recipe], folds, study.seed)
        (card,) = bundle.card.properties
        row = card.scores[-1]
        assert row["n"] == LOCAL
        assert "by sample" in row["split"]
        error = np.sqrt(np.mean((checked.predicted - data.values) ** 2))
        assert row["RMSE"] == pytest.approx(float(error), rel=1e-6)
        assert bundle.residuals[0] == pytest.approx(checked.residuals[0])
        assert bundle.card.counts["library"] == 280
        assert sum(bundle.card.counts["library_sets"].values()) == 280
        assert f"library: 280 samples with {bundle.card.counts['library_teaches'][0]} of " in describe(info(bundle))
        assert bundle.card.model == "spiked"
        assert bundle.card.settings["library"]["path"].endswith("library")
        assert bundle.card.settings["recipe"]["transfer"] == "spiked"


class TestFiles:
    """Model files, and maps that are made with them."""

    @pytest.mark.parametrize(("kind", "head"), WAYS)
    def test_a_saved_model_predicts_and_maps_as_the_one_that_was_fitted(
        self, site: Path, study: Study, data: PairSet, tmp_path: Path, kind: str, head: str | None
    ) -> None:
        few = study.model_copy(update={"validation": study.validation.model_copy(update={"folds": 2})})
        path = tmp_path / "model.gsm"
        bundle = train_spectra(
            few, quick(few, data, kind, head), data, output=path, report=None, predictions=None, overwrite=False,
            num_workers=1, progress=lambda done, total, message: None,
        )  # fmt: skip
        again = load_model(path)
        spectra = open_spectra(site / "lab.csv")
        one, two = predict_spectra(bundle, spectra), predict_spectra(again, spectra)
        pd.testing.assert_frame_equal(one, two)
        assert one["soc_mean_g_per_kg"].notna().all()
        assert one["soc_mean_g_per_kg"].std() > 0.5
        cube = cube_of(spectra)
        shown = geosoil.predict(path, cube, masks=None).compute().values.reshape(-1)
        np.testing.assert_allclose(shown, two["soc_mean_g_per_kg"], rtol=1e-4)
        if kind in {"spiked", "instances-tuned"}:
            made = geosoil.map(path, cube, tmp_path / "maps", masks=None, num_workers=1)
            with rasterio.open(made.maps[0]) as file:
                np.testing.assert_allclose(file.read(1).reshape(-1), two["soc_mean_g_per_kg"], rtol=1e-4)


def cube_of(spectra: xr.DataArray) -> xr.DataArray:
    """Spectra as the cells of a cube, six rows of ten."""
    box = GeoBox((6, 10), Affine(30.0, 0.0, 740_000.0, 0.0, -30.0, 6_680_000.0), "EPSG:32755")
    wavelength = spectra["wavelength"].values.astype(float)
    names = tuple(f"{nm:g}" for nm in wavelength)
    bands = Bands(names, wavelength_nm=tuple(wavelength))
    values = spectra.values.T.reshape(len(names), 6, 10).astype(np.float32)
    return xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={**xr_coords(box), **bands.coords()},
        attrs={"quantity": "reflectance", "units": "1", "sources": ()},
    )


def test_copies_that_left_the_library_are_told_in_model_and_reports(tmp_path: Path) -> None:
    site = make_lent(tmp_path)
    own, near = pd.read_csv(site / "lab.csv"), pd.read_csv(site / "library" / "near.csv")
    bands = near.columns[3:]
    near.loc[[5, 9, 20], bands] = own.loc[[0, 1, 2], bands].to_numpy()
    near.to_csv(site / "library" / "near.csv", index=False)
    own.loc[7, bands[3]] = np.nan
    own.to_csv(site / "lab.csv", index=False)
    study = lent_study(site, compare={"transfers": ["local"], "repeats": 1, "folds": 2}, validation={"folds": 2})
    model = transfer(study, site / "soc.gsm", report=site / "soc.html")
    assert model.card.counts["copies"] == {"near": 3}
    told = "library: left out as copies of the samples: 3 of near"
    assert told in describe(info(site / "soc.gsm"))
    assert told in summary(model)
    geosoil.compare(study, site / "compared")
    for page in (site / "soc.html", site / "compared" / "report.html"):
        text = page.read_text(encoding="utf-8")
        assert "3 samples of the library were local ones" in text
        assert "near005 of near, near009 of near, near020 of near" in text
    # Spectra of a laboratory lie nowhere, and no sensor saw them.
    text = (site / "soc.html").read_text(encoding="utf-8") + told + "".join(summary(model))
    assert not [word for word in ("optical", "sensor", "mask", "cell", "scene", "satellite", "outside") if word in text]
    assert "with spectra that lack bands" in text


def test_tables_that_do_not_reach_over_the_samples_bands_are_told_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_lent(tmp_path)
    far = pd.read_parquet(site / "library" / "far.parquet")
    short = far.drop(columns=["1000", "1020"])
    short.to_parquet(site / "library" / "far.parquet", index=False)
    study = lent_study(site, transfer={"kind": "local"}, validation={"folds": 2})
    data = build_transfer(study)
    assert data.library is not None
    assert set(data.library.source) == {"near"}
    assert data.report["library"]["short"] == [{"table": "far", "spectra": 80, "from_nm": 1040.0, "to_nm": 2400.0}]
    assert "far (1040 to 2400 nm)" in caplog.text
    transfer(study, site / "soc.gsm", report=site / "soc.html")
    text = (site / "soc.html").read_text(encoding="utf-8")
    assert "far (80 spectra, 1040 to 2400 nm)" in text

    caplog.clear()
    whole = build_transfer(lent_study(site, library={"range_nm": [1040.0, 2400.0]}))
    assert whole.library is not None
    assert set(whole.library.source) == {"near", "far"}
    assert whole.wavelength_nm.min() == 1040.0
    assert "do not reach" not in caplog.text


def test_spectra_that_do_not_vary_are_named(tmp_path: Path) -> None:
    site = make_lent(tmp_path)
    table = pd.read_csv(site / "lab.csv")
    table.loc[[3, 7], [name for name in table.columns if name.isdigit()]] = 0.0
    table.to_csv(site / "lab.csv", index=False)
    with pytest.raises(InputError) as caught:
        build_transfer(lent_study(site))
    assert caught.value.code == "GS-SPECTRA-CONSTANT"
    assert all(str(one) in caught.value.details[0] for one in table.iloc[[3, 7], 0])
