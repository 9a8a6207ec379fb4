"""The report of a comparison: tables, plots, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geosoil.report import plots
from geosoil.report.html import Section, png, write_report
from geosoil.score import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from geosoil.soil import Property

__all__ = ["change_against", "verdict", "write_comparison"]

#: Scores of the tables, in the order of the paper's, then ours.
_METRICS = ("R", "R2", "RMSE", "MAE", "KGE", "ME", "CCC", "RPIQ")
_QUESTIONS = {
    "random": "Random folds: how well are new samples among the old ones predicted?",
    "spatial": "Spatial folds: how well are new areas predicted? Profiles of one block stay together.",
}
_ABLATIONS = {
    "frozen": ("Frozen layers", "leading layers kept when a depth is tuned"),
    "patch": ("Patch width", "width of the patch [cells]"),
    "covariates": ("Number of covariates", "covariates, the best by rank"),
}
_BASE = "RF"


def write_comparison(
    folder: Path,
    name: str,
    properties: Mapping[str, Property],
    predictions: pd.DataFrame,
    scores: pd.DataFrame,
) -> Path:
    """Write ``report.html``, ``zones.csv`` and the plots of a comparison.

    Parameters
    ----------
    folder : Path
    name : str
        Of the study.
    properties : mapping
        Code to Property.
    predictions : DataFrame
        One row a held-out layer: property, scheme, repeat, study, model, level, depth, profile, observed, predicted, x,
        y, zone.
    scores : DataFrame
        property, study, scheme, model, depth, metric, mean, sd, repeats.
    """
    (folder / "plots").mkdir(exist_ok=True)
    sections: list[Section] = []
    zone_tables = []
    for code, soil in properties.items():
        rows = predictions[predictions["property"] == code]
        table = scores[scores["property"] == code]
        depths = _depths(rows)
        zones = zone_table(rows)
        zone_tables.append(zones.assign(property=code))
        for scheme in dict.fromkeys(rows.loc[rows["study"] == "models", "scheme"]):
            sections.append(_main(soil, scheme, _pick(table, "models", scheme), depths))
        sections += _ablations(soil, rows, table)
        sections.append(_looks(soil, rows, zones, depths))
    pd.concat(zone_tables, ignore_index=True).to_csv(folder / "zones.csv", index=False, float_format="%.6g")
    for section in sections:
        for place, (_, figure) in enumerate(section.figures):
            (folder / "plots" / f"{_slug(section.title)}-{place + 1}.png").write_bytes(png(figure))
    subtitle = ", ".join(soil.name for soil in properties.values())
    return write_report(folder / "report.html", f"{name}: comparison of models", sections, subtitle=subtitle)


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _depths(rows: pd.DataFrame) -> list[str]:
    return sorted(dict.fromkeys(rows["depth"]), key=lambda text: int(text.split("-")[0]))


def _pick(scores: pd.DataFrame, study: str, scheme: str) -> pd.DataFrame:
    return scores[(scores["study"] == study) & (scores["scheme"] == scheme)]


def _main(soil: Property, scheme: str, scores: pd.DataFrame, depths: list[str]) -> Section:
    tables = [
        (f"{metric}{_unit(soil, metric)}: mean ± SD over repeats", wide_table(scores, metric, depths))
        for metric in _METRICS
    ]
    change = change_against(scores, depths)
    if change is not None:
        tables.insert(3, (f"Change of RMSE against {_BASE} [%]; below 0 is better", change))
    figures = [
        (f"{metric} by depth, with the SD over repeats.", plots.metric_by_depth(scores, metric, soil, depths))
        for metric in ("RMSE", "R2")
    ]
    return Section(
        f"{soil.name}: {scheme} folds",
        (_QUESTIONS.get(scheme, ""), *verdict(scores, depths)),
        tables=tuple(tables),
        figures=tuple(figures),
    )


def _unit(soil: Property, metric: str) -> str:
    return f" [{soil.unit}]" if metric in {"RMSE", "MAE", "ME"} and soil.unit != "1" else ""


def wide_table(scores: pd.DataFrame, metric: str, depths: list[str]) -> pd.DataFrame:
    """A row a model, a column a depth, ``mean ± SD``."""
    rows = scores[scores["metric"] == metric]
    digits = _digits(rows["mean"].abs().max())
    found = []
    for model in dict.fromkeys(rows["model"]):
        one = rows[rows["model"] == model].set_index("depth")
        cells = {depth.replace("cm", ""): _with_sd(one, depth, digits) for depth in [*depths, "all"]}
        found.append({"model": model, **cells})
    return pd.DataFrame(found)


def _digits(largest: float) -> int:
    """Decimals for a table: three of the largest value's digits, and no less than three for shares.

    >>> _digits(8.42), _digits(84.9), _digits(0.745), _digits(1200.0)
    (2, 1, 3, 0)
    """
    return max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 3


def _with_sd(rows: pd.DataFrame, depth: str, digits: int) -> str:
    if depth not in rows.index:
        return "–"
    mean, sd = float(rows["mean"][depth]), float(rows["sd"][depth])
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" if np.isnan(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def change_against(scores: pd.DataFrame, depths: list[str], base: str = _BASE) -> pd.DataFrame | None:
    """Change of RMSE against a model, in percent; None where it was not run."""
    rows = scores[scores["metric"] == "RMSE"].pivot_table(index="model", columns="depth", values="mean", sort=False)
    if base not in rows.index or len(rows) < 2:
        return None
    change = 100 * (rows / rows.loc[base] - 1)
    frame = change.drop(index=base).reindex(columns=[*depths, "all"]).rename(columns=lambda one: one.replace("cm", ""))
    text = frame.map(lambda value: "–" if np.isnan(value) else f"{value:+.1f}")
    return text.reset_index()


def verdict(scores: pd.DataFrame, depths: list[str]) -> tuple[str, ...]:
    """In words: which model has the least RMSE at how many depths, and by how much."""
    rows = scores[scores["metric"] == "RMSE"]
    mean = rows.pivot_table(index="model", columns="depth", values="mean", sort=False)
    spread = rows.pivot_table(index="model", columns="depth", values="sd", sort=False, dropna=False)
    if len(mean) < 2:
        return ()
    best = mean[[*depths]].idxmin()
    wins = best.value_counts()
    over = mean["all"].sort_values()
    first, second = over.index[:2]
    gap = 100 * (1 - over.iloc[0] / over.iloc[1])
    sd = float(spread["all"].get(first, np.nan)) if "all" in spread else float("nan")
    firm = "" if np.isnan(sd) else (
        ", more than the SD over repeats" if over.iloc[1] - over.iloc[0] > sd else ", less than the SD over repeats"
    )  # fmt: skip
    return (
        f"Over all depths {first} has the least RMSE, {gap:.1f} % below {second}{firm}. "
        + "By depth: "
        + "; ".join(f"{model} is best at {count} of {len(depths)}" for model, count in wins.items())
        + ".",
    )


def _ablations(soil: Property, rows: pd.DataFrame, scores: pd.DataFrame) -> list[Section]:
    sections = []
    for study, (title, label) in _ABLATIONS.items():
        part = rows[rows["study"] == study]
        if part.empty:
            continue
        scheme = str(part["scheme"].iloc[0])
        levels = {str(model): int(level) for model, level in part.groupby("model")["level"].first().items()}
        table = _pick(scores, study, scheme)
        order = sorted(levels, key=lambda model: levels[model])
        shown = wide_table(table, "RMSE", _depths(part)).set_index("model").loc[order].reset_index()
        sections.append(
            Section(
                f"{soil.name}: {title.lower()}",
                (f"One repeat of {scheme} folds.",),
                tables=((f"RMSE{_unit(soil, 'RMSE')}", shown),),
                figures=(
                    (f"RMSE over all depths against the {label}.", plots.level_curve(table, levels, soil, label)),
                ),
            )
        )
    return sections


def zone_table(rows: pd.DataFrame) -> pd.DataFrame:
    """RMSE of each model in each zone, all depths and repeats of the first scheme; the largest zones first."""
    main = rows[(rows["study"] == "models") & (rows["zone"].astype(str) != "")]
    if main.empty:
        return pd.DataFrame(columns=["zone", "model", "n", "RMSE"])
    main = main[main["scheme"] == main["scheme"].iloc[0]]
    repeats = main["repeat"].nunique()
    found = []
    sizes = main.groupby("zone").size().sort_values(ascending=False)
    for zone in sizes.index:
        for model in dict.fromkeys(main["model"]):
            one = main[(main["zone"] == zone) & (main["model"] == model)]
            if len(one) >= 10:
                rmse = score(one["observed"], one["predicted"])["RMSE"]
                found.append({"zone": zone, "model": model, "n": len(one) // repeats, "RMSE": rmse})
    return pd.DataFrame(found, columns=["zone", "model", "n", "RMSE"])


def _looks(soil: Property, rows: pd.DataFrame, zones: pd.DataFrame, depths: list[str]) -> Section:
    """Scatter, densities, zones and bias of the first repeat of the first scheme."""
    main = rows[rows["study"] == "models"]
    scheme = str(main["scheme"].iloc[0])
    once = main[(main["scheme"] == scheme) & (main["repeat"] == main["repeat"].min())]
    figures: list[tuple[str, Figure]] = [
        (f"{model}: observed against held-out predicted values.", plots.scatter_by_depth(one, soil, depths))
        for model, one in once.groupby("model", sort=False)
    ]
    figures.append(("Densities of observed and predicted values by depth.", plots.density_by_depth(once, soil, depths)))
    if not zones.empty:
        largest = list(dict.fromkeys(zones["zone"]))[:12]
        shown = zones[zones["zone"].isin(largest)]
        figures.append(("RMSE by zone, with the number of layers.", plots.zone_bars(shown, soil)))
    last = list(dict.fromkeys(once["model"]))[-1]
    places = _bias(main[(main["scheme"] == scheme) & (main["model"] == last)])
    figures.append((f"{last}: relative bias at the profiles, over all depths.", plots.relative_bias_map(places, soil)))
    return Section(f"{soil.name}: a closer look", (f"From {scheme} folds.",), figures=tuple(figures))


def _bias(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of predicted over mean of observed at each profile, in percent above or below."""
    means = rows.groupby("profile")[["x", "y", "observed", "predicted"]].mean()
    means = means[means["observed"] > 0]
    return means.assign(bias=100 * (means["predicted"] / means["observed"] - 1)).reset_index()
