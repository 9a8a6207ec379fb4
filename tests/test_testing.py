"""The made scenes and samples hold the truth that they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosoil.bands import Bands
from geosoil.testing import DECAY_CM, make_samples, make_scene, true_values


def test_scene_follows_the_contract() -> None:
    scene = make_scene(shape=(40, 50), classes=["lithology"], missing=0.2)
    assert scene.dims == ("band", "y", "x")
    assert scene.dtype == np.float32
    assert scene.chunks is not None
    assert Bands.of(scene).classes == (False, False, False, True)
    assert set(np.unique(scene.sel(band="lithology").values[np.isfinite(scene[0].values)])) <= {1.0, 2.0, 3.0}
    gaps = np.isnan(scene.values)
    assert (gaps == gaps[0]).all()
    assert gaps[0].mean() == pytest.approx(0.2, abs=0.01)


def test_equal_seeds_give_equal_scenes() -> None:
    first, again, other = (make_scene(shape=(20, 20), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_written_scene_has_its_grid_names_and_values(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene.tif", shape=(20, 30), missing=0.1)
    with rasterio.open(tmp_path / "scene.tif") as dataset:
        assert dataset.crs.to_epsg() == 32755
        assert dataset.transform == scene.odc.geobox.affine
        assert dataset.descriptions == ("elevation", "twi", "ndvi")
        np.testing.assert_array_equal(dataset.read(), scene.values)


def test_samples_lie_in_their_cells_and_have_the_true_values() -> None:
    scene = make_scene(shape=(30, 30), missing=0.3)
    layers = [(0.0, 10.0), (10.0, 40.0)]
    samples = make_samples(scene, profiles=50, layers=layers)
    assert len(samples) == 100
    col, row = ~scene.odc.geobox.affine * (samples.geometry.x.to_numpy(), samples.geometry.y.to_numpy())
    row, col = row.astype(int), col.astype(int)
    assert np.isfinite(scene.values[:, row, col]).all()
    for top, bottom in layers:
        here = (samples["top_cm"] == top).to_numpy()
        truth = true_values(scene, top, bottom)[row[here], col[here]]
        np.testing.assert_allclose(samples["value"].to_numpy()[here], truth, rtol=1e-12)


def test_interval_truth_is_the_mean_over_depth() -> None:
    scene = make_scene(shape=(4, 4))
    depths = np.linspace(20, 60, 20_001)
    middle = np.exp(-(depths[:-1] + depths[1:]) / 2 / DECAY_CM).mean()
    surface = true_values(scene, 0, 1e-6)
    np.testing.assert_allclose(true_values(scene, 20, 60), surface * middle, rtol=1e-6)


def test_noise_is_relative_and_seeded() -> None:
    scene = make_scene(shape=(40, 40))
    clean, noisy = make_samples(scene, 200), make_samples(scene, 200, noise=0.1)
    ratio = noisy["value"] / clean["value"]
    assert ratio.std() == pytest.approx(0.1, rel=0.15)
    assert (make_samples(scene, 200, noise=0.1)["value"] == noisy["value"]).all()
