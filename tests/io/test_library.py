"""Libraries of any origin come to common bands, properties and units; what is wrong with them is found and told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosoil.bands import Bands
from geosoil.errors import GeosoilError, InputError, UsageError
from geosoil.io.library import open_library
from geosoil.io.librarychecks import copies, copies_of, saturated
from geosoil.io.librarygrid import onto

Array = NDArray[Any]
REAL_ASD = Path(__file__).parent.parent / "data" / "spectra" / "kssl_101453MD01.asd"
BANDS = np.arange(400.0, 2401.0, 10.0)


def soils(count: int, wavelength: Array = BANDS, seed: int = 0) -> tuple[Array, pd.DataFrame]:
    """Made soils, smooth, whose carbon darkens the visible and whose clay absorbs at 2200 nm; and their values."""
    rng = np.random.default_rng(seed)
    carbon, clay = rng.lognormal(2.5, 0.5, count), rng.uniform(5, 60, count)
    rise = np.sqrt((wavelength - 340) / 2100)
    dips = [np.exp(-(((wavelength - nm) / width) ** 2)) for nm, width in ((1415, 40), (1930, 60), (2205, 40))]
    wet = rng.uniform(0.02, 0.06, (count, 1))
    spectra = 0.12 + rng.uniform(0.3, 0.4, (count, 1)) * rise - wet * dips[0] - 2 * wet * dips[1]
    spectra = spectra - 0.001 * clay[:, None] * dips[2] - 0.02 * np.log(carbon)[:, None] * (1.3 - rise)
    return spectra, pd.DataFrame({"soc": carbon, "clay": clay, "ph": rng.uniform(4, 9, count)})


def wide(spectra: Array, wavelength: Array = BANDS, prefix: str = "", **columns: Any) -> pd.DataFrame:
    """A table with a row a spectrum."""
    bands = pd.DataFrame(spectra, columns=[f"{prefix}{nm:g}" for nm in wavelength])
    return pd.concat([pd.DataFrame(columns, index=bands.index), bands], axis=1)


def ids(count: int, letter: str = "s") -> list[str]:
    return [f"{letter}{number:03d}" for number in range(count)]


def write_plain(folder: Path, spectra: Array, values: pd.DataFrame, name: str = "plain.csv", **more: Any) -> Path:
    """Reflectance with values that say their units."""
    table = wide(spectra, id=more.pop("id", ids(len(spectra))), soc_g_per_kg=values["soc"], **more)
    table.to_csv(folder / name, index=False)
    return folder / name


def faults_of(library: xr.DataArray, fault: str) -> list[tuple[str, int]]:
    return [(one["file"], one["row"]) for one in library.attrs["report"]["faults"] if one["fault"] == fault]


def test_tables_of_any_origin_come_to_common_bands_and_units(tmp_path: Path) -> None:
    coarse, fine = np.arange(420.0, 2351.0, 5.0), np.arange(350.0, 2501.0, 2.0)
    a, of_a = soils(8, seed=1)
    b, of_b = soils(9, coarse, seed=2)
    c, of_c = soils(7, fine, seed=3)
    told: dict[str, Any] = {"SOC [g/kg]": of_a["soc"], "clay_pct": of_a["clay"], "pH (H2O)": of_a["ph"]}
    wide(a, id=ids(8, "a"), **told).to_csv(tmp_path / "a.csv", index=False)
    wide(100 * b, coarse, "X", sample_id=ids(9, "b"), soc_pct=of_b["soc"] / 10).to_parquet(tmp_path / "b.parquet")
    upside = wide(-np.log10(c), fine, "abs_", name=ids(7, "c"), organic_carbon_mg_per_kg=1000 * of_c["soc"])
    upside.iloc[:, ::-1].to_csv(tmp_path / "c.csv", index=False, sep=";")
    library = open_library(tmp_path)

    assert library.dtype == np.float32
    assert library.dims == ("sample", "band")
    np.testing.assert_array_equal(library["wavelength"], np.arange(420, 2351, 10))
    assert Bands.of(library).wavelength_nm[:2] == (420.0, 430.0)
    truth = np.concatenate(
        [soils(count, library["wavelength"].values, seed)[0] for count, seed in ((8, 1), (9, 2), (7, 3))]
    )
    np.testing.assert_allclose(library.values, truth, atol=2e-4)
    values = library.attrs["values"]
    np.testing.assert_allclose(values["soc"], pd.concat([of_a, of_b, of_c])["soc"], rtol=1e-9)
    np.testing.assert_allclose(values["clay"][:8], of_a["clay"])
    assert values[["clay", "ph"]].notna().sum().tolist() == [8, 8]
    assert library.attrs["value_units"] == {"soc": "g/kg", "clay": "%", "ph": "1"}
    assert library["source"].values.tolist() == ["a"] * 8 + ["b"] * 9 + ["c"] * 7
    assert library["sample"].values[[0, 8, 17]].tolist() == ["a000", "b000", "c000"]
    report = library.attrs["report"]
    assert (report["read"], report["used"]) == (24, 24)
    assert any("b (420 to 2350 nm)" in note or "a (400 to 2400 nm)" in note for note in library.attrs["notes"])


def test_what_is_told_of_a_table_comes_before_what_it_looks_like(tmp_path: Path) -> None:
    spectra, values = soils(10)
    table = wide(spectra, plot=ids(10), soc=values["soc"] / 10, om=values["soc"] * 0.17, zn=values["clay"])
    (tmp_path / "lab").mkdir()
    table.to_csv(tmp_path / "lab" / "one.csv", index=False)
    told = {
        "lab/*.csv": {
            "id": "plot", "source": "farm", "country": "SE", "instrument": "ASD",
            "properties": {"soc": {"column": "soc", "unit": "%"}, "zinc": {"column": "zn", "unit": "mg/dm3"}},
        }
    }  # fmt: skip
    library = open_library(tmp_path, tables=told)
    np.testing.assert_allclose(library.attrs["values"]["soc"], values["soc"])
    np.testing.assert_allclose(library.attrs["values"]["zinc"], values["clay"])
    assert library.attrs["value_units"] == {"soc": "g/kg", "zinc": "mg/dm3"}
    assert set(library["country"].values) == {"SE"}
    assert set(library["instrument"].values) == {"ASD"}
    assert set(library["source"].values) == {"farm"}
    assert library["sample"].values[3] == "s003"


def test_organic_matter_stands_for_carbon_only_by_a_stated_factor(tmp_path: Path) -> None:
    spectra, values = soils(6)
    wide(spectra, id=ids(6), som_pct=values["soc"] * 0.1724).to_csv(tmp_path / "a.csv", index=False)
    assert list(open_library(tmp_path).attrs["values"].columns) == ["som"]
    library = open_library(tmp_path, organic_matter_factor=1.724)
    np.testing.assert_allclose(library.attrs["values"]["soc"], values["soc"])
    np.testing.assert_allclose(library.attrs["values"]["som"], 1.724 * values["soc"])


def test_a_description_lies_in_the_folder(tmp_path: Path) -> None:
    spectra, values = soils(6)
    wide(spectra, nr=ids(6)).to_csv(tmp_path / "scans.csv", index=False)
    wide(spectra + 0.01, nr=ids(6)).to_csv(tmp_path / "other.csv", index=False)
    pd.DataFrame({"lab": range(6), "nr": ids(6)[::-1], "C": values["soc"]}).to_csv(tmp_path / "lab.csv", index=False)
    (tmp_path / "library.toml").write_text(
        'others = false\n[[table]]\npath = "scans.csv"\nid = "nr"\nvalues = "lab.csv"\n'
        '[table.properties]\nsoc = { column = "C", unit = "g/kg" }\n',
        encoding="utf-8",
    )
    library = open_library(tmp_path)
    assert set(library["source"].values) == {"scans"}
    np.testing.assert_allclose(library.attrs["values"]["soc"], values["soc"][::-1])


def test_values_beside_the_spectra_are_found_by_their_ids(tmp_path: Path) -> None:
    spectra, values = soils(6)
    wide(spectra, sample_id=ids(6)).to_csv(tmp_path / "scans.csv", index=False)
    lab = pd.DataFrame({"Sample ID": ids(5)[::-1], "soc_pct": values["soc"][:5] / 10})
    lab.to_csv(tmp_path / "lab.csv", index=False)
    pd.DataFrame({"day": range(3), "rain": 2.0}).to_csv(tmp_path / "weather.csv", index=False)
    library = open_library(tmp_path)
    np.testing.assert_allclose(library.attrs["values"]["soc"][:5], values["soc"][:5][::-1])
    assert np.isnan(library.attrs["values"]["soc"][5])
    assert [one["table"] for one in library.attrs["report"]["left_out"]] == ["weather"]
    assert "scans: 5 samples have values" in library.attrs["notes"]


def test_a_table_of_values_that_is_not_there_is_told_with_the_table_it_belongs_to(tmp_path: Path) -> None:
    spectra, _ = soils(6)
    wide(spectra, nr=ids(6)).to_csv(tmp_path / "scans.csv", index=False)
    (tmp_path / "library.toml").write_text(
        f'[[table]]\npath = "scans.csv"\nid = "nr"\nvalues = "{tmp_path / "away" / "lab.csv"}"\n', encoding="utf-8"
    )
    with pytest.raises(InputError) as caught:
        open_library(tmp_path)
    assert caught.value.code == "GS-FILE-MISSING"
    assert "scans" in caught.value.message
    assert str(tmp_path / "away" / "lab.csv") in caught.value.details[0]


def test_lucas_is_known_by_its_columns(tmp_path: Path) -> None:
    bands = np.arange(400.0, 2500.0, 5.0)
    spectra, values = soils(7, bands)
    table = wide(
        -np.log10(spectra), bands, "spc.", ID=ids(7), OC=values["soc"], clay=values["clay"],
        **{"pH.in.CaCl2": values["ph"] - 0.6, "pH.in.H2O": values["ph"]}, NUTS_0=["AT"] * 3 + ["BE"] * 4,
    )  # fmt: skip
    table.to_csv(tmp_path / "lucas.csv", index=False)
    library = open_library(tmp_path)
    assert library.attrs["report"]["tables"][0]["layout"] == "LUCAS"
    np.testing.assert_allclose(library.values, soils(7, library["wavelength"].values)[0], atol=2e-4)
    for code in ("soc", "clay", "ph"):
        np.testing.assert_allclose(library.attrs["values"][code], values[code])
    assert library["country"].values.tolist() == ["AT"] * 3 + ["BE"] * 4
    assert "XDS" in library["instrument"].values[0]


def test_ossl_is_known_by_its_columns_and_its_mid_infrared_is_let_be(tmp_path: Path) -> None:
    bands = np.arange(350.0, 2501.0, 10.0)
    spectra, values = soils(12, bands)
    columns: dict[str, Any] = {
        "dataset.code_ascii_txt": ["KSSL.SSL"] * 6 + ["LUCAS.SSL"] * 6,
        "id.layer_uuid_txt": ids(12, "u"),
        "location.country_iso.3166_txt": "USA",
        "scan.visnir.model.name_utf8_txt": "ASD Labspec",
        "oc_usda.c729_w.pct": np.where(np.arange(12) < 6, values["soc"] / 10, np.nan),
        "oc_iso.10694_w.pct": np.where(np.arange(12) < 6, np.nan, values["soc"] / 10),
        "clay.tot_usda.a334_w.pct": values["clay"],
        "ph.h2o_usda.a268_index": values["ph"],
    }
    near = wide(spectra, bands, "", **columns).rename(
        columns=lambda name: f"scan_visnir.{name}_ref" if name.isdigit() else name
    )
    near.iloc[2, len(columns) :] = np.nan
    middle = pd.DataFrame({f"scan_mir.{number}_abs": np.full(12, 0.7) for number in range(600, 4001, 10)})
    pd.concat([near, middle], axis=1).to_csv(tmp_path / "ossl.csv", index=False)
    library = open_library(tmp_path / "ossl.csv")
    assert library.attrs["report"]["missing"] == 1
    kept = [row for row in range(12) if row != 2]
    np.testing.assert_allclose(library.values, spectra[kept], atol=1e-6)
    np.testing.assert_allclose(library.attrs["values"]["soc"], values["soc"][kept])
    np.testing.assert_allclose(library.attrs["values"]["clay"], values["clay"][kept])
    assert library["source"].values.tolist() == ["KSSL.SSL"] * 5 + ["LUCAS.SSL"] * 6
    assert library["sample"].values[0] == "u000"
    assert library["instrument"].values[0] == "ASD Labspec"


def test_icraf_isric_is_known_with_its_values_in_another_table(tmp_path: Path) -> None:
    bands = np.arange(350.0, 2501.0, 10.0)
    spectra, values = soils(8, bands)
    wide(spectra, bands, "W", **{"Batch and labid": ids(8, "FS")}).to_csv(tmp_path / "VNIR.csv", index=False)
    pd.DataFrame(
        {"Batch and labid": ids(8, "FS")[::-1], "Country name": ["Kenya"] * 8, "Org C": values["soc"][::-1] / 10,
         "Clay": values["clay"][::-1], "pH (H2O)": values["ph"][::-1]}
    ).to_csv(tmp_path / "reference.csv", index=False)  # fmt: skip
    library = open_library(tmp_path)
    np.testing.assert_allclose(library.values, spectra, atol=1e-6)
    for code in ("soc", "clay", "ph"):
        np.testing.assert_allclose(library.attrs["values"][code], values[code])
    assert set(library["country"].values) == {"Kenya"}


def test_spectrometers_files_take_values_from_a_table_beside_them(tmp_path: Path) -> None:
    shutil.copy(REAL_ASD, tmp_path / "p1.asd")
    pd.DataFrame({"file": ["p1.asd", "p2.asd"], "clay [%]": [21.0, 30.0]}).to_csv(tmp_path / "lab.csv", index=False)
    library = open_library(tmp_path, range_nm=(400, 2400), step_nm=10)
    assert library.shape == (1, 201)
    assert library.attrs["values"]["clay"].tolist() == [21.0]
    assert library["instrument"].values[0] == "ASD"


def test_nothing_is_guessed_where_a_unit_is_missing(tmp_path: Path) -> None:
    spectra, values = soils(6)
    path = tmp_path / "a.csv"
    wide(spectra, id=ids(6), soc=values["soc"], clay_g_per_dm3=10 * values["clay"]).to_csv(path, index=False)
    library = open_library(path)
    assert not len(library.attrs["values"].columns)
    assert any("'soc'" in note and "no unit" in note for note in library.attrs["notes"])
    for properties, code in (
        ({"soc": "soc"}, "GS-UNIT-MISSING"),
        ({"clay": {"column": "clay_g_per_dm3", "unit": "g/dm3"}}, "GS-UNIT-UNKNOWN"),
        ({"soc": {"column": "carbon", "unit": "%"}}, "GS-COLUMN-MISSING"),
    ):
        with pytest.raises(InputError) as caught:
            open_library(path, tables={"a.csv": {"properties": properties}})
        assert caught.value.code == code
        assert len(caught.value.message) < 100


def test_each_fault_is_found_counted_and_named(tmp_path: Path) -> None:
    spectra, values = soils(60)
    spectra[3, 50] = np.nan
    spectra[7] *= 100
    spectra[11] = -np.log10(spectra[11])
    spectra[12] /= 100
    spectra[15, 20] = -0.01
    spectra[19, 80] = 1.7
    spectra[23, 90:110] = 0.999
    spectra[31] = spectra[30]
    spectra[41] = np.round(spectra[40], 4)
    carbon = values["soc"].to_numpy().copy()
    carbon[41] = carbon[40]
    values["soc"] = carbon
    write_plain(tmp_path, spectra, values)
    library = open_library(tmp_path)
    assert faults_of(library, "missing") == [("plain.csv", 4)]
    assert faults_of(library, "mislabelled") == [("plain.csv", row) for row in (8, 12, 13)]
    assert faults_of(library, "out_of_range") == [("plain.csv", 16), ("plain.csv", 20)]
    assert faults_of(library, "saturated") == [("plain.csv", 24)]
    assert faults_of(library, "duplicated") == [("plain.csv", 32), ("plain.csv", 42)]
    report = library.attrs["report"]
    named = {one["row"]: one for one in report["faults"] if one["fault"] == "duplicated"}
    assert named[32]["copy_of"] == "s030"
    assert named[32]["other_values"]
    assert not named[42]["other_values"]
    assert report["read"] == 60
    assert report["used"] == library.sizes["sample"] == len(library.attrs["values"]) == 51
    assert not {"s003", "s007", "s031"} & set(library["sample"].values)


def test_of_copies_the_one_with_most_values_stays(tmp_path: Path) -> None:
    spectra, values = soils(5)
    write_plain(tmp_path, spectra, values, "a.csv")
    write_plain(tmp_path, spectra + 1e-5, values, "b.csv", clay_pct=values["clay"], id=ids(5, "b"))
    library = open_library(tmp_path)
    assert library["source"].values.tolist() == ["b"] * 5
    assert library.attrs["report"]["duplicated"] == 5


def test_near_spectra_with_other_values_are_other_soils(tmp_path: Path) -> None:
    spectra, values = soils(4)
    spectra = np.concatenate([spectra, spectra + 2e-4])
    values = pd.concat([values, values + 3], ignore_index=True)
    write_plain(tmp_path, spectra, values)
    assert open_library(tmp_path).attrs["report"]["duplicated"] == 0
    assert open_library(tmp_path, tolerance=0).attrs["report"]["duplicated"] == 0


def test_a_value_that_its_neighbours_belie_is_told_and_dropped_on_demand(tmp_path: Path) -> None:
    ends, values = soils(120)
    # Mixtures of two soils, of which carbon is a plain function, but for one typing error.
    share = np.linspace(0, 1, 120)
    spectra = (1 - share[:, None]) * ends[0] + share[:, None] * ends[1]
    carbon = 5 * np.exp(2 * share)
    carbon[77] *= 30
    values["soc"] = carbon
    write_plain(tmp_path, spectra, values)
    library = open_library(tmp_path)
    assert library.attrs["report"]["doubtful"]["soc"] == 1
    assert faults_of(library, "doubtful soc") == [("plain.csv", 78)]
    assert library.attrs["values"]["soc"][77] == pytest.approx(values["soc"][77])
    dropped = open_library(tmp_path, doubtful="drop").attrs["values"]["soc"]
    assert np.flatnonzero(dropped.isna()).tolist() == [77]


def test_a_data_set_in_another_unit_is_asked_about(tmp_path: Path) -> None:
    for name, factor, seed in (("a.csv", 1.0, 1), ("b.csv", 1.0, 2), ("wrong.csv", 0.1, 3)):
        spectra, values = soils(40, seed=seed)
        values["soc"] *= factor
        write_plain(tmp_path, spectra, values, name)
    asked = [note for note in open_library(tmp_path).attrs["notes"] if "is its unit right" in note]
    assert len(asked) == 1
    assert asked[0].startswith("wrong: soc")


def test_repeated_scans_of_a_sample_are_averaged_and_layers_of_a_profile_are_not(tmp_path: Path) -> None:
    spectra, values = soils(4)
    twice = np.concatenate([spectra + 0.002, spectra - 0.002])
    same = pd.concat([values, values], ignore_index=True)
    write_plain(tmp_path, twice, same, id=ids(4) * 2)
    library = open_library(tmp_path)
    assert library.attrs["report"]["averaged"] == 4
    np.testing.assert_allclose(library.values, spectra, atol=1e-6)
    same["soc"] += np.arange(8)
    write_plain(tmp_path, twice, same, id=ids(4) * 2)
    assert open_library(tmp_path).sizes["sample"] == 8


def test_tables_that_fall_short_of_a_range_are_left_out_or_refused(tmp_path: Path) -> None:
    near = np.arange(1000.0, 2401.0, 10.0)
    write_plain(tmp_path, *soils(5, seed=1), "all.csv")
    wide(soils(5, near, seed=2)[0], near, id=ids(5)).to_csv(tmp_path / "near.csv", index=False)
    told = {"*.csv": {"quantity": "reflectance"}}
    both = open_library(tmp_path, tables=told)
    assert both["wavelength"].values[[0, -1]].tolist() == [1000, 2400]
    assert any("60 bands below" in note for note in both.attrs["notes"])
    one = open_library(tmp_path, tables=told, range_nm=(400, 2400), step_nm=20)
    assert set(one["source"].values) == {"all"}
    assert one.sizes["band"] == 101
    assert "1000 to 2400" in one.attrs["report"]["left_out"][0]["why"]
    with pytest.raises(InputError) as caught:
        open_library(tmp_path, tables=told, range_nm=(400, 2400), short="refuse")
    assert caught.value.code == "GS-LIBRARY-RANGE"
    assert any(detail.startswith("near ") for detail in caught.value.details)
    given_bands = open_library(tmp_path, tables=told, wavelengths=[1000.5, 1200, 2205])
    np.testing.assert_allclose(given_bands.values[:5], soils(5, np.array([1000.5, 1200, 2205]), 1)[0], atol=1e-3)


def test_tables_without_common_bands_are_refused(tmp_path: Path) -> None:
    for name, bands in (("vis.csv", np.arange(400.0, 900.0, 10)), ("swir.csv", np.arange(1500.0, 2400.0, 10))):
        wide(soils(5, bands)[0], bands, id=ids(5)).to_csv(tmp_path / name, index=False)
    with pytest.raises(InputError) as caught:
        open_library(tmp_path, quantity="reflectance")
    assert caught.value.code == "GS-LIBRARY-RANGE"
    assert "vis: 400 to 890 nm" in caught.value.details


@pytest.mark.parametrize(("turn", "said"), [("absorbance", "reflectance"), ("reflectance", "absorbance")])
def test_a_table_that_is_upside_down_against_its_label_is_refused(tmp_path: Path, turn: str, said: str) -> None:
    spectra, values = soils(8)
    write_plain(tmp_path, -np.log10(spectra) if turn == "absorbance" else spectra, values)
    with pytest.raises(InputError) as caught:
        open_library(tmp_path, quantity=said)  # type: ignore[arg-type]
    assert caught.value.code == "GS-SPECTRA-QUANTITY"
    assert turn in caught.value.message


def test_percent_against_its_label_is_refused(tmp_path: Path) -> None:
    spectra, values = soils(8)
    write_plain(tmp_path, 100 * spectra, values)
    with pytest.raises(InputError) as caught:
        open_library(tmp_path, tables={"plain.csv": {"quantity": "reflectance"}})
    assert caught.value.code == "GS-SPECTRA-QUANTITY"
    assert "library.toml" in caught.value.hint


def test_the_cache_gives_the_same_and_knows_changed_and_damaged_files(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    spectra, values = soils(12)
    path = write_plain(data, spectra, values)
    first = open_library(data, cache=cache)
    again = open_library(data, cache=cache)
    assert (first.attrs["report"]["cached"], again.attrs["report"]["cached"]) == (False, True)
    xr.testing.assert_identical(first.drop_attrs(), again.drop_attrs())
    pd.testing.assert_frame_equal(first.attrs["values"], again.attrs["values"])
    for key in ("notes", "sources", "value_units", "units", "quantity"):
        assert first.attrs[key] == again.attrs[key]
    (kept,) = cache.iterdir()
    held = bytearray(kept.read_bytes())
    held[len(held) // 3] ^= 0xFF
    kept.write_bytes(held)
    mended = open_library(data, cache=cache)
    assert not mended.attrs["report"]["cached"]
    np.testing.assert_array_equal(mended.values, first.values)
    assert open_library(data, cache=cache).attrs["report"]["cached"]
    assert not open_library(data, cache=cache, step_nm=20).attrs["report"]["cached"]
    write_plain(data, spectra + 0.01, values)
    changed = open_library(data, cache=cache)
    np.testing.assert_allclose(changed.values, first.values + 0.01, atol=1e-6)
    assert path.is_file()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    write_plain(tmp_path, *soils(6))
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert open_library(tmp_path / "plain.csv", cache=tmp_path / "taken").sizes["sample"] == 6


def test_a_folder_may_hold_other_tables_but_what_is_named_has_to_be_spectra(tmp_path: Path) -> None:
    write_plain(tmp_path, *soils(6))
    other = tmp_path / "weather.csv"
    pd.DataFrame({"day": range(9), "rain": range(9)}).to_csv(other, index=False)
    report = open_library(tmp_path).attrs["report"]
    assert report["left_out"][0]["table"] == "weather"
    with pytest.raises(InputError) as caught:
        open_library([tmp_path / "plain.csv", other])
    assert caught.value.code == "GS-SPECTRA-COLUMNS"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[[table]]\npath = "a.csv"\nquantiy = "percent"\n', "GS-LIBRARY-TOML"),
        ("[[table]]\nsource = 3\n", "GS-LIBRARY-TOML"),
        ("[[table\n", "GS-LIBRARY-TOML"),
        ('[[table]]\npath = "a.csv"\nproperties = { soc = 3 }\n', "GS-LIBRARY-TOML"),
        ('[[table]]\npath = "b.csv"\n', "GS-FILE-MISSING"),
        ('[[table]]\npath = "a.csv"\nid = "id"\nvalues = "b.csv"\n', "GS-FILE-MISSING"),
        ('[[table]]\npath = "a.csv"\nquantity = "counts"\n', "GS-SPECTRA-QUANTITY"),
        ('[[table]]\npath = "a.csv"\nid = "plot"\n', "GS-COLUMN-MISSING"),
        ('organic_matter_factor = -1\n[[table]]\npath = "a.csv"\n', "GS-LIBRARY-TOML"),
    ],
)
def test_a_description_with_mistakes_is_refused_plainly(tmp_path: Path, text: str, code: str) -> None:
    write_plain(tmp_path, *soils(5), "a.csv")
    (tmp_path / "library.toml").write_text(text, encoding="utf-8")
    with pytest.raises(GeosoilError) as caught:
        open_library(tmp_path)
    assert caught.value.code == code
    assert len(caught.value.message) < 100


@pytest.mark.parametrize(
    "wrong",
    [{"range_nm": (900, 400)}, {"step_nm": 0}, {"wavelengths": [500, 400]}, {"short": "cut"}, {"tolerance": 1},
     {"quantity": "radiance"}, {"organic_matter_factor": -1}, {"doubtful": "hide"}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        open_library(tmp_path, **wrong)
    assert caught.value.code == "GS-LIBRARY"


def test_a_folder_without_spectra_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_library(tmp_path)
    assert caught.value.code == "GS-FILE-MISSING"
    pd.DataFrame({"day": range(9), "rain": range(9)}).to_csv(tmp_path / "weather.csv", index=False)
    with pytest.raises(InputError) as caught:
        open_library(tmp_path)
    assert caught.value.code == "GS-LIBRARY-EMPTY"
    with pytest.raises(UsageError):
        open_library(3)  # type: ignore[arg-type]


def brute(spectra: Array, tolerance: float) -> list[int]:
    """The first kept spectrum that each one is a copy of."""
    kept: list[int] = []
    for row, one in enumerate(spectra):
        if not any(np.sqrt(np.mean((one - spectra[other]) ** 2)) <= tolerance for other in kept):
            kept.append(row)
    return kept


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 60), st.integers(2, 40), st.integers(1, 30))
def test_copies_are_found_as_by_comparing_all_with_all(seed: int, count: int, bands: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    spectra = rng.random((kinds, bands))[rng.integers(0, kinds, count)]
    spectra = spectra + rng.choice([0.0, 1e-5], (count, 1))
    of = copies(spectra, 1e-4)
    assert np.flatnonzero(of < 0).tolist() == brute(spectra, 1e-4)
    rows = np.flatnonzero(of >= 0)
    assert (of[of[rows]] < 0).all()
    np.testing.assert_allclose(spectra[rows], spectra[of[rows]], atol=2e-4)
    found = copies_of(spectra, spectra[::-1], 1e-4)
    np.testing.assert_allclose(spectra[::-1][found], spectra, atol=2e-4)
    assert (copies_of(spectra, spectra + 0.01, 1e-4) == -1).all()


def test_thousands_of_copies_are_found_in_a_moment() -> None:
    spectra = np.tile(soils(1)[0], (3000, 1)) + 1e-6 * np.random.default_rng(0).random((3000, 1))
    assert (copies(spectra, 1e-3) >= 0).sum() == 2999


def test_rounded_spectra_are_not_saturated_and_clipped_ones_are() -> None:
    bands = np.arange(400.0, 2401.0, 1.0)
    spectra, _ = soils(20, bands)
    assert not saturated(np.round(spectra, 2), bands).any()
    spectra[4] *= 2.4
    assert saturated(np.minimum(spectra, 1.0), bands).nonzero()[0].tolist() == [4]
    dark = -np.log10(spectra / 1e10)
    assert saturated(10.0 ** -np.minimum(dark, 9.99), bands).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 50), st.integers(2, 50))
def test_straight_lines_equal_those_of_numpy(seed: int, source: int, target: int) -> None:
    rng = np.random.default_rng(seed)
    have, want = np.sort(rng.uniform(400, 2500, source)), np.sort(rng.uniform(350, 2550, target))
    spectra = rng.random((3, source)).astype(np.float32)
    expected = [np.interp(want, have, one) for one in spectra]
    np.testing.assert_allclose(onto(spectra, have, want), expected, rtol=1e-4, atol=1e-5)


def test_a_missing_band_harms_only_what_needs_it() -> None:
    spectra = np.array([[1, np.nan, 3, 4]], np.float32)
    found = onto(spectra, np.array([400.0, 410, 420, 430]), np.array([400.0, 405, 420, 425, 430]))
    np.testing.assert_array_equal(found, [[1, np.nan, 3, 3.5, 4]])


if "GEOSOIL_DATA" in os.environ:
    DATA = Path(os.environ["GEOSOIL_DATA"])
    DESCRIPTION = Path(__file__).parents[2] / "benchmarks" / "open_library.toml"

    def real(**changes: Any) -> xr.DataArray:
        return open_library(DATA, tables=DESCRIPTION, **changes)

    def test_the_open_library_comes_to_the_units_that_its_readmes_tell() -> None:
        library = real(range_nm=(440, 2150), step_nm=5)
        values, source = library.attrs["values"], library["source"].values

        def middle(name: str, code: str) -> float:
            return float(values[code][source == name].median())

        assert middle("csiro", "soc") == pytest.approx(13.65)
        assert middle("ssp_460", "soc") == pytest.approx(13.0)
        assert middle("sl_125", "soc") == pytest.approx(30 / 1.724)
        assert middle("geeves", "soc") == pytest.approx(8.5)
        assert middle("tropical", "ph") == pytest.approx(5.2)
        assert np.isnan(middle("tropical", "soc"))
        # Two rows of the set of Santa Catarina hold one spectrum, with different values.
        assert faults_of(library, "duplicated") == [("sc_93.parquet", 81)]
        held: Sequence[float] = library.values.min(), library.values.max()
        assert 0 < held[0] < 0.02
        assert 0.9 < held[1] < 1

    def test_the_copies_in_the_set_of_wallonia_are_found() -> None:
        copied = [one for one in real().attrs["report"]["faults"] if one["sample"].startswith("W") and "copy_of" in one]
        assert {(one["copy_of"], one["sample"]) for one in copied} == {
            ("W082", "W643"),
            ("W115", "W657"),
            ("W148", "W668"),
        }
        assert not any(one["other_values"] for one in copied)
