"""What the values of a property look like: moments for the table that studies print, and whether they are skewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from geosoil.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["STATISTICS", "describe"]

#: Statistics in the order of tables.
STATISTICS = ("n", "min", "q1", "median", "mean", "q3", "max", "sd", "cv_pct", "skewness", "kurtosis")


def describe(values: ArrayLike) -> dict[str, float]:
    """Statistics of measured values.

    The SD divides by n - 1; skewness and kurtosis are the bias-corrected ones that statistical packages print (Joanes &
    Gill 1998), kurtosis as the excess over the normal distribution's. The coefficient of variation is in percent of the
    mean.

    Parameters
    ----------
    values : (n,) array-like
        In the property's unit; missing ones (NaN) are left out.

    Returns
    -------
    dict
        By name, as in `STATISTICS`; NaN where a statistic is not defined, such as the skewness of two values.

    Raises
    ------
    InputError
        ``GS-SAMPLES-FEW``: no value.

    >>> found = describe([1.0, 2.0, 3.0, 10.0])
    >>> found["median"], round(found["cv_pct"], 1), round(found["skewness"], 2)
    (2.5, 102.1, 1.76)
    """
    v = np.asarray(values, np.float64).ravel()
    v = v[np.isfinite(v)]
    if len(v) == 0:
        raise InputError("there are no values to describe", code="GS-SAMPLES-FEW")
    nan = float("nan")
    varied = bool(np.ptp(v) > 0)
    sd = float(v.std(ddof=1)) if len(v) > 1 else nan
    low, quarter, middle, three, high = (float(one) for one in np.quantile(v, (0, 0.25, 0.5, 0.75, 1)))
    mean = float(v.mean())
    return {
        "n": float(len(v)),
        "min": low,
        "q1": quarter,
        "median": middle,
        "mean": mean,
        "q3": three,
        "max": high,
        "sd": sd,
        "cv_pct": 100 * sd / abs(mean) if mean != 0 else nan,
        "skewness": float(stats.skew(v, bias=False)) if varied and len(v) > 2 else nan,
        "kurtosis": float(stats.kurtosis(v, bias=False)) if varied and len(v) > 3 else nan,
    }
