"""Patch networks find a known truth, and say the same after they were stored."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pytest

from geosoil.errors import InputError, ModelError
from geosoil.models.cnn import PatchCNN, PatchPredictor, Standard, split_profiles
from geosoil.models.transfer import DepthTransfer
from geosoil.types import Layers

from .conftest import Known

Kind = Literal["cnn", "mtcnn", "pretrained"]


def error(predictor: PatchPredictor, known: Known) -> float:
    """RMSE against the noise-free truth, over its spread."""
    found = predictor.predict(known.features)
    return float(np.sqrt(np.mean((found - known.truth) ** 2)) / known.truth.std())


@pytest.mark.parametrize("kind", ["cnn", "mtcnn", "pretrained"])
@pytest.mark.parametrize("patch", [1, 5])
def test_a_known_truth_is_found(kind: Kind, patch: int, known: Known) -> None:
    cut = (5 - patch) // 2
    features = known.features[:, cut : 5 - cut, cut : 5 - cut]
    narrow = Known(np.ascontiguousarray(features), known.layers, known.depths_cm, known.truth)
    estimator = PatchCNN(kind, patch=patch, epochs=120, patience=40, batch=32, learning_rate=3e-3, dropout=0.1)
    predictor = estimator.fit(narrow.features, known.layers, known.depths_cm)
    assert error(predictor, narrow) < 0.4


def test_an_ensemble_is_the_mean_of_its_members(known: Known) -> None:
    predictor = PatchCNN("mtcnn", patch=5, epochs=3, members=3).fit(known.features, known.layers, known.depths_cm)
    alone = [
        PatchPredictor(predictor.spec, (member,), predictor.depths_cm, predictor.standard).predict(known.features)
        for member in predictor.members
    ]
    assert np.ptp(np.stack(alone), axis=0).max() > 1e-3
    np.testing.assert_allclose(predictor.predict(known.features), np.mean(alone, axis=0), atol=1e-5)


def test_profiles_with_missing_layers_count_in_the_multi_task_network(known: Known) -> None:
    # Half of the profiles have the first depth, the other half the last: none has both.
    first = (known.layers.profile < 100) == (known.layers.target == 0)
    only = Layers(*(getattr(known.layers, name)[first] for name in ("profile", "depth_cm", "target", "value")))
    estimator = PatchCNN("mtcnn", patch=5, epochs=120, patience=40, batch=32, learning_rate=3e-3, dropout=0.1)
    found = estimator.fit(known.features, only, known.depths_cm).predict(known.features)
    for target in (0, 2):
        assert np.corrcoef(found[:, target], known.truth[:, target])[0, 1] > 0.85


def test_a_seed_gives_one_network(known: Known) -> None:
    arrays = [
        PatchCNN("mtcnn", patch=5, epochs=3, seed=seed).fit(known.features, known.layers, known.depths_cm).state()[1]
        for seed in (1, 1, 2)
    ]
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
    assert not all(np.array_equal(arrays[0][name], arrays[2][name]) for name in arrays[0])


def test_all_layers_of_a_profile_fall_on_one_side(known: Known) -> None:
    train, held = split_profiles(known.layers, 0.2, seed=3)
    profiles = set(known.layers.profile[train]), set(known.layers.profile[held])
    assert not profiles[0] & profiles[1]
    assert len(train) + len(held) == len(known.layers)


def test_too_few_profiles_are_refused() -> None:
    layers = Layers(np.arange(3), np.full(3, 2.5), np.zeros(3, np.int64), np.arange(3.0))
    with pytest.raises(InputError, match="3 profiles are too few"):
        PatchCNN("cnn", patch=1).fit(np.zeros((3, 1, 1, 2), np.float32), layers, np.array([2.5]))


def test_a_constant_target_gives_itself(known: Known) -> None:
    layers = Layers(known.layers.profile, known.layers.depth_cm, known.layers.target, np.full(len(known.layers), 4.0))
    found = PatchCNN("cnn", patch=5, epochs=30).fit(known.features, layers, known.depths_cm).predict(known.features)
    np.testing.assert_allclose(found, 4.0, atol=0.5)


@pytest.mark.parametrize(
    "estimator",
    [
        PatchCNN("cnn", patch=5, epochs=2),
        PatchCNN("mtcnn", patch=5, epochs=2, members=2),
        DepthTransfer(patch=5, epochs=2),
    ],
)
def test_a_stored_predictor_says_the_same(estimator: PatchCNN | DepthTransfer, known: Known) -> None:
    predictor = estimator.fit(known.features, known.layers, known.depths_cm)
    meta, arrays = predictor.state()
    again = PatchPredictor.restore(json.loads(json.dumps(meta)), arrays)
    assert np.array_equal(again.predict(known.features), predictor.predict(known.features))
    tile = np.random.default_rng(0).random((12, 13, 4), np.float32)
    assert np.array_equal(again.predict_tile(tile), predictor.predict_tile(tile))


def test_damaged_parts_are_refused_before_anything_is_built(known: Known) -> None:
    meta, arrays = PatchCNN("cnn", patch=5, epochs=1).fit(known.features, known.layers, known.depths_cm).state()
    name = next(iter(arrays))
    broken = {
        "a shape": (meta, {**arrays, name: arrays[name][:1]}),
        "a type": (meta, {**arrays, name: arrays[name].astype(np.float64)}),
        "a missing array": (meta, {key: value for key, value in arrays.items() if key != name}),
        "a huge layer": ({**meta, "spec": {**meta["spec"], "filters": [10**9, 1, 1]}}, arrays),
        "an even patch": ({**meta, "spec": {**meta["spec"], "patch": 4}}, arrays),
        "a depth too many": ({**meta, "depths_cm": [1.0, 2.0, 3.0, 4.0]}, arrays),
    }
    for changed_meta, changed_arrays in broken.values():
        with pytest.raises(ModelError) as caught:
            PatchPredictor.restore(changed_meta, changed_arrays)
        assert caught.value.code == "GS-MODEL-DAMAGED"


def test_standardised_values_come_back() -> None:
    layers = Layers(np.arange(4), np.full(4, 2.5), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 10.0, 10.0]))
    standard = Standard.of(layers, 2)
    np.testing.assert_allclose(standard.scale(layers), [-1, 1, 0, 0])
    assert standard.spread.tolist() == [1.0, 1.0]


def test_predictions_far_from_the_training_data_stay_within_its_range(known: Known) -> None:
    predictor = PatchCNN("cnn", patch=5, epochs=30, batch=32, learning_rate=3e-3).fit(
        known.features, known.layers, known.depths_cm
    )
    layers = known.layers
    ranges = [layers.value[layers.target == target] for target in range(len(known.depths_cm))]
    lowest, highest = ([float(edge(values)) for values in ranges] for edge in (np.min, np.max))
    far = np.concatenate([100 * known.features, -100 * known.features])
    meta, arrays = predictor.state()
    for one in (predictor, PatchPredictor.restore(json.loads(json.dumps(meta)), arrays)):
        found = one.predict(far)
        np.testing.assert_allclose(found.min(axis=0), lowest, rtol=1e-6)
        np.testing.assert_allclose(found.max(axis=0), highest, rtol=1e-6)
        tile = np.tile(far[0], (2, 2, 1))
        np.testing.assert_allclose(one.predict_tile(tile)[:, 0, 0], found[0], rtol=1e-5)
