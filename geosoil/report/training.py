"""The report of a training: data, scores, and what was left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from geosoil.report.html import Section, write_report
from geosoil.report.plots import scatter_by_depth

if TYPE_CHECKING:
    from geosoil.soil import Property

__all__ = ["model_section", "score_frame", "write_training"]

_SHOWN = ("n", "RMSE", "MAE", "ME", "R", "R2", "CCC", "KGE", "RPIQ")


def write_training(path: Path, card: Any, report: dict[str, Any], frame: pd.DataFrame, soil: Property) -> Path:
    """Write the report of a training.

    Parameters
    ----------
    card : Card
        Of the model.
    report : dict
        Of the training set: what was read, used and left out.
    frame : DataFrame
        Held-out predictions: ``depth``, ``observed``, ``predicted``.
    soil : Property
        What was trained.
    """
    (part,) = card.properties
    depths = [f"{top}-{bottom}cm" for top, bottom in part.depths]
    split = part.scores[0]["split"] if part.scores else ""
    sections = [
        model_section(card),
        Section(
            "Scores",
            (
                f"From {split}: each profile was predicted by a fit that never saw it, in which selection of "
                "covariates, scaling, transform and early stopping used the other profiles alone.",
            ),
            tables=((f"Errors in {soil.unit}; ME above 0 means over-prediction", score_frame(part)),),
            figures=(("Observed against held-out predicted values, by depth.", scatter_by_depth(frame, soil, depths)),),
        ),
        Section("Samples", _used(report), tables=(*_columns(report), *_left_out(report))),
        Section(
            "Covariates",
            (f"Used: {', '.join(card.encoder['bands'])}.",),
            tables=(
                (
                    "Left out, with the reason",
                    pd.DataFrame(list(card.selection.get("dropped", {}).items()), columns=["covariate", "reason"]),
                ),
            )
            if card.selection.get("dropped")
            else (),
        ),
    ]
    subtitle = f"{soil.name} at {', '.join(depth.replace('cm', '') for depth in depths)} cm"
    return write_report(path, f"{card.name}: training", sections, subtitle=subtitle)


def model_section(card: Any) -> Section:
    """What the model is."""
    names = {
        "transfer": "a depth-transfer network: pre-trained on all depths, its first layers kept, tuned for each depth",
        "cnn": "one patch network for each depth",
        "mtcnn": "a multi-task patch network, with a branch for each depth",
        "rf": "one random forest for each depth",
    }
    model = card.settings.get("model", {}) if card.settings else {}
    patch, members = model.get("patch", "?"), model.get("members", 1)
    text = f"The model is {names.get(card.model, card.model)}."
    if card.model != "rf":
        text += f" It looks at {patch} x {patch} cells round a point; {members} networks are averaged."
    return Section(
        "Model",
        (
            text,
            f"Trained on {card.counts.get('profiles', '?')} profiles, {card.created}, seed {card.seed}; target "
            f"transform {', '.join(dict.fromkeys(part.transform['kind'] for part in card.properties))}, with its bias "
            "corrected by smearing (Duan 1983).",
        ),
    )


def score_frame(part: Any) -> pd.DataFrame:
    """The scores of a property's card, a row a depth, all depths last."""
    order = [f"{top}-{bottom}cm" for top, bottom in part.depths] + ["all"]
    rows = {row["depth"]: row for row in part.scores}
    return pd.DataFrame(
        [
            {"depth": depth.replace("cm", " cm"), **{name: rows[depth].get(name) for name in _SHOWN}}
            for depth in order
            if depth in rows
        ]
    ).astype({"n": int})


def _used(report: dict[str, Any]) -> tuple[str, ...]:
    samples = report.get("samples", {})
    layers = ", ".join(f"{depth}: {count}" for depth, count in report.get("layers", {}).items())
    return (
        f"{samples.get('rows', '?')} rows were read, {samples.get('used', '?')} used, of "
        f"{samples.get('profiles', '?')} profiles. Layers by depth: {layers}.",
        *_unit(samples.get("unit", {})),
        *_below(samples.get("below_detection", {})),
        *(str(note) for note in samples.get("notes", ())),
    )


def _unit(unit: dict[str, Any]) -> tuple[str, ...]:
    """In which unit the values were, who said so, and what was done about it."""
    if not unit:
        return ()
    inside = unit["inside"]
    found = ", ".join(
        name if factor == 1 else f"{name} (times {factor:g} for {inside})" for name, factor in unit["factors"].items()
    )
    if not found or (inside == "1" and set(unit["factors"]) == {"1"}):
        return ("The values have no unit.",)
    return (f"Unit of the values: {found}, stated by: {unit['by']}.",)


def _below(below: dict[str, Any]) -> tuple[str, ...]:
    """How many values are below detection, and what was put in their place."""
    if not below.get("count"):
        return ()
    return (f"Values below detection: {below['count']}, taken as asked: {below['as']}.",)


def _columns(report: dict[str, Any]) -> tuple[tuple[str, pd.DataFrame], ...]:
    """Which column was taken for what."""
    columns = report.get("samples", {}).get("columns", {})
    if not columns:
        return ()
    return (("Columns that were taken", pd.DataFrame(list(columns.items()), columns=["for", "column"])),)


def _left_out(report: dict[str, Any]) -> tuple[tuple[str, pd.DataFrame], ...]:
    reasons = dict(report.get("samples", {}).get("dropped", {}))
    for key, text in (("outside", "profiles outside the scene"), ("no_data", "profiles on cells without data")):
        if report.get(key):
            reasons[text] = len(report[key])
    if report.get("without_layers"):
        reasons["profiles without a layer at the mapped depths"] = report["without_layers"]
    if not reasons:
        return ()
    return (("Not used, with the reason", pd.DataFrame(list(reasons.items()), columns=["reason", "count"])),)
