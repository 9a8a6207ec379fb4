"""Cubes in ENVI and GeoTIFF: wavelengths, scale and quantity come out; a header that lies is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError
from geosoil.io import enviheader
from geosoil.io.raster import open_scene
from geosoil.sun import solar_irradiance
from geosoil.testing import make_scene, write_raster

from .cubes import braces, reflectance, sunlit, wavelengths, write_envi

if TYPE_CHECKING:
    from numpy.typing import NDArray

Refusal = Callable[..., InputError]


def as_int16(values: NDArray[Any], scale: float = 10_000) -> NDArray[np.int16]:
    return np.round(values * scale).astype(np.int16)


def write_tiff(path: Path, stored: NDArray[Any], tags: dict[str, Any], each: list[dict[str, str]], **how: Any) -> Path:
    transform = Affine(30, 0, 740_000, 0, -30, 6_680_000)
    profile = {"driver": "GTiff", "count": len(stored), "height": stored.shape[1], "width": stored.shape[2]}
    with rasterio.open(
        path, "w", **profile, dtype=stored.dtype, crs="EPSG:32755", transform=transform, **how
    ) as dataset:
        dataset.write(stored)
        dataset.update_tags(**tags)
        for index, one in enumerate(each, start=1):
            dataset.update_tags(index, **one)
    return path


class TestEnvi:
    """Every way to store the same cube gives the same scene."""

    @pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
    @pytest.mark.parametrize("big_endian", [False, True])
    @pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32"])
    def test_interleave_byte_order_and_type_change_nothing(
        self, tmp_path: Path, interleave: str, big_endian: bool, dtype: str
    ) -> None:
        stored = as_int16(reflectance(11)).astype(dtype)
        entries = {"reflectance scale factor": 10000, "fwhm": braces([8.5] * 11)}
        path = write_envi(tmp_path / "cube.dat", stored, entries, interleave=interleave, big_endian=big_endian)
        scene = open_scene(path)
        np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)
        assert scene.dtype == np.float32
        bands = Bands.of(scene)
        assert bands.wavelength_nm == tuple(wavelengths(11))
        assert bands.fwhm_nm == (8.5,) * 11
        assert all(bands.good)
        assert (scene.attrs["quantity"], scene.attrs["units"]) == ("reflectance", "1")
        assert scene.odc.geobox.crs.epsg == 32755

    @pytest.mark.parametrize(
        ("data", "header"),
        [
            ("cube.dat", "cube.hdr"), ("cube.img", "cube.hdr"), ("cube.bsq", "cube.hdr"), ("cube", "cube.hdr"),
            ("cube.dat", "cube.dat.hdr"), ("CUBE.DAT", "CUBE.HDR"), ("a.b.bil", "a.b.hdr"),
        ],
    )  # fmt: skip
    def test_data_and_header_find_each_other_under_all_usual_names(
        self, tmp_path: Path, data: str, header: str
    ) -> None:
        stored = as_int16(reflectance(9))
        write_envi(tmp_path / data, stored, {"reflectance scale factor": 10000}, header=tmp_path / header)
        scene = open_scene(tmp_path / data)
        np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)
        assert Bands.of(scene).wavelength_nm == tuple(wavelengths(9))
        if header != "cube.dat.hdr":
            assert open_scene(tmp_path / header).attrs["sources"] == (str(tmp_path / data),)

    def test_a_header_without_its_data_says_so(self, refusal: Refusal, tmp_path: Path) -> None:
        write_envi(tmp_path / "cube.dat", as_int16(reflectance(3))).unlink()
        error = refusal(tmp_path / "cube.hdr")
        assert error.code == "GS-FILE-MISSING"
        assert "no data file" in error.message

    def test_names_of_entries_are_read_in_any_case_and_lists_over_lines(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(12))
        path = write_envi(tmp_path / "c.dat", stored)
        header = path.with_suffix(".hdr")
        text = (
            header.read_text().replace("wavelength units", "Wavelength  Units").replace("wavelength =", "WAVELENGTH=")
        )
        header.write_text(
            f"{text}; a remark = {{\nReflectance Scale Factor=10000.0\nBBL={{\n{', '.join('1' * 11)},\n0 }}\n"
        )
        scene = open_scene(path)
        assert Bands.of(scene).wavelength_nm == tuple(wavelengths(12))
        assert Bands.of(scene).why[-2:] == ("", "listed bad in the file")
        np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)

    def test_the_header_parser_agrees_with_gdal(self, tmp_path: Path) -> None:
        entries = {
            "description": "{two\n lines}", "bbl": braces([1, 0, 1] * 3, 2), "fwhm": braces(range(1, 10)),
            "band names": braces([f"band {one}" for one in range(9)]), "acquisition time": "2022-07-24T10:45:26Z",
        }  # fmt: skip
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(9)), entries)
        ours = enviheader.read_header(path.with_suffix(".hdr"))
        with rasterio.open(path) as dataset:
            theirs = {name.replace("_", " "): value for name, value in dataset.tags(ns="ENVI").items()}
        assert theirs.keys() <= ours.keys()
        for name, value in theirs.items():
            assert ours[name].split() == value.split(), name

    def test_bands_keep_their_own_names(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(3))
        named = write_envi(tmp_path / "a.dat", stored, {"band names": "{blue, the red one, nir}"})
        assert open_scene(named)["band"].values.tolist() == ["blue", "the red one", "nir"]
        bare = write_envi(tmp_path / "b.dat", stored)
        assert len(set(open_scene(bare)["band"].values.tolist())) == 3

    def test_what_else_a_header_tells_is_kept(self, tmp_path: Path) -> None:
        entries = {"sensor type": "HyMap", "acquisition time": "2022-07-24T10:45:26Z", "sun elevation": 51.5}
        attrs = open_scene(write_envi(tmp_path / "c.dat", as_int16(reflectance(5)), entries)).attrs
        assert (attrs["sensor"], attrs["acquired"], attrs["sun_zenith_deg"]) == ("HyMap", "2022-07-24T10:45:26Z", 38.5)

    def test_no_data_becomes_nan_and_is_no_part_of_the_guess(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(8))
        stored[:, :, :20] = -9999
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, {"data ignore value": -9999}))
        assert np.isnan(scene.values[:, :, :20]).all()
        np.testing.assert_allclose(scene.values[:, :, 20:], stored[:, :, 20:] / 10_000, rtol=1e-6)


class TestLies:
    """One clear error for each thing that a header can get wrong."""

    @pytest.mark.parametrize(
        ("entries", "code", "words"),
        [
            ({"samples": 30}, "GS-RASTER-SIZE", "longer than its header says"),
            ({"lines": 50}, "GS-RASTER-TRUNCATED", "is cut off"),
            ({"bands": 11}, "GS-ENVI-HEADER", "lists 12 values of 'wavelength' for 11 bands"),
            ({"bands": 13, "wavelength": None}, "GS-RASTER-TRUNCATED", "the size is that of 12 bands"),
            ({"bands": 11, "wavelength": None}, "GS-RASTER-SIZE", "the size is that of 12 bands"),
            ({"header offset": 100}, "GS-RASTER-TRUNCATED", "is cut off"),
            ({"data type": 4}, "GS-RASTER-TRUNCATED", "is cut off"),
            ({"data type": 77}, "GS-ENVI-HEADER", "data type = 77"),
            ({"bands": "twelve"}, "GS-ENVI-HEADER", "bands = 'twelve'"),
            ({"lines": -24}, "GS-ENVI-HEADER", "lines = -24"),
            ({"samples": None}, "GS-ENVI-HEADER", "does not say 'samples'"),
            ({"interleave": "bqs"}, "GS-ENVI-HEADER", "interleave = bqs"),
            ({"byte order": 3}, "GS-ENVI-HEADER", "byte order = 3"),
            ({"fwhm": "{8, 8, 8}"}, "GS-ENVI-HEADER", "lists 3 values of 'fwhm' for 12 bands"),
            ({"bbl": braces([1] * 11)}, "GS-ENVI-HEADER", "lists 11 values of 'bbl'"),
            ({"wavelength": braces(["x"] * 12)}, "GS-ENVI-HEADER", "'wavelength' that is no number"),
            ({"wavelength": braces([float("nan")] * 12)}, "GS-WAVELENGTH", "wavelengths that are none"),
            ({"wavelength": braces([-400] * 12)}, "GS-WAVELENGTH", "wavelengths that are none"),
            ({"wavelength": "{400, 500,"}, "GS-ENVI-HEADER", "never closed"),
            ({"reflectance scale factor": "much"}, "GS-SCALE", "no number above 0"),
            ({"reflectance scale factor": 0}, "GS-SCALE", "no number above 0"),
            ({"wavelength units": "Micrometers"}, "GS-WAVELENGTH-UNIT", "are none in micrometers"),
            ({"wavelength units": "GHz"}, "GS-WAVELENGTH-UNIT", "in 'ghz'"),
            ({"byte order": 1}, "GS-BYTE-ORDER", "the other byte order"),
        ],
    )  # fmt: skip
    def test_a_header_that_lies_is_refused_by_name(
        self, refusal: Refusal, tmp_path: Path, entries: dict[str, Any], code: str, words: str
    ) -> None:
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(12)), entries)
        error = refusal(path)
        assert error.code == code
        assert words in error.render()
        assert "c.dat" in error.render() or "c.hdr" in error.render()
        assert error.hint

    @pytest.mark.parametrize("dtype", ["int16", "uint16", "float32", "float64"])
    @pytest.mark.parametrize("big_endian", [False, True])
    def test_a_wrong_byte_order_is_found_in_all_types(
        self, refusal: Refusal, tmp_path: Path, dtype: str, big_endian: bool
    ) -> None:
        values = reflectance(12)
        stored = values.astype(dtype) if dtype.startswith("f") else as_int16(values).astype(dtype)
        path = write_envi(tmp_path / "c.dat", stored, big_endian=big_endian)
        assert open_scene(path).attrs["quantity"] == "reflectance"
        write_envi(path, stored, {"byte order": int(not big_endian)}, big_endian=big_endian)
        assert refusal(path).code == "GS-BYTE-ORDER"

    def test_noise_in_the_right_byte_order_is_no_lie(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 5000, (12, 24, 36)).astype(np.int16)
        assert open_scene(write_envi(tmp_path / "c.dat", noise)).shape == (12, 24, 36)

    def test_wavelengths_of_two_units_in_one_list_are_refused(self, refusal: Refusal, tmp_path: Path) -> None:
        mixed = braces([0.4, 0.5, 600, 700])
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(4)), wavelength=mixed, wavelength_units="Unknown")
        error = refusal(path)
        assert error.code == "GS-WAVELENGTH-UNIT"
        assert "0.4 to 700" in error.render()

    @pytest.mark.parametrize("seed", range(40))
    def test_a_damaged_header_opens_or_is_refused_and_nothing_else(self, tmp_path: Path, seed: int) -> None:
        entries = {"bbl": braces([1] * 12), "fwhm": braces([8] * 12), "data ignore value": -9999}
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(12)), entries, reflectance_scale_factor=10000)
        header = path.with_suffix(".hdr")
        text = bytearray(header.read_bytes())
        rng = np.random.default_rng(seed)
        for _ in range(int(rng.integers(1, 6))):
            place, taken, given = (int(rng.integers(0, most)) for most in (len(text), 3, 3))
            text[place : place + taken] = bytes(rng.choice(list(b"0987 .,-{}=\nexN\xa9\xff"), given).tolist())
        header.write_bytes(bytes(text))
        with suppress(InputError):
            assert open_scene(path, mapped=False).nbytes < 10 * path.stat().st_size

    def test_a_header_in_another_encoding_opens(self, tmp_path: Path) -> None:
        entries = {"description": "{高分五号}", "band names": "{红, 绿, 蓝}", "sensor type": "高光谱"}
        stored = as_int16(reflectance(3))
        path = write_envi(tmp_path / "c.dat", stored, entries, reflectance_scale_factor=10000)
        header = path.with_suffix(".hdr")
        for encoding in ("utf-8", "gb18030"):
            header.write_bytes(header.read_text(encoding="utf-8").encode(encoding))
            scene = open_scene(path)
            np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)
            assert scene["band"].values.tolist() == ["红", "绿", "蓝"]
            assert scene.attrs["sensor"] == "高光谱"

    def test_a_western_micro_sign_is_read(self, tmp_path: Path) -> None:
        micro = [round(one / 1000, 6) for one in wavelengths(4)]
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(4)), wavelength=braces(micro), wavelength_units="µm")
        header = path.with_suffix(".hdr")
        header.write_bytes(header.read_text(encoding="utf-8").encode("latin-1"))
        assert Bands.of(open_scene(path)).wavelength_nm == tuple(wavelengths(4))

    def test_a_place_on_no_map_counts_as_none(self, refusal: Refusal, tmp_path: Path) -> None:
        arbitrary = "{Arbitrary, 1, 1, 100, 200, 2, 2}"
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(3)), map_info=arbitrary)
        assert refusal(path).code == "GS-CRS-MISSING"
        assert open_scene(path, mapped=False).odc.geobox.crs is None
        assert open_scene(path, crs="EPSG:32755").odc.geobox.crs.epsg == 32755


class TestUnits:
    """Wavelengths are nm inside; their unit is told by the file or by the user."""

    @pytest.mark.parametrize("spelled", ["Micrometers", "um", "µm", "microns", "MICROMETERS"])
    def test_micrometres_become_nanometres_without_noise(self, tmp_path: Path, spelled: str) -> None:
        stored = as_int16(reflectance(9))
        micro = [round(one / 1000, 6) for one in wavelengths(9)]
        entries = {"wavelength": braces(micro), "wavelength units": spelled, "fwhm": braces([0.0085] * 9)}
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, entries))
        assert Bands.of(scene).wavelength_nm == tuple(wavelengths(9))
        assert Bands.of(scene).fwhm_nm == (8.5,) * 9
        assert Bands.of(scene).names == tuple(f"{one:g} nm" for one in wavelengths(9))

    def test_bands_of_one_wavelength_and_without_names_are_numbered(self, tmp_path: Path) -> None:
        micro = [0.4, 0.5, 0.6, 0.5, 0.6, 0.7]
        path = write_envi(
            tmp_path / "c.dat", as_int16(reflectance(6)), wavelength=braces(micro), wavelength_units="Micrometers"
        )
        assert Bands.of(open_scene(path)).names == tuple(f"B{place}" for place in range(1, 7))

    @pytest.mark.parametrize("unit", [None, "Unknown", ""])
    @pytest.mark.parametrize(("factor", "asked"), [(1.0, "nm"), (1e-3, "um")])
    def test_an_unstated_unit_is_asked_for_and_may_be_said(
        self, refusal: Refusal, tmp_path: Path, unit: str | None, factor: float, asked: str
    ) -> None:
        listed = braces([round(one * factor, 6) for one in wavelengths(9)])
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(9)), wavelength=listed, wavelength_units=unit)
        error = refusal(path)
        assert error.code == "GS-WAVELENGTH-UNIT"
        assert f"they would be those of sunlight in {asked}" in error.details
        assert f"--wavelengths {asked}" in error.hint
        bands = Bands.of(open_scene(path, wavelengths=asked))
        assert bands.wavelength_nm == tuple(wavelengths(9))
        assert bands.names[-1] == "2400 nm"

    def test_a_unit_that_is_said_counts_before_that_of_bands_and_not_against_the_numbers(
        self, refusal: Refusal, tmp_path: Path
    ) -> None:
        each = [{"wavelength": str(one), "wavelength_units": "GHz"} for one in wavelengths(4)]
        path = write_tiff(tmp_path / "c.tif", as_int16(reflectance(4)), {}, each)
        assert refusal(path).code == "GS-WAVELENGTH-UNIT"
        assert Bands.of(open_scene(path, wavelengths="nm")).wavelength_nm == tuple(wavelengths(4))
        assert refusal(path, wavelengths="um").code == "GS-WAVELENGTH-UNIT"

    @pytest.mark.parametrize("listed", [[4000, 5000, 6000], [0.2, 0.5, 0.6], [4, 5, 6], [200, 500, 600]])
    def test_no_unit_is_supposed_for_what_is_no_sunlight(
        self, refusal: Refusal, tmp_path: Path, listed: list[float]
    ) -> None:
        path = write_envi(
            tmp_path / "c.dat", as_int16(reflectance(3)), wavelength=braces(listed), wavelength_units=None
        )
        error = refusal(path)
        assert error.code == "GS-WAVELENGTH-UNIT"
        assert "would be" not in error.render()
        assert "wavelength units = Nanometers" in error.hint

    def test_one_wavelength_for_most_bands_is_refused(self, refusal: Refusal, tmp_path: Path) -> None:
        listed = braces([500.0] * 5 + [600, 700, 800])
        error = refusal(write_envi(tmp_path / "c.dat", as_int16(reflectance(8)), wavelength=listed))
        assert error.code == "GS-WAVELENGTH"
        assert "found: 500 for 5 of 8 bands" in error.details


class TestScale:
    """Asked for, then the header's factor, then the bands' scale, then a guess; always said."""

    def test_what_is_asked_for_comes_first(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(9), 5000)
        path = write_envi(tmp_path / "c.dat", stored, {"reflectance scale factor": 10000})
        scene = open_scene(path, scale=5000)
        np.testing.assert_allclose(scene.values, stored / 5000, rtol=1e-6)
        assert scene.attrs["scale"] == "reflectance = stored number / 5000 (as asked)"
        (note,) = (one for one in scene.attrs["notes"] if "as asked" in one)
        assert note.startswith("the file states that reflectance = stored number / 10000 (the reflectance scale factor")
        assert not any("as asked" in one for one in open_scene(path, scale=10_000).attrs.get("notes", ()))

    @pytest.mark.parametrize("factor", [1, None])
    def test_a_scale_that_darkens_what_is_reflectance_is_refused(
        self, refusal: Refusal, tmp_path: Path, factor: float | None
    ) -> None:
        values = reflectance(9).astype(np.float32)
        error = refusal(write_envi(tmp_path / "c.dat", values, reflectance_scale_factor=factor), scale=100)
        assert error.code == "GS-SCALE"
        assert any(line.startswith("without: reflectance as stored") for line in error.details)
        assert "--scale" in error.hint

    def test_the_factor_of_the_header_comes_before_the_scale_of_the_bands(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(4))
        each = [{"wavelength": str(one), "wavelength_units": "nm"} for one in wavelengths(4)]
        path = write_tiff(tmp_path / "c.tif", stored, {"reflectance_scale_factor": "10000"}, each)
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (0.001,) * 4
        scene = open_scene(path)
        np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)
        assert "reflectance scale factor" in scene.attrs["scale"]
        assert any("differ" in note for note in scene.attrs["notes"])

    def test_the_scale_of_the_bands_comes_before_a_guess(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(4), 1000)
        each = [{"wavelength": str(one), "wavelength_units": "nm"} for one in wavelengths(4)]
        path = write_tiff(tmp_path / "c.tif", stored, {}, each)
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (0.001,) * 4
        scene = open_scene(path)
        np.testing.assert_allclose(scene.values, stored / 1000, rtol=1e-6)
        assert scene.attrs["scale"] == "value = stored number x 0.001 (scale and offset of the bands)"

    @pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
    def test_whole_numbers_of_the_usual_size_are_guessed_and_said(self, tmp_path: Path, dtype: str) -> None:
        stored = as_int16(reflectance(9)).astype(dtype)
        scene = open_scene(write_envi(tmp_path / "c.dat", stored))
        np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)
        assert "a guess" in scene.attrs["scale"]
        assert any("taken as reflectance x 10000" in note for note in scene.attrs["notes"])

    def test_reflectance_as_it_is_stays(self, tmp_path: Path) -> None:
        values = reflectance(9).astype(np.float32)
        values[0, :3] = -0.02
        values[5, 3:5] = 1.3
        scene = open_scene(write_envi(tmp_path / "c.dat", values))
        np.testing.assert_array_equal(scene.values, values)
        assert scene.attrs["scale"].startswith("reflectance as stored")

    @pytest.mark.parametrize(
        ("scale", "factor"), [(10_000, 1), (10_000, 10_000 * 10_000)], ids=["scaled by nothing", "scaled twice"]
    )
    def test_a_stated_factor_that_gives_no_reflectance_is_refused(
        self, refusal: Refusal, tmp_path: Path, scale: float, factor: float
    ) -> None:
        stored = as_int16(reflectance(9), scale)
        path = write_envi(tmp_path / "c.dat", stored, {"reflectance scale factor": factor})
        error = refusal(path)
        assert error.code == "GS-SCALE"
        assert "scale=10000" in error.hint
        np.testing.assert_allclose(open_scene(path, scale=10_000).values, stored / 10_000, rtol=1e-6)

    @pytest.mark.parametrize("divisor", [10_000, 1e8])
    def test_values_too_small_for_reflectance_are_refused_where_no_scale_is_stated(
        self, refusal: Refusal, tmp_path: Path, divisor: float
    ) -> None:
        values = (reflectance(9) / divisor).astype(np.float32)
        path = write_envi(tmp_path / "c.dat", values)
        error = refusal(path)
        assert error.code == "GS-SCALE"
        assert "too small for reflectance" in error.message
        # What the hint advises makes reflectance of it.
        assert "reflectance scale factor" in error.hint
        again = write_envi(path, values, {"reflectance scale factor": repr(1 / divisor)})
        np.testing.assert_allclose(open_scene(again).values, reflectance(9), rtol=1e-4)

    def test_dark_water_and_an_empty_image_are_not_taken_for_a_wrong_scale(self, tmp_path: Path) -> None:
        dark = (reflectance(9) / 100).astype(np.float32)
        assert open_scene(write_envi(tmp_path / "c.dat", dark)).attrs["quantity"] == "reflectance"
        assert open_scene(write_envi(tmp_path / "c.dat", dark * 0)).attrs["quantity"] == "reflectance"

    def test_a_scale_that_is_asked_for_and_gives_no_reflectance_is_refused(
        self, refusal: Refusal, tmp_path: Path
    ) -> None:
        path = write_envi(tmp_path / "c.dat", reflectance(9).astype(np.float32))
        error = refusal(path, scale=10_000)
        assert error.code == "GS-SCALE"
        assert "--scale" in error.hint
        assert "[scene]" in error.hint
        np.testing.assert_allclose(open_scene(path, scale=1).values, reflectance(9), rtol=1e-6)
        assert refusal(write_envi(tmp_path / "i.dat", as_int16(reflectance(9))), scale=1).code == "GS-SCALE"

    def test_radiance_that_a_header_calls_reflectance_is_not_taken_for_it(self, tmp_path: Path) -> None:
        called = {"data units": "reflectance"}
        for factor, quantity in ((100, "reflectance"), (600, "radiance"), (9000, "reflectance")):
            values = (reflectance(9) * factor).astype(np.float32)
            scene = open_scene(write_envi(tmp_path / f"{factor}.dat", values, called))
            assert scene.attrs["quantity"] == quantity, factor

    @pytest.mark.parametrize("called", [{"data units": "reflectance"}, {"reflectance scale factor": 1000}])
    def test_radiance_of_the_size_of_reflectance_is_known_by_its_spectra(
        self, refusal: Refusal, tmp_path: Path, called: dict[str, Any]
    ) -> None:
        stored = (sunlit(40) * (0.001 if "data units" in called else 1)).astype(np.float32)
        path = write_envi(tmp_path / "c.dat", stored, called)
        error = refusal(path)
        assert error.code == "GS-QUANTITY"
        assert "as in sunlight" in error.render()
        scene = open_scene(path, scale=1 if "data units" in called else 1000)  # as asked
        assert scene.attrs["quantity"] == "reflectance"
        assert any(note.startswith("no reflectance by its spectra") for note in scene.attrs["notes"])

    @pytest.mark.parametrize(("dtype", "quantity"), [("int16", "dn"), ("float32", "radiance")])
    def test_what_nothing_calls_reflectance_is_not_taken_for_it_by_its_size(
        self, tmp_path: Path, dtype: str, quantity: str
    ) -> None:
        stored = (sunlit(40) * (10 if dtype == "int16" else 0.001)).astype(dtype)
        scene = open_scene(write_envi(tmp_path / "c.dat", stored))
        assert scene.attrs["quantity"] == quantity
        assert any(f"as in sunlight: taken as {quantity}" in note for note in scene.attrs["notes"])

    @pytest.mark.parametrize("kind", ["radiance", "counts"])
    @pytest.mark.parametrize("called", [{"data units": "reflectance"}, {"reflectance scale factor": 1}, {}])
    def test_narrow_bands_of_the_visible_show_the_lines_of_the_sun(
        self, refusal: Refusal, tmp_path: Path, kind: str, called: dict[str, Any]
    ) -> None:
        nm = wavelengths(90, 400, 800)
        light = solar_irradiance(nm, [5.0] * 90)
        gain = np.linspace(0.3, 1.0, 90) ** (-2 if kind == "counts" else 0)  # another one for each band
        values = reflectance(90) * (light * gain)[:, None, None]
        stored = (values / np.percentile(values, 99) * 0.5).astype(np.float32)
        path = write_envi(tmp_path / "c.dat", stored, called, wavelength=braces(nm))
        if called:
            error = refusal(path)
            assert error.code == "GS-QUANTITY"
            assert "430 to 680 nm bear the lines of the sun" in error.render()
        else:
            assert open_scene(path).attrs["quantity"] == "radiance"

    def test_snow_has_no_lines_of_the_sun_though_it_falls_as_sunlight_does(self, tmp_path: Path) -> None:
        nm = wavelengths(200)
        snow = np.interp(nm, [400, 800, 1000, 1250, 1500, 2210, 2400], [0.95, 0.9, 0.7, 0.45, 0.05, 0.08, 0.04])
        values = reflectance(200) / reflectance(200).mean(axis=(1, 2), keepdims=True) * snow[:, None, None] * 0.8
        scene = open_scene(write_envi(tmp_path / "c.dat", values.astype(np.float32), wavelength=braces(nm)))
        assert scene.attrs["quantity"] == "reflectance"

    def test_a_forest_is_no_sunlight(self, tmp_path: Path) -> None:
        leaves = np.interp(wavelengths(40), [400, 700, 760, 1240, 1450, 1660, 2210], [3, 4, 45, 33, 12, 21, 11]) / 100
        values = reflectance(40) / reflectance(40).mean(axis=(1, 2), keepdims=True) * leaves[:, None, None]
        scene = open_scene(write_envi(tmp_path / "c.dat", values.astype(np.float32)))
        assert scene.attrs["quantity"] == "reflectance"

    def test_a_multiplier_as_scale_is_refused(self, tmp_path: Path) -> None:
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(9)))
        with pytest.raises(UsageError, match="too small") as caught:
            open_scene(path, scale=1e-4)
        assert caught.value.code == "GS-SCALE"

    def test_scale_for_what_is_no_cube_is_refused(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif")
        with pytest.raises(UsageError, match="one raster file that has wavelengths") as caught:
            open_scene(tmp_path / "s.tif", scale=10_000)
        assert caught.value.code == "GS-CUBE-SETTINGS"


class TestQuantity:
    """Radiance and counts are not taken for reflectance."""

    @pytest.mark.parametrize(
        ("unit", "factor"),
        [
            ("W m-2 sr-1 um-1", 1.0), ("W/(m^2*sr*um)", 1.0), ("uW cm-2 sr-1 nm-1", 10.0),
            ("µW/cm²/sr/nm", 10.0), ("microwatts/(cm^2 nm sr)", 10.0), ("mW m-2 sr-1 nm-1", 1.0),
            ("W/m2/nm/sr", 1000.0), ("mW/cm2/um/sr", 10.0),
        ],
    )  # fmt: skip
    def test_radiance_comes_in_one_unit(self, tmp_path: Path, unit: str, factor: float) -> None:
        inside = reflectance(9) * 200
        stored = (inside / factor).astype(np.float32)
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, {"data units": "{" + unit + "}"}))
        np.testing.assert_allclose(scene.values, inside, rtol=1e-5)
        assert (scene.attrs["quantity"], scene.attrs["units"]) == ("radiance", "W m-2 sr-1 um-1")

    @pytest.mark.parametrize(
        ("factor", "unit"), [(1.0, "W m-2 sr-1 um-1"), (10.0, "uW cm-2"), (1000.0, "W m-2 sr-1 nm")]
    )
    def test_a_unit_that_is_not_stated_follows_from_the_visible_and_is_said(
        self, tmp_path: Path, factor: float, unit: str
    ) -> None:
        inside = reflectance(21) * 250
        stored = (inside / factor).astype(np.float32)
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, {"description": "{at-sensor radiance}"}))
        np.testing.assert_allclose(scene.values, inside, rtol=1e-5)
        assert any(unit in note for note in scene.attrs["notes"])

    def test_gains_and_offsets_make_radiance_by_its_size(self, tmp_path: Path) -> None:
        inside = reflectance(9) * 200
        gain, offset = np.linspace(0.01, 0.03, 9), np.linspace(-3, 1, 9)
        stored = np.round((inside - offset[:, None, None]) / gain[:, None, None]).astype(np.uint16)
        entries = {"data gain values": braces(gain.tolist()), "data offset values": braces(offset.tolist())}
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, entries))
        np.testing.assert_allclose(scene.values, inside, atol=0.02)
        assert scene.attrs["quantity"] == "radiance"

    def test_gains_that_give_reflectance_are_reflectance(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(9))
        entries = {"data gain values": braces([0.0001] * 9), "data offset values": braces([0] * 9)}
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, entries))
        np.testing.assert_allclose(scene.values, stored / 10_000, rtol=1e-6)
        assert scene.attrs["quantity"] == "reflectance"

    @pytest.mark.parametrize(
        ("size", "entries", "quantity"),
        [
            (100.0, {}, "radiance"),
            (50_000.0, {}, "dn"),
            (3000.0, {"data units": "DN"}, "dn"),
            (3000.0, {"description": "{radiance}"}, "dn"),
        ],
    )
    def test_what_is_no_reflectance_is_called_by_its_name(
        self, tmp_path: Path, size: float, entries: dict[str, str], quantity: str
    ) -> None:
        values = reflectance(9) * size
        stored = values.astype(np.float32) if size == 100 else np.round(values).astype(np.uint16)
        scene = open_scene(write_envi(tmp_path / "c.dat", stored, entries))
        assert scene.attrs["quantity"] == quantity

    def test_reflectance_in_percent_is_known_by_its_header(self, tmp_path: Path) -> None:
        values = (reflectance(9) * 100).astype(np.float32)
        scene = open_scene(write_envi(tmp_path / "c.dat", values, {"description": "{surface reflectance}"}))
        np.testing.assert_allclose(scene.values, values / 100, rtol=1e-6)

    def test_covariates_have_no_quantity(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif")
        assert open_scene(tmp_path / "s.tif").attrs.keys() == {"sources"}
        bare = write_envi(tmp_path / "c.dat", as_int16(reflectance(3)), wavelength=None, wavelength_units=None)
        scene = open_scene(bare)
        assert scene.attrs.keys() == {"sources"}
        np.testing.assert_array_equal(scene.values, as_int16(reflectance(3)))

    def test_cubes_of_two_quantities_do_not_stack(self, refusal: Refusal, tmp_path: Path) -> None:
        one = write_envi(tmp_path / "a.dat", as_int16(reflectance(3)), {"band names": "{a, b, c}"})
        other = write_envi(tmp_path / "b.dat", (reflectance(3) * 100).astype(np.float32), {"band names": "{d, e, f}"})
        assert refusal([one, other]).code == "GS-QUANTITY-MIXED"

    def test_a_cube_among_covariates_is_one_of_them(self, tmp_path: Path) -> None:
        made = make_scene(tmp_path / "s.tif", shape=(24, 36))
        cube = write_envi(tmp_path / "c.dat", as_int16(reflectance(3)), {"band names": "{a, b, c}"})
        scene = open_scene([tmp_path / "s.tif", cube])
        assert Bands.of(scene).wavelength_nm == ()
        assert "quantity" not in scene.attrs
        np.testing.assert_array_equal(scene.values[:3], made.values)
        np.testing.assert_allclose(scene.values[3:], as_int16(reflectance(3)) / 10_000, rtol=1e-6)


class TestDetectors:
    """Where wavelengths step back, one detector ends; the overlap is cut, the order stays."""

    def test_an_overlap_in_one_file_is_cut_in_its_middle(self, tmp_path: Path) -> None:
        listed = [900.0, 950, 1000, 1050, 980, 1020, 1060, 1100]
        scene = open_scene(write_envi(tmp_path / "c.dat", as_int16(reflectance(8)), wavelength=braces(listed)))
        bands = Bands.of(scene)
        assert bands.wavelength_nm == tuple(listed)
        assert bands.good == (True, True, True, False, False, True, True, True)
        assert set(bands.why) == {"", "detector overlap"}
        assert any("980 to 1050" in note for note in scene.attrs["notes"])

    def test_an_overlap_between_two_files_is_cut_too(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(4))
        one = write_envi(
            tmp_path / "vn.dat", stored, wavelength=braces([900, 950, 1000, 1050]), band_names="{a, b, c, d}"
        )
        other = write_envi(
            tmp_path / "sw.dat", stored, wavelength=braces([980, 1020, 1060, 1100]), band_names="{e, f, g, h}"
        )
        scene = open_scene([one, other])
        assert Bands.of(scene).good == (True, True, True, False, False, True, True, True)
        assert Bands.of(open_scene([one, other], bands=["d", "f"])).good == (False, True)

    def test_enmap_keeps_its_short_wave_detector(self, tmp_path: Path) -> None:
        listed = [900.0, 950, 1000, 1050, 980, 1020, 1060, 1100]
        entries = {"sensor type": "EnMAP HSI", "wavelength": braces(listed)}
        scene = open_scene(write_envi(tmp_path / "c.dat", as_int16(reflectance(8)), entries))
        assert Bands.of(scene).good == (True, True, False, False, True, True, True, True)


class TestTiff:
    """Wavelengths from tags of the bands, the domain IMAGERY, or a table."""

    def test_tags_of_the_bands(self, tmp_path: Path) -> None:
        stored = as_int16(reflectance(5))
        each = [
            {"wavelength": f"{one}", "wavelength_units": "Nanometers", "fwhm": "6.5", "bbl": str(int(one < 2000))}
            for one in wavelengths(5)
        ]
        tags = {"sensor": "EnMAP HSI", "acquisition_time": "2022-07-24T10:45:26Z"}
        scene = open_scene(write_tiff(tmp_path / "c.tif", stored, tags, each, nodata=-32768))
        bands = Bands.of(scene)
        assert bands.wavelength_nm == tuple(wavelengths(5))
        assert bands.fwhm_nm == (6.5,) * 5
        assert bands.why == ("", "", "", "", "listed bad in the file")
        assert scene.attrs["sensor"] == "EnMAP HSI"
        assert bands.names == ("B1", "B2", "B3", "B4", "B5")

    def test_the_domain_imagery_serves_where_there_is_no_other(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "c.tif", as_int16(reflectance(3)), {}, [])
        with rasterio.open(path, "r+") as dataset:
            for index, one in enumerate((0.49, 0.56, 0.665), start=1):
                dataset.update_tags(index, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=str(one), FWHM_UM="0.02")
        bands = Bands.of(open_scene(path))
        assert bands.wavelength_nm == (490.0, 560.0, 665.0)
        assert bands.fwhm_nm == (20.0, 20.0, 20.0)

    def test_tags_of_some_bands_only_are_refused(self, refusal: Refusal, tmp_path: Path) -> None:
        each = [{"wavelength": "500", "wavelength_units": "nm"}, {}]
        error = refusal(write_tiff(tmp_path / "c.tif", as_int16(reflectance(2)), {}, each))
        assert error.code == "GS-WAVELENGTH"
        assert "1 of 2 bands" in error.render()

    @pytest.mark.parametrize("name", ["c_wavelengths.csv", "c.csv"])
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_a_table_beside_the_file(self, tmp_path: Path, name: str, separator: str) -> None:
        path = write_tiff(tmp_path / "c.tif", as_int16(reflectance(4)), {}, [])
        rows = [("Wavelength [um]", "FWHM", "good"), *((one / 1000, 0.008, int(one < 1000)) for one in wavelengths(4))]
        (tmp_path / name).write_text("\n".join(separator.join(str(cell) for cell in row) for row in rows) + "\n")
        bands = Bands.of(open_scene(path))
        np.testing.assert_allclose(bands.wavelength_nm, wavelengths(4))
        assert bands.fwhm_nm == (8.0,) * 4
        assert bands.good == (True, False, False, False)

    def test_a_table_that_is_named_wins(self, tmp_path: Path) -> None:
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(4)))
        (tmp_path / "mine.csv").write_text("wavelength_nm\n500\n600\n700\n800\n")
        scene = open_scene(path, wavelengths=tmp_path / "mine.csv")
        assert Bands.of(scene).wavelength_nm == (500.0, 600.0, 700.0, 800.0)
        assert any("mine.csv" in note for note in scene.attrs["notes"])

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("wavelength\n500\n600\n", "not one row a band"),
            ("centre\n1\n2\n3\n4\n", "no column wavelength"),
            ("wavelength\n500\n600\nred\n800\n", "no number"),
            ("wavelength,good\n500,1\n600,1\n700,perhaps\n800,1\n", "neither good nor bad"),
            ("wavelength,fwhm\n500,1\n600\n700,1\n800,1\n", "too short"),
            ("", "no column wavelength"),
        ],
    )
    def test_a_table_that_does_not_fit_is_refused(
        self, refusal: Refusal, tmp_path: Path, text: str, words: str
    ) -> None:
        path = write_tiff(tmp_path / "c.tif", as_int16(reflectance(4)), {}, [])
        (tmp_path / "mine.csv").write_text(text)
        error = refusal(path, wavelengths=tmp_path / "mine.csv")
        assert error.code == "GS-WAVELENGTH-TABLE"
        assert words in error.message

    def test_a_table_that_is_not_there_is_refused(self, refusal: Refusal, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "c.tif", as_int16(reflectance(4)), {}, [])
        assert refusal(path, wavelengths=tmp_path / "none.csv").code == "GS-WAVELENGTH-TABLE"

    def test_a_table_of_samples_beside_a_stack_is_none_of_wavelengths(self, tmp_path: Path) -> None:
        write_raster(tmp_path / "stack.tif", reflectance(2).astype(np.float32))
        (tmp_path / "stack.csv").write_text("id,x,y,soc\n1,2,3,4\n")
        assert open_scene(tmp_path / "stack.tif").attrs.keys() == {"sources"}


class TestSensorGeometry:
    """An image without a place on the map opens when that is asked for, and never else."""

    @pytest.fixture
    def bare(self, tmp_path: Path) -> Path:
        return write_envi(tmp_path / "c.dat", as_int16(reflectance(6)), map_info=None)

    def test_lines_and_samples_are_y_and_x(self, bare: Path) -> None:
        scene = open_scene(bare, mapped=False)
        assert scene.odc.geobox.crs is None
        assert scene["y"].values.tolist() == [row + 0.5 for row in range(24)]
        assert scene["x"].values[0] == 0.5
        np.testing.assert_allclose(scene.values, as_int16(reflectance(6)) / 10_000, rtol=1e-6)
        assert any("no map grid" in note for note in scene.attrs["notes"])

    def test_it_is_refused_for_mapping_as_a_file_and_as_a_scene(self, refusal: Refusal, bare: Path) -> None:
        assert refusal(bare).code == "GS-GRID-MISSING"
        assert refusal(bare, crs="EPSG:32755").code == "GS-GRID-MISSING"
        scene = open_scene(bare, mapped=False)
        for source in (scene, scene * 2):
            assert refusal(source).code == "GS-GRID-MISSING"
            assert refusal(source, crs="EPSG:32755").code == "GS-GRID-MISSING"

    def test_it_cannot_be_aligned(self, refusal: Refusal, bare: Path, tmp_path: Path) -> None:
        make_scene(tmp_path / "like.tif")
        assert refusal(bare, mapped=False, align=tmp_path / "like.tif").code == "GS-GRID-MISSING"

    def test_a_scene_opens_again_as_it_was(self, bare: Path) -> None:
        scene = open_scene(bare, mapped=False)
        again = open_scene(scene, mapped=False)
        assert again.data.name == scene.data.name
        assert again.attrs == scene.attrs
        assert Bands.of(again) == Bands.of(scene)
        changed = open_scene(scene + 0, mapped=False)
        np.testing.assert_array_equal(changed.values, scene.values)
        assert changed["y"].values.tolist() == scene["y"].values.tolist()

    def test_a_map_stays_a_map(self, tmp_path: Path) -> None:
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(6)))
        assert open_scene(path, mapped=False).odc.geobox == open_scene(path).odc.geobox

    def test_a_grid_that_no_map_has_falls_back(self, refusal: Refusal, tmp_path: Path) -> None:
        rotated = "{UTM, 1, 1, 740000, 6680000, 30, 30, 55, South, WGS-84, rotation=20}"
        path = write_envi(tmp_path / "c.dat", as_int16(reflectance(6)), map_info=rotated)
        assert refusal(path).code == "GS-GRID-ROTATED"
        assert open_scene(path, mapped=False).odc.geobox.crs is None


class TestStores:
    """A cube that was written by xarray comes back as it was."""

    @pytest.mark.parametrize("kind", ["nc", "zarr"])
    def test_a_written_cube_reopens_with_wavelengths_reasons_and_facts(self, tmp_path: Path, kind: str) -> None:
        entries = {"bbl": braces([1, 1, 0, 1]), "fwhm": braces([8.5] * 4), "sensor type": "HyMap"}
        scene = open_scene(write_envi(tmp_path / "c.dat", as_int16(reflectance(4)), entries))
        dataset = scene.assign_attrs(notes=list(scene.attrs["notes"]), sources=[]).to_dataset(name="cube")
        path = tmp_path / f"cube.{kind}"
        _ = dataset.to_zarr(path, consolidated=False) if kind == "zarr" else dataset.to_netcdf(path, engine="h5netcdf")
        again = open_scene(path)
        assert Bands.of(again) == Bands.of(scene)
        np.testing.assert_array_equal(again.values, scene.values)
        for name in ("quantity", "units", "sensor", "scale", "notes"):
            assert again.attrs[name] == scene.attrs[name]

    def test_wavelengths_in_micrometres_become_nanometres(self) -> None:
        made = make_scene(shape=(4, 4))
        micro = made.assign_coords(wavelength=("band", [0.45, 0.55, 0.65], {"units": "um"}))
        assert Bands.of(open_scene(micro)).wavelength_nm == (450.0, 550.0, 650.0)


if "GEOSOIL_DATA" in os.environ:
    DATA = Path(os.environ["GEOSOIL_DATA"]) / "cubes"

    class TestRealCubes:
        """Cubes of instruments, with the quirks that are known of them."""

        def test_enmap_potsdam(self) -> None:
            scene = open_scene(DATA / "enmap_potsdam" / "enmap_potsdam.tif")
            bands = Bands.of(scene)
            listed = [place + 1 for place, why in enumerate(bands.why) if why == "listed bad in the file"]
            overlap = [place + 1 for place, why in enumerate(bands.why) if why == "detector overlap"]
            assert listed == [130, 131, 132, 133, 134, 135]
            assert overlap[-1] == 91
            assert all(902 <= bands.wavelength_nm[place - 1] <= 994 for place in overlap)
            kept = [one for one, good in zip(bands.wavelength_nm, bands.good, strict=True) if good]
            assert (np.diff(kept) > 0).all()
            values = scene.values
            assert np.isnan(values[129:135]).all()
            assert 0.599 < np.isfinite(values[0]).mean() < 0.61
            assert (scene.attrs["quantity"], scene.attrs["sensor"]) == ("reflectance", "EnMAP HSI")
            with rasterio.open(DATA / "enmap_potsdam" / "enmap_potsdam.tif") as dataset:
                stored = dataset.read(50)
            good = stored != -32768
            np.testing.assert_allclose(values[49][good], stored[good] / 10_000, rtol=1e-6)

        def test_indian_pines(self, refusal: Refusal) -> None:
            path = DATA / "indian_pines_aviris" / "indian_pines.dat"
            assert refusal(path).code == "GS-GRID-MISSING"
            scene = open_scene(path, mapped=False)
            assert (scene.attrs["quantity"], scene.attrs["units"]) == ("radiance", "W m-2 sr-1 um-1")
            assert scene.attrs["scale"].endswith(", then x 10 (from uW cm-2 sr-1 nm-1)")
            stored = np.fromfile(path, "<u2").reshape(145, 200, 145).transpose(1, 0, 2)
            np.testing.assert_allclose(scene.values, 10 * (stored * 0.002 - 2), rtol=1e-5, atol=1e-5)
            lost = [place + 1 for place, why in enumerate(Bands.of(scene).why) if why == "detector overlap"]
            assert lost == [31, 32, 94, 95]

        def test_jasper_ridge(self) -> None:
            scene = open_scene(DATA / "jasper_ridge_aviris" / "jasper_ridge.img", mapped=False)
            assert scene.shape == (198, 100, 100)
            assert Bands.of(scene).wavelength_nm == ()
            assert "quantity" not in scene.attrs
            assert float(scene.max()) == 5437
