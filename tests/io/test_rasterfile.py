"""Stored numbers become values, no data becomes NaN; a window reads no more than itself."""

from __future__ import annotations

import os
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from distributed.protocol.pickle import dumps, loads

from geosoil.grid.patches import read_window
from geosoil.io import gdal
from geosoil.io.raster import open_scene
from geosoil.io.rasterfile import RasterFile
from geosoil.testing import write_raster

if TYPE_CHECKING:
    from geosoil.types import Float32

GRID = Affine(30, 0, 740_000, 0, -30, 6_680_000)


def numbers(bands: int = 1, shape: tuple[int, int] = (20, 30), seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(bands, *shape)).astype(np.float32)


class TestValues:
    """Stored numbers become values, and no data becomes NaN."""

    @pytest.mark.parametrize(
        ("dtype", "nodata", "stored"),
        [
            ("int16", -9999, -9999),
            ("uint8", 255, 255),
            ("float32", -9999.0, -9999.0),
            ("float32", float("nan"), np.nan),
            ("float32", -3.4028234663852886e38, -3.4028234663852886e38),
            ("float32", -3.40282e38, -3.4028234663852886e38),
            ("float64", -1.7976931348623157e308, -1.7976931348623157e308),
            ("float32", None, np.inf),
            ("float64", None, -np.inf),
        ],
    )
    def test_no_data(self, tmp_path: Path, dtype: str, nodata: float | None, stored: float) -> None:
        values = np.arange(24).reshape(1, 4, 6).astype(dtype)
        values[0, 1, 2] = stored
        write_raster(tmp_path / "a.tif", values, nodata=nodata)
        found = open_scene(tmp_path / "a.tif").values
        gaps = np.zeros((1, 4, 6), bool)
        gaps[0, 1, 2] = True
        np.testing.assert_array_equal(np.isnan(found), gaps)
        np.testing.assert_array_equal(found[~gaps], values[~gaps].astype(np.float32))

    def test_zero_is_data_unless_the_file_says_otherwise(self, tmp_path: Path) -> None:
        zeros = np.zeros((1, 4, 6), np.uint8)
        write_raster(tmp_path / "data.tif", zeros)
        write_raster(tmp_path / "none.tif", zeros, nodata=0)
        scene = open_scene(tmp_path)
        assert (scene.sel(band="data").values == 0).all()
        assert np.isnan(scene.sel(band="none").values).all()

    def test_nodata_that_the_type_cannot_hold_is_never_met(self, tmp_path: Path) -> None:
        source = write_raster(tmp_path / "a.tif", np.full((1, 20, 30), 241, np.uint8))
        rasterio.shutil.copy(source, tmp_path / "a.vrt", driver="VRT")
        text = (tmp_path / "a.vrt").read_text()
        (tmp_path / "a.vrt").write_text(re.sub(r"(<VRTRasterBand [^>]*>)", r"\1<NoDataValue>-9999</NoDataValue>", text))
        assert (open_scene(tmp_path / "a.vrt").values == 241).all()

    def test_nodata_scale_and_offset_of_each_band(self, tmp_path: Path) -> None:
        stored = np.array([[[10, 20, -1]], [[10, -1, -2]]], np.int16)
        path = write_raster(tmp_path / "a.tif", stored, nodata=-1)
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (0.5, 1.0), (100.0, 0.0)
        rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT")
        text = (tmp_path / "a.vrt").read_text()
        first, second = text.split('band="2"')
        (tmp_path / "a.vrt").write_text(first + 'band="2"' + second.replace("<NoDataValue>-1<", "<NoDataValue>-2<"))
        found = open_scene(tmp_path / "a.vrt").values
        np.testing.assert_array_equal(found, [[[105, 110, np.nan]], [[10, -1, np.nan]]])

    def test_mask_band(self, tmp_path: Path) -> None:
        values = numbers(2)
        path = write_raster(tmp_path / "a.tif", values)
        mask = np.full((20, 30), 255, np.uint8)
        mask[3:5, 7] = 0
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(mask)
        found = open_scene(path).values
        np.testing.assert_array_equal(found, np.where(mask == 0, np.nan, values))

    def test_alpha_band_masks_and_is_no_covariate(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(1, 200, (4, 20, 30)).astype(np.uint8)
        values[3] = 255
        values[3, :5] = 0
        write_raster(tmp_path / "rgb.tif", values, photometric="RGB", alpha="YES")
        scene = open_scene(tmp_path / "rgb.tif")
        assert scene["band"].values.tolist() == ["rgb_1", "rgb_2", "rgb_3"]
        np.testing.assert_array_equal(scene.values, np.where(values[3] == 0, np.nan, values[:3].astype(np.float32)))

    def test_class_codes_stay_codes(self, tmp_path: Path) -> None:
        codes = np.random.default_rng(0).integers(0, 300, (1, 20, 30)).astype(np.uint16)
        write_raster(tmp_path / "rock.tif", codes, nodata=299)
        scene = open_scene(tmp_path / "rock.tif", classes=["rock"])
        assert scene["classes"].values.tolist() == [True]
        expected = np.where(codes == 299, np.nan, codes.astype(np.float32))
        np.testing.assert_array_equal(scene.values, expected)

    def test_south_up_file_is_turned(self, tmp_path: Path) -> None:
        values = numbers(2)
        write_raster(tmp_path / "up.tif", values, transform=GRID)
        south_up = GRID * Affine.translation(0, 20) * Affine.scale(1, -1)
        write_raster(tmp_path / "down.tif", values[:, ::-1], transform=south_up)
        scene = open_scene(tmp_path / "down.tif")
        np.testing.assert_array_equal(scene.values, values)
        assert scene.odc.geobox == open_scene(tmp_path / "up.tif").odc.geobox
        np.testing.assert_array_equal(read_window(scene, (2, 9), (3, 8)), values[:, 2:9, 3:8])

    def test_no_warning_about_overflow(self, tmp_path: Path) -> None:
        write_raster(tmp_path / "a.tif", np.full((1, 4, 4), 1e300))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            assert np.isnan(open_scene(tmp_path / "a.tif").values).all()


class TestLaziness:
    """Opening reads no pixel, and a window reads no more than itself."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
        """Bands, rows and columns of each windowed read of a file."""
        found: list[tuple[int, int, int]] = []
        original = RasterFile.read

        def noted(self: RasterFile, bands: Any, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
            found.append((len(bands), rows[1] - rows[0], cols[1] - cols[0]))
            return original(self, bands, rows, cols)

        monkeypatch.setattr(RasterFile, "read", noted)
        return found

    def test_stack_of_134_bands_opens_at_once(self, tmp_path: Path, reads: list[Any]) -> None:
        sparse = {"height": 10_000, "width": 10_000, "dtype": "float32", "crs": "EPSG:32755", "transform": GRID}
        sparse |= {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": "TRUE"}
        one = tmp_path / "one.tif"
        with rasterio.open(one, "w", count=134, BIGTIFF="YES", **sparse):
            pass
        many = tmp_path / "many"
        many.mkdir()
        for band in range(134):
            with rasterio.open(many / f"band_{band}.tif", "w", count=1, **sparse):
                pass
        for source in (one, many):
            start = time.perf_counter()
            scene = open_scene(source)
            seconds = time.perf_counter() - start
            assert scene.shape == (134, 10_000, 10_000)
            assert seconds < 2
        assert not reads

    def test_window_is_one_read_of_itself_in_each_file(self, tmp_path: Path, reads: list[Any]) -> None:
        values = numbers(5, (200, 300))
        paths = [
            write_raster(tmp_path / "a.tif", values[:3], names=["p", "q", "r"]),
            write_raster(tmp_path / "b.tif", values[3:], names=["s", "t"]),
        ]
        scene = open_scene(paths, chunks=100)
        window = read_window(scene, (110, 120), (205, 231))
        assert sorted(reads) == [(2, 10, 26), (3, 10, 26)]
        np.testing.assert_array_equal(window, values[:, 110:120, 205:231])
        reads.clear()
        read_window(scene, (95, 105), (195, 205))
        assert sum(bands * rows * cols for bands, rows, cols in reads) == 5 * 10 * 10

    @pytest.mark.parametrize("chosen", [["t", "q"], ["q", "r", "s"], ["r", "p"]])
    def test_only_the_bands_asked_for_are_read(self, tmp_path: Path, reads: list[Any], chosen: list[str]) -> None:
        values = numbers(5, (60, 60))
        paths = [
            write_raster(tmp_path / "a.tif", values[:3], names=["p", "q", "r"]),
            write_raster(tmp_path / "b.tif", values[3:], names=["s", "t"]),
        ]
        places = ["pqrst".index(name) for name in chosen]
        # Named on opening, or taken from a scene that is open.
        for scene in (open_scene(paths, bands=chosen), open_scene(open_scene(paths), bands=chosen)):
            assert scene["band"].values.tolist() == chosen
            reads.clear()
            np.testing.assert_array_equal(read_window(scene, (5, 9), (7, 9)), values[places, 5:9, 7:9])
            assert sum(bands * rows * cols for bands, rows, cols in reads) == len(chosen) * 8

    def test_indexing_is_numpys(self, tmp_path: Path) -> None:
        values = numbers(4, (40, 50))
        scene = open_scene(write_raster(tmp_path / "a.tif", values), chunks=16)
        keys: list[Any] = [
            np.s_[2], np.s_[:, 5], np.s_[..., -1], np.s_[1:3, 4:30:3, 40:2:-5], np.s_[[3, 0]], np.s_[:, [1, 30], 7:9],
            np.s_[:, 5:5], np.s_[2, 3, 4], np.s_[::-1, ::-1, ::-1],
        ]  # fmt: skip
        for key in keys:
            np.testing.assert_array_equal(scene.data[key].compute(scheduler="synchronous"), values[key])

    def test_all_threads_read_the_same(self, tmp_path: Path) -> None:
        values = numbers(3, (300, 300))
        write_raster(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
        scene = open_scene(tmp_path / "a.tif", chunks=32)
        with dask.config.set(num_workers=8):
            for _ in range(3):
                np.testing.assert_array_equal(scene.data.compute(scheduler="threads"), values)

    def test_scene_can_be_sent_to_another_process(self, tmp_path: Path) -> None:
        values = numbers(2)
        scene = open_scene(write_raster(tmp_path / "a.tif", values))
        sent = loads(dumps(scene))
        np.testing.assert_array_equal(sent.values, values)
        assert len(dumps(scene)) < 20_000

    def test_open_files_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        idle = gdal._Idle(5)
        monkeypatch.setattr(gdal, "_idle", idle)
        for place in range(12):
            write_raster(tmp_path / f"b{place}.tif", numbers())
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        scene = open_scene(tmp_path, chunks=4)
        scene.compute(scheduler="threads", num_workers=4)
        assert len(idle) <= 5
        assert len(os.listdir("/proc/self/fd")) - before <= 5 + 1  # noqa: PTH208

    def test_replaced_file_is_opened_anew(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", numbers(seed=1))
        open_scene(path).compute()
        write_raster(tmp_path / "b.tif", numbers(1, (20, 30), seed=2), compress="deflate")
        (tmp_path / "b.tif").replace(path)
        np.testing.assert_array_equal(open_scene(path).values, numbers(seed=2))

    def test_block_cache_is_bounded_while_reading(self, tmp_path: Path) -> None:
        with gdal.gdal_env(str(tmp_path)):
            assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == 64 * 2**20
