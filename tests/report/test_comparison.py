"""What a comparison's report says, on scores whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.report.comparison import change_against, verdict, wide_table, write_comparison, zone_table
from geosoil.score import score_table
from geosoil.soil import property_of

DEPTHS = ["0-5cm", "5-15cm"]


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Two repeats; errors of RF have an SD of 2, those of the transfer model of 1 in the topsoil and 3 below."""
    rng = np.random.default_rng(0)
    rows = []
    for repeat in range(2):
        for place in range(200):
            for depth, better in zip(DEPTHS, (1.0, 3.0), strict=True):
                observed = 20 + 5 * rng.standard_normal()
                for model, spread in (("RF", 2.0), ("Depth transfer", better)):
                    rows.append(
                        {
                            "property": "soc", "scheme": "random", "repeat": repeat, "study": "models", "model": model,
                            "level": 0, "profile": f"p{place}", "depth": depth, "fold": place % 5,
                            "observed": observed, "predicted": observed + spread * rng.standard_normal(),
                            "x": 1000.0 * place, "y": 500.0, "zone": "wet" if place < 150 else "dry",
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def scores(predictions: pd.DataFrame) -> pd.DataFrame:
    return score_table(predictions)


def test_the_change_against_the_forest_is_that_of_the_errors(scores: pd.DataFrame) -> None:
    change = change_against(scores, DEPTHS)
    assert change is not None
    (row,) = change.to_dict("records")
    assert row["model"] == "Depth transfer"
    assert float(row["0-5"]) == pytest.approx(-50, abs=6)
    assert float(row["5-15"]) == pytest.approx(50, abs=12)
    assert change_against(scores[scores["model"] != "RF"], DEPTHS) is None


def test_the_verdict_counts_depths_and_names_the_best(scores: pd.DataFrame) -> None:
    (text,) = verdict(scores, DEPTHS)
    assert text.startswith("Over all depths RF has the least RMSE")
    assert "RF is best at 1 of 2" in text
    assert "Depth transfer is best at 1 of 2" in text


def test_tables_have_the_same_decimals_in_all_cells(scores: pd.DataFrame) -> None:
    first, second = wide_table(scores, "RMSE", DEPTHS).to_dict("records")
    assert list(first) == ["model", "0-5", "5-15", "all"]
    cells = [str(row[name]) for row in (first, second) for name in ("0-5", "5-15", "all")]
    assert {len(part.partition(".")[2]) for cell in cells for part in cell.split(" ± ")} == {2}
    assert first["model"] == "RF"
    assert float(str(first["0-5"]).split(" ")[0]) == pytest.approx(2, abs=0.2)


def test_zones_are_scored_by_themselves_and_counted_once(predictions: pd.DataFrame) -> None:
    zones = {(row["zone"], row["model"]): row for row in zone_table(predictions).to_dict("records")}
    assert zones["wet", "RF"]["n"] == 300
    assert zones["dry", "RF"]["n"] == 100
    here = predictions[(predictions["zone"] == "dry") & (predictions["model"] == "RF")]
    expected = np.sqrt(((here["observed"] - here["predicted"]) ** 2).mean())
    assert zones["dry", "RF"]["RMSE"] == pytest.approx(expected)


def test_the_report_is_one_file_that_needs_no_other(
    predictions: pd.DataFrame, scores: pd.DataFrame, tmp_path: Path
) -> None:
    table = scores.assign(property="soc", study="models")
    path = write_comparison(tmp_path, "<b>Farm</b>", {"soc": property_of("soc")}, predictions, table)
    text = path.read_text(encoding="utf-8")
    assert "&lt;b&gt;Farm" in text
    assert "<b>Farm" not in text
    assert "<script" not in text
    assert "://" not in text
    plots = list((tmp_path / "plots").glob("*.png"))
    assert text.count("data:image/png;base64,") == len(plots) >= 6
    zones = pd.read_csv(tmp_path / "zones.csv")
    assert set(zones["zone"]) == {"wet", "dry"}
