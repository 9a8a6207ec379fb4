"""Small models of spectra, and spectra of soils whose clay is known, for the tests of attributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn

from geosoil.models.bundle import Bundle, Card, PropertyCard
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.net_head import NetHead
from geosoil.models.resnet import ResNet1D, ResNetSpec
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.prep.encode import Encoder
from geosoil.prep.spectra import Preprocess
from geosoil.prep.target import TargetTransform
from geosoil.soil import Property, parse_depths

if TYPE_CHECKING:
    from geosoil.types import Float64

#: Where clay absorbs, and what else does.
CLAY_NM, OTHER_NM = 2205.0, 900.0
GRID_NM = np.arange(500.0, 2401.0, 50.0)


def made_spectra(count: int, wavelength_nm: Float64 = GRID_NM, seed: int = 0) -> tuple[Float64, Float64]:
    """Reflectance of soils (n, p), and how deep the feature of clay is in each (n,)."""
    rng = np.random.default_rng(seed)
    clay, other = rng.random((2, count))
    shapes = [np.exp(-(((wavelength_nm - nm) / 60) ** 2)) for nm in (CLAY_NM, OTHER_NM)]
    bright = 0.4 + 0.05 * rng.standard_normal((count, 1))
    spectra = bright - 0.1 * np.outer(clay, shapes[0]) - 0.1 * np.outer(other, shapes[1])
    return np.asarray(spectra + 0.002 * rng.standard_normal(spectra.shape)), clay


def spectra_table(count: int, wavelength_nm: Float64 = GRID_NM, seed: int = 1) -> pd.DataFrame:
    """A wide table of spectra."""
    values, _ = made_spectra(count, wavelength_nm, seed)
    frame = pd.DataFrame(values, columns=[f"{nm:g}nm" for nm in wavelength_nm])
    frame.insert(0, "sample_id", [f"S{number:03d}" for number in range(count)])
    return frame


def spectral_model(
    head: str = "plsr",
    *,
    steps: tuple[str, ...] = (),
    wavelength_nm: Float64 = GRID_NM,
    name: str = "clay",
    towards: float = CLAY_NM,
    code: str = "clay",
) -> Bundle:
    """A model that leans on one feature; trained in a moment."""
    spectra, clay = made_spectra(80, wavelength_nm)
    y = clay if towards == CLAY_NM else spectra[:, int(np.abs(wavelength_nm - towards).argmin())] * 10
    preprocess = Preprocess.fit(spectra, wavelength_nm, steps)
    near = np.asarray(preprocess.apply(spectra), np.float64)
    transform = TargetTransform.fit(10 + 30 * y, "log")
    z = transform.forward(10 + 30 * y)
    made: Head
    if head == "resnet":
        made = _network(near, z)
    else:
        settings = HeadSettings(kind=head, components=4, budget=1, trees=8, members=1, epochs=30)
        made = fit_head(near, z, settings)
    q = near.shape[1]
    predictor = SpectralPredictor(preprocess, None, (TargetHead(np.arange(q), made, -99.0, 99.0),))
    meta, _ = predictor.state()
    bands = tuple(f"b{number}" for number in range(len(wavelength_nm)))
    encoder = Encoder.identity(bands, spectra)
    soil = Property(code, f"Made {code}", "%", 0, 1000, (0, 100))
    card = Card(
        name=name,
        model=head,
        kind="spectral",
        properties=(PropertyCard.of(soil, parse_depths(((0, 20),)), transform),),
        crs="EPSG:32755",
        extent=(0, 0, 1, 1),
        cell=(30, 30),
        encoder=encoder.to_meta(),
        predictor=meta,
        quantity="reflectance",
        wavelength_nm=tuple(wavelength_nm.tolist()),
        counts={"profiles": 80},
    )
    return Bundle(card, encoder, predictor, (transform,), (0.1 * np.random.default_rng(0).standard_normal(40),))


def _network(near: Float64, z: Float64) -> NetHead:
    """A residual network that pools two bands, as it was born."""
    torch.manual_seed(3)
    net = ResNet1D(ResNetSpec(near.shape[1], filters=6, last=4, pool=2))
    net.standardise(torch.from_numpy(near.astype(np.float32)))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.get_buffer("running_mean").normal_(0, 0.3)
                module.get_buffer("running_var").uniform_(0.5, 2)
    return NetHead.of("resnet", [net.eval()], float(z.mean()), float(z.std()))
