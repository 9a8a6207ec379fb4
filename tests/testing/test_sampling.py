"""Made samples lie on bare soil, hold the truth, and their spectra tell it better than a satellite's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import KFold, cross_val_predict

from geosoil.io.samples import open_samples
from geosoil.testing import Landscape, SpectralSamples, make_cube, make_spectral_samples
from geosoil.testing.acquisition import look_at
from geosoil.testing.ground import Surface

LANDSCAPE = Landscape(shape=(160, 160))


@pytest.fixture(scope="module")
def made() -> SpectralSamples:
    return make_spectral_samples(LANDSCAPE, 90)


def cells(samples: SpectralSamples, landscape: Landscape) -> tuple[np.ndarray, np.ndarray]:
    col, row = ~landscape.geobox.affine * (samples.ground.x, samples.ground.y)
    return np.floor(row).astype(int), np.floor(col).astype(int)


def test_samples_follow_the_contract(made: SpectralSamples) -> None:
    assert list(made.samples.columns) == ["profile", "property", "top_cm", "bottom_cm", "value", "geometry"]
    assert set(made.samples["property"]) == {"som", "as", "cu"}
    assert len(made.samples) == 270
    assert made.samples.crs.to_epsg() == 32649
    assert made.spectra.columns[0] == "sample_id"
    assert made.wavelength_nm.tolist() == list(range(350, 2501, 10))


def test_samples_lie_on_bare_soil_that_the_image_sees(made: SpectralSamples) -> None:
    assert made.ground.bare.all()
    rows, cols = cells(made, LANDSCAPE)
    assert LANDSCAPE.window((0, 160), (0, 160)).bare[rows, cols].all()
    line, sample = look_at(LANDSCAPE, LANDSCAPE.shape).image(made.ground.x, made.ground.y, made.ground.elevation)
    assert min(line.min(), sample.min()) >= 3
    assert max(line.max(), sample.max()) <= 156


def test_values_are_the_truth_but_for_the_laboratory_error() -> None:
    exact = make_spectral_samples(LANDSCAPE, 30, error=0.0)
    for code in ("som", "as", "cu"):
        np.testing.assert_allclose(exact.value(code), exact.ground.value(code))
    many = make_spectral_samples(LANDSCAPE, 400, error=0.1)
    ratio = np.log(many.value("cu") / many.ground.value("cu"))
    assert ratio.std() == pytest.approx(0.1, rel=0.15)


def test_spectra_are_those_of_the_soil_but_for_the_instrument(made: SpectralSamples) -> None:
    truth = Surface.at(made.wavelength_nm, np.full(216, 6.0)).soil(made.ground)
    inner = slice(10, -10)
    ratio = made.reflectance[:, inner] / truth[:, inner]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert 0.01 < ratio.mean(axis=1).std() < 0.06
    assert (ratio / ratio.mean(axis=1, keepdims=True)).std() < 0.02


def test_equal_seeds_give_equal_samples(made: SpectralSamples) -> None:
    again, other = (make_spectral_samples(LANDSCAPE, 90, seed=seed) for seed in (0, 1))
    pd.testing.assert_frame_equal(again.spectra, made.spectra)
    assert not np.array_equal(other.ground.x, made.ground.x)


def test_written_tables_read_back(tmp_path: Path) -> None:
    found = make_spectral_samples(LANDSCAPE, 12, step_nm=5, folder=tmp_path)
    spectra = pd.read_csv(tmp_path / "spectra.csv")
    assert spectra["sample_id"].tolist() == found.spectra["sample_id"].tolist()
    np.testing.assert_allclose(spectra.iloc[:, 1:], found.reflectance, atol=1e-6)
    samples = open_samples(tmp_path / "samples.csv", crs="EPSG:32649", property="as")
    np.testing.assert_allclose(
        samples.set_index("profile")["value"].loc[found.spectra["sample_id"]], found.value("as"), atol=1e-3
    )


def score(spectra: np.ndarray, values: np.ndarray) -> float:
    """Best cross-validated R2 of PLSR over its components."""
    found = []
    for components in range(2, 15):
        model = PLSRegression(components, scale=False)
        predicted = cross_val_predict(model, spectra, values, cv=KFold(5, shuffle=True, random_state=0)).ravel()
        found.append(1 - np.sum((values - predicted) ** 2) / np.sum((values - values.mean()) ** 2))
    return float(max(found))


def test_the_laboratory_tells_the_properties_better_than_the_satellite(tmp_path: Path) -> None:
    # The paper that this follows has test R2 of 0.8 to 0.9 from laboratory and 0.4 to 0.6 from satellite spectra.
    made = make_spectral_samples(LANDSCAPE, 90)
    cube = make_cube(tmp_path / "cube.dat", landscape=LANDSCAPE, shape=LANDSCAPE.shape)
    with rasterio.open(cube.path) as dataset:
        rows, cols = cells(made, LANDSCAPE)
        pixels = dataset.read()[cube.good][:, rows, cols].T / 10_000
    codes = ("som", "as", "cu")
    # Every tenth of its bands tells as much as all.
    laboratory = [score(np.log10(1 / made.reflectance[:, 5::10]), made.value(code)) for code in codes]
    satellite = [score(pixels, made.value(code)) for code in codes]
    assert 0.75 < np.mean(laboratory) < 0.95
    assert 0.35 < np.mean(satellite) < 0.7
    assert all(lab > sat for lab, sat in zip(laboratory, satellite, strict=True))
