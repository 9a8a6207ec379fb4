"""`geosoil invert`, `compare`, `map` and `info` on a study of spectra, as a user types them."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

import geosoil
from geosoil.sun import solar_irradiance

from ..jobs.spectra import make_site  # noqa: TID252  (tests are no package that is installed)
from .conftest import Command, contents

MAPS = [f"{code}_0-20cm_mean.tif" for code in ("som", "as", "cu")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of spectra and its model; not to be written to."""
    folder = make_site(tmp_path_factory.mktemp("spectra"))
    geosoil.invert(folder / "study.toml", folder / "soil.gsm", predictions=folder / "soil.gpkg")
    return folder


@pytest.fixture
def farm(site: Path, tmp_path: Path) -> Path:
    """The site, to be written to; the folder that `typed` runs in."""
    folder = tmp_path / "farm"
    shutil.copytree(site, folder)
    return folder


def change(farm: Path, old: str, new: str) -> None:
    path = farm / "study.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_invert_trains_and_tells(typed: Command, farm: Path) -> None:
    ran = typed("invert", "study.toml", "-o", "new.gsm", "--report", "new.html", "--predictions", "new.gpkg", "-j", 1)
    assert ran.code == 0, ran.err
    for words in ("plsr on mixed spectra", "60 samples", "of 166 bands stay", "random 3-fold", "written: new.gsm"):
        assert words in ran.out
    assert "cross-validation: 100 %" in ran.err
    assert (farm / "new.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(gpd.read_file(farm / "new.gpkg")) == 180
    assert geosoil.load_model(farm / "new.gsm").card.counts["profiles"] == 60
    again = typed("invert", "study.toml", "-o", "new.gsm", "-q")
    assert (again.code, again.out) == (4, "")
    assert "[GS-OUTPUT-EXISTS]" in again.err


def test_flags_win_over_the_study(typed: Command) -> None:
    ran = typed(
        "invert", "study.toml", "--dry-run", "--json", "--property", "cu", "--spectra", "satellite", "--head", "svr",
        "--fusion", "pds", "--seed", 7,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    study = ran.json["study"]
    assert study["invert"]["properties"] == ["cu"]
    assert (study["invert"]["spectra"], study["invert"]["head"]) == ("satellite", "svr")
    assert (study["fusion"]["kind"], study["seed"]) == ("pds", 7)
    assert ran.json["schema"] == 1


def test_invert_as_json_is_one_document(typed: Command, farm: Path) -> None:
    ran = typed("invert", "study.toml", "a.gsm", "--spectra", "satellite", "--property", "som", "-j", 1, "--json", "-q")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert ran.json["card"]["properties"][0]["code"] == "som"
    assert (farm / "a.gsm").exists()


def test_map_masks_and_shows_the_samples(typed: Command, farm: Path) -> None:
    ran = typed("map", "soil.gsm", "cube.tif", "maps", "--samples", "soil.gpkg", "--json", "-q", "-j", 1)
    assert ran.code == 0, ran.err
    assert [Path(one["path"]).name for one in ran.json["maps"]] == MAPS
    assert (farm / "maps" / "masked.tif").exists()
    assert (farm / "maps" / "samples.gpkg").exists()
    assert ran.json["record"]["masks"]["rules"]["ndvi"] == 0.3
    told = typed("map", "soil.gsm", "cube.tif", "more", "-j", 1)
    assert "writing maps: 100 %" in told.err
    assert 0 < ran.json["maps"][0]["valid_cells"] < 64 * 64
    again = typed("map", "soil.gsm", "cube.tif", "maps", "-q")
    assert (again.code, again.out) == (4, "")


def test_masks_can_be_changed_and_left_out(typed: Command, farm: Path) -> None:
    def valid(out: str, *more: object) -> int:
        ran = typed("map", "soil.gsm", "cube.tif", out, "--json", "-q", "-j", 1, *more)
        assert ran.code == 0, ran.err
        return int(ran.json["maps"][0]["valid_cells"])

    trained, strict, bare = valid("a"), valid("b", "--mask", "ndvi=0.2"), valid("c", "--no-masks")
    assert strict < trained < bare
    assert not (farm / "c" / "masked.tif").exists()
    with rasterio.open(farm / "cube.tif") as cube:
        profile = {**cube.profile, "count": 1, "dtype": "uint8", "nodata": None}
    with rasterio.open(farm / "use.tif", "w", **profile) as file:
        file.write(np.repeat(np.array([1, 4], np.uint8), 32 * 64).reshape(64, 64), 1)
    assert valid("d", "--land-use", "use.tif", "--leave-out", "4") < trained
    with rasterio.open(farm / "d" / MAPS[0]) as file:
        assert np.isnan(file.read(1)[32:]).all()


def test_a_land_use_raster_without_a_crs_is_not_helped_by_the_option_for_the_scene(typed: Command, farm: Path) -> None:
    with rasterio.open(farm / "cube.tif") as cube:
        profile = {**cube.profile, "count": 1, "dtype": "uint8", "nodata": None, "crs": None}
    with rasterio.open(farm / "use.tif", "w", **profile) as file:
        file.write(np.ones((1, 64, 64), np.uint8))
    ran = typed("map", "soil.gsm", "cube.tif", "d", "--land-use", "use.tif", "--leave-out", "4", "-q")
    assert ran.code == 3
    assert "use.tif has no coordinate reference system [GS-CRS-MISSING]" in ran.err
    assert "write it into the file, as with gdal_edit.py -a_srs" in ran.err
    assert "for the scene itself, not for a land-use or other raster beside it" in ran.err


def test_generated_spectra_are_written_as_a_cube(typed: Command, farm: Path) -> None:
    ran = typed("map", "soil.gsm", "cube.tif", "maps", "--spectra", "lab.tif", "-q", "--json", "-j", 1)
    assert ran.code == 0, ran.err
    assert ran.json["spectra"] == "lab.tif"
    scene = geosoil.open_scene(farm / "lab.tif")
    assert "wavelength" in scene.coords
    refused = typed("map", "soil.gsm", "cube.tif", "other", "--spectra", "lab.tif", "-q")
    assert refused.code == 4
    assert not (farm / "other").exists()


def test_a_plan_tells_what_would_be_made_and_writes_nothing(typed: Command, farm: Path) -> None:
    before = contents(farm)
    ran = typed("map", "soil.gsm", "cube.tif", "maps", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["plan"]["outputs"]) == 3
    assert contents(farm) == before


@pytest.mark.parametrize("target", ["cube.tif", "soil.gsm", "soil.gpkg"])
def test_what_a_run_reads_is_not_replaced(typed: Command, farm: Path, target: str) -> None:
    before = contents(farm)
    words = ("soil.gsm", "cube.tif", "maps", "--samples", "soil.gpkg", "--spectra", target, "--overwrite", "-q")
    ran = typed("map", *words)
    assert ran.code != 0
    assert "[GS-OUTPUT-INPUT]" in ran.err
    assert contents(farm) == before
    read = typed("predict", "soil.gsm", "lab/spectra.csv", "lab/spectra.csv", "--overwrite")
    assert (read.code, "[GS-OUTPUT-INPUT]" in read.err) == (4, True)
    assert contents(farm) == before


def test_generated_spectra_are_a_tiff(typed: Command, farm: Path) -> None:
    ran = typed("map", "soil.gsm", "cube.tif", "maps", "--spectra", "lab.png", "-q")
    assert (ran.code, "[GS-SUFFIX]" in ran.err) == (2, True)
    assert not (farm / "maps").exists()


def test_a_log_goes_to_no_file_of_data(typed: Command, farm: Path) -> None:
    before = contents(farm)
    ran = typed("invert", "study.toml", "-o", "new.gsm", "--dry-run", "--log-file", "lab/spectra.csv")
    assert (ran.code, ran.out) == (2, "")
    assert "lab/spectra.csv is there and is no log" in ran.err
    assert contents(farm) == before


def test_info_on_a_model_of_spectra(typed: Command) -> None:
    told = typed("info", "soil.gsm")
    assert told.code == 0, told.err
    for words in ("plsr model", "soil organic matter", "arsenic", "copper", "0-20 cm"):
        assert words in told.out.lower()
    found = typed("info", "soil.gsm", "--json").json
    assert found["kind"] == "model"
    assert [one["code"] for one in found["properties"]] == ["som", "as", "cu"]
    assert found["settings"]["invert"]["spectra"] == "mixed"


def test_compare_runs_on_the_property_that_is_asked_for(typed: Command, farm: Path) -> None:
    change(farm, 'spectra = ["laboratory", "satellite", "mixed"]', 'spectra = ["satellite"]')
    ran = typed("compare", "study.toml", "out", "--property", "cu", "--repeats", 1, "-j", 1, "--json", "-q")
    assert ran.code == 0, ran.err
    assert {one["property"] for one in ran.json["scores"]} == {"cu"}
    assert set(pd.read_csv(farm / "out" / "predictions.csv")["property"]) == {"cu"}
    again = typed("compare", "study.toml", "out", "-q")
    assert (again.code, again.out) == (4, "")
    kept = typed(
        "compare", "study.toml", "out", "--property", "cu", "--repeats", 1, "-j", 1, "--json", "-q", "--resume"
    )
    assert kept.json["scores"] == ran.json["scores"]


@pytest.mark.parametrize(
    ("args", "exit", "words"),
    [
        (("invert", "study.toml"), 2, "-o MODEL.gsm"),
        (("invert", "absent.toml", "-o", "x.gsm"), 3, "GS-FILE-MISSING"),
        (("invert", "study.toml", "-o", "x.tif"), 2, "GS-SUFFIX"),
        (("invert", "study.toml", "-o", "no/x.gsm"), 4, "x.gsm"),
        (("invert", "study.toml", "-o", "x.gsm", "--fusion", "vea"), 2, "did you mean 'vae'?"),
        (("invert", "study.toml", "-o", "x.gsm", "--head", "svm"), 2, "svm"),
        (("invert", "study.toml", "-o", "x.gsm", "--property", "gold"), 2, "gold"),
        (("map", "soil.gsm", "cube.tif", "x", "--mask", "ndvii=0.2"), 2, "did you mean 'ndvi'?"),
        (("map", "soil.gsm", "cube.tif", "x", "--mask", "ndvi=high"), 2, "GS-MASK-RULE"),
        (("map", "soil.gsm", "cube.tif", "x", "--mask", "ndvi=25"), 2, "GS-MASK-RULE"),
        (("map", "soil.gsm", "cube.tif", "x", "--leave-out", "4"), 2, "--land-use"),
        (("map", "soil.gsm", "cube.tif", "x", "--land-use", "cube.tif"), 2, "--leave-out"),
        (("map", "soil.gsm", "cube.tif", "x", "--leave-out", "a,b"), 2, "GS-MASK-RULE"),
        (("map", "soil.gsm", "cube.tif", "x", "--no-masks", "--mask", "ndvi=0.2"), 2, "--no-masks"),
        (("map", "soil.gsm", "dn.tif", "x"), 3, "GS-QUANTITY"),
        (("map", "soil.gsm", "sunlit.tif", "x"), 3, "as in sunlight"),
        (("map", "soil.gsm", "unitless.tif", "x"), 3, "--wavelengths nm"),
        (("info", "unitless.tif"), 3, "--wavelengths nm"),
        (("map", "soil.gsm", "bare.tif", "x"), 5, "GS-WAVELENGTHS-NONE"),
        (("map", "soil.gsm", "few.tif", "x"), 5, "GS-WAVELENGTHS-MISSING"),
        (("map", "torn.gsm", "cube.tif", "x"), 5, "GS-MODEL-DAMAGED"),
    ],
)
def test_what_is_wrong_is_one_error_with_its_exit_code(
    args: tuple[str, ...], exit: int, words: str, typed: Command, farm: Path
) -> None:
    _lies(farm)
    before = contents(farm)
    ran = typed(*args)
    assert ran.code == exit, ran
    assert ran.out == ""
    assert words in ran.err
    assert ran.err.count("error:") + ran.err.count("Error:") == 1
    assert "cannot mask" not in ran.err
    assert "Traceback" not in ran.err
    assert contents(farm) == before


def test_a_unit_that_is_said_is_as_good_as_one_in_the_file(typed: Command, farm: Path) -> None:
    _lies(farm)
    assert typed("map", "soil.gsm", "unitless.tif", "said", "--wavelengths", "nm").code == 0
    assert typed("map", "soil.gsm", "cube.tif", "told").code == 0
    for one in (farm / "told").glob("som*.tif"):
        with rasterio.open(one) as told, rasterio.open(farm / "said" / one.name) as said:
            np.testing.assert_array_equal(told.read(), said.read())


def _lies(farm: Path) -> None:
    """Cubes that are not what the model was trained on, and a torn model."""
    with rasterio.open(farm / "cube.tif") as cube:
        values, profile = cube.read(), cube.profile
        tags = [cube.tags(band) for band in cube.indexes]
    nm = [float(one["wavelength"]) for one in tags]
    light = (solar_irradiance(nm, [10.0] * len(nm)) / 2000).reshape(-1, 1, 1)
    scaled, unit = {"reflectance_scale_factor": 10_000}, {"wavelength_units": "nm"}
    for name, bands, said in (
        ("dn.tif", 166, {"quantity": "radiance", **unit}),
        ("sunlit.tif", 166, {**scaled, **unit}),
        ("unitless.tif", 166, scaled),
        ("few.tif", 90, {**scaled, **unit}),
        ("bare.tif", 166, None),
    ):
        with rasterio.open(farm / name, "w", **{**profile, "count": bands}) as file:
            file.write((values * light if name == "sunlit.tif" else values[:bands]).astype(values.dtype))
            if said is None:
                continue
            file.update_tags(**said)
            for band in range(1, bands + 1):
                file.update_tags(band, **tags[band - 1])
    content = bytearray((farm / "soil.gsm").read_bytes())
    content[len(content) // 2] ^= 16
    (farm / "torn.gsm").write_bytes(content)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "ds"', 'kind = "dss"', "fusion.kind: 'dss' is not known; did you mean 'ds'?"),
        ("cars_runs", "car_runs", "invert.car_runs: not a known key; did you mean 'cars_runs'?"),
        ("[spectra]\n", "[spectre]\n", "spectre: not a known key; did you mean 'spectra'?"),
        ("[spectra]\n", "[masks.rules]\nndvii = 0.2\n[spectra]\n", "'ndvii' is not known; did you mean 'ndvi'?"),
        ('properties = ["som"', 'properties = ["gold"', "property 'gold' is not declared"),
        ("cars_repeats = 1", 'cars_repeats = 1\nsteps = ["snvv"]', "'snvv' is not known"),
        ("folds = 3\n[compare]", "folds = 1\n[compare]", "validation.folds"),
    ],
)
def test_wrong_settings_in_the_study_are_named_with_the_nearest_key(
    old: str, new: str, words: str, typed: Command, farm: Path
) -> None:
    change(farm, old, new)
    before = contents(farm)
    for args in (("invert", "study.toml", "-o", "x.gsm"), ("compare", "study.toml", "out")):
        ran = typed(*args)
        assert (ran.code, ran.out) == (2, ""), ran
        assert words in ran.err
        assert "[GS-STUDY]" in ran.err
        assert "Traceback" not in ran.err
    assert contents(farm) == before


def test_a_missing_laboratory_table_is_an_input_error(typed: Command, farm: Path) -> None:
    (farm / "lab" / "spectra.csv").unlink()
    ran = typed("invert", "study.toml", "-o", "x.gsm", "-q", "-j", 1)
    assert (ran.code, ran.out) == (3, "")
    assert "spectra.csv" in ran.err
    assert not (farm / "x.gsm").exists()


@pytest.mark.timeout(120)
def test_the_installed_command_inverts_a_study(geosoil: Command, farm: Path) -> None:
    shown = geosoil("invert", "--help")
    assert "Example:" in shown.out
    ran = geosoil(
        "invert", "study.toml", "x.gsm", "--spectra", "satellite", "--property", "som", "-j", 1, "-q", cwd=farm
    )
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert (farm / "x.gsm").exists()
