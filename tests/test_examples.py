"""The examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import geosoil

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_python_example_ends_with_maps(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "python_api.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "325 profiles" in done.stdout
    made = tmp_path / "maps"
    assert len(list(made.glob("soc_*_mean.tif"))) == 6
    assert all((made / name).stat().st_size > 1000 for name in ("maps.qgz", "report.html", "samples.gpkg"))


@pytest.mark.timeout(180)
def test_the_tutorial_goes_from_a_packed_product_to_maps_that_tell_the_truth_apart(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "gaofen" / "tutorial.py", tmp_path, "--quick"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ZY-1 02D AHSI, 166 bands, 138 of them good" in done.stdout
    found = re.findall(r"(\w+) against the truth, [\d,]+ cells mapped: RMSE \S+, R2 (\S+)", done.stdout)
    # A map that held the truth's mean everywhere would have 0.
    assert {code: float(r2) > 0.2 for code, r2 in found} == {"som": True, "as": True, "cu": True}
    made = [
        *(f"maps/{code}_0-20cm_mean.tif" for code in ("som", "as", "cu")),
        *(f"terrain/{code}_0-20cm_mean_streams.png" for code in ("som", "as", "cu")),
        *("maps/masked.tif", "maps/maps.qgz", "maps/report.html", "terrain/streams.gpkg", "terrain/relations.csv"),
        *("cube.tif", "cube.png", "generated.tif", "training.html", "samples.gpkg", "truth.png", "spectra.png"),
    ]
    assert [name for name in made if (tmp_path / name).stat().st_size < 1000] == []


@pytest.mark.timeout(180)
def test_the_tutorial_goes_from_a_library_to_a_model_and_its_reasons(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "library" / "tutorial.py", tmp_path, "--quick"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "160 of 160 spectra, soc, clay, ph" in done.stdout
    table = pd.read_csv(tmp_path / "comparison" / "table.csv")
    rmse = dict(zip(table["model"], table["RMSE"], strict=True))
    assert rmse["Mixture (all)"] < rmse["Local, PLSR"]
    held_out = pd.read_csv(tmp_path / "comparison" / "predictions.csv")
    assert set(held_out.groupby("model").size()) == {30}
    (r2,) = re.findall(r"carbon of 60 new soils: RMSE \S+, R2 (\S+);", done.stdout)
    assert float(r2) > 0.7
    made = [
        *("comparison/report.html", "soc.html", "why/report.html", "why/attributions.csv"),
        *("new.csv", "library.png", "carbon.png"),
    ]
    assert [name for name in made if (tmp_path / name).stat().st_size < 1000] == []


@pytest.mark.timeout(180)
def test_the_tutorial_goes_from_a_library_of_ph_to_a_map_of_lead(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "lead" / "tutorial.py", tmp_path, "--quick"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "comparison" / "table.csv")
    assert {"Transfer, ResNet", "Direct, PLSR", "Direct, SVR"} <= set(table["model"])
    made = [
        *("comparison/report.html", "pb.html", "ph.html", "map.html", "why/report.html", "why/attributions.csv"),
        *("pb.gpkg", "why/lead-0-20-cm-against.png", "maps/pb_0-20cm_mean.tif", "maps/maps.qgz", "lead.png"),
    ]
    assert [name for name in made if (tmp_path / name).stat().st_size < 1000] == []


@pytest.mark.parametrize(("example", "count"), [("gaofen", 6), ("library", 5), ("lead", 6)])
def test_the_commands_of_a_tutorial_are_those_of_its_readme(example: str, count: int) -> None:
    folder = EXAMPLES / example
    steps = re.findall(r"^ {4}# {4}(geosoil .*)$", (folder / "tutorial.py").read_text(encoding="utf-8"), re.MULTILINE)
    told = re.findall(r"`(geosoil [^`]*)`", (folder / "README.md").read_text(encoding="utf-8"))
    assert len(steps) == count
    assert steps == told


@pytest.mark.parametrize("name", ["edgeroi", "meuse"])
def test_the_studies_name_files_that_are_there_and_bands_that_they_hold(name: str) -> None:
    study = geosoil.load_study(EXAMPLES / name / "study.toml")
    assert study.samples.path is not None
    assert study.scene.path is not None
    scene = geosoil.open_scene(study.scene.path, bands=study.scene.bands, classes=tuple(study.scene.classes))
    assert set(study.scene.classes) <= set(scene["band"].values)
    for code in (study.property, *study.compare.properties):
        config = study.samples
        samples = geosoil.open_samples(
            study.samples.path, property=study.declared(code), column=study.how(code).column, sites=config.sites,
            crs=config.crs, id=config.id, depth=config.depth,
        )  # fmt: skip
        assert samples["profile"].nunique() > 100


def test_samples_that_were_read_are_not_read_again() -> None:
    folder = EXAMPLES / "edgeroi"
    samples = geosoil.open_samples(folder / "horizons.csv", sites=folder / "sites.csv", crs="EPSG:4283")
    few = samples[samples["top_cm"] < 30]
    assert geosoil.open_samples(few, column="soc_g_per_kg") is few
