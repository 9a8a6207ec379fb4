"""Small models and scenes for the tests of mapping, and an own, slow way to the same maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch

from geosoil.models.bundle import Bundle, Card, PropertyCard
from geosoil.models.cnn import PatchCNN, PatchPredictor, Standard, new_net
from geosoil.models.forest import Forest
from geosoil.models.nets import NetSpec
from geosoil.prep.encode import Encoder
from geosoil.prep.target import TargetTransform
from geosoil.soil import Property, parse_depths
from geosoil.testing import make_scene, write_raster
from geosoil.types import Layers, Predictor

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Float32

BANDS = ("elevation", "twi", "ndvi")
DEPTHS = ((0, 5), (5, 15))
_AS_IT_IS = Standard.bare(np.zeros(2), np.ones(2))


def make_model(
    path: Path | None = None,
    *,
    code: str = "soc",
    patch: int = 5,
    bands: tuple[str, ...] = BANDS,
    classes: tuple[str, ...] = (),
    kind: str = "cnn",
    seed: int = 0,
) -> Bundle:
    """A model of two depths; its networks are as they were born, with larger weights, so that cells differ."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(50, len(bands))).astype(np.float32)
    for place, name in enumerate(bands):
        if name in classes:
            centre[:, place] = rng.integers(1, 4, 50)
    encoder = Encoder.fit(centre, bands, classes=dict.fromkeys(classes, "onehot"))
    middles = np.array([(top + bottom) / 2 for top, bottom in DEPTHS])
    predictor: Predictor
    if kind == "cnn":
        spec = PatchCNN(kind="cnn", patch=patch).spec(encoder.features, len(DEPTHS))
        predictor = PatchPredictor(spec, (tuple(_net(spec, seed + place) for place in range(2)),), middles, _AS_IT_IS)
        spread = predictor.predict(rng.random((200, patch, patch, encoder.features), np.float32)).std(axis=0)
        predictor = replace(predictor, standard=Standard.bare(np.zeros(2), 0.8 / spread.astype(np.float64)))
    else:
        features = encoder.encode(centre[:, :, None, None])
        rows = np.repeat(np.arange(50), 2)
        layers = Layers(rows, np.tile(middles, 50), np.tile([0, 1], 50), rng.normal(size=100))
        predictor = Forest(trees=5, seed=seed).fit(features, layers, middles)
    transform = TargetTransform.fit(np.exp(rng.normal(size=100)), "log")
    meta, _ = predictor.state()
    soil = Property(code, f"Made {code}", "g/kg", 0, 1000, (0, 600))
    card = Card(
        name=code,
        model="cnn" if kind == "cnn" else "rf",
        kind=predictor.kind,
        properties=(PropertyCard.of(soil, parse_depths(DEPTHS), transform),),
        crs="EPSG:32755",
        extent=(740_000, 6_670_000, 745_000, 6_680_000),
        cell=(30, 30),
        encoder=encoder.to_meta(),
        predictor=meta,
        counts={"profiles": 50},
    )
    bundle = Bundle(card, encoder, predictor, (transform,), tuple(0.2 * rng.standard_normal(40) for _ in DEPTHS))
    if path is not None:
        bundle.save(path)
    return bundle


def _net(spec: NetSpec, seed: int) -> dict[str, torch.Tensor]:
    state = new_net(spec, seed, torch.device("cpu")).state_dict()
    return {name: 3 * value if value.ndim > 1 else value for name, value in state.items()}


def make_stack(
    path: Path, shape: tuple[int, int], *, missing: float = 0.1, classes: tuple[str, ...] = ()
) -> xr.DataArray:
    """A scene on disk, tiled, with gaps."""
    scene = make_scene(shape=shape, bands=BANDS, classes=classes, missing=missing, seed=3).compute()
    affine = scene.odc.geobox.affine
    names = [str(name) for name in scene["band"].values]
    write_raster(
        path, scene.values, names=names, transform=affine, nodata=np.nan, tiled=True, blockxsize=128, blockysize=128
    )
    return scene


def values_of(paths: Sequence[Path]) -> Float32:
    """The maps as one array, (maps, rows, columns)."""
    found = []
    for path in paths:
        with rasterio.open(path) as file:
            found.append(file.read(1, masked=True).filled(np.nan))
    return np.stack(found)


def patch_by_patch(bundle: Bundle, scene: xr.DataArray) -> Float32:
    """The maps, one patch after the other: (T, rows, columns)."""
    raw = np.stack([scene.sel(band=name).values for name in bundle.bands])
    halo = bundle.patch // 2
    padded = np.pad(raw, ((0, 0), (halo, halo), (halo, halo)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (bundle.patch, bundle.patch), axis=(1, 2))
    rows, columns = raw.shape[1:]
    found = np.empty((len(bundle.targets), rows, columns), np.float32)
    for row in range(rows):
        patches = np.ascontiguousarray(windows[:, row].transpose(1, 0, 2, 3))
        found[:, row] = bundle.predict(patches).T
    return found
