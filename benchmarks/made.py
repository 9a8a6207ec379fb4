"""What the benchmarks run on: untrained networks of the default shape, and big scenes made window by window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from geosoil.models.bundle import Bundle, Card, PropertyCard
from geosoil.models.cnn import PatchPredictor, Standard
from geosoil.models.nets import NetSpec, PatchNet
from geosoil.prep.encode import Encoder
from geosoil.prep.target import TargetTransform
from geosoil.soil import STANDARD_DEPTHS, parse_depths, property_of
from geosoil.types import Predictor

BANDS = 37
DEPTHS = tuple((depth.top_cm, depth.bottom_cm) for depth in STANDARD_DEPTHS)
#: Convolutions that the depths share, as depth transfer leaves them.
SHARED = 2
NAMES = tuple(f"covariate_{number:02d}" for number in range(BANDS))
_EDGE = 512


def make_predictor(patch: int, depths: int, bands: int = BANDS) -> PatchPredictor:
    """Networks whose first convolutions are shared; speed does not depend on the weights."""
    spec = NetSpec(bands, patch)
    torch.manual_seed(0)
    first = PatchNet(spec).state_dict()
    nets = []
    for _ in range(depths):
        own = PatchNet(spec).state_dict()
        kept = tuple(f"{group}.{place}." for group in ("convs", "norms") for place in range(SHARED))
        nets.append({name: first[name] if name.startswith(kept) else value for name, value in own.items()})
    middles = np.array([(top + bottom) / 2 for top, bottom in DEPTHS[:depths]])
    return PatchPredictor(spec, (tuple(nets),), middles, Standard.bare(np.zeros(depths), np.ones(depths)), SHARED)


def make_model(path: Path, patch: int) -> Bundle:
    """A model file of six depths on the bands of `make_scene`."""
    predictor = make_predictor(patch, len(DEPTHS))
    encoder = Encoder.fit(np.array([[0.0], [30.0]], np.float32).repeat(BANDS, axis=1), NAMES)
    return make_bundle(path, predictor, encoder, "transfer", TargetTransform.fit(np.geomspace(1.0, 50.0, 200), "log"))


def make_bundle(path: Path, predictor: Predictor, encoder: Encoder, model: str, transform: TargetTransform) -> Bundle:
    """A model file round a predictor of as many depths as it has targets."""
    meta, _ = predictor.state()
    depths = DEPTHS[: predictor.targets]
    card = Card(
        name="benchmark",
        model=model,
        kind=predictor.kind,
        properties=(PropertyCard.of(property_of("soc"), parse_depths(depths), transform),),
        crs="EPSG:32755",
        extent=(740_000, 6_000_000, 1_000_000, 6_680_000),
        cell=(30, 30),
        encoder=encoder.to_meta(),
        predictor=meta,
        counts={"profiles": 0},
    )
    residuals = tuple(np.linspace(-0.5, 0.5, 50) for _ in depths)
    bundle = Bundle(card, encoder, predictor, (transform,), residuals)
    bundle.save(path, overwrite=True)
    return bundle


def make_scene(path: Path, edge: int) -> Path:
    """A GeoTIFF of edge x edge cells: 16-bit integers with a scale, tiled, deflated, with gaps; never whole in memory.

    Waves of another length in each band, and noise in the last digits as real covariates have it.
    """
    profile = {
        "driver": "GTiff", "width": edge, "height": edge, "count": BANDS, "dtype": "int16", "nodata": -32768,
        "crs": "EPSG:32755", "transform": Affine(30, 0, 740_000, 0, -30, 6_680_000), "tiled": True,
        "blockxsize": _EDGE, "blockysize": _EDGE, "compress": "deflate", "zlevel": 1, "num_threads": "all_cpus",
        "bigtiff": "if_safer",
    }  # fmt: skip
    rng = np.random.default_rng(0)
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, edge, _EDGE):
            for column in range(0, edge, _EDGE):
                y, x = np.mgrid[row : min(row + _EDGE, edge), column : min(column + _EDGE, edge)]
                bands = np.empty((BANDS, *y.shape), np.int16)
                gap = np.sin(y / 210) * np.sin(x / 330) > 0.97
                for band in range(BANDS):
                    wave = np.sin(x / (30 + 7 * band)) + np.cos(y / (50 + 5 * band)) + 2
                    bands[band] = 700 * wave + rng.integers(0, 16, y.shape)
                    bands[band][gap] = -32768
                file.write(bands, window=Window(column, row, y.shape[1], y.shape[0]))
        file.descriptions = NAMES
        file.scales = (0.01,) * BANDS
    return path
