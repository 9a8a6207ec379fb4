"""The report of a comparison with a library: changes, statistics, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.jobs.compare_spectra import scores_of
from geosoil.report.transfer import Views, _table, _verdict, change_of_rmse, write_transfer
from geosoil.score import rpd_class
from geosoil.soil import property_of


def predictions(errors: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Held-out values whose RMSE is given: by model, one number a repeat."""
    rows = [
        {"property": "soc", "scheme": "rounds", "repeat": repeat, "study": "models", "model": model, "depth": "0-20",
         "observed": 10.0 * sample, "predicted": 10.0 * sample + (-1) ** sample * error}
        for model, each in errors.items()
        for repeat, error in enumerate(each)
        for sample in range(6)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def views(lent: np.ndarray) -> Views:
    rng = np.random.default_rng(0)
    return Views(
        property_of("soc"), "soc", rng.random((len(lent), 2)), rng.random((12, 2)), np.arange(5),
        np.arange(12) < 4, rng.random(12) + 1, lent,
    )  # fmt: skip


def test_changes_are_against_the_first_model_of_the_same_repeat() -> None:
    found = change_of_rmse(predictions({"Local": (4.0, 2.0), "Mixture": (3.0, 1.0), "Library": (4.0, 3.0)}))
    rows = found.set_index("model")
    assert rows.loc["Local", "change"] == 0
    assert list(rows[["change", "better"]].loc["Mixture"]) == pytest.approx([37.5, 1.0])
    assert list(rows[["change", "better"]].loc["Library"]) == pytest.approx([-25.0, 0.0])
    assert rows.loc["Mixture", "change_sd"] == pytest.approx(np.std([25, 50], ddof=1))


def test_the_report_names_the_best_way_and_what_it_gains(tmp_path: Path) -> None:
    frame = predictions({"Local": (4.0, 2.0), "Mixture": (3.0, 1.0), "Library": (4.0, 3.0)})
    path = write_transfer(tmp_path, "Farm <1>", frame, scores_of(frame), [views(np.arange(1.0, 31.0))])
    text = path.read_text(encoding="utf-8")
    assert "The lowest RMSE is that of Mixture: 37.5 % below Local, lower in 100 % of the repeats." in text
    assert "Farm &lt;1&gt;" in text
    assert "Farm <1>" not in text
    table = pd.read_csv(tmp_path / "table.csv").set_index("model")
    assert table["RMSE"].to_dict() == pytest.approx({"Local": 3.0, "Mixture": 2.0, "Library": 3.5})
    assert [rpd_class(one) for one in table["RPD"]] == table["class"].tolist()
    statistics = pd.read_csv(tmp_path / "statistics.csv")
    assert statistics["mean"].iloc[1] == pytest.approx(15.5)
    assert len(list((tmp_path / "plots").iterdir())) == 4


def test_where_nothing_helps_the_report_says_so() -> None:
    frame = predictions({"Local": (2.0, 2.0), "Library": (4.0, 3.0)})
    own = _table(scores_of(frame), change_of_rmse(frame))
    assert _verdict(own) == ("No way to use the library has a lower RMSE than Local.",)
    assert _verdict(own.iloc[:1]) == ()
