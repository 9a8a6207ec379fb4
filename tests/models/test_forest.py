"""Forests from flat arrays equal scikit-learn's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from geosoil.errors import ModelError
from geosoil.models.forest import Forest, ForestPredictor, Trees
from geosoil.types import Layers

from .conftest import Known


def test_predictions_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((300, 6), np.float32), rng.random(300)
    forest = RandomForestRegressor(40, min_samples_leaf=2, random_state=1).fit(x, y)
    fresh = rng.random((2000, 6), np.float32)
    # Values that lie on a threshold go left in both.
    fresh[:300] = x
    np.testing.assert_allclose(Trees.of(forest).predict(fresh), forest.predict(fresh), rtol=1e-12)


def test_a_feature_at_a_threshold_goes_where_scikit_learn_sends_it() -> None:
    """Thresholds are float64, features float32: some thresholds have no float32 of their own."""
    rng = np.random.default_rng(3)
    X = np.float32(np.round(rng.random((300, 4)), 1))
    y = rng.random(300)
    forest = RandomForestRegressor(20, random_state=0).fit(X, y)
    thresholds = np.concatenate([one.tree_.threshold[one.tree_.feature >= 0] for one in forest.estimators_])
    below, above = np.float32(-np.inf), np.float32(np.inf)
    at = np.unique(thresholds.astype(np.float32))
    near = np.concatenate([at, np.nextafter(at, below), np.nextafter(at, above)])
    rows = np.stack([rng.permutation(near) for _ in range(4)], axis=1)
    np.testing.assert_allclose(Trees.of(forest).predict(rows), forest.predict(rows), rtol=1e-12)
    lone = Trees(
        np.array([0, 3]), np.array([0, -1, -1], np.int32), np.array([0.1, -2, -2]), np.array([1, -1, -1], np.int32),
        np.array([2, -1, -1], np.int32), np.array([0.0, 1.0, 2.0]), np.ones(1),
    )  # fmt: skip
    tenth = np.float32(0.1)
    assert float(tenth) > 0.1
    assert lone.predict(np.array([[tenth], [np.nextafter(tenth, below)]])).tolist() == [2.0, 1.0]


def test_one_depth_equals_a_forest_fitted_by_hand(known: Known) -> None:
    estimator = Forest(trees=30, max_features=(1.0,), min_samples_leaf=(3,), seed=4)
    found = estimator.fit(known.features, known.layers, known.depths_cm).predict(known.features)
    here = known.layers.target == 1
    rows = known.layers.profile[here]
    by_hand = RandomForestRegressor(30, max_features=1.0, min_samples_leaf=3, random_state=4)
    by_hand.fit(known.features[rows, 2, 2], known.layers.value[here])
    np.testing.assert_allclose(found[:, 1], by_hand.predict(known.features[:, 2, 2]), rtol=1e-5)


def test_the_grid_search_takes_large_leaves_for_noise_and_small_ones_for_a_clear_signal() -> None:
    rng = np.random.default_rng(3)
    features = rng.random((300, 1, 1, 3), np.float32)
    where = Layers(np.arange(300), np.full(300, 2.5), np.zeros(300, np.int64), rng.standard_normal(300))
    clear = Layers(where.profile, where.depth_cm, where.target, features[:, 0, 0, 0].astype(np.float64) * 10)
    grid = Forest(trees=60, max_features=(1.0,), min_samples_leaf=(1, 40))
    assert grid.fit(features, where, np.array([2.5])).chosen[0][1] == 40
    assert grid.fit(features, clear, np.array([2.5])).chosen[0][1] == 1


def test_depth_as_an_input_separates_the_depths(known: Known) -> None:
    estimator = Forest(trees=50, depth_as_input=True, min_samples_leaf=(3,), max_features=(1.0,))
    predictor = estimator.fit(known.features, known.layers, known.depths_cm)
    found = predictor.predict(known.features)
    np.testing.assert_allclose(found.mean(axis=0), known.truth.mean(axis=0), atol=0.05)
    assert np.corrcoef(found.ravel(), known.truth.ravel())[0, 1] > 0.95
    assert predictor.importance.argmax(axis=1).tolist() == [0, 0, 0]


@pytest.mark.parametrize("depth_as_input", [False, True])
def test_a_tile_equals_its_cells_and_a_stored_forest_itself(depth_as_input: bool, known: Known) -> None:
    estimator = Forest(trees=10, depth_as_input=depth_as_input, max_features=(1.0,), min_samples_leaf=(3,))
    predictor = estimator.fit(known.features, known.layers, known.depths_cm)
    tile = np.random.default_rng(0).random((11, 12, 4), np.float32)
    found = predictor.predict_tile(tile)
    cells = tile[2:-2, 2:-2].reshape(-1, 1, 1, 4)
    assert np.array_equal(found.reshape(3, -1).T, predictor.predict(cells))
    meta, arrays = predictor.state()
    again = ForestPredictor.restore(json.loads(json.dumps(meta)), arrays)
    assert np.array_equal(again.predict_tile(tile), found)


def test_arrays_that_would_walk_out_or_in_circles_are_refused(known: Known) -> None:
    predictor = Forest(trees=3, max_features=(1.0,), min_samples_leaf=(3,)).fit(
        known.features, known.layers, known.depths_cm
    )
    meta, arrays = predictor.state()
    inner = int(np.flatnonzero(arrays["0.feature"] >= 0)[0])

    def changed(name: str, value: int) -> dict[str, np.ndarray]:
        array = arrays[name].copy()
        array[inner] = value
        return {**arrays, name: array}

    for broken in (
        changed("0.left", 10**6),
        changed("0.right", inner),
        changed("0.left", -5),
        changed("0.feature", 99),
        {**arrays, "0.value": arrays["0.value"][:-1]},
        {**arrays, "0.start": arrays["0.start"][:1]},
    ):
        with pytest.raises(ModelError) as caught:
            ForestPredictor.restore(meta, broken)
        assert caught.value.code == "GS-MODEL-DAMAGED"
