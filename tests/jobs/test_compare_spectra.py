"""The comparison of spectra and regressions: tables, what is apart, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import geosoil
from geosoil.errors import InputError, OutputError, UsageError
from geosoil.jobs.compare import compare, summary
from geosoil.jobs.compare_spectra import spectra_variants
from geosoil.jobs.comparison import FILES, Comparison
from geosoil.jobs.inversion import cross_validate_spectra, folds_of_pairs, recipe_of_spectra
from geosoil.jobs.pairing import build_pairs

from .spectra import study_of

ONE = {"properties": ["som"]}


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


@pytest.fixture(scope="module")
def whole(tailings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed comparison of two repeats on random folds."""
    folder = tmp_path_factory.mktemp("compared")
    compare(study_of(tailings), folder)
    return folder


class Halt(Exception):  # noqa: N818 - stands for whatever ends a run
    """Ends a run at a known place."""


class TestTables:
    """What is written."""

    def test_each_spectrum_regression_and_property_has_scores_over_repeats(self, whole: Path) -> None:
        scores = pd.read_csv(whole / "scores.csv")
        assert set(scores["model"]) == {"PLSR, laboratory", "PLSR, satellite", "PLSR, mixed"}
        assert set(scores["property"]) == {"som", "as", "cu"}
        assert set(scores["scheme"]) == {"random"}
        assert {"R2", "RMSE", "MAE", "RPIQ"} <= set(scores["metric"])
        held = json.loads((whole / "scores.json").read_text(encoding="utf-8"))
        assert held["schema"] == 1
        assert len(held["scores"]) == len(scores)
        assert (whole / "report.html").stat().st_size > 1000

    def test_all_files_are_among_those_that_are_kept_from_replacing_an_input(self, whole: Path) -> None:
        assert {path.name for path in whole.iterdir()} <= {*FILES, "parts", "plots"}
        assert {path.suffix for path in (whole / "plots").iterdir()} == {".png"}

    def test_every_sample_is_predicted_once_a_repeat(self, whole: Path) -> None:
        predictions = pd.read_csv(whole / "predictions.csv")
        counts = predictions.groupby(["property", "model", "repeat", "profile"]).size()
        assert len(counts) == 3 * 3 * 2 * 60
        assert (counts == 1).all()

    def test_predictions_are_those_of_the_nested_cross_validation(self, whole: Path, tailings: Path) -> None:
        study = study_of(tailings)
        data = build_pairs(study)
        folds = folds_of_pairs(data, "random", 3, 0)
        (found,) = cross_validate_spectra(data, [recipe_of_spectra(study, "satellite", "plsr")], folds, 0)
        frame = pd.read_csv(whole / "predictions.csv").query("model == 'PLSR, satellite' and repeat == 0")
        for place, code in enumerate(("som", "as", "cu")):
            rows = frame[frame["property"] == code].set_index("profile").loc[data.names.tolist()]
            assert rows["predicted"].to_numpy() == pytest.approx(found.predicted[:, place], rel=1e-4)
            assert rows["fold"].tolist() == folds.tolist()

    def test_scores_are_of_the_held_out_values(self, whole: Path) -> None:
        frame = pd.read_csv(whole / "predictions.csv").query("model == 'PLSR, mixed' and property == 'cu'")
        r2 = [
            1
            - ((one["observed"] - one["predicted"]) ** 2).sum()
            / ((one["observed"] - one["observed"].mean()) ** 2).sum()
            for _, one in frame.groupby("repeat")
        ]
        scores = pd.read_csv(whole / "scores.csv").query(
            "model == 'PLSR, mixed' and property == 'cu' and metric == 'R2'"
        )
        assert scores["mean"].tolist() == pytest.approx([np.mean(r2)], abs=1e-4)

    def test_laboratory_spectra_do_best_on_a_noisy_cube(self, whole: Path) -> None:
        scores = (
            pd.read_csv(whole / "scores.csv")
            .query("metric == 'R2'")
            .pivot_table(index="property", columns="model", values="mean")
        )
        assert (scores["PLSR, laboratory"] > scores["PLSR, satellite"]).all()

    def test_fits_tell_training_scores_and_features(self, whole: Path) -> None:
        fits = pd.read_csv(whole / "fits.csv")
        assert len(fits) == 3 * 3 * 2 * 3
        assert (fits["features"] >= 2).all()
        assert (fits["R2"] <= 1).all()

    def test_the_summary_names_what_was_compared(self, tailings: Path, tmp_path: Path) -> None:
        study = study_of(tailings, invert=ONE, compare={"spectra": ["satellite"], "repeats": 1})
        told = summary(compare(study, tmp_path / "out"))
        assert "PLSR, satellite" in told
        assert "som" in told or "organic matter" in told


class TestStops:
    """A stopped comparison goes on to the tables of an undisturbed one."""

    def test_a_stopped_comparison_goes_on_to_the_same_tables(self, whole: Path, tailings: Path, tmp_path: Path) -> None:
        def halt(done: int, total: int, message: str) -> None:
            if (done, message) == (1, "comparing spectra"):
                raise Halt

        with pytest.raises(Halt):
            compare(study_of(tailings), tmp_path / "out", progress=halt)
        assert tables(tmp_path / "out") == {}
        parts = sorted((tmp_path / "out" / "parts").iterdir())
        assert len(parts) == 2
        before = [path.stat().st_mtime_ns for path in parts]
        compare(study_of(tailings), tmp_path / "out", resume=True)
        assert [path.stat().st_mtime_ns for path in parts] == before
        assert tables(tmp_path / "out") == tables(whole)

    def test_other_settings_do_not_take_over_earlier_parts(self, whole: Path, tailings: Path, tmp_path: Path) -> None:
        shutil.copytree(whole, tmp_path / "out")
        before = pd.read_csv(whole / "predictions.csv")
        study = study_of(tailings, seed=5, invert=ONE, compare={"spectra": ["satellite"], "repeats": 1})
        found = compare(study, tmp_path / "out", resume=True).predictions
        rows = before.query("model == 'PLSR, satellite' and property == 'som' and repeat == 0")
        assert rows["predicted"].tolist() != pytest.approx(found["predicted"].tolist())
        assert len(list((tmp_path / "out" / "parts").iterdir())) == 6

    def test_a_finished_comparison_is_not_written_over_unasked(self, whole: Path, tailings: Path) -> None:
        before = tables(whole)
        with pytest.raises(OutputError) as caught:
            compare(study_of(tailings), whole)
        assert caught.value.code == "GS-OUTPUT-EXISTS"
        assert tables(whole) == before


@pytest.fixture(scope="module")
def asked(tailings: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A comparison with another fusion and the published protocol."""
    study = study_of(
        tailings,
        invert=ONE,
        fusion={"neighbours": False},
        compare={"spectra": ["satellite", "mixed"], "repeats": 1, "fusions": ["epo"], "published": True},
    )
    return compare(study, tmp_path_factory.mktemp("asked"))


class TestQuestions:
    """Ablations, and the published protocol, which stands apart."""

    def test_the_published_protocol_stands_apart_and_says_that_it_is_optimistic(self, asked: Comparison) -> None:
        published = asked.predictions[asked.predictions["study"] == "published"]
        assert set(published["scheme"]) == {"published, optimistic"}
        assert set(asked.predictions.loc[asked.predictions["study"] != "published", "scheme"]) == {"random"}
        everyone = asked.predictions.query("study == 'models' and model == 'PLSR, mixed'").set_index("profile")
        tested = published.query("model == 'PLSR, mixed'")["profile"]
        ranks = everyone["observed"].rank(method="first").loc[tested.tolist()]
        assert sorted(ranks.astype(int)) == list(range(3, 61, 3))
        scored = asked.scores[asked.scores["scheme"] == "published, optimistic"]
        assert set(scored["study"]) == {"published"}
        text = (asked.folder / "report.html").read_text(encoding="utf-8")
        assert "optimistic" in text

    def test_other_fusions_are_compared_on_the_same_folds(self, asked: Comparison) -> None:
        fusion = asked.predictions[asked.predictions["study"] == "fusion"]
        assert set(fusion["model"]) == {"epo, generated", "epo, mixed"}
        models = asked.predictions[asked.predictions["study"] == "models"]
        folds = models.drop_duplicates("profile").set_index("profile")["fold"]
        assert (fusion["fold"].to_numpy() == folds.loc[fusion["profile"]].to_numpy()).all()

    def test_ablations_are_printed_and_reported_with_their_regression(self, asked: Comparison) -> None:
        told = summary(asked)
        assert "som, random folds, ways of fusion (PLSR): RMSE" in told
        assert "epo, mixed" in told
        assert "PLSR, mixed" in told
        text = (asked.folder / "report.html").read_text(encoding="utf-8")
        assert "Other ways to make satellite spectra laboratory-like. Regression: PLSR." in text

    def test_losses_are_left_out_one_at_a_time(self, tailings: Path) -> None:
        variants = [
            one for one in spectra_variants(study_of(tailings, compare={"losses": True})) if one.study == "losses"
        ]
        weights = {
            one.label: (one.recipe.fusion.mmd, one.recipe.fusion.sad, one.recipe.fusion.kld, one.recipe.fusion.mse)
            for one in variants
        }
        assert weights["MMD + 0.1 SAD + KLD"] == (1.0, 0.1, 1.0, 0.0)
        assert weights["without MMD"] == (0.0, 0.1, 1.0, 0.0)
        assert weights["with squared error"] == (1.0, 0.1, 1.0, 1.0)
        assert {one.recipe.fusion.kind for one in variants} == {"vae"}

    def test_without_laboratory_spectra_satellite_spectra_alone_are_compared(
        self, tailings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = study_of(tailings, invert=ONE, spectra={"laboratory": None}, compare={"repeats": 1})
        found = compare(study, tmp_path / "out")
        assert set(found.predictions["model"]) == {"PLSR, satellite"}
        assert "satellite spectra alone" in caplog.text
        with pytest.raises(UsageError) as caught:
            compare(study_of(tailings, spectra={"laboratory": None}, compare={"spectra": ["mixed"]}), tmp_path / "no")
        assert caught.value.code == "GS-SPECTRA-MISSING"
        assert not (tmp_path / "no").exists()

    def test_spatial_folds_keep_neighbouring_samples_together(self, tailings: Path, tmp_path: Path) -> None:
        study = study_of(
            tailings,
            invert=ONE,
            validation={"block_m": 300},
            compare={"spectra": ["satellite"], "repeats": 1, "schemes": ["random", "spatial"]},
        )
        found = geosoil.compare(study, tmp_path / "out")
        assert set(found.predictions["scheme"]) == {"random", "spatial"}
        data = build_pairs(study)
        assert data.points is not None
        folds = found.predictions.query("scheme == 'spatial'").set_index("profile")["fold"]
        wanted = folds_of_pairs(data, "spatial", 3, study.seed, 300)
        assert folds.loc[data.names.tolist()].tolist() == wanted.tolist()


def test_folds_that_cannot_be_made_leave_nothing_behind(tailings: Path, tmp_path: Path) -> None:
    study = study_of(tailings, validation={"block_m": 1e6}, compare={"schemes": ["spatial"]})
    with pytest.raises(InputError) as caught:
        compare(study, tmp_path / "out")
    assert caught.value.code == "GS-FOLDS"
    assert tables(tmp_path / "out") == {}
