"""A warp by windows equals GDAL's warp of the whole raster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geosoil.errors import InputError, UsageError
from geosoil.io.lazy import reader_of
from geosoil.io.raster import open_scene
from geosoil.testing import write_raster

if TYPE_CHECKING:
    from geosoil.types import Float32

SOURCE = Affine(90, 0, 740_000, 0, -90, 6_680_000)
GRIDS = {
    "finer by two": ("EPSG:32755", Affine(45, 0, 740_000, 0, -45, 6_680_000), (400, 420)),
    "coarser by two": ("EPSG:32755", Affine(180, 0, 739_640, 0, -180, 6_680_720), (160, 170)),
    "skew to the cells": ("EPSG:32755", Affine(37.3, 0, 741_001.7, 0, -37.3, 6_679_123.4), (400, 420)),
    "degrees": ("EPSG:4326", Affine(0.0005, 0, 149.45, 0, -0.0005, -30.0), (400, 460)),
    "coarse degrees": ("EPSG:4326", Affine(0.003, 0, 149.4, 0, -0.003, -29.9), (160, 150)),
    "other zone": ("EPSG:28356", Affine(60, 0, 160_000, 0, -60, 6_680_000), (300, 320)),
}


def source_values() -> Float32:
    """Two quantities with gaps in different places, and classes."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(3, 300, 310)).astype(np.float32)
    values[0, 50:80, 50:60] = np.nan
    values[1, 100, :] = np.nan
    values[2] = rng.integers(1, 6, size=(300, 310))
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster of three bands, its bands as files of one, and the grids to put them on."""
    place = tmp_path_factory.mktemp("align")
    values = source_values()
    stored = np.nan_to_num(values, nan=-9999.0)
    write_raster(place / "source.tif", stored, names=["a", "b", "rock"], nodata=-9999, transform=SOURCE)
    for band in range(3):
        write_raster(place / f"band{band}.tif", values[band], nodata=np.nan, transform=SOURCE)
    for name, (crs, transform, shape) in GRIDS.items():
        write_raster(place / f"{name}.tif", np.zeros(shape, np.uint8), crs=crs, transform=transform)
    return place


def whole_warp(folder: Path, grid: str, way: str, scale: tuple[float, float]) -> Float32:
    """GDAL's own warp of each band, in one piece."""
    crs, transform, (height, width) = GRIDS[grid]
    bands = []
    for band, one_way in enumerate((way, way, "nearest")):
        with (
            rasterio.open(folder / f"band{band}.tif") as dataset,
            WarpedVRT(
                dataset, crs=crs, transform=transform, width=width, height=height, resampling=Resampling[one_way],
                src_nodata=np.nan, nodata=np.nan, tolerance=1e-9, XSCALE=repr(scale[0]), YSCALE=repr(scale[1]),
            ) as warped,
        ):  # fmt: skip
            bands.append(warped.read(1))
    return np.stack(bands)


@pytest.mark.parametrize("way", ["nearest", "bilinear", "cubic", "average", "mode"])
@pytest.mark.parametrize("grid", GRIDS)
def test_windows_equal_the_warp_of_the_whole_raster(folder: Path, grid: str, way: str) -> None:
    for chunks in (97, 128, 1000):
        scene = open_scene(
            folder / "source.tif", align=folder / f"{grid}.tif", resampling=way, classes=["rock"], chunks=chunks
        )
        scale = reader_of(scene.data).scale()  # type: ignore[union-attr]
        expected = whole_warp(folder, grid, way, scale)
        assert np.isfinite(expected).any()
        np.testing.assert_allclose(scene.values, expected, rtol=0, atol=1e-6)


def test_scale_is_the_ratio_of_the_cells(folder: Path) -> None:
    scales = {}
    for grid in ("finer by two", "coarser by two"):
        scene = open_scene(folder / "source.tif", align=folder / f"{grid}.tif")
        scales[grid] = reader_of(scene.data).scale()  # type: ignore[union-attr]
    assert scales == {"finer by two": (1.0, 1.0), "coarser by two": (0.5, 0.5)}


def test_average_of_halved_cells_is_the_mean_of_four(folder: Path, tmp_path: Path) -> None:
    like = write_raster(tmp_path / "like.tif", np.zeros((150, 155), np.uint8), transform=SOURCE * Affine.scale(2, 2))
    found = open_scene(folder / "band2.tif", align=like, resampling="average").values[0]
    expected = source_values()[2].reshape(150, 2, 155, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_classes_stay_codes_whatever_the_resampling(folder: Path) -> None:
    scene = open_scene(
        folder / "source.tif", align=folder / "degrees.tif", resampling="cubic", classes=["rock"], bands=["rock", "a"]
    )
    assert scene["band"].values.tolist() == ["rock", "a"]
    codes = scene.sel(band="rock").values
    assert set(np.unique(codes[np.isfinite(codes)])) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_aligned_scene_lies_on_the_other_grid(folder: Path) -> None:
    crs, transform, shape = GRIDS["degrees"]
    geobox = open_scene(folder / "source.tif", align=folder / "degrees.tif").odc.geobox
    assert (geobox.crs, tuple(geobox.shape)) == (crs, shape)
    np.testing.assert_allclose(tuple(geobox.affine), tuple(transform), rtol=1e-12)


def test_sources_on_different_grids_are_stacked_on_one(folder: Path, tmp_path: Path) -> None:
    on_grid = np.arange(400 * 420, dtype=np.float32).reshape(400, 420)
    crs, transform, _ = GRIDS["finer by two"]
    own = write_raster(tmp_path / "own.tif", on_grid, crs=crs, transform=transform)
    scene = open_scene([folder / "source.tif", own], align=own, resampling="nearest")
    assert scene["band"].values.tolist() == ["a", "b", "rock", "own"]
    np.testing.assert_array_equal(scene.sel(band="own").values, on_grid)
    expected = np.repeat(np.repeat(source_values()[2], 2, axis=0), 2, axis=1)[:400, :420]
    np.testing.assert_array_equal(scene.sel(band="rock").values, expected)


def test_users_own_array_is_aligned_like_a_file(folder: Path) -> None:
    like = folder / "other zone.tif"
    from_file = open_scene(folder / "source.tif", align=like, chunks=100)
    opened = open_scene(folder / "source.tif", chunks=50)
    np.testing.assert_array_equal(open_scene(opened, align=like, chunks=100).values, from_file.values)
    plain = xr.DataArray(
        source_values(),
        dims=("band", "y", "x"),
        coords={"band": ["a", "b", "rock"], "y": opened["y"].values, "x": opened["x"].values},
    )
    found = open_scene(plain, crs="EPSG:32755", align=like, chunks=100)
    np.testing.assert_array_equal(found.values, from_file.values)


def test_much_coarser_grid_is_warped_in_bounded_parts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = write_raster(tmp_path / "like.tif", np.zeros((30, 31), np.uint8), transform=SOURCE * Affine.scale(10, 10))
    whole = open_scene(folder / "source.tif", align=like, resampling="average").values
    monkeypatch.setattr("geosoil.io.align._MOST_CELLS", 3 * 60 * 60)
    sizes: list[int] = []
    scene = open_scene(folder / "source.tif", align=like, resampling="average", chunks=31)
    stack = reader_of(scene.data).reader  # type: ignore[union-attr]
    read = type(stack).read

    def noted(self: object, bands: object, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        sizes.append(3 * (rows[1] - rows[0]) * (cols[1] - cols[0]))
        found: Float32 = read(self, bands, rows, cols)
        return found

    monkeypatch.setattr(type(stack), "read", noted)
    np.testing.assert_allclose(scene.values, whole, rtol=1e-6)
    assert max(sizes) <= 3 * 60 * 60


def test_raster_that_lies_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    far = write_raster(
        tmp_path / "far.tif", np.zeros((5, 5), np.uint8), transform=Affine(90, 0, 100_000, 0, -90, 2_000_000)
    )
    with pytest.raises(InputError, match=r"source\.tif lies outside") as caught:
        open_scene(folder / "source.tif", align=far)
    assert caught.value.code == "GS-GRID-APART"
    assert len(caught.value.details) == 2


def test_unknown_resampling_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="lanczos") as caught:
        open_scene(folder / "source.tif", resampling="lanczos")
    assert caught.value.code == "GS-RESAMPLING"
