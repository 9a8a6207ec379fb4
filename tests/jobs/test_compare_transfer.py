"""The comparison of ways to use a library: lines, held-out samples, tables, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.config import CompareConfig, Study
from geosoil.errors import InputError, OutputError
from geosoil.jobs.compare import compare, summary
from geosoil.jobs.compare_spectra import partition, run_variants
from geosoil.jobs.compare_transfer import transfer_variants
from geosoil.jobs.comparison import FILES
from geosoil.jobs.inversion import cross_validate_spectra
from geosoil.jobs.lending import lend
from geosoil.jobs.transfer import build_transfer, recipe_of_transfer
from geosoil.report.transfer import change_of_rmse
from geosoil.types import quiet

from .lent import LOCAL, lent_study, make_lent

WAYS = ["local", "spiked", "instances", "mixture"]
MODELS = ["Local, PLSR", "Spiked", "DTL-I, PLSR", "Mixture"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Farm and library; not to be written to."""
    return make_lent(tmp_path_factory.mktemp("lent"))


@pytest.fixture(scope="module")
def whole(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed comparison: two rounds of each scheme."""
    folder = tmp_path_factory.mktemp("compared")
    compare(lent_study(site, compare={"schemes": ["rounds", "kennard-stone"], "transfers": WAYS}), folder)
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def run(study: Study, folder: Path, workers: int) -> pd.DataFrame:
    """The predictions of a comparison, without its report."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    data = build_transfer(study)
    variants = transfer_variants(study, data)
    lent = lend(data, [one.recipe for one in variants], study.seed)
    return run_variants(study, data, variants, folder, lent=lent, num_workers=workers, progress=quiet)[0]


class Halt(Exception):  # noqa: N818 - stands for whatever ends a run
    """Ends a run at a known place."""


class TestTables:
    """What is written."""

    def test_every_way_is_scored_on_the_same_held_out_samples(self, whole: Path) -> None:
        frame = pd.read_csv(whole / "predictions.csv")
        assert frame["model"].drop_duplicates().tolist() == MODELS
        for _, one in frame.groupby(["scheme", "repeat"]):
            held = {model: tuple(rows["profile"]) for model, rows in one.groupby("model")}
            assert len(set(held.values())) == 1
            assert len(held["Spiked"]) == len(set(held["Spiked"]))

    def test_rounds_hold_out_a_quarter_and_kennard_and_stone_all_but_the_chosen(self, whole: Path) -> None:
        frame = pd.read_csv(whole / "predictions.csv").query("model == 'Spiked'")
        held = {name: tuple(rows["profile"]) for name, rows in frame.groupby(["scheme", "repeat"])}
        assert [len(held["rounds", repeat]) for repeat in range(2)] == [LOCAL // 4] * 2
        assert held["rounds", 0] != held["rounds", 1]
        assert len(held["kennard-stone", 0]) == LOCAL - 30
        assert held["kennard-stone", 0] == held["kennard-stone", 1]

    def test_predictions_are_those_of_models_that_never_saw_the_sample(self, whole: Path, site: Path) -> None:
        study = lent_study(site)
        data = build_transfer(study)
        folds = partition(study, data, "rounds", study.seed)
        (found,) = cross_validate_spectra(data, [recipe_of_transfer(study, data, "spiked")], folds, study.seed)
        frame = pd.read_csv(whole / "predictions.csv")
        rows = frame.query("model == 'Spiked' and scheme == 'rounds' and repeat == 0").set_index("profile")
        wanted = pd.Series(found.predicted[:, 0], index=data.names).dropna()
        assert rows["predicted"].loc[wanted.index.tolist()].to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-5)

    def test_scores_and_changes_are_those_of_the_predictions(self, whole: Path) -> None:
        frame, table = pd.read_csv(whole / "predictions.csv"), pd.read_csv(whole / "table.csv")
        assert len(table) == 2 * len(MODELS)
        row = table.query("scheme == 'rounds' and model == 'Mixture'").iloc[0]
        errors = {
            model: [
                float(np.sqrt(np.mean((one["predicted"] - one["observed"]) ** 2)))
                for _, one in frame.query("scheme == 'rounds' and model == @model").groupby("repeat")
            ]
            for model in ("Local, PLSR", "Mixture")
        }
        assert row["RMSE"] == pytest.approx(np.mean(errors["Mixture"]), rel=1e-4)
        wanted = [100 * (1 - two / one) for one, two in zip(*errors.values(), strict=True)]
        assert row["change"] == pytest.approx(np.mean(wanted), rel=1e-3)
        assert table.query("model == 'Local, PLSR'")["change"].tolist() == pytest.approx([0, 0])
        made = change_of_rmse(frame).query("scheme == 'rounds' and model == 'Mixture'")["change"].iloc[0]
        assert row["change"] == pytest.approx(made, rel=1e-3)

    def test_a_helpful_library_shows(self, whole: Path) -> None:
        table = pd.read_csv(whole / "table.csv").set_index(["scheme", "model"])
        assert (table.xs("Mixture", level="model")["change"] > 10).all()
        assert table.loc[("kennard-stone", "Mixture"), "better"] == 1.0

    def test_the_report_the_plots_and_the_statistics_of_the_data_are_there(self, whole: Path) -> None:
        statistics = pd.read_csv(whole / "statistics.csv")
        assert statistics["samples"].tolist() == ["local, soc", "library, soc"]
        assert statistics["n"].tolist() == [LOCAL, 280]
        assert {"skewness", "kurtosis", "CV [%]"} <= set(statistics.columns)
        assert len(list((whole / "plots").glob("*.png"))) == 7
        # Those that are kept from replacing an input.
        assert {path.name for path in whole.iterdir()} <= {*FILES, "parts", "plots"}
        text = (whole / "report.html").read_text(encoding="utf-8")
        for words in ("Kennard and Stone", "DTL-I, PLSR", "a random quarter", "principal components"):
            assert words in text


class TestLines:
    """What is compared."""

    def test_each_way_is_tried_with_all_and_with_nearby_data_sets(self, site: Path) -> None:
        study = lent_study(site, library={"nearby": ["near"]}, compare={"transfers": ["local", "instances"]})
        found = transfer_variants(study, build_transfer(study))
        assert [one.label for one in found] == ["Local, PLSR", "DTL-I, PLSR (all)", "DTL-I, PLSR (nearby)"]
        assert [one.recipe.sources for one in found] == [(), (), ("near",)]

    def test_all_ways_are_compared_unasked_and_each_with_its_regressions(self, site: Path) -> None:
        study = lent_study(site, compare={"transfers": [], "heads": ["plsr", "svr"]})
        labels = [one.label for one in transfer_variants(study, build_transfer(study))]
        assert labels[:2] == ["Local, PLSR", "Local, SVR"]
        assert {"DTL-I, SVR", "DTL-R, ResNet", "DTL-IR, ResNet", "Mixture", "Spiked"} <= set(labels)
        assert len(labels) == len(set(labels))

    def test_a_library_of_another_property_leaves_direct_models_and_transfer(self, site: Path) -> None:
        study = lent_study(site, property="cu", library={"property": "ph"}, compare={"transfers": []})
        labels = [one.label for one in transfer_variants(study, build_transfer(study))]
        assert labels == ["Direct, PLSR", "Transfer, ResNet"]
        unasked = study.model_copy(update={"compare": CompareConfig()})
        labels = [one.label for one in transfer_variants(unasked, build_transfer(study))]
        assert labels == ["Direct, PLSR", "Direct, SVR", "Direct, ResNet", "Transfer, ResNet"]

    def test_several_properties_are_compared_at_once_and_without_places_not_in_space(
        self, site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As in a comparison without a library; `schemes` is random and spatial unasked."""
        ways = {"transfers": ["local", "spiked"], "repeats": 1, "schemes": ["random", "spatial"]}
        found = compare(lent_study(site, invert={"properties": ["soc", "ph"]}, compare=ways), tmp_path / "out")
        assert set(found.predictions["property"]) == {"soc", "ph"}
        assert set(found.predictions["scheme"]) == {"random"}
        assert "no spatial folds" in caplog.text
        assert "Spiked" in summary(found)
        table = pd.read_csv(tmp_path / "out" / "table.csv")
        assert table.groupby("property")["model"].count().tolist() == [2, 2]

    def test_random_folds_do_not_stand_in_for_spatial_ones_that_were_asked_for_alone(
        self, site: Path, tmp_path: Path
    ) -> None:
        study = lent_study(site, compare={"schemes": ["spatial"], "repeats": 1})
        with pytest.raises(InputError, match="spatial folds need places") as caught:
            compare(study, tmp_path / "out")
        assert caught.value.code == "GS-FOLDS"


class TestStops:
    """A stopped comparison goes on to the tables of an undisturbed one, and workers do not matter."""

    def test_a_stopped_comparison_goes_on_to_the_same_tables(self, whole: Path, site: Path, tmp_path: Path) -> None:
        study = lent_study(site, compare={"schemes": ["rounds", "kennard-stone"], "transfers": WAYS})

        def halt(done: int, total: int, message: str) -> None:
            if (done, message) == (2, "comparing spectra"):
                raise Halt

        with pytest.raises(Halt):
            compare(study, tmp_path / "out", progress=halt)
        assert tables(tmp_path / "out") == {}
        parts = sorted((tmp_path / "out" / "parts").iterdir())
        assert len(parts) == 4
        before = [path.stat().st_mtime_ns for path in parts]
        compare(study, tmp_path / "out", resume=True)
        assert [path.stat().st_mtime_ns for path in parts] == before
        assert tables(tmp_path / "out") == tables(whole)

    @pytest.mark.timeout(300)
    def test_two_workers_give_the_same_values_to_the_bit(self, site: Path, tmp_path: Path) -> None:
        """Of tuned networks too, which are trained on the library once and sent to the workers."""
        ways = ["local", "tuned", "neighbours", "mixture"]
        study = lent_study(site, compare={"schemes": ["rounds"], "transfers": ways})
        one, two = run(study, tmp_path / "one", 1), run(study, tmp_path / "two", 2)
        pd.testing.assert_frame_equal(one, two, check_exact=True)
        assert one["model"].nunique() == 4

    def test_another_library_does_not_take_over_earlier_parts(self, site: Path, tmp_path: Path) -> None:
        ways = {"transfers": ["library"], "repeats": 1}
        one = run(lent_study(site, compare=ways), tmp_path, 1)
        two = run(lent_study(site, library={"sources": ["near"]}, compare=ways), tmp_path, 1)
        assert not np.allclose(one["predicted"], two["predicted"])
        assert len(list((tmp_path / "parts").iterdir())) == 4

    def test_a_finished_comparison_is_not_written_over_unasked(self, whole: Path, site: Path) -> None:
        before = tables(whole)
        with pytest.raises(OutputError) as caught:
            compare(lent_study(site), whole)
        assert caught.value.code == "GS-OUTPUT-EXISTS"
        assert tables(whole) == before

    def test_too_few_samples_to_choose_from_leave_nothing_behind(self, site: Path, tmp_path: Path) -> None:
        study = lent_study(site, compare={"schemes": ["kennard-stone"], "local": 55})
        with pytest.raises(InputError) as caught:
            compare(study, tmp_path / "out")
        assert caught.value.code == "GS-SAMPLES-FEW"
        assert "local" in caught.value.hint
        assert not (tmp_path / "out").exists()
