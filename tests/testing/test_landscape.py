"""A made landscape is the same however it is cut, and its soils, relief and covers hang together."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from scipy.stats import spearmanr

from geosoil.testing import Landscape
from geosoil.testing.fields import Field, Parcels
from geosoil.testing.ground import Ground, Surface
from geosoil.testing.spectra import GRID, at_bands, cloud, dry_vegetation, green_vegetation, soils, water

SMALL = Landscape(shape=(50, 60), seed=3)


@cache
def small() -> Ground:
    return SMALL.window((0, 50), (0, 60))


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return Landscape(shape=(160, 160))


@pytest.fixture(scope="module")
def ground(landscape: Landscape) -> Ground:
    return landscape.window((0, 160), (0, 160))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 49), st.integers(1, 20), st.integers(0, 59), st.integers(1, 20))
def test_a_window_is_a_piece_of_the_whole(row: int, height: int, col: int, width: int) -> None:
    rows, cols = (row, min(row + height, 50)), (col, min(col + width, 60))
    whole, part = small(), SMALL.window(rows, cols)
    for field in fields(Ground):
        expected = getattr(whole, field.name)[slice(*rows), slice(*cols)]
        np.testing.assert_array_equal(getattr(part, field.name), expected, err_msg=field.name)


def test_spectra_of_a_window_are_a_piece_of_the_whole() -> None:
    surface = Surface.at([450.0, 900.0, 1450.0, 2205.0], [8.5] * 4)
    whole = surface.reflectance(small()).reshape(50, 60, 4)
    part = surface.reflectance(SMALL.window((7, 30), (11, 18))).reshape(23, 7, 4)
    np.testing.assert_array_equal(part, whole[7:30, 11:18])


def test_seeds_tell_landscapes_apart() -> None:
    again, other = Landscape(shape=(20, 20), seed=3), Landscape(shape=(20, 20), seed=4)
    window = (0, 20), (0, 20)
    np.testing.assert_array_equal(again.window(*window).som, Landscape(shape=(20, 20), seed=3).window(*window).som)
    assert not np.allclose(again.window(*window).som, other.window(*window).som)


def test_fields_have_mean_zero_and_spread_one() -> None:
    x, y = np.meshgrid(np.arange(0.0, 90_000, 300), np.arange(0.0, 90_000, 300))
    values = Field((5,), 900.0).at(x, y)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.05)


def test_a_parcel_has_one_number() -> None:
    parcels = Parcels((1,), 300.0, 200.0, turned=0.0)
    x, y = np.array([10.0, 290.0, 310.0]), np.array([10.0, 190.0, 10.0])
    first, same, next_door = parcels.at(x, y)
    assert first == same != next_door


def test_soils_are_reflectances_of_a_plausible_range() -> None:
    library = soils()
    assert library.reflectance.shape == (120, len(GRID))
    assert 0.0 < library.reflectance.min() < library.reflectance.max() < 1.0
    assert 1.0 < np.median(library.som) < 30.0
    assert library.som.max() < 120.0


def test_organic_matter_darkens_soils_of_equal_iron_and_clay() -> None:
    library = soils()
    shown = np.column_stack([np.ones(len(library.som)), library.scores()])
    reflectance = np.log(at_bands(library.reflectance, [450.0, 650.0, 850.0, 1600.0, 2200.0], 10.0))
    organic = np.linalg.lstsq(shown, reflectance, rcond=None)[0][1]
    assert (organic < -0.05).all()
    assert organic[1] == pytest.approx(-0.26, abs=0.03)
    # Clay, of which soils of much organic matter have little, turns the sign in the short-wave infrared.
    assert np.corrcoef(library.som, library.clay)[0, 1] < -0.2
    assert spearmanr(reflectance[:, 1], library.som).statistic < -0.3
    assert spearmanr(reflectance[:, 4], library.som).statistic > 0.2


def test_bands_average_by_their_response() -> None:
    # A Gaussian keeps a straight line, and lowers a narrow peak by the ratio of the widths.
    np.testing.assert_allclose(at_bands(2.0 * GRID + 1.0, [500.0, 2200.0], [4.3, 16.8]), [1001.0, 4401.0], rtol=1e-9)
    peak = np.exp(-0.5 * ((GRID - 1200.0) / 5.0) ** 2)
    fwhm = 10.0 * 2.0 * np.sqrt(2.0 * np.log(2.0))
    assert at_bands(peak, [1200.0], [fwhm])[0] == pytest.approx(5.0 / np.hypot(5.0, 10.0), rel=1e-3)


def test_covers_have_the_shapes_by_which_masks_know_them() -> None:
    def at(values: np.ndarray, nm: float) -> float:
        return float(np.interp(nm, GRID, values))

    green, dry, lake = green_vegetation(), dry_vegetation(), water()
    assert (at(green, 800) - at(green, 660)) / (at(green, 800) + at(green, 660)) > 0.7
    shoulder = (at(dry, 2000) + at(dry, 2200)) / 2
    assert (shoulder - at(dry, 2100)) / (shoulder + at(dry, 2100)) > 0.04
    assert lake[GRID > 900].max() < 0.05 < lake.max()
    assert at(cloud(), 450) > 0.5 > at(cloud(), 2000)
    for values in (green, dry, lake, cloud()):
        assert values.min() >= 0
        assert values.max() <= 1


def test_properties_have_realistic_amounts(ground: Ground) -> None:
    for values, low, high, highest in (
        (ground.som, 4, 25, 120), (ground.arsenic, 8, 18, 90), (ground.copper, 15, 40, 200)
    ):  # fmt: skip
        assert low < np.median(values) < high
        assert 0 < values.min() < values.max() < highest


def test_a_mixture_stays_within_the_soils_that_it_mixes(ground: Ground) -> None:
    np.testing.assert_allclose(ground.weights.sum(axis=-1), 1.0)
    assert ground.weights.min() >= 0
    members = soils().som[ground.members]
    assert (ground.som <= members.max(axis=-1) + 1e-9).all()
    assert (ground.som >= members.min(axis=-1) - 1e-9).all()


def test_soil_spectra_are_the_measured_ones_weighted(ground: Ground) -> None:
    surface = Surface.at([700.0, 2205.0], [8.5, 8.5])
    library = at_bands(soils().reflectance, [700.0, 2205.0], [8.5, 8.5])
    expected = (ground.weights[40, 50][:, np.newaxis] * library[ground.members[40, 50]]).sum(axis=0)
    np.testing.assert_allclose(surface.soil(ground).reshape(160, 160, 2)[40, 50], expected, rtol=1e-5)


def test_wet_valleys_hold_more_organic_matter_and_slopes_less() -> None:
    # Weak links, so over several landscapes. A place is wet when it lies below what is round it.
    wet, steep = [], []
    for seed in range(4):
        land = Landscape(shape=(120, 120), seed=seed, lake=False)
        ground = land.window((0, 120), (0, 120))
        slope = np.hypot(ground.east_slope, ground.north_slope)
        below = uniform_filter(ground.elevation, 25) - ground.elevation
        wet.append(np.corrcoef(below.ravel(), np.log(ground.som).ravel())[0, 1])
        steep.append(np.corrcoef(slope.ravel(), np.log(ground.som).ravel())[0, 1])
    assert 0.03 < np.mean(wet) < 0.7
    assert -0.7 < np.mean(steep) < -0.03


def test_there_are_fields_a_lake_clouds_and_much_bare_soil(ground: Ground) -> None:
    assert 0.3 < ground.bare.mean() < 0.8
    assert 0.003 < ground.lake.mean() < 0.05
    assert 0.003 < (ground.cloud > 0.5).mean() < 0.06
    assert 0.01 < (ground.thin_cloud > 0.05).mean() < 0.12
    assert 0.002 < (ground.shadow > 0.5).mean() < 0.06
    assert (ground.green > 0.7).any()
    assert (ground.dry > 0.5).any()
    assert ground.elevation[ground.lake].std() < 0.5


def test_the_shadow_lies_away_from_the_sun(landscape: Landscape, ground: Ground) -> None:
    cloud = np.array([np.average(axis, weights=ground.cloud) for axis in (ground.x, ground.y)])
    shadow = np.array([np.average(axis, weights=ground.shadow) for axis in (ground.x, ground.y)])
    east, north = shadow - cloud
    # The sun is in the south-south-east.
    assert north > 0 > east
    assert landscape.sun_azimuth > 90


def test_slopes_that_face_the_sun_are_brighter(ground: Ground) -> None:
    facing = ground.north_slope * np.cos(np.radians(152.0)) + ground.east_slope * np.sin(np.radians(152.0))
    light = ground.illumination(38.0, 152.0)
    assert light[facing < -0.02].min() > 1.0 > light[facing > 0.02].max()


def test_without_clouds_and_lake_there_are_none() -> None:
    ground = Landscape(shape=(40, 40), clouds=False, lake=False).window((0, 40), (0, 40))
    assert not ground.lake.any()
    assert ground.cloud.max() == ground.thin_cloud.max() == ground.shadow.max() == 0
