"""Models of spectra: whole tiles equal spectrum by spectrum, and files keep all."""

from __future__ import annotations

import numpy as np
import pytest

from geosoil.errors import ModelError
from geosoil.models.fusion import FusionSettings, fit_translator
from geosoil.models.heads import HeadSettings, fit_head
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.prep.spectra import Preprocess

BANDS = 24
WAVELENGTH = np.linspace(450.0, 910.0, BANDS)


def pairs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Satellite spectra and laboratory spectra of the same made soils."""
    rng = np.random.default_rng(seed)
    parts = rng.dirichlet(np.ones(3), count)
    ends = np.stack([0.2 + 0.3 * np.sin(np.linspace(0, place + 1, BANDS)) ** 2 for place in range(3)])
    laboratory = parts @ ends
    satellite = 0.9 * laboratory + 0.03 + 0.01 * rng.standard_normal((count, BANDS))
    return satellite, laboratory


def predictor(fusion: str, head: str, steps: tuple[str, ...] = (), **changes: int) -> SpectralPredictor:
    """Two targets that read satellite and generated bands."""
    satellite, laboratory = pairs(60)
    preprocess = Preprocess.fit(satellite, WAVELENGTH, steps)
    near, far = preprocess.apply(satellite), preprocess.apply(laboratory)
    translator = fit_translator(FusionSettings.of(fusion, epochs=3, **changes), near, far)
    q = near.shape[1]
    both = np.hstack([near, translator.generate(near.astype(np.float32))])
    rng = np.random.default_rng(1)
    heads = []
    for place in range(2):
        y = laboratory[:, 5 * place + 2] * 10
        support = np.sort(rng.choice(2 * q, 9, replace=False))
        fitted = fit_head(both[:, support], y, HeadSettings(kind=head, budget=2, components=3))
        heads.append(TargetHead(support, fitted, float(y.min()), float(y.max())))
    return SpectralPredictor(preprocess, translator, tuple(heads))


@pytest.mark.parametrize("fusion", ["pls", "vae", "autoencoder"])
@pytest.mark.parametrize("head", ["plsr", "svr"])
@pytest.mark.parametrize("steps", [(), ("snv", "sg(window=5)")])
def test_a_tile_equals_its_spectra_one_by_one(fusion: str, head: str, steps: tuple[str, ...]) -> None:
    model = predictor(fusion, head, steps)
    block = pairs(7 * 9, seed=3)[0].astype(np.float32).reshape(7, 9, BANDS)
    tile = model.predict_tile(block)
    one_by_one = model.predict(block.reshape(-1, 1, 1, BANDS)).T.reshape(2, 7, 9)
    assert tile.std() > 0.01
    np.testing.assert_allclose(tile, one_by_one, atol=1e-4 * np.abs(one_by_one).max())


def test_averaged_draws_are_mapped_as_they_are_predicted() -> None:
    model = predictor("vae", "plsr", n_draws=3)
    block = pairs(20, seed=3)[0].astype(np.float32).reshape(4, 5, BANDS)
    one_by_one = model.predict(block.reshape(-1, 1, 1, BANDS)).T.reshape(2, 4, 5)
    np.testing.assert_allclose(model.predict_tile(block), one_by_one, atol=1e-4)


def test_predictions_stay_within_the_training_range() -> None:
    model = predictor("pls", "plsr")
    wild = np.full((3, 3, BANDS), 9.0, np.float32)
    for values, head in zip(model.predict_tile(wild), model.heads, strict=True):
        assert (values >= head.lowest - 1e-6).all()
        assert (values <= head.highest + 1e-6).all()


@pytest.mark.parametrize("fusion", ["none", "pls", "vae"])
def test_what_is_restored_says_the_same(fusion: str) -> None:
    model = predictor(fusion, "svr", ("absorbance", "snv"))
    again = SpectralPredictor.restore(*model.state())
    spectra = pairs(11, seed=5)[0]
    assert np.array_equal(again.predict_spectra(spectra), model.predict_spectra(spectra))


def test_parts_that_do_not_fit_are_refused() -> None:
    meta, arrays = predictor("pls", "plsr").state()
    with pytest.raises(ModelError, match="do not fit"):
        SpectralPredictor.restore(meta, {**arrays, "0.in.support": np.array([0, 1, 2, 3, 4, 5, 6, 7, 99])})
    with pytest.raises(ModelError, match="nothing generates"):
        SpectralPredictor.restore({**meta, "translator": None}, {**arrays, "0.in.support": np.arange(30, 39)})
