"""The report of a comparison with a library: scores, changes against the local model, and where the spectra lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from geosoil.prep.statistics import describe
from geosoil.report.html import Section, png, write_report
from geosoil.report.lending import library_section
from geosoil.report.plots import bare_axes
from geosoil.score import rpd_class, score

if TYPE_CHECKING:
    from geosoil.soil import Property
    from geosoil.types import Bool, Float64, Int64

__all__ = ["Views", "change_of_rmse", "write_transfer"]

_METRICS = ("RMSE", "R2", "ME", "CCC", "RPD", "RPIQ")
_SCHEMES = {
    "random": "Random folds: each sample is predicted by models that saw the other folds.",
    "spatial": "Spatial folds: samples of one block stay together.",
    "rounds": "Rounds: in each a random quarter of the samples is held out (He et al. 2025).",
    "kennard-stone": "The samples that Kennard and Stone choose by their spectra are the local ones; all others are "
    "held out (Shen et al. 2022). Repeats differ in the seeds alone.",
}
_TITLES = {
    "random": "random folds",
    "spatial": "spatial folds",
    "rounds": "rounds",
    "kennard-stone": "Kennard-Stone",
}
_LIBRARY, _LOCAL, _KEPT, _CHOSEN = "0.75", "#1b6ca8", "#c8553d", "#3a7d44"
#: Errors beyond this multiple of the median model's are drawn at the edge, changes beyond these likewise.
_MOST_ERROR, _MOST_CHANGE = 2.5, 75.0
#: Metrics that are shown with their spread; the others' stands in the table's file.
_WITH_SPREAD = frozenset({"RMSE", "R2"})


@dataclass(frozen=True)
class Views:
    """A property's samples beside the library.

    Attributes
    ----------
    soil : Property
    taught : str
        Code of the property that the library teaches.
    library, local : (N, 2), (n, 2) float64
        Scores on the first two principal components of the library's spectra.
    instances : (k,) int64 or None
        Samples of the library that predict all local ones best.
    chosen : (n,) bool or None
        Local samples that Kennard and Stone choose.
    values, lent : (m,), (N,) float64
        Values of the local samples, and of the library.
    """

    soil: Property
    taught: str
    library: Float64
    local: Float64
    instances: Int64 | None
    chosen: Bool | None
    values: Float64
    lent: Float64


def change_of_rmse(predictions: pd.DataFrame) -> pd.DataFrame:
    """Change of the RMSE against the first model of a table, of the same repeat; above 0 is better.

    ``100 (RMSE_local - RMSE) / RMSE_local`` (Shen et al. 2022).

    Returns
    -------
    DataFrame
        ``property``, ``scheme``, ``model``, ``change`` [%], ``change_sd`` over repeats, ``better`` (share of them).
    """
    keys = ["property", "scheme", "repeat", "model"]
    squared = predictions.assign(square=(predictions["predicted"] - predictions["observed"]) ** 2)
    rmse = np.sqrt(squared.groupby(keys, sort=False)["square"].mean()).rename("rmse").reset_index()
    local = str(predictions["model"].iloc[0])
    base = rmse[rmse["model"] == local].set_index(keys[:3])["rmse"].rename("local")
    joined = rmse.join(base, on=keys[:3])
    joined["change"] = 100 * (joined["local"] - joined["rmse"]) / joined["local"]
    groups = joined.groupby(["property", "scheme", "model"], sort=False)["change"]
    better = groups.agg(lambda one: float((one > 0).mean()))
    return pd.DataFrame({"change": groups.mean(), "change_sd": groups.std(), "better": better}).reset_index()


def write_transfer(
    folder: Path,
    name: str,
    predictions: pd.DataFrame,
    scores: pd.DataFrame,
    views: Sequence[Views],
    library: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html``, ``table.csv``, ``statistics.csv`` and the plots.

    Parameters
    ----------
    predictions, scores : DataFrame
        As ``jobs.compare_spectra`` makes them.
    views : sequence of Views
        One a property.
    library : mapping, optional
        What the library lent, as ``jobs.libraries.library_for`` reports it.
    """
    (folder / "plots").mkdir(exist_ok=True)
    change = change_of_rmse(predictions)
    table = _table(scores, change)
    table.to_csv(folder / "table.csv", index=False, float_format="%.6g")
    held = pd.concat([_statistics(one) for one in views], ignore_index=True)
    held.to_csv(folder / "statistics.csv", index=False, float_format="%.6g")
    sections = []
    for one in views:
        code = one.soil.code
        rows = predictions[predictions["property"] == code]
        for scheme in dict.fromkeys(rows["scheme"]):
            sections.append(_scheme(one.soil, scheme, rows[rows["scheme"] == scheme], table))
        sections.append(_samples(one, held[held["property"] == code]))
    if library is not None:
        sections.append(library_section(library))
    for section in sections:
        for place, (_, figure) in enumerate(section.figures):
            (folder / "plots" / f"{_slug(section.title)}-{place + 1}.png").write_bytes(png(figure))
    subtitle = ", ".join(one.soil.name for one in views)
    return write_report(folder / "report.html", f"{name}: what a library gives", sections, subtitle=subtitle)


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _table(scores: pd.DataFrame, change: pd.DataFrame) -> pd.DataFrame:
    """A row a property, scheme and model: scores with their spread, and the change of the RMSE."""
    keys = ["property", "scheme", "model"]
    rows = scores[scores["metric"].isin(_METRICS)]
    wide = rows.pivot_table(index=keys, columns="metric", values=["mean", "sd"], sort=False, dropna=False)
    found = pd.DataFrame(index=wide.index)
    for metric in _METRICS:
        found[metric] = wide["mean"][metric]
        if "sd" in wide and metric in wide["sd"]:
            found[f"{metric}_sd"] = wide["sd"][metric]
    found["class"] = [rpd_class(one) for one in found["RPD"]]
    return found.reset_index().merge(change, on=keys, how="left")


def _described(values: Float64) -> dict[str, float]:
    """Statistics of values by the names of a table."""
    names = {"sd": "SD", "cv_pct": "CV [%]"}
    return {names.get(name, name): value for name, value in describe(values).items()}


def _statistics(view: Views) -> pd.DataFrame:
    """Statistics of the local samples and of the library."""
    rows = [
        {"property": view.soil.code, "samples": f"local, {view.soil.code}", **_described(view.values)},
        {"property": view.soil.code, "samples": f"library, {view.taught}", **_described(view.lent)},
    ]
    return pd.DataFrame(rows)


def _scheme(soil: Property, scheme: str, rows: pd.DataFrame, table: pd.DataFrame) -> Section:
    own = table[(table["property"] == soil.code) & (table["scheme"] == scheme)]
    unit = f" [{soil.unit}]" if soil.unit != "1" else ""
    figures = [
        (f"RMSE{unit} in each repeat; the dashed line is the median of the first model.", _boxes(rows, soil)),
        (
            "Observed and held-out predicted values of the first repeat; the line is 1 : 1. Outliers are at the edge.",
            _scatter(rows, soil),
        ),
    ]
    if len(own) > 1:
        figures.insert(1, ("Change of the RMSE against the first model, and its SD; right is better.", _changes(own)))
    measured = f"RMSE and ME in {soil.unit}" if soil.unit != "1" else "RMSE and ME in its unit"
    caption = (
        f"Mean ± SD over repeats; {measured}; change: RMSE below that of the first; RPD below 1.4 poor, from 2 good"
    )
    return Section(
        f"{soil.name}: {_TITLES.get(scheme, scheme)}",
        (_SCHEMES.get(scheme, ""), *_verdict(own)),
        tables=((caption, _shown(own)),),
        figures=tuple(figures),
    )


def _verdict(own: pd.DataFrame) -> tuple[str, ...]:
    """The best model in a sentence, with what it gains."""
    if len(own) < 2:
        return ()
    best, first = own.sort_values("RMSE").iloc[0], own.iloc[0]
    if best["model"] == first["model"]:
        return (f"No way to use the library has a lower RMSE than {first['model']}.",)
    told = f"The lowest RMSE is that of {best['model']}: {best['change']:.1f} % below {first['model']}"
    if not np.isfinite(best["change_sd"]):
        return (f"{told}. With one repeat nothing tells how far chance goes.",)
    return (f"{told}, lower in {100 * best['better']:.0f} % of the repeats.",)


def _shown(own: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    found = pd.DataFrame({"model": own["model"]})
    for metric in ("RMSE", *(one for one in _METRICS if one not in {"RMSE", "RPIQ"}), "RPIQ"):
        means, spread = own[metric], own.get(f"{metric}_sd")
        digits = 2 if metric != "RMSE" else _digits(means)
        found[metric] = [
            _rounded(mean, digits, None if spread is None or metric not in _WITH_SPREAD else sd)
            for mean, sd in zip(means, means if spread is None else spread, strict=True)
        ]
        if metric == "RMSE":
            found["change"] = [f"{one:+.0f} %" if place else "" for place, one in enumerate(own["change"])]
    found["class"] = own["class"]
    return found


def _digits(values: pd.Series) -> int:
    """Decimals that give the smallest of some positive values three figures."""
    least = float(values[values > 0].min()) if (values > 0).any() else 1.0
    return int(np.clip(2 - np.floor(np.log10(least)), 0, 6))


def _rounded(mean: float, digits: int, spread: float | None) -> str:
    """A mean, with its spread where there is one."""
    told = f"{mean + 0.0:.{digits}f}"
    return told if spread is None or not np.isfinite(spread) else f"{told} ± {spread:.{digits}f}"


def _boxes(rows: pd.DataFrame, soil: Property) -> Figure:
    """RMSE of each model over the repeats."""
    squared = rows.assign(square=(rows["predicted"] - rows["observed"]) ** 2)
    rmse = np.sqrt(squared.groupby(["model", "repeat"], sort=False)["square"].mean())
    models = list(dict.fromkeys(rows["model"]))
    errors = [rmse[model].to_numpy() for model in models]
    figure = Figure(figsize=(7.5, 0.8 + 0.3 * len(models)), layout="constrained")
    axes = bare_axes(figure.subplots())
    medians = np.array([float(np.median(one)) for one in errors])
    most = _MOST_ERROR * float(np.median(medians))
    axes.axvline(medians[0], color="0.75", linewidth=0.8, linestyle="--")
    for place, one in enumerate(errors):
        if np.median(one) > most:
            axes.annotate(
                f"{np.median(one):.3g} →", (1, place), xycoords=("axes fraction", "data"), ha="right", va="center",
                fontsize=8, color=_KEPT,
            )  # fmt: skip
            continue
        if len(one) > 4:
            axes.boxplot(
                [one], positions=[place], orientation="horizontal", widths=0.55, showfliers=False, manage_ticks=False,
                medianprops={"color": _KEPT}, boxprops={"color": "0.3"}, whiskerprops={"color": "0.3"},
                capprops={"color": "0.3"},
            )  # fmt: skip
        axes.plot(one, np.full(len(one), place), ".", color=_LOCAL, markersize=4, alpha=0.6)
    shown = np.concatenate([one for one in errors if np.median(one) <= most])
    if (medians > most).any():
        axes.set_xlim(right=float(shown.max()) * 1.12)
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.set_xlabel(f"RMSE [{soil.unit}]" if soil.unit != "1" else "RMSE", fontsize=9)
    return figure


def _changes(own: pd.DataFrame) -> Figure:
    """Change of the RMSE against the first model, with its spread over repeats."""
    rows = own.iloc[1:]
    change, spread = rows["change"].to_numpy(), rows["change_sd"].fillna(0.0).to_numpy()
    figure = Figure(figsize=(7.5, 0.8 + 0.3 * len(rows)), layout="constrained")
    axes = bare_axes(figure.subplots())
    places = np.arange(len(rows))
    drawn = np.clip(change, -_MOST_CHANGE, None)
    colours = [_CHOSEN if one > 0 else _KEPT for one in change]
    axes.barh(places, drawn, color=colours, height=0.6)
    inside = change > -_MOST_CHANGE
    axes.errorbar(drawn[inside], places[inside], xerr=spread[inside], fmt="none", ecolor="0.35", elinewidth=0.9)
    axes.axvline(0, color="0.3", linewidth=0.8)
    for place, one in enumerate(change):
        axes.annotate(
            f"{one:+.0f} %", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color="0.25"
        )
    if not inside.all():
        axes.set_xlim(left=-_MOST_CHANGE)
    axes.set_yticks(places, list(rows["model"]))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"RMSE below that of {own['model'].iloc[0]} [%]", fontsize=9)
    return figure


def _scatter(rows: pd.DataFrame, soil: Property) -> Figure:
    """Observed against predicted values, a panel a model."""
    first = rows[rows["repeat"] == rows["repeat"].min()]
    models = list(dict.fromkeys(first["model"]))
    across = min(4, len(models))
    down = -(-len(models) // across)
    figure = Figure(figsize=(2.3 * across + 0.6, 2.4 * down + 0.4), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    low, high = float(first["observed"].min()), float(first["observed"].max())
    room = 0.1 * (high - low)
    for axes, model in zip(panels, models, strict=False):
        one = first[first["model"] == model]
        axes.plot([low, high], [low, high], color="0.6", linewidth=0.8)
        drawn = one["predicted"].clip(low - room, high + room)
        axes.plot(one["observed"], drawn, ".", color=_LOCAL, markersize=4, alpha=0.7, clip_on=False)
        bare_axes(axes).set_title(model, fontsize=8)
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
        axes.set_box_aspect(1)
        axes.annotate(_fit(one), (0.04, 0.97), xycoords="axes fraction", va="top", fontsize=7, color="0.3")
        axes.label_outer()
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    unit = f" [{soil.unit}]" if soil.unit != "1" else ""
    figure.supxlabel(f"observed{unit}", fontsize=9)
    figure.supylabel(f"predicted{unit}", fontsize=9)
    return figure


def _fit(rows: pd.DataFrame) -> str:
    """Error, share of the variance, and agreement of a panel's samples."""
    known = score(rows["observed"].to_numpy(), rows["predicted"].to_numpy())
    return f"RMSE {known['RMSE']:.3g}\nR2 {known['R2']:.2f}\nCCC {known['CCC']:.2f}"


def _samples(view: Views, held: pd.DataFrame) -> Section:
    """Where local and library samples lie, and how their values are spread."""
    own, lent = held.iloc[0], held.iloc[1]
    text = (
        f"{own['n']:.0f} local samples with {view.soil.name.lower()}; the library lends {lent['n']:.0f} with "
        f"{view.taught}. Skewness and kurtosis of a normal distribution are 0."
    )
    return Section(
        f"{view.soil.name}: samples and library",
        (text,),
        tables=(("Values in the property's unit", held.drop(columns=["property"])),),
        figures=(("First two principal components of the library's preprocessed spectra.", _plane(view)),),
    )


def _plane(view: Views) -> Figure:
    """Library, instances, local and chosen samples in the plane of two principal components."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = bare_axes(figure.subplots())
    axes.plot(*view.library.T, ".", color=_LIBRARY, markersize=3, label="library", rasterized=True)
    if view.instances is not None:
        axes.plot(
            *view.library[view.instances].T, "o", color=_KEPT, markersize=4, mfc="none", label="its best for them"
        )
    axes.plot(*view.local.T, ".", color=_LOCAL, markersize=5, label="local samples")
    if view.chosen is not None:
        axes.plot(
            *view.local[view.chosen].T, "s", color=_CHOSEN, markersize=5, mfc="none", label="chosen to learn from"
        )
    axes.set_xlabel("first component")
    axes.set_ylabel("second component")
    axes.legend(frameon=False, fontsize=8)
    return figure
