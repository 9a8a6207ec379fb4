"""Models of spectra see their training samples alone, find what is there, and find nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from geosoil.config import Study
from geosoil.errors import InputError, UsageError
from geosoil.jobs.inversion import (
    SpectralRecipe,
    TrainingFits,
    cross_validate_spectra,
    folds_of_pairs,
    published_split,
    recipe_of_spectra,
)
from geosoil.jobs.pairs import PairSet
from geosoil.models.fusion import FusionSettings
from geosoil.models.fusion_settings import KINDS as FUSIONS
from geosoil.models.fusion_settings import MOVES_BOTH
from geosoil.models.spectral import SpectralPredictor
from geosoil.prep.cars import Cars
from geosoil.prep.masks import NAMES, MaskRules

from .spectra import made_pairs, recipe_of

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

KINDS = ("laboratory", "satellite", "generated", "mixed")
#: Networks along the bands have tests of their own.
HEADS = ("plsr", "svr", "rf", "fd-rf", "dnn")
VAE = FusionSettings.of("vae", epochs=2, hidden=(16, 8, 8), latent=4)


def arrays_of(predictor: SpectralPredictor) -> dict[str, bytes]:
    """All that was fitted, to the bit."""
    return {name: np.ascontiguousarray(array).tobytes() for name, array in predictor.state()[1].items()}


def fitted(data: PairSet, rows: Int64, recipe: SpectralRecipe) -> dict[str, bytes]:
    found = TrainingFits(data, rows, 3).fit(recipe)
    told = repr((found.transforms, [(one.lowest, one.highest) for one in found.predictor.heads]))
    return {**arrays_of(found.predictor), "": told.encode()}


def r2(observed: Float64, predicted: Float64) -> float:
    return 1 - float(np.nansum((observed - predicted) ** 2) / np.nansum((observed - np.nanmean(observed)) ** 2))


RECIPES = [
    *(recipe_of(kind) for kind in KINDS),
    recipe_of("mixed", steps=("absorbance", "msc", "scale"), transforms=("log",)),
    recipe_of("mixed", transforms=("log",), searched=(True,)),
    recipe_of("mixed", calibration="generated"),
    recipe_of("mixed", calibration="crossed"),
    recipe_of("mixed", calibration="laboratory"),
    recipe_of("mixed", "svr", selection=Cars(runs=8, components=4, repeats=2)),
    recipe_of("generated", fusion=FusionSettings()),
    recipe_of("mixed", fusion=VAE, calibration="generated", selection=None),
    recipe_of("mixed", fusion=FusionSettings.of("pls", components=4), selection=None),
]


def names(recipe: SpectralRecipe) -> str:
    more = (*recipe.steps, *(["searched"] if recipe.searched else []))
    return " ".join((recipe.spectra, recipe.head.kind, recipe.fusion.kind, recipe.calibration, *more))


class TestNoLeakage:
    """What is held out changes nothing of a fit, to the bit."""

    @pytest.mark.parametrize("recipe", RECIPES, ids=names)
    def test_held_out_samples_do_not_change_a_fit(self, recipe: SpectralRecipe) -> None:
        data = made_pairs(noise=0.003)
        rows = np.flatnonzero(np.arange(60) % 3 != 0)
        held = np.setdiff1d(np.arange(60), rows)
        wanted = fitted(data, rows, recipe)
        rng = np.random.default_rng(1)
        assert data.laboratory is not None
        assert data.neighbours is not None
        satellite, laboratory, values = data.satellite.copy(), data.laboratory.copy(), data.values.copy()
        satellite[held] = rng.random((20, 24))
        laboratory[held] = rng.random((20, 24))
        values[held] = 1000 * rng.random((20, 1))
        beside = data.neighbours.spectra.copy()
        beside[np.isin(data.neighbours.sample, held)] = 0.9
        neighbours = replace(data.neighbours, spectra=beside)
        other = replace(data, satellite=satellite, laboratory=laboratory, values=values, neighbours=neighbours)
        assert fitted(other, rows, recipe) == wanted

    def test_the_order_of_held_out_samples_does_not_change_a_fit(self) -> None:
        data, recipe = made_pairs(noise=0.003), recipe_of("mixed")
        rows = np.flatnonzero(np.arange(60) % 3 != 0)
        held = np.setdiff1d(np.arange(60), rows)
        order = np.arange(60)
        order[held] = held[::-1]
        assert data.laboratory is not None
        assert data.neighbours is not None
        place = np.argsort(order)
        moved = np.argsort(place[data.neighbours.sample], kind="stable")
        neighbours = replace(
            data.neighbours,
            spectra=data.neighbours.spectra[moved],
            sample=place[data.neighbours.sample][moved],
        )
        other = replace(
            data,
            names=data.names[order],
            satellite=data.satellite[order],
            laboratory=data.laboratory[order],
            values=data.values[order],
            neighbours=neighbours,
        )
        assert fitted(other, rows, recipe) == fitted(data, rows, recipe)

    @pytest.mark.parametrize("spectra", KINDS)
    def test_a_sample_s_own_value_does_not_change_its_prediction(self, spectra: str) -> None:
        data, recipe = made_pairs(noise=0.003), recipe_of(spectra)
        folds = folds_of_pairs(data, "random", 3, 0)
        (first,) = cross_validate_spectra(data, [recipe], folds, 0)
        values = data.values.copy()
        values[7] *= 3
        (second,) = cross_validate_spectra(replace(data, values=values), [recipe], folds, 0)
        together = folds == folds[7]
        assert np.array_equal(first.predicted[together], second.predicted[together])
        # The others were trained on it.
        assert (first.predicted[~together] != second.predicted[~together]).any()

    def test_neighbours_of_held_out_samples_are_no_training_pairs(self) -> None:
        data = made_pairs()
        assert data.neighbours is not None
        rows = np.array([50, 3, 4, 20])
        spectra, owner = data.beside(rows)
        mine = np.isin(data.neighbours.sample, rows)
        assert len(spectra) == mine.sum() == 8
        assert rows[owner].tolist() == data.neighbours.sample[mine].tolist()
        assert np.array_equal(spectra, data.neighbours.spectra[mine])

    def test_samples_of_one_cell_share_a_fold(self) -> None:
        data = made_pairs()
        satellite = data.satellite.copy()
        satellite[40:50] = satellite[:10]
        shared = replace(data, satellite=satellite)
        for seed in range(5):
            folds = folds_of_pairs(shared, "random", 5, seed)
            assert folds[40:50].tolist() == folds[:10].tolist()
            assert sorted(set(folds.tolist())) == [0, 1, 2, 3, 4]


class TestNothing:
    """Values that have nothing to do with the spectra are not predicted."""

    @pytest.mark.parametrize(
        "recipe",
        [
            *(recipe_of(kind) for kind in KINDS),
            recipe_of("mixed", calibration="generated"),
            recipe_of("mixed", "svr"),
            recipe_of("mixed", fusion=FusionSettings(), selection=Cars(runs=8, components=4, repeats=3)),
        ],
        ids=names,
    )
    def test_permuted_values_give_no_r2(self, recipe: SpectralRecipe) -> None:
        data = made_pairs(noise=0.003)
        found = []
        for seed in range(2):
            shuffled = replace(data, values=np.random.default_rng(100 + seed).permutation(data.values))
            (checked,) = cross_validate_spectra(shuffled, [recipe], folds_of_pairs(shuffled, "random", 3, seed), seed)
            found.append(r2(shuffled.values, checked.predicted))
        assert max(found) < 0.05

    def test_noise_gives_no_r2_and_a_selection_outside_the_folds_would_have_given_some(self) -> None:
        rng = np.random.default_rng(5)
        data = made_pairs(bands=300)
        noise = replace(data, satellite=rng.standard_normal(data.satellite.shape), neighbours=None)
        recipe = recipe_of("satellite", selection=Cars(runs=25, components=4))
        folds = folds_of_pairs(noise, "random", 3, 0)
        (nested,) = cross_validate_spectra(noise, [recipe], folds, 0)
        leaky = np.empty(60)
        for fold in range(3):
            fit = TrainingFits(noise, np.flatnonzero(folds != fold), 0, pool=np.arange(60)).fit(recipe)
            leaky[folds == fold] = fit.scaled(noise.satellite[folds == fold])[:, 0]
        assert r2(noise.values, nested.predicted) < 0
        assert r2(noise.values[:, 0], leaky) > 0.6


class TestTruth:
    """What is in the spectra is found."""

    @pytest.mark.parametrize("spectra", KINDS)
    def test_values_are_recovered_from_clean_spectra(self, spectra: str) -> None:
        data = made_pairs(targets=3)
        recipe = recipe_of(spectra, transforms=("none", "log", "sqrt"))
        (found,) = cross_validate_spectra(data, [recipe], folds_of_pairs(data, "random", 5, 0), 0)
        assert np.isfinite(found.predicted).all()
        for observed, predicted in zip(data.values.T, found.predicted.T, strict=True):
            assert r2(observed, predicted) > 0.95

    @pytest.mark.parametrize("head", HEADS)
    def test_every_regression_finds_it(self, head: str) -> None:
        data = made_pairs()
        recipe = recipe_of("mixed", head, selection=None)
        found = TrainingFits(data, np.arange(45), 0).fit(recipe).scaled(data.satellite[45:])
        assert r2(data.values[45:], found) > {"plsr": 0.98, "svr": 0.9}.get(head, 0.4)

    @pytest.mark.parametrize("calibration", ["both", "crossed", "laboratory", "generated"])
    def test_every_calibration_finds_it(self, calibration: str) -> None:
        data = made_pairs(noise=0.001)
        recipe = recipe_of("generated", calibration=calibration)
        (found,) = cross_validate_spectra(data, [recipe], folds_of_pairs(data, "random", 3, 0), 0)
        assert r2(data.values, found.predicted) > 0.9

    @pytest.mark.parametrize("kind", sorted(MOVES_BOTH))
    def test_laboratory_spectra_are_moved_where_satellite_ones_are(self, kind: str) -> None:
        """The satellite sees something that changes from sample to sample; what hides it takes from the signal too.

        A regression on laboratory spectra which stayed where they are would read more than generated ones hold: its R2
        here is 0.3 or less.
        """
        data = made_pairs(noise=0.001)
        peak = np.exp(-(((np.array(data.bands.wavelength_nm) - 700) / 250) ** 2))
        veil = 0.06 * np.random.default_rng(1).standard_normal((len(data.names), 1)) * peak
        data = replace(data, satellite=data.satellite + veil, neighbours=None)
        recipe = recipe_of("generated", fusion=FusionSettings.of(kind), selection=None)
        folds = folds_of_pairs(data, "random", 3, 0)
        laboratory, both = cross_validate_spectra(
            data, [replace(recipe, calibration=calibration) for calibration in ("laboratory", "both")], folds, 0
        )
        assert r2(data.values, laboratory.predicted) > 0.7
        assert r2(data.values, both.predicted) > 0.9

    def test_laboratory_spectra_do_better_than_noisy_ones(self) -> None:
        data = made_pairs(noise=0.02)
        folds = folds_of_pairs(data, "random", 3, 0)
        lab, satellite = cross_validate_spectra(data, [recipe_of("laboratory"), recipe_of("satellite")], folds, 0)
        assert r2(data.values, lab.predicted) > r2(data.values, satellite.predicted) + 0.1


class TestSeveralProperties:
    """One model of several properties, of which samples may lack some."""

    def test_each_property_is_what_it_would_be_alone(self) -> None:
        data = made_pairs(noise=0.002, targets=3)
        values = data.values.copy()
        values[::4, 1] = np.nan
        values[5:9, 2] = np.nan
        data = replace(data, values=values)
        folds = folds_of_pairs(data, "random", 3, 0)
        recipe = recipe_of("mixed", transforms=("none", "log", "none"))
        (together,) = cross_validate_spectra(data, [recipe], folds, 0)
        for place, kind in enumerate(recipe.transforms):
            alone = replace(data, properties=(data.properties[place],), values=values[:, [place]])
            (single,) = cross_validate_spectra(alone, [replace(recipe, transforms=(kind,))], folds, 0)
            assert np.array_equal(together.predicted[:, place], single.predicted[:, 0])
            assert np.array_equal(together.residuals[place], single.residuals[0])
        assert [len(one) for one in together.residuals] == [60, 45, 56]


class TestTransforms:
    """A property's own transform is taken where it helps."""

    @pytest.mark.parametrize(("bent", "kind"), [(False, "none"), (True, "log")])
    def test_the_scale_is_found_on_which_values_follow_the_spectra(self, bent: bool, kind: str) -> None:
        data = made_pairs(noise=0.002)
        if bent:
            data = replace(data, values=np.exp(4 * (data.values / data.values.max())))
        folds = folds_of_pairs(data, "random", 3, 0)
        recipe = recipe_of("laboratory", transforms=("log",), searched=(True,))
        (found,) = cross_validate_spectra(data, [recipe], folds, 0)
        assert found.kinds == (kind,)
        (given,) = cross_validate_spectra(data, [replace(recipe, transforms=(kind,), searched=())], folds, 0)
        np.testing.assert_array_equal(found.predicted, given.predicted)

    def test_residuals_are_those_of_folds_with_the_transform_of_most(self) -> None:
        data = made_pairs(noise=0.002)
        folds = folds_of_pairs(data, "random", 3, 0)
        recipes = [recipe_of("laboratory", transforms=(kind,)) for kind in ("none", "log")]
        plain, logs = cross_validate_spectra(data, recipes, folds, 0)
        left = np.where((folds == 1)[:, None], logs.left, plain.left)
        mixed = replace(plain, left=left, fitted=(plain.fitted[0], logs.fitted[1], plain.fitted[2]))
        assert mixed.kinds == ("none",)
        np.testing.assert_array_equal(mixed.residuals[0], plain.left[folds != 1, 0])


class TestFolds:
    """How samples are dealt out."""

    @pytest.mark.timeout(180)
    def test_results_do_not_depend_on_workers(self) -> None:
        data = made_pairs(noise=0.003)
        folds = folds_of_pairs(data, "random", 3, 0)
        recipes = [recipe_of("mixed", transforms=("log",)), recipe_of("satellite")]
        one = cross_validate_spectra(data, recipes, folds, 0)
        two = cross_validate_spectra(data, recipes, folds, 0, num_workers=2)
        for first, second in zip(one, two, strict=True):
            assert np.array_equal(first.predicted, second.predicted)
            assert all(np.array_equal(a, b) for a, b in zip(first.residuals, second.residuals, strict=True))

    def test_recipes_that_share_parts_give_what_they_give_alone(self) -> None:
        data = made_pairs(noise=0.003)
        folds = folds_of_pairs(data, "random", 3, 0)
        recipes = [*RECIPES[:4], recipe_of("mixed", "svr"), recipe_of("mixed", steps=("snv",))]
        together = cross_validate_spectra(data, recipes, folds, 0)
        for recipe, found in zip(recipes, together, strict=True):
            (alone,) = cross_validate_spectra(data, [recipe], folds, 0)
            assert np.array_equal(alone.predicted, found.predicted), names(recipe)

    def test_each_fold_s_own_samples_are_predicted_apart(self) -> None:
        data = made_pairs(noise=0.003)
        folds = folds_of_pairs(data, "random", 3, 0)
        (found,) = cross_validate_spectra(data, [recipe_of("mixed")], folds, 0)
        for fold, inside in enumerate(found.inside):
            assert np.isnan(inside[folds == fold]).all()
            assert np.isfinite(inside[folds != fold]).all()

    def test_spatial_folds_need_places(self) -> None:
        with pytest.raises(InputError) as caught:
            folds_of_pairs(made_pairs(), "spatial", 3, 0)
        assert caught.value.code == "GS-FOLDS"

    def test_the_published_split_is_every_third_along_the_sorted_target(self) -> None:
        values = np.random.default_rng(0).random(30)
        test = published_split(values)
        assert test.sum() == 10
        assert sorted(stats.rankdata(values)[test].astype(int).tolist()) == list(range(3, 31, 3))


def test_generated_spectra_need_laboratory_spectra() -> None:
    data = replace(made_pairs(), laboratory=None)
    with pytest.raises(InputError) as caught:
        TrainingFits(data, np.arange(40), 0).fit(recipe_of("mixed"))
    assert caught.value.code == "GS-SPECTRA-MISSING"
    TrainingFits(data, np.arange(40), 0).fit(recipe_of("satellite"))


def test_predictions_stay_within_the_training_values() -> None:
    data = made_pairs()
    found = TrainingFits(data, np.arange(40), 0).fit(recipe_of("satellite"))
    wild = found.scaled(10 * np.random.default_rng(0).random((50, 24)))
    assert wild.min() >= data.values[:40].min()
    assert wild.max() <= data.values[:40].max()


class TestSettings:
    """A study's settings become a recipe, and wrong ones are told at once."""

    def test_a_study_says_all_of_a_recipe(self) -> None:
        study = Study(
            property="cu",
            properties={"as": {"transform": "sqrt"}},
            fusion={"kind": "pds", "window": 3},
            invert={
                "properties": ["cu", "as"],
                "spectra": "generated",
                "head": "svr",
                "steps": ["snv"],
                "cars_runs": 7,
                "cars_repeats": 2,
                "calibration": "crossed",
            },
        )
        recipe = recipe_of_spectra(study)
        assert (recipe.spectra, recipe.head.kind, recipe.steps) == ("generated", "svr", ("snv",))
        assert recipe.fusion == FusionSettings.of("pds", window=3)
        assert recipe.selection == Cars(runs=7, repeats=2)
        assert recipe.transforms[1] == "sqrt"
        assert recipe.calibration == "crossed"
        assert recipe_of_spectra(Study(invert={"selection": "none"})).selection is None
        same_always = recipe_of_spectra(Study(invert={"selection": "cars-deterministic", "cars_runs": 7})).selection
        assert same_always == Cars(runs=7, mode="deterministic")
        assert recipe_of_spectra(study, fusion="vae").fusion == FusionSettings.of("vae")
        assert recipe_of_spectra(Study()).fusion == FusionSettings()

    def test_the_fusion_that_suits_the_regression_is_taken_unasked(self) -> None:
        assert recipe_of_spectra(Study(), head="svr").fusion == FusionSettings.of("glsw")
        assert recipe_of_spectra(Study(), head="rf").fusion == FusionSettings.of("ridge")
        asked = Study(fusion={"kind": "ridge", "penalty": 0.1}, invert={"head": "svr"})
        assert recipe_of_spectra(asked).fusion == FusionSettings.of("ridge", penalty=0.1)
        assert recipe_of_spectra(asked, fusion="ridge").fusion == FusionSettings.of("ridge", penalty=0.1)
        assert recipe_of_spectra(asked, fusion="pds").fusion == FusionSettings.of("pds")

    def test_what_may_be_written_is_what_there_is(self) -> None:
        for kind in FUSIONS:
            assert Study(fusion={"kind": kind}).fusion.kind == kind
        for kind in HEADS:
            assert Study(invert={"head": kind}).invert.head == kind
        for name in NAMES:
            assert Study(masks={"off": [name]}).masks.off == (name,)
        for rule in set(MaskRules.__dataclass_fields__) - {"land_use"}:
            assert Study(masks={"rules": {rule: 0.1}}).masks.rules == {rule: 0.1}

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"fusion": {"kind": "vea"}}, "did you mean 'vae'?"),
            ({"fusion": {"dropuot": 0.2}}, "fusion.dropuot: not a known key; did you mean 'dropout'?"),
            ({"fusion": {"dropout": 1.5}}, "fusion.dropout"),
            ({"invert": {"head": "plrs"}}, "did you mean 'plsr'?"),
            ({"invert": {"spectrum": "mixed"}}, "invert.spectrum: not a known key; did you mean 'spectra'?"),
            ({"invert": {"steps": ["snvv"]}}, "invert.steps: preprocessing step 'snvv' is not known"),
            ({"invert": {"calibration": "cross"}}, "did you mean 'crossed'?"),
            ({"spectra": {"labratory": "a.csv"}}, "spectra.labratory: not a known key; did you mean 'laboratory'?"),
            ({"compare": {"fusions": ["pda"]}}, "did you mean 'pds'?"),
            ({"compare": {"heads": ["svm"]}}, "did you mean 'svr'?"),
        ],
    )
    def test_wrong_settings_are_told_with_the_nearest(self, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError) as caught:
            Study(**settings)
        assert caught.value.code == "GS-STUDY"
        assert words in "\n".join(caught.value.details)
