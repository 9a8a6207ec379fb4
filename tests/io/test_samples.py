"""Sample tables: the same samples from every shape and file, and a counted reason for every row left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import GeosoilError, InputError, UsageError
from geosoil.io.samples import open_samples
from geosoil.prep.depths import spline_depths
from geosoil.soil import STANDARD_DEPTHS

EDGEROI = Path(__file__).parents[2] / "examples" / "edgeroi"
CRS = "EPSG:32755"


def table(**columns: Any) -> pd.DataFrame:
    """Two profiles of two layers; columns may be replaced, added, or taken out with None."""
    known: dict[str, Any] = {
        "id": ["A", "A", "B", "B"],
        "x": [761000.0, 761000.0, 762000.0, 762000.0],
        "y": [6670000.0, 6670000.0, 6671000.0, 6671000.0],
        "top": [0, 10, 0, 10],
        "bottom": [10, 30, 10, 30],
        "soc_g_per_kg": [12.5, 8.0, 20.25, 3.0],
    }
    return pd.DataFrame({name: cells for name, cells in {**known, **columns}.items() if cells is not None})


def layers(samples: gpd.GeoDataFrame) -> list[tuple[object, ...]]:
    """What the samples say, apart from further columns."""
    rows = samples[["profile", "top_cm", "bottom_cm", "value"]].itertuples(index=False, name=None)
    return [(*row, point.x, point.y) for row, point in zip(rows, samples.geometry, strict=True)]


EXPECTED = layers(open_samples(table(), crs=CRS))


def caught(frame: Any, **options: Any) -> GeosoilError:
    """The error that a table raises; its first line is short and it says what to do."""
    with pytest.raises(GeosoilError) as error:
        open_samples(frame, **{"crs": CRS, **options})
    assert len(error.value.message) < 100
    return error.value


def report(samples: gpd.GeoDataFrame) -> dict[str, Any]:
    """The report, which JSON can hold and which counts every row."""
    found: dict[str, Any] = json.loads(json.dumps(samples.attrs["report"]))
    assert found["rows"] == found["used"] + sum(found["dropped"].values())
    assert found["used"] == len(samples)
    return found


# --- shapes and files ---


def test_samples_are_one_row_a_layer_with_everything_beside() -> None:
    samples = open_samples(table(zone=["n", "n", "s", "s"], elevation=[210, 210, 195, 195]), crs=CRS)
    assert layers(samples) == [
        ("A", 0.0, 10.0, 12.5, 761000.0, 6670000.0),
        ("A", 10.0, 30.0, 8.0, 761000.0, 6670000.0),
        ("B", 0.0, 10.0, 20.25, 762000.0, 6671000.0),
        ("B", 10.0, 30.0, 3.0, 762000.0, 6671000.0),
    ]
    assert samples.crs == CRS
    assert samples["property"].unique().tolist() == ["soc"]
    assert samples["zone"].tolist() == ["n", "n", "s", "s"]
    assert samples["elevation"].tolist() == [210, 210, 195, 195]
    assert report(samples)["columns"] == {
        "id": "id", "x": "x", "y": "y", "top": "top", "bottom": "bottom", "value": "soc_g_per_kg",
    }  # fmt: skip


WRITERS: dict[str, Callable[[Path], object]] = {
    ".csv": lambda path: table().to_csv(path, index=False),
    ".tsv": lambda path: table().to_csv(path, index=False, sep="\t", encoding="utf-16"),
    ".txt": lambda path: table().to_csv(path, index=False, sep="|", encoding="utf-8-sig"),
    ".xlsx": lambda path: table().to_excel(path, index=False),
    ".parquet": lambda path: table().to_parquet(path),
    ".geoparquet": lambda path: points().to_parquet(path),
    ".gpkg": lambda path: points().to_file(path),
    ".shp": lambda path: points().rename(columns={"soc_g_per_kg": "soc_g_kg"}).to_file(path),
}


def points() -> gpd.GeoDataFrame:
    frame = table()
    geometry = gpd.points_from_xy(frame.pop("x"), frame.pop("y"))
    return gpd.GeoDataFrame(frame, geometry=geometry, crs=CRS)


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_file_gives_the_same_samples(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"Proben für Ängelholm 土壤{suffix}"
    WRITERS[suffix](path)
    samples = open_samples(path, crs=CRS)
    assert layers(samples) == EXPECTED
    assert samples.crs == CRS
    assert report(samples)["source"] == path.name


def test_encoding_separator_and_decimal_comma_are_detected_and_said(tmp_path: Path) -> None:
    path = tmp_path / "proben.csv"
    text = table(zone=["Löß", "Löß", "Sand", "Sand"]).to_csv(index=False, sep=";", decimal=",")
    path.write_text(text, encoding="cp1252")
    samples = open_samples(path, crs=CRS)
    assert layers(samples) == EXPECTED
    assert samples["zone"].tolist() == ["Löß", "Löß", "Sand", "Sand"]
    notes = " ".join(report(samples)["notes"])
    assert "encoding cp1252, separator semicolon" in notes
    assert "decimal comma" in notes


def test_text_ids_keep_their_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table(id=["007", "007", "010", "010"]).to_csv(path, index=False)
    assert open_samples(path, crs=CRS)["profile"].tolist() == ["007", "007", "010", "010"]


@pytest.mark.parametrize(
    "name", ["soc_{}-{}cm [g/kg]", "soc_{}_{}_g_per_kg", "SOC {}-{} cm (g kg-1)", "c_{}_{} [g/kg]"]
)
def test_wide_tables_are_the_same_as_long_ones(name: str) -> None:
    wide = pd.DataFrame(
        {
            "site": ["A", "B"],
            "easting": [761000.0, 762000.0],
            "northing": [6670000.0, 6671000.0],
            name.format(0, 10): [12.5, 20.25],
            name.format(10, 30): [8.0, 3.0],
        }
    )
    assert layers(open_samples(wide, crs=CRS)) == EXPECTED


def test_wide_table_by_template_with_a_stated_unit() -> None:
    wide = table(
        top=None, bottom=None, soc_g_per_kg=None, id=list("ABCD"), k0to10=[1.0, 2, 3, 4], k10to30=[5.0, 6, 7, None]
    )
    samples = open_samples(wide, column="k{top}to{bottom}", unit="%", crs=CRS)
    assert samples["value"].tolist() == [10.0, 50.0, 20.0, 60.0, 30.0, 70.0, 40.0]
    assert samples["bottom_cm"].tolist() == [10.0, 30.0, 10.0, 30.0, 10.0, 30.0, 10.0]
    assert report(samples)["dropped"] == {"no value": 1}
    assert caught(wide, column="k{top}_{top}", unit="%").code == "GS-COLUMN-TEMPLATE"
    assert caught(wide, column="z{top}to{bottom}", unit="%").code == "GS-COLUMN-MISSING"


def test_lists_of_several_properties_with_a_unit_in_each_row() -> None:
    long = table(
        soc_g_per_kg=None,
        property=["SOC", "soil organic carbon", "CEC", "soc"],
        value=[1.25, 8.0, 15.0, 3000.0],
        unit=["%", "g/kg", "cmol/kg", "ppm"],
    )
    samples = open_samples(long, crs=CRS)
    assert samples["value"].tolist() == [12.5, 8.0, 3.0]
    found = report(samples)
    assert found["dropped"] == {"another property": 1}
    assert found["unit"] == {"by": "column", "inside": "g/kg", "factors": {"%": 10.0, "g/kg": 1.0, "mg/kg": 0.001}}
    error = caught(long, property="pb")
    assert error.code == "GS-PROPERTY-ABSENT"
    assert "CEC" in error.render()


def test_samples_that_were_read_can_be_read_again() -> None:
    once = open_samples(table(zone=["n", "n", "s", "s"]), crs=CRS)
    again = open_samples(once)
    assert layers(again) == layers(once)
    assert again["zone"].tolist() == once["zone"].tolist()


def test_columns_named_like_results_are_kept_beside() -> None:
    samples = open_samples(table(value=[1, 2, 3, 4], geometry=["g"] * 4), crs=CRS)
    assert layers(samples) == EXPECTED
    assert samples["value_given"].tolist() == [1, 2, 3, 4]
    assert samples["geometry_given"].tolist() == ["g"] * 4


def test_an_index_with_a_name_is_a_column() -> None:
    assert layers(open_samples(table().set_index("id"), crs=CRS)) == EXPECTED


@pytest.mark.parametrize("option", ["below_detection", "invalid", "depth_unit"])
def test_unknown_option_is_named_with_the_known_ones(option: str) -> None:
    error = caught(table(), **{option: "maybe"})
    assert isinstance(error, UsageError)
    assert error.code == "GS-OPTION"
    assert option in error.message


# --- columns ---


@pytest.mark.parametrize(
    "renamed",
    [
        {"id": "profile_id"}, {"id": "SiteID"}, {"id": "pedon_key"}, {"id": "Plot"}, {"id": "sample"},
        {"x": "Easting", "y": "Northing"}, {"x": "x_m", "y": "y_m"}, {"x": "POINT_X", "y": "POINT_Y"},
        {"top": "upper", "bottom": "lower"}, {"top": "hzdept_r", "bottom": "hzdepb_r"}, {"top": "ud", "bottom": "ld"},
        {"top": "Depth from [cm]", "bottom": "Depth to [cm]"}, {"top": "UHDICM", "bottom": "LHDICM"},
        {"soc_g_per_kg": "SOC [g/kg]"}, {"soc_g_per_kg": "OC (g.kg-1)"}, {"soc_g_per_kg": "Organic carbon g kg⁻¹"},
        {"soc_g_per_kg": "Soil organic carbon (‰)"},
    ],
)  # fmt: skip
def test_synonyms_are_recognised_and_reported(renamed: dict[str, str]) -> None:
    samples = open_samples(table().rename(columns=renamed), crs=CRS)
    assert layers(samples) == EXPECTED
    roles = {"soc_g_per_kg": "value"}
    for role, name in renamed.items():
        assert report(samples)["columns"][roles.get(role, role)] == name


def test_named_columns_win_over_recognised_ones() -> None:
    frame = table(soc_lab2=[1.0, 2.0, 3.0, 4.0], name=["p", "p", "q", "q"])
    samples = open_samples(frame, crs=CRS, column="soc_lab2", unit="g/kg", id="NAME")
    assert samples["value"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert samples["profile"].tolist() == ["p", "p", "q", "q"]


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"orgc_pct": [1.0] * 4}, "orgc_pct"), ({"upper": [0] * 4}, "upper"),
        ({"profile_id": list("abcd"), "pedon": list("abcd")}, "pedon"),
        ({"lon": [149.0] * 4, "lat": [-30.0] * 4}, "lon"),
    ],
)  # fmt: skip
def test_two_columns_for_one_role_are_an_error_that_names_both(extra: dict[str, Any], named: str) -> None:
    error = caught(table(**extra))
    assert error.code == "GS-COLUMN-AMBIGUOUS"
    assert named in error.render()


def test_yttrium_is_not_a_northing() -> None:
    frame = table(Y=[20.0, 21.0, 22.0, 23.0]).rename(columns={"x": "longitude", "y": "latitude"})
    frame["longitude"], frame["latitude"] = 149.5, -30.2
    samples = open_samples(
        frame.assign(id=["A", "A", "A", "A"], top=[0, 10, 30, 60], bottom=[10, 30, 60, 90]), crs="EPSG:4326"
    )
    assert samples.geometry.y.tolist() == [-30.2] * 4


def test_missing_column_error_offers_the_nearest_name() -> None:
    error = caught(table(), column="soc_g_perkg")
    assert error.code == "GS-COLUMN-MISSING"
    assert "'soc_g_per_kg'" in error.hint
    assert caught(table(soc_g_per_kg=None, k=[1] * 4)).code == "GS-COLUMN-MISSING"
    assert caught(table(bottom=None)).code == "GS-SAMPLES-DEPTHS"


# --- units ---


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("soc_pct", 10.0), ("SOC %", 10.0), ("soc_g_100g", 10.0), ("soc [dg/kg]", 0.1), ("soc_ppm", 0.001),
        ("soc (mg kg-1)", 0.001),
    ],
)  # fmt: skip
def test_unit_in_the_header_is_converted(header: str, factor: float) -> None:
    samples = open_samples(table(soc_g_per_kg=None, **{header: [1.0, 2.0, 3.0, 4.0]}), crs=CRS)
    np.testing.assert_allclose(samples["value"], np.arange(1, 5) * factor, rtol=1e-15)


def test_unit_must_be_stated_once_and_be_known() -> None:
    bare = table(soc_g_per_kg=None, soc=[1.0, 2.0, 3.0, 4.0])
    missing = caught(bare)
    assert missing.code == "GS-UNIT-MISSING"
    assert "--unit g/kg" in missing.hint
    assert 'unit = "g/kg" in [properties.soc]' in missing.hint
    assert open_samples(bare, unit="dg/kg", crs=CRS)["value"].tolist() == [0.1, 0.2, 0.30000000000000004, 0.4]
    assert caught(bare, unit="kg/m3").code == "GS-UNIT-UNKNOWN"
    assert caught(bare, unit="-").code == "GS-UNIT-MISMATCH"
    assert caught(table(), unit="%").code == "GS-UNIT-CONTRADICTION"
    assert caught(table(unit=["g/kg", "g/kg", "%", "g/kg"])).code == "GS-UNIT-CONTRADICTION"
    assert layers(open_samples(table(unit=["g/kg"] * 4), unit="g/kg", crs=CRS)) == EXPECTED


def test_unknown_unit_in_a_cell_names_the_column() -> None:
    error = caught(table(soc_g_per_kg=None, soc=[1.0] * 4, units=["%", "%", "furlong", "%"]))
    assert error.code == "GS-UNIT-UNKNOWN"
    assert "furlong" in error.message
    assert "'units'" in error.message


def test_row_without_a_unit_is_refused_or_counted() -> None:
    frame = table(soc_g_per_kg=None, soc=[1.0] * 4, unit=["%", None, "%", "%"])
    assert caught(frame).code == "GS-UNIT-MISSING"
    assert report(open_samples(frame, crs=CRS, invalid="drop"))["dropped"] == {"no unit": 1}


def test_ph_needs_no_unit() -> None:
    samples = open_samples(table(**{"pH (H2O)": [6.5, 7.0, 5.0, 8.0]}), property="ph", crs=CRS)
    assert samples["value"].tolist() == [6.5, 7.0, 5.0, 8.0]


def test_organic_matter_needs_a_stated_factor() -> None:
    frame = table(soc_g_per_kg=None, organic_matter_pct=[1.724, 3.448, 5.172, 6.896])
    error = caught(frame)
    assert error.code == "GS-SOM-FACTOR"
    assert "1.724" in error.hint
    samples = open_samples(frame, crs=CRS, organic_matter_factor=1.724)
    np.testing.assert_allclose(samples["value"], [10, 20, 30, 40])
    assert any("1.724" in note for note in report(samples)["notes"])
    explicit = open_samples(frame, crs=CRS, column="organic_matter_pct", organic_matter_factor=2)
    np.testing.assert_allclose(explicit["value"], [8.62, 17.24, 25.86, 34.48])
    back = open_samples(table(), property="som", crs=CRS, organic_matter_factor=2)
    assert back["value"].tolist() == [25.0, 16.0, 40.5, 6.0]
    assert layers(open_samples(table(), crs=CRS, organic_matter_factor=2)) == EXPECTED


def test_unusual_values_are_counted_not_dropped() -> None:
    samples = open_samples(table(soc_g_per_kg=[650.0, 8.0, 700.0, 3.0]), crs=CRS)
    assert len(samples) == 4
    assert any("2 values outside the usual 0 to 600 g/kg" in note for note in report(samples)["notes"])


# --- below detection ---


BELOW = table(soc_g_per_kg=None, pb_mg_per_kg=["30", "<5", "≤ 4", "12"])


@pytest.mark.parametrize(
    ("handling", "values"),
    [
        ("half", [30.0, 2.5, 2.0, 12.0]), ("limit", [30.0, 5.0, 4.0, 12.0]), ("zero", [30.0, 0.0, 0.0, 12.0]),
        ("drop", [30.0, 12.0]),
    ],
)  # fmt: skip
def test_below_detection_is_handled_as_asked(handling: Any, values: list[float]) -> None:
    samples = open_samples(BELOW, property="pb", crs=CRS, below_detection=handling)
    assert samples["value"].tolist() == values
    found = report(samples)
    assert found["dropped"] == ({"a value below detection": 2} if handling == "drop" else {})
    assert found["below_detection"]["count"] == (0 if handling == "drop" else 2)


def test_below_detection_is_refused_when_nothing_is_asked() -> None:
    error = caught(BELOW, property="pb")
    assert error.code == "GS-BELOW-DETECTION"
    assert "2, 3" in error.render()
    assert "half" in error.hint


def test_limits_and_flags_of_their_own_columns() -> None:
    text = table(soc_g_per_kg=None, pb_mg_per_kg=["30", "<LOD", "9", "bdl"], limit=[4, 4, 4, 6])
    assert open_samples(text, property="pb", crs=CRS, below_detection="half")["value"].tolist() == [30.0, 2.0, 9.0, 3.0]
    flagged = table(soc_g_per_kg=None, Pb=[30.0, 5.0, 9.0, 12.0], Pb_below_dl=[False, True, False, False])
    assert caught(flagged, property="pb", unit="ppm").code == "GS-BELOW-DETECTION"
    samples = open_samples(flagged, property="pb", unit="ppm", crs=CRS, below_detection="half")
    assert samples["value"].tolist() == [30.0, 2.5, 9.0, 12.0]


def test_a_limit_that_is_not_told_is_not_guessed() -> None:
    frame = table(soc_g_per_kg=None, pb_mg_per_kg=["30", "<LOD", "9", "7"])
    assert caught(frame, property="pb", below_detection="half").code == "GS-BELOW-DETECTION"
    dropped = open_samples(frame, property="pb", crs=CRS, below_detection="half", invalid="drop")
    assert report(dropped)["dropped"] == {"a value below detection without its limit": 1}
    assert open_samples(frame, property="pb", crs=CRS, below_detection="zero")["value"].tolist() == [30, 0, 9, 7]


def test_negative_values_are_never_taken_for_below_detection() -> None:
    frame = table(soc_g_per_kg=None, as_ppm=[-10.0, 12.0, 14.0, 11.0])
    assert caught(frame, property="as", below_detection="half").code == "GS-SAMPLES-RANGE"


# --- depths ---


def test_depths_in_metres_and_float_noise() -> None:
    metres = table(top=None, bottom=None, top_m=[0, 0.1, 0, 0.1], bottom_m=[0.1, 0.3, 0.1, 0.3])
    assert layers(open_samples(metres, crs=CRS)) == EXPECTED
    stated = table(top=[0, 0.1, 0, 0.1], bottom=[0.1, 0.3, 0.1, 0.3])
    assert layers(open_samples(stated, crs=CRS, depth_unit="m")) == EXPECTED
    assert caught(metres, depth_unit="mm").code == "GS-DEPTH-UNIT"
    assert caught(table(top=None, top_m=[0, 0.1, 0, 0.1], bottom=None, bottom_cm=[10] * 4)).code == "GS-DEPTH-UNIT"
    noise = table(top=[0, 10.0000001490116, 0, 9.99999976], bottom=[10.0000001490116, 29.9999976158142, 10, 30])
    assert layers(open_samples(noise, crs=CRS)) == EXPECTED


def test_depths_as_text() -> None:
    frame = table(top=None, bottom=None, depth=["0-10", "10 – 30 cm", "0-0.1 m", "10 to 30"])
    assert layers(open_samples(frame, crs=CRS)) == EXPECTED


def test_depths_that_nothing_tells_are_asked_for() -> None:
    frame = table(top=None, bottom=None, id=list("ABCD"), depth_to_rock_m=[1.0] * 4)
    error = caught(frame)
    assert error.code == "GS-DEPTH-MISSING"
    assert 'depth = "0-20"' in error.hint
    samples = open_samples(frame, crs=CRS, depth="0-20")
    assert set(zip(samples["top_cm"], samples["bottom_cm"], strict=True)) == {(0.0, 20.0)}
    twice = caught(table(), depth="0-20")
    assert isinstance(twice, UsageError)
    assert twice.code == "GS-DEPTH-TWICE"


# --- positions ---


def test_crs_must_be_known_and_fit_the_columns() -> None:
    degrees = table(
        x=None, y=None, lon_gda94=[149.5] * 4, lat_gda94=[-30.2] * 4,
        id=["A"] * 4, top=[0, 10, 30, 60], bottom=[10, 30, 60, 90],
    )  # fmt: skip
    missing = caught(degrees, crs=None)
    assert missing.code == "GS-CRS-MISSING"
    assert 'crs = "EPSG:4283"' in missing.hint
    unnamed = degrees.rename(columns={"lon_gda94": "lon", "lat_gda94": "lat"})
    assert 'crs = "EPSG:4326"' in caught(unnamed, crs=None).hint
    assert caught(degrees, crs="EPSG:28355").code == "GS-CRS-MISMATCH"
    assert caught(degrees, crs="EPSG:0").code == "GS-CRS-UNKNOWN"
    samples = open_samples(degrees, crs="EPSG:4283")
    # x is east, whatever the order of the axes in the CRS.
    assert (samples.geometry.x.iloc[0], samples.geometry.y.iloc[0]) == (149.5, -30.2)
    assert caught(table(), crs="EPSG:4326").code == "GS-SAMPLES-POSITION"


def test_a_file_with_a_crs_needs_none_and_bears_no_other() -> None:
    assert layers(open_samples(points())) == EXPECTED
    assert caught(points(), crs="EPSG:28355").code == "GS-CRS-MISMATCH"
    assert caught(points().set_crs(None, allow_override=True), crs=None).code == "GS-CRS-MISSING"


def test_only_points_are_samples() -> None:
    frame = points()
    frame.loc[1, "geometry"] = frame.geometry.iloc[1].buffer(5)
    assert caught(frame).code == "GS-SAMPLES-GEOMETRY"
    multi = points()
    multi["geometry"] = gpd.GeoSeries.from_wkt([f"MULTIPOINT ({p.x} {p.y})" for p in multi.geometry], crs=CRS)
    assert layers(open_samples(multi)) == EXPECTED


def test_without_coordinates_the_error_says_what_to_name() -> None:
    error = caught(table(x=None, y=None, ost=[1.0] * 4))
    assert error.code == "GS-SAMPLES-XY"
    assert "ost" in error.render()


def test_without_ids_every_position_is_a_profile() -> None:
    samples = open_samples(table(id=None), crs=CRS)
    assert samples["profile"].tolist() == ["1", "1", "2", "2"]


def test_ids_of_layers_do_not_part_a_profile() -> None:
    samples = open_samples(table(id=None, sample_id=["s1", "s2", "s3", "s4"]), crs=CRS)
    assert samples["profile"].tolist() == ["1", "1", "2", "2"]
    assert samples["sample_id"].tolist() == ["s1", "s2", "s3", "s4"]
    assert any("sample_id" in note for note in report(samples)["notes"])
    asked = open_samples(table(id=None, sample_id=["s1", "s2", "s3", "s4"]), crs=CRS, id="sample_id")
    assert asked["profile"].tolist() == ["s1", "s2", "s3", "s4"]


def test_sites_are_joined_by_id() -> None:
    sites = pd.DataFrame(
        {
            "profile_id": ["B", "A", "unused"],
            "lon": [149.6, 149.5, 149.9],
            "lat": [-30.1, -30.2, -30.3],
            "great_soil_group": ["BE", "GC", "GC"],
        }
    )
    frame = table(x=None, y=None, id=["A", "A", "B", "lost"])
    samples = open_samples(frame, sites=sites, crs="EPSG:4326")
    assert samples["profile"].tolist() == ["A", "A", "B"]
    assert samples.geometry.x.tolist() == [149.5, 149.5, 149.6]
    assert samples["great_soil_group"].tolist() == ["GC", "GC", "BE"]
    found = report(samples)
    assert found["dropped"] == {"no site in the table": 1}
    assert found["examples"] == {"no site in the table": [4]}
    assert found["sites"]["used"] == 3
    assert caught(frame.drop(columns="id"), sites=sites, crs="EPSG:4326").code == "GS-SAMPLES-ID"


def test_a_site_that_is_listed_twice_is_refused() -> None:
    frame = table(x=None, y=None)
    sites = pd.DataFrame({"id": ["A", "B", "A", "B"], "x": [1.0, 2.0, 900.0, 2.0], "y": [1.0, 2.0, 1.0, 2.0]})
    error = caught(frame, sites=sites)
    assert error.code == "GS-SAMPLES-ID-TWICE"
    samples = open_samples(frame, sites=sites, crs=CRS, invalid="drop")
    # A lies at two places, so neither is believed; B is listed twice and means the same.
    assert samples["profile"].unique().tolist() == ["B"]
    assert report(samples)["sites"]["dropped"] == {"an id that occurs twice": 3}


# --- rows that cannot be used ---


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"soc_g_per_kg": [12.5, None, 20.25, 3.0]}, "no value"),
        ({"soc_g_per_kg": ["12.5", "n/a", "20.25", "3"]}, "no value"),
        ({"x": [761000.0, None, 762000.0, 762000.0]}, "no coordinates"),
        ({"top": [0, None, 0, 10]}, "no depth"),
        ({"id": ["A", "", "B", "B"]}, "no profile id"),
    ],
)
def test_rows_that_hold_nothing_are_counted(columns: dict[str, Any], reason: str) -> None:
    samples = open_samples(table(**columns), crs=CRS)
    assert layers(samples) == [EXPECTED[0], *EXPECTED[2:]]
    found = report(samples)
    assert found["dropped"] == {reason: 1}
    assert found["examples"] == {reason: [2]}


@pytest.mark.parametrize(
    ("columns", "code", "reason", "rows"),
    [
        ({"soc_g_per_kg": [12.5, -8.0, 20.25, 3.0]}, "GS-SAMPLES-RANGE", "negative", [2]),
        ({"soc_g_per_kg": [12.5, 1200.0, 20.25, 3.0]}, "GS-SAMPLES-RANGE", "above 1000", [2]),
        ({"soc_g_per_kg": [12.5, np.inf, 20.25, 3.0]}, "GS-SAMPLES-INFINITE", "infinite", [2]),
        ({"soc_g_per_kg": ["12.5", "high", "20.25", "3"]}, "GS-SAMPLES-TEXT", "not a number", [2]),
        ({"soc_g_per_kg": ["12.5", "1,234.5", "20.25", "3"]}, "GS-SAMPLES-TEXT", "not a number", [2]),
        ({"top": [0, 40, 0, 10]}, "GS-SAMPLES-INVERTED", "bottom above its top", [2]),
        ({"top": [0, 30, 0, 10]}, "GS-SAMPLES-INVERTED", "without thickness", [2]),
        ({"top": [0, -5, 0, 10], "bottom": [10, 0, 10, 30]}, "GS-SAMPLES-DEPTH", "negative depth", [2]),
        ({"top": ["0", "ten", "0", "10"]}, "GS-SAMPLES-TEXT", "not a number", [2]),
        ({"x": ["761000", "E761", "762000", "762000"]}, "GS-SAMPLES-TEXT", "not numbers", [2]),
        ({"top": [0, 8, 0, 10]}, "GS-SAMPLES-OVERLAP", "overlap", [1, 2]),
        ({"top": [0, 0, 0, 10], "bottom": [10, 10, 10, 30]}, "GS-SAMPLES-TWICE", "twice", [1, 2]),
        ({"x": [761000.0, 761002.0, 762000.0, 762000.0]}, "GS-SAMPLES-POSITION", "several places", [1, 2]),
    ],
)
def test_rows_that_cannot_be_right_are_refused_or_counted(
    columns: dict[str, Any], code: str, reason: str, rows: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "profiles 1.csv"
    table(**columns).to_csv(path, index=False)
    error = caught(path)
    assert isinstance(error, InputError)
    assert error.code == code
    assert "profiles 1.csv" in error.message
    assert reason in error.render()
    assert f"row {', '.join(map(str, rows))}" in error.render()
    assert "counted from 1" in error.render()
    assert "drop" in error.hint
    samples = open_samples(path, crs=CRS, invalid="drop")
    ((counted, count),) = report(samples)["dropped"].items()
    assert reason in counted
    assert count == len(rows)
    assert layers(samples) == [row for place, row in enumerate(EXPECTED, 1) if place not in rows]


def test_all_reasons_are_in_one_message() -> None:
    error = caught(table(soc_g_per_kg=[-1.0, 8.0, 20.0, 3.0], top=[0, 10, 20, 10]))
    assert "negative" in error.render()
    assert "bottom above its top" in error.render()


def test_a_layer_listed_twice_with_one_value_is_kept_once() -> None:
    frame = pd.concat([table(), table().iloc[[1]]])
    assert caught(frame).code == "GS-SAMPLES-TWICE"
    samples = open_samples(frame, crs=CRS, invalid="drop")
    assert layers(samples) == EXPECTED
    assert report(samples)["examples"] == {"a layer that occurs twice": [5]}


def test_a_row_without_a_value_is_never_refused_for_its_depth() -> None:
    samples = open_samples(table(soc_g_per_kg=[12.5, None, 20.25, 3.0], top=[0, 99, 0, 10]), crs=CRS)
    assert report(samples)["dropped"] == {"no value": 1}


def test_positions_within_a_metre_are_one_place() -> None:
    near = table(x=[761000.0, 761000.6, 762000.0, 762000.0])
    assert len(open_samples(near, crs=CRS)) == 4


def test_nothing_left_is_an_error_that_counts() -> None:
    error = caught(table(soc_g_per_kg=[None] * 4))
    assert error.code == "GS-SAMPLES-EMPTY"
    assert "4 with no value" in error.render()


CELLS = {
    "soc_g_per_kg": st.sampled_from(["", "-3", "x", "<2", "inf", "1e9", "5"]),
    "top": st.sampled_from(["", "-10", "25", "5", "x"]),
    "bottom": st.sampled_from(["", "0", "12", "200", "inf"]),
    "x": st.sampled_from(["", "761500", "x", "-inf"]),
    "id": st.sampled_from(["", "A", "C"]),
}

SPOIL = st.sampled_from(sorted(CELLS)).flatmap(lambda name: st.tuples(st.just(name), st.integers(0, 3), CELLS[name]))


@given(st.lists(SPOIL, max_size=5))
@settings(deadline=None, max_examples=150)
def test_however_spoilt_every_row_is_used_or_counted(spoils: list[tuple[str, int, str]]) -> None:
    frame = table().astype(str)
    for name, row, cell in spoils:
        frame.loc[row, name] = cell
    try:
        samples = open_samples(frame, crs=CRS, invalid="drop", below_detection="half")
    except GeosoilError as error:
        if error.code == "GS-SAMPLES-EMPTY":
            return
        raise
    assert report(samples)["rows"] == 4
    assert np.isfinite(samples["value"]).all()
    assert (samples["value"] >= 0).all()
    assert (samples["bottom_cm"] > samples["top_cm"]).all()
    # What is left never overlaps: the spline takes it without an error.
    assert len(spline_depths(samples, STANDARD_DEPTHS)) == samples["profile"].nunique()


# --- files that cannot be read ---


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    assert caught(tmp_path / "none.csv").code == "GS-FILE-MISSING"
    assert caught(tmp_path).code == "GS-FILE-MISSING"
    good = tmp_path / "good.parquet"
    table().to_parquet(good)
    for name in ("cut.parquet", "cut.xlsx", "cut.gpkg", "cut.csv", "cut.unknown"):
        path = tmp_path / name
        path.write_bytes(good.read_bytes()[:200])
        error = caught(path)
        assert error.code == "GS-TABLE-READ"
        assert name in error.message
    (tmp_path / "empty.csv").write_text("")
    assert caught(tmp_path / "empty.csv").code == "GS-TABLE-READ"


def test_ragged_and_doubled_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,x,y,top,bottom,soc_pct\nA,1,2,0,10,1\nA,1,2,10,20,1,5\n")
    ragged = caught(path)
    assert ragged.code == "GS-TABLE-RAGGED"
    assert "2" in ragged.details[0]
    path.write_text("id,x,y,top,bottom,soc_pct,soc_pct\nA,1,2,0,10,1,2\n")
    assert caught(path).code == "GS-COLUMN-TWICE"
    # Separators at the end of rows are no cells.
    path.write_text("id,x,y,top,bottom,soc_pct\nA,1,2,0,10,1,,\n\nA,1,2,10,20,2\n")
    assert open_samples(path, crs=CRS)["value"].tolist() == [10.0, 20.0]


def test_layers_and_sheets_must_be_chosen(tmp_path: Path) -> None:
    book = tmp_path / "book.xlsx"
    with pd.ExcelWriter(book) as writer:
        pd.DataFrame({"note": ["about"]}).to_excel(writer, sheet_name="about", index=False)
        table().to_excel(writer, sheet_name="data", index=False)
    error = caught(book)
    assert error.code == "GS-TABLE-LAYER"
    assert "data" in error.render()
    assert layers(open_samples(book, layer="data", crs=CRS)) == EXPECTED
    package = tmp_path / "two.gpkg"
    points().to_file(package, layer="samples")
    points().iloc[:1].to_file(package, layer="other")
    assert caught(package).code == "GS-TABLE-LAYER"
    assert caught(package, layer="third").code == "GS-TABLE-LAYER"
    assert layers(open_samples(package, layer="samples")) == EXPECTED


# --- real data ---


def test_edgeroi_profiles() -> None:
    samples = open_samples(
        EDGEROI / "horizons.csv", sites=EDGEROI / "sites.csv", crs="EPSG:4283", column="soc_g_per_kg"
    )
    found = report(samples)
    assert found["columns"]["id"] == "profile_id"
    assert set(found["dropped"]) == {"no value"}
    assert samples["profile"].nunique() == found["profiles"] > 300
    west, south, east, north = samples.total_bounds
    assert 149 < west < east < 151
    assert -31 < south < north < -29
    assert samples["great_soil_group"].notna().any()
    means = spline_depths(samples, STANDARD_DEPTHS, lowest=0, highest=1000)
    top, *_, deep = means.mean()
    # Carbon falls with depth in these cracking clays.
    assert top > 2 * deep


if "GEOSOIL_DATA" in os.environ:
    DATA = Path(os.environ["GEOSOIL_DATA"])
    WGS84 = {"crs": "EPSG:4326", "invalid": "drop"}

    # Numbers of values as the descriptions of the data sets state them.
    @pytest.mark.parametrize(
        ("name", "sites", "values", "options"),
        [
            ("edgeroi/horizons.csv", "edgeroi/sites.csv", 2089, {"crs": "EPSG:4283"}),
            ("macedonia-soc/horizons.csv", "macedonia-soc/sites.csv", 6681, WGS84),
            ("isric-isis/horizons.csv", "isric-isis/sites.csv", 3880, WGS84),
            ("africa-soil-profiles/horizons.parquet", "africa-soil-profiles/sites.parquet", 63_686, WGS84),
            ("kssl-kansas/horizons.csv", None, 2668, WGS84),
            ("meuse/points.csv", None, 164, {"property": "pb", "depth": "0-20", "crs": "EPSG:28992"}),
            (
                "usgs-topsoil-geochemistry/topsoil_0_5cm.parquet", None, 4841,
                {**WGS84, "property": "as", "depth": "0-5", "unit": "mg/kg", "below_detection": "half"},
            ),
        ],
    )  # fmt: skip
    def test_real_tables(name: str, sites: str | None, values: int, options: dict[str, Any]) -> None:
        samples = open_samples(DATA / name, sites=None if sites is None else DATA / sites, **options)
        found = report(samples)
        assert found["rows"] - found["dropped"].get("no value", 0) == values
        assert found["used"] > 0.9 * values
        spline_depths(samples, STANDARD_DEPTHS)
