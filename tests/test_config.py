"""Study files: what is wrong in one is told with what to do about it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from geosoil.config import FusionConfig, Study, load_study
from geosoil.errors import UsageError
from geosoil.models.fusion_settings import FusionSettings

FILES = '[samples]\npath = "a.csv"\n[scene]\npath = "b.tif"\n'


def study_of(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text + FILES, encoding="utf-8")
    return path


@pytest.mark.parametrize("declared", ["", '[properties.zn]\ncolumn = "Zn"\n', '[properties.zn]\nname = "Zinc"\n'])
def test_a_property_that_is_not_declared_says_how_to_declare_it(declared: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GS-STUDY") as caught:
        load_study(study_of(tmp_path, f'property = "zn"\n{declared}'))
    assert "property 'zn' is not declared" in caught.value.details[0]
    assert "soc" in caught.value.details[0]
    for piece in ("[properties.zn]", "name", "unit_inside"):
        assert piece in caught.value.hint


def test_what_the_error_asks_for_declares_the_property(tmp_path: Path) -> None:
    text = 'property = "zn"\n[properties.zn]\nname = "Zinc"\nunit_inside = "mg/kg"\nhighest = 1e5\n'
    zinc = load_study(study_of(tmp_path, text)).declared()
    assert (zinc.code, zinc.name, zinc.unit, zinc.highest) == ("zn", "Zinc", "mg/kg", 1e5)


def test_all_that_is_wrong_is_told_with_the_hints(tmp_path: Path) -> None:
    text = '[depths]\nintervals = ["0-5", "3-8"]\n[model]\npatch = 4\nkinds = "rf"\n'
    with pytest.raises(UsageError) as caught:
        load_study(study_of(tmp_path, text))
    told = str(caught.value)
    assert "3 setting(s) are wrong" in told
    assert "depths.intervals: depths 0-5 cm and 3-8 cm overlap" in told
    assert "model.patch: a patch has a centre cell" in told
    assert "model.kinds: not a known key; did you mean 'kind'?" in told
    assert caught.value.hint == "give intervals that do not overlap"


def test_settings_given_in_python_are_refused_in_the_same_words() -> None:
    with pytest.raises(UsageError) as caught:
        Study(property="zn", model={"kinds": "rf", "patch": 4})
    assert caught.value.code == "GS-STUDY"
    told = str(caught.value)
    assert "model.kinds: not a known key; did you mean 'kind'?" in told
    assert "model.patch: a patch has a centre cell" in told
    with pytest.raises(UsageError, match="property 'zn' is not declared"):
        Study(property="zn")


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    study = Study(samples={"path": tmp_path / "a.csv"}, scene={"path": [tmp_path / "b.tif", "c.tif"]})
    assert study.samples.path == str(tmp_path / "a.csv")
    assert study.scene.path == (str(tmp_path / "b.tif"), "c.tif")


def test_every_choice_of_the_fusion_can_be_made_in_a_study() -> None:
    choices = {one.name for one in fields(FusionSettings)}
    assert choices == set(FusionConfig.model_fields) - {"neighbours", "angle"}
    chosen = {"hidden": (32, 16), "widths": (1.0, 2.0), "base": "linear", "unbiased": True, "batch": 8}
    study = Study(name="clay", property="clay", fusion={"kind": "vae", **chosen})
    assert study.fusion.changes() == chosen


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("compare", "losses", "yes", "expected true or false, found 'yes'"),
        ("compare", "losses", 1, "expected true or false, found '1'"),
        ("compare", "heads", ["svm"], "'svm' is not known; did you mean 'svr'?; known: 'plsr', 'svr', 'rf', 'fd-rf'"),
        ("fusion", "scale_output", "on", "expected true or false, found 'on'"),
        ("fusion", "mmd", True, "expected a number, found 'True'"),
        ("fusion", "kld", "0.5", "expected a number, found '0.5'"),
        ("fusion", "widths", [1, "2"], "expected a number, found '2'"),
    ],
)
def test_values_of_a_wrong_type_are_refused_in_one_line(table: str, key: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        Study(**{table: {key: value}})
    assert caught.value.code == "GS-STUDY"
    (line,) = caught.value.details
    assert line.startswith(f"{table}.{key}")
    assert f": {expected}" in line


def test_whole_numbers_and_switched_off_rules_are_no_wrong_types() -> None:
    study = Study(fusion={"mmd": 1, "widths": [1, 2.5]}, masks={"rules": {"ndvi": False}}, compare={"losses": True})
    assert (study.fusion.mmd, study.fusion.widths, study.masks.rules) == (1.0, (1.0, 2.5), {"ndvi": None})
