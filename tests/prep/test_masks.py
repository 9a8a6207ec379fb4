"""Masks say why a cell is no bare soil, the same whatever the tiles."""

from __future__ import annotations

import os
import pickle  # noqa: TID251  (a plan crosses process borders; nothing is stored)
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.bands import Bands
from geosoil.errors import UsageError
from geosoil.prep.masks import NAMES, NODATA, MaskPlan, MaskRules, summary, tally

NM = (452.0, 560.0, 660.0, 800.0, 1355.0, 1610.0, 1650.0, 2000.0, 2100.0, 2200.0)
# Reflectances at these wavelengths of things as they are seen from above.
SOIL = (0.08, 0.13, 0.18, 0.24, 0.01, 0.33, 0.33, 0.31, 0.32, 0.315)
GRASS = (0.04, 0.09, 0.06, 0.42, 0.01, 0.24, 0.23, 0.10, 0.12, 0.125)
STRAW = (0.10, 0.18, 0.25, 0.33, 0.01, 0.40, 0.40, 0.34, 0.30, 0.345)
WATER = (0.09, 0.07, 0.04, 0.015, 0.001, 0.005, 0.005, 0.003, 0.003, 0.003)
CLOUD = (0.55, 0.57, 0.58, 0.60, 0.20, 0.50, 0.50, 0.40, 0.40, 0.40)
HAZE = (0.21, 0.22, 0.23, 0.27, 0.07, 0.34, 0.34, 0.31, 0.32, 0.32)
SNOW = (0.85, 0.87, 0.86, 0.80, 0.02, 0.10, 0.11, 0.04, 0.08, 0.10)
SHADE = (0.06, 0.06, 0.06, 0.07, 0.001, 0.055, 0.055, 0.052, 0.052, 0.052)
WET = (0.05, 0.08, 0.11, 0.15, 0.005, 0.22, 0.22, 0.15, 0.17, 0.175)


def names_of(flag: int) -> set[str]:
    return {name for name, bit in NAMES.items() if flag & bit}


def bands(nm: tuple[float, ...] = NM, good: tuple[bool, ...] = ()) -> Bands:
    return Bands(tuple(f"b{place}" for place in range(len(nm))), wavelength_nm=nm, good=good)


def cell(*spectra: tuple[float, ...]) -> np.ndarray:
    return np.array(spectra, np.float32).T[:, None, :].copy()


@pytest.mark.parametrize(
    ("spectrum", "expected"),
    [
        (SOIL, set()),
        (GRASS, {"green vegetation", "residue or wet soil"}),
        (STRAW, {"dry vegetation"}),
        (WATER, {"water", "shadow", "residue or wet soil"}),
        (CLOUD, {"cloud", "residue or wet soil"}),
        (HAZE, {"thin cloud"}),
        (SNOW, {"snow or ice"}),
        (SHADE, {"shadow"}),
        (WET, {"residue or wet soil"}),
    ],
)
def test_a_spectrum_is_called_what_it_is(spectrum: tuple[float, ...], expected: set[str]) -> None:
    flags = MaskRules(nbr2=0.075).on(bands()).flags(cell(spectrum))
    assert names_of(int(flags[0, 0])) == expected


def twin(v: np.ndarray, rules: MaskRules) -> np.ndarray:
    """The rules once more, array by array."""
    blue, green, red, nir, cirrus, near, swir, left, middle, right = v.astype(np.float64)

    def index(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = a + b
        return np.asarray(np.where(total > 1e-6, (a - b) / np.where(total > 1e-6, total, 1), 0))

    assert None not in (rules.ndsi, rules.cloud, rules.cirrus, rules.shadow, rules.ndwi, rules.dark_water)
    snow = (index(green, near) > rules.ndsi) & (nir > rules.snow_nir)
    cloud = ~snow & (blue > rules.cloud) & (green > rules.cloud)
    thin = ~snow & ~cloud & (cirrus > rules.cirrus) & (blue > rules.cirrus_blue) & (blue > rules.cirrus_ratio * red)
    shade = (nir < rules.shadow) & (swir < rules.shadow_swir)
    water = ~snow & ~cloud & ((index(green, nir) > rules.ndwi) | (swir < rules.dark_water))
    found = np.zeros(v.shape[1:], int)
    for name, mask in {
        "snow or ice": snow,
        "cloud": cloud,
        "thin cloud": thin,
        "shadow": shade,
        "water": water,
        "green vegetation": index(nir, red) > rules.ndvi,
        "dry vegetation": index(0.5 * (left + right), middle) > rules.ncai,
        "residue or wet soil": index(near, right) > rules.nbr2,
    }.items():
        found[mask] |= NAMES[name]
    found[~np.isfinite(v).all(axis=0)] = NODATA
    return found


def random_scene(seed: int, shape: tuple[int, int] = (37, 53)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ends = np.array([SOIL, GRASS, STRAW, WATER, CLOUD, HAZE, SNOW, SHADE, WET])
    shares = rng.dirichlet(np.full(len(ends), 0.3), shape)
    scene = np.moveaxis(shares @ ends, -1, 0) + 0.01 * rng.standard_normal((10, *shape))
    return np.asarray(scene, np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999))
def test_the_kernel_equals_the_rules_written_with_numpy(seed: int) -> None:
    scene = random_scene(seed)
    scene[3, 5:9, 7] = np.nan
    flags = MaskRules(nbr2=0.075).on(bands()).flags(scene)
    expected = twin(scene, MaskRules(nbr2=0.075))
    # A value within rounding of its threshold may fall on either side.
    assert (flags != expected).mean() < 1e-3
    assert (flags[5:9, 7] == NODATA).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 37), st.integers(1, 53))
def test_tiles_do_not_matter(height: int, width: int) -> None:
    scene = random_scene(3)
    plan = pickle.loads(pickle.dumps(MaskRules(nbr2=0.075).on(bands())))  # noqa: S301
    whole = plan.flags(scene)
    parts = np.zeros_like(whole)
    total = np.zeros(18, np.int64)
    for top in range(0, 37, height):
        for left in range(0, 53, width):
            window = (slice(top, top + height), slice(left, left + width))
            parts[window] = plan.flags(scene[:, *window])
            total += tally(parts[window])
    np.testing.assert_array_equal(parts, whole)
    assert summary(total) == summary(whole)


def test_bands_are_found_by_wavelength_and_only_good_ones() -> None:
    nm = (448.0, 452.0, 563.0, 655.0, 811.0, 1605.0, 1655.0, 2013.0, 2101.0, 2199.0)
    plan = MaskRules(nbr2=0.075).on(bands(nm, good=(True, False, *(True,) * 8)))
    assert plan.positions[0] == 0
    assert plan.missing == {"thin cloud (cirrus)": "no good band within 15 nm of 1355 nm"}
    assert "thin cloud" not in plan.reasons
    assert 1355.0 not in plan.wavelengths_needed
    scene = np.delete(cell(SOIL, GRASS, CLOUD), 4, axis=0)
    found = [names_of(int(one)) for one in plan.flags(np.ascontiguousarray(scene))[0]]
    assert found == [set(), {"green vegetation", "residue or wet soil"}, {"cloud", "residue or wet soil"}]


def test_the_cirrus_band_need_not_be_good_and_may_be_empty() -> None:
    plan = MaskRules(nbr2=0.075).on(bands(good=tuple(one != 1355 for one in NM)))
    scene = cell(HAZE, HAZE, SOIL)
    scene[4, 0, 1:] = np.nan
    assert [names_of(int(one)) for one in plan.flags(scene)[0]] == [{"thin cloud"}, set(), set()]


def test_without_wavelengths_nothing_can_be_computed_and_it_is_said() -> None:
    plan = MaskRules(nbr2=0.075).on(Bands(("a", "b")))
    assert plan.positions == ()
    assert plan.reasons == ()
    assert set(plan.missing.values()) == {"the bands have no wavelengths"}
    assert len(plan.missing) == 9
    assert "cannot compute shadow (shadow): the bands have no wavelengths" in plan.describe()
    assert (plan.flags(np.zeros((0, 2, 3), np.float32)) == 0).all()


def test_a_rule_that_is_off_reads_no_band_and_flags_nothing() -> None:
    rules = MaskRules(nbr2=0.075).without(
        "cloud", "thin cloud", "shadow", "water", "dry vegetation", "residue or wet soil"
    )
    plan = replace(rules, ndsi=None).on(bands())
    assert plan.wavelengths_needed == (660.0, 800.0)
    assert plan.positions == (2, 3)
    found = plan.flags(cell(CLOUD, GRASS, WATER)[2:4])
    assert [names_of(int(one)) for one in found[0]] == [set(), {"green vegetation"}, set()]


def test_land_use_codes_are_left_out() -> None:
    plan = MaskRules(land_use=(50, 80)).on(bands())
    assert "land use" in plan.reasons
    scene = cell(SOIL, SOIL, SOIL, SOIL)
    scene[2, 0, 3] = np.nan
    found = plan.flags(scene, np.array([[50, 10, 80, 50]]))
    assert found.tolist() == [[NAMES["land use"], 0, NAMES["land use"], NODATA]]


def test_the_summary_counts_each_reason_and_what_is_left() -> None:
    flags = np.array([[0, 0, 16, 16 | 32, NODATA]], np.uint16)
    found = summary(flags)
    assert (found["cells"], found["nodata"]) == (5, 1)
    assert found["left"] == 0.5
    assert found["reasons"]["green vegetation"] == 0.5
    assert found["reasons"]["dry vegetation"] == 0.25
    assert found["reasons"].keys() == NAMES.keys()


def test_a_scene_without_data_has_nothing_left() -> None:
    assert summary(np.full((3, 4), NODATA, np.uint16))["left"] == 0


def plan_of_all() -> MaskPlan:
    return MaskRules(land_use=(1,)).on(bands())


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: MaskRules(ndvi=30.0), "GS-MASK-RULE"),
        (lambda: MaskRules(nbr2=0.075).without("fog"), "GS-MASK-RULE"),
        (lambda: plan_of_all().flags(np.zeros((3, 4, 5), np.float32)), "GS-MASK-SHAPE"),
        (lambda: plan_of_all().flags(np.zeros((10, 4, 5), np.float32)), "GS-MASK-LANDUSE"),
        (lambda: plan_of_all().flags(np.zeros((10, 4, 5), np.float32), np.zeros((5, 4))), "GS-MASK-LANDUSE"),
    ],
)
def test_what_is_wrong_is_said(call: object, code: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.code == code
    assert len(caught.value.message) < 100


if "GEOSOIL_DATA" in os.environ:

    def test_the_real_potsdam_scene_keeps_few_cells() -> None:
        path = Path(os.environ["GEOSOIL_DATA"]) / "cubes/enmap_potsdam/enmap_potsdam.tif"
        with rasterio.open(path) as file:
            tags = [file.tags(index) for index in file.indexes]
            values = file.read().astype(np.float32)
        values = np.where(values == -32768, np.nan, values / 10_000)
        empty = np.asarray(np.isnan(values).all(axis=(1, 2)))
        nm = tuple(float(one["wavelength"]) for one in tags)
        plan = replace(MaskRules(nbr2=0.075), cirrus=None).on(
            Bands(tuple(map(str, range(224))), wavelength_nm=nm, good=tuple(not one for one in empty.tolist()))
        )
        assert not plan.missing
        found = summary(plan.flags(np.ascontiguousarray(values[list(plan.positions)])))
        assert found["cells"] - found["nodata"] == 18_432
        # In July between a town, woods and lakes: green, and little bare.
        assert found["reasons"]["green vegetation"] > 0.6
        assert found["reasons"]["cloud"] < 0.02
        assert 0.01 < found["left"] < 0.06
