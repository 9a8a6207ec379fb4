"""Sums of exponentials against float64."""

from __future__ import annotations

import numpy as np
import pytest

from geosoil.kernels.exponential import weighted_exponentials


def test_one_exponential_is_right_to_a_unit_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-87, 80, 1_000_001), -np.logspace(-8, 0, 999), [0.0]]).astype(np.float32)
    found = np.empty_like(x)
    weighted_exponentials(x[None], np.ones(1, np.float32), np.float32(0), found)
    wanted = np.exp(x.astype(np.float64))
    assert (np.abs(found - wanted) <= 1.5 * np.spacing(wanted.astype(np.float32))).all()
    assert found[-1] == 1


@pytest.mark.parametrize("columns", [1, 7, 8, 33])
def test_a_weighted_sum_starts_where_it_is_told(columns: int) -> None:
    rng = np.random.default_rng(0)
    exponents = -rng.gamma(1.0, 5.0, (150, columns)).astype(np.float32)
    weights = rng.normal(size=150).astype(np.float32)
    found = np.empty(columns, np.float32)
    weighted_exponentials(exponents, weights, np.float32(3), found)
    wanted = 3 + weights.astype(np.float64) @ np.exp(exponents.astype(np.float64))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_what_is_far_away_counts_nothing_and_a_gap_stays_one() -> None:
    exponents = np.array([[-90, -1e30, -np.inf, np.nan], [0, 0, 0, 0]], np.float32)
    found = np.empty(4, np.float32)
    weighted_exponentials(exponents, np.array([1e3, 2], np.float32), np.float32(1), found)
    np.testing.assert_array_equal(found, np.array([3, 3, 3, np.nan], np.float32))
