"""`geosoil explain` as a user types it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ..jobs.explaining import GRID_NM, spectra_table, spectral_model  # noqa: TID252
from ..jobs.mapping import make_model, make_stack  # noqa: TID252
from .conftest import Command, Refused


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """Models, spectra, samples and covariates; the folder that `typed` runs in."""
    folder = tmp_path / "farm"
    folder.mkdir()
    spectra_table(24).to_csv(folder / "reflectance.csv", index=False)
    spectra_table(5, GRID_NM[:10]).to_csv(folder / "reflectance_short.csv", index=False)
    spectral_model("svr").save(folder / "clay.gsm")
    spectral_model("plsr", name="source").save(folder / "source.gsm")
    make_model(folder / "soc.gsm", kind="rf")
    scene = make_stack(folder / "stack.tif", (30, 40), missing=0.0)
    rng = np.random.default_rng(0)
    x, y = rng.choice(scene.x.values, 12), rng.choice(scene.y.values, 12)
    pd.DataFrame({"id": range(12), "x": x, "y": y}).to_csv(folder / "places.csv", index=False)
    return folder


def test_spectra_are_explained_and_the_gap_is_told(typed: Command, farm: Path) -> None:
    ran = typed("explain", "clay.gsm", "reflectance.csv", "why", "--draws", 60, "--against", "source.gsm", "--seed", 3)
    assert ran.code == 0, ran.err
    for words in (
        "expected gradients, 60 draws a sample",
        "gap: none",
        "another 60 draws would move",
        "against source",
    ):
        assert words in ran.out
    assert "background: 24 rows (reflectance.csv)" in ran.out
    assert "attributing Made clay, 0-20 cm: 100 %" in ran.err
    assert (farm / "why" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(pd.read_csv(farm / "why" / "attributions.csv")) == len(GRID_NM)
    again = typed("explain", "clay.gsm", "reflectance.csv", "why", "-q")
    assert (again.code, again.out) == (4, "")
    assert "[GS-OUTPUT-EXISTS]" in again.err


def test_one_document_as_json(typed: Command) -> None:
    ran = typed("explain", "source.gsm", "reflectance.csv", "-o", "why", "--json", "-q")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert ran.json["schema"] == 1
    (output,) = ran.json["outputs"]
    assert output["method"].startswith("closed form")
    assert output["gap_share"] < 1e-6
    assert "why/report.html" in ran.json["files"]


def test_places_on_covariates_and_a_region_of_them(typed: Command, farm: Path) -> None:
    ran = typed("explain", "soc.gsm", "places.csv", "why", "--scene", "stack.tif", "--crs", "EPSG:32755", "-q")
    assert ran.code == 0, ran.err
    assert "elevation: " in ran.out
    mapped = typed("explain", "soc.gsm", "stack.tif", "map", "--window", "3,4,10,8", "-q", "--json")
    assert mapped.code == 0, mapped.err
    assert [one["cells"] for one in mapped.json["maps"]] == [80, 80]
    assert (farm / "map" / "soc_0-5cm_attributions.tif").exists()


@pytest.mark.parametrize(
    ("words", "exit", "code"),
    [
        (("clay.gsm", "reflectance_short.csv"), 3, "GS-RESAMPLE"),
        (("clay.gsm", "absent.csv"), 3, "GS-FILE-MISSING"),
        (("soc.gsm", "places.csv"), 2, "GS-EXPLAIN-SCENE"),
        (("soc.gsm", "places.csv", "--scene", "stack.tif"), 3, "GS-CRS-MISSING"),
        (("soc.gsm", "stack.tif", "--window", "500,0,5,5"), 2, "GS-REGION"),
        (("clay.gsm", "reflectance.csv", "--against", "soc.gsm"), 2, "GS-EXPLAIN-AGAINST"),
        (("clay.gsm", "reflectance.csv", "--property", "lead"), 2, "GS-EXPLAIN-PROPERTY"),
    ],
)
def test_bad_input_ends_in_one_clear_error(refused: Refused, words: tuple[str, ...], exit: int, code: str) -> None:
    model, data, *options = words
    refused("explain", model, data, "why", *options, exit=exit, code=code)


def test_a_window_is_four_numbers(typed: Command) -> None:
    ran = typed("explain", "soc.gsm", "stack.tif", "why", "--window", "1,2,3")
    assert ran.code == 2
    assert "not four numbers" in ran.err
