"""What a training did not use is told: on stdout, in the model, by info, in the report and in the log."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from geosoil.config import Study, load_study
from geosoil.jobs.counts import say_counts
from geosoil.jobs.info import describe, info
from geosoil.jobs.train import summary, train


@pytest.fixture
def spoilt(farm: Path) -> Study:
    """The farm's study, with two rows without a value, a profile outside the scene and one on cells without data."""
    table = pd.read_csv(farm / "horizons.csv")
    table.loc[[30, 40], "soc_g_per_kg"] = None
    table.loc[table.profile_id == "p00", "x"] = 0.0
    table.loc[table.profile_id == "p01", ["x", "y"]] = [500_000 + 6.5 * 90, 6_700_000 - 6.5 * 90]
    table.to_csv(farm / "horizons.csv", index=False)
    return load_study(farm / "study.toml", model__trees=5)


def test_rows_and_profiles_that_are_not_used_are_told_everywhere(
    spoilt: Study, farm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = train(spoilt, farm / "soc.gsm", report=farm / "report.html")
    counts = bundle.card.counts
    assert counts == json.loads(json.dumps(counts))
    assert {key: counts[key] for key in ("profiles", "rows", "used", "left_out", "outside", "no_data")} == {
        "profiles": 58,
        "rows": 180,
        "used": 178,
        "left_out": {"no value": 2},
        "outside": 1,
        "no_data": 1,
    }
    rows = "rows: 180 read, 178 taken; left out: 2 with no value"
    profiles = "profiles: 58 used; left out: 1 outside the scene, 1 on cells without data"
    for told in (summary(bundle), describe(info(farm / "soc.gsm"))):
        assert rows in told
        assert profiles in told
    assert "178 of 180 rows are used; left out: 2 with no value" in caplog.text
    shown = html.unescape(re.sub("<[^>]+>", " ", (farm / "report.html").read_text(encoding="utf-8")))
    for column in ("profile_id", "x", "y", "top_cm", "bottom_cm", "soc_g_per_kg"):
        assert column in shown.split(), column
    assert "Unit of the values: g/kg, stated by: header." in shown


def test_a_model_of_before_these_counts_is_told_without_them() -> None:
    assert say_counts({"profiles": 10, "layers": {"0-5 cm": 10}, "folds": 3}) == []
