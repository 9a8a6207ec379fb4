"""`geosoil info` of a library tells its data sets, bands and values, and what its checks found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.errors import InputError
from geosoil.jobs.info import describe, info
from geosoil.jobs.library_info import is_library

from .lent import BANDS, FAR, NEAR, make_lent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library of two data sets."""
    return make_lent(tmp_path) / "library"


def test_sets_bands_and_values_are_told(folder: Path) -> None:
    found = info(folder)
    assert json.loads(json.dumps(found))["kind"] == "library"
    assert {one["name"]: one["samples"] for one in found["sets"]} == {"near": NEAR, "far": FAR}
    assert found["bands"] == len(BANDS)
    assert found["wavelength_nm"] == [BANDS[0], BANDS[-1]]
    both = pd.concat([pd.read_csv(folder / "near.csv"), pd.read_parquet(folder / "far.parquet")])
    soc = next(one for one in found["properties"] if one["property"] == "soc")
    assert (soc["samples"], soc["unit"]) == (NEAR + FAR, "g/kg")
    assert soc["highest"] == pytest.approx(both["soc_g_per_kg"].max())
    assert soc["median"] == pytest.approx(both["soc_g_per_kg"].median())
    text = describe(found)
    assert f"2 data sets, {NEAR + FAR} samples" in text
    assert "common bands: 1000 to 2400 nm, every 20 nm, 71 in all" in text
    assert "nothing is wrong" in text
    assert "instrument not stated" in text


def test_what_the_checks_find_is_told_by_file_and_row(folder: Path) -> None:
    table = pd.read_csv(folder / "near.csv")
    bands = list(table.columns[3:])
    table.loc[[4], bands] *= 100
    table.loc[[9], bands] = table.loc[[8], bands].to_numpy()
    table.loc[20, "ph"] = 77.0
    table.to_csv(folder / "near.csv", index=False)
    (folder / "library.toml").write_text('[[table]]\npath = "near.csv"\ninstrument = "ASD"\nsource = "Hill"\n')
    found = info(folder)
    assert found["wrong"] == {"mislabelled": 1, "duplicated": 1}
    assert found["used"] == NEAR + FAR - 2
    assert {one["name"]: one["instruments"] for one in found["sets"]} == {"Hill": ["ASD"], "far": []}
    text = describe(found)
    assert "left out: 1 in another unit than they are called (percent, absorbance): near.csv row 5 (near004)" in text
    assert "left out: 1 that copy another: near.csv row 10" in text
    assert "not usable: 1 out of range" in text
    # The description itself stands for the folder.
    assert info(folder / "library.toml")["sets"] == found["sets"]


def test_tables_that_are_no_spectra_are_told_with_the_reason(folder: Path) -> None:
    (folder / "sites.csv").write_text("id,x,y\na,1,2\nb,3,4\n")
    found = info(folder)
    assert [one["table"] for one in found["left_out"]] == ["sites"]
    assert "left out sites: " in describe(found)


def test_spectrometers_files_with_a_table_beside_are_a_library(tmp_path: Path) -> None:
    """Alone they are spectra."""
    head = ["Comment: soil", "Version: 2.3", "Measurement: REFLECTANCE", "Columns [2]:", "Data:", "Wvl\tReflect. %"]
    for place in range(12):
        lines = [f"{wave}.0\t{20 + place + wave / (90 + place):.3f}" for wave in range(350, 2501)]
        (tmp_path / f"s{place}.sed").write_text("\n".join([*head, *lines]) + "\n")
    assert info(tmp_path)["kind"] == "spectra"
    rows = [f"s{place},{5 + place}" for place in range(12)]
    (tmp_path / "values.csv").write_text("\n".join(["id,soc_g_per_kg", *rows]) + "\n")
    found = info(tmp_path)
    assert (found["kind"], found["used"]) == ("library", 12)
    (soc,) = found["properties"]
    assert (soc["property"], soc["samples"], soc["lowest"]) == ("soc", 12, 5)


def test_tables_behind_links_are_found_once(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "data").symlink_to(folder)
    (folder / "round").symlink_to(linked)  # a link that leads back
    assert info(linked)["used"] == info(folder)["used"]


def test_folders_of_rasters_and_studies_are_no_libraries(folder: Path, tmp_path: Path) -> None:
    assert is_library(folder)
    assert not is_library(tmp_path / "study.toml")
    assert not is_library(tmp_path / "missing")
    (folder / "map.tif").write_bytes(b"II")
    assert not is_library(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not is_library(empty)


def test_a_library_of_which_nothing_can_be_used_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    table = pd.DataFrame(np.full((4, 40), np.nan), columns=[f"{nm}nm" for nm in range(400, 800, 10)])
    table.loc[:, "400nm"] = 0.3
    table.to_csv(tmp_path / "reflectance.csv")
    with pytest.raises(InputError) as caught:
        info(tmp_path)
    assert caught.value.code == "GS-LIBRARY-EMPTY"
