"""Derivatives of fractional order hold what derivatives hold."""

from __future__ import annotations

from math import gamma

import numpy as np
import pytest
from scipy.special import binom

from geosoil.errors import UsageError
from geosoil.prep.fractional import fractional_derivative, weights

SPECTRA = np.random.default_rng(0).standard_normal((4, 60)).cumsum(axis=1)


def test_whole_orders_are_the_spectra_and_their_differences() -> None:
    before = np.pad(SPECTRA, ((0, 0), (2, 0)))
    np.testing.assert_array_equal(fractional_derivative(SPECTRA, 0), SPECTRA)
    np.testing.assert_allclose(fractional_derivative(SPECTRA, 1), np.diff(before)[:, 1:], atol=1e-12)
    np.testing.assert_allclose(fractional_derivative(SPECTRA, 2, step=2.0), np.diff(before, 2) / 4, atol=1e-12)


def test_orders_add_up() -> None:
    twice = fractional_derivative(fractional_derivative(SPECTRA, 0.75), 1.25)
    np.testing.assert_allclose(twice, fractional_derivative(SPECTRA, 2), atol=1e-10)


@pytest.mark.parametrize("order", [0.25, 0.5, 1.5, 1.75])
def test_weights_are_signed_binomials(order: float) -> None:
    k = np.arange(30)
    np.testing.assert_allclose(weights(order, 30), (-1.0) ** k * binom(order, k), rtol=1e-10)


def test_the_half_derivative_of_a_power_is_known() -> None:
    step = 1e-3
    x = np.arange(1, 2001) * step
    found = fractional_derivative((x**2)[None], 0.5, step=step)[0]
    np.testing.assert_allclose(found[100:], gamma(3) / gamma(2.5) * x[100:] ** 1.5, rtol=5e-3)


def test_spectra_side_by_side_do_not_touch() -> None:
    both = fractional_derivative(np.hstack([SPECTRA, SPECTRA[:, :20]]), 0.5, pieces=(60, 20))
    np.testing.assert_allclose(both[:, :60], fractional_derivative(SPECTRA, 0.5))
    np.testing.assert_allclose(both[:, 60:], fractional_derivative(SPECTRA[:, :20], 0.5))


@pytest.mark.parametrize(("order", "step", "pieces"), [(-1, 1, ()), (1, 0, ()), (1, 1, (60, 1)), (1, 1, (61, -1))])
def test_what_makes_no_sense_is_refused(order: float, step: float, pieces: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        fractional_derivative(SPECTRA, order, step=step, pieces=pieces)
    assert caught.value.code == "GS-FRACTIONAL"
