"""Maps of models of spectra: what is masked and why, the same bytes however they are made, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

import geosoil
from geosoil.bands import Bands
from geosoil.errors import InputError, ModelError, OutputError, UsageError
from geosoil.io.envi import write_envi
from geosoil.io.raster import open_scene
from geosoil.jobs.info import describe, info
from geosoil.jobs.invert import invert
from geosoil.models.bundle import Bundle
from geosoil.prep.masks import NAMES, NODATA, MaskRules
from geosoil.testing import make_cube, make_product, write_raster

from .mapping import make_model, make_stack
from .spectra import CODES, LAND, study_of

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
SHAPE, TILES = (200, 300), 6
STEMS = [f"{code}_0-20cm_mean" for code in CODES]


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH["SOURCE_DATE_EPOCH"])


def files(folder: Path) -> dict[str, bytes]:
    """All maps of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def read(path: Path) -> np.ndarray[Any, Any]:
    with rasterio.open(path) as file:
        found: np.ndarray[Any, Any] = file.read(1)
    return found


@pytest.fixture(scope="module")
def site(tailings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a cube of six tiles with a corner without data, and its maps from an undisturbed run."""
    folder = tmp_path_factory.mktemp("mapped")
    make_cube(folder / "cube.tif", SHAPE, landscape=LAND, family="ZY1E", block=64)
    with rasterio.open(folder / "cube.tif", "r+") as file:
        window = rasterio.windows.Window(0, 0, 20, 30)
        file.write(np.full((166, 30, 20), -9999, np.int16), window=window)
        # A band that the model takes and no mask does.
        file.write(np.full((5, 5), -9999, np.int16), 60, window=rasterio.windows.Window(100, 100, 5, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH["SOURCE_DATE_EPOCH"])
        invert(study_of(tailings), folder / "soil.gsm")
        geosoil.map(folder / "soil.gsm", folder / "cube.tif", folder / "whole", tile_size=256, num_workers=1)
    return folder


@pytest.fixture(scope="module")
def bundle(site: Path) -> Bundle:
    return geosoil.load_model(site / "soil.gsm")


@pytest.fixture(scope="module")
def cube(site: Path) -> xr.DataArray:
    return open_scene(site / "cube.tif").compute()


def flags_of(cube: xr.DataArray, rules: MaskRules) -> np.ndarray[Any, Any]:
    """The flags, computed directly."""
    plan = rules.on(Bands.of(cube))
    return plan.flags(np.ascontiguousarray(cube.values[list(plan.positions)]))


class TestMaps:
    """What the maps hold."""

    def test_a_map_for_each_property_the_flags_and_a_project(self, site: Path) -> None:
        names = {path.name for path in (site / "whole").iterdir()}
        beside = {f"{stem}{suffix}" for stem in STEMS for suffix in (".tif", ".qml", ".qmd", ".json")}
        # Those that are kept from replacing an input, see `MapRun.written`.
        assert names == beside | {"masked.tif", "masked.qml", "maps.qgz", "report.html", "run.json"}

    def test_cells_are_what_the_model_says_of_their_spectrum(
        self, site: Path, bundle: Bundle, cube: xr.DataArray
    ) -> None:
        rng = np.random.default_rng(0)
        rows, columns = rng.integers(0, SHAPE[0], 400), rng.integers(0, SHAPE[1], 400)
        raw = cube.sel(band=list(bundle.bands)).values[:, rows, columns].T[:, :, None, None]
        wanted = bundle.predict(np.ascontiguousarray(raw))
        left = flags_of(cube, _rules(bundle))[rows, columns] == 0
        assert 50 < left.sum() < 390
        for place, stem in enumerate(STEMS):
            values = read(site / "whole" / f"{stem}.tif")[rows, columns]
            assert values[left] == pytest.approx(wanted[left, place], rel=2e-4, nan_ok=True)
            assert np.isnan(values[~left]).all()

    def test_flags_name_the_reasons_that_the_masks_give(self, site: Path, bundle: Bundle, cube: xr.DataArray) -> None:
        wanted = flags_of(cube, _rules(bundle))
        with rasterio.open(site / "whole" / "masked.tif") as file:
            found, tags = file.read(1), file.tags()
            assert (file.dtypes[0], file.nodata) == ("uint16", NODATA)
        assert np.array_equal(found, wanted)
        assert (found[:30, :20] == NODATA).all()
        for bit, name in zip(tags["flag_masks"].split(), tags["flag_meanings"].split(), strict=True):
            assert NAMES[name.replace("_", " ")] == int(bit)
        assert "green_vegetation" in tags["flag_meanings"]
        assert (found & NAMES["green vegetation"]).any()
        assert (found & NAMES["water"]).any()

    def test_masked_cells_are_empty_and_no_others_but_those_without_data(self, site: Path) -> None:
        flags = read(site / "whole" / "masked.tif")
        lacking = np.zeros(SHAPE, bool)
        lacking[100:105, 100:105] = True
        for stem in STEMS:
            empty = np.isnan(read(site / "whole" / f"{stem}.tif"))
            assert np.array_equal(empty, (flags != 0) | lacking)

    def test_the_record_and_the_report_tell_the_masks(self, site: Path) -> None:
        record = json.loads((site / "whole" / "run.json").read_text(encoding="utf-8"))
        assert record["masks"]["rules"]["ndvi"] == 0.3
        flags = read(site / "whole" / "masked.tif")
        assert record["masked"]["left"] == pytest.approx((flags == 0).sum() / (flags != NODATA).sum())
        text = (site / "whole" / "report.html").read_text(encoding="utf-8")
        assert "green vegetation" in text
        assert text.count("Masked cells, by the first reason that takes them.") == 2  # a picture and its caption

    def test_info_tells_the_recipe_of_the_model_and_the_bits_of_the_masks(self, site: Path) -> None:
        text = describe(info(site / "soil.gsm"))
        assert "reads mixed spectra made by ds; preprocessing: " in text
        assert "selection of features: CARS, 1 path of 10 rounds; kept: as " in text
        assert "bands: 124 of 166 bands stay" in text
        (masks,) = [line for line in text.splitlines() if line.startswith("masks of bare soil: ")]
        assert "ndvi 0.3" in masks
        assert "16 green vegetation" in describe(info(site / "whole" / "masked.tif"))

    def test_a_lazy_prediction_is_the_files(self, site: Path) -> None:
        lazy = geosoil.predict(site / "soil.gsm", site / "cube.tif")
        assert lazy["target"].values.tolist() == STEMS
        assert lazy["unit"].values.tolist() == ["g/kg", "mg/kg", "mg/kg"]
        values = lazy.compute().values
        for place, stem in enumerate(STEMS):
            assert np.array_equal(values[place], read(site / "whole" / f"{stem}.tif"), equal_nan=True)


def _rules(bundle: Bundle) -> MaskRules:
    held = bundle.card.settings["masks"]
    return MaskRules(**{**held, "land_use": tuple(held["land_use"])})


class TestSameBytes:
    """Tiles, workers and stops leave no trace."""

    @pytest.mark.parametrize(("tile_size", "workers"), [(128, 1), (128, 2), (384, 2)])
    def test_tile_sizes_and_workers_give_the_same_bytes(
        self, tile_size: int, workers: int, site: Path, tmp_path: Path
    ) -> None:
        geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "maps", tile_size=tile_size, num_workers=workers)
        assert files(tmp_path / "maps") == files(site / "whole")

    @pytest.mark.timeout(180)
    def test_a_killed_run_goes_on_to_the_same_bytes(self, site: Path, tmp_path: Path) -> None:
        out = tmp_path / "maps"
        code = (
            "import sys, os, signal, geosoil\n"
            "def stop(done, total, message):\n"
            "    if (done, message) == (3, 'mapping'): os.kill(os.getpid(), signal.SIGKILL)\n"
            "geosoil.map(sys.argv[1], sys.argv[2], sys.argv[3], tile_size=128, num_workers=1, progress=stop)\n"
        )
        paths = [str(site / "soil.gsm"), str(site / "cube.tif"), str(out)]
        done = subprocess.run(
            [sys.executable, "-c", code, *paths], env={**os.environ, **EPOCH}, timeout=150, check=False
        )
        assert done.returncode == -signal.SIGKILL
        assert files(out) == {}
        told: list[tuple[int, int, str]] = []
        geosoil.map(*paths, resume=True, progress=lambda *step: told.append(step))
        assert told[0] == (3, TILES, "mapping")
        assert files(out) == files(site / "whole")

    def test_a_run_with_other_masks_is_not_gone_on_with(self, site: Path, tmp_path: Path) -> None:
        class Halt(Exception):  # noqa: N818
            pass

        def stop(done: int, total: int, message: str) -> None:
            if (done, message) == (2, "mapping"):
                raise Halt

        where: tuple[Any, ...] = (site / "soil.gsm", site / "cube.tif", tmp_path / "maps")
        with pytest.raises(Halt):
            geosoil.map(*where, tile_size=128, num_workers=1, progress=stop)
        with pytest.raises(OutputError) as caught:
            geosoil.map(*where, resume=True, masks={"ndvi": 0.2})
        assert caught.value.code == "GS-RESUME-KEY"


class TestFlagFile:
    """The file that says why goes with the maps."""

    def test_it_is_made_again_where_it_was_lost(self, site: Path, tmp_path: Path) -> None:
        where: tuple[Any, ...] = (site / "soil.gsm", site / "cube.tif", tmp_path / "maps")
        geosoil.map(*where)
        (tmp_path / "maps" / "masked.tif").unlink()
        for name in STEMS:
            (tmp_path / "maps" / f"{name}.tif").unlink()
        geosoil.map(*where, resume=True)
        assert files(tmp_path / "maps") == files(site / "whole")

    def test_it_does_not_outlive_the_maps_that_it_tells_of(self, site: Path, tmp_path: Path) -> None:
        where: tuple[Any, ...] = (site / "soil.gsm", site / "cube.tif", tmp_path / "maps")
        geosoil.map(*where)
        geosoil.map(*where, masks=None, overwrite=True)
        assert [path.name for path in (tmp_path / "maps").glob("masked*")] == []

    def test_it_is_not_written_over_unasked(self, site: Path, tmp_path: Path) -> None:
        (tmp_path / "maps").mkdir()
        (tmp_path / "maps" / "masked.tif").write_bytes(b"mine")
        with pytest.raises(OutputError) as caught:
            geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "maps")
        assert caught.value.code == "GS-OUTPUT-EXISTS"
        assert (tmp_path / "maps" / "masked.tif").read_bytes() == b"mine"


class TestMasks:
    """Masks as the user says them."""

    def test_without_masks_every_cell_with_data_is_mapped(self, site: Path, tmp_path: Path) -> None:
        geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "maps", masks=None)
        assert not (tmp_path / "maps" / "masked.tif").exists()
        values, masked = (read(folder / f"{STEMS[0]}.tif") for folder in (tmp_path / "maps", site / "whole"))
        assert np.isnan(values).sum() == 30 * 20 + 25
        there = np.isfinite(masked)
        # Other cells go through together where none are masked, which rounds in another order.
        np.testing.assert_allclose(values[there], masked[there], rtol=1e-5)

    def test_a_changed_rule_leaves_the_others_as_they_were_trained(
        self, site: Path, bundle: Bundle, cube: xr.DataArray, tmp_path: Path
    ) -> None:
        geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "maps", masks={"ndvi": 0.2, "shadow": None})
        found = read(tmp_path / "maps" / "masked.tif")
        assert np.array_equal(found, flags_of(cube, replace(_rules(bundle), ndvi=0.2, shadow=None)))
        assert not np.array_equal(found, read(site / "whole" / "masked.tif"))

    def test_rules_of_one_s_own_take_the_place_of_all(self, site: Path, cube: xr.DataArray, tmp_path: Path) -> None:
        rules = MaskRules(ndvi=0.1).without("water", "shadow", "cloud", "thin cloud")
        geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "maps", masks=rules)
        assert np.array_equal(read(tmp_path / "maps" / "masked.tif"), flags_of(cube, rules))

    def test_a_model_trained_without_masks_maps_without(self, bundle: Bundle, site: Path) -> None:
        settings = {name: value for name, value in bundle.card.settings.items() if name != "masks"}
        bare = replace(bundle, card=bundle.card.model_copy(update={"settings": settings}))
        found = geosoil.predict(bare, site / "cube.tif").isel(target=0).compute()
        assert int(found.isnull().sum()) == 30 * 20 + 25

    def test_damaged_masks_of_a_model_are_refused(self, bundle: Bundle, site: Path) -> None:
        for held in ({"ndvii": 1}, {"ndvi": 7}, {"ndvi": "x"}, [1], {"land_use": 3}):
            settings = {**bundle.card.settings, "masks": held}
            bad = replace(bundle, card=bundle.card.model_copy(update={"settings": settings}))
            with pytest.raises(ModelError) as caught:
                geosoil.predict(bad, site / "cube.tif")
            assert caught.value.code == "GS-MODEL-DAMAGED"


class TestLandUse:
    """A raster with codes of the land use."""

    @pytest.fixture
    def use(self, tmp_path: Path) -> Path:
        """Cells of 90 m, 1 in the west and 5 in the east; none in the south."""
        codes = np.ones((60, 100), np.uint8)
        codes[:, 50:] = 5
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 60, "width": 100, "nodata": 0}
        with rasterio.open(
            tmp_path / "use.tif", "w", crs=LAND.crs, transform=from_origin(LAND.left, LAND.top, 90, 90), **profile
        ) as file:
            file.write(codes, 1)
        return tmp_path / "use.tif"

    def test_codes_are_left_out_beside_the_masks(self, site: Path, use: Path, tmp_path: Path) -> None:
        geosoil.map(
            site / "soil.gsm",
            site / "cube.tif",
            tmp_path / "maps",
            masks={"land_use": (5,)},
            land_use=use,
            tile_size=128,
        )
        found, before = read(tmp_path / "maps" / "masked.tif"), read(site / "whole" / "masked.tif")
        wanted = before.copy()
        wanted[:180, 150:] |= NAMES["land use"]
        wanted[before == NODATA] = NODATA
        assert np.array_equal(found, wanted)
        values = read(tmp_path / "maps" / f"{STEMS[1]}.tif")
        assert np.isnan(values[:180, 150:]).all()
        assert np.isfinite(values[180:, 150:]).any()

    def test_a_code_that_no_cell_has_is_told(
        self, site: Path, use: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "m", masks={"land_use": (99,)}, land_use=use)
        assert "no cell has the land use 99" in caplog.text

    def test_a_model_of_covariates_is_masked_by_land_use_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_stack(tmp_path / "scene.tif", (150, 140), missing=0.0)
        with rasterio.open(tmp_path / "scene.tif") as file:
            crs, transform = file.crs, file.transform
        codes = np.zeros((150, 140), np.int16)
        codes[40:90, 30:60] = 2
        profile = {"driver": "GTiff", "count": 1, "dtype": "int16", "height": 150, "width": 140}
        with rasterio.open(tmp_path / "use.tif", "w", crs=crs, transform=transform, **profile) as file:
            file.write(codes, 1)
        model = make_model(patch=3)
        geosoil.map(
            model, tmp_path / "scene.tif", tmp_path / "maps", masks={"land_use": (2,)}, land_use=tmp_path / "use.tif"
        )
        flags = read(tmp_path / "maps" / "masked.tif")
        assert np.array_equal(flags, np.where(codes == 2, NAMES["land use"], 0))
        assert np.array_equal(np.isnan(read(tmp_path / "maps" / "soc_0-5cm_mean.tif")), codes == 2)
        assert "land use" not in caplog.text

    def test_codes_without_a_raster_and_a_raster_without_codes_are_refused(self, site: Path, use: Path) -> None:
        for settings in ({"masks": {"land_use": (5,)}}, {"land_use": use}, {"masks": None, "land_use": use}):
            with pytest.raises(UsageError) as caught:
                geosoil.predict(site / "soil.gsm", site / "cube.tif", **settings)
            assert caught.value.code == "GS-MASK-LANDUSE"

    def test_a_raster_of_heights_is_refused(self, site: Path, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "dem.tif", np.full((300, 300), 212.25, np.float32))
        with pytest.raises(InputError) as caught:
            geosoil.predict(site / "soil.gsm", site / "cube.tif", masks={"land_use": (5,)}, land_use=path)
        assert caught.value.code == "GS-MASK-LANDUSE"
        assert caught.value.details[0] == f"file: {path}"
        assert caught.value.details[1] == "found: 212.25; expected: whole numbers"

    def test_a_raster_of_another_place_is_refused_and_one_of_a_part_is_warned_of(
        self, site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        codes = np.zeros((60, 60), np.int16)
        with rasterio.open(site / "cube.tif") as file:
            crs, transform = file.crs, file.transform
        far = write_raster(tmp_path / "far.tif", codes, crs="EPSG:32633")
        with pytest.raises(InputError, match="lies outside the scene") as caught:
            geosoil.predict(site / "soil.gsm", site / "cube.tif", masks={"land_use": (5,)}, land_use=far)
        assert caught.value.code == "GS-MASK-LANDUSE"
        part = write_raster(tmp_path / "part.tif", codes, crs=crs, transform=transform)
        geosoil.predict(site / "soil.gsm", site / "cube.tif", masks={"land_use": (5,)}, land_use=part)
        assert "part.tif covers a part of the scene" in caplog.text

    def test_a_raster_of_several_bands_is_refused(self, site: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            geosoil.predict(site / "soil.gsm", site / "cube.tif", masks={"land_use": (5,)}, land_use=site / "cube.tif")
        assert caught.value.code == "GS-MASK-LANDUSE"


class TestRefused:
    """Cubes that are not what the model was trained on."""

    @pytest.mark.parametrize("quantity", ["radiance", "dn"])
    def test_what_is_no_reflectance(self, quantity: str, bundle: Bundle, cube: xr.DataArray) -> None:
        with pytest.raises(InputError) as caught:
            geosoil.predict(bundle, cube.assign_attrs(quantity=quantity))
        assert (caught.value.code, caught.value.exit_code) == ("GS-QUANTITY", 3)
        assert f"the scene holds {quantity}" in str(caught.value)
        assert "calibrate" in caught.value.hint
        assert "--scale 100 " in caught.value.hint

    def test_a_bad_band_is_taken_where_no_good_one_is_near(
        self, bundle: Bundle, cube: xr.DataArray, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not a good one a few nanometres beyond the tolerance."""
        wanted = bundle.card.wavelength_nm[5]
        place = int(np.abs(cube["wavelength"].values - wanted).argmin())
        good = np.ones(cube.sizes["band"], bool)
        good[place] = False
        marked = cube.assign_coords(good=("band", good))
        np.testing.assert_array_equal(geosoil.predict(bundle, marked).values, geosoil.predict(bundle, cube).values)
        assert "marked bad in the scene" in caplog.text

    def test_wavelengths_that_are_not_there(self, bundle: Bundle, cube: xr.DataArray) -> None:
        with pytest.raises(ModelError) as caught:
            geosoil.predict(bundle, cube.isel(band=slice(0, 100)))
        assert caught.value.code == "GS-WAVELENGTHS-MISSING"
        assert caught.value.exit_code == 5

    def test_a_scene_without_wavelengths(
        self, bundle: Bundle, cube: xr.DataArray, caplog: pytest.LogCaptureFixture
    ) -> None:
        names = [name for name in ("wavelength", "fwhm", "good", "why") if name in cube.coords]
        with pytest.raises(ModelError) as caught:
            geosoil.predict(bundle, cube.drop_vars(names))
        assert caught.value.code == "GS-WAVELENGTHS-NONE"
        assert "--wavelengths TABLE" in caught.value.hint
        # Nothing else is said of it before.
        assert not caplog.text

    def test_a_bad_band_that_the_model_takes_is_said(
        self, bundle: Bundle, cube: xr.DataArray, caplog: pytest.LogCaptureFixture
    ) -> None:
        good = cube["good"].values.copy()
        good[list(cube["band"].values).index(bundle.bands[30])] = False
        geosoil.predict(bundle, cube.assign_coords(good=("band", good)))
        assert f"takes bands that are marked bad in the scene: {bundle.bands[30]}" in caplog.text

    def test_reflectance_of_another_level_is_said(
        self, bundle: Bundle, cube: xr.DataArray, caplog: pytest.LogCaptureFixture
    ) -> None:
        geosoil.predict(bundle, cube.assign_attrs(level="top of the atmosphere"))
        assert "its maps cannot be trusted" in caplog.text
        assert "correct the scene's atmosphere first" in caplog.text
        caplog.clear()
        # A model of such reflectance fits it, and no other.
        high = replace(bundle, card=bundle.card.model_copy(update={"level": "top of the atmosphere"}))
        geosoil.predict(high, cube.assign_attrs(level="top of the atmosphere"))
        assert "cannot be trusted" not in caplog.text
        geosoil.predict(high, cube)
        assert "trained on reflectance at the top of the atmosphere" in caplog.text
        assert "takes reflectance at the top of the atmosphere of" in describe(info(high))

    def test_a_model_of_the_laboratory_alone_is_said(
        self, bundle: Bundle, cube: xr.DataArray, caplog: pytest.LogCaptureFixture
    ) -> None:
        geosoil.predict(bundle, cube)
        assert "in a laboratory" not in caplog.text
        recipe = {**bundle.card.settings["recipe"], "spectra": "laboratory"}
        settings = {**bundle.card.settings, "recipe": recipe}
        geosoil.predict(replace(bundle, card=bundle.card.model_copy(update={"settings": settings})), cube)
        assert "its scores do not hold for the maps" in caplog.text

    def test_a_cube_in_sensor_geometry(self, site: Path, tmp_path: Path) -> None:
        product = make_product(tmp_path, family="ZY1E", shape=(64, 64), landscape=LAND)
        with pytest.raises(InputError) as caught:
            geosoil.map(site / "soil.gsm", product.path, tmp_path / "maps")
        assert caught.value.exit_code == 3
        assert caught.value.hint
        assert not (tmp_path / "maps").exists()

    def test_a_calibrated_cube_that_was_left_in_sensor_geometry(self, site: Path, tmp_path: Path) -> None:
        product = make_product(tmp_path, family="ZY1E", shape=(64, 64), landscape=LAND)
        write_envi(tmp_path / "sensor.dat", open_scene(product.path, mapped=False))
        with pytest.raises(InputError) as caught:
            geosoil.map(site / "soil.gsm", tmp_path / "sensor.dat", tmp_path / "maps")
        assert caught.value.code == "GS-GRID-MISSING"
        assert "without --no-ortho" in caught.value.hint

    def test_bands_in_another_order_and_under_other_names_are_found_by_wavelength(
        self, site: Path, bundle: Bundle, cube: xr.DataArray
    ) -> None:
        turned = cube.isel(band=slice(None, None, -1))
        turned = turned.assign_coords(band=[f"channel {number}" for number in range(166)])
        found = geosoil.predict(bundle, turned).isel(target=0).compute().values
        assert np.array_equal(found, read(site / "whole" / f"{STEMS[0]}.tif"), equal_nan=True)


def test_maps_that_the_masks_leave_empty_say_so(site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = geosoil.map(site / "soil.gsm", site / "cube.tif", tmp_path / "maps", masks={"ndvi": -1.0}, num_workers=1)
    assert not any(one.valid for one in made.statistics)
    cells = SHAPE[0] * SHAPE[1] - 30 * 20
    assert f"the maps are empty: all {cells:,} cells with data are masked: green vegetation 9" in caplog.text
    assert "no cell of the scene has data" not in caplog.text


def test_maps_of_a_cube_without_data_say_that_instead(
    site: Path, cube: xr.DataArray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = (cube * np.float32("nan")).assign_attrs(cube.attrs)
    geosoil.map(site / "soil.gsm", empty, tmp_path / "maps", num_workers=1)
    assert "the maps are empty: no cell of the scene has data in all bands that the models take" in caplog.text
    assert "are masked" not in caplog.text


def test_what_is_guessed_of_a_cube_is_said_when_it_is_mapped(
    bundle: Bundle, cube: xr.DataArray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_envi(tmp_path / "told.dat", cube.isel(y=slice(40, 90)), dtype="int16")
    geosoil.predict(bundle, path)
    assert "no scale" not in caplog.text
    geosoil.predict(bundle, path, scale=9000)
    assert "the file states that reflectance = stored number / 10000" in caplog.text
    lines = path.with_suffix(".hdr").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("reflectance")]
    bare = tmp_path / "bare.dat"
    bare.write_bytes(path.read_bytes())
    bare.with_suffix(".hdr").write_text("\n".join(kept) + "\n")
    geosoil.predict(bundle, bare)
    warned = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len([one for one in warned if one.startswith("no scale is stated: taken as reflectance x 10000")]) == 1


def test_a_mask_that_cannot_be_computed_is_said(
    bundle: Bundle, cube: xr.DataArray, caplog: pytest.LogCaptureFixture
) -> None:
    own = cube.sel(band=list(bundle.bands))
    found = geosoil.predict(bundle, own, masks={"cirrus": 0.04})
    assert found.sizes["target"] == 3
    assert "cannot mask thin cloud (cirrus): no good band within 15 nm of" in caplog.text
