"""Stripes put into an image are found and taken off; edges on the ground stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from geosoil.errors import UsageError
from geosoil.prep.destripe import Destriper, StripeFit

LINES, SAMPLES = 900, 160


def fields(seed: int = 0, lines: int = LINES, samples: int = SAMPLES) -> np.ndarray:
    """Radiance of fields of one soil each, with some texture."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (lines * samples // 300, 2)) * [lines, samples]
    grid = np.argwhere(np.ones((lines, samples), bool))
    owner = cKDTree(places).query(grid)[1].reshape(lines, samples)
    bright = np.exp(0.3 * rng.standard_normal(len(places)))[owner]
    texture = gaussian_filter(rng.standard_normal((lines, samples)), 1)
    return np.asarray(60 * bright * np.exp(0.04 * texture / texture.std()))


def fitted(image: np.ndarray, *, pieces: int = 100, window: int = 15) -> Destriper:
    fit = StripeFit(len(image), image.shape[1], image.shape[2], window=window)
    for start in range(0, image.shape[1], pieces):
        fit.add(image[:, start : start + pieces])
    return fit.fit()


def striped(truth: np.ndarray, kind: str, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, 0.9, truth.shape[1]) if kind != "gains" else 0.0
    gain = 1 + rng.normal(0, 0.015, truth.shape[1]) if kind != "offsets" else 1.0
    return np.asarray(truth * gain + offset + rng.normal(0, 0.2, truth.shape), np.float32)[None]


def columns_off(image: np.ndarray, truth: np.ndarray) -> float:
    """Standard deviation of what the columns are off by."""
    return float((image[0] - truth).mean(axis=0).std())


@pytest.mark.parametrize("kind", ["offsets", "gains", "both"])
def test_stripes_that_were_put_in_are_taken_off(kind: str) -> None:
    truth = fields()
    image = striped(truth, kind)
    destriper = fitted(image)
    clean = destriper(image)
    assert clean.dtype == np.float32
    # What remains is the noise of the running median, about a quarter of the stripes, and some of the ground.
    assert columns_off(clean, truth) < 0.4 * columns_off(image, truth)
    assert 0.008 < destriper.striping[0] < 0.03
    assert fitted(clean).striping[0] < 0.1 * destriper.striping[0]


def test_what_is_left_is_foretold() -> None:
    truth = fields(8)
    image = striped(truth, "offsets")
    destriper = fitted(image)
    off = (destriper(image)[0] - truth).mean(axis=0)
    smooth = off - np.convolve(np.pad(off, 7, mode="reflect"), np.ones(15) / 15, mode="valid")
    # The noise of the running median adds to it.
    assert 0.5 * destriper.left[0] < smooth.std() / np.median(truth) < 3 * destriper.left[0]
    assert destriper.left[0] < 0.3 * destriper.striping[0]


def test_gains_are_told_from_offsets() -> None:
    truth = fields(3)
    image = striped(truth, "gains")
    destriper = fitted(image)
    shifted = image - destriper.stripes[:, None]

    def off(found: np.ndarray, part: np.ndarray) -> float:
        """Standard deviation over the columns of what these cells are off by."""
        return float(np.array([(found[0] - truth)[part[:, j], j].mean() for j in range(SAMPLES)]).std())

    for part in (truth > np.quantile(truth, 0.9), truth < np.quantile(truth, 0.1)):
        # One offset for bright and dark ground does worse than what was fitted.
        assert off(destriper(image), part) < 0.95 * off(shifted, part)
        assert off(destriper(image), part) < 0.6 * off(image, part)


def test_a_single_bad_column_is_mended_among_good_ones() -> None:
    truth = fields(4)
    image = (truth + np.random.default_rng(0).normal(0, 0.2, truth.shape)).astype(np.float32)[None]
    image[0, :, 77] += 5.0
    destriper = fitted(image)
    assert destriper.stripes[0, 77] == pytest.approx(5.0, abs=0.4)
    others = np.delete(destriper.stripes[0], 77)
    assert np.abs(others).max() < 0.3


def test_an_image_without_stripes_is_left_alone() -> None:
    truth = fields(5)
    image = (truth + np.random.default_rng(0).normal(0, 0.2, truth.shape)).astype(np.float32)[None]
    destriper = fitted(image)
    assert destriper.striping[0] < 5e-4
    # A third of a percent of the level at most.
    assert np.abs(destriper(image) - image).mean() < 0.2


def test_an_edge_along_a_column_is_not_smeared() -> None:
    truth = fields(6)
    truth[:, 80:] *= 1.6  # the border of two lands, along the track over the whole image
    image = striped(truth, "offsets")
    clean = fitted(image)(image)
    off = (clean[0] - truth).mean(axis=0)
    # The step is 36; a moving mean over 15 columns would be off by 17 beside it.
    assert np.abs(off[72:88]).max() < 1.2
    step = (clean[0, :, 80:83].mean() - clean[0, :, 77:80].mean()) / (truth[:, 80:83].mean() - truth[:, 77:80].mean())
    assert step == pytest.approx(1.0, abs=0.03)


def test_an_edge_across_the_image_is_not_smeared() -> None:
    truth = fields(7)
    lines, samples = np.mgrid[:LINES, :SAMPLES]
    truth[lines > 300 + 2 * samples] *= 0.5
    image = striped(truth, "both")
    assert columns_off(fitted(image)(image), truth) < 0.4 * columns_off(image, truth)


@pytest.mark.parametrize("pieces", [1, 37, 900])
def test_how_the_lines_come_does_not_matter(pieces: int) -> None:
    image = striped(fields(), "both")
    one, other = fitted(image, pieces=pieces), fitted(image)
    np.testing.assert_array_equal(one.gain, other.gain)
    np.testing.assert_array_equal(one.offset, other.offset)


def test_windows_are_corrected_as_the_whole() -> None:
    image = striped(fields(), "both")
    destriper = fitted(image)
    np.testing.assert_array_equal(destriper(image[:, 5:9, 30:50], (30, 50)), destriper(image)[:, 5:9, 30:50])


def test_bands_do_not_mix_and_missing_data_stay_missing() -> None:
    truth = fields()
    image = np.concatenate([striped(truth, "offsets"), striped(0.1 * truth, "offsets", seed=9)])
    alone = fitted(image[1:])
    image[:, 200:240, :] = np.nan
    image[0, :, 12] = np.nan  # a dead element
    both = fitted(image)
    clean = both(image)
    np.testing.assert_array_equal(np.isnan(clean), np.isnan(image))
    assert np.isfinite(both.gain).all()
    assert np.isfinite(both.offset).all()
    assert np.corrcoef(both.stripes[1], alone.stripes[0])[0, 1] > 0.99
    kept = np.r_[0:200, 240:LINES]
    off = (clean[0, kept] - truth[kept]).mean(axis=0)
    before = (image[0, kept] - truth[kept]).mean(axis=0)
    assert np.nanstd(off) < 0.5 * np.nanstd(before)


def test_an_image_without_any_data_gives_no_correction() -> None:
    destriper = fitted(np.full((1, 40, 20), np.nan, np.float32))
    assert (destriper.gain == 1).all()
    assert (destriper.offset == 0).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: StripeFit(1, 10, 100),
        lambda: StripeFit(1, 100, 2),
        lambda: StripeFit(1, 100, 100, window=1),
        lambda: StripeFit(2, 100, 100).add(np.zeros((1, 5, 100), np.float32)),
        lambda: fitted(striped(fields(), "both"))(np.zeros((1, 5, 3), np.float32), (0, 9)),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.code == "GS-DESTRIPE"
