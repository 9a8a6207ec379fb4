"""Bad bands are found by wavelength, list and scene; every one of them has a reason, and the user's word wins."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError
from geosoil.prep.bad_bands import (
    DEFAULT_WINDOWS,
    SceneStatistics,
    bad_bands,
    describe_bad,
    scene_statistics,
)

#: The nominal bands of GF-5: 150 and 180.
GF5 = np.concatenate([390.3 + 4.28 * np.arange(150), 1009 + 8.4167 * np.arange(180)])


def bands_at(wavelength: Any, **more: Any) -> Bands:
    names = tuple(f"b{number}" for number in range(1, len(wavelength) + 1))
    return Bands(names, wavelength_nm=tuple(float(one) for one in wavelength), **more)


def scene(bands: int = 12, height: int = 200, width: int = 160, noise: float = 0.002, seed: int = 0) -> np.ndarray:
    """Smooth fields that all bands share, in other amounts, and white noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    fields = [np.sin(x / 13 + y / 29), np.cos(x / 31 - y / 11), np.sign(np.sin(x / 17) * np.sin(y / 19))]
    mixing = 0.04 * (1 + rng.random((bands, 3)))
    signal = 0.3 + np.tensordot(mixing, fields, axes=1)
    return (signal + noise * rng.standard_normal(signal.shape)).astype(np.float32)


def as_scene(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("band", "y", "x"))


class TestWindows:
    def test_the_windows_of_water_take_45_bands_of_gf5_as_the_paper_says_or_nearly(self) -> None:
        marked = bad_bands(bands_at(GF5), windows=DEFAULT_WINDOWS[1:3])
        lost = len(marked) - sum(marked.good)
        # Ou et al. keep 285 of 330; they drop the noisy ends too, by numbers that they do not tell.
        assert 35 <= lost <= 45
        assert all(
            1342 <= nm <= 1451 or 1771 <= nm <= 1977 for nm, good in zip(GF5, marked.good, strict=True) if not good
        )

    @pytest.mark.parametrize(
        ("nm", "good"),
        [
            (399.99, False), (400.0, True), (1341.9, True), (1342.0, False), (1451.0, False), (1451.1, True),
            (1771.0, False), (1977.0, False), (1977.5, True), (2430.0, True), (2430.1, False),
        ],
    )  # fmt: skip
    def test_limits_belong_to_the_windows(self, nm: float, good: bool) -> None:
        assert bad_bands(bands_at([700.0, nm])).good == (True, good)

    def test_water_edges_are_an_option(self) -> None:
        bands = bands_at([899.0, 930.0, 1000.0, 1130.0, 1161.0])
        assert bad_bands(bands).good == (True,) * 5
        assert bad_bands(bands, water_edges=True).good == (True, False, True, False, True)

    def test_own_windows_replace_the_defaults(self) -> None:
        marked = bad_bands(bands_at([390.0, 500.0, 1400.0]), windows=[(450, 550)])
        assert marked.why == ("", "450-550 nm", "")

    def test_bands_without_wavelengths_are_left_alone(self) -> None:
        assert bad_bands(Bands(("dem", "twi"))).good == (True, True)
        assert bad_bands(bands_at([0.0, 500.0])).good == (True, True)


class TestAuthority:
    def test_the_user_wins_over_the_file_the_windows_and_the_scene(self) -> None:
        bands = bands_at([500.0, 600.0, 1400.0, 2000.0], good=(True, False, True, True), why=("", "dead", "", ""))
        ones = np.ones(4)
        shown = SceneStatistics(np.array([1.0, 1.0, 1.0, 0.0]), ones, 99 * ones, 0 * ones, pixels=9)
        assert bad_bands(bands, statistics=shown).why == ("", "dead", "water vapour 1342-1451 nm", "empty")
        kept = bad_bands(bands, statistics=shown, keep=["b2", "1390-1410", (1990, 2010)], listed=["b1"])
        assert kept.good == (False, True, True, True)
        assert kept.why == ("listed by the user", "", "", "")

    def test_a_band_keeps_its_first_reason(self) -> None:
        bands = bands_at([500.0, 1400.0], good=(True, False), why=("", "detector overlap"))
        assert bad_bands(bands, listed=["b2"]).why == ("", "detector overlap")

    def test_a_bad_band_without_a_reason_gets_one(self) -> None:
        assert bad_bands(bands_at([500.0, 600.0], good=(True, False))).why == ("", "marked bad in the file")

    def test_marking_twice_changes_nothing(self) -> None:
        once = bad_bands(bands_at(GF5), listed=["b100", "2000-2100 nm"])
        assert bad_bands(once) == once

    @pytest.mark.parametrize("listed", [["b9"], ["3000-3100"], [(3000, 3100)], ["soil-1"]])
    def test_a_list_that_names_nothing(self, listed: list[Any]) -> None:
        with pytest.raises(UsageError, match="no band is called") as caught:
            bad_bands(bands_at([500.0, 600.0]), listed=listed)
        assert caught.value.code == "GS-BANDS-LIST"

    def test_a_band_cannot_go_and_stay(self) -> None:
        with pytest.raises(UsageError, match="to go and to stay: b1"):
            bad_bands(bands_at([500.0, 600.0]), listed=["b1"], keep=["490-510"])

    def test_no_band_left(self) -> None:
        with pytest.raises(InputError, match="no band is left") as caught:
            bad_bands(bands_at([1400.0, 1900.0]))
        assert caught.value.code == "GS-BANDS-NONE"

    def test_statistics_of_other_bands(self) -> None:
        with pytest.raises(InputError, match="12 bands for 2"):
            bad_bands(bands_at([500.0, 600.0]), statistics=scene_statistics(as_scene(scene())))


class TestScene:
    """Faults that were put in are found, and nothing else."""

    def test_a_clean_scene_has_no_bad_band(self) -> None:
        assert scene_statistics(as_scene(scene())).reasons() == [""] * 12

    def test_each_fault_has_its_name(self) -> None:
        values, rng = scene(), np.random.default_rng(1)
        values[1] = np.nan
        values[2] = 0
        values[4] = 0.25
        values[6] += rng.normal(0, 0.15, values[6].shape).astype(np.float32)
        values[9] += rng.normal(0, 0.05, 160).astype(np.float32)
        found = scene_statistics(as_scene(values)).reasons()
        assert found[1] == found[2] == "empty"
        assert found[4] == "constant"
        assert found[6] == "noisy in the scene"
        assert found[9] == "striped in the scene"
        assert [place for place, why in enumerate(found) if why] == [1, 2, 4, 6, 9]

    @pytest.mark.parametrize("noise", [0.001, 0.003, 0.01, 0.03])
    def test_the_noise_that_was_put_in_is_measured(self, noise: float) -> None:
        found = scene_statistics(as_scene(scene(bands=30, noise=noise)))
        assert np.median(0.3 / found.snr) == pytest.approx(noise, rel=0.25)

    def test_scale_does_not_matter(self) -> None:
        small = scene_statistics(as_scene(scene()))
        large = scene_statistics(as_scene(10_000 * scene()))
        np.testing.assert_allclose(large.snr, small.snr, rtol=1e-3)

    def test_a_scene_half_of_nodata_is_judged_by_the_other_half(self) -> None:
        values = scene()
        values[:, :, :80] = np.nan
        assert scene_statistics(as_scene(values)).reasons() == [""] * 12

    @pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 40), (40, 1), (7, 5)])
    def test_tiny_scenes_are_no_trouble(self, shape: tuple[int, int]) -> None:
        values = np.random.default_rng(0).uniform(0.1, 0.5, (4, *shape)).astype(np.float32)
        assert len(scene_statistics(as_scene(values)).reasons()) == 4

    def test_only_some_windows_of_a_lazy_scene_are_read(self) -> None:
        read: list[int] = []

        def block(values: np.ndarray) -> np.ndarray:
            read.append(values[0].size)
            return values

        lazy = da.zeros((3, 4000, 4000), chunks=(3, 100, 100), dtype=np.float32).map_blocks(block, dtype=np.float32)
        scene_statistics(as_scene(lazy)).reasons()
        assert 0 < sum(read) < 0.05 * 4000 * 4000

    def test_the_same_look_twice_is_the_same(self) -> None:
        first, second = (scene_statistics(as_scene(scene())) for _ in range(2))
        np.testing.assert_array_equal(first.snr, second.snr)


def test_the_summary_groups_by_reason() -> None:
    marked = bad_bands(bands_at(np.arange(380.0, 2500.0, 10)), listed=["500", "b20"][1:])
    lines = describe_bad(marked)
    assert lines[0] == f"{sum(marked.good)} of 212 bands stay"
    assert lines[1:] == [
        "noisy below 400 nm: 2 bands (380-390 nm)",
        "listed by the user: 1 band (570 nm)",
        "water vapour 1342-1451 nm: 11 bands (1350-1450 nm)",
        "water vapour 1771-1977 nm: 20 bands (1780-1970 nm)",
        "noisy above 2430 nm: 6 bands (2440-2490 nm)",
    ]
    assert describe_bad(Bands(("dem", "twi"))) == ["2 of 2 bands stay"]
    assert describe_bad(bad_bands(Bands(("dem", "twi")), listed=["twi"]))[1] == "listed by the user: 1 band (twi)"
