"""PLS equals R's and scikit-learn's, and its cross-validation sees only what it may."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.signal import savgol_filter
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from geosoil.errors import GeosoilError
from geosoil.prep.pls import choose_components, fit_pls, fold_numbers, held_out_predictions, simplest

Array = NDArray[np.float64]
HERE = Path(__file__).parents[1] / "data" / "chemometrics"


@pytest.fixture(scope="module")
def gasoline() -> tuple[Array, Array]:
    table = pd.read_csv(HERE / "gasoline.csv").to_numpy()
    return table[:, 1:], table[:, 0]


def made(n: int = 40, p: int = 15, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)).cumsum(axis=1)
    return X, X @ rng.standard_normal(p) + rng.standard_normal(n)


def test_leave_one_out_errors_equal_those_of_the_r_package(gasoline: tuple[Array, Array]) -> None:
    X, y = gasoline[0][:50], gasoline[1][:50]
    reference = pd.read_csv(HERE / "pls_gasoline_loo_rmsep.csv")
    found = choose_components(X, y, 10, folds=50, order="interleaved")
    np.testing.assert_allclose(found.rmsecv, reference["rmsep_cv"][1:], rtol=1e-12)
    assert found.components == reference["rmsep_cv"][1:].argmin() + 1


@pytest.mark.parametrize("scale", [False, True])
def test_coefficients_of_every_count_equal_scikit_learns(gasoline: tuple[Array, Array], scale: bool) -> None:
    X, y = gasoline
    model = fit_pls(X, y, 8, scale=scale)
    for components in (1, 2, 5, 8):
        theirs = PLSRegression(components, scale=scale).fit(X, y)
        np.testing.assert_allclose(model.coef[components - 1], theirs.coef_[0], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(model.predict(X)[components - 1], theirs.predict(X), rtol=1e-10)


def test_importance_in_projection_equals_its_formula_from_scikit_learns_parts(gasoline: tuple[Array, Array]) -> None:
    X, y = gasoline
    theirs = PLSRegression(4, scale=False).fit(X, y)
    explained = theirs.y_loadings_[0] ** 2 * (theirs.x_scores_**2).sum(axis=0)
    vip = np.sqrt(X.shape[1] * theirs.x_weights_**2 @ explained / explained.sum())
    model = fit_pls(X, y, 6)
    np.testing.assert_allclose(model.vip(4), vip, rtol=1e-7)
    assert np.mean(model.vip() ** 2) == pytest.approx(1)


@pytest.mark.parametrize("scale", [False, True])
def test_held_out_predictions_equal_fits_by_hand(scale: bool) -> None:
    X, y = made()
    groups = np.arange(40) // 4
    fold = fold_numbers(40, 5, groups=groups, seed=3)
    found = held_out_predictions(X, y, fold, 6, scale=scale)
    for one in range(5):
        out = fold == one
        by_hand = fit_pls(X[~out], y[~out], 6, scale=scale).predict(X[out])
        np.testing.assert_allclose(found[:, out], by_hand, rtol=1e-9, atol=1e-9)


def test_grouped_errors_equal_scikit_learns_with_the_same_groups() -> None:
    X, y = made()
    groups = np.repeat(np.arange(8), 5)
    theirs = cross_val_predict(PLSRegression(3, scale=False), X, y, cv=GroupKFold(8), groups=groups)
    found = choose_components(X, y, 3, folds=8, groups=groups)
    assert found.rmsecv[2] == pytest.approx(np.sqrt(np.mean((theirs - y) ** 2)), rel=1e-9)


def test_copies_of_samples_flatter_the_error_unless_they_are_grouped() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((20, 60)), rng.standard_normal(20)
    X, y, groups = np.vstack([X, X]), np.concatenate([y, y]), np.tile(np.arange(20), 2)
    blind = choose_components(X, y, 10, folds=5, seed=1).rmsecv.min()
    honest = choose_components(X, y, 10, folds=5, groups=groups, seed=1).rmsecv.min()
    assert blind < 0.8 * y.std() < 0.9 * honest


def test_a_response_of_three_components_needs_three() -> None:
    rng = np.random.default_rng(5)
    scores, loadings = rng.standard_normal((80, 3)) * [3, 2, 1], rng.standard_normal((3, 50))
    X = scores @ loadings + 0.01 * rng.standard_normal((80, 50))
    y = scores @ [1.0, -2.0, 3.0] + 0.1 * rng.standard_normal(80)
    for seed in range(3):
        assert choose_components(X, y, 12, rule="one_se", seed=seed).components == 3
        assert choose_components(X, y, 12, seed=seed).components >= 3


def test_the_one_standard_error_rule_takes_the_first_count_below_the_limit() -> None:
    fold = np.array([0, 0, 1, 1])
    errors = np.array([[9.0, 9, 9, 9], [1.5, 1.5, 4, 4], [1, 1, 4, 4], [1, 1, 3.9, 3.9]])
    rmse, by_fold = np.sqrt(errors.mean(axis=1)), np.sqrt([1, 3.9])
    limit = rmse[3] + by_fold.std(ddof=1) / np.sqrt(2)
    assert rmse[0] > limit > rmse[1]
    assert simplest(errors, fold, "one_se") == 2
    assert simplest(errors, fold) == 4


def test_units_change_no_choice_and_no_prediction() -> None:
    X, y = made()
    plain, tiny = fit_pls(X, y, 8), fit_pls(X * 1e-9, y * 1e9, 8)
    np.testing.assert_allclose(tiny.predict(X * 1e-9), plain.predict(X) * 1e9, rtol=1e-9)
    ours, theirs = choose_components(X, y, 8), choose_components(X * 1e-12, y * 1e6, 8)
    np.testing.assert_allclose(theirs.rmsecv, ours.rmsecv * 1e6, rtol=1e-9)


def test_components_beyond_the_rank_change_nothing() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 20))
    y = X[:, 0] + rng.standard_normal(30)
    model = fit_pls(X, y, 10)
    assert model.rank == 3
    least_squares = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y, rcond=None)[0]
    for row in model.predict(X)[2:]:
        np.testing.assert_allclose(row, X @ least_squares[:-1] + least_squares[-1], rtol=1e-8, atol=1e-8)
    held = held_out_predictions(X, y, fold_numbers(30, 5), 10)
    np.testing.assert_allclose(held[3:], held[2:3].repeat(len(held) - 3, axis=0), rtol=1e-8, atol=1e-8)


def test_one_band_is_a_straight_line() -> None:
    x, y = np.arange(10.0), 3 * np.arange(10.0) + np.sin(np.arange(10))
    model = fit_pls(x[:, None], y, 5)
    slope, intercept = np.polyfit(x, y, 1)
    assert model.coef.shape == (1, 1)
    assert (model.coef[0, 0], model.intercept[0]) == pytest.approx((slope, intercept))


def test_counts_are_cut_to_samples_and_bands() -> None:
    X, y = made(n=9, p=30)
    assert fit_pls(X, y, 50).coef.shape == (8, 30)
    # Three folds of nine leave six samples, so five components.
    assert len(choose_components(X, y, 50, folds=3).rmsecv) == 5


def test_folds_are_balanced_repeat_with_their_seed_and_hold_groups_together() -> None:
    groups = np.array(["b", "a", "b", "c", "d", "a", "e", "f"])
    first = fold_numbers(8, 3, groups=groups, seed=1)
    assert all(len(np.unique(first[groups == one])) == 1 for one in groups)
    assert np.bincount([first[groups == one][0] for one in "abcdef"]).tolist() == [2, 2, 2]
    assert np.array_equal(first, fold_numbers(8, 3, groups=groups, seed=1))
    assert any(not np.array_equal(first, fold_numbers(8, 3, groups=groups, seed=seed)) for seed in range(2, 6))
    assert (fold_numbers(59).max(), fold_numbers(60).max()) == (4, 9)
    assert fold_numbers(8, groups=np.repeat([1, 2], 4)).max() == 1


Call = Callable[[Array, Array], object]
BAD: list[tuple[str, Call]] = [
    ("GS-SPECTRA-NAN", lambda X, y: fit_pls(np.where(np.isin(X, X.max()), np.nan, X), y, 2)),
    ("GS-SPECTRA-NAN", lambda X, y: fit_pls(X, np.where(y == y[3], np.inf, y), 2)),
    ("GS-TARGET-CONSTANT", lambda X, y: fit_pls(X, y * 0 + 2, 2)),
    ("GS-SPECTRA-SHAPE", lambda X, y: fit_pls(X, y[:-1], 2)),
    ("GS-SPECTRA-SHAPE", lambda X, y: fit_pls(X[0], y, 2)),
    ("GS-SAMPLES-FEW", lambda X, y: fit_pls(X[:2], y[:2], 1)),
    ("GS-SPECTRA-SHAPE", lambda X, y: fit_pls(X, y, 2).predict(X[:, :3])),
    ("GS-COMPONENTS", lambda X, y: fit_pls(X, y, 0)),
    ("GS-FOLDS", lambda X, y: choose_components(X, y, 3, folds=41)),
    ("GS-FOLDS", lambda X, y: choose_components(X, y, 3, groups=np.zeros(40))),
    ("GS-RULE", lambda X, y: choose_components(X, y, 3, rule="largest")),
    ("GS-RULE", lambda X, y: choose_components(X, y, 3, order="sorted")),
    ("GS-SPECTRA-SHAPE", lambda X, y: choose_components(X, y, 3, groups=[1, 2])),
]


@pytest.mark.parametrize(("code", "call"), BAD)
def test_data_that_cannot_be_fitted_are_refused(code: str, call: Call) -> None:
    with pytest.raises(GeosoilError) as caught:
        call(*made())
    assert caught.value.code == code


if "GEOSOIL_DATA" in os.environ:
    REFERENCE = Path(os.environ["GEOSOIL_DATA"]) / "reference"

    def test_nirsoil_equals_the_r_package() -> None:
        absorbance = pd.read_csv(REFERENCE / "nirsoil_spectra_absorbance.csv.gz").to_numpy()[:, 1:]
        properties = pd.read_csv(REFERENCE / "nirsoil_properties.csv")
        snv = absorbance - absorbance.mean(axis=1, keepdims=True)
        snv /= snv.std(axis=1, ddof=1, keepdims=True)
        X, y = savgol_filter(snv, 11, 2, 1, axis=1)[:, 5:-5], properties["Ciso"].to_numpy()
        train = (properties["train"] == 1) & properties["Ciso"].notna()
        test = (properties["train"] == 0) & properties["Ciso"].notna()
        table = pd.read_csv(REFERENCE / "pls_nirsoil_ciso_snv_sg1_20comp.csv")
        theirs = table[table["method"] == "kernelpls"]
        model = fit_pls(X[train], y[train], 20)
        rmse = np.sqrt(((model.predict(X[test]) - y[test]) ** 2).mean(axis=1))
        np.testing.assert_allclose(rmse, theirs["rmse_test"], rtol=1e-12)
        np.testing.assert_allclose(model.coef[:, 0], theirs["coef1"], rtol=1e-11)
        np.testing.assert_allclose(model.intercept, theirs["intercept"], rtol=1e-11)
        choice = choose_components(X[train], y[train], 20, folds=10, order="interleaved")
        reference = pd.read_csv(REFERENCE / "pls_nirsoil_ciso_rmsecv.csv")["rmsecv_interleaved10"]
        np.testing.assert_allclose(choice.rmsecv, reference, rtol=1e-12)

    @pytest.mark.parametrize(("state", "expected"), [("air_dry", 0.98), ("wet_dried_1_day", 1.09), ("wet", 1.16)])
    def test_carbon_of_moist_soils_is_predicted_as_others_found(state: str, expected: float) -> None:
        table = pd.read_parquet(Path(os.environ["GEOSOIL_DATA"]) / "geeves-visnir" / "moisture_absorbance.parquet")
        table = table[table["moisture_state"] == state]
        absorbance = table[[str(band) for band in range(500, 2450, 10)]].to_numpy(np.float64)
        snv = absorbance - absorbance.mean(axis=1, keepdims=True)
        snv /= snv.std(axis=1, ddof=1, keepdims=True)
        y = table["total_carbon_pct"].to_numpy()
        errors = [choose_components(snv, y, 20, folds=10, seed=seed).rmsecv.min() for seed in range(10)]
        assert np.mean(errors) == pytest.approx(expected, abs=0.04)
