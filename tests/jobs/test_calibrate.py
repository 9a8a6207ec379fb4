"""From a product as it is delivered to a cube that says what it is, against the made truth."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import geosoil
from geosoil.bands import Bands
from geosoil.errors import GeosoilError, InputError, InterruptedRunError
from geosoil.io.raster import open_scene
from geosoil.jobs.calibrate import calibrate
from geosoil.jobs.info import describe, info
from geosoil.prep.radiometry import toa_reflectance
from geosoil.testing.acquisition import Levels
from geosoil.testing.product import Product, make_product

SHAPE = (40, 36)

# What the tests open in sensor geometry has no place on a map.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@dataclass(frozen=True)
class Delivered:
    product: Product
    dem: Path

    @property
    def path(self) -> Path:
        return self.product.path


def delivered(folder: Path, **settings: Any) -> Delivered:
    product = make_product(folder, "GF5B", SHAPE, **settings)
    return Delivered(product, product.landscape.write_dem(folder / "dem.tif"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """A product without noise, stripes or step, as a folder; SW lies 1.5 lines and 2 samples off."""
    return delivered(tmp_path_factory.mktemp("clean"), levels=Levels.none(), shift=(1.5, -2.0))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """A product with the usual faults, packed."""
    return delivered(tmp_path_factory.mktemp("real"), archive=".tar.gz", dead_bands=[60], lost_lines=[20])


def radiance(product: Product) -> np.ndarray:
    """What reached the sensor, (band, line, sample)."""
    lines = SHAPE[0]
    seen = product.acquisition
    parts = [np.moveaxis(seen.clean_radiance(seen.ground((0, lines), k), k).reshape(*SHAPE, -1), 2, 0) for k in (0, 1)]
    return np.concatenate(parts)


def counting(product: Product) -> np.ndarray:
    """Half a count of each band, as radiance."""
    return np.concatenate([one.gain for one in product.detectors])[:, None, None] * 0.51


def test_radiance_in_sensor_geometry_is_what_reached_the_sensor(clean: Delivered, tmp_path: Path) -> None:
    made = calibrate(clean.path, tmp_path / "cube.tif", to="radiance", ortho=False)
    assert (made.quantity, made.units) == ("radiance", "W m-2 sr-1 um-1")
    with rasterio.open(tmp_path / "cube.tif") as file:
        assert file.crs is None
        found = file.read()
    truth = radiance(clean.product)
    bright = truth > 2 * counting(clean.product)  # at least one count is delivered, as 0 stands for no data
    assert bright.mean() > 0.8
    assert (np.abs(found - truth) <= np.maximum(counting(clean.product), 1e-5 * truth))[bright].all()


def test_reflectance_is_that_of_the_formula(clean: Delivered, tmp_path: Path) -> None:
    calibrate(clean.path, tmp_path / "r.tif", to="radiance", ortho=False)
    calibrate(clean.path, tmp_path / "t.tif", ortho=False)
    with rasterio.open(tmp_path / "r.tif") as one, rasterio.open(tmp_path / "t.tif") as other:
        light, found = one.read(), other.read()
    nm = clean.product.wavelength_nm
    fwhm = np.concatenate([one.fwhm_nm for one in clean.product.detectors])
    zenith = clean.product.landscape.sun_zenith
    lines = toa_reflectance(nm, fwhm, sun_zenith_deg=zenith, day=clean.product.acquisition.day_of_year)
    np.testing.assert_allclose(found, lines(light), rtol=2e-5)


def test_the_map_shows_the_ground_where_it_is_for_both_detectors(clean: Delivered, tmp_path: Path) -> None:
    made = calibrate(clean.path, tmp_path / "cube.tif", to="radiance", dem=clean.dem, resampling="nearest")
    assert made.grid.crs is not None
    assert made.grid.crs.epsg == 32649
    with rasterio.open(tmp_path / "cube.tif") as file:
        found = file.read()
    rows, cols = np.mgrid[: made.grid.shape[0], : made.grid.shape[1]] + 0.5
    x, y = made.grid.affine.c + cols * 30, made.grid.affine.f - rows * 30
    seen = clean.product.acquisition
    ground = seen.landscape.ground(x, y)
    for k, bands in enumerate((slice(0, 150), slice(150, 330))):
        truth = np.moveaxis(seen.clean_radiance(ground, k).reshape(*x.shape, -1), 2, 0)
        inside = np.isfinite(found[bands]).all(axis=0)
        assert inside.sum() > 0.85 * SHAPE[0] * SHAPE[1]
        band = 70 if k == 0 else 75
        # The nearest pixel looks at a place up to half a cell away.
        both = np.corrcoef(found[bands][band][inside], truth[band][inside])[0, 1]
        moved = np.corrcoef(found[bands][band][:, 2:][inside[:, :-2]], truth[band][:, :-2][inside[:, :-2]])
        assert both > 0.85
        assert both > np.nan_to_num(moved[0, 1], nan=-1)


def test_an_archive_becomes_a_cube_that_opens_with_all_it_knows(real: Delivered, tmp_path: Path) -> None:
    out = tmp_path / "cube.tif"
    made = calibrate(real.path, out, dem=real.dem, destripe=True, splice=True)
    assert sorted(tmp_path.iterdir()) == [out]
    scene = geosoil.open_scene(out)
    bands = Bands.of(scene)
    np.testing.assert_allclose(bands.wavelength_nm, real.product.wavelength_nm, atol=2e-3)
    assert bands.fwhm_nm[200] == pytest.approx(8.546)
    assert bands.names[:2] == ("VN001", "VN002")
    assert scene.attrs["quantity"] == "reflectance"
    assert scene.attrs["units"] == "1"
    assert scene.attrs["sensor"] == "GF-5B AHSI"
    assert scene.attrs["acquired"].startswith("2022-10-08")
    assert scene.attrs["sun_zenith_deg"] == pytest.approx(38.0)
    assert made.bands.why[59] == "constant in this scene"
    assert 0.3 < float(scene.sel(band="SW080").mean()) / float(scene.sel(band="VN120").mean()) < 3
    with rasterio.open(out) as file:
        tags, each = file.tags(), [file.tags(index) for index in file.indexes]
        assert file.tags(160, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == f"{bands.wavelength_nm[159] / 1000:.6f}"
    assert "stripes taken off" in tags["history"]
    assert "VN scaled to SW" in tags["history"]
    assert "not of the ground" in tags["comment"]
    assert tags["product"] == real.product.stem
    assert tuple(one["bbl"] == "1" for one in each) == made.bands.good
    assert tuple(one.get("why", "") for one in each) == made.bands.why
    # The step of 4 % that was put in, over the usual noise.
    assert made.splice["quantiles"][1] == pytest.approx(1 / 1.04, abs=0.01)
    assert made.striping.keys() == {"VN", "SW"}
    assert "GF-5B" in made.describe()
    assert made.to_dict()["good_bands"] == sum(made.bands.good)


def test_whole_numbers_are_reflectance_times_10_000(real: Delivered, tmp_path: Path) -> None:
    calibrate(real.path, tmp_path / "f.tif", dem=real.dem)
    made = calibrate(real.path, tmp_path / "i.tif", dem=real.dem, dtype="int16", compress="zstd", drop_bad=True)
    exact = geosoil.open_scene(tmp_path / "f.tif").sel(band=list(made.bands.names)).values
    scene = geosoil.open_scene(tmp_path / "i.tif")
    assert made.dropped == 330 - len(made.bands)
    assert all(made.bands.good)
    assert scene.shape[0] == len(made.bands)
    np.testing.assert_array_equal(np.isnan(scene.values), np.isnan(exact))
    np.testing.assert_allclose(scene.values, exact, atol=5.1e-5)
    assert (tmp_path / "i.tif").stat().st_size < 0.6 * (tmp_path / "f.tif").stat().st_size


def test_flaash_gets_a_tenth_in_envi_and_comes_back_as_radiance(clean: Delivered, tmp_path: Path) -> None:
    calibrate(clean.path, tmp_path / "f.dat", export="flaash", dem=clean.dem)
    calibrate(clean.path, tmp_path / "r.tif", to="radiance", dem=clean.dem)
    header = (tmp_path / "f.hdr").read_text(encoding="utf-8").lower()
    assert "interleave = bil" in header
    assert "uw cm-2 sr-1 nm-1" in header
    assert "solar zenith = 38" in header
    back, made = geosoil.open_scene(tmp_path / "f.dat"), geosoil.open_scene(tmp_path / "r.tif")
    assert (np.diff(back.wavelength) > 0).all()
    kept = [not why.startswith("detectors overlap") for why in made["why"].values]
    assert 0 < len(kept) - sum(kept) < 20
    with rasterio.open(tmp_path / "f.dat") as one, rasterio.open(tmp_path / "r.tif") as other:
        stored, light = one.read(masked=True).filled(np.nan), other.read()[kept]
        assert one.transform == other.transform
    np.testing.assert_allclose(10 * stored, light, rtol=1e-5)
    assert back.attrs["quantity"] == "radiance"
    np.testing.assert_allclose(back.values, light, rtol=1e-5)


@pytest.mark.parametrize("to", ["reflectance-toa", "radiance"])
def test_geotiff_and_envi_tell_the_same_of_the_cube(clean: Delivered, tmp_path: Path, to: Any) -> None:
    calibrate(clean.path, tmp_path / "c.tif", to=to, ortho=False)
    calibrate(clean.path, tmp_path / "c.dat", to=to, ortho=False, export="envi")
    tiff, envi = (geosoil.open_scene(tmp_path / name, mapped=False) for name in ("c.tif", "c.dat"))
    assert tiff.attrs.get("level") == ("top of the atmosphere" if to == "reflectance-toa" else None)
    for name in ("level", "quantity", "units", "sensor", "sun_zenith_deg", "sun_azimuth_deg"):
        assert tiff.attrs.get(name) == envi.attrs.get(name), name
    # The one as the product has it, the other to the second and in UTC.
    moments = [datetime.fromisoformat(one.attrs["acquired"]).replace(microsecond=0) for one in (tiff, envi)]
    assert moments[0] == moments[1]
    assert Bands.of(tiff) == Bands.of(envi)
    text = describe(info(tmp_path / "c.dat"))
    assert ("values are reflectance at the top of the atmosphere" in text) == (to == "reflectance-toa")
    with rasterio.open(tmp_path / "c.dat") as file:  # GDAL reads past entries that it does not know
        assert file.shape == SHAPE


def test_destriping_brings_the_image_nearer_to_the_truth(tmp_path: Path) -> None:
    levels = Levels(noise=0.2, splice=0.0, striping=0.03)
    made = make_product(tmp_path, "ZY1E", (160, 48), levels=levels)
    seen = made.acquisition
    truth = np.moveaxis(seen.clean_radiance(seen.ground((0, 160), 1), 1).reshape(160, 48, -1), 2, 0)
    off = []
    for destripe in (False, True):
        out = tmp_path / f"{destripe}.tif"
        calibrate(made.path, out, to="radiance", ortho=False, destripe=destripe)
        with rasterio.open(out) as file:
            found = file.read()[76:]
        columns = (found - truth).mean(axis=1)
        columns -= np.apply_along_axis(
            np.convolve, 1, np.pad(columns, ((0, 0), (7, 7)), "reflect"), np.ones(15) / 15, "valid"
        )
        off.append(float(np.median(columns.std(axis=1) / truth.mean(axis=(1, 2)))))
    assert off[1] < 0.75 * off[0]


def test_pixels_without_data_stay_empty(real: Delivered, tmp_path: Path) -> None:
    calibrate(real.path, tmp_path / "cube.tif", ortho=False, destripe=True, splice=True)
    with rasterio.open(tmp_path / "cube.tif") as file:
        found = file.read()
    assert np.isnan(found[:, 20]).all()
    assert np.isfinite(np.delete(found[100], 20, axis=0)).all()


def test_the_same_bytes_whatever_the_memory(real: Delivered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name, memory in (("a", "740MB"), ("b", "4GB")):
        calibrate(real.path, tmp_path / f"{name}.tif", dem=real.dem, destripe=True, splice=True, max_memory=memory)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def copied(real: Delivered, folder: Path, **settings: Any) -> Path:
    return make_product(folder, "GF5B", (16, 16), levels=Levels.none(), **settings).path


def two_heights(real: Delivered, folder: Path) -> Path:
    (folder / "heights").mkdir()
    for name in ("a.tif", "b.tif"):
        (folder / "heights" / name).write_bytes(real.dem.read_bytes())
    return folder / "heights"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda d, t: calibrate(d.path, t / "o.tif", to="dn"), "GS-CALIBRATE-SETTINGS"),  # type: ignore[arg-type]
        (lambda d, t: calibrate(d.path, t / "o.tif", to="reflectance-toa", export="flaash"), "GS-CALIBRATE-SETTINGS"),
        (lambda d, t: calibrate(d.path, t / "o.tif", to="radiance", dtype="int16"), "GS-CALIBRATE-SETTINGS"),
        (lambda d, t: calibrate(d.path, t / "o.dat", export="envi", dtype="int16"), "GS-CALIBRATE-SETTINGS"),
        (lambda d, t: calibrate(d.path, t / "o.tif", ortho=False, dem=d.dem), "GS-CALIBRATE-SETTINGS"),
        (lambda d, t: calibrate(d.path, t / "o.tif", resampling="sinc"), "GS-CALIBRATE-SETTINGS"),
        (lambda d, t: calibrate(d.path, t / "o.tif", dtype="int8"), "GS-CUBE-SETTINGS"),
        (lambda d, t: calibrate(d.path, t / "o.tif", sun_zenith=88.0), "GS-SUN-ZENITH"),
        (lambda d, t: calibrate(d.path, t / "o.tif", join_nm=2000.0), "GS-JOIN"),
        (lambda d, t: calibrate(d.path, t / "o.tif", max_memory="200MB"), "GS-MEMORY"),
        (lambda d, t: calibrate(d.path, t / "none" / "o.tif"), "GS-NOT-WRITABLE"),
        (lambda d, t: calibrate(d.path, t / "o.tif", dem=t / "no.tif"), "GS-FILE-MISSING"),
        (lambda d, t: calibrate(d.path, t / "o.tif", dem=two_heights(d, t)), "GS-DEM-BANDS"),
        (lambda d, t: calibrate(d.path, t / "o.xyz"), "GS-SUFFIX"),
        (lambda d, t: calibrate(d.path, t / "o"), "GS-SUFFIX"),
        (lambda d, t: calibrate(d.path, t / "o.tif", export="envi"), "GS-SUFFIX"),
        (lambda d, t: calibrate(d.path, t / "o.tif", max_memory="much"), "GS-SIZE"),
        (lambda d, t: calibrate(copied(d, t, faults=["no-rpc"]), t / "o.tif"), "GS-RPC-MISSING"),
        (lambda d, t: calibrate(copied(d, t, faults=["no-xml"]), t / "o.tif"), "GS-SUN-ZENITH"),
        (lambda d, t: calibrate(copied(d, t, faults=["swapped"]), t / "o.tif"), "GS-PRODUCT-SWAPPED"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_and_leaves_nothing(
    clean: Delivered, tmp_path: Path, call: Callable[[Delivered, Path], object], code: str
) -> None:
    with pytest.raises(GeosoilError) as caught:
        call(clean, tmp_path)
    assert caught.value.code == code
    assert len(caught.value.message) < 100
    assert not list(tmp_path.glob("o.*"))
    assert not list(tmp_path.glob(".geosoil-*"))


def test_a_height_model_that_is_not_there_is_said_before_an_archive_is_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "product.tar"
    packed.write_bytes(b"no archive at all")
    with pytest.raises(InputError) as caught:
        calibrate(packed, tmp_path / "o.tif", dem=tmp_path / "nope.tif")
    assert caught.value.message == "the height model is missing: nope.tif does not exist"
    assert f"path: {tmp_path / 'nope.tif'}" in caught.value.details
    assert "without --dem" in caught.value.hint


@pytest.mark.parametrize("name", ["o.dat", "o.IMG", "o"])
def test_an_envi_file_may_have_its_usual_names(clean: Delivered, tmp_path: Path, name: str) -> None:
    calibrate(clean.path, tmp_path / name, ortho=False, export="envi")
    assert open_scene(tmp_path / name, mapped=False).sizes["band"] == 330


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", ["SolarZenith", "XML"]),
        ("<SolarZenith>38.0000<", "<SolarZenith>abc<", ["SolarZenith is 'abc'", ".xml"]),
        ("<SolarZenith>38.0000<", "<SolarZenith>999<", ["SolarZenith is '999'", ".xml"]),
        ("<SolarZenith>38.0000<", "<SolarZenith>nan<", ["SolarZenith is 'nan'", ".xml"]),
        ("<SolarZenith>38.0000<", "<SolarZenith>88<", ["given by SolarZenith in the product's XML"]),
    ],
)
def test_what_the_xml_says_of_the_sun_is_told(
    clean: Delivered, tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    path = copied(clean, tmp_path)
    xml = next(path.glob("*.xml"))
    text = xml.read_text(encoding="utf-8")
    assert old in text
    if old:
        xml.write_text(text.replace(old, new), encoding="utf-8")
    else:
        xml.unlink()
    with pytest.raises(InputError) as caught:
        calibrate(path, tmp_path / "o.tif", ortho=False)
    assert caught.value.code == "GS-SUN-ZENITH"
    assert all(one in " ".join(caught.value.details) for one in said), caught.value.details
    assert "--sun-zenith" in caught.value.hint


def test_without_rpc_the_image_can_stay_in_sensor_geometry(tmp_path: Path, clean: Delivered) -> None:
    path = copied(clean, tmp_path, faults=["no-rpc", "no-xml"])
    made = calibrate(path, tmp_path / "o.tif", ortho=False, sun_zenith=40.0)
    assert made.grid.crs is None
    assert "SZA 40 degrees" in made.history[-1]


def test_a_file_that_is_there_is_kept_unless_it_may_be_replaced(clean: Delivered, tmp_path: Path) -> None:
    (tmp_path / "o.tif").write_text("mine")
    with pytest.raises(GeosoilError) as caught:
        calibrate(clean.path, tmp_path / "o.tif", ortho=False)
    assert caught.value.code == "GS-OUTPUT-EXISTS"
    assert (tmp_path / "o.tif").read_text() == "mine"
    calibrate(clean.path, tmp_path / "o.tif", ortho=False, overwrite=True)
    assert geosoil_bands(tmp_path / "o.tif") == 330


def test_the_other_image_of_a_product_is_kept(tmp_path: Path) -> None:
    folder = make_product(tmp_path, "GF5B", SHAPE).path
    vn, sw = sorted(path for path in folder.rglob("*") if path.suffix in {".tif", ".geotiff", ".tiff"})
    before = sw.read_bytes()
    for product in (vn, folder):
        with pytest.raises(GeosoilError) as caught:
            calibrate(product, sw, ortho=False, overwrite=True)
        assert caught.value.code == "GS-OUTPUT-INPUT"
    assert sw.read_bytes() == before


def geosoil_bands(path: Path) -> int:
    with rasterio.open(path) as file:
        return int(file.count)


@pytest.mark.parametrize("at", ["measuring stripes", "calibrating", "writing", "reading back"])
def test_a_stop_at_any_step_leaves_nothing(clean: Delivered, tmp_path: Path, at: str) -> None:
    def progress(done: int, total: int, message: str) -> None:
        if message == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError) as caught:
        calibrate(clean.path, tmp_path / "o.tif", dem=clean.dem, destripe=True, progress=progress)
    assert caught.value.code == "GS-INTERRUPTED"
    assert not list(tmp_path.iterdir())


def test_the_command_prints_what_was_done(real: Delivered, tmp_path: Path) -> None:
    command = import_module("geosoil_cli.calibrate").command
    out = tmp_path / "cube.tif"
    ran = CliRunner().invoke(
        command, [str(real.path), str(out), "--dem", str(real.dem), "--destripe", "--drop-bad", "-q"]
    )
    assert ran.exit_code == 0, ran.output
    assert "reflectance (1)" in ran.stdout
    assert "stripes taken off" in ran.stdout
    assert "bands left out" in ran.stdout
    assert "note: reflectance at the top of the atmosphere, not of the ground" in ran.stdout
    found = CliRunner().invoke(
        command, [str(real.path), str(tmp_path / "r.tif"), "--no-ortho", "--to", "radiance", "--json"]
    )
    document = json.loads(found.stdout)
    assert document["schema"] == 1
    assert document["quantity"] == "radiance"
    assert (document["rows"], document["columns"]) == SHAPE


def test_the_package_gives_it_by_name() -> None:
    assert geosoil.calibrate is calibrate
