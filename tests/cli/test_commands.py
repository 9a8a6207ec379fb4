"""The commands as a user types them: results on stdout, the rest on stderr, documented exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import geosoil as library

from .conftest import Command, Edit


def test_help_names_the_commands_and_gives_an_example(geosoil: Command) -> None:
    shown = geosoil("--help")
    assert shown.code == 0
    for name in ("demo", "info", "train", "compare", "map"):
        assert name in shown.out
        command = geosoil(name, "--help")
        assert command.code == 0
        assert "Example:" in command.out
        assert f"geosoil {name}" in command.out


def test_version(geosoil: Command) -> None:
    assert geosoil("--version").out.strip() == f"geosoil {library.__version__}"


def test_a_wrong_command_names_the_nearest(geosoil: Command) -> None:
    shown = geosoil("trian")
    assert shown.code == 2
    assert "did you mean 'train'" in shown.err
    assert "Traceback" not in shown.err


def test_train_then_info(typed: Command, farm: Path, edit: Edit) -> None:
    edit("trees = 40", "trees = 5")
    trained = typed("train", "study.toml", "-o", "soc.gsm", "--report", "report.html", "-j", 1)
    assert trained.code == 0, trained.err
    assert "RMSE [g/kg]" in trained.out
    assert "cross-validation: 100 %" in trained.err
    assert (farm / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(farm.glob(".geosoil*"))

    again = typed("train", "study.toml", "-o", "soc.gsm", "-q")
    assert again.code == 4
    assert again.err.startswith("error: ")
    assert "GS-OUTPUT-EXISTS" in again.err
    assert again.out == ""

    told = typed("info", "soc.gsm")
    assert told.code == 0
    assert "a rf model of soil organic carbon in g/kg at 0-5, 5-15, 15-30 cm" in told.out
    found = typed("info", "soc.gsm", "--json").json
    assert found["schema"] == 1
    assert found["kind"] == "model"
    assert found["properties"][0]["scores"][0]["split"].startswith("random 3-fold")


@pytest.mark.timeout(180)
def test_compare_leaves_tables_and_a_report_and_goes_on(typed: Command, farm: Path, edit: Edit) -> None:
    edit("trees = 40", "trees = 5")
    edit("epochs = 40", "epochs = 3")
    edit("folds = 3\nrepeats = 2", "folds = 2\nrepeats = 1")
    edit('"0-5", "5-15", "15-30"', '"0-10", "10-30"')
    compared = typed("compare", "study.toml", "out", "-q", "-j", 1)
    assert compared.code == 0, compared.err
    for name in ("scores.csv", "scores.json", "predictions.csv", "zones.csv", "report.html"):
        assert (farm / "out" / name).stat().st_size > 100
    table = json.loads((farm / "out" / "scores.json").read_text(encoding="utf-8"))["scores"]
    assert {row["scheme"] for row in table} == {"random", "spatial"}
    assert {row["model"] for row in table} == {"RF", "MT-CNN"}
    refused = typed("compare", "study.toml", "out")
    assert refused.code == 4
    kept = typed("compare", "study.toml", "out", "--resume", "-q", "--json", "-j", 2)
    assert kept.code == 0
    assert kept.json["scores"] == table


def test_info_on_a_scene_a_table_and_a_study(typed: Command) -> None:
    scene = typed("info", "stack.tif")
    assert "3 bands of 80 x 60 cells" in scene.out
    for band in ("wet: float32", "rock: float32", "noise: float32"):
        assert band in scene.out
    table = typed("info", "horizons.csv")
    assert "a table of 180 rows" in table.out
    assert "soc_g_per_kg (float64)" in table.out
    study = typed("info", "study.toml", "--json").json
    assert study["settings"]["model"]["kind"] == "rf"
    assert study["settings"]["depths"]["smoothing"] == 0.1


def test_options_of_the_environment_and_the_order_of_settings(
    typed: Command, farm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kind(*args: str) -> str:
        return str(typed("train", "study.toml", "--dry-run", *args).json["study"]["model"]["kind"])

    # Named after the options as they are typed.
    monkeypatch.setenv("GEOSOIL_TRAIN_JSON", "1")
    assert kind() == "rf"
    monkeypatch.setenv("GEOSOIL_TRAIN_MODEL", "cnn")
    assert kind() == "cnn"
    assert kind("--model", "mtcnn") == "mtcnn"
    monkeypatch.setenv("GEOSOIL_TRAIN_MODEL", "oracle")
    assert typed("train", "study.toml", "--dry-run").code == 2


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("info", "absent.tif"), 3, "GS-FILE-MISSING"),
        (("info", "study.toml.bak"), 3, "GS-"),
        (("train", "absent.toml", "-o", "x.gsm"), 3, "absent.toml"),
        (("train", "study.toml"), 2, "-o MODEL.gsm"),
        (("train", "study.toml", "-o", "x.gsm", "--patch", "4"), 2, "patch"),
        (("train", "study.toml", "-o", "x.gsm", "--property", "gold"), 2, "gold"),
        (("train", "study.toml", "-o", "x.gsm", "--unit", "furlong"), 3, "GS-UNIT"),
        (("train", "study.toml", "-o", "no/such/folder/x.gsm"), 4, "x.gsm"),
    ],
)
def test_what_is_wrong_is_one_error_with_its_code(
    args: tuple[str, ...], code: int, words: str, typed: Command, farm: Path
) -> None:
    (farm / "study.toml.bak").write_text("not a raster")
    shown = typed(*args)
    assert shown.code == code, shown.err
    assert words in shown.err
    assert not list(farm.rglob("x.gsm"))
    assert not (farm / "no").exists()
    assert shown.err.count("error:") + shown.err.count("Error:") == 1
    assert len(shown.err.splitlines()[-1]) < 400


def test_a_closed_pipe_ends_quietly(farm: Path) -> None:
    command = f"{Path(sys.executable).with_name('geosoil')} info {farm / 'study.toml'} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
