"""The picture of a search of networks: the error of each trial, the best so far, and what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from geosoil.report.plots import bare_axes

__all__ = ["search_figure"]

#: Colour and name of what became of a trial.
_KINDS = {"complete": ("#1b6ca8", "complete"), "stopped": ("#bbbbbb", "stopped early")}


def search_figure(states: Sequence[str], rmse: Sequence[float], importance: Mapping[str, float]) -> Figure:
    """Errors by trial, and shares of their variance by setting.

    Parameters
    ----------
    states : sequence of str
        ``complete``, ``stopped`` or ``diverged``, a trial each.
    rmse : sequence of float
        Cross-validated errors; those of stopped trials are of their first folds.
    importance : mapping
        Share of the variance of the error that each setting explains; may be empty.
    """
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if importance else 1, squeeze=False, width_ratios=(2, 1) if importance else (1,))[0]
    left = bare_axes(panels[0])
    values = np.asarray(rmse, np.float64)
    places = np.arange(1, len(values) + 1)
    kinds = np.asarray(states)
    for kind, (colour, label) in _KINDS.items():
        there = (kinds == kind) & np.isfinite(values)
        left.plot(places[there], values[there], "o", ms=4, color=colour, label=label)
    best = np.minimum.accumulate(np.where((kinds == "complete") & np.isfinite(values), values, np.inf))
    left.step(places[np.isfinite(best)], best[np.isfinite(best)], where="post", color="#c8553d", label="best so far")
    left.set(xlabel="trial", ylabel="cross-validated RMSE")
    left.legend(frameon=False)
    if importance:
        right = bare_axes(panels[1])
        top = sorted(importance.items(), key=lambda one: one[1])[-8:]
        right.barh([name for name, _ in top], [100 * share for _, share in top], color="#777777")
        right.set_xlabel("share of the variance [%]")
    return figure
