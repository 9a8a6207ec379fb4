"""Study files: what is wrong in one is told with what to do about it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from geosoil.config import FusionConfig, LibraryConfig, SpectraConfig, Study, load_study
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


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"masks": {"rules": {"bla": 3}}}, ["masks.rules.bla: 'bla' is not known; known: 'ndvi', 'ncai'"]),
        ({"masks": {"rules": {"ndvi": 5}}}, ["masks.rules.ndvi: expected 2 or less, found 5"]),
        ({"masks": {"rules": 3}}, ["masks.rules: expected a table, found 3"]),
        ({"masks": {"leave_out": [4, 1.5]}}, ["masks.leave_out, item 2: expected a whole number, found 1.5"]),
        ({"scene": {"path": 3}}, ["scene.path: expected text or a list, found 3"]),
        ({"scene": {"path": ["a.tif", 3]}}, ["scene.path, item 2: expected text, found 3"]),
        ({"scene": {"crs": 32755}}, ["scene.crs: expected text, found 32755"]),
        ({"compare": {"heads": "plsr"}}, ["compare.heads: expected a list such as [\"plsr\"], found 'plsr'"]),
        ({"compare": {"folds": 1}}, ["compare.folds: expected 2 or more, found 1"]),
        ({"fusion": {"hidden": []}}, ["fusion.hidden: expected 1 or more in the list, found []"]),
        ({"library": {"range_nm": [5]}}, ["library.range_nm, item 2: expected one value more in the list, found [5]"]),
        ({"depths": {"intervals": 3}}, ["depths.intervals: expected a list of intervals such as"]),
        ({"samples": "a.csv"}, ["samples: expected a table, found 'a.csv'"]),
    ],
)
def test_what_was_found_and_what_is_expected_is_told_in_plain_words(
    settings: dict[str, Any], expected: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        Study(**settings)
    assert len(caught.value.details) == len(expected)
    for line, start in zip(caught.value.details, expected, strict=True):
        assert line.startswith(start)
    assert caught.value.message == f"{len(expected)} setting(s) are wrong"


@pytest.mark.parametrize("value", [3, -1.5, float("nan"), "x", True, None, [], [3, "a"], [[1, 2, 3]], {"a": 1}])
def test_no_setting_and_no_value_shows_the_words_of_a_library(value: object) -> None:
    tables = {name: getattr(Study(), name) for name in Study.model_fields}
    tables |= {"spectra": SpectraConfig(), "library": LibraryConfig()}
    keys = [(name, key) for name, table in tables.items() for key in getattr(type(table), "model_fields", {})]
    inner = [{table: {key: value}} for table, key in (*keys, ("properties", "soc"), ("masks", "rule"))]
    told = [line for settings in ({name: value} for name in tables) for line in details_of(settings)]
    told += [line for settings in inner for line in details_of(settings)]
    assert len(told) > 50
    assert not [line for line in told if "Input" in line or "tuple" in line or "dict" in line]


def details_of(settings: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with settings; nothing for those that can be used."""
    try:
        Study(**settings)
    except UsageError as error:
        return tuple(error.details)
    return ()
