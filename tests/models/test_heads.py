"""Heads equal what scikit-learn and torch fitted, search inside what they are given, and survive a model file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from geosoil.errors import GeosoilError, ModelError, UsageError
from geosoil.models.dnn import DnnHead
from geosoil.models.heads import Head, HeadSettings, LinearHead, SvrHead, fit_head, restore_head
from geosoil.models.spectral_forest import ForestHead
from geosoil.models.svr import _Bayes, _Near
from geosoil.prep.fractional import fractional_derivative
from geosoil.prep.pls import choose_components, fold_numbers

Array = NDArray[np.float64]
HERE = Path(__file__).parents[1] / "data" / "chemometrics"

#: Settings that fit in a moment. Networks along the bands have tests of their own.
QUICK = {
    "plsr": HeadSettings("plsr"),
    "svr": HeadSettings("svr", budget=6),
    "rf": HeadSettings("rf", trees=10),
    "fd-rf": HeadSettings("fd-rf", trees=10, orders=(0.0, 1.0)),
    "dnn": HeadSettings("dnn", members=1, epochs=100),
}
KINDS = tuple(QUICK)


@pytest.fixture(scope="module")
def gasoline() -> tuple[Array, Array]:
    table = pd.read_csv(HERE / "gasoline.csv").to_numpy()
    return np.ascontiguousarray(table[:, 1::8]), table[:, 0]


@pytest.fixture(scope="module")
def heads(gasoline: tuple[Array, Array]) -> dict[str, Head]:
    return {kind: fit_head(*gasoline, settings, seed=3) for kind, settings in QUICK.items()}


def made(n: int = 60, p: int = 8, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    return X, X[:, 0] - 2 * X[:, 1] + 5 + 0.2 * rng.standard_normal(n)


def rmse(head: Head, X: Array, y: Array) -> float:
    return float(np.sqrt(np.mean((head.predict(X) - y) ** 2)))


def test_a_linear_head_equals_scikit_learns_pls_of_the_count_that_cross_validation_takes(
    gasoline: tuple[Array, Array],
) -> None:
    X, y = gasoline
    head = fit_head(X, y, HeadSettings(most_components=12), seed=4)
    assert isinstance(head, LinearHead)
    choice = choose_components(X, y, 12, seed=4)
    assert (head.components, head.rmsecv) == (choice.components, choice.rmsecv[choice.components - 1])
    theirs = PLSRegression(head.components, scale=False).fit(X, y)
    np.testing.assert_allclose(head.predict(X), theirs.predict(X), rtol=1e-9)
    np.testing.assert_allclose(X @ head.coef + head.intercept, head.predict(X), rtol=1e-12)
    given = fit_head(X, y, HeadSettings(components=3))
    np.testing.assert_allclose(given.predict(X), PLSRegression(3, scale=False).fit(X, y).predict(X), rtol=1e-9)


def test_a_support_vector_head_equals_scikit_learns(gasoline: tuple[Array, Array]) -> None:
    X, y = gasoline
    head = fit_head(X, y, QUICK["svr"])
    assert isinstance(head, SvrHead)
    model = SVR(C=head.c, gamma=head.gamma, epsilon=head.epsilon)
    theirs = make_pipeline(StandardScaler(), model).fit(X, (y - y.mean()) / y.std())
    # More rows than a block, far from the samples and near.
    rng = np.random.default_rng(0)
    fresh = X[rng.integers(0, len(X), 5000)] + rng.standard_normal((5000, X.shape[1])) * X.std(axis=0)
    found = theirs.predict(fresh) * y.std() + y.mean()
    np.testing.assert_allclose(head.predict(fresh), found, atol=1e-9 * y.std())


@pytest.mark.parametrize("search", ["near", "bayes"])
def test_a_search_beats_the_customary_setting_where_it_is_far_off(search: Literal["near", "bayes"]) -> None:
    rng = np.random.default_rng(1)
    X = rng.uniform(-2, 2, (150, 2))
    y = 100 * np.sin(3 * X[:, 0]) * np.cos(3 * X[:, 1])
    fresh = rng.uniform(-2, 2, (300, 2))
    truth = 100 * np.sin(3 * fresh[:, 0]) * np.cos(3 * fresh[:, 1])
    plain = fit_head(X, y, HeadSettings("svr", budget=1))
    searched = fit_head(X, y, HeadSettings("svr", budget=30, search=search))
    assert isinstance(plain, SvrHead)
    assert (plain.c, plain.gamma, plain.epsilon, plain.rmsecv) == (1.0, 0.5, 0.1, None)
    assert rmse(searched, fresh, truth) < 0.7 * rmse(plain, fresh, truth)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_bayesian_search_finds_a_valley_that_points_spread_out_miss() -> None:
    """A bowl in the logarithms, with an error that is low by chance beside its slope."""
    ranges = np.log([(1e-2, 1e3), (1e-3, 10.0), (0.01, 0.5)])
    valley = ranges[:, 0] + np.array([0.9, 0.15, 0.6]) * np.ptp(ranges, axis=1)
    found = {}
    for kind, search in (("near", _Near(ranges, 24, 3)), ("bayes", _Bayes(ranges, 24, 3))):
        for _ in range(24):
            away = (search.next() - valley) / np.ptp(ranges, axis=1)
            search.tell(float(np.exp(4 * away @ away)), whole=True)
        found[kind] = float(np.abs((search.tried[search.best()] - valley) / np.ptp(ranges, axis=1)).max())
    assert found["bayes"] < 0.05
    assert found["bayes"] < found["near"]


def test_the_error_of_a_search_is_that_of_scikit_learn_on_the_same_folds() -> None:
    X, y = made()
    groups = np.arange(60) // 2
    settings = HeadSettings("svr", budget=2, folds=4, c=(3.0, 3.0), gamma=(0.5, 0.5), epsilon=(0.2, 0.2))
    head = fit_head(X, y, settings, groups=groups, seed=5)
    fold = fold_numbers(60, 4, groups=groups, seed=5)
    found = np.empty(60)
    for one in range(4):
        train = fold != one
        centre, spread = y[train].mean(), y[train].std()
        model = make_pipeline(StandardScaler(), SVR(C=3, gamma=0.5 / 8, epsilon=0.2))
        found[~train] = model.fit(X[train], (y[train] - centre) / spread).predict(X[~train]) * spread + centre
    assert head.rmsecv == pytest.approx(np.sqrt(np.mean((found - y) ** 2)), rel=1e-6)


def test_a_forest_head_equals_scikit_learns_on_the_derivative_it_chose() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((120, 40)).cumsum(axis=1).astype(np.float32).astype(np.float64)
    y = X[:, 20] - X[:, 19] + 0.05 * rng.standard_normal(120)
    head = fit_head(X, y, HeadSettings("fd-rf", trees=30, orders=(0.0, 0.5, 1.0, 1.5, 2.0)), seed=7)
    plain = fit_head(X, y, HeadSettings("rf", trees=30), seed=7)
    assert isinstance(head, ForestHead)
    assert head.order == 1
    assert head.importance.argmax() == 20
    assert head.rmsecv is not None
    assert plain.rmsecv is not None
    assert head.rmsecv < 0.7 * plain.rmsecv
    views = fractional_derivative(X, head.order)
    grid = [
        RandomForestRegressor(30, max_features=share, min_samples_leaf=leaf, random_state=7)
        .fit(views, y)
        .predict(views)
        for share in (1 / 3, 2 / 3, 1.0)
        for leaf in (1, 3, 5)
    ]
    assert any(np.allclose(head.predict(X), one, rtol=1e-10) for one in grid)


def test_a_network_from_arrays_equals_torch() -> None:
    X, y = made()
    X, y = X[:20], y[:20]
    head = fit_head(X, y, HeadSettings("dnn", members=2, epochs=20))
    assert isinstance(head, DnnHead)
    z = torch.from_numpy((X - head.mean) / head.sd)
    members = []
    for member in range(2):
        x = torch.relu(z @ torch.from_numpy(head.weight1[member]) + torch.from_numpy(head.bias1[member]))
        x = torch.relu(x @ torch.from_numpy(head.weight2[member]) + torch.from_numpy(head.bias2[member]))
        members.append(x @ torch.from_numpy(head.weight3[member]) + head.bias3[member])
    expected = torch.stack(members).mean(dim=0).numpy() * head.spread + head.centre
    np.testing.assert_allclose(head.predict(X), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learned_holds_for_new_samples(kind: str) -> None:
    X, y = made(120, seed=1)
    fresh, truth = made(200, seed=2)
    head = fit_head(X, y, replace(QUICK[kind], trees=50, orders=(0.0,), budget=20, epochs=400))
    assert rmse(head, fresh, truth) < {"rf": 1.1, "fd-rf": 1.1}.get(kind, 0.4) < 0.5 * y.std()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_head_predicts_the_same(kind: str, heads: dict[str, Head], gasoline: tuple[Array, Array]) -> None:
    head = heads[kind]
    meta, arrays = head.state()
    again = restore_head(kind, json.loads(json.dumps(meta, allow_nan=False)), arrays)
    assert isinstance(head, Head)
    assert (again.kind, again.features, again.rmsecv) == (kind, gasoline[0].shape[1], head.rmsecv)
    assert np.array_equal(again.predict(gasoline[0]), head.predict(gasoline[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_repeats(kind: str, heads: dict[str, Head], gasoline: tuple[Array, Array]) -> None:
    again = fit_head(*gasoline, QUICK[kind], seed=3)
    assert np.array_equal(again.predict(gasoline[0]), heads[kind].predict(gasoline[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_of_the_response_is_the_users(
    kind: str, heads: dict[str, Head], gasoline: tuple[Array, Array]
) -> None:
    X, y = gasoline
    # A power of two: trees decide between equal splits by the last digit.
    scaled = fit_head(X, 1024 * y, QUICK[kind], seed=3)
    np.testing.assert_allclose(scaled.predict(X), 1024 * heads[kind].predict(X), rtol=1e-6)
    assert scaled.rmsecv == pytest.approx(1024 * (heads[kind].rmsecv or 0), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_with_gaps_give_gaps_and_no_rows_give_none(
    kind: str, heads: dict[str, Head], gasoline: tuple[Array, Array]
) -> None:
    X = gasoline[0].copy()
    X[[3, 7], 5] = np.nan
    found = heads[kind].predict(X)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 7]
    assert heads[kind].predict(X[:0]).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_samples_flatter_a_search_unless_they_are_grouped(kind: str) -> None:
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((15, 20)), rng.standard_normal(15)
    X, y, groups = np.vstack([X, X, X]), np.tile(y, 3), np.tile(np.arange(15), 3)
    blind = fit_head(X, y, QUICK[kind]).rmsecv
    honest = fit_head(X, y, QUICK[kind], groups=groups).rmsecv
    assert blind is not None
    assert honest is not None
    assert blind < 0.85 * honest


@pytest.mark.parametrize("kind", KINDS)
def test_other_features_are_refused(kind: str, heads: dict[str, Head], gasoline: tuple[Array, Array]) -> None:
    with pytest.raises(ModelError, match="takes 51 features") as caught:
        heads[kind].predict(gasoline[0][:, 1:])
    assert caught.value.code == "GS-MODEL-FEATURES"


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_seen(kind: str, heads: dict[str, Head]) -> None:
    meta, arrays = heads[kind].state()
    for name, value in arrays.items():
        without = {key: one for key, one in arrays.items() if key != name}
        for broken in (without, {**arrays, name: value[:-1]}):
            with pytest.raises(ModelError) as caught:
                restore_head(kind, meta, broken)
            assert caught.value.code == "GS-MODEL-DAMAGED"
    for name in ("features", "intercept", "gamma", "spread", "order"):
        if name in meta:
            for bad in ("x", float("nan"), None):
                with pytest.raises(ModelError):
                    restore_head(kind, {**meta, name: bad}, arrays)


def test_a_head_of_another_kind_is_not_taken(heads: dict[str, Head]) -> None:
    for kind in ("cubist", "fd-rf"):
        with pytest.raises(ModelError):
            restore_head(kind, *heads["rf"].state())


BAD_SETTINGS: list[Callable[[], object]] = [
    lambda: HeadSettings("cubist"),
    lambda: HeadSettings("svr", c=(0.0, 1.0)),
    lambda: HeadSettings("svr", search="grid"),  # type: ignore[arg-type]
    lambda: HeadSettings("svr", gamma=(2.0, 1.0)),
    lambda: HeadSettings("svr", budget=0),
    lambda: HeadSettings("fd-rf", orders=()),
    lambda: HeadSettings("fd-rf", orders=(-1.0,)),
]


@pytest.mark.parametrize("call", BAD_SETTINGS)
def test_settings_that_make_no_sense_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.code == "GS-HEAD"


@pytest.mark.parametrize("kind", KINDS)
def test_samples_that_cannot_be_fitted_are_refused(kind: str) -> None:
    X, y = made()
    bad: dict[str, Callable[[], object]] = {
        "GS-TARGET-CONSTANT": lambda: fit_head(X, y * 0, QUICK[kind]),
        "GS-SPECTRA-NAN": lambda: fit_head(X * np.nan, y, QUICK[kind]),
        "GS-SPECTRA-SHAPE": lambda: fit_head(X, y[:5], QUICK[kind]),
        "GS-FOLDS": lambda: fit_head(X, y, QUICK[kind], groups=np.zeros(60)),
    }
    for code, call in bad.items():
        with pytest.raises(GeosoilError) as caught:
            call()
        assert caught.value.code == code


if "GEOSOIL_DATA" in os.environ:

    def test_carbon_of_dry_soils_is_told_from_their_spectra_and_worse_from_wet_ones() -> None:
        table = pd.read_parquet(Path(os.environ["GEOSOIL_DATA"]) / "geeves-visnir" / "moisture_absorbance.parquet")
        found = {}
        for state, rows in table.groupby("moisture_state"):
            absorbance = rows[[str(band) for band in range(500, 2450, 10)]].to_numpy(np.float64)
            snv = absorbance - absorbance.mean(axis=1, keepdims=True)
            snv /= snv.std(axis=1, ddof=1, keepdims=True)
            y = rows["total_carbon_pct"].to_numpy()
            for kind in ("plsr", "svr"):
                fold, predicted = fold_numbers(100, 10, seed=1), np.empty(100)
                for one in range(10):
                    head = fit_head(snv[fold != one], y[fold != one], HeadSettings(kind, budget=20))
                    predicted[fold == one] = head.predict(snv[fold == one])
                found[str(state), kind] = float(np.sqrt(np.mean((predicted - y) ** 2)))
        assert found["air_dry", "plsr"] < 1.1 < found["wet", "plsr"] < 1.4
        assert found["air_dry", "svr"] < 1.0 < found["wet", "svr"]
