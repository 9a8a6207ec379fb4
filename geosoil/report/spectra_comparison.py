"""The report of a comparison of spectra: the published tables, how far the gap is closed, and plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from geosoil.report.html import Section, png, write_report
from geosoil.report.plots import bare_axes
from geosoil.report.spectra import COLOURS, SUPPORT_CAPTION, correlation_figure, spectra_figure, support_figure

if TYPE_CHECKING:
    from geosoil.soil import Property
    from geosoil.types import Float64

__all__ = ["HEADS", "OPTIMISTIC", "STUDIES", "closed_gap", "inversion_table", "write_spectra_comparison"]

#: How tables call the regressions.
HEADS = {"plsr": "PLSR", "svr": "SVR", "rf": "RF", "fd-rf": "FD-RF", "dnn": "DNN", "resnet": "ResNet", "cnn": "CNN"}
#: What tables call the split of the published protocol.
OPTIMISTIC = "published, optimistic"
# Least share of the satellite's RMSE that is a gap to speak of.
_LEAST_GAP = 0.05
_METRICS = ("R2", "RMSE", "MAE", "RPIQ")
_IN_UNITS = frozenset({"RMSE", "MAE"})
_SCHEMES = {
    "random": "Random folds, all of it nested: translators, selection of bands and searches saw the training folds.",
    "spatial": "Spatial folds, all of it nested: samples of one block stay together.",
    OPTIMISTIC: "The published protocol: one split of two to one along the sorted target, of which the translator, "
    "its seeds and the selection of bands saw all samples. It is optimistic, and stands here for comparison only.",
}
#: Ablations: title, and what it is about.
STUDIES = {
    "fusion": ("Ways of fusion", "Other ways to make satellite spectra laboratory-like."),
    "losses": ("Losses of the published fusion", "Mixed spectra of the variational auto-encoder with a loss changed."),
}


def write_spectra_comparison(
    folder: Path,
    name: str,
    values: Mapping[Property, Float64],
    predictions: pd.DataFrame,
    fits: pd.DataFrame,
    scores: pd.DataFrame,
    spectra: Mapping[str, Any],
) -> Path:
    """Write ``report.html``, ``table.csv``, ``gap.csv`` and the plots.

    Parameters
    ----------
    values : mapping
        Property to the samples' values (n,), in the order of the rows of `spectra`.
    predictions, fits, scores : DataFrame
        As ``jobs.compare_spectra`` makes them.
    spectra : mapping
        As ``jobs.invert.fitted_spectra``.
    """
    (folder / "plots").mkdir(exist_ok=True)
    units = {soil.code: soil.unit for soil in values}
    table = inversion_table(fits, scores)
    gap = closed_gap(predictions)
    table.to_csv(folder / "table.csv", index=False, float_format="%.6g")
    gap.to_csv(folder / "gap.csv", index=False, float_format="%.6g")
    sections = [_spectra(values, spectra)]
    for soil in values:
        for scheme in dict.fromkeys(scores["scheme"]):
            sections += _property(soil, scheme, table, gap, scores)
    sections += _ablations(values, table, fits)
    for section in sections:
        for place, (_, figure) in enumerate(section.figures):
            (folder / "plots" / f"{_slug(section.title)}-{place + 1}.png").write_bytes(png(figure))
    subtitle = ", ".join(f"{soil.name} [{units[soil.code]}]" for soil in values)
    return write_report(folder / "report.html", f"{name}: comparison of spectra", sections, subtitle=subtitle)


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def inversion_table(fits: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The published table: number of features, scores of training and of held-out samples.

    Returns
    -------
    DataFrame
        One row a property, scheme, question and model; ``features``, ``train_R2`` ... (means over folds and repeats),
        ``R2``, ``RMSE``, ``MAE``, ``RPIQ`` (means over repeats) and their ``_sd``.
    """
    keys = ["property", "study", "scheme", "model"]
    inside = fits.groupby(keys, sort=False)[["features", *_METRICS]].mean()
    inside.columns = pd.Index(["features", *(f"train_{name}" for name in _METRICS)])
    chosen = scores[scores["metric"].isin(_METRICS)]
    wide = chosen.pivot_table(index=keys, columns="metric", values=["mean", "sd"], sort=False, dropna=False)
    outside = pd.DataFrame(
        {
            **{name: wide["mean"][name] for name in _METRICS},
            **{f"{name}_sd": wide["sd"][name] for name in _METRICS if "sd" in wide},
        }
    )
    return inside.join(outside, how="left").reset_index()


def closed_gap(predictions: pd.DataFrame) -> pd.DataFrame:
    """How much of the gap in RMSE between satellite and laboratory spectra other spectra close, a row a model.

    1 is as good as laboratory spectra, 0 as satellite spectra; the same folds are compared in each repeat. The gap is
    that of the mean RMSE over repeats: in a single repeat it can be next to nothing, and its share any number.

    Returns
    -------
    DataFrame
        ``property``, ``scheme``, ``study``, ``model``, ``closed``, ``closed_sd`` (of the RMSE over repeats, in gaps),
        ``better`` (share of the repeats with a lower RMSE than satellite spectra), ``undetermined``: why `closed` is
        NaN, where laboratory spectra are no better than the satellite's, or by less than the gap's SD over repeats or
        5 % of the satellite's RMSE; else empty.
    """
    keys = ["property", "scheme", "repeat", "study", "model", "spectra", "head"]
    squared = predictions.assign(square=(predictions["predicted"] - predictions["observed"]) ** 2)
    rmse = np.sqrt(squared.groupby(keys, sort=False)["square"].mean()).rename("rmse").reset_index()
    main = rmse[rmse["study"].isin(["models", "published"])]
    ends = ["property", "scheme", "repeat", "head"]
    found = rmse
    for end in ("satellite", "laboratory"):
        one = main[main["spectra"] == end].set_index(ends)["rmse"].rename(end)
        found = found.join(one[~one.index.duplicated()], on=ends)
    found = found[found["spectra"].isin(["generated", "mixed"])].dropna(subset=["satellite", "laboratory"])
    found = found.assign(gained=found["satellite"] - found["rmse"], gap=found["satellite"] - found["laboratory"])
    groups = found.groupby(["property", "scheme", "study", "model"], sort=False)
    table = groups.agg(
        gained=("gained", "mean"), spread=("gained", "std"), gap=("gap", "mean"), gap_sd=("gap", "std"),
        satellite=("satellite", "mean"),
    )  # fmt: skip
    gaps = table[["gap", "gap_sd", "satellite"]].to_numpy(np.float64).tolist()
    why = pd.Series([_undetermined(*one) for one in gaps], table.index, dtype=str)
    gap = table["gap"].where(why == "")
    better = groups["gained"].agg(lambda one: float((one > 0).mean()))
    shares = {"closed": table["gained"] / gap, "closed_sd": table["spread"] / gap, "better": better}
    return pd.DataFrame({**shares, "undetermined": why}).reset_index()


def _undetermined(gap: float, spread: float, satellite: float) -> str:
    """Why a share of a gap in RMSE, with its SD over repeats, tells nothing; empty where it does."""
    if gap <= 0:
        return "satellite spectra did at least as well as laboratory spectra"
    if gap < spread:
        return f"the gap in RMSE of {gap:.2g} is below its SD over repeats, {spread:.2g}"
    if gap < _LEAST_GAP * satellite:
        least = f"{100 * _LEAST_GAP:.0f} % of the satellite's RMSE, {satellite:.2g}"
        return f"the gap in RMSE of {gap:.2g} is below {least}"
    return ""


def _spectra(values: Mapping[Property, Float64], spectra: Mapping[str, Any]) -> Section:
    wavelength = np.asarray(spectra["wavelength_nm"])
    kinds = [kind for kind in ("laboratory", "satellite", "generated") if spectra.get(kind) is not None]
    correlations = {
        soil.name: {kind: _correlation(np.asarray(spectra[kind]), observed) for kind in kinds}
        for soil, observed in values.items()
    }
    figures = [
        (
            "Spectra before and after: means, and the range of the middle 80 % of the samples. Dotted: the spread of "
            "the laboratory spectra, which is the difference if all samples got their mean.",
            spectra_figure(spectra),
        ),
        (
            "Correlation of each spectrum with each property along wavelength.",
            correlation_figure(wavelength, correlations),
        ),
        (f"A model of mixed spectra on all samples. {SUPPORT_CAPTION}", support_figure(tuple(values), spectra)),
    ]
    return Section(
        "Spectra",
        ("The translator and the selection of these pictures saw all samples; those of the tables below did not.",),
        figures=tuple(figures),
    )


def _correlation(rows: Float64, observed: Float64) -> Float64:
    """Pearson's r of each band with the values."""
    there = np.isfinite(observed)
    x, y = rows[there] - rows[there].mean(axis=0), observed[there] - observed[there].mean()
    size = np.sqrt((x**2).sum(axis=0) * (y**2).sum())
    found: Float64 = np.divide(x.T @ y, size, out=np.zeros(x.shape[1]), where=size > 0)
    return found


def _property(
    soil: Property, scheme: str, table: pd.DataFrame, gap: pd.DataFrame, scores: pd.DataFrame
) -> list[Section]:
    """The table of a property and scheme, with the gap that is closed."""
    question = "published" if scheme == OPTIMISTIC else "models"
    rows = table[(table["property"] == soil.code) & (table["scheme"] == scheme) & (table["study"] == question)]
    if rows.empty:
        return []
    closed = gap[(gap["property"] == soil.code) & (gap["scheme"] == scheme) & (gap["study"] == question)]
    # One split has no spread, and its gap may be next to nothing.
    said = _said(closed) if scheme != OPTIMISTIC else []
    title = f"{soil.name}: {scheme} folds" if scheme != OPTIMISTIC else f"{soil.name}: published protocol, optimistic"
    return [
        Section(
            title,
            (_SCHEMES[scheme], *said),
            tables=_tables(rows, soil),
            figures=(("RMSE of held-out samples, with the SD over repeats.", _bars(rows, soil)),),
        )
    ]


def _said(closed: pd.DataFrame) -> list[str]:
    """What share of the gap each model closes; once for all models why it is not determined."""
    known = closed[closed["undetermined"] == ""]
    shares, spreads = known["closed"].to_numpy(np.float64), known["closed_sd"].to_numpy(np.float64)
    lines = [
        _share_said(*one) for one in zip(known["model"].astype(str), shares.tolist(), spreads.tolist(), strict=True)
    ]
    for why, rows in closed[closed["undetermined"] != ""].groupby("undetermined", sort=False):
        models = " and ".join(rows["model"].astype(str))
        lines.append(f"{models}: what share of the gap is closed is not determined, since {why}.")
    return lines


def _share_said(model: str, share: float, spread: float) -> str:
    sd = f" (SD over repeats {100 * spread:.0f} %)" if np.isfinite(spread) else ""
    if share < 0:
        return (
            f"{model} is worse than satellite spectra, by {-100 * share:.0f} % of their gap to laboratory spectra{sd}."
        )
    return f"{model} closes {100 * share:.0f} % of the gap in RMSE between satellite and laboratory spectra{sd}."


def _tables(rows: pd.DataFrame, soil: Property) -> tuple[tuple[str, pd.DataFrame], ...]:
    """The published table for people, in two that fit a page: of held-out samples, and of the training's own."""
    unit = "" if soil.unit == "1" else f" [{soil.unit}]"
    heads = {name: f"{name}{unit}" if name in _IN_UNITS else name for name in _METRICS}
    model = {"model": rows["model"].tolist()}
    outside, inside = dict[str, Any](model), dict[str, Any](model)
    inside["features"] = rows["features"].round().astype(int).tolist()
    for name, head in heads.items():
        spread = rows.get(f"{name}_sd", pd.Series(np.nan, rows.index))
        outside[head] = [
            f"{mean:.3g}" + (f" ± {sd:.2g}" if np.isfinite(sd) else "")
            for mean, sd in zip(rows[name], spread, strict=True)
        ]
        inside[head] = [f"{value:.3g}" for value in rows[f"train_{name}"]]
    return (
        ("Held-out samples: mean ± SD over repeats", pd.DataFrame(outside)),
        ("Training samples, for comparison: mean over folds and repeats", pd.DataFrame(inside)),
    )


def _bars(rows: pd.DataFrame, soil: Property) -> Figure:
    """RMSE by model, coloured by what is read."""
    figure = Figure(figsize=(7.5, 0.8 + 0.3 * len(rows)), layout="constrained")
    axes = bare_axes(figure.subplots())
    places = np.arange(len(rows))
    spread = rows["RMSE_sd"].to_numpy(np.float64) if "RMSE_sd" in rows else None
    colours = [COLOURS.get(str(model).rpartition(", ")[2], "#777777") for model in rows["model"]]
    axes.barh(places, rows["RMSE"].to_numpy(np.float64), xerr=spread, color=colours, height=0.7, error_kw={"lw": 0.8})
    axes.set_yticks(places, rows["model"].tolist())
    axes.invert_yaxis()
    axes.set_xlabel(f"RMSE [{soil.unit}]" if soil.unit != "1" else "RMSE")
    return figure


def _ablations(values: Mapping[Property, Float64], table: pd.DataFrame, fits: pd.DataFrame) -> list[Section]:
    sections = []
    for question, (title, text) in STUDIES.items():
        heads = fits.loc[fits["study"] == question, "head"].unique()
        for soil in values:
            rows = table[(table["study"] == question) & (table["property"] == soil.code)]
            for scheme in dict.fromkeys(rows["scheme"]):
                part = rows[rows["scheme"] == scheme]
                sections.append(
                    Section(
                        f"{soil.name}: {title.lower()}, {scheme} folds",
                        (f"{text} Regression: {', '.join(HEADS[head] for head in heads)}.",),
                        tables=_tables(part, soil),
                        figures=(("RMSE of held-out samples, with the SD over repeats.", _bars(part, soil)),),
                    )
                )
    return sections
