"""Splines to depth intervals: tables of two R packages, invariants, the edges of a profile; and raw layers."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import InputError, UsageError
from geosoil.prep.depths import Sampling, layer_targets, spline_depths, spline_profiles
from geosoil.soil import STANDARD_DEPTHS, Depth, parse_depths

if TYPE_CHECKING:
    from geosoil.types import Float64

DATA = Path(__file__).parents[1] / "data" / "splines"
DEPTHS = ["000_005_cm", "005_015_cm", "015_030_cm", "030_060_cm", "060_100_cm", "100_200_cm"]
# The one profile that ithir was given with more digits than the table holds.
MORE_DIGITS = "oneProfile_C_kgm3"


def layers(*rows: tuple[float, float, float], profile: str = "P") -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["top_cm", "bottom_cm", "value"])
    return frame.assign(profile=profile)


def means(frame: pd.DataFrame, *depths: str, **options: Any) -> list[float]:
    row: list[float] = spline_depths(frame, parse_depths(depths), **options).iloc[0].tolist()
    return row


@pytest.fixture(scope="module")
def profiles() -> pd.DataFrame:
    table = pd.read_csv(DATA / "input_profiles.csv")
    return table.rename(columns={"ud": "top_cm", "ld": "bottom_cm", "val": "value"})


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 1.0])
@pytest.mark.parametrize(("sampling", "source"), [("mpspline2", "mpspline2_0.1.9"), ("ithir", "ithir_2.0.0_ea_spline")])
def test_agrees_with_r_packages(profiles: pd.DataFrame, sampling: Sampling, source: str, smoothing: float) -> None:
    table = pd.read_csv(DATA / "r_packages.csv")
    table = table[(table["source"] == source) & (table["lam"] == smoothing)].set_index("profile")[DEPTHS]
    ours = spline_depths(
        profiles, STANDARD_DEPTHS, smoothing=smoothing, min_cover=0, lowest=0, highest=1000, sampling=sampling
    ).loc[table.index]
    assert len(table) == 61
    off = pd.DataFrame(np.abs(ours.to_numpy() - table.to_numpy()), index=table.index)
    assert (ours.isna().to_numpy() == table.isna().to_numpy()).all()
    assert np.nanmax(off.drop(index=MORE_DIGITS)) < 1e-10
    assert np.nanmax(off.loc[MORE_DIGITS]) < 5e-8


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 1.0])
def test_agrees_with_closed_form_integrals(profiles: pd.DataFrame, smoothing: float) -> None:
    table = pd.read_csv(DATA / "exact_integrals.csv")
    table = table[table["lam"] == smoothing].set_index("profile")[DEPTHS]
    ours = spline_depths(profiles, STANDARD_DEPTHS, smoothing=smoothing, min_cover=0).loc[table.index]
    assert len(table) == 61
    np.testing.assert_allclose(ours.to_numpy(), table.to_numpy(), rtol=0, atol=1e-12)


def test_rows_follow_first_appearance_and_columns_the_depths() -> None:
    frame = pd.concat([layers((0, 10, 1.0), profile="b"), layers((0, 10, 2.0), profile="a")])
    found = spline_depths(frame, parse_depths(["0-5", "5-10"]))
    assert found.index.tolist() == ["b", "a"]
    assert found.columns.tolist() == ["0-5cm", "5-10cm"]
    assert found.to_numpy().tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_order_of_layers_does_not_matter(profiles: pd.DataFrame) -> None:
    names = profiles["profile"].unique()
    shuffled = profiles.sample(frac=1, random_state=3)
    expected = spline_depths(profiles, STANDARD_DEPTHS).loc[names]
    pd.testing.assert_frame_equal(spline_depths(shuffled, STANDARD_DEPTHS).loc[names], expected)


@given(
    edges=st.lists(st.integers(1, 199), min_size=2, max_size=8, unique=True).map(sorted),
    values=st.lists(st.floats(0, 500), min_size=8, max_size=8),
    smoothing=st.sampled_from([1e-4, 0.1, 1.0]),
)
@settings(deadline=None)
def test_means_of_a_partition_add_up(edges: list[int], values: list[float], smoothing: float) -> None:
    frame = layers((0, 20, values[0]), (20, 50, values[1]), (70, 120, values[2]), (120, 200, values[3]))
    parts = list(zip([0, *edges], [*edges, 200], strict=True))
    each = spline_profiles(
        np.zeros(4, int), frame["top_cm"], frame["bottom_cm"], frame["value"], parts, smoothing=smoothing
    )[0]
    whole = means(frame, "0-200", smoothing=smoothing)[0]
    total = sum(mean * (lower - upper) for mean, (upper, lower) in zip(each, parts, strict=True))
    assert total == pytest.approx(whole * 200, rel=1e-9, abs=1e-7)


@given(value=st.floats(-50, 500), smoothing=st.sampled_from([1e-6, 0.1, 5.0]))
@settings(deadline=None)
def test_constant_profile_stays_constant(value: float, smoothing: float) -> None:
    frame = layers((0, 10, value), (10, 35, value), (60, 200, value))
    found = means(frame, "0-5", "5-15", "30-60", "60-100", "100-200", smoothing=smoothing)
    np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-12)


@given(values=st.lists(st.floats(0, 500), min_size=3, max_size=3))
@settings(deadline=None)
def test_layer_means_are_kept_as_smoothing_vanishes(values: list[float]) -> None:
    frame = layers((0, 12, values[0]), (12, 40, values[1]), (55, 90, values[2]))
    found = means(frame, "0-12", "12-40", "55-90", smoothing=1e-10)
    np.testing.assert_allclose(found, values, rtol=0, atol=1e-6)


def test_smoothing_pulls_layers_together() -> None:
    frame = layers((0, 10, 30.0), (10, 20, 10.0), (20, 30, 30.0))
    spread = [np.ptp(means(frame, "0-10", "10-20", "20-30", smoothing=one)) for one in (0.01, 0.1, 1.0, 10.0)]
    assert spread == sorted(spread, reverse=True)


def test_nothing_is_extrapolated() -> None:
    frame = layers((10, 20, 5.0), (20, 40, 3.0))
    shallow, deep = means(frame, "0-10", "40-60", min_cover=0)
    assert np.isnan(shallow)
    assert np.isnan(deep)


def test_a_covered_part_is_enough_from_min_cover_on() -> None:
    frame = layers((0, 45, 7.0))
    assert means(frame, "30-60", min_cover=0.5) == [7.0]
    assert np.isnan(means(frame, "30-60", min_cover=0.51)).all()
    assert means(layers((0, 31, 7.0)), "30-60", min_cover=0) == [7.0]


def test_gaps_are_bridged_by_a_straight_line() -> None:
    frame = layers((0, 10, 10.0), (50, 60, 2.0))
    pairs = [(depth, depth + 1) for depth in range(10, 50)]
    found = spline_profiles([0, 0], frame["top_cm"], frame["bottom_cm"], frame["value"], pairs)[0]
    np.testing.assert_allclose(np.diff(found, 2), 0, atol=1e-12)
    assert found[0] > found[-1]


def test_one_layer_is_constant_over_its_extent() -> None:
    found = means(layers((5, 30, 4.0)), "5-15", "15-30", "30-60")
    assert found[:2] == [4.0, 4.0]
    assert np.isnan(found[2])


def test_unusable_layers_are_left_out() -> None:
    good = layers((0, 10, 5.0), (10, 40, 3.0))
    bad = layers((-5, 0, 300.0), (40, 60, np.nan), (25, 25, 9.0), (90, 80, 9.0), (np.nan, np.nan, 1.0))
    assert means(pd.concat([bad, good]), "0-5", "5-15", "15-30") == means(good, "0-5", "5-15", "15-30")


def test_missing_ends_of_the_first_and_last_layer_are_filled() -> None:
    open_ends = layers((np.nan, 10, 5.0), (10, 40, 3.0), (40, np.nan, 2.0))
    closed = layers((0, 10, 5.0), (10, 40, 3.0), (40, 50, 2.0))
    assert means(open_ends, "0-5", "5-15", "30-50") == means(closed, "0-5", "5-15", "30-50")


def test_profile_without_any_layer_is_a_row_of_nan() -> None:
    frame = pd.concat([layers((0, 10, np.nan), profile="empty"), layers((0, 10, 2.0), profile="full")])
    found = spline_depths(frame, [Depth(0, 5)])
    assert found.index.tolist() == ["empty", "full"]
    np.testing.assert_array_equal(found["0-5cm"], [np.nan, 2.0])


def test_overlap_is_an_error_that_names_the_profile() -> None:
    frame = pd.concat([layers((0, 20, 5.0), (10, 40, 3.0), profile="P-17"), layers((0, 10, 1.0), profile="ok")])
    with pytest.raises(InputError, match="1 profile") as caught:
        spline_depths(frame, STANDARD_DEPTHS)
    assert caught.value.code == "GS-SAMPLES-OVERLAP"
    assert "P-17" in caught.value.render()


def test_overlap_may_be_left_nan() -> None:
    frame = pd.concat([layers((0, 20, 5.0), (10, 40, 3.0), profile="bad"), layers((0, 10, 1.0), profile="ok")])
    found = spline_depths(frame, [Depth(0, 5)], overlaps="nan")
    np.testing.assert_array_equal(found["0-5cm"], [np.nan, 1.0])


def test_float_noise_is_no_overlap() -> None:
    frame = layers((0, 10.0000001490116, 5.0), (10, 20, 3.0))
    assert means(frame, "0-10") == pytest.approx(means(layers((0, 10, 5.0), (10, 20, 3.0)), "0-10"), abs=1e-6)


@pytest.mark.parametrize("sampling", ["exact", "mpspline2", "ithir"])
def test_limits_hold_the_result(sampling: Sampling) -> None:
    frame = layers((0, 10, 50.0), (10, 20, 0.0), (20, 30, 0.0))
    free = means(frame, "10-15", "15-20", "20-30", smoothing=1e-6, sampling=sampling)
    held = means(frame, "10-15", "15-20", "20-30", smoothing=1e-6, sampling=sampling, lowest=0.0, highest=3.0)
    assert min(free) < 0 < max(free)
    assert min(held) >= 0
    assert max(held) <= 3


def test_unknown_option_is_named() -> None:
    with pytest.raises(UsageError, match=re.escape("'simpson'")) as caught:
        spline_depths(layers((0, 10, 1.0)), STANDARD_DEPTHS, sampling="simpson")  # type: ignore[arg-type]
    assert caught.value.code == "GS-SPLINE"


def test_ten_thousand_profiles_take_about_a_second() -> None:
    rng = np.random.default_rng(0)
    thick = rng.integers(5, 40, (10_000, 6))
    bottom = np.cumsum(thick, axis=1)
    top = bottom - thick
    profile = np.repeat(np.arange(10_000), 6)
    value: Float64 = rng.gamma(2.0, 8.0, 60_000)
    pairs = [(depth.top_cm, depth.bottom_cm) for depth in STANDARD_DEPTHS]
    spline_profiles(profile[:6], top.ravel()[:6], bottom.ravel()[:6], value[:6], pairs)
    begin = time.perf_counter()
    found = spline_profiles(profile, top.ravel(), bottom.ravel(), value, pairs)
    assert time.perf_counter() - begin < 1.5
    assert found.shape == (10_000, 6)
    assert np.isfinite(found[:, :2]).all()


def test_raw_layers_belong_to_the_interval_of_their_middle() -> None:
    frame = pd.DataFrame(
        {"top_cm": [0.0, 5.0, 0.0, 20.0, 150.0, 0.0], "bottom_cm": [4.0, 15.0, 10.0, 60.0, 250.0, 1.0]}
    )
    target, middle = layer_targets(frame, STANDARD_DEPTHS)
    assert middle.tolist() == [2.0, 10.0, 5.0, 40.0, 200.0, 0.5]
    # 5 cm is the border of 0-5 and 5-15 and belongs to the deeper; 200 cm is the end of the last.
    assert target.tolist() == [0, 1, 1, 3, 5, 0]
    assert target.dtype == np.int64


def test_raw_layer_outside_all_intervals_takes_the_nearest() -> None:
    frame = pd.DataFrame({"top_cm": [0.0, 16.0, 29.0, 90.0], "bottom_cm": [4.0, 20.0, 35.0, 100.0]})
    target, _ = layer_targets(frame, [Depth(5, 15), Depth(30, 60)])
    assert target.tolist() == [0, 0, 1, 1]
