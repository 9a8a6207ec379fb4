"""A library comes to the bands of local samples or a sensor, and none of the local samples stays in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError
from geosoil.io.library import open_library
from geosoil.jobs.libraries import LibrarySet, library_for
from geosoil.prep.resample import gaussian_weights, linear_weights, resample

Array = NDArray[Any]
FINE = np.arange(400.0, 2401.0, 2.0)


def soils(count: int, wavelength: Array, seed: int = 0) -> Array:
    """Made soils: smooth, brighter to the red, with a water band."""
    rng = np.random.default_rng(seed)
    rise = np.sqrt((wavelength - 340) / 2100)
    water = np.exp(-(((wavelength - 1930) / 60) ** 2))
    slopes, wet = rng.uniform(0.25, 0.45, (count, 1)), rng.uniform(0.04, 0.12, (count, 1))
    return np.asarray(rng.uniform(0.08, 0.14, (count, 1)) + slopes * rise - wet * water)


@pytest.fixture
def library(tmp_path: Path) -> xr.DataArray:
    """Three data sets of 20 samples: carbon in all, pH in the first, lead in the last."""
    for seed, name in enumerate(("one", "two", "three")):
        columns: dict[str, Any] = {"id": [f"{name}{k}" for k in range(20)], "soc_g_per_kg": np.arange(20) + 1.0 + seed}
        columns |= {"ph": np.linspace(4, 8, 20)} if name == "one" else {}
        columns |= {"pb_mg_per_kg": np.arange(20) + 10.0, "som_pct": 3.0} if name == "three" else {}
        bands = pd.DataFrame(soils(20, FINE, seed), columns=[f"{nm:g}" for nm in FINE])
        pd.concat([pd.DataFrame(columns), bands], axis=1).to_parquet(tmp_path / f"{name}.parquet")
    return open_library(tmp_path, quantity="reflectance")


def sensor(fwhm: float | None = 9.0) -> Bands:
    centres = tuple(np.arange(450.0, 2300.0, 8.0))
    return Bands(
        tuple(f"b{k}" for k in range(len(centres))),
        wavelength_nm=centres,
        fwhm_nm=() if fwhm is None else (fwhm,) * len(centres),
    )


@pytest.mark.parametrize("fwhm", [9.0, None])
def test_a_sensor_sees_the_library_by_its_widths_or_by_straight_lines(
    library: xr.DataArray, fwhm: float | None
) -> None:
    bands = sensor(fwhm)
    found = library_for(library, bands, ["soc"])
    centres = np.asarray(bands.wavelength_nm)
    weights = linear_weights(FINE, centres) if fwhm is None else gaussian_weights(FINE, centres, fwhm)
    np.testing.assert_allclose(found.spectra, resample(library.values.astype(np.float64), weights), atol=1e-6)
    assert found.spectra.dtype == np.float64
    assert found.bands == bands
    assert len(found) == 60
    same = library_for(library, centres, ["soc"], fwhm_nm=fwhm)
    np.testing.assert_array_equal(same.spectra, found.spectra)


def test_samples_with_any_of_the_properties_are_kept_in_order(library: xr.DataArray) -> None:
    found = library_for(library, sensor(), ["ph", "PB"])
    assert found.codes == ("ph", "pb")
    assert found.report["by_source"] == {"one": 20, "three": 20}
    rows = np.isin(library["source"].values, ("one", "three"))
    np.testing.assert_array_equal(found.names, library["sample"].values[rows])
    np.testing.assert_array_equal(found.values, library.attrs["values"][["ph", "pb"]].to_numpy()[rows])
    assert np.isfinite(found.values).any(axis=1).all()
    assert library_for(library, sensor(), ["soc"]).transform == "log"
    assert found.transform == "none"
    part = found.take(np.arange(5))
    assert isinstance(part, LibrarySet)
    assert len(part) == len(part.spectra) == len(part.values) == len(part.source) == 5


@pytest.mark.parametrize("fwhm", [9.0, None])
def test_local_samples_are_found_in_the_library_and_leave_it(library: xr.DataArray, fwhm: float | None) -> None:
    bands = sensor(fwhm)
    centres = np.asarray(bands.wavelength_nm)
    # The same samples, measured every 7 nm by the table of the local ones, rounded; and some that are new.
    own = np.arange(400.0, 2401.0, 7.0)
    spectra = np.concatenate([np.round(soils(20, own, 1)[[3, 8, 8, 17]], 4), soils(10, own, 77)])
    weights = linear_weights(own, centres) if fwhm is None else gaussian_weights(own, centres, fwhm)
    found = library_for(library, bands, ["soc"], local=resample(spectra, weights))
    assert found.report["copies"] == 3
    assert set(library["sample"].values) - set(found.names) == {"two3", "two8", "two17"}
    assert {(one["sample"], one["local_row"]) for one in found.report["copies_named"]} == {
        ("two3", 1), ("two8", 2), ("two17", 4),
    }  # fmt: skip
    apart = library_for(library, bands, ["soc"], local=resample(spectra[4:], weights))
    assert apart.report["copies"] == 0
    assert len(apart) == 60


def test_a_library_of_local_samples_alone_is_refused(library: xr.DataArray) -> None:
    bands = sensor()
    every = library_for(library, bands, ["soc"]).spectra
    with pytest.raises(InputError) as caught:
        library_for(library, bands, ["soc"], local=every)
    assert caught.value.code in ("GS-LIBRARY-EMPTY", "GS-LIBRARY-PROPERTY")
    assert len(caught.value.message) < 100


def test_a_property_that_the_library_lacks_is_refused_with_what_it_has(library: xr.DataArray) -> None:
    with pytest.raises(InputError) as caught:
        library_for(library, sensor(), ["soc", "cu"])
    assert caught.value.code == "GS-LIBRARY-PROPERTY"
    assert "cu" in caught.value.message
    assert "pb (20 samples)" in caught.value.details[0]
    matter = library.copy()
    matter.attrs = {**library.attrs, "values": library.attrs["values"].drop(columns="soc")}
    with pytest.raises(InputError) as caught:
        library_for(matter, sensor(), ["soc"])
    assert "organic_matter_factor" in caught.value.hint
    with pytest.raises(InputError) as caught:
        library_for(library, sensor(), ["ph"], leave_out=["one"])
    assert caught.value.code == "GS-LIBRARY-PROPERTY"
    with pytest.raises(UsageError):
        library_for(library, sensor(), [])


@pytest.mark.parametrize("fwhm", [9.0, None])
def test_bands_that_the_library_does_not_cover_are_refused_or_cut(library: xr.DataArray, fwhm: float | None) -> None:
    centres = np.arange(360.0, 2500.0, 20.0)
    with pytest.raises(InputError) as caught:
        library_for(library, centres, ["soc"], fwhm_nm=fwhm)
    assert caught.value.code == "GS-LIBRARY-BANDS"
    assert "360, 380" in caught.value.details[0]
    local = soils(6, centres, 9) + 0.1  # none is like one of the library
    found = library_for(library, centres, ["soc"], fwhm_nm=fwhm, local=local, uncovered="cut")
    inside = np.flatnonzero((centres >= 400) & (centres <= 2400))
    assert set(found.kept) <= set(inside)
    assert len(inside) - len(found.kept) <= (0 if fwhm is None else 2)
    assert found.report["bands_cut"] == len(centres) - len(found.kept)
    np.testing.assert_array_equal(found.bands.wavelength_nm, centres[found.kept])
    assert found.spectra.shape == (60, len(found.kept))
    with pytest.raises(InputError) as caught:
        library_for(library, np.arange(2500.0, 2600.0, 10.0), ["soc"], uncovered="cut")
    assert caught.value.code == "GS-LIBRARY-BANDS"


def test_local_spectra_in_another_unit_are_refused(library: xr.DataArray) -> None:
    bands = sensor()
    local = soils(12, np.asarray(bands.wavelength_nm), 5)
    for wrong, word in ((100 * local, "percent"), (-np.log10(local), "absorbance"), (10_000 * local, "scaled")):
        with pytest.raises(InputError) as caught:
            library_for(library, bands, ["soc"], local=wrong)
        assert caught.value.code == "GS-SPECTRA-QUANTITY"
        assert word in caught.value.message
    some = local.copy()
    some[[2, 7]] *= 100
    with pytest.raises(InputError) as caught:
        library_for(library, bands, ["soc"], local=some)
    assert caught.value.code == "GS-SPECTRA-MIXED"
    assert "3 (local 3), 8 (local 8)" in caught.value.details[0]
    with pytest.raises(InputError) as caught:
        library_for(library, bands, ["soc"], local=local[:, :-1])
    assert caught.value.code == "GS-SPECTRA-SHAPE"


def test_data_sets_are_chosen_by_name(library: xr.DataArray) -> None:
    assert set(library_for(library, sensor(), ["soc"], sources=["one", "two"]).source) == {"one", "two"}
    assert set(library_for(library, sensor(), ["soc"], leave_out=["one"]).source) == {"two", "three"}
    with pytest.raises(InputError) as caught:
        library_for(library, sensor(), ["soc"], sources=["four"])
    assert caught.value.code == "GS-LIBRARY-SOURCE"
    assert "one" in caught.value.details[0]


def test_what_is_no_library_or_has_no_wavelengths_is_refused(library: xr.DataArray) -> None:
    with pytest.raises(UsageError) as caught:
        library_for(library.drop_attrs(), sensor(), ["soc"])
    assert caught.value.code == "GS-LIBRARY"
    with pytest.raises(InputError) as missing:
        library_for(library, Bands(("a", "b")), ["soc"])
    assert missing.value.code == "GS-WAVELENGTHS-NONE"


if "GEOSOIL_DATA" in os.environ:
    DATA = Path(os.environ["GEOSOIL_DATA"])

    def test_each_real_data_set_is_found_whole_in_the_open_library_and_no_other() -> None:
        description = Path(__file__).parents[2] / "benchmarks" / "open_library.toml"
        held = open_library(DATA, tables=description, range_nm=(440, 2150))
        centres = np.arange(460.0, 2140.0, 8.4)
        for name, path in (("csiro", "australia-csiro-visnir/spectra"), ("geeves", "geeves-visnir/spectra")):
            table = pd.read_parquet(DATA / f"{path}.parquet")
            nm = [column for column in table.columns if str(column).isdigit()]
            weights = gaussian_weights(np.array([float(one) for one in nm]), centres, 8.4)
            local = resample(table[nm].to_numpy(np.float64), weights)
            # The widths of another set's gap between detectors are bridged in the library.
            found = library_for(held, centres, ["soc"], fwhm_nm=8.4, local=local)
            assert found.report["copies"] == len(table)
            assert name not in found.source
            assert len(found) == int(held.attrs["values"]["soc"].notna().sum()) - len(table)
            # On a coarse grid, the one by straight lines from every tenth band and the other from all of them.
            coarse, few = np.arange(460.0, 2140.0, 20.0), nm[::10]
            source = np.array([float(one) for one in few])
            local = np.stack([np.interp(coarse, source, row) for row in table[few].to_numpy(np.float64)])
            found = library_for(held, coarse, ["soc"], fwhm_nm=20.0 * np.ones(len(coarse)), local=local)
            assert found.report["copies_by_source"] == {name: len(table)}


def test_hints_name_what_a_study_calls_it(library: xr.DataArray) -> None:
    bands = sensor()
    with pytest.raises(InputError) as caught:
        library_for(library, np.arange(2300.0, 2600.0, 10.0), ["soc"])
    assert "range_nm under [library]" in caught.value.hint
    assert 'uncovered = "cut"' in caught.value.hint
    with pytest.raises(InputError) as caught:
        library_for(library, bands, ["soc"], local=100 * soils(12, np.asarray(bands.wavelength_nm), 5))
    assert "laboratory_quantity" in caught.value.hint


def test_a_column_that_was_not_taken_is_named_where_its_property_is_missing(library: xr.DataArray) -> None:
    noted = library.copy()
    noted.attrs = {**library.attrs, "notes": ("a.csv: column 'Cu' looks like cu, but has no unit: not taken", "b.csv")}
    with pytest.raises(InputError) as caught:
        library_for(noted, sensor(), ["cu"])
    assert list(caught.value.details[1:]) == ["a.csv: column 'Cu' looks like cu, but has no unit: not taken"]
