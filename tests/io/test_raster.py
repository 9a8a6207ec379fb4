"""Covariate stacks: what is stored comes out, lazily, on one grid; what cannot be used is refused by name."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from affine import Affine
from distributed.protocol.pickle import dumps, loads

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.grid.patches import read_window
from geosoil.io import gdal
from geosoil.io.addresses import expand, redact
from geosoil.io.raster import open_scene
from geosoil.io.rasterfile import RasterFile
from geosoil.testing import make_scene, write_raster

if TYPE_CHECKING:
    from geosoil.types import Float32

GRID = Affine(30, 0, 740_000, 0, -30, 6_680_000)


def numbers(bands: int = 1, shape: tuple[int, int] = (20, 30), seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(bands, *shape)).astype(np.float32)


def refusal(source: Any, **how: Any) -> InputError:
    """The error that opening, or else reading, raises; it obeys the rules of messages."""
    with pytest.raises(InputError) as caught:
        open_scene(source, **how).compute(scheduler="synchronous")
    assert len(caught.value.message) < 100
    assert caught.value.code.startswith("GS-")
    return caught.value


class TestSources:
    """All ways to name a stack give the same scene."""

    def test_one_file(self, tmp_path: Path) -> None:
        made = make_scene(tmp_path / "stack.tif", missing=0.1, classes=["rock"])
        scene = open_scene(tmp_path / "stack.tif", classes=["rock"])
        assert scene.dims == ("band", "y", "x")
        assert scene.dtype == np.float32
        assert isinstance(scene.data, da.Array)
        np.testing.assert_array_equal(scene.values, made.values)
        assert scene.odc.geobox == made.odc.geobox
        assert Bands.of(scene) == Bands.of(made)
        assert scene.attrs["sources"] == (str(tmp_path / "stack.tif"),)

    def test_files_folder_and_glob(self, tmp_path: Path) -> None:
        values = numbers(11)
        paths = [write_raster(tmp_path / f"band_{place}.tif", values[place], transform=GRID) for place in range(11)]
        (tmp_path / "notes.txt").write_text("not a raster")
        for source in (paths, tmp_path, str(tmp_path), str(tmp_path / "band_*.tif")):
            scene = open_scene(source)
            # In natural order: band_2 before band_10.
            assert scene["band"].values.tolist() == [f"band_{place}" for place in range(11)]
            np.testing.assert_array_equal(scene.values, values)
            assert scene.attrs["sources"] == tuple(str(path) for path in paths)

    def test_names_from_descriptions_else_from_the_file(self, tmp_path: Path) -> None:
        write_raster(tmp_path / "a.tif", numbers(2), names=["dem", "twi"])
        write_raster(tmp_path / "b.tif", numbers(2))
        write_raster(tmp_path / "c.tif", numbers(2), names=["", "slope"])
        write_raster(tmp_path / "d.tif", numbers(1))
        assert open_scene(tmp_path)["band"].values.tolist() == ["dem", "twi", "b_1", "b_2", "c_1", "slope", "d"]

    def test_awkward_paths(self, tmp_path: Path) -> None:
        folder = tmp_path / "Böden und Gelände [1] 土壤"
        folder.mkdir()
        values = numbers()
        path = write_raster(folder / "höhe über meer.tif", values)
        for source in (path, folder):
            scene = open_scene(source)
            assert scene["band"].values.tolist() == ["höhe über meer"]
            np.testing.assert_array_equal(scene.values, values)

    def test_vrt(self, tmp_path: Path) -> None:
        values = numbers(2)
        path = write_raster(tmp_path / "stack.tif", values, names=["dem", "twi"])
        rasterio.shutil.copy(path, tmp_path / "stack.vrt", driver="VRT")
        scene = open_scene(tmp_path / "stack.vrt")
        assert scene["band"].values.tolist() == ["dem", "twi"]
        np.testing.assert_array_equal(scene.values, values)

    def test_vrt_under_another_name_is_not_opened(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "stack.tif", numbers())
        rasterio.shutil.copy(path, tmp_path / "trick.vrt", driver="VRT")
        (tmp_path / "trick.vrt").rename(tmp_path / "trick.tif")
        assert refusal(tmp_path / "trick.tif").code == "GS-RASTER-UNREADABLE"

    def test_vrt_runs_no_python(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "stack.tif", numbers())
        (tmp_path / "code.vrt").write_text(
            f"""<VRTDataset rasterXSize="30" rasterYSize="20"><SRS>EPSG:32755</SRS>
            <GeoTransform>740000, 30, 0, 6680000, 0, -30</GeoTransform>
            <VRTRasterBand dataType="Float32" band="1" subClass="VRTDerivedRasterBand">
            <PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>run</PixelFunctionType>
            <PixelFunctionCode><![CDATA[
def run(in_ar, out_ar, *args, **kwargs):
    open({str(tmp_path / "ran")!r}, "w").close()
            ]]></PixelFunctionCode>
            <SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource>
            </VRTRasterBand></VRTDataset>"""
        )
        error = refusal(tmp_path / "code.vrt")
        assert error.code in {"GS-RASTER-READ", "GS-RASTER-UNREADABLE"}
        assert not (tmp_path / "ran").exists()

    def test_cog(self, tmp_path: Path) -> None:
        values = numbers(2, (600, 700))
        rasterio.shutil.copy(write_raster(tmp_path / "plain.tif", values), tmp_path / "cog.tif", driver="COG")
        np.testing.assert_array_equal(open_scene(tmp_path / "cog.tif").values, values)

    @pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
    def test_envi(self, tmp_path: Path, interleave: str) -> None:
        values = numbers(3)
        write_raster(tmp_path / "cube.img", values, driver="ENVI", interleave=interleave)
        for source in (tmp_path / "cube.img", tmp_path):
            np.testing.assert_array_equal(open_scene(source).values, values)

    def test_jpeg_2000(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 4000, (1, 64, 64)).astype(np.uint16)
        write_raster(tmp_path / "b4.jp2", values, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        np.testing.assert_array_equal(open_scene(tmp_path / "b4.jp2").values, values)

    @pytest.mark.parametrize("kind", ["nc", "nc3", "zarr"])
    def test_stores(self, tmp_path: Path, kind: str) -> None:
        made = make_scene(shape=(12, 15), missing=0.1)
        cube = made.drop_vars(["band", "classes"]).rename(band="month").assign_coords(month=[1, 2, 12])
        cube.attrs = {}
        dataset = xr.Dataset({"ndvi": cube.transpose("y", "x", "month"), "dem": made[0].drop_vars(["band", "classes"])})
        dataset["label"] = "no grid"
        path = tmp_path / ("cube.zarr" if kind == "zarr" else "cube.nc")
        if kind == "zarr":
            dataset.to_zarr(path, consolidated=False)
        else:
            dataset.compute().to_netcdf(path, engine="scipy" if kind == "nc3" else "h5netcdf")
        scene = open_scene(path)
        assert scene["band"].values.tolist() == ["ndvi_1", "ndvi_2", "ndvi_12", "dem"]
        np.testing.assert_array_equal(scene.values, np.concatenate([made.values, made.values[:1]]))
        assert scene.odc.geobox == made.odc.geobox
        some = open_scene(path, bands=["dem", "ndvi_12", "ndvi_1"])
        np.testing.assert_array_equal(some.values, made.values[[0, 2, 0]])

    def test_files_and_stores_stack(self, tmp_path: Path) -> None:
        made = make_scene(tmp_path / "a.tif", shape=(12, 15))
        other = make_scene(shape=(12, 15), seed=1)[0].drop_vars(["band", "classes"]).rename("slope")
        other.to_dataset().compute().to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
        write_raster(tmp_path / "c.tif", numbers(shape=(12, 15)))
        scene = open_scene(tmp_path)
        assert scene["band"].values.tolist() == ["elevation", "twi", "ndvi", "slope", "c"]
        expected = np.concatenate([made.values, other.values[np.newaxis], numbers(shape=(12, 15))])
        np.testing.assert_array_equal(scene.values, expected)


class TestXarray:
    """Objects that the user has already."""

    def test_dataset_with_dimensions_in_any_order(self) -> None:
        made = make_scene(shape=(6, 7))
        dataset = made.drop_vars("classes").to_dataset("band").transpose("x", "y")
        scene = open_scene(dataset)
        assert scene["band"].values.tolist() == ["elevation", "twi", "ndvi"]
        np.testing.assert_array_equal(scene.values, made.values)

    @pytest.mark.parametrize("attrs_in", ["attrs", "encoding"])
    def test_rioxarray_style_array(self, attrs_in: str) -> None:
        made = make_scene(shape=(6, 7), missing=0.2)
        array = made.drop_vars("classes").assign_coords(band=[1, 2, 3])
        array.attrs = {"long_name": ("dem", "twi", "ndvi")}
        if attrs_in == "attrs":
            # Not masked on reading: numbers as they are stored.
            array = (array * 2 - 1).fillna(-9999.0).assign_attrs(array.attrs)
            array.attrs |= {"_FillValue": -9999.0, "scale_factor": 0.5, "add_offset": 0.5}
            array = array.odc.assign_crs("EPSG:32755")
        else:
            array.encoding = {"_FillValue": -9999.0, "scale_factor": 0.5}
        scene = open_scene(array)
        assert scene["band"].values.tolist() == ["dem", "twi", "ndvi"]
        np.testing.assert_allclose(scene.values, made.values, rtol=1e-5, atol=1e-6)

    def test_users_array_stays_lazy(self) -> None:
        computed: list[int] = []

        def block(values: Float32) -> Float32:
            computed.append(1)
            return values

        made = make_scene(shape=(32, 32), chunks=16)
        lazy = made.drop_vars("classes").copy(data=made.data.map_blocks(block, meta=np.empty((0, 0, 0), np.float32)))
        scene = open_scene(lazy, classes=["twi"])
        assert not computed
        assert scene.chunks == made.chunks
        read_window(scene, (0, 8), (0, 8))
        assert len(computed) == 1

    def test_numpy_array_is_chunked(self) -> None:
        made = make_scene(shape=(20, 20)).compute()
        scene = open_scene(made.drop_vars("classes"), chunks=8)
        assert scene.chunks == ((3,), (8, 8, 4), (8, 8, 4))

    def test_own_scene_passes_unchanged(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif", classes=["rock"])
        scene = open_scene(tmp_path / "s.tif", classes=["rock"])
        again = open_scene(scene)
        assert again.data.name == scene.data.name
        xr.testing.assert_identical(again, scene)

    def test_south_up_array_is_turned(self) -> None:
        made = make_scene(shape=(6, 7))
        scene = open_scene(made.drop_vars("classes").isel(y=slice(None, None, -1)))
        np.testing.assert_array_equal(scene.values, made.values)
        assert scene.odc.geobox == made.odc.geobox

    def test_degrees(self) -> None:
        made = make_scene(shape=(6, 7), crs="EPSG:4326", left=149.0, top=-30.0, resolution=0.01)
        array = made.drop_vars("classes").rename(y="lat", x="lon")
        scene = open_scene(array, crs="EPSG:4326")
        assert scene.dims == ("band", "y", "x")
        assert scene.odc.geobox.crs.epsg == 4326

    def test_further_facts_of_the_bands_are_kept(self) -> None:
        made = make_scene(shape=(4, 4)).assign_coords(wavelength=("band", [450.0, 550.0, 650.0]))
        assert Bands.of(open_scene(made, bands=["ndvi", "twi"])).wavelength_nm == (650.0, 550.0)

    def test_irregular_grid_is_refused(self) -> None:
        made = make_scene(shape=(4, 4))
        bent = made.assign_coords(x=made["x"].values + np.array([0, 0, 10, 0.0]))
        assert refusal(bent).code == "GS-GRID-IRREGULAR"

    def test_array_without_crs_is_refused(self) -> None:
        bare = xr.DataArray(numbers()[0], dims=("y", "x"), coords={"y": -np.arange(20.0), "x": np.arange(30.0)})
        error = refusal(bare)
        assert error.code == "GS-CRS-MISSING"
        assert "--crs" in error.hint
        assert open_scene(bare, crs="EPSG:32755").odc.geobox.crs.epsg == 32755

    def test_array_without_rows_and_columns_is_refused(self) -> None:
        error = refusal(xr.DataArray(np.zeros((3, 4)), dims=("sample", "band")))
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "sample" in error.details[0]


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


class TestGrids:
    """One grid, or a refusal that shows both."""

    @pytest.mark.parametrize(
        ("crs", "transform", "shape"),
        [
            ("EPSG:32756", GRID, (20, 30)),
            ("EPSG:32755", GRID * Affine.translation(0.5, 0), (20, 30)),
            ("EPSG:32755", GRID * Affine.scale(2), (20, 30)),
            ("EPSG:32755", GRID, (20, 31)),
        ],
    )
    def test_differing_grids_are_refused(
        self, tmp_path: Path, crs: str, transform: Affine, shape: tuple[int, int]
    ) -> None:
        write_raster(tmp_path / "dem.tif", numbers(), transform=GRID)
        write_raster(tmp_path / "twi.tif", numbers(shape=shape), crs=crs, transform=transform)
        error = refusal(tmp_path)
        assert error.code == "GS-GRID-MISMATCH"
        assert "twi.tif" in error.message
        assert "dem.tif" in error.message
        assert len(error.details) == 2
        assert "EPSG:32755, 30 x 20 cells of 30 x 30, upper left 740000, 6680000" in error.details[0]
        assert "--align" in error.hint

    def test_grids_that_differ_by_rounding_are_one(self, tmp_path: Path) -> None:
        write_raster(tmp_path / "dem.tif", numbers(), transform=GRID)
        write_raster(tmp_path / "twi.tif", numbers(), transform=GRID * Affine.translation(4e-4, -4e-4))
        assert open_scene(tmp_path).shape == (2, 20, 30)

    def test_one_crs_in_two_spellings(self, tmp_path: Path) -> None:
        crs = rasterio.crs.CRS.from_epsg(32755)
        write_raster(tmp_path / "a.tif", numbers(), crs=crs)
        write_raster(tmp_path / "b.img", numbers(), crs=crs.to_wkt("WKT1_ESRI"), driver="ENVI")
        assert open_scene(tmp_path).shape == (2, 20, 30)

    def test_missing_crs(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "dem.tif", numbers(), crs=None)
        error = refusal(path)
        assert error.code == "GS-CRS-MISSING"
        assert "dem.tif" in error.message
        assert "--crs" in error.hint
        assert open_scene(path, crs="EPSG:32755").odc.geobox.crs.epsg == 32755

    def test_crs_that_contradicts_the_file(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "dem.tif", numbers())
        assert open_scene(path, crs="EPSG:32755").shape == (1, 20, 30)
        assert refusal(path, crs="EPSG:32756").code == "GS-CRS-MISMATCH"
        assert refusal(path, crs="EPSG:nonsense").code == "GS-CRS-UNKNOWN"

    @pytest.mark.parametrize("transform", [GRID * Affine.rotation(10), GRID * Affine.scale(-1, 1)])
    def test_rotated_and_mirrored_grids_are_refused(self, tmp_path: Path, transform: Affine) -> None:
        error = refusal(write_raster(tmp_path / "dem.tif", numbers(), transform=transform))
        assert error.code == "GS-GRID-ROTATED"
        assert "dem.tif" in error.message

    def test_missing_georeference_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "dem.tif"
        with (
            pytest.warns(rasterio.errors.NotGeoreferencedWarning),
            rasterio.open(path, "w", driver="GTiff", width=3, height=3, count=1, dtype="uint8") as dataset,
        ):
            dataset.write(np.ones((1, 3, 3), np.uint8))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert refusal(path, crs="EPSG:32755").code == "GS-GRID-MISSING"


class TestBands:
    """Bands are asked for by name."""

    def test_unknown_bands_are_refused_with_near_matches(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif")
        error = refusal(tmp_path / "s.tif", bands=["elevaton", "twi"])
        assert error.code == "GS-BANDS-UNKNOWN"
        assert "elevaton" in error.message
        assert "elevaton: perhaps 'elevation'" in error.details

    def test_unknown_class_bands_are_refused(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif", classes=["lithology"])
        error = refusal(tmp_path / "s.tif", classes=["litology"])
        assert error.code == "GS-BANDS-UNKNOWN"
        assert "litology: perhaps 'lithology'" in error.details

    def test_names_that_occur_twice_are_refused_with_their_files(self, tmp_path: Path) -> None:
        for folder in ("old", "new"):
            (tmp_path / folder).mkdir()
            write_raster(tmp_path / folder / "dem.tif", numbers())
        error = refusal([tmp_path / "old", tmp_path / "new"])
        assert error.code == "GS-BANDS-TWICE"
        assert "dem" in error.message
        assert str(tmp_path / "old" / "dem.tif") in error.details[0]
        assert str(tmp_path / "new" / "dem.tif") in error.details[0]

    def test_order_is_as_asked_across_files(self, tmp_path: Path) -> None:
        values = numbers(4)
        write_raster(tmp_path / "a.tif", values[:2], names=["p", "q"])
        write_raster(tmp_path / "b.tif", values[2:], names=["r", "s"])
        scene = open_scene(tmp_path, bands=["s", "p", "r", "q"], classes=["p"])
        assert scene["classes"].values.tolist() == [False, True, False, False]
        np.testing.assert_array_equal(scene.values, values[[3, 0, 2, 1]])


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


class TestBadFiles:
    """One clear error that names the file."""

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"<!DOCTYPE html><html>404</html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
            (b"x;y;z\n1;2;3\n", "not recognized"),
            (b"PK\x03\x04" + bytes(100), "not recognized"),
        ],
    )
    def test_not_a_raster(self, tmp_path: Path, content: bytes, reason: str) -> None:
        (tmp_path / "dem.tif").write_bytes(content)
        error = refusal(tmp_path / "dem.tif")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "dem.tif" in error.message
        assert reason in " ".join(error.details)

    @pytest.mark.parametrize("name", ["dem.tif", "*.tif", "."])
    def test_missing_files(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "den.tiff").write_bytes(b"") if name == "dem.tif" else None
        error = refusal(tmp_path / name)
        assert error.code == "GS-FILE-MISSING"
        if name == "dem.tif":
            assert "near: den.tiff" in error.details

    @pytest.mark.parametrize(
        "options", [{}, {"compress": "deflate"}, {"tiled": True, "blockxsize": 64, "blockysize": 64}]
    )
    @pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
    def test_truncated_tiff_is_found_on_opening(self, tmp_path: Path, options: dict[str, Any], share: float) -> None:
        path = cut(write_raster(tmp_path / "dem.tif", numbers(2, (200, 200)), **options), share)
        with pytest.raises(InputError, match=r"dem\.tif") as caught:
            open_scene(path)
        assert caught.value.code in {"GS-RASTER-TRUNCATED", "GS-RASTER-UNREADABLE"}

    def test_truncated_envi_says_both_sizes(self, tmp_path: Path) -> None:
        path = cut(write_raster(tmp_path / "cube.img", numbers(2), driver="ENVI"), 0.9)
        error = refusal(path)
        assert error.code == "GS-RASTER-TRUNCATED"
        assert error.details[1:] == ("size: 4320 bytes", "its header says: 4800 bytes")

    @pytest.mark.parametrize("share", [0.3, 0.95])
    def test_truncated_netcdf(self, tmp_path: Path, share: float) -> None:
        made = make_scene(shape=(60, 60)).drop_vars("classes").to_dataset("band").compute()
        made.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
        error = refusal(cut(tmp_path / "cube.nc", share))
        assert error.code in {"GS-RASTER-UNREADABLE", "GS-RASTER-READ"}
        assert "cube.nc" in error.render()

    def test_damaged_block_names_file_bands_and_window(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).normal(size=(2, 128, 128)).astype(np.float32)
        path = write_raster(
            tmp_path / "dem.tif", values, names=["p", "q"], compress="deflate", tiled=True, blockxsize=64, blockysize=64
        )
        with rasterio.open(path) as dataset:
            start = int(dataset.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
        content = bytearray(path.read_bytes())
        content[start : start + 200] = bytes(200)
        path.write_bytes(bytes(content))
        scene = open_scene(path, chunks=64)
        np.testing.assert_array_equal(read_window(scene, (0, 64), (0, 128)), values[:, :64])
        with pytest.raises(InputError) as caught:
            read_window(scene, (64, 128), (0, 64))
        error = caught.value
        assert error.code == "GS-RASTER-READ"
        assert error.message == "dem.tif cannot be read in rows 64-127"
        assert "bands: p, q" in error.details
        assert "window: rows 64 to 127, columns 0 to 63" in error.details
        # One bad block does not spoil what is whole.
        np.testing.assert_array_equal(read_window(scene, (0, 64), (0, 64)), values[:, :64, :64])

    def test_file_that_vanishes_after_opening(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gdal, "_idle", gdal._Idle(1))
        scene = open_scene([write_raster(tmp_path / f"{name}.tif", numbers()) for name in "ab"])
        (tmp_path / "a.tif").unlink()
        with pytest.raises(InputError, match=r"a\.tif") as caught:
            scene.compute()
        assert caught.value.code == "GS-RASTER-READ"

    def test_store_without_grid(self, tmp_path: Path) -> None:
        xr.Dataset({"a": ("sample", np.ones(3))}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        error = refusal(tmp_path / "a.nc")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "a.nc" in error.message

    def test_other_drivers_are_not_tried(self, tmp_path: Path) -> None:
        write_raster(tmp_path / "photo.png", np.zeros((1, 8, 8), np.uint8), driver="PNG")
        assert refusal(tmp_path / "photo.png").code == "GS-RASTER-UNREADABLE"

    def test_complex_numbers_are_refused(self, tmp_path: Path) -> None:
        error = refusal(write_raster(tmp_path / "sar.tif", numbers().astype(np.complex64)))
        assert error.code == "GS-RASTER-UNREADABLE"


class _Ranges(SimpleHTTPRequestHandler):
    """Serves a folder, byte ranges included, and notes what was sent."""

    sent: list[int]

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return None
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(path.read_bytes()[first : last + 1])
            self.sent.append(last - first + 1)
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[int]]]:
    sent: list[int] = []
    handler = partial(type("Handler", (_Ranges,), {"sent": sent}), directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestRemote:
    """Addresses: read by ranges, and without secrets in messages."""

    def test_cog_over_http_reads_only_what_it_needs(self, tmp_path: Path) -> None:
        values = numbers(1, (1024, 1024))
        rasterio.shutil.copy(
            write_raster(tmp_path / "plain.tif", values), tmp_path / "cog.tif", driver="COG", blocksize=256
        )
        with served(tmp_path) as (host, sent):
            scene = open_scene(f"http://user:word@{host}/cog.tif?token=secret")
            window = read_window(scene, (300, 340), (10, 50))
            assert scene.attrs["sources"] == (f"http://{host}/cog.tif",)
        np.testing.assert_array_equal(window, values[:, 300:340, 10:50])
        assert scene["band"].values.tolist() == ["cog"]
        assert 0 < sum(sent) < (tmp_path / "cog.tif").stat().st_size / 3

    def test_missing_remote_file_is_refused_without_its_secrets(self, tmp_path: Path) -> None:
        with served(tmp_path) as (host, _):
            error = refusal(f"http://user:word@{host}/none.tif?token=secret")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert f"http://{host}/none.tif" in error.render()
        assert "secret" not in error.render()
        assert "word" not in error.render()

    def test_secrets_stay_out_of_what_is_shown_of_a_scene(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif")
        with served(tmp_path) as (host, _):
            scene = open_scene(f"http://user:word@{host}/s.tif?token=secret")
        shown = f"{scene!r} {scene.data.dask!r} {scene.attrs}"
        assert "secret" not in shown
        assert "word" not in shown

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("https://me:pw@host/a.tif?sig=1&b=2 failed", "https://host/a.tif failed"),
            ("/vsicurl/https://host/a.tif?sig=1: no", "/vsicurl/https://host/a.tif no"),
            ("C:/data/what?.tif", "C:/data/what?.tif"),
        ],
    )
    def test_redaction(self, text: str, expected: str) -> None:
        assert redact(text) == expected

    def test_addresses_are_not_looked_for_on_the_disk(self) -> None:
        addresses = ["s3://bucket/a*.tif", "/vsizip/a.zip/b.tif", "https://host/a.tif?x=[1]"]
        assert expand(addresses) == addresses
