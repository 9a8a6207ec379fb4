"""Preprocessing by named steps equals prospectr, chemotools and SciPy; it is fitted once and survives a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chemotools.baseline import PolynomialCorrection
from chemotools.scatter import MultiplicativeScatterCorrection, StandardNormalVariate
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from geosoil.errors import GeosoilError, InputError, ModelError, UsageError
from geosoil.prep.spectra import Counts, Preprocess
from geosoil.prep.steps import KNOWN, Step, parse_steps

Array = NDArray[Any]
REFERENCE = Path(__file__).parent.parent / "data" / "spectra"


def reference(name: str) -> tuple[Array, Array]:
    """Wavelengths and spectra of a table that prospectr computed."""
    table = pd.read_csv(REFERENCE / f"nirsoil5_{name}.csv").drop(columns="row")
    return table.columns.to_numpy(np.float64), table.to_numpy(np.float64)


def soils(count: int = 40, seed: int = 0) -> Array:
    """Made reflectance on 400 to 1000 nm, step 5: a slope, two features, gain and offset by scatter."""
    rng, x = np.random.default_rng(seed), np.linspace(0, 1, 121)
    depth = rng.uniform(0, 0.2, (count, 2, 1))
    curve = (
        0.3
        + 0.3 * x
        - depth[:, 0] * np.exp(-(((x - 0.3) / 0.05) ** 2))
        - depth[:, 1] * np.exp(-(((x - 0.7) / 0.1) ** 2))
    )
    return np.asarray(rng.uniform(0.7, 1.2, (count, 1)) * curve + rng.uniform(0, 0.1, (count, 1)))


WAVELENGTH = np.arange(400.0, 1001.0, 5)


class TestAgainstProspectr:
    """R package prospectr 0.2.9 on the first five spectra of NIRsoil."""

    # prospectr leaves the spacing of 2 nm out of some derivatives.
    @pytest.mark.parametrize(
        ("step", "name", "factor"),
        [
            ("snv", "snv", 1),
            ("detrend(degree=2)", "detrend_snv_p2", 1),
            ("sg(window=11, degree=3, derivative=0)", "sg_m0_p3_w11", 1),
            ("sg(window=11, degree=2, derivative=1)", "sg_m1_p2_w11", 2),
            ("sg(window=11, degree=3, derivative=2)", "sg_m2_p3_w11_dw2", 1),
            ("gapder(derivative=1, gap=11, segment=5)", "gapder_m1_w11_s5", 2),
            ("movav(window=11)", "movav_w11", 1),
            ("msc", "msc_meanref", 1),
            ("resample(step=10)", "resample_linear_10nm", 1),
        ],
    )
    def test_a_step_on_absorbance(self, step: str, name: str, factor: float) -> None:
        wavelength, spectra = reference("raw_absorbance")
        expected_at, expected = reference(name)
        fitted = Preprocess.fit(spectra, wavelength, [step])
        np.testing.assert_allclose(fitted.wavelength_nm, expected_at)
        np.testing.assert_allclose(factor * fitted.apply(spectra), expected, rtol=0, atol=1e-13)
        single = fitted.apply(spectra.astype(np.float32))
        assert single.dtype == np.float32
        np.testing.assert_allclose(factor * single, expected, atol=5e-7 * np.abs(expected).max() + 1e-8)

    @pytest.mark.parametrize(
        ("steps", "name"),
        [
            (["absorbance"], "raw_absorbance"),
            (["continuum"], "cr_reflectance_division"),
            (["absorbance", "continuum"], "cr_absorbance_division"),
        ],
    )
    def test_a_step_on_reflectance(self, steps: list[str], name: str) -> None:
        wavelength, absorbance = reference("raw_absorbance")
        _, expected = reference(name)
        found = Preprocess.fit(10**-absorbance, wavelength, steps).apply(10**-absorbance)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


class TestAgainstOtherLibraries:
    def test_snv_is_that_of_chemotools_but_for_its_divisor(self) -> None:
        spectra = soils()
        found = Preprocess.fit(spectra, WAVELENGTH, "snv").apply(spectra)
        expected = StandardNormalVariate().fit_transform(spectra)
        np.testing.assert_allclose(found, expected * np.sqrt(120 / 121), atol=1e-12)

    def test_msc_keeps_the_mean_of_training_as_chemotools_does(self) -> None:
        train, test = soils(30, 1), soils(10, 2)
        expected = MultiplicativeScatterCorrection(method="mean").fit(train).transform(test)
        np.testing.assert_allclose(Preprocess.fit(train, WAVELENGTH, "msc").apply(test), expected, atol=1e-12)

    def test_detrending_is_a_polynomial_baseline_after_snv(self) -> None:
        spectra = soils()
        expected = PolynomialCorrection(order=2).fit_transform(
            Preprocess.fit(spectra, WAVELENGTH, "snv").apply(spectra)
        )
        np.testing.assert_allclose(Preprocess.fit(spectra, WAVELENGTH, "detrend").apply(spectra), expected, atol=1e-10)

    @pytest.mark.parametrize(("window", "degree", "derivative"), [(5, 2, 1), (11, 3, 0), (21, 4, 2)])
    def test_savitzky_golay_is_that_of_scipy_at_the_edges_too(self, window: int, degree: int, derivative: int) -> None:
        spectra = soils()
        expected = savgol_filter(spectra, window, degree, derivative, delta=5, mode="interp")
        step = f"sg(window={window}, degree={degree}, derivative={derivative}"
        kept = Preprocess.fit(spectra, WAVELENGTH, step + ", edges=keep)")
        np.testing.assert_allclose(kept.apply(spectra), expected, atol=1e-12)
        np.testing.assert_array_equal(kept.wavelength_nm, WAVELENGTH)
        half = window // 2
        dropped = Preprocess.fit(spectra, WAVELENGTH, step + ")")
        np.testing.assert_allclose(dropped.apply(spectra), expected[:, half:-half], atol=1e-12)
        np.testing.assert_array_equal(dropped.wavelength_nm, WAVELENGTH[half:-half])


class TestKnownTruth:
    @pytest.mark.parametrize("step", ["sg(window=7, degree=2, derivative=1)", "gapder(gap=3, segment=3)"])
    @pytest.mark.parametrize("spacing", [0.5, 2.0, 10.0])
    def test_the_slope_of_a_line_is_per_nm_whatever_the_spacing(self, step: str, spacing: float) -> None:
        wavelength = 500 + spacing * np.arange(40)
        lines = 0.1 + np.outer([1e-4, -3e-4], wavelength - 500)
        found = Preprocess.fit(lines, wavelength, step).apply(lines)
        np.testing.assert_allclose(found, np.repeat([[1e-4], [-3e-4]], found.shape[1], axis=1), atol=1e-13)

    @pytest.mark.parametrize("derivative", [2, 3, 4])
    def test_higher_gap_derivatives_of_their_polynomial_are_constant(self, derivative: int) -> None:
        wavelength = np.arange(40.0)
        curve = 0.3 + 1e-6 * wavelength[None, :] ** derivative
        step = f"gapder(derivative={derivative}, gap=1, segment=3)"
        found = Preprocess.fit(curve, wavelength, step).apply(curve)
        np.testing.assert_allclose(found, 1e-6 * np.prod(np.arange(1, derivative + 1)), rtol=1e-6)

    def test_scaling_is_by_training_samples_only(self) -> None:
        train, test = soils(30, 1), soils(10, 2)
        fitted = Preprocess.fit(train, WAVELENGTH, "scale")
        scaled = fitted.apply(train)
        np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(scaled.std(0, ddof=1), 1, atol=1e-12)
        np.testing.assert_allclose(fitted.apply(test), (test - train.mean(0)) / train.std(0, ddof=1), atol=1e-10)
        centred = Preprocess.fit(train, WAVELENGTH, "scale(by=none)").apply(test)
        np.testing.assert_allclose(centred, test - train.mean(0), atol=1e-14)

    def test_a_band_that_is_constant_in_training_is_only_centred(self) -> None:
        train = soils()
        train[:, 7] = 0.25
        assert np.isfinite(Preprocess.fit(train, WAVELENGTH, "scale").apply(train)).all()

    def test_what_a_step_learns_it_learns_behind_the_steps_before(self) -> None:
        train = soils()
        absorbance = Preprocess.fit(train, WAVELENGTH, "absorbance").apply(train)
        both = Preprocess.fit(train, WAVELENGTH, "absorbance, msc").apply(train)
        np.testing.assert_allclose(both, Preprocess.fit(absorbance, WAVELENGTH, "msc").apply(absorbance), atol=1e-13)


class TestSegments:
    """Windows never reach across a gap, a join of detectors or a step back."""

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10_000), st.integers(12, 60), st.integers(12, 60), st.sampled_from(["gap", "back", "join"]))
    def test_each_segment_is_treated_as_if_it_were_alone(self, seed: int, left: int, right: int, how: str) -> None:
        spectra = np.random.default_rng(seed).uniform(0.1, 0.9, (3, left + right))
        first = 400 + 4.0 * np.arange(left)
        second = {"gap": first[-1] + 60, "back": first[-1] - 10, "join": first[-1] + 4}[how] + 8.0 * np.arange(right)
        whole = Preprocess.fit(spectra, np.concatenate([first, second]), "sg(window=7)")
        parts = [Preprocess.fit(spectra[:, :left], first, "sg(window=7)")]
        parts.append(Preprocess.fit(spectra[:, left:], second, "sg(window=7)"))
        expected = [one.apply(part) for one, part in zip(parts, (spectra[:, :left], spectra[:, left:]), strict=True)]
        if how == "join":
            # It begins where the first one would go on: nothing tells that its first band is not the other's last.
            np.testing.assert_array_equal(whole.apply(spectra)[:, -(right - 7) :], expected[1][:, 1:])
        else:
            np.testing.assert_array_equal(whole.apply(spectra), np.hstack(expected))
            np.testing.assert_array_equal(whole.wavelength_nm, np.concatenate([one.wavelength_nm for one in parts]))

    def test_a_join_that_the_wavelengths_hide_can_be_named(self) -> None:
        wavelength = np.arange(950.0, 1051.0)
        spectra = np.where(wavelength <= 1000, 0.3, 0.35)[None, :] * np.ones((2, 1))
        across = Preprocess.fit(spectra, wavelength, "sg(window=5)").apply(spectra)
        apart = Preprocess.fit(spectra, wavelength, "sg(window=5)", joins_nm=[1000.5])
        assert np.abs(across).max() > 0.01
        np.testing.assert_allclose(apart.apply(spectra), 0, atol=1e-14)
        assert 1000 not in apart.wavelength_nm

    def test_short_segments_are_dropped_and_said(self) -> None:
        wavelength = np.concatenate([np.arange(400.0, 600, 5), [700.0, 705, 710, 715], np.arange(800.0, 1000, 5)])
        fitted = Preprocess.fit(np.full((1, len(wavelength)), 0.4), wavelength, "sg(window=7)")
        assert fitted.notes == ("sg: 4 bands from 700 to 715 nm dropped, fewer than its window of 7",)
        assert not ((fitted.wavelength_nm >= 700) & (fitted.wavelength_nm <= 715)).any()

    def test_two_windows_one_after_the_other_respect_the_same_gap(self) -> None:
        wavelength = np.concatenate([np.arange(400.0, 500, 5), np.arange(600.0, 700, 5)])
        spectra = np.where(wavelength < 550, 0.2, 0.6)[None, :] + np.zeros((1, 1))
        found = Preprocess.fit(spectra, wavelength, "movav(window=5), sg(window=5)").apply(spectra)
        np.testing.assert_allclose(found, 0, atol=1e-15)
        assert found.shape[1] == 2 * (20 - 8)

    def test_spacing_that_drifts_is_refused_and_resampling_helps(self) -> None:
        wavelength = 400 + np.cumsum(np.linspace(4, 8, 100))
        spectra = (0.1 + 1e-4 * wavelength)[None, :]
        with pytest.raises(InputError, match="equally spaced") as caught:
            Preprocess.fit(spectra, wavelength, "sg")
        assert caught.value.code == "GS-SPACING"
        assert "resample(step=8)" in caught.value.hint
        found = Preprocess.fit(spectra, wavelength, "resample(step=8), sg").apply(spectra)
        np.testing.assert_allclose(found, 1e-4, rtol=1e-9)

    def test_no_segment_as_wide_as_the_window(self) -> None:
        with pytest.raises(InputError, match="no run of equally spaced bands") as caught:
            Preprocess.fit(soils()[:, :9], WAVELENGTH[:9], "sg(window=11)")
        assert caught.value.code == "GS-WINDOW"


class TestOddSpectra:
    """What cannot be computed is counted, and never half computed."""

    def test_counts_and_gaps(self) -> None:
        spectra = soils(8)
        spectra[1, 5] = np.nan
        spectra[2, 5] = np.inf
        spectra[3, :2] = [0.0, -0.1]
        spectra[4, 9] = 1.6
        spectra[5] = 0.3
        counts = Counts()
        found = Preprocess.fit(soils(), WAVELENGTH, "absorbance, snv").apply(spectra, counts=counts)
        assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False, True, True, False, False]
        assert np.isfinite(found[[0, 3, 6, 7]]).all()
        assert counts == Counts(rows=8, missing=2, floored=2, bright=1, flat=1)
        assert len(counts.lines()) == 4
        assert counts + counts == Counts(rows=16, missing=4, floored=4, bright=2, flat=2)

    def test_rows_with_gaps_do_not_teach(self) -> None:
        train = soils()
        with_gap = np.vstack([train, np.full((1, 121), np.nan)])
        assert np.array_equal(
            Preprocess.fit(with_gap, WAVELENGTH, "msc").apply(train),
            Preprocess.fit(train, WAVELENGTH, "msc").apply(train),
        )
        with pytest.raises(InputError, match="no training spectrum is left") as caught:
            Preprocess.fit(with_gap[-1:], WAVELENGTH, "msc")
        assert caught.value.code == "GS-SPECTRA-FLAT"

    def test_no_rows_are_no_trouble(self) -> None:
        assert Preprocess.fit(soils(), WAVELENGTH, "absorbance, sg").apply(np.empty((0, 121))).shape == (0, 111)

    @settings(max_examples=25, deadline=None)
    @given(st.permutations(["snv", "sg(window=5)", "movav(window=3)", "scale", "detrend"]), st.integers(1, 5))
    def test_a_table_cut_anywhere_gives_the_same_bits(self, steps: list[str], cut: int) -> None:
        spectra = soils(6).astype(np.float32)
        fitted = Preprocess.fit(spectra, WAVELENGTH, steps)
        whole = fitted.apply(spectra)
        np.testing.assert_array_equal(np.vstack([fitted.apply(spectra[:cut]), fitted.apply(spectra[cut:])]), whole)

    def test_the_result_goes_where_it_should(self) -> None:
        spectra = soils().astype(np.float32)
        fitted = Preprocess.fit(spectra, WAVELENGTH, "snv")
        out = np.empty_like(spectra)
        assert fitted.apply(spectra, out=out) is out
        np.testing.assert_array_equal(out, fitted.apply(spectra))
        np.testing.assert_array_equal(fitted.apply(np.asfortranarray(spectra)), out)
        for wrong in (
            np.empty_like(spectra, np.float64),
            np.empty((40, 120), np.float32),
            np.empty_like(spectra, order="F"),
        ):
            with pytest.raises(UsageError, match="out has to be"):
                fitted.apply(spectra, out=wrong)

    def test_spectra_that_are_given_are_not_touched(self) -> None:
        spectra = soils()
        before = spectra.copy()
        Preprocess.fit(spectra, WAVELENGTH, "absorbance, continuum").apply(spectra)
        np.testing.assert_array_equal(spectra, before)

    @pytest.mark.parametrize("shape", [(121,), (4, 120), (2, 3, 121)])
    def test_spectra_that_do_not_fit(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError) as caught:
            Preprocess.fit(soils(), WAVELENGTH, "snv").apply(np.ones(shape))
        assert caught.value.code == "GS-SPECTRA-SHAPE"


class TestNames:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("savgol", "'savgol' is not known"),
            ("sg(11, 2, 1)", "has '11' without a name"),
            ("sg(width=11)", "has no option 'width'"),
            ("sg(window=10)", "needs an odd window"),
            ("sg(window=3, degree=3)", "a window wider than its degree"),
            ("sg(degree=2, derivative=3)", "a degree not below its derivative"),
            ("sg(window=eleven)", "needs a whole number for window"),
            ("sg(window=5.5)", "needs a whole number for window"),
            ("sg(window=7, window=9)", "has 'window' twice"),
            ("sg(edges=fit)", "does not know edges=fit"),
            ("snv(ddof=1)", "has no option 'ddof'"),
            ("absorbance(floor=-1)", "cannot have floor=-1"),
            ("absorbance(floor=nan)", "cannot have floor=nan"),
            ("gapder(derivative=5)", "up to the fourth"),
            ("sg(window=7", "is no step"),
            ("", "is no step"),
        ],
    )
    def test_a_step_that_is_not_understood(self, text: str, message: str) -> None:
        with pytest.raises(UsageError, match="preprocessing step") as caught:
            Step.parse(text)
        assert message in caught.value.message
        assert len(caught.value.message) < 100
        assert caught.value.code == "GS-STEP"
        assert any(line.startswith("known: absorbance, snv") for line in caught.value.details)

    def test_a_near_miss_is_guessed(self) -> None:
        with pytest.raises(UsageError) as caught:
            Step.parse("absorbence")
        assert "perhaps 'absorbance'" in caught.value.details

    @pytest.mark.parametrize("name", KNOWN)
    def test_every_step_reads_what_it_writes(self, name: str) -> None:
        step = Step.parse(name)
        assert Step.parse(str(step)) == step
        assert parse_steps([step, str(step)]) == (step, step)

    @pytest.mark.parametrize(
        "steps", ["snv, absorbance", "absorbance, absorbance", "sg, continuum", "scale, continuum"]
    )
    def test_an_order_that_makes_no_sense(self, steps: str) -> None:
        with pytest.raises(UsageError, match="comes too late") as caught:
            Preprocess.fit(soils(), WAVELENGTH, steps)
        assert caught.value.code == "GS-STEP"

    def test_a_continuum_over_a_step_back_is_refused(self) -> None:
        wavelength = np.concatenate([WAVELENGTH[:60], WAVELENGTH[58:119]])
        with pytest.raises(InputError, match="wavelengths that rise"):
            Preprocess.fit(soils(), wavelength, "continuum")


class TestModelFile:
    STEPS = "absorbance, msc, sg(window=7, edges=keep), scale"

    def test_it_comes_back_with_the_same_bits(self) -> None:
        train, test = soils(), soils(9, 3).astype(np.float32)
        fitted = Preprocess.fit(train, WAVELENGTH, self.STEPS, joins_nm=[702.0])
        meta, arrays = fitted.state()
        again = Preprocess.restore(json.loads(json.dumps(meta)), {name: one.copy() for name, one in arrays.items()})
        np.testing.assert_array_equal(again.apply(test), fitted.apply(test))
        np.testing.assert_array_equal(again.wavelength_nm, fitted.wavelength_nm)
        assert again.notes == fitted.notes

    def test_damage_is_seen(self) -> None:
        meta, arrays = Preprocess.fit(soils(), WAVELENGTH, self.STEPS).state()
        damaged: list[tuple[dict[str, Any], dict[str, Array]]] = [
            ({}, arrays),
            ({**meta, "steps": ["nonsense"]}, arrays),
            ({**meta, "steps": [*meta["steps"], "msc"]}, arrays),
            ({**meta, "joins_nm": ["x"]}, arrays),
            (meta, {}),
            (meta, {**arrays, "wavelength_nm": arrays["wavelength_nm"][:-1]}),
            (meta, {**arrays, "wavelength_nm": np.full(121, np.nan)}),
            (meta, {**arrays, "1.learned": arrays["1.learned"][1:]}),
            (meta, {**arrays, "1.learned": np.full(121, np.inf)}),
            (meta, {**arrays, "3.learned": arrays["3.learned"][None]}),
        ]
        for bad_meta, bad_arrays in damaged:
            with pytest.raises(ModelError) as caught:
                Preprocess.restore(bad_meta, bad_arrays)
            assert caught.value.code == "GS-MODEL-DAMAGED"

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from([*KNOWN, "sg(window=99)", "movav(window=31)", "detrend(degree=9)"]), max_size=5))
    def test_any_sequence_of_steps_works_or_says_why_not(self, steps: list[str]) -> None:
        spectra = soils(5)
        try:
            fitted = Preprocess.fit(spectra, WAVELENGTH, steps)
        except GeosoilError as error:
            if error.code not in {"GS-STEP", "GS-WINDOW", "GS-SPACING"}:
                raise
            return
        found = fitted.apply(spectra)
        assert found.shape == (5, len(fitted.wavelength_nm))
        meta, arrays = fitted.state()
        np.testing.assert_array_equal(Preprocess.restore(meta, arrays).apply(spectra), found)
