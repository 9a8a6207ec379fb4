"""Transforms equal scipy's, and come back without bias."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from geosoil.errors import InputError, ModelError
from geosoil.prep.target import KINDS, BackTransform, TargetTransform


def values(seed: int = 0, n: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(1.0, 0.8, n)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str) -> None:
    y = values()
    transform = TargetTransform.fit(y, kind)
    np.testing.assert_allclose(transform.inverse(transform.forward(y)), y, rtol=1e-9)


def test_fitted_powers_equal_scipy() -> None:
    y = values()
    z, power = stats.boxcox(y)
    found = TargetTransform.fit(y, "boxcox")
    assert found.power == pytest.approx(power, abs=1e-6)
    np.testing.assert_allclose(found.forward(y), z, rtol=1e-5)
    signed = y - 3
    z, power = stats.yeojohnson(signed)
    found = TargetTransform.fit(signed, "yeo-johnson")
    assert found.power == pytest.approx(power, abs=1e-6)
    np.testing.assert_allclose(found.forward(signed), z, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1.5, 3.5), st.floats(-20, 20))
@example(5e-324, 1.0)
@example(2.0, -1.0)
def test_yeo_johnson_comes_back_for_any_power(power: float, y: float) -> None:
    transform = TargetTransform("yeo-johnson", power=power)
    assert transform.inverse(transform.forward([y]))[0] == pytest.approx(y, rel=1e-6, abs=1e-6)


def test_zeros_under_a_logarithm_take_half_the_smallest_value() -> None:
    transform = TargetTransform.fit([0.0, 2.0, 8.0], "log")
    assert transform.offset == 1.0
    np.testing.assert_allclose(transform.inverse(transform.forward([0.0, 2.0])), [0.0, 2.0], atol=1e-12)


def test_smearing_recovers_the_lognormal_mean() -> None:
    # Gejiu lead: s = 1.27 makes the mean 2.2 times the median.
    rng = np.random.default_rng(0)
    residuals = 1.27 * rng.standard_normal(200_000)
    transform = TargetTransform("log")
    found = transform.mean([0.0, 2.0], residuals) / transform.inverse([0.0, 2.0])
    np.testing.assert_allclose(found, np.exp(1.27**2 / 2), rtol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_smearing_is_the_mean_over_residuals(kind: str) -> None:
    rng = np.random.default_rng(1)
    transform = TargetTransform.fit(values(), kind)
    residuals = 0.3 * transform.spread * rng.standard_normal(150)
    z = transform.centre + transform.spread * np.linspace(-1, 1, 7)
    by_hand = [np.mean([transform.inverse([one + d])[0] for d in residuals]) for one in z]
    np.testing.assert_allclose(
        transform.mean(z, residuals), by_hand if kind != "none" else transform.inverse(z), rtol=1e-9
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_for_tiles_equals_the_formula(kind: str) -> None:
    rng = np.random.default_rng(2)
    transform = TargetTransform.fit(values(), kind)
    residuals = 0.4 * transform.spread * rng.standard_normal(300)
    z = (transform.centre + transform.spread * rng.uniform(-3, 3, (40, 50))).astype(np.float32)
    found = transform.back_table(residuals, lowest=0, highest=1000)(z)
    expected = np.clip(transform.mean(z, residuals), 0, 1000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_the_limits_of_the_property_hold_and_gaps_stay() -> None:
    back = TargetTransform("none", centre=50.0, spread=30.0).back_table([], lowest=0, highest=100)
    np.testing.assert_array_equal(back(np.array([-20, 0, 42, 130, np.nan], np.float32)), [0, 0, 42, 100, np.nan])


def test_quantiles_need_no_correction() -> None:
    transform = TargetTransform.fit(values(), "log")
    z = np.linspace(0, 2, 9).astype(np.float32)
    np.testing.assert_allclose(transform.quantile_table(0.7)(z), np.exp(z + 0.7) - transform.offset, rtol=2e-5)


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        ("log", [-1.0, 2.0], "1 values are negative"),
        ("sqrt", [-1.0, -2.0], "2 values are negative"),
        ("boxcox", [3.0, 3.0], "all values are 3"),
        ("log", [0.0, 0.0], "all values are 0"),
        ("cube", [1.0], "'cube'"),
    ],
)
def test_values_that_do_not_go_with_a_transform(kind: str, bad: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TargetTransform.fit(bad, kind)
    assert caught.value.code == "GS-TRANSFORM"


def test_it_survives_json_and_damage_is_seen() -> None:
    transform = TargetTransform.fit(values(), "boxcox")
    meta = json.loads(json.dumps(transform.to_meta()))
    assert TargetTransform.from_meta(meta) == transform
    for broken in ({**meta, "kind": "cube"}, {**meta, "power": "x"}, {"kind": "log"}):
        with pytest.raises(ModelError):
            TargetTransform.from_meta(broken)


@pytest.mark.parametrize(
    ("knots", "values"),
    [
        (np.linspace(-3, 5, 4097), np.exp(np.linspace(-3, 5, 4097))),
        (np.array([-1e6, 1e6]), np.array([-1e6, 1e6])),
        (np.cumsum(np.random.default_rng(1).uniform(0.01, 1, 50)) - 12, np.random.default_rng(2).normal(size=50)),
        (np.array([-1.0, 0.0, 1.0]), np.array([-np.inf, 2.0, np.inf])),
        (np.full(3, 0.25), np.full(3, 7.0)),
    ],
    ids=["even", "two knots", "uneven", "infinite", "without width"],
)
def test_a_table_is_looked_up_as_numpy_does(knots: np.ndarray, values: np.ndarray) -> None:
    x = np.random.default_rng(0).normal(scale=4, size=5000).astype(np.float32)
    x[:2000] = np.resize(knots, 2000)
    x[7] = np.nan
    found = BackTransform(knots, values)(x)
    np.testing.assert_array_equal(found, np.interp(x, knots, values).astype(np.float32))
    held = BackTransform(knots, values, -0.5, 1.5)
    np.testing.assert_array_equal(held(x), np.clip(np.interp(x, knots, values), -0.5, 1.5).astype(np.float32))
    # Into a part of something larger, as into the columns of a table.
    out = np.zeros((5000, 2), np.float32)
    held(x, out=out[:, 1])
    np.testing.assert_array_equal(out[:, 1], held(x))
