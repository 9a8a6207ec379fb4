"""Covariate stacks: what is stored comes out, lazily, on one grid; what cannot be used is refused by name."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from affine import Affine

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError
from geosoil.grid.patches import read_window
from geosoil.io.raster import open_scene
from geosoil.testing import make_scene, write_raster

if TYPE_CHECKING:
    from geosoil.types import Float32

Refusal = Callable[..., InputError]
GRID = Affine(30, 0, 740_000, 0, -30, 6_680_000)


def numbers(bands: int = 1, shape: tuple[int, int] = (20, 30), seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(bands, *shape)).astype(np.float32)


def separate_vrt(path: Path, sources: list[tuple[Path, int]]) -> Path:
    """What gdalbuildvrt -separate writes."""
    bands = "".join(
        f"""<VRTRasterBand dataType="Float32" band="{place}"><SimpleSource>
        <SourceFilename relativeToVRT="1">{html.escape(str(file.relative_to(path.parent)))}</SourceFilename>
        <SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"""
        for place, (file, band) in enumerate(sources, start=1)
    )
    transform = "<GeoTransform>740000, 30, 0, 6680000, 0, -30</GeoTransform>"
    path.write_text(
        f'<VRTDataset rasterXSize="30" rasterYSize="20"><SRS>EPSG:32755</SRS>{transform}{bands}</VRTDataset>'
    )
    return path


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

    def test_vrt_of_single_files_has_the_names_that_their_folder_has(self, tmp_path: Path) -> None:
        values = numbers(4)
        folder = tmp_path / "in & out"
        folder.mkdir()
        files = [
            write_raster(folder / "dist.tif", values[0]),
            write_raster(folder / "flood.tif", values[1], names=["ffreq"]),
            write_raster(folder / "two.tif", values[2:]),
        ]
        separate_vrt(tmp_path / "sep.vrt", [(files[0], 1), (files[1], 1), (files[2], 1), (files[2], 2)])
        scene = open_scene(tmp_path / "sep.vrt")
        assert scene["band"].values.tolist() == ["dist", "ffreq", "two_1", "two_2"]
        assert scene["band"].values.tolist() == open_scene(folder)["band"].values.tolist()
        np.testing.assert_array_equal(scene.values, values)

    def test_vrt_keeps_numbers_where_its_sources_cannot_name_the_bands(self, tmp_path: Path) -> None:
        for year in ("2001", "2002"):
            (tmp_path / year).mkdir()
        years = [write_raster(tmp_path / year / "ndvi.tif", numbers()[0]) for year in ("2001", "2002")]
        path = separate_vrt(tmp_path / "same.vrt", [(years[0], 1), (years[1], 1)])
        assert open_scene(path)["band"].values.tolist() == ["same_1", "same_2"]
        derived = separate_vrt(tmp_path / "log.vrt", [(years[0], 1), (years[0], 1)])
        kind = 'subClass="VRTDerivedRasterBand"><PixelFunctionType>exp</PixelFunctionType>'
        derived.write_text(derived.read_text().replace('band="2">', f'band="2" {kind}'))
        assert open_scene(derived)["band"].values.tolist() == ["log_1", "log_2"]
        # The name that somebody gave a VRT of one band says more than the file behind it.
        lone = separate_vrt(tmp_path / "elevation.vrt", [(years[0], 1)])
        assert open_scene(lone)["band"].values.tolist() == ["elevation"]

    def test_vrt_under_another_name_is_not_opened(self, refusal: Refusal, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "stack.tif", numbers())
        rasterio.shutil.copy(path, tmp_path / "trick.vrt", driver="VRT")
        (tmp_path / "trick.vrt").rename(tmp_path / "trick.tif")
        assert refusal(tmp_path / "trick.tif").code == "GS-RASTER-UNREADABLE"

    def test_vrt_runs_no_python(self, refusal: Refusal, tmp_path: Path) -> None:
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
        months = {"ndvi_1": 0, "ndvi_2": 1, "ndvi_12": 2}
        # A NetCDF file keeps the order of its variables; those of a Zarr store come by name.
        expected = {"dem": 0, **months} if kind == "zarr" else {**months, "dem": 0}
        assert scene["band"].values.tolist() == list(expected)
        np.testing.assert_array_equal(scene.values, made.values[list(expected.values())])
        assert scene.odc.geobox == made.odc.geobox
        some = open_scene(path, bands=["dem", "ndvi_12", "ndvi_1"])
        np.testing.assert_array_equal(some.values, made.values[[0, 2, 0]])

    @pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
    @pytest.mark.parametrize("kind", ["nc", "nc3", "zarr"])
    def test_scaled_numbers_are_the_same_to_the_last_bit_whatever_holds_them(
        self, tmp_path: Path, kind: str, dtype: str
    ) -> None:
        if (kind, dtype) == ("nc3", "uint16"):
            dtype = "int32"  # the classic format has no unsigned numbers
        stored = np.random.default_rng(0).integers(0, 32_000, (2, 30, 40)).astype(dtype)
        stored[0, :3], stored[1, 4] = 7, 9
        profile = {"driver": "GTiff", "count": 2, "height": 30, "width": 40, "dtype": dtype, "nodata": 7}
        grid = Affine(30, 0, 740_000, 0, -30, 6_680_000)
        with rasterio.open(tmp_path / "s.tif", "w", crs="EPSG:32755", transform=grid, **profile) as file:
            file.write(stored)
            file.scales = (0.0137,) * 2
        attrs = {"scale_factor": 0.0137, "_FillValue": stored.dtype.type(7)}
        y, x = 6_679_985 - 30.0 * np.arange(30), 740_015 + 30.0 * np.arange(40)
        raw = xr.Dataset({"v": (("band", "y", "x"), stored, attrs)}, coords={"y": y, "x": x})
        path = tmp_path / ("s.zarr" if kind == "zarr" else "s.nc")
        if kind == "zarr":
            raw.to_zarr(path, consolidated=False)
        else:
            raw.to_netcdf(path, engine="scipy" if kind == "nc3" else "h5netcdf")
        found = open_scene(path, crs="EPSG:32755").values
        np.testing.assert_array_equal(found, open_scene(tmp_path / "s.tif").values, strict=True)
        assert np.isnan(found[0, :3]).all()

    def test_two_numbers_may_stand_for_no_data(self, tmp_path: Path) -> None:
        stored = np.array([[[1, 2, -9], [4, -1, 6]]], np.int16)
        attrs = {"_FillValue": np.int16(-9), "missing_value": np.int16(-1), "scale_factor": 0.5}
        axes = {"y": [30.0, 0.0], "x": [0.0, 30.0, 60.0]}
        xr.Dataset({"v": (("band", "y", "x"), stored, attrs)}, coords=axes).to_netcdf(
            tmp_path / "s.nc", engine="h5netcdf"
        )
        found = open_scene(tmp_path / "s.nc", crs="EPSG:32755").values
        np.testing.assert_array_equal(found, [[[0.5, 1, np.nan], [2, np.nan, 3]]])

    @pytest.mark.parametrize("kind", ["nc", "zarr"])
    def test_a_written_scene_reopens_with_its_names_and_classes(self, tmp_path: Path, kind: str) -> None:
        made = make_scene(tmp_path / "s.tif", shape=(12, 15), classes=["rock"])
        dataset = open_scene(tmp_path / "s.tif", classes=["rock"]).to_dataset(name="cov")
        path = tmp_path / f"one.{kind}"
        _ = dataset.to_zarr(path, consolidated=False) if kind == "zarr" else dataset.to_netcdf(path, engine="h5netcdf")
        for source in (path, dataset):
            scene = open_scene(source)
            assert Bands.of(scene) == Bands.of(made)
            np.testing.assert_array_equal(scene.values, made.values)

    def test_named_bands_take_the_variable_as_prefix_only_where_names_would_meet(self) -> None:
        made = make_scene(shape=(4, 5)).drop_vars("classes")
        lone = made[0].drop_vars("band")
        names = open_scene(xr.Dataset({"cov": made, "dem": lone}))["band"].values.tolist()
        assert names == ["elevation", "twi", "ndvi", "dem"]
        names = open_scene(xr.Dataset({"cov": made, "twi": lone}))["band"].values.tolist()
        assert names == ["cov_elevation", "cov_twi", "cov_ndvi", "twi"]
        names = open_scene(xr.Dataset({"mean": made[:2], "sd": made[:2] + 1}))["band"].values.tolist()
        assert names == ["mean_elevation", "mean_twi", "sd_elevation", "sd_twi"]

    def test_times_are_told_as_dates(self, tmp_path: Path) -> None:
        made = make_scene(shape=(12, 15)).drop_vars(["band", "classes"]).rename(band="time")
        made.attrs = {}
        days = made.assign_coords(time=np.array(["2001-01-01", "2001-02-01", "2002-01-01"], "M8[ns]")).rename("dist")
        days.to_dataset().compute().to_netcdf(tmp_path / "days.nc", engine="h5netcdf")
        for source in (tmp_path / "days.nc", days, days.to_dataset()):
            scene = open_scene(source)
            assert scene["band"].values.tolist() == ["dist_2001-01-01", "dist_2001-02-01", "dist_2002-01-01"]
            np.testing.assert_array_equal(scene.values, made.values)
        hours = days.assign_coords(time=np.array(["2001-01-01T00", "2001-01-01T06", "2001-01-02T00"], "M8[ns]"))
        assert open_scene(hours)["band"].values.tolist()[1] == "dist_2001-01-01T06:00:00"

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

    def test_several_objects_and_files_stack(self, tmp_path: Path) -> None:
        one = make_scene(tmp_path / "one.tif", shape=(12, 15), bands=["dem", "twi"])
        other = make_scene(shape=(12, 15), bands=["rock"], seed=1).drop_vars("classes").compute()
        file = write_raster(tmp_path / "c.tif", numbers(shape=(12, 15)))
        scene = open_scene([open_scene(tmp_path / "one.tif"), other, file], classes=["rock"])
        assert scene["band"].values.tolist() == ["dem", "twi", "rock", "c"]
        assert scene["classes"].values.tolist() == [False, False, True, False]
        assert scene.attrs["sources"] == (str(tmp_path / "one.tif"), str(file))
        np.testing.assert_array_equal(scene.values, np.concatenate([one.values, other.values, numbers(shape=(12, 15))]))

    def test_several_objects_follow_the_rules_of_files(self, refusal: Refusal) -> None:
        one, moved = make_scene(shape=(6, 7)), make_scene(shape=(6, 7), bands=["slope"], left=740_010.0)
        error = refusal([one, moved])
        assert error.code == "GS-GRID-MISMATCH"
        assert "array 2" in error.message
        assert "--align" not in error.hint
        error = refusal([one, one])
        assert error.code == "GS-BANDS-TWICE"
        assert "elevation: array 1, array 2" in error.details

    @pytest.mark.parametrize("source", [None, 3, [4.5], b"dem.tif", np.zeros((2, 3))])
    def test_what_is_no_source_is_refused(self, source: Any) -> None:
        with pytest.raises(UsageError, match="a path is needed") as caught:
            open_scene(source)
        assert caught.value.code == "GS-SOURCE"
        with pytest.raises(UsageError, match="DataArray"):
            open_scene(make_scene(shape=(6, 7)), align=make_scene(shape=(6, 7)))

    def test_a_scene_has_a_plain_name(self) -> None:
        scene = open_scene(make_scene(shape=(6, 7)))
        assert scene.name == "scene"
        assert "geosoil-" not in repr(scene).splitlines()[0]

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

    def test_irregular_grid_is_refused(self, refusal: Refusal) -> None:
        made = make_scene(shape=(4, 4))
        bent = made.assign_coords(x=made["x"].values + np.array([0, 0, 10, 0.0]))
        assert refusal(bent).code == "GS-GRID-IRREGULAR"

    def test_array_without_crs_is_refused(self, refusal: Refusal) -> None:
        bare = xr.DataArray(numbers()[0], dims=("y", "x"), coords={"y": -np.arange(20.0), "x": np.arange(30.0)})
        error = refusal(bare)
        assert error.code == "GS-CRS-MISSING"
        assert "--crs" in error.hint
        assert 'crs = "EPSG:32755" in [scene]' in error.hint
        assert open_scene(bare, crs="EPSG:32755").odc.geobox.crs.epsg == 32755

    def test_array_without_rows_and_columns_is_refused(self, refusal: Refusal) -> None:
        error = refusal(xr.DataArray(np.zeros((3, 4)), dims=("sample", "band")))
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "sample" in error.details[0]


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
        self, refusal: Refusal, tmp_path: Path, crs: str, transform: Affine, shape: tuple[int, int]
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

    def test_missing_crs(self, refusal: Refusal, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "dem.tif", numbers(), crs=None)
        error = refusal(path)
        assert error.code == "GS-CRS-MISSING"
        assert "dem.tif" in error.message
        assert "--crs" in error.hint
        assert open_scene(path, crs="EPSG:32755").odc.geobox.crs.epsg == 32755

    def test_crs_that_contradicts_the_file(self, refusal: Refusal, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "dem.tif", numbers())
        assert open_scene(path, crs="EPSG:32755").shape == (1, 20, 30)
        assert refusal(path, crs="EPSG:32756").code == "GS-CRS-MISMATCH"
        assert refusal(path, crs="EPSG:nonsense").code == "GS-CRS-UNKNOWN"

    @pytest.mark.parametrize("transform", [GRID * Affine.rotation(10), GRID * Affine.scale(-1, 1)])
    def test_rotated_and_mirrored_grids_are_refused(self, refusal: Refusal, tmp_path: Path, transform: Affine) -> None:
        error = refusal(write_raster(tmp_path / "dem.tif", numbers(), transform=transform))
        assert error.code == "GS-GRID-ROTATED"
        assert "dem.tif" in error.message

    def test_missing_georeference_is_refused(self, refusal: Refusal, tmp_path: Path) -> None:
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

    def test_unknown_bands_are_refused_with_near_matches(self, refusal: Refusal, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif")
        error = refusal(tmp_path / "s.tif", bands=["elevaton", "twi"])
        assert error.code == "GS-BANDS-UNKNOWN"
        assert "elevaton" in error.message
        assert "elevaton: perhaps 'elevation'" in error.details

    def test_unknown_class_bands_are_refused(self, refusal: Refusal, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif", classes=["lithology"])
        error = refusal(tmp_path / "s.tif", classes=["litology"])
        assert error.code == "GS-BANDS-UNKNOWN"
        assert "litology: perhaps 'lithology'" in error.details

    def test_names_that_occur_twice_are_refused_with_their_files(self, refusal: Refusal, tmp_path: Path) -> None:
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
