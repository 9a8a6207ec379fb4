"""Bad input through the commands as a user types them: one clear error each, and nothing half-written."""

from __future__ import annotations

import json
import pickle  # noqa: TID251  (what must never be opened)
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

from .conftest import Command, Edit, Refused

TRAIN = ("train", "study.toml", "-o", "new.gsm", "-q", "-j", 1)
MAP = ("map", "soc.gsm", "stack.tif", "out", "-q", "-j", 1)
GAP = (slice(5, 8), slice(5, 9))  # where the farm's `wet` has no data

Bands = dict[str, np.ndarray]
Stack = Callable[..., Path]
Table = Callable[[Callable[[pd.DataFrame], Any]], None]


@pytest.fixture(autouse=True)
def _small(edit: Edit) -> None:
    """A study that trains in a second."""
    edit("trees = 40", "trees = 5")
    edit('"0-5", "5-15", "15-30"', '"0-10", "10-30"')
    edit("folds = 3\n[compare]", "folds = 2\n[compare]")


@pytest.fixture(scope="module")
def trained() -> dict[str, bytes]:
    """Bytes of the farm's model, once a test has made it."""
    return {}


@pytest.fixture
def model(farm: Path, typed: Command, trained: dict[str, bytes]) -> Path:
    """A model of the farm, trained once for all tests; its bands are wet, rock and noise."""
    path = farm / "soc.gsm"
    if not trained:
        ran = typed(*TRAIN)
        assert ran.code == 0, ran.err
        trained["soc"] = (farm / "new.gsm").read_bytes()
        (farm / "new.gsm").unlink()
    path.write_bytes(trained["soc"])
    return path


@pytest.fixture
def stack(farm: Path) -> Stack:
    """Write the farm's bands anew, changed and perhaps elsewhere."""

    def write(change: Callable[[Bands], Mapping[str, np.ndarray]], name: str = "stack.tif", **profile: Any) -> Path:
        with rasterio.open(farm / "stack.tif") as file:
            settings = {**file.profile, **profile}
            bands = change(dict(zip(file.descriptions, file.read(), strict=True)))
        with rasterio.open(farm / name, "w", **{**settings, "count": len(bands)}) as file:
            for index, (band, values) in enumerate(bands.items(), 1):
                file.write(values, index)
                file.set_band_description(index, band)
        return farm / name

    return write


@pytest.fixture
def table(farm: Path) -> Table:
    """Change the samples in place; rows 0, 1, 2 are the layers of profile p00, and so on."""

    def write(change: Callable[[pd.DataFrame], Any]) -> None:
        rows = pd.read_csv(farm / "horizons.csv", dtype=object)
        for name in ("x", "y", "top_cm", "bottom_cm"):
            rows[name] = pd.to_numeric(rows[name]).astype(object)
        change(rows)
        rows.to_csv(farm / "horizons.csv", index=False)

    return write


def put(row: int | slice, column: str | list[str], value: Any) -> Callable[[pd.DataFrame], None]:
    """A change of some cells."""

    def change(rows: pd.DataFrame) -> None:
        rows.loc[row, column] = value

    return change


def maps(folder: Path) -> np.ndarray:
    """All maps in a folder, (n, rows, columns), NaN where there is no data."""
    found = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as file:
            found.append(file.read(1))
    return np.stack(found)


def write_text_for_a_raster(farm: Path) -> None:
    (farm / "stack.tif").write_text("elevation;slope\n1;2\n")


# --- rasters ---


@pytest.mark.parametrize("command", [TRAIN, MAP, ("info", "stack.tif")], ids=["train", "map", "info"])
def test_what_is_no_raster_is_named_with_the_formats_that_are(
    command: tuple[object, ...], farm: Path, model: Path, refused: Refused
) -> None:
    write_text_for_a_raster(farm)
    told = refused(*command, exit=3, code="GS-RASTER-UNREADABLE")
    assert told.startswith("error: stack.tif is not a raster")
    assert "formats: GTiff" in told


def test_a_process_says_the_same(farm: Path, refused: Refused, geosoil: Command) -> None:
    write_text_for_a_raster(farm)
    here = refused("info", "stack.tif", exit=3, code="GS-RASTER-UNREADABLE")
    there = refused("info", "stack.tif", exit=3, code="GS-RASTER-UNREADABLE", command=geosoil)
    assert there == here


@pytest.mark.parametrize("command", [TRAIN, MAP, ("info", "stack.tif")], ids=["train", "map", "info"])
def test_a_raster_that_was_cut_off_is_told_by_its_size(
    command: tuple[object, ...], farm: Path, model: Path, refused: Refused
) -> None:
    whole = (farm / "stack.tif").read_bytes()
    (farm / "stack.tif").write_bytes(whole[: len(whole) // 2])
    told = refused(*command, exit=3, code="GS-RASTER-TRUNCATED")
    assert f"size: {len(whole) // 2} bytes" in told
    assert "copy or download it again" in told


@pytest.mark.parametrize("command", [TRAIN, MAP], ids=["train", "map"])
def test_a_raster_that_is_damaged_inside_is_told_with_window_and_bands(
    command: tuple[object, ...], model: Path, stack: Stack, refused: Refused
) -> None:
    path = stack(lambda bands: bands, compress="deflate")
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(damaged)
    told = refused(*command, exit=3, code="GS-RASTER-READ")
    assert told.startswith("error: stack.tif cannot be read in rows ")
    assert "bands: wet, rock, noise" in told
    assert "window: rows " in told


def test_a_raster_without_a_crs_is_refused_until_one_is_named(
    farm: Path, model: Path, stack: Stack, typed: Command, refused: Refused
) -> None:
    assert typed(*MAP).code == 0
    stack(lambda bands: bands, crs=None)
    bare = ("map", "soc.gsm", "stack.tif", "named", "-q", "-j", 1)
    for command in (TRAIN, bare, ("info", "stack.tif")):
        told = refused(*command, exit=3, code="GS-CRS-MISSING")
        assert "stack.tif has no coordinate reference system" in told
        assert "gdal_edit.py -a_srs" in told
        assert "--crs EPSG:32755" in told
    refused(*bare, "--crs", "EPSG:999999", exit=3, code="GS-CRS-UNKNOWN")
    assert typed(*bare, "--crs", "EPSG:32755").code == 0
    np.testing.assert_array_equal(maps(farm / "named"), maps(farm / "out"))


def test_sources_on_differing_grids_are_both_shown_and_can_be_aligned(
    farm: Path, model: Path, stack: Stack, edit: Edit, typed: Command, refused: Refused
) -> None:
    finer = {"transform": from_origin(500_000, 6_700_000, 45, 45), "height": 120, "width": 160}
    stack(lambda bands: {"dem": bands["noise"].repeat(2, axis=0).repeat(2, axis=1)}, "dem.tif", **finer)
    edit('path = "stack.tif"', 'path = ["stack.tif", "dem.tif"]')
    both = ("map", "soc.gsm", "*.tif", "both", "-q", "-j", 1)
    for command in (TRAIN, both, ("info", "*.tif")):
        told = refused(*command, exit=3, code="GS-GRID-MISMATCH")
        for name, grid in (("stack.tif", "80 x 60 cells of 90 x 90"), ("dem.tif", "160 x 120 cells of 45 x 45")):
            (line,) = (line for line in told.splitlines() if grid in line)
            assert line.endswith(name)
            assert "EPSG:32755" in line
            assert "upper left 500000, 6700000" in line
        assert "--align" in told
        assert "align in [scene]" in told
    assert typed(*MAP).code == 0
    assert typed(*both, "--align", "stack.tif").code == 0
    np.testing.assert_array_equal(maps(farm / "both"), maps(farm / "out"))
    edit('"dem.tif"]', '"dem.tif"]\nalign = "stack.tif"')
    assert typed(*TRAIN).code == 0


def test_a_path_that_is_wrong_is_told_with_what_is_near(model: Path, edit: Edit, refused: Refused) -> None:
    for path in ("info", "stak.tif"), ("map", "soc.gsm", "stak.tif", "out"):
        told = refused(*path, exit=3, code="GS-FILE-MISSING")
        assert "stak.tif does not exist" in told
        assert "near: stack.tif" in told
    assert "no file matches *.nc" in refused("info", "*.nc", exit=3, code="GS-FILE-MISSING")
    refused("info", "", exit=3, code="GS-FILE-MISSING")
    refused("info", "x" * 300, exit=3, code="GS-FILE-MISSING")
    edit('path = "horizons.csv"', 'path = "horizon.csv"')
    assert "horizon.csv" in refused(*TRAIN, exit=3, code="GS-FILE-MISSING")


# --- bands ---


def test_bands_are_matched_by_name_so_that_their_order_does_not_matter(
    farm: Path, model: Path, stack: Stack, typed: Command
) -> None:
    assert typed(*MAP).code == 0
    stack(lambda bands: {"slope": bands["wet"] + 1, **dict(reversed(bands.items()))})
    assert typed("map", "soc.gsm", "stack.tif", "turned", "-q").code == 0
    np.testing.assert_array_equal(maps(farm / "turned"), maps(farm / "out"))


def test_a_renamed_band_is_missing_until_it_is_mapped_as_the_message_says(
    farm: Path, model: Path, stack: Stack, typed: Command, refused: Refused
) -> None:
    assert typed(*MAP).code == 0
    stack(lambda bands: {"wetness" if name == "wet" else name: band for name, band in bands.items()})
    other = ("map", "soc.gsm", "stack.tif", "other", "-q", "-j", 1)
    told = refused(*other, exit=5, code="GS-BANDS-MISSING")
    assert "model 'Farm' needs 3 bands, the scene lacks 1 of them" in told
    assert "missing: wet" in told
    assert "--band-map wet=wetness" in told
    assert typed(*other, "--band-map", "wet=wetness").code == 0
    np.testing.assert_array_equal(maps(farm / "other"), maps(farm / "out"))


def test_a_model_trained_on_other_bands_is_refused(model: Path, stack: Stack, refused: Refused) -> None:
    stack(lambda bands: dict.fromkeys(("elevation", "twi", "ndvi", "slope"), bands["noise"]))
    told = refused(*MAP, exit=5, code="GS-BANDS-MISSING")
    assert "the scene lacks 3 of them" in told
    assert "missing: wet, rock, noise" in told
    assert "offered: elevation, twi, ndvi, slope" in told


def test_a_study_that_names_other_bands_is_refused(edit: Edit, refused: Refused) -> None:
    edit("classes = {", 'bands = ["wet", "rock", "twi"]\nclasses = {')
    told = refused(*TRAIN, exit=3, code="GS-BANDS-UNKNOWN")
    assert "'twi'" in told
    assert "the scene has: wet, rock, noise" in told


# --- samples ---


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda rows: put(slice(None), "x", rows["x"] + 1e6)(rows), "GS-SAMPLES-OUTSIDE", ("all 60 profiles",)),
        (put(slice(12, 14), "profile_id", "p05"), "GS-SAMPLES-POSITION", ("row 13, 14, 15", "profile p05")),
        (put(1, ["top_cm", "bottom_cm"], [0, 10]), "GS-SAMPLES-TWICE", ("row 1, 2 (profile p00)",)),
        (put(4, ["top_cm", "bottom_cm"], [5, 30]), "GS-SAMPLES-OVERLAP", ("row 4, 5 (profile p01)",)),
        (put(4, ["top_cm", "bottom_cm"], [30, 10]), "GS-SAMPLES-INVERTED", ("row 5 (profile p01)", "above its top")),
        (put(7, "soc_g_per_kg", "-4"), "GS-SAMPLES-RANGE", ("row 8 (profile p02)", "a negative value")),
        (put(7, "soc_g_per_kg", "1e4"), "GS-SAMPLES-RANGE", ("row 8 (profile p02)", "above 1000 g/kg")),
        (put(7, "soc_g_per_kg", "inf"), "GS-SAMPLES-INFINITE", ("row 8 (profile p02)",)),
        (put(7, "soc_g_per_kg", "much"), "GS-SAMPLES-TEXT", ("row 8 (profile p02)", "not a number")),
        (put(7, "x", "west"), "GS-SAMPLES-TEXT", ("row 8 (profile p02)", "coordinates")),
        (put(slice(None), "soc_g_per_kg", "NaN"), "GS-SAMPLES-EMPTY", ("none of 180 rows", "180 with no value")),
        (put(slice(6, None), "soc_g_per_kg", ""), "GS-SAMPLES-FEW", ("2 profiles", "needed: 20", "174 with no value")),
    ],
    ids=["outside", "place", "twice", "overlap", "inverted", "negative", "high", "inf", "text", "xy", "none", "few"],
)
def test_samples_that_cannot_be_right_are_told_by_row_and_profile(
    change: Callable[[pd.DataFrame], None], code: str, words: tuple[str, ...], table: Table, refused: Refused
) -> None:
    table(change)
    told = refused(*TRAIN, exit=3, code=code)
    for word in words:
        assert word in told


def test_rows_that_are_refused_can_be_left_out_as_the_message_says(
    table: Table, edit: Edit, typed: Command, refused: Refused
) -> None:
    table(put(0, "soc_g_per_kg", "-4"))
    table(put(4, ["top_cm", "bottom_cm"], [30, 10]))
    table(put(8, "soc_g_per_kg", "inf"))
    told = refused(*TRAIN, exit=3, code="GS-SAMPLES-INFINITE")
    for row in ("a negative value: row 1", "an infinite value: row 9", "a bottom above its top: row 5"):
        assert row in told
    assert 'invalid = "drop"' in told
    edit("[samples]\n", '[samples]\ninvalid = "drop"\n')
    ran = typed("train", "study.toml", "-o", "new.gsm", "-v", "-j", 1)
    assert ran.code == 0, ran.err
    assert "177 of 180 rows are used" in ran.err
    assert "1 with a negative value" in ran.err


def test_samples_without_a_value_or_outside_the_scene_are_left_out_and_said(table: Table, typed: Command) -> None:
    table(put(slice(3, 5), "soc_g_per_kg", "NaN"))
    table(put(slice(9, 11), "x", 0))
    ran = typed("train", "study.toml", "-o", "new.gsm", "-v", "-j", 1)
    assert ran.code == 0, ran.err
    assert "3 with no value" in ran.err
    assert "profiles outside the scene, left out: 1 of 59: p03" in ran.err
    assert "on 58 profiles" in ran.out


def test_a_site_that_is_listed_twice_is_told_by_its_id(farm: Path, edit: Edit, refused: Refused) -> None:
    rows = pd.read_csv(farm / "horizons.csv")
    sites = rows.drop_duplicates("profile_id")[["profile_id", "x", "y"]]
    pd.concat([sites, sites[sites["profile_id"] == "p07"]]).to_csv(farm / "sites.csv", index=False)
    rows.drop(columns=["x", "y"]).to_csv(farm / "horizons.csv", index=False)
    edit('path = "horizons.csv"', 'path = "horizons.csv"\nsites = "sites.csv"')
    told = refused(*TRAIN, exit=3, code="GS-SAMPLES-ID-TWICE")
    assert told.startswith("error: sites.csv: 1 row with an id that occurs twice")
    assert "row 61 (profile p07)" in told


def test_an_unknown_unit_is_refused_with_the_known_ones(farm: Path, table: Table, refused: Refused) -> None:
    told = refused(*TRAIN, "--unit", "furlong", exit=3, code="GS-UNIT-UNKNOWN")
    assert "'furlong' is not known" in told
    assert "known: %, g/kg" in told
    refused(*TRAIN, "--unit", "%", exit=3, code="GS-UNIT-CONTRADICTION")
    table(lambda rows: rows.rename(columns={"soc_g_per_kg": "soc [furlong]"}, inplace=True))
    told = refused(*TRAIN, exit=3, code="GS-COLUMN-MISSING")
    assert "'soc [furlong]' looks like it" in told
    table(lambda rows: rows.rename(columns={"soc [furlong]": "soc"}, inplace=True))
    assert "--unit g/kg" in refused(*TRAIN, exit=3, code="GS-UNIT-MISSING")


def test_a_property_with_two_samples_is_too_little_to_train_on(table: Table, refused: Refused) -> None:
    def add_lead(rows: pd.DataFrame) -> None:
        rows["pb_mg_per_kg"] = pd.Series({0: 20.0, 3: 30.0})

    table(add_lead)
    told = refused(*TRAIN, "--property", "pb", exit=3, code="GS-SAMPLES-FEW")
    assert "2 profiles with lead are too few" in told
    assert "needed: 20" in told
    assert "178 with no value" in told
    told = refused(*TRAIN, "--property", "cu", exit=3, code="GS-COLUMN-MISSING")
    assert "no column for copper" in told


def strict(text: str) -> Any:
    """JSON as the standard has it, which knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_property_that_is_the_same_everywhere_gives_that_map(farm: Path, table: Table, typed: Command) -> None:
    table(put(slice(None), "soc_g_per_kg", "5"))
    ran = typed(*TRAIN, "--json")
    assert ran.code == 0, ran.err
    assert strict(ran.out)["card"]["properties"][0]["scores"][0]["R2"] is None
    told = typed("info", "new.gsm")
    assert "R2 -" in told.out
    assert strict(typed("info", "new.gsm", "--json").out)["kind"] == "model"
    assert typed("map", "new.gsm", "stack.tif", "out", "-q").code == 0
    found = maps(farm / "out")
    np.testing.assert_allclose(found[np.isfinite(found)], 5, rtol=1e-5)


def test_info_shows_what_is_odd_in_a_table(table: Table, typed: Command) -> None:
    table(put(7, "soc_g_per_kg", "inf"))
    table(put(8, "soc_g_per_kg", ""))
    told = typed("info", "horizons.csv")
    assert "soc_g_per_kg (float64)" in told.out
    assert "1 missing, 1 infinite" in told.out
    strict(typed("info", "horizons.csv", "--json").out)


# --- covariates ---


def test_a_constant_covariate_is_left_out_with_its_reason(farm: Path, stack: Stack, typed: Command) -> None:
    stack(lambda bands: {**bands, "noise": np.full_like(bands["noise"], 3)})
    assert typed(*TRAIN).code == 0
    told = typed("info", "new.gsm").out
    assert "left out noise: constant at the profiles" in told
    assert "takes 2 bands" in told
    assert typed("map", "new.gsm", "stack.tif", "out", "-q").code == 0
    missing = np.zeros((60, 80), bool)
    missing[GAP] = True
    for found in maps(farm / "out"):
        np.testing.assert_array_equal(np.isnan(found), missing)


def test_a_covariate_that_varies_at_one_profile_alone_does_no_harm(farm: Path, stack: Stack, typed: Command) -> None:
    first = pd.read_csv(farm / "horizons.csv").iloc[0]

    def nearly_constant(bands: Bands) -> Bands:
        flat = np.full_like(bands["noise"], 3)
        flat[int((6_700_000 - first["y"]) // 90), int((first["x"] - 500_000) // 90)] = 4
        return {**bands, "noise": flat}

    stack(nearly_constant)
    ran = typed(*TRAIN)
    assert ran.code == 0, ran.err
    assert typed("map", "new.gsm", "stack.tif", "out", "-q").code == 0
    assert np.isnan(maps(farm / "out")).sum(axis=(1, 2)).tolist() == [12, 12]


def test_covariates_that_are_all_constant_are_refused(stack: Stack, refused: Refused) -> None:
    stack(lambda bands: {name: np.full_like(band, 3) for name, band in bands.items()})
    told = refused(*TRAIN, exit=3, code="GS-COVARIATES-CONSTANT")
    for name in ("wet", "rock", "noise"):
        assert f"{name} = 3" in told


def test_an_empty_band_is_named_at_training(stack: Stack, refused: Refused) -> None:
    stack(lambda bands: {**bands, "noise": np.full_like(bands["noise"], -9999)})
    told = refused(*TRAIN, exit=3, code="GS-SAMPLES-FEW")
    assert "0 outside the scene, 60 without data there" in told
    assert "by band: noise 60" in told


@pytest.mark.parametrize("names", [("noise",), ("wet", "rock", "noise")], ids=["band", "scene"])
def test_what_holds_no_data_gives_maps_without_data(
    names: tuple[str, ...], farm: Path, model: Path, stack: Stack, typed: Command
) -> None:
    stack(lambda bands: {**bands, **{name: np.full_like(bands[name], -9999) for name in names}})
    ran = typed(*MAP, "--json")
    assert ran.code == 0, ran.err
    assert [(one["valid_cells"], one["mean"]) for one in strict(ran.out)["maps"]] == [(0, None)] * 2
    assert np.isnan(maps(farm / "out")).all()


def test_infinity_and_nan_in_covariates_are_cells_without_data(
    farm: Path, model: Path, stack: Stack, typed: Command
) -> None:
    def spoil(bands: Bands) -> Bands:
        bands["wet"][20:30] = np.inf
        bands["noise"][40:45] = np.nan
        bands["noise"][50] = -np.inf
        return bands

    stack(spoil)
    missing = np.zeros((60, 80), bool)
    for rows in GAP, slice(20, 30), slice(40, 45), 50:
        missing[rows] = True
    assert typed(*MAP).code == 0
    for found in maps(farm / "out"):
        np.testing.assert_array_equal(np.isnan(found), missing)
    ran = typed("train", "study.toml", "-o", "new.gsm", "-j", 1)
    assert ran.code == 0, ran.err
    profiles = pd.read_csv(farm / "horizons.csv").drop_duplicates("profile_id")
    lost = int(
        missing[((6_700_000 - profiles["y"]) // 90).astype(int), ((profiles["x"] - 500_000) // 90).astype(int)].sum()
    )
    assert f"profiles on cells without data, left out: {lost} of 60" in ran.err


# --- classes ---


def test_a_class_that_training_did_not_see_is_refused_or_left_empty(
    farm: Path, model: Path, stack: Stack, typed: Command, refused: Refused
) -> None:
    def add_a_class(bands: Bands) -> Bands:
        bands["rock"][20:22, 10:15] = 9
        return bands

    stack(add_a_class)
    told = refused(*MAP, exit=3, code="GS-CATEGORY-UNSEEN")
    assert "band 'rock' holds classes that training did not see" in told
    assert "unseen: 9 (10 cells)" in told
    assert "known: 1, 2, 3, 4" in told
    assert "--unseen missing" in told
    assert typed(*MAP, "--unseen", "missing").code == 0
    missing = np.zeros((60, 80), bool)
    missing[GAP] = missing[20:22, 10:15] = True
    for found in maps(farm / "out"):
        np.testing.assert_array_equal(np.isnan(found), missing)


def test_a_class_band_that_holds_fractions_is_refused_at_training(stack: Stack, refused: Refused) -> None:
    stack(lambda bands: {**bands, "rock": bands["rock"] + 0.5})
    told = refused(*TRAIN, exit=3, code="GS-CATEGORY-CODE")
    assert "band 'rock'" in told
    assert "1.5" in told
    assert "scene.classes" in told


# --- models ---


def cut(data: bytes) -> bytes:
    return data[:-100]


def flip_a_tensor(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def flip_the_card(data: bytes) -> bytes:
    place = data.index(b"Farm")
    return data[:place] + b"Harm" + data[place + 4 :]


@pytest.mark.parametrize("spoil", [cut, flip_a_tensor, flip_the_card, lambda data: b"", lambda data: b"no model" * 9])
def test_a_model_that_is_not_whole_and_unchanged_is_refused(
    spoil: Callable[[bytes], bytes], model: Path, refused: Refused
) -> None:
    model.write_bytes(spoil(model.read_bytes()))
    for command in (MAP, ("info", "soc.gsm")):
        told = refused(*command, exit=5, code="GS-MODEL-DAMAGED")
        assert told.startswith("error: soc.gsm is not a whole, unchanged model file")
        assert "train it again" in told


class Bomb:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_a_pickle_is_refused_and_never_run(kind: str, farm: Path, model: Path, refused: Refused) -> None:
    bomb = pickle.dumps(Bomb())
    pickle.loads(bomb)  # noqa: S301  (it works, here in the farm's folder)
    (farm / "exploded").unlink()
    if kind == "pickle":
        model.write_bytes(bomb)
    else:
        with zipfile.ZipFile(model, "w") as archive:
            archive.writestr("soc/data.pkl", bomb)
    for command in (MAP, ("info", "soc.gsm")):
        told = refused(*command, exit=5, code="GS-MODEL-UNSAFE")
        assert "soc.gsm is a pickle or a zip of pickles" in told
        assert "it was not opened" in told
    # `refused` compares the folder: nothing has exploded.
    assert not (farm / "exploded").exists()


# --- outputs ---


def test_an_output_that_exists_is_kept(farm: Path, model: Path, typed: Command, refused: Refused) -> None:
    told = refused("train", "study.toml", "-o", "soc.gsm", exit=4, code="GS-OUTPUT-EXISTS")
    assert "soc.gsm exists" in told
    assert "--overwrite" in told
    assert typed(*MAP).code == 0
    told = refused(*MAP, exit=4, code="GS-OUTPUT-EXISTS")
    assert "soc_0-10cm_mean.tif, soc_10-30cm_mean.tif" in told
    assert "--overwrite" in told
    (farm / "report.html").write_text("mine")
    refused(*TRAIN, "--report", "report.html", exit=4, code="GS-OUTPUT-EXISTS")
    (farm / "comparison").mkdir()
    (farm / "comparison" / "scores.csv").write_text("mine")
    refused("compare", "study.toml", "comparison", exit=4, code="GS-OUTPUT-EXISTS")


@pytest.mark.parametrize(
    "command",
    [
        ("train", "study.toml", "-o", "horizons.csv/soc.gsm"),
        ("train", "study.toml", "-o", "absent/soc.gsm"),
        ("train", "study.toml", "-o", "folder.gsm", "--overwrite"),
        (*TRAIN, "--report", "absent/report.html"),
        (*TRAIN, "--predictions", "absent/points.gpkg"),
        ("train", "study.toml", "-o", "x" * 300 + ".gsm"),
        ("map", "soc.gsm", "stack.tif", "horizons.csv"),
        ("map", "soc.gsm", "stack.tif", "horizons.csv/out"),
        ("compare", "study.toml", "horizons.csv"),
        ("compare", "study.toml", "horizons.csv/out"),
    ],
)
def test_an_output_that_cannot_be_made_is_refused_before_any_work(
    command: tuple[object, ...], farm: Path, model: Path, refused: Refused
) -> None:
    (farm / "folder.gsm").mkdir()
    told = refused(*command, exit=4, code="GS-NOT-WRITABLE")
    assert "cannot be written: " in told
    # Before any work: no progress was shown.
    assert "%" not in told


@pytest.mark.parametrize(
    "command",
    [
        ("train", "study.toml", "horizons.csv", "--overwrite"),
        ("train", "study.toml", "-o", "new.pt"),
        (*TRAIN, "--report", "study.toml", "--overwrite"),
        (*TRAIN, "--predictions", "stack.tif", "--overwrite"),
    ],
)
def test_an_output_that_is_named_like_an_input_is_refused(command: tuple[object, ...], refused: Refused) -> None:
    assert "name it " in refused(*command, exit=2, code="GS-SUFFIX")


def test_an_unknown_statistic_is_wrong_usage(model: Path, refused: Refused) -> None:
    told = refused(*MAP, "--statistics", "mean,Q2", exit=2, code="GS-STATISTIC")
    assert "'Q2'" in told
    assert "Q0.05" in told


# --- paths ---


def test_paths_with_umlauts_and_spaces_work_end_to_end(
    farm: Path, model: Path, edit: Edit, typed: Command, geosoil: Command
) -> None:
    assert typed(*MAP).code == 0
    place = farm / "Böden & Höhen" / "土壤 2"
    place.mkdir(parents=True)
    edit("stack.tif", "Nässe, Fels.tif")
    edit("horizons.csv", "Proben – alle.csv")
    for old, new in (
        ("stack.tif", "Nässe, Fels.tif"),
        ("horizons.csv", "Proben – alle.csv"),
        ("study.toml", "Größe.toml"),
    ):
        shutil.move(farm / old, place / new)
    trained = typed("train", place / "Größe.toml", "-o", place / "Modell Ä.gsm", "-q", "-j", 1)
    assert trained.code == 0, trained.err
    assert f"written: {place / 'Modell Ä.gsm'}" in trained.out
    mapped = geosoil("map", place / "Modell Ä.gsm", place / "Nässe, Fels.tif", place / "Karten für alle", "-q")
    assert mapped.code == 0, mapped.err
    assert str(place / "Karten für alle") in mapped.out
    np.testing.assert_array_equal(maps(place / "Karten für alle"), maps(farm / "out"))
    record = json.loads((place / "Karten für alle" / "run.json").read_text(encoding="utf-8"))
    assert record["inputs"][0]["name"] == "Nässe, Fels.tif"
    told = typed("info", place / "Karten für alle" / "soc_0-10cm_mean.tif")
    assert told.code == 0
    assert "80 x 60 cells" in told.out
