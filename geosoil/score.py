"""How good predictions are: the scores that soil mapping reports, with their spread over repeats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geosoil.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["METRICS", "rpd_class", "score", "score_table"]

#: Scores in the order of tables.
METRICS = ("n", "ME", "MAE", "RMSE", "R", "R2", "r_squared", "SEP", "RPD", "RPIQ", "CCC", "KGE", "KGE2012")


def score(observed: ArrayLike, predicted: ArrayLike, *, drop_missing: bool = False) -> dict[str, float]:
    """All scores of predictions against observations.

    With e = predicted - observed: ME is the mean of e (positive for over-prediction), R2 = 1 - sum e^2 / sum (o -
    mean o)^2 (may be negative; not the squared correlation, which is ``r_squared``), SEP the SD of e, RPD = SD(o) /
    RMSE, RPIQ the interquartile range of o over RMSE (Bellon-Maurel et al. 2010), CCC Lin's concordance (1989), KGE
    the Kling-Gupta efficiency (Gupta et al. 2009; ``KGE2012`` after Kling et al. 2012).

    Parameters
    ----------
    observed, predicted : (n,) array-like
        In the property's unit.
    drop_missing : bool
        Leave pairs with a missing value out, rather than refuse them.

    Returns
    -------
    dict
        By name, as in `METRICS`. NaN where a score is not defined, such as R2 of constant observations.

    Raises
    ------
    InputError
        ``GS-SCORE``: lengths differ, values are missing, or there are fewer than two pairs.

    >>> found = score([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    >>> round(found["RMSE"], 4), round(found["R2"], 2)
    (0.5774, 0.5)
    """
    o, p = np.asarray(observed, np.float64).ravel(), np.asarray(predicted, np.float64).ravel()
    if o.shape != p.shape:
        raise InputError(f"{len(o)} observations for {len(p)} predictions", code="GS-SCORE")
    whole = np.isfinite(o) & np.isfinite(p)
    if not whole.all():
        if not drop_missing:
            raise InputError(
                f"{int((~whole).sum())} of {len(o)} pairs have a missing value",
                code="GS-SCORE",
                hint="leave them out on purpose: drop_missing=True",
            )
        o, p = o[whole], p[whole]
    if len(o) < 2:
        raise InputError(f"{len(o)} pairs are too few for scores", code="GS-SCORE", hint="give at least two")
    return _scores(o, p)


def _scores(o: np.ndarray, p: np.ndarray) -> dict[str, float]:
    e = p - o
    rmse = float(np.sqrt(np.mean(e**2)))
    sd_o, sd_p = float(o.std()), float(p.std())
    moment = float(np.mean((o - o.mean()) * (p - p.mean())))
    r = _ratio(moment, sd_o * sd_p)
    quarter, three = np.quantile(o, [0.25, 0.75])
    beta = _ratio(float(p.mean()), float(o.mean()))
    spread = _ratio(sd_p, sd_o)
    lin = sd_o**2 + sd_p**2 + (float(o.mean()) - float(p.mean())) ** 2
    return {
        "n": float(len(o)),
        "ME": float(e.mean()),
        "MAE": float(np.abs(e).mean()),
        "RMSE": rmse,
        "R": r,
        "R2": 1 - _ratio(float(np.mean(e**2)), sd_o**2),
        "r_squared": r**2,
        "SEP": float(e.std(ddof=1)),
        "RPD": _ratio(float(o.std(ddof=1)), rmse) if sd_o > 0 else float("nan"),
        "RPIQ": _ratio(float(three - quarter), rmse),
        "CCC": 2 * moment / lin if lin > 0 else float("nan"),
        "KGE": _kling_gupta(r, spread, beta),
        "KGE2012": _kling_gupta(r, _ratio(spread, beta), beta),
    }


def _ratio(above: float, below: float) -> float:
    return above / below if below != 0 else float("nan")


def _kling_gupta(r: float, spread: float, beta: float) -> float:
    # hypot, since squares of what nearly constant observations give are too large for a float.
    return 1 - math.hypot(r - 1, spread - 1, beta - 1)


def rpd_class(rpd: float) -> str:
    """What an RPD is worth: below 1.4 ``poor``, to 2 ``fair``, from there ``good`` (Chang et al. 2001; He et al. 2025).

    >>> [rpd_class(one) for one in (1.39, 1.4, 2.0)]
    ['poor', 'fair', 'good']
    """
    if math.isnan(rpd):
        return ""
    return "poor" if rpd < 1.4 else "fair" if rpd < 2 else "good"


def score_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores a depth and over all depths, mean and SD over repeats.

    Parameters
    ----------
    frame : DataFrame
        One row a held-out layer: ``model``, ``scheme``, ``repeat``, ``depth``, ``observed``, ``predicted``.

    Returns
    -------
    DataFrame
        One row a metric: ``scheme``, ``model``, ``depth`` (``all`` for all depths), ``metric``, ``mean``, ``sd``
        (NaN for a single repeat), ``repeats``.
    """
    rows = []
    pooled = pd.concat([frame, frame.assign(depth="all")], ignore_index=True)
    for (scheme, model, depth), group in pooled.groupby(["scheme", "model", "depth"], sort=False):
        repeats = pd.DataFrame(
            [score(one["observed"], one["predicted"]) for _, one in group.groupby("repeat") if len(one) > 1]
        )
        for metric in METRICS:
            values = repeats[metric].to_numpy(np.float64)
            rows.append(
                {
                    "scheme": scheme,
                    "model": model,
                    "depth": depth,
                    "metric": metric,
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
                    "repeats": len(values),
                }
            )
    return pd.DataFrame(rows)
