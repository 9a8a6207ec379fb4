"""Loops along the band axis equal plain NumPy, SciPy and mathematics."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from geosoil.kernels import spectral as kernel

Array = NDArray[Any]
LIMITS = (1e-4, 1.5)


def counts() -> Array:
    return np.zeros(len(kernel.COUNTS), np.int64)


def spectrum(seed: int = 0, bands: int = 120, dtype: Any = np.float64) -> Array:
    """A soil-like curve with absorption features and a little noise."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, bands)
    curve = 0.15 + 0.4 * x - 0.1 * np.exp(-(((x - rng.uniform(0.2, 0.8)) / 0.05) ** 2)) + 0.01 * rng.random(bands)
    return curve.astype(dtype)


def program(*steps: tuple[int, list[int], list[float], int], bands: int, dtype: Any = np.float64) -> tuple[Array, ...]:
    """What `walk` takes, from (code, layout, constants, bands after it)."""
    layouts, constants = [one[1] for one in steps], [one[2] for one in steps]
    return (
        np.array([one[0] for one in steps], np.int64),
        np.array([bands, *(one[3] for one in steps)], np.int64),
        np.array([*chain.from_iterable(layouts)], np.int64),
        np.cumsum([0, *map(len, layouts)]).astype(np.int64),
        np.array([*chain.from_iterable(constants)], dtype),
        np.cumsum([0, *map(len, constants)]).astype(np.int64),
    )


def walk(rows: Array, steps: tuple[Array, ...], out: Array, found: Array) -> None:
    codes, lengths, layouts, layout_start, constants, constant_start = steps
    kernel.walk(rows, codes, lengths, layouts, layout_start, constants, constant_start, out, found)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-30, 1e30))
def test_the_logarithm_is_that_of_the_library_for_any_size(value: float) -> None:
    out, limits = np.empty(1), np.array([1e-30, np.inf])
    kernel.absorbance(np.array([value]), limits, out, counts())
    assert out[0] == pytest.approx(-np.log10(value), rel=4e-16, abs=2e-16)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_absorbance_is_exact_to_the_rounding_of_its_type(dtype: Any, tolerance: float) -> None:
    reflectance: Array = np.geomspace(1e-4, 1.5, 20_001).astype(dtype)
    out = np.empty_like(reflectance)
    assert kernel.absorbance(reflectance, np.array(LIMITS, dtype), out, counts()) == -1
    np.testing.assert_allclose(out, -np.log10(reflectance.astype(np.float64)), atol=tolerance, rtol=tolerance)


def test_what_is_below_the_floor_is_raised_and_counted_and_what_is_too_bright_is_named() -> None:
    found, out = counts(), np.empty(4)
    assert kernel.absorbance(np.array([0.5, 0.0, -0.2, 1.5]), np.array(LIMITS), out, found) == -1
    np.testing.assert_allclose(out, [-np.log10(0.5), 4, 4, -np.log10(1.5)])
    assert dict(zip(kernel.COUNTS, found.tolist(), strict=True)) == {
        "missing": 0, "floored": 2, "bright": 0, "flat": 0,
    }  # fmt: skip
    state = kernel.absorbance(np.array([0.5, 1.51]), np.array(LIMITS), np.empty(2), found)
    assert kernel.COUNTS[state] == "bright"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 300), st.floats(0.1, 10), st.floats(-5, 5))
def test_snv_has_mean_0_and_sd_1_and_forgets_gain_and_offset(seed: int, bands: int, gain: float, offset: float) -> None:
    row, out, other, tolerance = np.random.default_rng(seed).random(bands), *np.empty((2, bands)), np.array([1e-13])
    assert kernel.snv(row, tolerance, out) == -1
    assert out.mean() == pytest.approx(0, abs=1e-10)
    assert out.std(ddof=1) == pytest.approx(1, rel=1e-10)
    kernel.snv(gain * row + offset, tolerance, other)
    np.testing.assert_allclose(other, out, atol=1e-8)


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 1e-3, 7.7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_spectrum_is_flat_whatever_its_level_and_length(value: float, dtype: Any) -> None:
    for bands in (2, 7, 100, 1000, 3001):
        row: Array = np.full(bands, value, dtype)
        state = kernel.snv(row, np.array([64 * np.finfo(dtype).eps], dtype), np.empty_like(row))
        assert kernel.COUNTS[state] == "flat"


def test_shapes_that_are_taken_out_are_gone_and_nothing_else() -> None:
    row, out = spectrum(), np.empty(120)
    basis, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, 120), 3))
    kernel.project_out(row, np.ascontiguousarray(basis.T).ravel(), out)
    np.testing.assert_allclose(basis.T @ out, 0, atol=1e-14)
    np.testing.assert_allclose(out, row - basis @ np.linalg.lstsq(basis, row, rcond=None)[0], atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 5, 11]), st.lists(st.integers(11, 40), min_size=1, max_size=4))
def test_windows_are_correlations_inside_each_segment(seed: int, width: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    pieces, weights = [rng.random(length) for length in lengths], rng.standard_normal(width)
    starts, made = np.cumsum([0, *lengths]), np.cumsum([0, *(length - width + 1 for length in lengths)])
    layout = [width, 0]
    for first, start, length in zip(starts, made, lengths, strict=False):
        layout += [int(first), int(start), length - width + 1]
    out = np.empty(made[-1])
    kernel.convolve(np.concatenate(pieces), np.array(layout, np.int64), weights, out)
    expected = np.concatenate([np.correlate(piece, weights, "valid") for piece in pieces])
    np.testing.assert_allclose(out, expected, atol=1e-13)


def test_scatter_correction_brings_a_shifted_and_stretched_spectrum_back() -> None:
    reference = spectrum(1)
    centred = reference - reference.mean()
    constants = np.concatenate([centred / (centred @ centred), [reference.mean(), 1e-5]])
    out = np.empty_like(reference)
    assert kernel.msc(0.3 + 1.7 * reference, constants, out) == -1
    np.testing.assert_allclose(out, reference, atol=1e-14)
    assert kernel.COUNTS[kernel.msc(np.full(120, 0.4), constants, out)] == "flat"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 200))
def test_the_continuum_is_the_upper_hull(seed: int, bands: int) -> None:
    rng = np.random.default_rng(seed)
    wavelength = np.cumsum(rng.uniform(0.5, 10, bands))
    row = rng.uniform(0.05, 0.9, bands)
    # The hull of the bands and two points far below has the upper hull as its part above them.
    points = np.vstack([np.column_stack([wavelength, row]), [[wavelength[0], -1e3], [wavelength[-1], -1e3]]])
    top = np.sort([one for one in ConvexHull(points).vertices if one < bands])
    expected = row / np.interp(wavelength, wavelength[top], row[top])
    out, hull = np.empty(bands), np.empty(bands, np.int64)
    kernel.continuum(row.copy(), 0, np.concatenate([[1e-4], wavelength]), out, hull, counts())
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert out.max() == 1


def test_a_continuum_is_concave_so_removing_it_twice_changes_nothing() -> None:
    wavelength = np.arange(400.0, 1000.0, 5)
    once, twice, hull = np.empty(120), np.empty(120), np.empty(120, np.int64)
    places = np.concatenate([[1e-4], wavelength])
    kernel.continuum(spectrum(2), 0, places, once, hull, counts())
    kernel.continuum(once.copy(), 0, places, twice, hull, counts())
    np.testing.assert_allclose(twice, once, atol=1e-14)


def test_between_bands_values_lie_on_straight_lines() -> None:
    row = spectrum(3)
    places = np.sort(np.random.default_rng(0).uniform(0, 119, 50))
    lower = np.minimum(places.astype(np.int64), 118)
    out = np.empty(50)
    kernel.interpolate(row, lower, places - lower, out)
    np.testing.assert_allclose(out, np.interp(places, np.arange(120), row), atol=1e-14)


def test_steps_at_the_joins_of_detectors_are_taken_out_and_the_middle_one_stays() -> None:
    wavelength = np.arange(350.0, 2501.0)
    smooth = 0.2 + 1e-4 * (wavelength - 350)
    rows = np.array([smooth, smooth])
    rows[:, wavelength <= 1000] += 0.02
    rows[1, wavelength > 1830] -= 0.03
    kernel.splice(rows, wavelength, np.searchsorted(wavelength, [1000.0, 1830.0], side="right").astype(np.int64))
    np.testing.assert_allclose(rows, [smooth, smooth], atol=1e-12)


class TestWalk:
    """Several steps in one pass."""

    @staticmethod
    def steps(dtype: Any) -> tuple[Array, ...]:
        return program(
            (kernel.ABSORBANCE, [], list(LIMITS), 120),
            (kernel.SNV, [], [1e-5], 120),
            (kernel.FILTER, [3, 0, 0, 0, 118], [0.25, 0.5, 0.25], 118),
            bands=120,
            dtype=dtype,
        )

    @pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-6), (np.float64, 1e-13)])
    def test_it_equals_the_steps_one_by_one(self, dtype: Any, tolerance: float) -> None:
        rows = np.array([spectrum(seed) for seed in range(20)])
        absorbance = -np.log10(rows)
        scaled = (absorbance - absorbance.mean(1, keepdims=True)) / absorbance.std(1, ddof=1, keepdims=True)
        expected = scaled[:, :-2] / 4 + scaled[:, 1:-1] / 2 + scaled[:, 2:] / 4
        out: Array = np.empty((20, 118), dtype)
        walk(rows.astype(dtype), self.steps(dtype), out, counts())
        np.testing.assert_allclose(out, expected, atol=tolerance)

    def test_a_row_does_not_depend_on_the_rows_beside_it(self) -> None:
        rows = np.array([spectrum(seed, dtype=np.float32) for seed in range(50)])
        rows[7, 3], rows[8, 119], rows[9] = np.nan, np.inf, -np.inf
        whole, alone = np.empty((50, 118), np.float32), np.empty((1, 118), np.float32)
        found = counts()
        walk(rows, self.steps(np.float32), whole, found)
        for place in range(50):
            walk(rows[place : place + 1], self.steps(np.float32), alone, counts())
            np.testing.assert_array_equal(alone[0], whole[place])
        assert np.isnan(whole[[7, 8, 9]]).all()
        assert np.isfinite(np.delete(whole, [7, 8, 9], axis=0)).all()
        assert found.tolist() == [3, 0, 0, 0]

    def test_no_steps_are_a_copy(self) -> None:
        rows = np.array([spectrum(seed) for seed in range(3)])
        out = np.empty_like(rows)
        walk(rows, program(bands=120), out, counts())
        np.testing.assert_array_equal(out, rows)
