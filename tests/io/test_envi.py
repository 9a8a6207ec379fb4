"""Cubes written as ENVI files come back as they were; a file appears whole with its header, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from geosoil.bands import Bands
from geosoil.errors import OutputError, UsageError
from geosoil.io.envi import FLAASH_UNITS, Interleave, write_envi
from geosoil.io.grids import same_crs
from geosoil.io.raster import open_scene
from geosoil.testing import make_scene

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)
from . import cubes

if TYPE_CHECKING:
    from geosoil.types import Float32

LISTED = {"bbl": cubes.braces([1] * 8 + [0]), "fwhm": cubes.braces([8.546] * 9), "sensor type": "GF-5 AHSI"}


def scene(folder: Path, values: Any = None, **entries: object) -> xr.DataArray:
    values = cubes.reflectance(9).astype(np.float32) if values is None else values
    values[:, 3, 4:9] = np.nan
    told = {**LISTED, "acquisition time": "2019-12-28T10:45:26Z", "solar zenith": 41.25, **entries}
    return open_scene(cubes.write_envi(folder / "made.img", values, told), mapped=False)


def raw(path: Path, dtype: str, interleave: str, shape: tuple[int, int, int]) -> Float32:
    """The data file as bands, lines and samples, read without any library for rasters."""
    order = cubes.ORDERS[interleave]
    stored = np.fromfile(path, dtype).reshape([shape[axis] for axis in order])
    return np.asarray(stored.transpose(np.argsort(order)))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("mapped", [True, False])
def test_a_cube_comes_back_exactly(tmp_path: Path, interleave: Interleave, mapped: bool) -> None:
    made = scene(tmp_path, **{"map info": cubes.MAP_INFO if mapped else None})
    path = write_envi(tmp_path / "out.dat", made, interleave=interleave)
    again = open_scene(path, mapped=False)
    np.testing.assert_array_equal(again.values, made.values)
    assert again.odc.geobox == made.odc.geobox
    assert (again.odc.geobox.crs is not None) == mapped
    assert Bands.of(again) == Bands.of(made)
    for name in ("quantity", "units", "sensor", "acquired", "sun_zenith_deg"):
        assert again.attrs[name] == made.attrs[name]


@pytest.mark.parametrize("crs", ["EPSG:32755", "EPSG:4326", "EPSG:3577", "EPSG:25833"])
def test_the_place_on_the_map_comes_back(tmp_path: Path, crs: str) -> None:
    small = {"resolution": 0.001, "left": 149.0, "top": -30.0} if crs == "EPSG:4326" else {}
    made = make_scene(shape=(8, 9), crs=crs, **small)  # type: ignore[arg-type]
    write_envi(tmp_path / "out.dat", made)
    again = open_scene(tmp_path / "out.dat")
    np.testing.assert_allclose(tuple(again.odc.geobox.affine), tuple(made.odc.geobox.affine))
    assert same_crs(again.odc.geobox.crs, made.odc.geobox.crs)
    np.testing.assert_array_equal(again.values, made.values)


def test_reflectance_as_whole_numbers_is_scaled_and_says_so(tmp_path: Path) -> None:
    made = scene(tmp_path)
    write_envi(tmp_path / "out.dat", made, dtype="int16", interleave="bip")
    stored = raw(tmp_path / "out.dat", "<i2", "bip", (9, 24, 36))
    expected = np.where(np.isnan(made.values), -32768, np.round(made.values * 1e4))
    np.testing.assert_array_equal(stored, expected)
    again = open_scene(tmp_path / "out.dat")
    assert "reflectance scale factor" in again.attrs["scale"]
    np.testing.assert_allclose(again.values, made.values, atol=0.5001e-4)
    # Written once more it is the same to the last byte.
    write_envi(tmp_path / "twice.dat", again, dtype="int16", interleave="bip")
    assert (tmp_path / "twice.dat").read_bytes() == (tmp_path / "out.dat").read_bytes()


def test_radiance_for_flaash_is_a_tenth_in_its_unit(tmp_path: Path) -> None:
    values = (cubes.reflectance(9) * 200).astype(np.float32)
    made = scene(tmp_path, values, **{"data units": "{W m-2 sr-1 um-1}"})
    assert made.attrs["quantity"] == "radiance"
    write_envi(tmp_path / "out.bil", made, units=FLAASH_UNITS)
    stored = raw(tmp_path / "out.bil", "<f4", "bil", (9, 24, 36))
    inside = ~np.isnan(made.values)
    np.testing.assert_allclose(stored[inside], made.values[inside] / 10, rtol=1e-6)
    assert (stored[~inside] == -9999).all()
    again = open_scene(tmp_path / "out.bil")
    np.testing.assert_allclose(again.values, made.values, rtol=3e-7)
    assert again.attrs["units"] == "W m-2 sr-1 um-1"
    assert again.attrs["scale"] == "value = stored number x 10 (from uW cm-2 sr-1 nm-1)"
    assert not again.attrs.get("notes")
    write_envi(tmp_path / "plain.bil", made)
    np.testing.assert_array_equal(open_scene(tmp_path / "plain.bil").values, made.values)


def test_radiance_as_whole_numbers_has_its_gain_in_the_header(tmp_path: Path) -> None:
    values = (cubes.reflectance(9) * 200).astype(np.float32)
    made = scene(tmp_path, values, **{"data units": "{W m-2 sr-1 um-1}"})
    write_envi(tmp_path / "out.bil", made, dtype="uint16", scale=100)
    again = open_scene(tmp_path / "out.bil")
    assert again.attrs["quantity"] == "radiance"
    np.testing.assert_allclose(again.values, made.values, atol=0.0051)


def test_gdal_reads_the_header_as_it_is_meant(tmp_path: Path) -> None:
    made = scene(tmp_path)
    write_envi(tmp_path / "out.dat", made)
    with rasterio.open(tmp_path / "out.dat") as dataset:
        tags = dataset.tags(ns="ENVI")
        assert dataset.nodata == -9999
        assert dataset.count == 9
        assert dataset.crs.to_epsg() == 32755
    assert tags["acquisition_time"] == "2019-12-28T10:45:26Z"
    assert tags["solar_zenith"] == "41.25"
    assert tags["bbl"].replace(" ", "") == "{1,1,1,1,1,1,1,1,0}"
    assert tags["sensor_type"] == "GF-5 AHSI"
    assert tags["wavelength_units"] == "Nanometers"


def test_names_with_signs_of_the_header_do_no_harm(tmp_path: Path) -> None:
    made = make_scene(shape=(5, 6), bands=("a, b", "c {d}", "e = f"))
    write_envi(tmp_path / "out.dat", made)
    np.testing.assert_array_equal(open_scene(tmp_path / "out.dat").values, made.values)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_strips_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interleave: Interleave) -> None:
    made = scene(tmp_path)
    write_envi(tmp_path / "whole.dat", made, interleave=interleave)
    monkeypatch.setattr("geosoil.io.envi._STRIP", 9 * 36 * 4 * 5)
    seen: list[tuple[int, int]] = []
    write_envi(
        tmp_path / "strips.dat", made, interleave=interleave, progress=lambda done, total, _: seen.append((done, total))
    )
    assert seen == [(5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]
    assert (tmp_path / "strips.dat").read_bytes() == (tmp_path / "whole.dat").read_bytes()


def test_values_that_do_not_fit_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    made = scene(tmp_path)
    with pytest.raises(OutputError) as caught:
        write_envi(tmp_path / "out.dat", made, dtype="int16", scale=1e6)
    assert caught.value.code == "GS-ENVI-RANGE"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made.hdr", "made.img"]


@pytest.mark.parametrize("room", [100, 5000, 31_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, room: int) -> None:
    made = scene(tmp_path).compute()
    made = made.chunk()
    before = sorted(tmp_path.iterdir())
    with file_size_limit(room), pytest.raises(OutputError) as caught:
        write_envi(tmp_path / "out.dat", made)
    assert caught.value.code == "GS-NO-SPACE"
    assert sorted(tmp_path.iterdir()) == before


def test_what_exists_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    made = scene(tmp_path)
    write_envi(tmp_path / "out.dat", made)
    first = (tmp_path / "out.dat").read_bytes()
    for taken in ("out.dat", "out.img"):  # the header is the same
        with pytest.raises(OutputError) as caught:
            write_envi(tmp_path / taken, made * 2)
        assert caught.value.code == "GS-OUTPUT-EXISTS"
    assert (tmp_path / "out.dat").read_bytes() == first
    write_envi(tmp_path / "out.dat", made, interleave="bsq", overwrite=True)
    np.testing.assert_array_equal(open_scene(tmp_path / "out.dat").values, made.values)


@pytest.mark.parametrize("name", ["made.img", "made.dat"])  # the header is the same
def test_a_scene_is_not_written_over_its_own_files(tmp_path: Path, name: str) -> None:
    made = scene(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputError) as caught:
        write_envi(tmp_path / name, made, overwrite=True)
    assert caught.value.code == "GS-OUTPUT-INPUT"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("out.hdr", {}),
        ("out.dat", {"interleave": "bqs"}),
        ("out.dat", {"dtype": "complex64"}),
        ("out.dat", {"units": "furlongs"}),
        ("out.dat", {"units": FLAASH_UNITS}),
        ("out.dat", {"scale": 0.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        write_envi(tmp_path / name, scene(tmp_path), **how)
    assert caught.value.code == "GS-ENVI-SETTINGS"
