"""A made library has the truth that it says, and reads like a real one."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import geosoil
from geosoil.errors import UsageError
from geosoil.testing import Farm, Landscape, Library, make_farm, make_library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return make_library(tmp_path_factory.mktemp("library"), 40, seed=1)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return make_farm(tmp_path_factory.mktemp("farm"), Landscape(shape=(64, 64), seed=3), 30)


def test_what_was_written_is_read_whole(library: Library) -> None:
    opened = geosoil.open_library(library.folder)
    report = opened.attrs["report"]
    assert (report["read"], report["used"], report["faults"]) == (160, 160, [])
    assert set(opened["source"].values) == set(library.instruments)
    order = np.argsort(library.source, kind="stable")
    assert np.allclose(opened.values, library.reflectance[order], atol=2e-6)
    values = opened.attrs["values"]
    for code in ("soc", "clay", "ph"):
        assert np.allclose(values[code], library.values[code][order], atol=1e-4)


def test_a_librarys_spectra_tell_its_values_but_for_what_is_hidden(library: Library) -> None:
    for code, least in (("soc", 0.9), ("clay", 0.9), ("ph", 0.8)):
        correlation = np.corrcoef(library.values[code], library.shown[code])[0, 1]
        assert least < correlation < 1


def test_each_source_has_an_instrument_of_its_own(library: Library) -> None:
    factors = np.array(list(library.instruments.values()))
    assert 0.005 < np.abs(factors - 1).max() < 0.2
    # Far more than the noise of a spectrum.
    apart = [np.sqrt(((one - two) ** 2).mean()) for one, two in combinations(factors, 2)]
    assert min(apart) > 0.005


def test_equal_seeds_give_equal_libraries_and_sources_do_not_depend_on_how_many_there_are(
    library: Library, tmp_path: Path
) -> None:
    again = make_library(tmp_path, 40, sources=2, seed=1)
    assert np.array_equal(again.reflectance, library.reflectance[:80])
    other = make_library(tmp_path / "other", 40, sources=2, seed=2)
    assert not np.allclose(other.reflectance, again.reflectance, atol=0.01)


def test_no_table_holds_what_was_not_asked_for(library: Library, tmp_path: Path) -> None:
    assert "pb" not in geosoil.open_library(library.folder).attrs["values"].columns
    with_lead = make_library(tmp_path, 20, sources=1, properties=("pb",))
    assert list(geosoil.open_library(with_lead.folder).attrs["values"].columns) == ["pb"]


def test_a_farm_reads_like_samples_and_its_soils_lie_among_those_of_the_library(farm: Farm, library: Library) -> None:
    read = geosoil.open_samples(farm.folder / "samples.csv", property="pb", crs="EPSG:32649")
    assert len(read) == 30
    shown = pd.Series(farm.shown["pb"], farm.spectra["sample_id"])
    assert np.corrcoef(read.set_index("profile")["value"].loc[shown.index], shown)[0, 1] > 0.9
    low, high = library.shown["ph"].min(), library.shown["ph"].max()
    assert ((farm.shown["ph"] > low) & (farm.shown["ph"] < high)).mean() > 0.9


def test_a_library_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be made") as refused:
        make_library(tmp_path, properties=("zn",))
    assert refused.value.code == "GS-TESTING-LIBRARY"
    with pytest.raises(UsageError):
        make_library(tmp_path, sources=7)
