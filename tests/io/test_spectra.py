"""Spectra come in as reflectance by sample and wavelength, from whatever file; what is not sure is asked."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosoil.bands import Bands
from geosoil.errors import GeosoilError, InputError, UsageError
from geosoil.io.bandnames import find_bands
from geosoil.io.spectra import open_spectra
from geosoil.io.spectrometer import read_asd

Array = NDArray[Any]
REAL_ASD = Path(__file__).parent.parent / "data" / "spectra" / "kssl_101453MD01.asd"
WAVELENGTH = np.arange(400, 2401, 50)


def soils(count: int = 6, seed: int = 0, wavelength: Array = WAVELENGTH) -> Array:
    """Made soils: brighter to the red, darker in the water band at 1930 nm."""
    rng = np.random.default_rng(seed)
    x = (wavelength - 350) / 2000
    water = rng.uniform(0.05, 0.1, (count, 1)) * np.exp(-(((wavelength - 1930) / 60) ** 2))
    return np.asarray(rng.uniform(0.15, 0.25, (count, 1)) + 0.4 * np.sqrt(x) - water, np.float32)


def frame(values: Array | None = None, names: Callable[[int], str] = str, **columns: Any) -> pd.DataFrame:
    values = soils() if values is None else values
    bands = pd.DataFrame(values, columns=[names(int(nm)) for nm in WAVELENGTH[: values.shape[1]]])
    return pd.concat([pd.DataFrame({"sample_id": [f"S{i}" for i in range(len(values))], **columns}), bands], axis=1)


def refusal(source: Any, **how: Any) -> GeosoilError:
    """The error that opening raises; it obeys the rules of messages."""
    with pytest.raises(GeosoilError) as caught:
        open_spectra(source, **how)
    assert len(caught.value.message) < 100
    assert "\n" not in caught.value.message
    assert caught.value.code.startswith("GS-")
    return caught.value


def check(spectra: xr.DataArray, values: Array | None = None) -> None:
    expected = soils() if values is None else values
    assert spectra.dims == ("sample", "band")
    assert spectra.dtype == np.float32
    np.testing.assert_allclose(spectra.values, expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(spectra["wavelength"], WAVELENGTH, rtol=1e-9)
    assert Bands.of(spectra).wavelength_nm == tuple(WAVELENGTH)
    assert spectra.attrs["quantity"] == "reflectance"
    assert spectra.attrs["units"] == "1"


class TestTables:
    """The same spectra from each kind of file."""

    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".xlsx"])
    def test_a_wide_table(self, tmp_path: Path, suffix: str) -> None:
        path, table = tmp_path / f"soils{suffix}", frame(carbon=[1.5, 2.0, None, 0.3, 7.0, 1.0], site=list("abcabc"))
        match suffix:
            case ".csv":
                table.to_csv(path, index=False)
            case ".tsv":
                table.to_csv(path, index=False, sep="\t")
            case ".parquet":
                table.to_parquet(path)
            case _:
                table.to_excel(path, index=False)
        spectra = open_spectra(path)
        check(spectra)
        assert spectra["sample"].values.tolist() == [f"S{i}" for i in range(6)]
        further = spectra.attrs["table"]
        assert further.columns.tolist() == ["sample_id", "carbon", "site"]
        np.testing.assert_array_equal(further["carbon"].to_numpy(float), [1.5, 2.0, np.nan, 0.3, 7.0, 1.0])
        assert spectra.attrs["sources"] == (str(path),)

    def test_a_frame_in_memory_is_taken_and_not_changed(self) -> None:
        table = frame()
        before = table.copy()
        check(open_spectra(table))
        pd.testing.assert_frame_equal(table, before)

    @pytest.mark.parametrize(
        "names",
        [
            lambda nm: f"{nm}",
            lambda nm: f"X{nm}",
            lambda nm: f"wl_{nm}",
            lambda nm: f"{nm}.0nm",
            lambda nm: f"{nm} nm",
            lambda nm: f"scan.{nm}_ref",
            lambda nm: f"{nm / 1000:.3f}",
            lambda nm: f"wl_{nm / 1000:.3f}um",
            lambda nm: f"B_{nm / 1000:.3f} µm",
        ],
    )
    def test_ways_to_name_a_band(self, names: Callable[[int], str]) -> None:
        check(open_spectra(frame(names=names), quantity="reflectance"))

    def test_falling_order_is_turned_and_said(self) -> None:
        table = frame()
        turned = table[["sample_id", *reversed(table.columns[1:])]]
        spectra = open_spectra(turned)
        check(spectra)
        assert any("rising order" in note for note in spectra.attrs["notes"])

    def test_names_sorted_as_text_are_put_in_order(self) -> None:
        table = frame()
        check(open_spectra(table[["sample_id", *sorted(table.columns[1:])]]))

    def test_detectors_that_overlap_stay_apart(self) -> None:
        wavelength = [*range(400, 1011, 10), *range(995, 1500, 10)]
        table = pd.DataFrame(np.full((2, len(wavelength)), 0.3), columns=[str(nm) for nm in wavelength])
        spectra = open_spectra(table, quantity="reflectance")
        assert spectra["wavelength"].values.tolist() == wavelength

    def test_one_column_a_spectrum_is_turned(self, tmp_path: Path) -> None:
        down = pd.DataFrame({"Wavelength": WAVELENGTH, **{f"S{i}": row for i, row in enumerate(soils())}})
        down.to_csv(tmp_path / "view.csv", index=False)
        spectra = open_spectra(tmp_path / "view.csv")
        check(spectra)
        assert spectra["sample"].values.tolist() == [f"S{i}" for i in range(6)]

    def test_other_numbered_columns_are_no_bands(self) -> None:
        table = frame(depth_10=1, k2=2).assign(**{f"pb_{year}": np.arange(6) for year in range(2010, 2016)})
        spectra = open_spectra(table)
        check(spectra)
        assert "pb_2012" in spectra.attrs["table"]

    def test_decimal_commas_and_missing_cells(self, tmp_path: Path) -> None:
        table = frame()
        table.iloc[2, 5] = np.nan
        table.to_csv(tmp_path / "a.csv", index=False, sep=";", decimal=",", na_rep="NA", encoding="cp1252")
        spectra = open_spectra(tmp_path / "a.csv")
        expected = soils()
        expected[2, 4] = np.nan
        check(spectra, expected)
        assert spectra.attrs["report"]["missing"] == 1
        assert any("decimal comma" in note for note in spectra.attrs["notes"])

    def test_ids_by_name_by_guess_and_by_row(self) -> None:
        table = frame(plot=[3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
        assert open_spectra(table, id="plot")["sample"].values.tolist() == ["3", "1", "4", "1", "5", "9"]
        assert open_spectra(table.rename(columns={"sample_id": "Lab_ID"}))["sample"].values[0] == "S0"
        by_row = open_spectra(table.rename(columns={"sample_id": "whatever"}))
        assert by_row["sample"].values.tolist() == ["1", "2", "3", "4", "5", "6"]
        assert any("numbered from 1" in note for note in by_row.attrs["notes"])
        assert refusal(table, id="plto").code == "GS-COLUMN-MISSING"

    def test_several_files_on_the_same_bands(self, tmp_path: Path) -> None:
        for name, part in (("a", slice(0, 2)), ("b", slice(2, 6))):
            frame(soils()[part]).to_csv(tmp_path / f"{name}.csv", index=False)
        for source in (tmp_path, str(tmp_path / "*.csv"), [tmp_path / "a.csv", tmp_path / "b.csv"]):
            spectra = open_spectra(source)
            check(spectra)
            assert len(spectra.attrs["table"]) == 6
            assert spectra.attrs["report"]["duplicated_ids"] == 2
        frame(soils()[:, :30]).to_csv(tmp_path / "c.csv", index=False)
        assert refusal(tmp_path).code == "GS-SPECTRA-GRID"


class TestQuantity:
    """Reflectance, percent and absorbance give the same; what is not sure is asked."""

    @pytest.mark.parametrize("said", [True, False])
    def test_percent(self, said: bool) -> None:
        spectra = open_spectra(frame(100 * soils()), quantity="percent" if said else None)
        check(spectra)
        assert spectra.attrs["report"]["stored_as"] == "percent"
        assert said or any("taken as percent" in note for note in spectra.attrs["notes"])

    def test_absorbance_is_only_taken_where_somebody_says_so(self, tmp_path: Path) -> None:
        table = frame(-np.log10(soils()))
        check(open_spectra(table, quantity="absorbance"))
        asked = refusal(table)
        assert asked.code == "GS-SPECTRA-QUANTITY"
        assert 'quantity="absorbance"' in asked.render()
        table.to_parquet(tmp_path / "dry_absorbance.parquet")
        check(open_spectra(tmp_path / "dry_absorbance.parquet"))
        check(open_spectra(frame(-np.log10(soils()), names=lambda nm: f"abs_{nm}")))

    def test_a_name_that_the_values_contradict_is_not_believed(self, tmp_path: Path) -> None:
        frame(100 * soils()).to_parquet(tmp_path / "reflectance.parquet")
        check(open_spectra(tmp_path / "reflectance.parquet"))

    def test_reflectance_is_seen_by_its_shape_and_said(self) -> None:
        spectra = open_spectra(frame())
        check(spectra)
        assert any("taken as reflectance" in note for note in spectra.attrs["notes"])

    def test_values_of_no_shape_are_asked_for(self) -> None:
        noise = np.random.default_rng(0).uniform(0.2, 0.6, (6, len(WAVELENGTH)))
        assert refusal(frame(noise)).code == "GS-SPECTRA-QUANTITY"
        check(open_spectra(frame(noise), quantity="reflectance"), noise)

    @pytest.mark.parametrize(
        ("factor", "said", "hint"),
        [
            (100, "reflectance", 'quantity="percent"'),
            (1, "percent", 'quantity="reflectance"'),
            (10_000, "reflectance", "divide by it first"),
            (10_000, None, "say it"),
            (100, "absorbance", 'quantity="percent"'),
        ],
    )
    def test_what_was_said_is_checked(self, factor: float, said: Any, hint: str) -> None:
        error = refusal(frame(factor * soils()), quantity=said)
        assert error.code == "GS-SPECTRA-QUANTITY"
        assert hint in error.hint

    def test_a_quantity_that_is_not_known(self) -> None:
        how: Any = "transmittance"
        assert isinstance(refusal(frame(), quantity=how), UsageError)


@pytest.mark.parametrize(
    ("whole", "rows", "words"),
    [
        (lambda one: one, lambda one: 100 * one, "look like percent; the others like reflectance"),
        (
            lambda one: 100 * one,
            lambda one: one,
            "look like reflectance 0 to 1, or absorbance; the others like percent",
        ),
        (lambda one: one, lambda one: -np.log10(one), "look like absorbance; the others like reflectance"),
        (lambda one: -np.log10(one), lambda one: one, "look like reflectance; the others like absorbance"),
    ],
)
@pytest.mark.parametrize("said", [False, True])
def test_rows_in_another_unit_are_refused_by_number_and_name(
    whole: Callable[[Any], Any], rows: Callable[[Any], Any], words: str, *, said: bool
) -> None:
    mixed = whole(np.vstack([soils()] * 4))
    mixed[[3, 8]] = rows(np.vstack([soils()] * 4)[[3, 8]])
    quantity: Any = "percent" if np.median(mixed) > 3 else "reflectance" if np.median(mixed) < 0.4 else "absorbance"
    error = refusal(frame(mixed), quantity=quantity if said else None)
    assert error.code == "GS-SPECTRA-MIXED"
    assert f"2 of {len(mixed)}" in error.message
    assert "4 (S3), 9 (S8)" in error.details[0]
    assert words in error.details[1]


def test_dark_flat_and_odd_soils_are_no_other_unit() -> None:
    values = np.vstack([soils(), 0.02 * soils(), np.full_like(soils()[:1], 0.9), soils()[:1, ::-1] * 0.1])
    values[-1] = 0.3 + 0.001 * np.sin(np.arange(values.shape[1]))
    assert open_spectra(frame(values), quantity="reflectance").sizes["sample"] == len(values)
    # One of 0.7 % among soils of some percent is dark.
    percent = 20 * np.vstack([values[:6], 0.1 * values[:1]])
    assert open_spectra(frame(percent), quantity="percent").sizes["sample"] == len(percent)


def test_odd_spectra_are_counted_and_kept() -> None:
    values = np.vstack([soils(), soils()[:2], soils()[:1]])
    values[3, 4], values[4, 5], values[5, 6] = np.nan, -0.01, 1.7
    table = frame(values)
    table.loc[8, "sample_id"] = "S0"
    found = open_spectra(table, quantity="reflectance").attrs["report"]
    assert found == {
        "spectra": 9,
        "bands": len(WAVELENGTH),
        "stored_as": "reflectance",
        "missing": 1,
        "not_positive": 1,
        "too_bright": 1,
        "saturated": 0,
        "duplicated_ids": 1,
        "duplicated_spectra": 3,
    }


class TestRefusals:
    def test_no_spectral_columns(self, tmp_path: Path) -> None:
        (tmp_path / "soil.csv").write_text("id,clay,soc\na,20,1.5\nb,30,2.5\n")
        assert refusal(tmp_path / "soil.csv").code == "GS-SPECTRA-COLUMNS"

    def test_two_sets_of_columns(self) -> None:
        both = pd.concat([frame(), frame(names=lambda nm: f"abs_{nm}").drop(columns="sample_id")], axis=1)
        error = refusal(both)
        assert error.code == "GS-SPECTRA-COLUMNS"
        assert "two sets" in error.message

    @pytest.mark.parametrize("factor", [0.01, 10.0, 0.0001])
    def test_wavelengths_without_a_unit(self, factor: float) -> None:
        error = refusal(frame(names=lambda nm: f"{nm * factor:.6g}"), quantity="reflectance")
        assert error.code == "GS-WAVELENGTH-UNIT"
        assert 'unit="nm"' in error.hint

    def test_a_unit_that_is_said_is_checked_too(self) -> None:
        check(open_spectra(frame(), unit="nm"))
        assert refusal(frame(), unit="um").code == "GS-WAVELENGTH-UNIT"

    def test_the_same_wavelength_twice(self) -> None:
        assert refusal(frame().assign(**{"450.0": 0.2})).code in {"GS-COLUMN-TWICE", "GS-WAVELENGTH"}

    def test_bands_in_no_order(self) -> None:
        table = frame()
        names = list(np.random.default_rng(0).permutation(table.columns[1:]))
        assert refusal(table[["sample_id", *names]]).code == "GS-WAVELENGTH"

    def test_ragged_rows(self, tmp_path: Path) -> None:
        frame().to_csv(tmp_path / "a.csv", index=False)
        lines = (tmp_path / "a.csv").read_text().splitlines()
        (tmp_path / "a.csv").write_text("\n".join([*lines[:3], lines[3].rsplit(",", 4)[0], *lines[4:]]))
        error = refusal(tmp_path / "a.csv")
        assert error.code == "GS-TABLE-RAGGED"
        assert "expected: 42 cells; found: 38" in error.details

    def test_text_in_a_band(self, tmp_path: Path) -> None:
        table = frame().astype(object)
        table.loc[2, "500"] = "high"
        table.to_csv(tmp_path / "a.csv", index=False)
        for source in (table, tmp_path / "a.csv"):
            error = refusal(source)
            assert error.code == "GS-SPECTRA-CELLS"
            assert "'500'" in error.message

    @pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.xlsx", "a.asd", "a.sed"])
    @pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 500, b"<html>not found</html>", b"id,400\n"])
    def test_files_that_are_something_else(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        assert isinstance(refusal(tmp_path / name), InputError)

    def test_nothing_there(self, tmp_path: Path) -> None:
        for source in (tmp_path / "no.csv", tmp_path, str(tmp_path / "*.asd")):
            assert refusal(source).code == "GS-FILE-MISSING"
        assert isinstance(refusal(42), UsageError)

    def test_a_table_without_rows(self) -> None:
        assert refusal(frame().iloc[:0]).code == "GS-SPECTRA-EMPTY"

    def test_only_missing_values(self) -> None:
        assert refusal(frame(np.full((3, len(WAVELENGTH)), np.nan)), quantity="reflectance").code == "GS-SPECTRA-EMPTY"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.from_regex(r"[a-zA-Z_.]{0,4}[0-9]{0,4}\.?[0-9]{0,2}[a-z]{0,2}", fullmatch=True), max_size=30))
def test_any_column_names_give_rising_runs_or_an_error(names: list[str]) -> None:
    try:
        found = find_bands(names, where="t.csv")
    except InputError:
        return
    steps = np.diff(found.wavelength_nm)
    assert set(found.names) <= set(names)
    assert (steps <= 0).sum() <= len(steps) / 3


def asd_file(
    path: Path,
    sample: Array,
    white: Array | None = None,
    *,
    kind: int = 1,
    version: bytes = b"as8",
    number: int = 2,
    flag: int = 0,
    text: bytes = b"panel",
) -> Path:
    """What an ASD instrument writes, as far as it matters here."""
    header = bytearray(484)
    header[:3] = version
    header[186], header[199], header[422] = kind, number, flag
    struct.pack_into("<ff", header, 191, 350.0, 1.0)
    struct.pack_into("<H", header, 204, len(sample))
    struct.pack_into("<ff", header, 444, 1000.0, 1830.0)
    dtype = {0: "<f4", 1: "<i4", 2: "<f8"}[number]
    content = bytes(header) + sample.astype(dtype).tobytes()
    if version != b"ASD":
        content += struct.pack("<h16sH", -1 if white is not None else 0, bytes(16), len(text)) + text
        content += (white if white is not None else 0 * sample).astype(dtype).tobytes()
    path.write_bytes(content)
    return path


class TestAsd:
    WAVELENGTH = np.arange(350.0, 2501.0)

    def counts(self, seed: int = 0) -> tuple[Array, Array]:
        """Counts of a soil and of the panel."""
        white = np.random.default_rng(seed).uniform(5000, 20_000, 2151)
        return soils(1, seed, self.WAVELENGTH)[0].astype(float) * white, white

    def test_a_real_file(self) -> None:
        spectra = open_spectra(REAL_ASD)
        assert spectra.shape == (1, 2151)
        assert spectra["wavelength"].values[[0, -1]].tolist() == [350, 2500]
        assert spectra["sample"].item() == "kssl_101453MD01"
        # An air-dry soil in the laboratory: neither black nor white, brighter to the red, dark in the water band; and
        # where counts jump by factors from one detector to the next, reflectance goes on.
        at = spectra.isel(sample=0).set_index(band="wavelength")
        assert 0.05 < float(spectra.min()) < float(spectra.max()) < 0.7
        assert at.sel(band=450) < at.sel(band=750)
        assert at.sel(band=1930) < min(at.sel(band=1850), at.sel(band=2100))
        for join in (1000, 1830):
            assert abs(at.sel(band=join + 1) - at.sel(band=join)) < 0.003
        assert spectra.attrs["table"].loc[0, "version"] == "as8"
        assert spectra.attrs["table"].loc[0, "stored"] == "raw"

    @pytest.mark.parametrize("kind", [0, 1, 2])
    @pytest.mark.parametrize("version", [b"as7", b"as8"])
    def test_counts_are_divided_by_the_panel(self, tmp_path: Path, kind: int, version: bytes) -> None:
        sample, white = self.counts()
        path = asd_file(tmp_path / "a.asd", sample, white, kind=kind, version=version)
        np.testing.assert_allclose(read_asd(path).reflectance, sample / white, rtol=1e-14)

    @pytest.mark.parametrize(("number", "tolerance"), [(0, 1e-6), (1, 1e-3), (2, 1e-14)])
    def test_all_formats_of_numbers(self, tmp_path: Path, number: int, tolerance: float) -> None:
        sample, white = self.counts()
        found = read_asd(asd_file(tmp_path / "a.asd", sample, white, number=number)).reflectance
        np.testing.assert_allclose(found, sample / white, rtol=tolerance)

    def test_the_first_version_stores_reflectance(self, tmp_path: Path) -> None:
        reflectance = soils(1, 0, self.WAVELENGTH)[0]
        path = asd_file(tmp_path / "a.asd", reflectance, version=b"ASD")
        np.testing.assert_allclose(read_asd(path).reflectance, reflectance)

    def test_files_that_older_programs_number(self, tmp_path: Path) -> None:
        for name in ("soil.000", "soil.001"):
            asd_file(tmp_path / name, *self.counts(), version=b"as2")
        assert open_spectra(tmp_path).sizes["sample"] == 2

    def test_absorbance_is_turned_into_reflectance(self, tmp_path: Path) -> None:
        reflectance = soils(1, 0, self.WAVELENGTH)[0].astype(float)
        path = asd_file(tmp_path / "a.asd", -np.log10(reflectance), kind=8)
        np.testing.assert_allclose(read_asd(path).reflectance, reflectance)

    def test_dead_channels_of_the_panel_are_missing(self, tmp_path: Path) -> None:
        sample, white = self.counts()
        white[7] = 0
        spectra = open_spectra(asd_file(tmp_path / "a.asd", sample, white))
        assert np.flatnonzero(np.isnan(spectra.values[0])).tolist() == [7]
        assert spectra.attrs["report"]["missing"] == 1

    def test_a_folder_with_a_saturated_spectrum_and_steps_at_the_joins(self, tmp_path: Path) -> None:
        for place in range(3):
            sample, white = self.counts(place)
            sample[self.WAVELENGTH <= 1000] += 0.02 * white[self.WAVELENGTH <= 1000]
            asd_file(tmp_path / f"soil{place}.asd", sample, white, flag=0b10 * (place == 1))
        (tmp_path / "list.csv").write_text("file,soc\nsoil0,1.5\n")
        plain, spliced = open_spectra(tmp_path), open_spectra(tmp_path, splice=True)
        assert plain["sample"].values.tolist() == ["soil0", "soil1", "soil2"]
        assert plain.attrs["report"]["saturated"] == 1
        join = int(np.flatnonzero(self.WAVELENGTH == 1000)[0])
        assert (np.abs(np.diff(plain.values)[:, join]) > 0.015).all()
        assert (np.abs(np.diff(spliced.values)[:, join]) < 0.001).all()
        assert any("1000 and 1830 nm" in note for note in spliced.attrs["notes"])

    def test_files_of_different_wavelengths(self, tmp_path: Path) -> None:
        for name, count in (("a", 2151), ("b", 1000)):
            asd_file(tmp_path / f"{name}.asd", np.ones(count), np.ones(count))
        error = refusal(tmp_path)
        assert error.code == "GS-SPECTRA-GRID"
        assert "b.asd" in error.details[0]

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"white": None}, "GS-SPECTRUM-REFERENCE"),
            ({"kind": 4}, "GS-SPECTRUM-TYPE"),
            ({"kind": 6}, "GS-SPECTRUM-TYPE"),
            ({"kind": 99}, "GS-SPECTRUM-TYPE"),
            ({"version": b"as9"}, "GS-SPECTRUM-READ"),
        ],
    )
    def test_files_that_hold_no_reflectance(self, tmp_path: Path, change: dict[str, Any], code: str) -> None:
        sample, white = self.counts()
        path = asd_file(tmp_path / "a.asd", **{"sample": sample, "white": white, "kind": 0, **change})
        assert refusal(path).code == code

    def test_a_file_cut_off_anywhere_is_refused(self, tmp_path: Path) -> None:
        whole = REAL_ASD.read_bytes()
        path = tmp_path / "a.asd"
        # Behind the panel's counts come calibrations, which nobody needs.
        for size in (0, 2, 3, 100, 483, 484, 5000, 17_691, 17_692, 17_700, 17_711, 20_000, 34_900):
            path.write_bytes(whole[:size])
            assert refusal(path).code in {"GS-SPECTRUM-READ", "GS-SPECTRUM-TRUNCATED"}

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(st.integers(0, 483), st.integers(0, 255)), min_size=1, max_size=8))
    def test_a_damaged_header_never_does_worse_than_an_error(
        self, tmp_path: Path, changes: list[tuple[int, int]]
    ) -> None:
        content = bytearray(REAL_ASD.read_bytes())
        for place, value in changes:
            content[place] = value
        (tmp_path / "a.asd").write_bytes(content)
        try:
            spectra = open_spectra(tmp_path / "a.asd")
        except InputError:
            return
        assert spectra.sizes["sample"] == 1


SED = """Comment:
Version: 2.2
Instrument: PSR+3500_SN1 [3]
Measurement: REFLECTANCE
Date: 09/20/2024,09/20/2024
Channels: {channels}
Columns [{count}]:
Data:
{names}
{rows}
"""


def sed_file(path: Path, columns: dict[str, Array], channels: int | None = None) -> Path:
    rows = "\n".join("\t".join(f" {value:.6f}" for value in row) for row in zip(*columns.values(), strict=True))
    count = len(next(iter(columns.values()))) if channels is None else channels
    path.write_text(SED.format(channels=count, count=len(columns), names="\t".join(columns), rows=rows))
    return path


class TestSed:
    @pytest.mark.parametrize(
        "columns",
        [
            {"Reflect. %": 100.0},
            {"Reflect. [1.0]": 1.0},
            {"Rad. (Ref.)": 50.0, "Rad. (Target)": None},
            {"Rad. (Ref.)": 50.0, "Rad. (Target)": None, "Reflect. %": 100.0},
        ],
    )
    def test_reflectance_in_all_its_forms(self, tmp_path: Path, columns: dict[str, float | None]) -> None:
        expected = soils(1)[0].astype(float)
        values = {"Wvl": WAVELENGTH.astype(float)}
        for name, factor in columns.items():
            values[name] = np.full(len(WAVELENGTH), 50.0) if "Ref." in name else (factor or 50.0) * expected
        spectra = open_spectra(sed_file(tmp_path / "soil.sed", values))
        check(spectra, expected[None, :])
        assert spectra["sample"].item() == "soil"
        assert spectra.attrs["table"].loc[0, "instrument"].startswith("PSR+3500")

    def test_lines_that_are_missing_or_damaged(self, tmp_path: Path) -> None:
        values = {"Wvl": WAVELENGTH.astype(float), "Reflect. %": 100 * soils(1)[0]}
        assert refusal(sed_file(tmp_path / "a.sed", values, channels=50)).code == "GS-SPECTRUM-TRUNCATED"
        good = sed_file(tmp_path / "a.sed", values).read_text()
        for bad in (good.replace("\t", "\t\t3 ", 2), good.rstrip() + " x\n", good.replace("Data:", "Date:")):
            (tmp_path / "a.sed").write_text(bad)
            assert refusal(tmp_path / "a.sed").code == "GS-SPECTRUM-READ"

    def test_no_reflectance_in_it(self, tmp_path: Path) -> None:
        values = {"Wvl": WAVELENGTH.astype(float), "Rad. (Target)": soils(1)[0]}
        assert refusal(sed_file(tmp_path / "a.sed", values)).code == "GS-SPECTRUM-TYPE"


if "GEOSOIL_DATA" in os.environ:
    DATA = Path(os.environ["GEOSOIL_DATA"])

    # Sizes and limits as the descriptions of the data sets state them.
    @pytest.mark.parametrize(
        ("name", "shape", "nm", "stored", "limits"),
        [
            ("spectrometer-files/*.asd", (4, 2151), (350, 2500), "reflectance", (0.02, 0.64)),
            ("spectrometer-files/csiro_example.sed", (1, 2151), (350, 2500), "reflectance", (0.06, 0.18)),
            ("spectrometer-files/kssl_sample_visnir.parquet", (20, 2151), (350, 2500), "reflectance", (0.03, 0.67)),
            ("spectrometer-files/neospectra_sample_nir.parquet", (10, 257), (1350, 2550), "percent", (0.2, 0.8)),
            ("geeves-visnir/spectra.parquet", (391, 2151), (350, 2500), "reflectance", (0.025, 0.84)),
            ("geeves-visnir/moisture_absorbance.parquet", (300, 2151), (350, 2500), "absorbance", (1e-10, 0.8)),
            ("nirsoil-wallonia/absorbance.parquet", (825, 700), (1100, 2498), "absorbance", (0.11, 0.69)),
            ("australia-csiro-visnir/spectra.parquet", (100, 2151), (350, 2500), "reflectance", (0.03, 0.96)),
            ("limesoda-visnir/sl_125.parquet", (125, 2081), (420, 2500), "percent", (0.05, 0.5)),
            ("limesoda-visnir/ssp_460.parquet", (460, 830), (350, 2498), "percent", (0.02, 0.4)),
            ("tropical-soils-fusion/vnir.parquet", (102, 351), (431.59, 2153.11), "percent", (0.01, 0.4)),
        ],
    )
    def test_real_spectra(
        name: str, shape: tuple[int, int], nm: tuple[float, float], stored: str, limits: tuple[float, float]
    ) -> None:
        spectra = open_spectra(DATA / name)
        assert spectra.shape == shape
        np.testing.assert_allclose(spectra["wavelength"].values[[0, -1]], nm, atol=0.01)
        assert spectra.attrs["report"]["stored_as"] == stored
        assert limits[0] <= float(spectra.min()) <= float(spectra.max()) <= limits[1]

    def test_energies_are_no_wavelengths() -> None:
        assert refusal(DATA / "tropical-soils-fusion/xrf.parquet").code == "GS-WAVELENGTH-UNIT"
