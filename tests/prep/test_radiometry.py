"""Sunlight and reflectance against closed forms and published values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from geosoil.errors import GeosoilError
from geosoil.prep.radiometry import (
    BandLines,
    dark_object,
    day_of_year,
    empirical_line,
    flat_field,
    sun_distance,
    toa_reflectance,
)
from geosoil.sun import solar_irradiance


def test_the_solar_constant_comes_out_of_the_bands() -> None:
    # Bands side by side tile the spectrum. ASTM G173-03 integrates to 1347.93 W m-2 over 280 to 4000 nm; the solar
    # constant of 1366.1 W m-2 holds 1.3 % more, below 280 and above 4000 nm.
    centres = np.arange(300.0, 3950.0, 5.0)
    total = solar_irradiance(centres, np.full(centres.shape, 5.0)).sum() * 5.0 / 1000.0
    assert total == pytest.approx(1347.93 - 3.5 - 1.6, abs=4.0)
    assert 0.97 * 1361 < total < 1361


@pytest.mark.parametrize(
    ("centre", "width", "published"),
    [
        # Mean solar irradiance of Landsat 7 ETM+ bands 1-5 and 7, W m-2 um-1, from Thuillier's spectrum (Landsat 7
        # Science Data Users Handbook, chapter 11); their responses taken as Gaussians of the bands' widths.
        (482.5, 65.0, 1970),
        (565.0, 80.0, 1842),
        (660.0, 60.0, 1547),
        (837.5, 125.0, 1044),
        (1650.0, 200.0, 225.7),
        (2220.0, 260.0, 82.06),
    ],
)
def test_irradiance_of_broad_bands_is_as_published(centre: float, width: float, published: float) -> None:
    assert solar_irradiance([centre], [width])[0] == pytest.approx(published, rel=0.02)


def test_a_narrow_band_shows_the_fraunhofer_lines_and_a_wide_one_does_not() -> None:
    # Ca II H and K near 395 nm; the neighbourhood is 1.5 times as bright.
    narrow, wide = solar_irradiance([393.5, 393.5], [2.0, 40.0])
    assert narrow < 0.75 * wide


def test_the_sun_is_nearest_in_january_and_farthest_in_july() -> None:
    days = np.arange(1, 366)
    distance = np.array([sun_distance(int(day)) for day in days])
    assert days[distance.argmin()] in range(2, 6)
    assert days[distance.argmax()] in range(184, 189)
    # Almanac: 0.98329 at perihelion, 1.01671 at aphelion.
    assert distance.min() == pytest.approx(0.98329, abs=2e-4)
    assert distance.max() == pytest.approx(1.01671, abs=2e-4)


def test_a_white_ground_under_a_clear_sky_has_reflectance_one() -> None:
    nm, fwhm = np.array([450.0, 1000.0, 2200.0]), np.array([5.0, 8.0, 8.5])
    day, zenith = 200, 35.0
    # What a perfect diffuser sends up.
    radiance = solar_irradiance(nm, fwhm) * np.cos(np.deg2rad(zenith)) / (np.pi * sun_distance(day) ** 2)
    lines = toa_reflectance(nm, fwhm, sun_zenith_deg=zenith, day=day)
    white = lines(np.repeat(radiance[:, None, None], 4, axis=2).astype(np.float32))
    np.testing.assert_allclose(white, 1.0, rtol=1e-6)
    assert white.dtype == np.float32
    assert np.isnan(lines(np.full((3, 1, 1), np.nan, np.float32))).all()


def test_the_lower_sun_gives_the_brighter_ground_for_the_same_light() -> None:
    high = toa_reflectance([600.0], [10.0], sun_zenith_deg=0.0, day=80).gain
    low = toa_reflectance([600.0], [10.0], sun_zenith_deg=60.0, day=80).gain
    np.testing.assert_allclose(low, 2 * high)


def test_the_day_is_that_of_the_time_stamp() -> None:
    assert day_of_year("2020-12-31") == 366
    assert day_of_year("2019-12-28 13:05:11.25") == 362


def test_dark_objects_are_taken_off_below_1000_nm() -> None:
    rng = np.random.default_rng(0)
    haze = np.array([9.0, 4.0, 1.0, 3.0])
    ground = rng.gamma(2.0, 10.0, (1, 60, 70))
    ground[:, :2] = 0.0  # a lake
    scene = (ground + haze[:, None, None]).astype(np.float32)
    scene[0, 40:, 3] = np.nan
    lines = dark_object(scene, [450.0, 550.0, 900.0, 1600.0])
    assert lines.method.startswith("empirical")
    np.testing.assert_allclose(lines.offset, [-9, -4, -1, 0], atol=1e-5)
    np.testing.assert_allclose(lines(scene)[1], ground[0], atol=1e-4)


def test_a_flat_field_becomes_one_everywhere() -> None:
    lines = flat_field([20.0, 5.0])
    np.testing.assert_allclose(lines(np.array([[20.0], [5.0]], np.float32)), 1.0)
    assert "relative" in lines.method
    assert "IARR" in flat_field([1.0], scene_mean=True).method


def test_the_empirical_line_recovers_gain_and_haze() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.05, 0.5, (4, 30))
    gain, haze = rng.uniform(40, 90, 30), rng.uniform(1, 15, 30)
    scene = truth * gain + haze
    lines = empirical_line(scene, truth)
    np.testing.assert_allclose(lines.gain, 1 / gain, rtol=1e-9)
    np.testing.assert_allclose(lines.offset, -haze / gain, rtol=1e-8)
    found = lines(scene.T.astype(np.float32)).T
    np.testing.assert_allclose(found, truth, atol=1e-5)


def toa(zenith: float | None) -> BandLines:
    return toa_reflectance([500.0], [5.0], sun_zenith_deg=zenith, day=1)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: toa(None), "GS-SUN-ZENITH"),
        (lambda: toa(float("nan")), "GS-SUN-ZENITH"),
        (lambda: toa(86.0), "GS-SUN-ZENITH"),
        (lambda: toa(-3.0), "GS-SUN-ZENITH"),
        (lambda: solar_irradiance([0.5], [0.01]), "GS-WAVELENGTH-RANGE"),
        (lambda: solar_irradiance([500.0], []), "GS-FWHM-MISSING"),
        (lambda: solar_irradiance([500.0], [0.0]), "GS-FWHM-MISSING"),
        (lambda: day_of_year("yesterday"), "GS-ACQUIRED"),
        (lambda: flat_field([1.0, 0.0]), "GS-RADIOMETRY"),
        (lambda: flat_field([1.0, float("nan")]), "GS-RADIOMETRY"),
        (lambda: empirical_line([[1.0]], [[0.1]]), "GS-RADIOMETRY"),
        (lambda: empirical_line([[1.0], [1.0]], [[0.1], [0.3]]), "GS-RADIOMETRY"),
        (lambda: empirical_line([[1.0], [np.nan]], [[0.1], [0.3]]), "GS-RADIOMETRY"),
        (lambda: dark_object(np.zeros((1, 2, 2), np.float32), [500.0], percentile=90), "GS-RADIOMETRY"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: Callable[[], object], code: str) -> None:
    with pytest.raises(GeosoilError) as caught:
        call()
    assert caught.value.code == code
    assert len(caught.value.message) < 100
