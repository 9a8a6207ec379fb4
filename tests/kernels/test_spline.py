"""The spline kernel against the published matrix form, a hand-worked profile and what mpspline2 computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss

from geosoil.kernels.spline import EXACT, fit_curve, interval_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

DATA = Path(__file__).parents[1] / "data" / "splines"


def fit(top: Float64, bottom: Float64, value: Float64, smoothing: float) -> tuple[Float64, ...]:
    n = len(value)
    mean, slope, start, bend = np.empty(n), np.empty(n + 1), np.empty(n), np.empty(n)
    fit_curve(top, bottom, value, smoothing, mean, slope, start, bend)
    return mean, slope, start, bend


def fit_dense(top: Float64, bottom: Float64, value: Float64, smoothing: float) -> tuple[NDArray[Any], ...]:
    """Bishop et al. (1999) as printed: Z = I + 6 n lambda Q' R^-1 Q, s = Z^-1 y, b = 6 R^-1 Q s."""
    n = len(value)
    thick, gap = bottom - top, top[1:] - bottom[:-1]
    R, Q = np.zeros((n - 1, n - 1)), np.zeros((n - 1, n))
    for i in range(n - 1):
        R[i, i] = 2 * (thick[i] + thick[i + 1]) + 6 * gap[i]
        if i + 1 < n - 1:
            R[i, i + 1] = R[i + 1, i] = thick[i + 1]
        Q[i, i], Q[i, i + 1] = -1, 1
    Z = np.eye(n) + 6 * n * smoothing * Q.T @ np.linalg.solve(R, Q)
    s = np.linalg.solve(Z, value)
    b = 6 * np.linalg.solve(R, Q @ s)
    b0, b1 = np.append(0.0, b), np.append(b, 0.0)
    gamma = (b1 - b0) / (2 * thick)
    return s, np.append(b0, 0.0), s - b0 * thick / 2 - gamma * thick**2 / 3, gamma


@st.composite
def profiles(draw: st.DrawFn) -> tuple[Float64, Float64, Float64]:
    """Layers of 1 to 60 cm, with and without gaps."""
    n = draw(st.integers(1, 12))
    thick = draw(st.lists(st.integers(1, 60), min_size=n, max_size=n))
    gap = draw(st.lists(st.sampled_from([0, 0, 0, 3, 20]), min_size=n, max_size=n))
    value = draw(st.lists(st.floats(0, 100), min_size=n, max_size=n))
    top = np.cumsum(np.array(gap, float)) + np.cumsum([0.0, *thick[:-1]])
    return top, top + np.array(thick, float), np.array(value)


SMOOTHING = st.sampled_from([1e-6, 0.01, 0.1, 1.0, 10.0])


@given(profiles(), SMOOTHING)
@settings(deadline=None)
def test_tridiagonal_form_is_the_published_one(profile: tuple[Float64, Float64, Float64], smoothing: float) -> None:
    for ours, published in zip(fit(*profile, smoothing), fit_dense(*profile, smoothing), strict=True):
        np.testing.assert_allclose(ours, published, rtol=1e-9, atol=1e-9)


def test_hand_worked_profile() -> None:
    edges = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    mean, slope, start, bend = fit(edges[:-1], edges[1:], np.array([5.4, 5.3, 5.6, 7.0]), 0.1)
    assert mean[0] == pytest.approx(5.3938765799840498, rel=1e-14)
    assert slope[1] == pytest.approx(-0.015308550039877671, rel=1e-12)
    assert bend[0] == pytest.approx(-0.00076542750199388358, rel=1e-12)
    assert start[0] == pytest.approx(5.4193908300505127, rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 1.0])
def test_layer_means_of_mpspline2(smoothing: float) -> None:
    layers = pd.read_csv(DATA / "input_profiles.csv")
    expected = pd.read_csv(DATA / "layer_means.csv").query("lam == @smoothing").groupby("profile")
    assert len(expected) == 61
    for name, table in expected:
        rows = layers[layers["profile"] == name]
        top, bottom, value = rows[["ud", "ld", "val"]].to_numpy(float).T.copy()
        mean, *_ = fit(top, bottom, value, smoothing)
        np.testing.assert_allclose(mean, table["s_bar"], rtol=0, atol=5e-11)


@given(profiles())
@settings(deadline=None)
def test_no_smoothing_keeps_every_layer_mean(profile: tuple[Float64, Float64, Float64]) -> None:
    mean, *_ = fit(*profile, 0.0)
    np.testing.assert_allclose(mean, profile[2], rtol=0, atol=1e-12)


@given(profiles(), SMOOTHING)
@settings(deadline=None)
def test_curve_and_slope_are_continuous_and_flat_at_the_ends(
    profile: tuple[Float64, Float64, Float64], smoothing: float
) -> None:
    top, bottom, _ = profile
    _, slope, start, bend = fit(*profile, smoothing)
    thick = bottom - top
    at_bottom = start + slope[:-1] * thick + bend * thick**2
    np.testing.assert_allclose(slope[:-1] + 2 * bend * thick, slope[1:], atol=1e-9)
    np.testing.assert_allclose(at_bottom[:-1] + slope[1:-1] * (top[1:] - bottom[:-1]), start[1:], atol=1e-8)
    assert slope[0] == slope[-1] == 0.0


@given(profiles(), SMOOTHING)
@settings(deadline=None)
def test_exact_mean_equals_quadrature_of_the_curve(profile: tuple[Float64, Float64, Float64], smoothing: float) -> None:
    top, bottom, value = profile
    _, slope, start, bend = fit(*profile, smoothing)

    def curve(depth: Float64) -> Float64:
        layer = np.searchsorted(bottom, depth)
        t = depth - top[layer]
        return np.where(t < 0, start[layer] + slope[layer] * t, start[layer] + slope[layer] * t + bend[layer] * t**2)

    # Three Gauss points integrate each quadratic piece exactly, once the interval is cut where pieces meet.
    upper, lower = top[0] + 0.3, bottom[-1] - 0.2
    cuts = np.concatenate([top, bottom])
    cuts = np.unique(np.concatenate([cuts[(cuts > upper) & (cuts < lower)], [upper, lower]]))
    nodes, weights = leggauss(3)
    half = np.diff(cuts)[:, None] / 2
    points = (cuts[:-1, None] + half) + half * nodes
    expected = (curve(points) * weights * half).sum() / (lower - upper)
    out = np.empty((1, 1))
    interval_means(
        np.array([0, len(value)]), top, bottom, value, np.array([upper]), np.array([lower]),
        smoothing, 0.5, -np.inf, np.inf, EXACT, out,
    )  # fmt: skip
    assert out[0, 0] == pytest.approx(expected, rel=1e-9, abs=1e-9)
