"""Resampling keeps what it must keep, is checked against integration, and never invents a band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from geosoil.errors import InputError
from geosoil.prep.resample import gaussian_weights, linear_weights, resample, splice_correct

REFERENCE = Path(__file__).parent.parent / "data" / "spectra"
FINE = np.arange(350.0, 2501.0)


def curve(wavelength: float | np.ndarray) -> np.ndarray:
    return np.asarray(0.3 + 0.1 * np.sin(wavelength / 90) + 5e-5 * wavelength)


@pytest.mark.parametrize(("centre", "fwhm"), [(500.0, 4.3), (1234.5, 8.5), (2200.0, 20.0), (900.0, 150.0)])
def test_a_band_is_the_integral_over_its_response(centre: float, fwhm: float) -> None:
    sigma = fwhm / 2.354820045

    def response(nm: float) -> float:
        return float(np.exp(-0.5 * ((nm - centre) / sigma) ** 2))

    limits = (centre - 4 * sigma, centre + 4 * sigma)
    expected = quad(lambda nm: response(nm) * float(curve(nm)), *limits, epsabs=1e-12)[0] / quad(response, *limits)[0]
    found = resample(curve(FINE)[None, :], gaussian_weights(FINE, [centre], fwhm))
    assert found[0, 0] == pytest.approx(expected, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(2, 60))
def test_flat_spectra_stay_flat_and_lines_keep_their_level(seed: int, fwhm: float) -> None:
    rng = np.random.default_rng(seed)
    source = np.cumsum(rng.uniform(0.8, 1.6, 1500)) + 350
    centre = np.sort(rng.uniform(source[0] + 2 * fwhm, source[-1] - 2 * fwhm, 20))
    weights = gaussian_weights(source, centre, fwhm)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    assert (weights >= 0).all()
    found = resample((0.1 + 2e-4 * source)[None, :], weights)[0]
    np.testing.assert_allclose(found, 0.1 + 2e-4 * centre, atol=1e-12)


def test_a_band_narrower_than_the_source_takes_the_line_between_its_neighbours() -> None:
    source = np.arange(400.0, 1000.0, 10)
    target = np.array([455.0, 612.5])
    np.testing.assert_allclose(gaussian_weights(source, target, 0.5), linear_weights(source, target), atol=1e-12)


def test_straight_lines_are_those_of_prospectr_and_numpy() -> None:
    raw = pd.read_csv(REFERENCE / "nirsoil5_raw_absorbance.csv").drop(columns="row")
    expected = pd.read_csv(REFERENCE / "nirsoil5_resample_linear_10nm.csv").drop(columns="row")
    source, target = raw.columns.to_numpy(np.float64), expected.columns.to_numpy(np.float64)
    found = resample(raw.to_numpy(), linear_weights(source, target))
    np.testing.assert_allclose(found, expected.to_numpy(), atol=1e-15)
    places = np.sort(np.random.default_rng(0).uniform(1100, 2498, 200))
    np.testing.assert_allclose(
        resample(raw.to_numpy()[:1], linear_weights(source, places))[0],
        np.interp(places, source, raw.to_numpy()[0]),
        atol=1e-15,
    )


@pytest.mark.parametrize(
    "weights",
    [
        lambda source, centre: gaussian_weights(source, centre, 8.0),
        linear_weights,
    ],
    ids=["gaussian", "linear"],
)
@pytest.mark.parametrize("outside", [349.0, 2501.0, np.nan])
def test_nothing_is_extrapolated(weights: object, outside: float) -> None:
    assert callable(weights)
    with pytest.raises(InputError, match="1 bands are not covered") as caught:
        weights(FINE, [500.0, outside])
    assert caught.value.code == "GS-RESAMPLE"


@pytest.mark.parametrize("fwhm", [3.0, 8.0, 30.0])
@pytest.mark.parametrize("step", [1.0, 5.0, 10.0])
def test_bands_inside_a_gap_of_the_source_are_refused(fwhm: float, step: float) -> None:
    source = np.concatenate([np.arange(1000.0, 1341.0, step), np.arange(1460.0, 1761.0, step)])
    with pytest.raises(InputError, match="not covered") as caught:
        gaussian_weights(source, [1400.0], fwhm)
    assert caught.value.details[-1] == "they have no bands from 1340 to 1460 nm"
    assert gaussian_weights(source, [1200.0, 1600.0], fwhm).shape == (2, len(source))


def test_bands_of_two_detectors_that_nearly_meet_are_no_gap() -> None:
    source = np.concatenate([np.arange(900.0, 1000.0, 5), np.arange(995.4, 1100.0, 5)])
    found = resample((0.1 + 2e-4 * source)[None, :], gaussian_weights(source, [985.0, 995.0, 1003.0], 12.0))
    np.testing.assert_allclose(found[0], 0.1 + 2e-4 * np.array([985.0, 995.0, 1003.0]), atol=1e-12)


@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.nan])
def test_widths_have_to_be_widths(fwhm: float) -> None:
    with pytest.raises(InputError, match="widths"):
        gaussian_weights(FINE, [500.0], fwhm)


@pytest.mark.parametrize("source", [[500.0, 400.0, 600.0], [500.0, 500.0], [500.0], [np.nan, 500.0]])
def test_a_source_has_to_rise(source: list[float]) -> None:
    with pytest.raises(InputError, match="have to rise"):
        linear_weights(source, [500.0])


def test_a_missing_value_only_harms_the_bands_that_use_it() -> None:
    spectra = np.repeat(curve(FINE)[None, :], 2, axis=0).astype(np.float32)
    spectra[1, 1000] = np.nan
    weights = gaussian_weights(FINE, np.arange(400.0, 2400.0, 10), 10.0)
    found = resample(spectra, weights)
    assert found.dtype == np.float32
    touched = weights[:, 1000] > 0
    assert touched.any()
    np.testing.assert_array_equal(np.isnan(found), np.array([np.zeros_like(touched), touched]))
    np.testing.assert_array_equal(found[1, ~touched], found[0, ~touched])
    with pytest.raises(InputError, match="do not fit"):
        resample(spectra[:, 1:], weights)


class TestSplice:
    def test_steps_go_and_the_middle_detector_stays(self) -> None:
        smooth = 0.2 + 1e-4 * (FINE - 350)
        rows = np.array([smooth, smooth, smooth])
        rows[1, FINE <= 1000] += 0.03
        rows[2, FINE > 1830] -= 0.02
        before = rows.copy()
        np.testing.assert_allclose(splice_correct(rows, FINE), [smooth] * 3, atol=1e-12)
        np.testing.assert_array_equal(rows, before)

    def test_only_levels_move_and_shapes_stay(self) -> None:
        rows = curve(FINE)[None, :] + np.where(FINE <= 1000, 0.02, 0.0) - np.where(FINE > 1830, 0.01, 0.0)
        moved = splice_correct(rows, FINE) - rows
        for inside in (FINE <= 1000, (FINE > 1000) & (FINE <= 1830), FINE > 1830):
            assert np.ptp(moved[0, inside]) < 1e-12
        assert np.abs(moved[0, (FINE > 1000) & (FINE <= 1830)]).max() == 0

    @pytest.mark.parametrize("low_nm", [900.0, 1200.0, 1900.0])
    def test_a_detector_that_is_not_there_is_no_trouble(self, low_nm: float) -> None:
        wavelength = np.arange(low_nm, low_nm + 300)
        rows = (0.2 + 1e-4 * wavelength)[None, :]
        np.testing.assert_allclose(splice_correct(rows, wavelength), rows, atol=1e-12)

    def test_joins_come_in_order(self) -> None:
        with pytest.raises(InputError, match="two joins"):
            splice_correct(np.ones((1, len(FINE))), FINE, joins_nm=(1830.0, 1000.0))
