"""Statistics of values equal pandas', and classes of RPD follow their limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geosoil.errors import InputError
from geosoil.prep.statistics import STATISTICS, describe


def test_statistics_equal_those_of_pandas() -> None:
    values = pd.Series(np.random.default_rng(0).lognormal(3, 1.2, 98))
    found = describe([*values, np.nan])
    assert tuple(found) == STATISTICS
    assert found["n"] == 98
    expected = {
        "min": values.min(),
        "q1": values.quantile(0.25),
        "median": values.median(),
        "mean": values.mean(),
        "q3": values.quantile(0.75),
        "max": values.max(),
        "sd": values.std(),
        "cv_pct": 100 * values.std() / values.mean(),
        "skewness": values.skew(),
        "kurtosis": values.kurt(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_what_is_not_defined_is_not_a_number() -> None:
    assert [name for name, value in describe([2.0]).items() if np.isnan(value)] == [
        "sd",
        "cv_pct",
        "skewness",
        "kurtosis",
    ]
    assert np.isnan(describe([3.0, 3.0, 3.0, 3.0, 3.0])["skewness"])
    assert describe([3.0, 3.0])["cv_pct"] == 0
    assert np.isnan(describe([-1.0, 1.0])["cv_pct"])
    with pytest.raises(InputError) as caught:
        describe([np.nan])
    assert caught.value.code == "GS-SAMPLES-FEW"
