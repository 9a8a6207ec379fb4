"""Partial pooling of a library and local samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.models.evidence import explain
from geosoil.models.pooled import PooledSettings, _drawn, fit_pooled
from geosoil.models.pooled_head import PooledHead
from geosoil.models.source import Source

if TYPE_CHECKING:
    from geosoil.types import Float64

BANDS = 40
NOISE = 0.3
QUICK = PooledSettings(components=8, samples=120)


def _spectra(rng: np.random.Generator, n: int) -> Float64:
    """Smooth curves of six shapes, with a little noise."""
    wave = np.linspace(0, 1, BANDS)
    shapes = np.array([np.exp(-0.5 * ((wave - c) / 0.1) ** 2) for c in np.linspace(0.1, 0.9, 6)])
    found: Float64 = rng.standard_normal((n, 6)) @ shapes + 0.01 * rng.standard_normal((n, BANDS))
    return found


def _made(seed: int = 0, agree: bool = True) -> tuple[Float64, Float64, Source, Float64, Float64]:
    """Twelve local samples, three data sets of a library with offsets, and 200 samples to predict."""
    rng = np.random.default_rng(seed)
    coef = rng.standard_normal(BANDS) / 4
    X, T = _spectra(rng, 12), _spectra(rng, 200)
    far, values, origin = [], [], []
    for place in range(3):
        spectra = _spectra(rng, 60)
        own = coef if agree else rng.standard_normal(BANDS) / 4
        far.append(spectra + rng.standard_normal(BANDS))
        values.append(spectra @ own + 5 * place + NOISE * rng.standard_normal(60))
        origin.append(np.full(60, place))
    source = Source(np.vstack(far), np.concatenate(values), True, np.concatenate(origin))
    return X, X @ coef + 3 + NOISE * rng.standard_normal(12), source, T, T @ coef + 3


def _rmse(found: Float64, truth: Float64) -> float:
    return float(np.sqrt(((found - truth) ** 2).mean()))


def test_a_library_that_agrees_takes_away_most_of_the_error_whatever_its_offsets() -> None:
    alone, pooled = [], []
    for seed in range(4):
        X, y, source, T, truth = _made(seed)
        alone.append(_rmse(fit_pooled(X, y, None, QUICK).predict(T), truth))
        pooled.append(_rmse(fit_pooled(X, y, source, QUICK).predict(T), truth))
    assert np.mean(pooled) < 0.75 * np.mean(alone)


def test_a_library_that_does_not_agree_does_little_harm() -> None:
    alone, pooled = [], []
    for seed in range(4):
        X, y, source, T, truth = _made(seed, agree=False)
        alone.append(_rmse(fit_pooled(X, y, None, QUICK).predict(T), truth))
        pooled.append(_rmse(fit_pooled(X, y, source, QUICK).predict(T), truth))
    assert np.mean(pooled) < 1.2 * np.mean(alone)


def test_an_instruments_offset_and_a_data_sets_mean_change_nothing() -> None:
    X, y, source, T, _ = _made()
    rng = np.random.default_rng(5)
    moved = source.X + rng.standard_normal((3, BANDS))[source.origin]
    other = Source(moved, source.y + rng.standard_normal(3)[source.origin], True, source.origin)
    first, second = (fit_pooled(X, y, one, QUICK).predict(T) for one in (source, other))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-4 * float(np.std(y)))


@pytest.mark.parametrize("view", ["given", "derivative", "both"])
def test_units_of_the_response_and_of_the_features_do_not_matter(view: str) -> None:
    X, y, source, T, _ = _made()
    settings = replace(QUICK, view=view)
    first = fit_pooled(X, y, source, settings).predict(T)
    scaled = Source(50 * source.X, 1e3 * source.y, True, source.origin)
    second = fit_pooled(50 * X, 1e3 * y - 7, scaled, settings).predict(50 * T)
    np.testing.assert_allclose((second + 7) / 1e3, first, rtol=0, atol=1e-3 * float(np.std(y)))


def test_predictions_are_those_of_scikit_learns_gaussian_process_with_the_same_variances() -> None:
    rng = np.random.default_rng(2)
    X, T = rng.standard_normal((25, 3)), rng.standard_normal((10, 3))
    y = X[:, 0] + np.sin(2 * X[:, 1]) + 0.1 * rng.standard_normal(25)
    linear = DotProduct(sigma_0=1e-9)
    smooth = RBF(length_scale=1.3)
    fitted = explain(
        [linear(X), smooth(X)],
        np.zeros((25, 25)),
        np.zeros(25, np.int64),
        y,
        share=(0.5, 1.5),
        noise=(0.3, 1.0),
        steps=60,
    )
    a, b = fitted.share
    jitter = 1e-5 * (np.trace(a * linear(X) + b * smooth(X)) / 25)
    kernel = ConstantKernel(a) * linear + ConstantKernel(b) * smooth + WhiteKernel(fitted.noise[0] + jitter)
    reference = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(X, y)
    ours = (a * linear(T, X) + b * smooth(T, X)) @ fitted.dual
    np.testing.assert_allclose(ours, reference.predict(T), atol=1e-6)


def test_variances_have_the_largest_posterior_density() -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, 3))
    y = X[:, 0] + 0.3 * rng.standard_normal(30)
    linear, smooth = DotProduct(sigma_0=1e-9), RBF(length_scale=1.3)
    kernels, origin = [linear(X), smooth(X)], np.zeros(30, np.int64)
    fitted = explain(kernels, np.zeros((30, 30)), origin, y, share=(0.5, 1.5), noise=(0.3, 1.0), steps=200)

    def density(logs: Float64) -> float:
        a, b, c = np.exp(logs)
        kernel = ConstantKernel(a) * linear + ConstantKernel(b) * smooth + WhiteKernel(c)
        model = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(X, y)
        away = (logs - np.log([0.5, 0.5, 0.3])) / [1.5, 1.5, 1.0]
        return float(model.log_marginal_likelihood_value_ - 0.5 * away @ away)

    found = np.log(np.r_[fitted.share, fitted.noise])
    best = density(found)
    for step in np.vstack([np.eye(3), -np.eye(3)]) * 0.2:
        assert density(found + step) < best


def test_left_out_residuals_are_those_of_models_without_the_group() -> None:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((20, 3))
    y, smooth = X[:, 0] ** 2, RBF(length_scale=1.3)
    fitted = explain(
        [smooth(X)], np.zeros((20, 20)), np.zeros(20, np.int64), y, share=(0.5, 1.5), noise=(0.3, 1.0), steps=30
    )
    rows, rest = np.arange(5), np.arange(5, 20)
    covariance = np.linalg.inv(fitted.inverse)
    weights = np.linalg.solve(covariance[np.ix_(rest, rest)], y[rest])
    expected = y[rows] - covariance[np.ix_(rows, rest)] @ weights
    np.testing.assert_allclose(fitted.left_out(rows), expected, atol=1e-7)


def test_groups_are_left_out_together() -> None:
    X, y, source, _, _ = _made()
    twice, groups = np.repeat(np.arange(12), 2), np.repeat(np.arange(12), 2)
    single = fit_pooled(X[twice], y[twice], source, QUICK)
    grouped = fit_pooled(X[twice], y[twice], source, QUICK, groups=groups)
    assert single.rmsecv < 0.8 * grouped.rmsecv  # the twin of a sample that is left out gives it away
    np.testing.assert_array_equal(single.predict(X), grouped.predict(X))


def test_the_error_of_held_out_samples_is_near_that_of_new_ones() -> None:
    ratios = []
    for seed in range(6):
        X, y, source, T, truth = _made(seed)
        head = fit_pooled(X, y, source, QUICK)
        ratios.append(head.rmsecv / np.hypot(_rmse(head.predict(T), truth), NOISE))
    assert 0.6 < np.mean(ratios) < 1.7


@pytest.mark.parametrize("normalised", [False, True])
def test_importance_is_the_mean_gradient_at_the_samples(normalised: bool) -> None:
    X, y, source, _, _ = _made()
    head = fit_pooled(X, y, source, replace(QUICK, view="both", normalised=normalised))
    step = 1e-5
    gradient = [(head.predict(X + step * one) - head.predict(X - step * one)) / (2 * step) for one in np.eye(BANDS)]
    np.testing.assert_allclose(head.importance, np.abs(gradient).mean(axis=1) * X.std(axis=0), rtol=1e-4, atol=1e-8)


def test_another_property_lends_the_directions_of_its_spectra_only() -> None:
    X, y, source, T, _ = _made()
    other = Source(source.X, np.random.default_rng(1).permutation(source.y), False, source.origin)
    first = fit_pooled(X, y, other, QUICK)
    second = fit_pooled(X, y, Source(source.X, source.y, False, source.origin), QUICK)
    np.testing.assert_array_equal(first.predict(T), second.predict(T))
    assert len(first.bumps[0].dual) == 12


def test_data_sets_share_the_samples_that_are_taken_and_small_ones_give_all() -> None:
    X, y, source, _, _ = _made()
    rows = np.r_[0:10, 60:180]  # ten samples of the first data set, all of the others
    counts = []
    for samples in (40, 90, 999):
        head = fit_pooled(X, y, source.take(rows), replace(QUICK, samples=samples))
        counts.append(len(head.bumps[0].dual) - 12)
    assert counts == [40, 90, 130]
    few = _drawn(source.take(rows).origin, 40, 0)
    assert np.bincount(source.take(rows).origin[few]).tolist() == [10, 15, 15]


def test_a_head_comes_back_from_its_state_and_damage_is_found() -> None:
    X, y, source, T, _ = _made()
    head = fit_pooled(X, y, source, replace(QUICK, view="both"))
    meta, arrays = head.state()
    assert not head.normalised
    back = PooledHead.restore(meta, arrays)
    np.testing.assert_array_equal(back.predict(T), head.predict(T))
    np.testing.assert_array_equal(back.importance, head.importance)
    for broken in (
        (meta | {"bumps": [[3, 2, 1.0]]}, arrays),
        (meta | {"bumps": [["a", 2, 1.0]]}, arrays),
        (meta | {"bumps": 1}, arrays),
        (meta, {name: one for name, one in arrays.items() if name != "dual.1"}),
        (meta | {"features": BANDS + 1}, arrays),
        (meta | {"rmsecv": None}, arrays),
    ):
        with pytest.raises(ModelError) as error:
            PooledHead.restore(*broken)
        assert error.value.code == "GS-MODEL-DAMAGED"


def test_a_normalised_model_does_not_see_level_and_range_of_a_spectrum() -> None:
    X, y, source, T, _ = _made()
    head = fit_pooled(X, y, source, replace(QUICK, normalised=True))
    back = PooledHead.restore(*head.state())
    np.testing.assert_allclose(back.predict(3 * T + 0.5), head.predict(T), atol=1e-9 * float(np.abs(y).max()))
    rows = np.vstack([T[:2], np.full(BANDS, 0.3)])
    np.testing.assert_array_equal(np.isnan(head.predict(rows)), [False, False, True])


def test_normalising_inside_is_the_same_as_before() -> None:
    X, y, source, T, _ = _made()

    def snv(rows: Float64) -> Float64:
        found: Float64 = (rows - rows.mean(axis=1)[:, None]) / rows.std(axis=1, ddof=1)[:, None]
        return found

    inside = fit_pooled(X, y, source, replace(QUICK, normalised=True)).predict(T)
    before = fit_pooled(snv(X), y, replace(source, X=snv(source.X)), QUICK).predict(snv(T))
    np.testing.assert_allclose(inside, before, atol=1e-6)


def test_many_rows_equal_few_and_a_missing_feature_gives_no_value() -> None:
    X, y, source, T, _ = _made()
    head = fit_pooled(X, y, source, QUICK)
    many = np.tile(T, (25, 1))
    found = head.predict(many)
    np.testing.assert_allclose(found[:200], head.predict(T), rtol=1e-9)
    np.testing.assert_allclose(found[-200:], head.predict(T), rtol=1e-9)
    T[3, 7] = np.nan
    np.testing.assert_array_equal(np.isnan(head.predict(T)), np.arange(200) == 3)
    with pytest.raises(ModelError, match="40 features"):
        head.predict(T[:, :5])


def _refused(code: str, X: Float64, y: Float64, source: Source | None = None, view: str = "given") -> None:
    with pytest.raises(InputError) as error:
        fit_pooled(X, y, source, PooledSettings(view=view))
    assert error.value.code == code


def test_bad_input_has_one_clear_error() -> None:
    X, y, source, _, _ = _made()
    flat = np.ones((12, BANDS))
    _refused("GS-SPECTRA-SHAPE", X, y, Source(source.X[:, :5], source.y, True, source.origin))
    _refused("GS-SPECTRA-SHAPE", X[:, :5], y, view="derivative")
    _refused("GS-SPECTRA-CONSTANT", flat, y)
    _refused("GS-SPECTRA-CONSTANT", flat, y, source)
    with pytest.raises(InputError, match="does not vary along its bands"):
        fit_pooled(np.vstack([X[:11], flat[0]]), y, source, PooledSettings(normalised=True))
    _refused("GS-SAMPLES-FEW", X[:2], y[:2], source)
    _refused("GS-TARGET-CONSTANT", X, np.ones(12), source)
    with pytest.raises(InputError, match="12 samples have 3 groups"):
        fit_pooled(X, y, source, groups=[1, 2, 3])


@pytest.mark.parametrize("wrong", [{"view": "none"}, {"width": 0.0}, {"samples": 0}, {"power": 2.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        PooledSettings(**wrong)
    assert error.value.code == "GS-HEAD"
