"""Tables of a comparison of spectra."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pytest

from geosoil.report.spectra_comparison import _said, closed_gap


def predictions(errors: Mapping[str, tuple[float, ...]]) -> pd.DataFrame:
    """Held-out values whose RMSE is given: by kind of spectrum, one number a repeat."""
    rows = [
        {"property": "som", "scheme": "random", "repeat": repeat, "study": "models", "model": f"PLSR, {spectra}",
         "spectra": spectra, "head": "plsr", "observed": 10.0 * sample, "predicted": 10.0 * sample + sign * error}
        for spectra, each in errors.items()
        for repeat, error in enumerate(each)
        for sample, sign in enumerate((1, -1, 1, -1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_closed_share_is_that_of_the_mean_errors() -> None:
    """In the second repeat the gap is a hundredth, and its own share of it 20."""
    errors = {"satellite": (3.0, 2.0, 3.0), "laboratory": (1.0, 1.99, 1.0), "generated": (2.0, 1.8, 2.0)}
    (row,) = closed_gap(predictions(errors)).to_dict("records")
    assert row["closed"] == pytest.approx((8 / 3 - 5.8 / 3) / (8 / 3 - 3.99 / 3))
    assert row["better"] == 1.0
    assert row["undetermined"] == ""


@pytest.mark.parametrize(
    ("laboratory", "why"),
    [
        ((1.98, 1.99), "the gap in RMSE of 0.015 is below 5 % of the satellite's RMSE, 2"),
        ((1.0, 2.2), "the gap in RMSE of 0.4 is below its SD over repeats, 0.85"),
    ],
)
def test_the_share_of_a_gap_that_is_next_to_nothing_is_not_determined(laboratory: tuple[float, ...], why: str) -> None:
    errors = {"satellite": (2.0, 2.0), "laboratory": laboratory, "generated": (3.0, 2.5), "mixed": (2.1, 2.2)}
    found = closed_gap(predictions(errors))
    assert found["closed"].isna().all()
    assert found["closed_sd"].isna().all()
    assert found["undetermined"].tolist() == [why, why]
    # Once for both.
    models = "PLSR, generated and PLSR, mixed"
    assert _said(found) == [f"{models}: what share of the gap is closed is not determined, since {why}."]


def test_where_laboratory_spectra_are_no_better_there_is_no_gap_to_close() -> None:
    found = closed_gap(predictions({"satellite": (2.0, 2.0), "laboratory": (2.5, 2.5), "mixed": (1.0, 3.0)}))
    (row,) = found.to_dict("records")
    assert pd.isna(row["closed"])
    assert "at least as well" in row["undetermined"]
    assert row["better"] == 0.5
