"""`geosoil transfer`, `predict` and `compare` on a study with a library, as a user types them; and bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import geosoil

from ..jobs.lent import LOCAL, NEAR, make_lent  # noqa: TID252  (tests are no package that is installed)
from ..jobs.mapping import make_model  # noqa: TID252
from .conftest import Command, Edit, Refused, contents


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Farm, library and a model; not to be written to."""
    folder = make_lent(tmp_path_factory.mktemp("lent"))
    geosoil.transfer(folder / "study.toml", folder / "soc.gsm")
    return folder


@pytest.fixture
def farm(site: Path, tmp_path: Path) -> Path:
    """The site, to be written to; the folder that `typed` runs in."""
    return Path(shutil.copytree(site, tmp_path / "farm"))


class TestCommands:
    """What they print and write."""

    def test_search_leaves_a_network_and_says_how_to_use_it(self, typed: Command, farm: Path) -> None:
        ran = typed("search", "study.toml", "network", "--trials", 2, "--folds", 2, "--seed", 3, "-j", 1)
        assert ran.code == 0, ran.err
        assert 'net = "network/best.json"' in ran.out
        assert "optimistic" in ran.err
        again = typed("search", "study.toml", "network", "--trials", 2, "--folds", 2, "--seed", 3, "-q", "--json")
        assert len(again.json["trials"]) == 2
        other = typed("search", "study.toml", "network", "--trials", 2, "--folds", 3, "--seed", 3, "-q")
        assert other.code == 3
        assert "GS-SEARCH-OTHER" in other.err

    def test_transfer_trains_and_tells(self, typed: Command, farm: Path) -> None:
        ran = typed("transfer", "study.toml", "-o", "new.gsm", "--report", "new.html", "-j", 1)
        assert ran.code == 0, ran.err
        for words in ("spiked on laboratory spectra", f"{LOCAL} samples and 280 of the library", "written: new.gsm"):
            assert words in ran.out
        assert (farm / "new.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        assert (farm / "new.gsm").read_bytes() == (farm / "soc.gsm").read_bytes() or (
            geosoil.load_model(farm / "new.gsm").card.properties == geosoil.load_model(farm / "soc.gsm").card.properties
        )
        again = typed("transfer", "study.toml", "new.gsm", "-q")
        assert (again.code, again.out) == (4, "")
        assert "[GS-OUTPUT-EXISTS]" in again.err

    def test_flags_win_over_the_study_and_a_dry_run_writes_nothing(self, typed: Command, farm: Path) -> None:
        before = contents(farm)
        ran = typed(
            "transfer", "study.toml", "--dry-run", "--json", "--kind", "instances-tuned", "--head", "cnn",
            "--property", "ph", "--library", "other", "--seed", 7,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        study = ran.json["study"]
        assert (study["transfer"]["kind"], study["transfer"]["head"]) == ("instances-tuned", "cnn")
        assert study["invert"]["properties"] == ["ph"]
        assert (Path(study["library"]["path"]), study["seed"]) == (farm / "other", 7)
        assert contents(farm) == before

    def test_transfer_as_json_is_one_document(self, typed: Command) -> None:
        ran = typed("transfer", "study.toml", "a.gsm", "--kind", "local", "--json", "-q", "-j", 1)
        assert ran.code == 0, ran.err
        assert ran.err == ""
        assert (ran.json["schema"], ran.json["card"]["model"]) == (1, "local")

    def test_predict_writes_a_table_and_tells(self, typed: Command, farm: Path) -> None:
        ran = typed("predict", "soc.gsm", "lab.csv", "out.csv")
        assert ran.code == 0, ran.err
        assert f"{LOCAL} spectra" in ran.out
        assert "soc_mean_g_per_kg: " in ran.out
        table = pd.read_csv(farm / "out.csv")
        assert table.columns.tolist() == [
            "sample", "soc_mean_g_per_kg", "soc_Q0.05_g_per_kg", "soc_Q0.95_g_per_kg"
        ]  # fmt: skip
        again = typed("predict", "soc.gsm", "lab.csv", "out.csv", "-q")
        assert again.code == 4
        asked = ("--statistic", "Q0.5,mean", "--json", "-q")  # with commas, as `geosoil map` takes them
        more = typed("predict", "soc.gsm", "lab.csv", "out.csv", "--overwrite", *asked)
        assert more.code == 0, more.err
        assert list(more.json["predictions"][0]) == ["sample", "soc_Q0.5_g_per_kg", "soc_mean_g_per_kg"]

    def test_compare_runs_the_ways_of_the_study(self, typed: Command, farm: Path) -> None:
        ran = typed("compare", "study.toml", "out", "--repeats", 1, "-j", 1, "--json", "-q")
        assert ran.code == 0, ran.err
        assert {one["model"] for one in ran.json["scores"]} == {"Local, PLSR", "Spiked", "DTL-I, PLSR"}
        assert (farm / "out" / "table.csv").exists()
        assert typed("compare", "study.toml", "out", "-q").code == 4


def table(farm: Path, name: str, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a CSV table of the farm."""
    how(pd.read_csv(farm / name)).to_csv(farm / name, index=False)


def bands(how: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A change of a table's spectra alone."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        names = [name for name in frame.columns if name.isdigit()]
        return pd.concat([frame.drop(columns=names), how(frame[names])], axis=1)

    return change


#: Reflectance as something else, and a word of what is said of it.
MIXED_UP = [(lambda one: 100 * one, "percent"), (lambda one: -np.log10(one), "absorbance")]


class TestBadInput:
    """One clear error, its exit code, and nothing written."""

    def test_bands_that_do_not_overlap(self, refused: Refused, farm: Path, edit: Edit) -> None:
        edit('path = "library"', 'path = "library"\nquantity = "reflectance"')
        (farm / "library" / "far.parquet").unlink()
        table(
            farm,
            "library/near.csv",
            bands(lambda one: one.rename(columns=lambda nm: f"{350 + (int(nm) - 1000) / 5:g}")),
        )
        told = refused("transfer", "study.toml", "a.gsm", "-q", "-j", 1, exit=3, code="GS-LIBRARY-RANGE")
        assert "1000" in told

    @pytest.mark.parametrize(
        ("how", "words"), [(lambda one: 100 * one, "percent"), (lambda one: -np.log10(one), "abs")]
    )
    def test_units_of_local_spectra_that_are_mixed_up(
        self, refused: Refused, farm: Path, edit: Edit, how: Callable[[pd.DataFrame], pd.DataFrame], words: str
    ) -> None:
        table(farm, "lab.csv", bands(how))
        edit('laboratory = "lab.csv"', 'laboratory = "lab.csv"\nlaboratory_quantity = "reflectance"')
        told = refused("transfer", "study.toml", "a.gsm", "-q", "-j", 1, exit=3, code="GS-SPECTRA-QUANTITY")
        assert words in told

    @pytest.mark.parametrize(
        ("how", "words"), [(lambda one: 100 * one, "percent"), (lambda one: -np.log10(one), "abs")]
    )
    def test_units_of_a_library_that_are_mixed_up(
        self, refused: Refused, farm: Path, edit: Edit, how: Callable[[pd.DataFrame], pd.DataFrame], words: str
    ) -> None:
        table(farm, "library/near.csv", bands(how))
        edit('path = "library"', 'path = "library"\nquantity = "reflectance"')
        told = refused("transfer", "study.toml", "a.gsm", "-q", "-j", 1, exit=3, code="GS-SPECTRA-QUANTITY")
        assert "near" in told
        assert words in told

    def test_three_samples(self, refused: Refused, farm: Path) -> None:
        table(farm, "lab.csv", lambda one: one.head(3))
        told = refused("transfer", "study.toml", "a.gsm", "-q", exit=3, code="GS-SAMPLES-FEW")
        assert "3 samples are too few" in told
        assert "mask" not in told  # no cube, nothing that could be masked

    def test_spectra_that_all_lack_a_band(self, refused: Refused, farm: Path) -> None:
        table(farm, "lab.csv", lambda one: one.assign(**{"1500": np.nan}))
        told = refused("transfer", "study.toml", "a.gsm", "-q", exit=3, code="GS-SAMPLES-FEW")
        assert "60 with spectra that lack bands" in told
        assert "cell" not in told

    @pytest.mark.parametrize("command", ["transfer", "compare"])
    @pytest.mark.parametrize("name", ["lab.csv", "library"])
    def test_constant_values(self, refused: Refused, farm: Path, command: str, name: str) -> None:
        if name == "library":
            (farm / "library" / "far.parquet").unlink()
            name = "library/near.csv"
        table(farm, name, lambda one: one.assign(soc_g_per_kg=20.0))
        told = refused(command, "study.toml", "a.gsm", "-q", "-j", 1, exit=3, code="GS-TARGET-CONSTANT")
        assert "are 20" in told
        assert ("library" if "near" in name else "samples") in told

    def test_negative_values(self, refused: Refused, farm: Path) -> None:
        table(farm, "lab.csv", lambda one: one.assign(soc_g_per_kg=one["soc_g_per_kg"].where(one.index != 3, -2.0)))
        told = refused("transfer", "study.toml", "a.gsm", "-q", "-j", 1, exit=3, code="GS-SAMPLES-RANGE")
        assert "lab003" in told

    @pytest.mark.parametrize("kind", ["spiked", "mixture", "tuned"])
    def test_zeros_under_a_logarithm_are_taken_though_the_library_has_none(
        self, typed: Command, farm: Path, kind: str
    ) -> None:
        table(farm, "lab.csv", lambda one: one.assign(soc_g_per_kg=one["soc_g_per_kg"].where(one.index % 20 != 3, 0.0)))
        head = ("--head", "cnn") if kind == "tuned" else ()
        ran = typed("transfer", "study.toml", "a.gsm", "--kind", kind, *head, "-q", "-j", 1, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["card"]["properties"][0]["scores"][-1]["n"] == LOCAL
        assert np.isfinite(geosoil.load_model(farm / "a.gsm").residuals[0]).sum() == LOCAL

    def test_a_library_of_nothing_but_the_samples_themselves(self, refused: Refused, farm: Path) -> None:
        (farm / "library" / "far.parquet").unlink()
        shutil.copy(farm / "lab.csv", farm / "library" / "near.csv")
        told = refused("transfer", "study.toml", "a.gsm", "-q", "-j", 1, exit=3, code="GS-LIBRARY-PROPERTY")
        assert "no local ones" in told

    def test_a_library_without_the_property(self, refused: Refused) -> None:
        told = refused(
            "transfer", "study.toml", "a.gsm", "--property", "cu", "-q", "-j", 1, exit=3, code="GS-LIBRARY-PROPERTY"
        )
        assert f"soc ({NEAR + 80} samples)" in told

    def test_a_study_without_a_library(self, refused: Refused, farm: Path, edit: Edit) -> None:
        edit('[library]\npath = "library"\n', "")
        told = refused("transfer", "study.toml", "a.gsm", "-q", exit=2, code="GS-LIBRARY-NONE")
        assert "[library]" in told

    @pytest.mark.parametrize("key", ["sources", "leave_out", "nearby"])
    def test_data_sets_that_the_library_does_not_have(self, refused: Refused, edit: Edit, key: str) -> None:
        edit('path = "library"', f'path = "library"\n{key} = ["nowhere"]')
        told = refused("compare", "study.toml", "out", "-q", "-j", 1, exit=3, code="GS-LIBRARY-SOURCE")
        assert "far, near" in told

    @pytest.mark.parametrize("kind", ["instances", "spiked", "instances-tuned"])
    def test_ways_that_need_the_property_itself(self, refused: Refused, edit: Edit, kind: str) -> None:
        edit('path = "library"', 'path = "library"\nproperty = "ph"')
        told = refused("transfer", "study.toml", "a.gsm", "--kind", kind, "-q", "-j", 1, exit=2, code="GS-TRANSFER")
        assert "teaches: ph" in told

    def test_a_regression_that_cannot_be_tuned(self, refused: Refused) -> None:
        told = refused(
            "transfer", "study.toml", "a.gsm", "--kind", "tuned", "--head", "plsr", "-q", "-j", 1,
            exit=2, code="GS-TRANSFER",
        )  # fmt: skip
        assert "resnet" in told

    def test_mixed_spectra(self, refused: Refused, farm: Path, edit: Edit) -> None:
        shutil.copy(farm / "lab.csv", farm / "satellite.csv")
        edit(
            'laboratory = "lab.csv"', 'laboratory = "lab.csv"\nsatellite = "satellite.csv"\n[invert]\nspectra = "mixed"'
        )
        told = refused("transfer", "study.toml", "a.gsm", "-q", "-j", 1, exit=2, code="GS-TRANSFER")
        assert "generated" in told

    def test_a_library_that_is_empty_or_no_table(self, refused: Refused, farm: Path) -> None:
        (farm / "empty").mkdir()
        refused("transfer", "study.toml", "a.gsm", "--library", "empty", "-q", exit=3, code="GS-FILE-MISSING")
        (farm / "notes.csv").write_text("a note\nand no table\n", encoding="utf-8")
        refused("transfer", "study.toml", "a.gsm", "--library", "notes.csv", "-q", exit=3, code="GS-SPECTRA-COLUMNS")
        refused("transfer", "study.toml", "a.gsm", "--library", "gone", "-q", exit=3, code="GS-FILE-MISSING")

    def test_predict_with_a_model_of_covariates(self, refused: Refused, farm: Path) -> None:
        make_model(farm / "covariates.gsm", kind="rf")
        told = refused("predict", "covariates.gsm", "lab.csv", "out.csv", "-q", exit=5, code="GS-MODEL-SPECTRA")
        assert "geosoil map" in told

    def test_predict_on_bands_that_are_missing(self, refused: Refused, farm: Path) -> None:
        table(farm, "lab.csv", bands(lambda one: one.iloc[:, :50]))
        more = ("--quantity", "reflectance", "-q")
        refused("predict", "soc.gsm", "lab.csv", "out.csv", *more, exit=3, code="GS-RESAMPLE")
        refused("predict", "soc.gsm", "lab.csv", "out.xlsx", "-q", exit=2, code="GS-OUTPUT")
