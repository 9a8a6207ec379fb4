"""What `geosoil info` tells of each kind of file, and of the objects that geosoil makes of them."""

from __future__ import annotations

import json
import os
import re
import tarfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import rasterio

import geosoil
from geosoil.bands import Bands
from geosoil.config import load_study
from geosoil.errors import InputError, OutputError, UsageError
from geosoil.io.envi import write_envi
from geosoil.jobs.calibrate import calibrate
from geosoil.jobs.cubes import shown_bands
from geosoil.jobs.info import describe, info
from geosoil.jobs.train import train
from geosoil.testing import make_product, make_scene, write_raster

if TYPE_CHECKING:
    from ..conftest import Command  # noqa: TID252  (tests are no package that is installed)


def write_cube(folder: Path, *, mapped: bool = True) -> Path:
    """An ENVI cube of two detectors that overlap, brighter to the right; lines 0-1 negative, 2-3 above 1, 4-5 empty."""
    stored = np.broadcast_to(np.linspace(500, 4000, 20), (20, 20, 20)).astype("<i2").copy()
    stored[:, 0:2], stored[:, 2:4], stored[:, 4:6] = -100, 12_000, -9999
    waves = [450.0 + 50 * place for place in range(12)] + [950.0 + 50 * place for place in range(8)]

    def listed(values: Iterable[object]) -> str:
        return "{" + ", ".join(str(one) for one in values) + "}"

    lines = [
        "ENVI", "samples = 20", "lines = 20", "bands = 20", "data type = 2", "interleave = bsq", "byte order = 0",
        "sensor type = HyMap", "acquisition time = 2022-07-24T10:45:26Z", "data ignore value = -9999",
        "reflectance scale factor = 10000", "wavelength units = Nanometers", f"wavelength = {listed(waves)}",
        f"fwhm = {listed([8.5] * 20)}", f"bbl = {listed([0] + [1] * 18 + [0])}",
        *(["map info = {UTM, 1, 1, 740000, 6680000, 30, 30, 55, South, WGS-84}"] if mapped else []),
        f"band names = {listed(f'B{place}' for place in range(1, 21))}",
    ]  # fmt: skip
    (folder / "cube.hdr").write_text("\n".join(lines) + "\n")
    (folder / "cube.dat").write_bytes(stored.tobytes())
    return folder / "cube.dat"


def told(source: Any) -> str:
    """The words, of a dict that is plain JSON."""
    found = info(source)
    json.dumps(found, allow_nan=False)
    return describe(found)


# --- rasters ---


def test_a_raster_is_told_with_formats_ranges_and_made_up_names(tmp_path: Path) -> None:
    stored = np.arange(48, dtype=np.int16).reshape(2, 4, 6)
    path = write_raster(tmp_path / "stack.tif", stored, names=("twi", ""), nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5, 1), (-1, 0)
    text = told(path)
    assert "twi: int16, nodata 0, value = stored x 0.5 - 1, values -0.5 to 10.5" in text
    assert "stack_2*: int16, nodata 0, values 24 to 47" in text
    assert "names marked * are made from the file's name" in text
    assert "EPSG:32755" in text


def test_ranges_are_those_of_the_values_that_the_scene_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_raster(tmp_path / "dem.tif", rng.integers(0, 255, (1, 20, 30)).astype(np.uint8), nodata=255)
    (band,) = info(path)["stored"]
    values = geosoil.open_scene(path).values
    assert (band["lowest"], band["highest"]) == (np.nanmin(values), np.nanmax(values))


def test_files_beside_a_store_are_all_told(tmp_path: Path) -> None:
    scene = make_scene(shape=(4, 6), bands=("twi", "ndvi"))
    scene.to_dataset(dim="band").drop_vars("classes", errors="ignore").to_netcdf(tmp_path / "store.nc")
    write_raster(tmp_path / "dem.tif", np.ones((4, 6), np.uint8))
    assert "1 band of 6 x 4 cells" in told(tmp_path / "dem.tif")
    for sources in ([tmp_path / "dem.tif", tmp_path / "store.nc"], [tmp_path / "dem.tif", scene]):
        assert "bands: dem, twi, ndvi" in told(sources)


def test_maps_and_runs_of_geosoil_are_told_as_such(farm: Path) -> None:
    study = load_study(farm / "study.toml", model__trees=3)
    bundle = train(study, farm / "soc.gsm")
    geosoil.map(farm / "soc.gsm", farm / "stack.tif", farm / "maps", statistics=("mean", "Q0.05"), num_workers=1)
    mean, low = (told(farm / "maps" / f"soc_0-5cm_{one}.tif") for one in ("mean", "Q0.05"))
    assert "is a map of geosoil: Soil organic carbon 0-5 cm, mean in g/kg, by a rf model 'Farm'" in mean
    assert bundle.sha256[:12] in mean
    assert "5 % quantile" in low
    run = told(farm / "maps" / "run.json")
    for piece in ("a run of geosoil map", "stack.tif; 80 x 60 cells", "model: Farm", "soc_0-5cm_mean", "tiles: "):
        assert piece in run
    assert re.search(r"of 128 x 128 cells; [0-9.]+ s$", run, re.MULTILINE)
    path = farm / "maps" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    parts = [{"tiles": 3, "seconds": 60.0}, {"tiles": 1, "seconds": 2.0, "workers": 4}]
    path.write_text(json.dumps({**record, "parts": parts}), encoding="utf-8")
    assert "1 min 2 s in 2 parts, stops not counted: 3 tiles in 1 min 0 s; 1 tile in 2 s on 4 workers" in told(path)
    model = told(farm / "soc.gsm")
    for piece in (
        "a random forest for each depth, 3 trees",
        "target transform: ",
        "EPSG:32755",
        "class band rock: 1, 2, 3, 4",
    ):
        assert piece in model
    assert told(bundle).splitlines()[1:] == model.splitlines()[1:]


def test_a_run_of_terrain_and_its_streams_are_told_as_such(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :50]
    heights = (100 + 20 * np.sin(x / 9) + 15 * np.cos(y / 7)).astype(np.float32)
    dem = write_raster(tmp_path / "dem.tif", heights[None], names=("elevation",))
    geosoil.terrain(dem, tmp_path / "out", attributes=["slope", "twi"], stream_area_km2=0.1, report=False)
    run = told(tmp_path / "out" / "run.json")
    for piece in ("a run of geosoil terrain", "dem.tif; 50 x 40 cells", "layers: slope, twi", "reaches"):
        assert piece in run
    layers = info(tmp_path / "out" / "streams.gpkg")
    assert [one["name"] for one in layers["layers"]] == ["streams", "basins"]
    assert layers["layers"][0]["rows"] > 0
    assert "streams: " in describe(layers)


def test_a_network_is_told_in_words(farm: Path) -> None:
    flags = {"model__kind": "transfer", "model__epochs": 1, "model__members": 2, "model__frozen": 1}
    train(load_study(farm / "study.toml", **flags), farm / "soc.gsm")
    assert "model: depth transfer, 1 layer frozen, 2 networks; target transform: " in told(farm / "soc.gsm")


# --- cubes ---


def test_a_cube_is_told_with_detectors_bad_bands_and_what_its_values_are(tmp_path: Path) -> None:
    path = write_cube(tmp_path)
    text = told(path)
    for piece in (
        "HyMap, acquired 2022-07-24T10:45:26Z",
        "values are reflectance; reflectance = stored number / 10000 (the reflectance scale factor of the header)",
        "detector 1: 12 bands, 450 to 1000 nm, 8.5 nm wide (B1 to B12)",
        "detector 2: 8 bands, 950 to 1300 nm, 8.5 nm wide (B13 to B20)",
        "16 good bands; not good:",
        "detector overlap: 2, B12 (1000 nm), B13 (950 nm)",
        "listed bad in the file: 2, B1 (450 nm), B20 (1300 nm)",
        "stored as int16, no data: -9999",
        "note: detectors overlap at 950 to 1000 nm",
        "EPSG:32755",
    ):
        assert piece in text, piece


def test_values_outside_of_reflectance_are_counted(tmp_path: Path) -> None:
    sample = info(write_cube(tmp_path))["cube"]["sample"]
    # All cells of so small an image are looked at: a tenth of its lines is negative, a tenth above 1, a tenth missing.
    assert sample["values"] == 16 * 20 * 20
    assert sample["missing"] == pytest.approx(0.1)
    assert sample["negative"] == pytest.approx(2 / 18)
    assert sample["above_one"] == pytest.approx(2 / 18)


def test_a_cube_without_map_is_told_in_sensor_geometry(tmp_path: Path) -> None:
    path = write_cube(tmp_path, mapped=False)
    text = told(path)
    assert "sensor geometry: no map grid" in text
    assert info(path)["crs"] is None
    scene = geosoil.open_scene(path, mapped=False)
    assert told(scene).splitlines()[1:3] == text.splitlines()[1:3]


def test_a_delivered_product_is_told_unpacked_and_packed(tmp_path: Path) -> None:
    product = make_product(tmp_path / "open", "GF5B", (24, 28))
    packed = make_product(tmp_path / "packed", "GF5B", (24, 28), archive=".tar.gz")
    pieces = (
        "GF-5B AHSI, acquired 2022-10-08",
        "values are radiance in W m-2 sr-1 um-1",
        "detector 1: 150 bands, 390.3 to 1028.02 nm",
        "detector 2: 180 bands, 1009 to 2515.577 nm",
        "beyond the join at 1009 nm: 5, VN146 to VN150",
    )
    unpacked, archived = told(product.path), told(packed.path)
    for piece in pieces:
        assert piece in unpacked
        assert piece in archived
    assert "330 bands of 28 x 24 cells" in unpacked
    assert "sensor geometry" in unpacked
    assert "unpack it first" in archived
    assert info(packed.path)["kind"] == "product"


def test_a_product_in_an_archive_in_an_archive_is_told(tmp_path: Path) -> None:
    wrapped = make_product(tmp_path, "GF5B", (24, 28), archive=".tar.gz", wrapped=True)
    assert info(wrapped.path)["product"]["sensor"] == "GF-5B AHSI"
    assert info(wrapped.path)["product"]["shape"] == [330, 24, 28]


def test_bands_that_hold_nothing_are_named(tmp_path: Path) -> None:
    product = make_product(tmp_path, "GF5B", (24, 28), dead_bands=(30, 300))
    assert info(product.path)["cube"]["sample"]["dead"] == ["VN030", "SW150"]
    assert "empty or constant in it: VN030, SW150" in told(product.path)


def test_an_exported_product_comes_back_with_its_bands(tmp_path: Path) -> None:
    product = make_product(tmp_path / "open", "GF5B", (24, 28))
    scene = geosoil.open_scene(product.path, mapped=False)
    write_envi(tmp_path / "radiance.bil", scene)
    again = geosoil.open_scene(tmp_path / "radiance.bil", mapped=False)
    np.testing.assert_array_equal(again.values, scene.values)
    for field in ("names", "wavelength_nm", "fwhm_nm", "good"):
        assert getattr(Bands.of(again), field) == getattr(Bands.of(scene), field)
    for name in ("quantity", "units", "sensor", "sun_zenith_deg"):
        assert again.attrs[name] == scene.attrs[name]
    # In UTC and to the second, as programs for atmospheric correction read it.
    assert again.attrs["acquired"].endswith("Z")
    times = [datetime.fromisoformat(one.attrs["acquired"]).replace(microsecond=0) for one in (again, scene)]
    assert times[0] == times[1]


def test_scale_and_wavelengths_can_be_said(tmp_path: Path, typed: Command) -> None:
    write_raster(tmp_path / "bare.tif", np.full((3, 4, 6), 2000, np.int16))
    (tmp_path / "mine.csv").write_text("wavelength_nm\n450\n550\n650\n")
    assert "cube" not in info(tmp_path / "bare.tif")
    ran = typed("info", "bare.tif", "--wavelengths", "mine.csv", "--scale", 5000, "--json")
    assert ran.code == 0
    assert ran.json["cube"]["scale"] == "reflectance = stored number / 5000 (as asked)"
    assert ran.json["cube"]["sample"]["median"] == pytest.approx(0.4)


def test_a_picture_shows_true_colour_stretched_with_gaps_transparent(tmp_path: Path) -> None:
    found = info(write_cube(tmp_path), picture=tmp_path / "look.png")
    assert found["picture"] == str(tmp_path / "look.png")
    assert "picture: " in describe(found)
    picture = matplotlib.image.imread(tmp_path / "look.png")
    assert picture.shape == (20, 20, 4)
    assert (picture[4:6, :, 3] == 0).all()
    assert (picture[6:, :, 3] == 1).all()
    # Brightness rises from left to right, in all three colours.
    assert (np.diff(picture[8:, :, :3].mean(axis=0), axis=0) >= 0).all()
    assert len(np.unique(picture[8, :, 0])) > 10


def test_bands_of_a_picture_are_the_nearest_to_red_green_and_blue() -> None:
    colours = Bands(tuple("abcdef"), wavelength_nm=(440, 485, 555, 650, 700, 1600))
    assert shown_bands(colours) == [3, 2, 1]
    without_red = Bands(tuple("abcdef"), wavelength_nm=(440, 485, 555, 800, 900, 1600))
    assert shown_bands(without_red) == [3]
    bad_red = replace(colours, good=(True, True, True, False, True, True), why=("", "", "", "x", "", ""))
    assert shown_bands(bad_red) == [4, 2, 1]
    assert shown_bands(Bands(tuple("abc"))) == [1]


def test_a_picture_is_refused_where_it_makes_no_sense(tmp_path: Path) -> None:
    path = write_cube(tmp_path)
    with pytest.raises(UsageError) as caught:
        info(path, picture=tmp_path / "look.jpg")
    assert caught.value.code == "GS-QUICKLOOK"
    (tmp_path / "look.png").write_bytes(b"mine")
    with pytest.raises(OutputError) as kept:
        info(path, picture=tmp_path / "look.png")
    assert kept.value.code == "GS-OUTPUT-EXISTS"
    info(path, picture=tmp_path / "look.png", overwrite=True)
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")
    pd.DataFrame({"id": [1]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UsageError, match="for scenes"):
        info(tmp_path / "t.csv", picture=tmp_path / "other.png")


@pytest.mark.parametrize(("fault", "code"), [("swapped", "GS-PRODUCT-SWAPPED"), ("short-gain", "GS-CALIBRATION-ROWS")])
def test_what_is_wrong_with_a_product_s_folder_is_told(tmp_path: Path, fault: str, code: str) -> None:
    product = make_product(tmp_path, "GF5B", (24, 28), faults=[fault])
    with pytest.raises(InputError) as caught:
        info(product.path)
    assert caught.value.code == code


@pytest.mark.parametrize("fault", ["no-sw", "swapped", "unequal", "short-gain", "no-response"])
def test_what_is_wrong_with_a_product_is_told_while_it_is_packed(tmp_path: Path, fault: str) -> None:
    folder = make_product(tmp_path / "open", "GF5", (24, 28), faults=[fault]).path
    archive = make_product(tmp_path / "packed", "GF5", (24, 28), faults=[fault], archive=".tar.gz").path
    errors = []
    for call in (lambda: info(folder), lambda: info(archive), lambda: calibrate(archive, tmp_path / "cube.tif")):
        with pytest.raises(InputError) as caught:
            call()
        errors.append(caught.value)
    for packed in errors[1:]:
        assert (packed.code, packed.message, packed.hint) == (errors[0].code, errors[0].message, errors[0].hint)
        inside = f"{archive}/{folder.name}"
        assert list(packed.details) == [
            one.replace(f"{folder}/", f"{inside}/").replace(str(folder), str(archive)) for one in errors[0].details
        ]
        assert ".geosoil-" not in packed.render()


def _links(tar: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("a.tif")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(entry)


#: What is in an archive that is no product, and what it is refused with.
ARCHIVES: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "climbing": (lambda tar: tar.addfile(tarfile.TarInfo("../../a.tif")), "GS-ARCHIVE-PATH"),
    "linking": (_links, "GS-ARCHIVE-KIND"),
    "other": (lambda tar: tar.addfile(tarfile.TarInfo("readme.txt")), "GS-ARCHIVE-EMPTY"),
    "empty": (lambda tar: None, "GS-ARCHIVE-EMPTY"),
}


@pytest.mark.parametrize("kind", [*ARCHIVES, "text", "cut"])
def test_what_is_wrong_with_an_archive_is_told_as_calibrate_tells_it(tmp_path: Path, kind: str) -> None:
    path, code = tmp_path / "a.tar.gz", "GS-ARCHIVE-FORMAT"
    if kind in ARCHIVES:
        write, code = ARCHIVES[kind]
        with tarfile.open(path, "w:gz") as tar:
            write(tar)
    elif kind == "text":
        path.write_text("no archive")
    else:
        whole, code = make_product(tmp_path / "raw", "ZY1E", (24, 28), archive=".tar.gz").path, "GS-ARCHIVE-DAMAGED"
        path.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(InputError) as caught:
        info(path)
    with pytest.raises(InputError) as other:
        calibrate(path, tmp_path / "cube.tif")
    assert caught.value.code == code
    for part in ("code", "message", "hint"):
        assert getattr(caught.value, part) == getattr(other.value, part)


def test_options_in_a_hint_are_those_of_the_command_that_it_names(tmp_path: Path) -> None:
    product = make_product(tmp_path, "GF5B", (24, 28))
    for path in product.path.glob("*RadCal*"):
        path.unlink()
    with pytest.raises(InputError) as caught:
        info(product.path)
    assert "geosoil calibrate PRODUCT OUT --table VN_gains=FILE" in caught.value.hint


def test_gains_without_offsets_are_noted(tmp_path: Path) -> None:
    product = make_product(tmp_path, "GF5B", (24, 28), faults=["one-column"])
    assert "has gains alone; offsets are taken as 0" in told(product.path)


def test_a_packed_product_tells_its_place_and_angles_and_how_to_get_a_picture(tmp_path: Path) -> None:
    packed = make_product(tmp_path, "GF5B", (24, 28), archive=".tar.gz")
    text = told(packed.path)
    for piece in ("size: ", "rational polynomial coefficients", "centre: longitude ", "sun: zenith "):
        assert piece in text, piece
    with pytest.raises(UsageError) as caught:
        info(packed.path, picture=tmp_path / "look.png")
    assert "unpack it" in caught.value.hint


def test_a_cube_without_wavelengths_and_names_asks_for_a_table(tmp_path: Path) -> None:
    write_raster(tmp_path / "bare.tif", np.full((24, 4, 6), 2000, np.int16))
    text = told(tmp_path / "bare.tif")
    assert "--wavelengths TABLE" in text
    assert "and 19 more" in text
    write_raster(tmp_path / "named.tif", np.full((24, 4, 6), 2, np.int16), names=[f"c{place}" for place in range(24)])
    assert "--wavelengths" not in told(tmp_path / "named.tif")


def test_a_folder_with_a_cube_and_a_raster_names_the_cube(tmp_path: Path) -> None:
    cube = write_cube(tmp_path)
    with rasterio.open(cube) as file:
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": file.crs, "transform": file.transform}
    with rasterio.open(tmp_path / "classes.tif", "w", width=20, height=20, **profile) as file:
        file.write(np.ones((1, 20, 20), np.uint8))
    text = told(tmp_path)
    assert f"{cube} in it is a cube of 20 bands; ask about it alone: geosoil info {cube}" in text
    assert "in it is a cube" not in told(cube)


def test_bits_of_a_raster_of_masks_are_told(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "masked.tif", np.array([[[0, 4, 12]]], np.uint16), nodata=32768)
    assert "flags" not in told(path)
    with rasterio.open(path, "r+") as file:
        file.update_tags(flag_masks="4 8", flag_meanings="shadow green_vegetation")
    assert "flags, which add up in a cell: 4 shadow, 8 green vegetation; 0 where none is" in told(path)


# --- spectra ---


def wide_table(**others: object) -> pd.DataFrame:
    bands = np.arange(400.0, 2401.0, 50.0)
    values = np.random.default_rng(0).uniform(0.1, 0.5, (6, 1)) * np.linspace(0.4, 1, len(bands))
    spectra = pd.DataFrame(values, columns=[f"{band:g}nm" for band in bands])
    return pd.concat([pd.DataFrame({"id": [f"S{row}" for row in range(6)], **others}), spectra], axis=1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_a_wide_table_is_told_as_spectra(tmp_path: Path, suffix: str) -> None:
    table = wide_table(soc_pct=1.5)
    path = tmp_path / f"reflectance{suffix}"
    writers: dict[str, Any] = {".csv": table.to_csv, ".parquet": table.to_parquet, ".xlsx": table.to_excel}
    writers[suffix](path, index=False)
    found = info(path)
    assert (found["kind"], found["spectra"], found["bands"]) == ("spectra", 6, 41)
    text = told(path)
    for piece in (
        "6 spectra",
        "41 wavelengths, 400 to 2400 nm, every 50 nm",
        "values are reflectance",
        "other columns: id, soc_pct",
        "soil organic carbon (soc) from soc_pct, unit %",
    ):
        assert piece in text, piece
    assert "450nm" not in text
    assert told(table).splitlines()[1:2] == text.splitlines()[1:2]


def test_spectra_of_which_the_quantity_is_not_clear_are_told_as_such(tmp_path: Path) -> None:
    table = wide_table()
    bands = [name for name in table.columns if name != "id"]
    table[bands] = np.random.default_rng(1).uniform(0.5, 1.0, (6, len(bands)))
    table.to_csv(tmp_path / "t.csv", index=False)
    assert "values are not clear: state them in a study" in told(tmp_path / "t.csv")


def test_a_table_of_samples_with_numbered_columns_stays_one(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], **{f"X{450 + 10 * place}": [1.0, 2.0] for place in range(8)}})
    table.to_csv(tmp_path / "t.csv", index=False)
    assert info(tmp_path / "t.csv")["kind"] == "samples"


def test_files_of_a_spectrometer_are_told_alone_and_in_a_folder(tmp_path: Path) -> None:
    lines = ["Comment: soil", "Version: 2.3", "Measurement: REFLECTANCE", "Columns [2]:", "Data:"]
    lines.append("Wvl\tReflect. %")
    lines += [f"{wave}.0\t{20 + wave / 100:.3f}" for wave in range(350, 2501)]
    for name in ("one.sed", "two.sed"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    text = told(tmp_path / "one.sed")
    assert "one.sed: 1 spectrum" in text
    assert "2151 wavelengths, 350 to 2500 nm, every 1 nm" in text
    folder = info(tmp_path)
    assert (folder["kind"], folder["spectra"]) == ("spectra", 2)
    (tmp_path / "two.asd").write_bytes(b"no spectrum")
    with pytest.raises(InputError) as caught:
        info(tmp_path / "two.asd")
    assert caught.value.code == "GS-SPECTRUM-READ"


if "GEOSOIL_DATA" in os.environ:
    DATA = Path(os.environ["GEOSOIL_DATA"])

    @pytest.mark.parametrize("name", ["csiro_example.asd", "csiro_example.sed", "munsell_chip.asd"])
    def test_real_files_of_spectrometers_are_told(name: str) -> None:
        assert "2151 wavelengths, 350 to 2500 nm, every 1 nm" in told(DATA / "spectrometer-files" / name)


# --- samples ---


def test_a_table_is_told_with_what_would_be_taken(farm: Path) -> None:
    text = told(farm / "horizons.csv")
    assert "would be taken: id from profile_id, x from x, y from y, top from top_cm, bottom from bottom_cm" in text
    assert "soil organic carbon (soc) from soc_g_per_kg, unit g/kg" in text
    found, samples = info(farm / "horizons.csv"), geosoil.open_samples(farm / "horizons.csv", crs="EPSG:32755")
    taken = samples.attrs["report"]["columns"]
    assert found["taken"] == {role: name for role, name in taken.items() if role != "value"}
    assert found["values"][0]["columns"] == [taken["value"]]


def test_what_a_table_lacks_is_told(tmp_path: Path) -> None:
    pd.DataFrame({"id": [1], "lead": [3], "zinc": [4]}).to_csv(tmp_path / "bare.csv", index=False)
    text = told(tmp_path / "bare.csv")
    for piece in ("lead (pb) from lead, unit not stated", "no coordinates", "no depths"):
        assert piece in text
    pd.DataFrame({"id": [1], "zinc": [4]}).to_csv(tmp_path / "other.csv", index=False)
    assert "no column of a property that geosoil knows" in told(tmp_path / "other.csv")
    pd.DataFrame({"lon_gda94": [1], "lat_gda94": [4], "soc": 1, "soc_pct": 1}).to_csv(tmp_path / "two.csv", index=False)
    text = told(tmp_path / "two.csv")
    assert "hint at EPSG:4283" in text
    assert "to settle: two.csv: 2 columns could be soil organic carbon (soc); candidates: soc, soc_pct" in text


def test_wide_and_listed_tables_are_recognised(tmp_path: Path) -> None:
    pd.DataFrame({"id": [1], "soc_0-5cm [%]": [1.0], "soc_5-15cm [%]": [2.0]}).to_csv(tmp_path / "w.csv", index=False)
    text = told(tmp_path / "w.csv")
    assert "from soc_0-5cm [%], soc_5-15cm [%], unit %, depths in the headers" in text
    assert "no depths" not in text
    table = pd.DataFrame({"id": [1, 1], "analyte": ["Pb", "Zn"], "value": [1, 2], "unit": "mg/kg"})
    table.to_csv(tmp_path / "listed.csv", index=False)
    found = info(tmp_path / "listed.csv")
    assert [one["property"] for one in found["values"]] == ["pb"]
    assert found["taken"]["property"] == "analyte"
    assert found["values"][0]["unit"] == "as in unit"


def test_vector_files_are_told_with_crs_extent_and_type(tmp_path: Path) -> None:
    points = gpd.GeoDataFrame(
        {"id": ["A", "B"], "soc_pct": [1.0, 2.0]}, geometry=gpd.points_from_xy([10, 20], [1, 2]), crs="EPSG:32755"
    )
    points.to_file(tmp_path / "points.gpkg")
    text = told(tmp_path / "points.gpkg")
    assert "geometries: Point, EPSG:32755, x 10 to 20, y 1 to 2" in text
    assert "no coordinates" not in text
    assert told(points).splitlines()[1:] == text.splitlines()[1:]


def test_numbers_of_a_workbook_have_ranges(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["A", "B"], "soc_pct": [1.5, None], "top": [0, 10]}).to_excel(tmp_path / "t.xlsx", index=False)
    columns = {one["name"]: one for one in info(tmp_path / "t.xlsx")["columns"]}
    assert (columns["soc_pct"]["lowest"], columns["soc_pct"]["missing"]) == (1.5, 1)
    assert (columns["top"]["lowest"], columns["top"]["highest"]) == (0, 10)
    assert "lowest" not in columns["id"]


# --- studies and objects ---


def test_a_study_is_told_as_a_study_file(farm: Path) -> None:
    path = farm / "study.toml"
    more = '[properties.zn]\nname = "Zinc"\nunit_inside = "mg/kg"\nlowest = 0.5\n[properties.soc]\ntransform = "log"\n'
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    text = told(path)
    assert "None" not in text
    assert "{" not in text
    assert 'intervals = ["0-5", "5-15", "15-30"]' in text
    assert tomllib.loads(text)["properties"]["soc"] == {"transform": "log"}
    (farm / "again.toml").write_text(text, encoding="utf-8")
    assert load_study(farm / "again.toml") == load_study(path)
    assert told(load_study(path)).splitlines()[1:] == text.splitlines()[1:]


def test_objects_are_told_or_refused() -> None:
    text = told(make_scene(shape=(8, 8), classes=("rock",)))
    assert "the scene: 4 bands of 8 x 8 cells" in text
    assert "class bands: rock" in text
    for source in (None, 3, object()):
        with pytest.raises(UsageError, match="nothing that can be explained") as caught:
            info(source)  # type: ignore[arg-type]
        assert caught.value.code == "GS-INFO"


@pytest.mark.parametrize("family", ["GF5", "GF5A", "GF5B", "ZY1E"])
def test_folders_of_products_of_all_families_are_scenes(family: str, tmp_path: Path) -> None:
    found = info(make_product(tmp_path, family, (24, 28)).path)
    assert found["kind"] == "scene"
    assert len(found["bands"]) in {166, 330}
