"""Scores equal what others computed, and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from geosoil.errors import InputError
from geosoil.score import METRICS, rpd_class, score, score_table

DATA = Path(__file__).parent / "data"

#: Name here to name in the reference table.
REFERENCE = {
    "n": "n",
    "ME": "ME",
    "MAE": "MAE",
    "RMSE": "RMSE",
    "R": "R_pearson",
    "R2": "R2_mec",
    "r_squared": "r_squared",
    "SEP": "SEP",
    "RPD": "RPD",
    "RPIQ": "RPIQ_type7",
    "CCC": "CCC_n",
    "KGE": "KGE2009",
    "KGE2012": "KGE2012",
}


@pytest.mark.parametrize("name", METRICS)
def test_the_worked_example(name: str) -> None:
    pairs = pd.read_csv(DATA / "metrics_worked_example_data.csv")
    expected = pd.read_csv(DATA / "metrics_worked_example.csv").set_index("metric")["value"]
    assert score(pairs["observed"], pairs["predicted"])[name] == pytest.approx(expected[REFERENCE[name]], rel=1e-12)


@given(arrays(np.float64, (2, 12), elements=st.floats(-1e3, 1e3)))
def test_scikit_learn_agrees(pair: np.ndarray) -> None:
    found = score(*pair)
    assert found["RMSE"] == pytest.approx(root_mean_squared_error(*pair))
    assert found["MAE"] == pytest.approx(mean_absolute_error(*pair))
    if pair[0].std() > 1e-6:
        assert found["R2"] == pytest.approx(r2_score(*pair), rel=1e-6)


def test_a_perfect_prediction() -> None:
    found = score([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert {name: found[name] for name in ("ME", "RMSE", "R2", "CCC", "KGE")} == pytest.approx(
        {"ME": 0, "RMSE": 0, "R2": 1, "CCC": 1, "KGE": 1}
    )


def test_constant_observations_have_no_r2() -> None:
    found = score([3.0, 3.0, 3.0], [1.0, 2.0, 3.0])
    assert np.isnan(found["R2"])
    assert np.isnan(found["RPD"])
    assert found["CCC"] == 0


@pytest.mark.parametrize(
    ("observed", "predicted", "message"),
    [
        ([1.0], [1.0], "1 pairs"),
        ([1.0, 2.0], [1.0], "2 observations for 1"),
        ([1.0, np.nan], [1.0, 2.0], "1 of 2 pairs"),
    ],
)
def test_what_cannot_be_scored_is_refused(observed: list[float], predicted: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(observed, predicted)


def test_missing_pairs_are_left_out_on_request() -> None:
    assert score([1.0, np.nan, 3.0], [1.0, 2.0, 3.5], drop_missing=True)["n"] == 2


def test_the_table_has_mean_and_spread_over_repeats_for_each_depth_and_all() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for repeat in range(3):
        for depth in ("0-5cm", "5-15cm"):
            observed = rng.random(20)
            frames.append(
                pd.DataFrame(
                    {
                        "model": "RF",
                        "scheme": "random",
                        "repeat": repeat,
                        "depth": depth,
                        "observed": observed,
                        "predicted": observed + 0.1 * (repeat + 1),
                    }
                )
            )
    table = score_table(pd.concat(frames)).set_index(["depth", "metric"])
    assert table.loc[("0-5cm", "RMSE"), "mean"] == pytest.approx(0.2)
    assert table.loc[("0-5cm", "RMSE"), "sd"] == pytest.approx(0.1)
    assert table.loc[("all", "n"), "mean"] == 40
    assert score_table(frames[0])["sd"].isna().all()


def test_a_class_of_rpd_begins_at_its_limit() -> None:
    found = [rpd_class(one) for one in (0.3, 1.399, 1.4, 1.999, 2.0, 9.0, float("nan"))]
    assert found == ["poor", "poor", "fair", "fair", "good", "good", ""]
