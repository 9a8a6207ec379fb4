"""Tables of a comparison of spectra."""

from __future__ import annotations

import pandas as pd
import pytest

from geosoil.report.spectra_comparison import closed_gap


def predictions(errors: dict[str, tuple[float, ...]]) -> pd.DataFrame:
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
    found = closed_gap(predictions({"satellite": (3.0, 2.0), "laboratory": (1.0, 1.99), "generated": (2.0, 1.8)}))
    (row,) = found.to_dict("records")
    assert row["closed"] == pytest.approx((2.5 - 1.9) / (2.5 - 1.495))
    assert row["better"] == 1.0


def test_where_laboratory_spectra_are_no_better_there_is_no_gap_to_close() -> None:
    found = closed_gap(predictions({"satellite": (2.0, 2.0), "laboratory": (2.5, 2.5), "mixed": (1.0, 3.0)}))
    (row,) = found.to_dict("records")
    assert pd.isna(row["closed"])
    assert row["better"] == 0.5
