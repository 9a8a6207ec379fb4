"""Made cubes hold the landscape's reflectance, in every layout, and large ones come quickly and in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosoil.errors import UsageError
from geosoil.io.raster import open_scene
from geosoil.testing import Landscape, Layout, Levels, make_cube, make_product
from geosoil.testing.ground import Surface


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("cube.dat", Layout()),
        ("cube.img", Layout("bil")),
        ("cube.bip", Layout("bip")),
        ("cube.bsq", Layout(byte_order=1, micrometres=True)),
        ("cube", Layout("bil", byte_order=1, scale_factor=False)),
    ],
)
def test_all_layouts_hold_the_same_numbers_on_the_same_grid(tmp_path: Path, name: str, layout: Layout) -> None:
    tiff = make_cube(tmp_path / "cube.tif", (20, 24))
    made = make_cube(tmp_path / name, (20, 24), layout=layout)
    np.testing.assert_array_equal(read(made.path), read(tiff.path))
    for cube in (tiff, made):
        with rasterio.open(cube.path) as dataset:
            assert dataset.crs == cube.geobox.crs
            assert dataset.transform == cube.geobox.affine
            assert dataset.nodata == -9999
            assert dataset.dtypes[0] == "int16"
    with rasterio.open(made.path) as dataset:
        header = dataset.tags(ns="ENVI")
        centres = [float(text) for text in header["wavelength"].strip("{} ").split(",")]
        assert header["wavelength_units"] == ("Micrometers" if layout.micrometres else "Nanometers")
        assert ("reflectance_scale_factor" in header) == layout.scale_factor
        np.testing.assert_allclose(centres, made.wavelength_nm / (1000 if layout.micrometres else 1), atol=1e-6)
        assert [int(text) for text in header["bbl"].strip("{} ").split(",")] == made.good.astype(int).tolist()


def test_bands_of_a_geotiff_carry_their_wavelengths(tmp_path: Path) -> None:
    made = make_cube(tmp_path / "cube.tif", (10, 10), family="ZY1E")
    with rasterio.open(made.path) as dataset:
        tags = [dataset.tags(band) for band in dataset.indexes]
    np.testing.assert_allclose([float(tag["wavelength"]) for tag in tags], made.wavelength_nm, atol=1e-3)
    np.testing.assert_allclose([float(tag["fwhm"]) for tag in tags], made.fwhm_nm, atol=1e-3)
    assert [tag["bbl"] == "1" for tag in tags] == made.good.tolist()


def test_without_disturbance_a_cube_is_the_surface(tmp_path: Path) -> None:
    landscape = Landscape(shape=(20, 24), clouds=False)
    made = make_cube(tmp_path / "cube.dat", landscape=landscape, shape=(20, 24), levels=Levels.none(), swath=False)
    ground = landscape.window((0, 20), (0, 24))
    truth = Surface.at(made.wavelength_nm, made.fwhm_nm).reflectance(ground).T.reshape(330, 20, 24)
    np.testing.assert_allclose(read(made.path) / 10_000, truth, atol=0.6e-4)


def test_noise_is_strong_where_the_air_absorbs(tmp_path: Path) -> None:
    landscape = Landscape(shape=(40, 40), clouds=False)
    noisy = read(make_cube(tmp_path / "a.dat", (40, 40), landscape=landscape, swath=False).path) / 10_000
    made = make_cube(tmp_path / "b.dat", (40, 40), landscape=landscape, swath=False, levels=Levels.none())
    error = (noisy - read(made.path) / 10_000).std(axis=(1, 2))
    water = ((made.wavelength_nm > 1360) & (made.wavelength_nm < 1410)) | (
        (made.wavelength_nm > 1830) & (made.wavelength_nm < 1900)
    )
    assert np.median(error[water]) > 3 * np.median(error[made.good])
    assert np.median(error[made.good]) < 0.04


def test_the_corners_that_the_image_misses_have_no_data(tmp_path: Path) -> None:
    values = read(make_cube(tmp_path / "cube.dat", (60, 60)).path)
    gap = values == -9999
    assert (gap == gap[0]).all()
    assert 0.02 < gap[0].mean() < 0.25
    assert not gap[0, 20:40, 20:40].any()
    assert gap[0][[0, 0, -1, -1], [0, -1, 0, -1]].all()


def test_any_cut_into_strips_gives_the_same_cube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(make_cube(tmp_path / "a.dat", (30, 26)).path)
    monkeypatch.setattr("geosoil.testing.cube._CELLS", 26 * 7)
    np.testing.assert_array_equal(read(make_cube(tmp_path / "b.dat", (30, 26)).path), whole)


def test_blocks_repeat_but_for_their_brightness(tmp_path: Path) -> None:
    made = make_cube(tmp_path / "cube.dat", (50, 70), block=32)
    values = read(made.path).astype(int)
    difference = values[:, :18, 32:64] - values[:, :18, :32]
    assert (difference == difference.flat[0]).all()
    assert (values[:, 32:50, :32] - values[:, :18, :32]).std() == 0
    truth = made.truth()
    assert truth["som"].shape == (50, 70)
    np.testing.assert_array_equal(truth["som"][:18, 32:64], truth["som"][:18, :32])


def test_a_large_cube_needs_the_memory_of_its_block(tmp_path: Path) -> None:
    tracemalloc.start()
    make_cube(tmp_path / "cube.dat", (700, 300), block=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "cube.dat").stat().st_size == 700 * 300 * 330 * 2
    assert peak < 80e6


def test_a_block_and_another_landscape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make_cube(tmp_path / "cube.dat", (50, 50), landscape=Landscape(shape=(50, 50)), block=32)
    assert caught.value.code == "GS-TESTING-BLOCK"


@pytest.mark.parametrize("family", ["GF5", "GF5B", "ZY1E"])
def test_a_cube_has_the_good_bands_of_a_product_of_its_sensor(tmp_path: Path, family: str) -> None:
    cube = open_scene(make_cube(tmp_path / "c.tif", (20, 24), family=family).path)
    product = open_scene(make_product(tmp_path / "p", family, (20, 24)).path, mapped=False)
    kept = [np.array(one["wavelength"].values)[one["good"].values] for one in (cube, product)]
    np.testing.assert_allclose(kept[0], kept[1], atol=0.01)
