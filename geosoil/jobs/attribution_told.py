"""What `geosoil explain` leaves of contributions: tables, values, a record, a report, plots, and a few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.jobs.attribution_data import Rows
from geosoil.models.attributions import Attribution
from geosoil.models.bundle import Bundle
from geosoil.models.explained import Drawing, Subject
from geosoil.report.absorptions import constituents_at
from geosoil.report.attributions import Against, Shown, figure_names, write_attributions
from geosoil.report.html import png
from geosoil.report.importance import Window
from geosoil.soil import Target

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = [
    "Explained",
    "Explanation",
    "file_names",
    "joined",
    "record_of",
    "shown_of",
    "stem_of",
    "summary",
    "title_of",
    "unit_of",
    "write_explanation",
]

#: A gap below this share of the predictions' SD is rounding.
_ROUNDING = 1e-4
TABLE, VALUES, RECORD, REPORT = "attributions.csv", "attributions.npz", "explain.json", "report.html"


@dataclass(frozen=True, eq=False)
class Explained:
    """One output of the model.

    Attributes
    ----------
    target : Target
    subject : Subject
        What got contributions, and how.
    attribution : Attribution
        Contributions on the scale that the model works on.
    inputs : (n, p) float64
        The inputs; NaN where an input is no single number.
    table : DataFrame
        As `report.importance.importance_table` makes it.
    """

    target: Target
    subject: Subject
    attribution: Attribution
    inputs: Float64
    table: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Explanation:
    """What `explain` found.

    Attributes
    ----------
    table : DataFrame
        All outputs: ``property``, ``depth``, and the columns of `importance_table`.
    outputs : tuple of Explained
    samples : tuple of str
        Names of the rows.
    against : mapping
        By output, the wavelengths that are shared, lost and new.
    record : dict
        What ``explain.json`` holds.
    files : tuple of Path
        What was written; empty without a folder.
    """

    table: pd.DataFrame
    outputs: tuple[Explained, ...]
    samples: tuple[str, ...]
    against: Mapping[str, Against]
    record: dict[str, Any]
    files: tuple[Path, ...] = ()


def title_of(target: Target) -> str:
    """The property and the depth, in words."""
    return f"{target.soil_property.name}, {target.depth}"


def unit_of(bundle: Bundle, target: Target) -> str:
    """Unit of contributions: that of the scale that the model works on."""
    soil = target.soil_property
    place = next(p for p, one in enumerate(bundle.soil_properties) if one.code == soil.code)
    kind = bundle.transforms[place].kind
    unit = "" if soil.unit == "1" else soil.unit
    if kind == "none":
        return unit or soil.name
    word = {"log": "ln", "log1p": "ln(1 + x)", "log10": "log10"}.get(kind, kind)
    return f"{word} {unit}".strip()


def joined(found: Sequence[Explained]) -> pd.DataFrame:
    """The tables of all outputs, one below the other."""
    frames = []
    for one in found:
        frame = one.table.copy()
        frame.insert(0, "depth", str(one.target.depth))
        frame.insert(0, "property", one.target.soil_property.code)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _facts(one: Explained, rows: Rows, background: Rows) -> dict[str, str]:
    found = one.attribution
    facts = {
        "explained": f"{len(rows)} {'spectra' if one.subject.wavelength_nm is not None else 'places'} ({rows.source})",
        "background": f"{len(background)} rows ({background.source})",
        "method": one.subject.method + (f", {found.draws} draws a sample" if found.draws else ""),
        "gap": _gap_words(found),
        **({} if np.isnan(found.scatter) else {"scatter": _scatter_words(found)}),
        "inputs": one.subject.quantity + (f", because {one.subject.why}" if one.subject.why else ""),
    }
    if one.subject.width > 1:
        facts["windows"] = (
            f"the first layer joins {one.subject.width} neighbouring bands, which it cannot tell apart: "
            "see the columns window_..."
        )
    return facts


def _gap_words(found: Attribution) -> str:
    if np.isnan(found.gap_share):
        return "predictions do not vary"
    if found.gap_share < _ROUNDING:
        return "none"
    return f"{100 * found.gap_share:.2g} % of the predictions' SD (root mean square)"


def _scatter_words(found: Attribution) -> str:
    return (
        f"another {found.draws} draws would move the contributions by about {100 * found.scatter:.2g} % of their size"
    )


def shown_of(bundle: Bundle, one: Explained, rows: Rows, background: Rows) -> Shown:
    """What the report shows of an output."""
    return Shown(
        title=title_of(one.target),
        unit=unit_of(bundle, one.target),
        quantity=one.subject.quantity,
        table=one.table,
        values=one.attribution.values,
        inputs=one.inputs,
        facts=_facts(one, rows, background),
        notes=(*one.subject.notes, *rows.notes),
    )


def record_of(
    bundle: Bundle,
    other: Bundle | None,
    found: Sequence[Explained],
    compared: Mapping[str, Against],
    rows: Rows,
    background: Rows,
    drawing: Drawing,
) -> dict[str, Any]:
    """What ``explain.json`` holds."""
    return {
        "schema": 1,
        "model": {"name": bundle.card.name, "sha256": bundle.sha256},
        "against": None if other is None else {"name": other.card.name, "sha256": other.sha256},
        "data": {"source": rows.source, "rows": len(rows), "notes": list(rows.notes)},
        "background": {"source": background.source, "rows": len(background)},
        "seed": drawing.seed,
        "outputs": [
            {
                "property": one.target.soil_property.code,
                "depth": str(one.target.depth),
                "unit": unit_of(bundle, one.target),
                "inputs": one.subject.quantity,
                "why": one.subject.why,
                "method": one.subject.method,
                "draws": one.attribution.draws,
                "window": one.subject.width,
                "base": one.attribution.base,
                "gap_share": None if np.isnan(one.attribution.gap_share) else one.attribution.gap_share,
                "scatter": None if np.isnan(one.attribution.scatter) else one.attribution.scatter,
                "notes": list(one.subject.notes),
                **_matters(shown_of(bundle, one, rows, background), compared.get(title_of(one.target))),
            }
            for one in found
        ],
    }


def _matters(shown: Shown, against: Against | None) -> dict[str, Any]:
    """The windows or covariates that hold most, and what another model shares."""
    if shown.wavelength_nm is None:
        top = shown.table.sort_values("mean_abs", ascending=False, kind="stable").head(10)
        return {"top": top[["input", "mean_abs", "share"]].to_dict(orient="records")}
    windows = [
        {
            "first_nm": one.first_nm,
            "last_nm": one.last_nm,
            "share": one.share,
            "constituents": constituents_at(one.first_nm, one.last_nm),
        }
        for one in shown.windows
    ]
    if against is None:
        return {"windows": windows}
    changes = {"models": list(against.names), **against.alike, "changes": against.changes.to_dict(orient="records")}
    return {"windows": windows, "against": changes}


def stem_of(target: Target) -> str:
    """What files and arrays of an output are called."""
    return target.stem("attributions")


def file_names(
    bundle: Bundle, wanted: Sequence[int], titles: Sequence[str], *, spectral: bool, against: bool, mapped: bool
) -> list[str]:
    """All files that an explanation leaves."""
    maps = [f"{stem_of(bundle.targets[place])}.tif" for place in wanted] if mapped else []
    plots = [f"{name}.png" for name in figure_names(titles, spectral=spectral, against=against)]
    return [TABLE, VALUES, RECORD, REPORT, *maps, *plots]


def write_explanation(folder: Path, bundle: Bundle, made: Explanation, rows: Rows, background: Rows) -> None:
    """Tables, values, record, report and plots."""
    made.table.to_csv(folder / TABLE, index=False, float_format="%.6g")
    arrays: dict[str, Any] = {"samples": np.array(made.samples)}
    for one in made.outputs:
        stem = stem_of(one.target)
        arrays |= {
            f"{stem}.values": one.attribution.values.astype(np.float32),
            f"{stem}.inputs": one.inputs.astype(np.float32),
            f"{stem}.prediction": one.attribution.output,
            f"{stem}.base": np.array(one.attribution.base),
            f"{stem}.names": np.array(one.subject.names),
        }
        if one.subject.wavelength_nm is not None:
            arrays[f"{stem}.wavelength"] = one.subject.wavelength_nm
    np.savez_compressed(folder / VALUES, **arrays)
    (folder / RECORD).write_text(
        json.dumps(made.record, indent=1, ensure_ascii=False, allow_nan=False, default=float) + "\n", encoding="utf-8"
    )
    shown = [shown_of(bundle, one, rows, background) for one in made.outputs]
    figures = write_attributions(folder / REPORT, bundle.card.name, shown, made.against)
    for name, figure in figures.items():
        (folder / f"{name}.png").write_bytes(png(figure))


def summary(found: Explanation) -> str:
    """What matters most to each output, and how well the contributions add up, for people."""
    lines = []
    for one, told in zip(found.outputs, found.record["outputs"], strict=True):
        lines.append(title_of(one.target))
        lines.append(f"  {one.subject.method}" + (f", {told['draws']} draws a sample" if told["draws"] else ""))
        lines.append(f"  gap: {_gap_words(one.attribution)}")
        if told["scatter"] is not None:
            lines.append(f"  {_scatter_words(one.attribution)}")
        if one.subject.why:
            lines.append(f"  contributions are those of {one.subject.quantity}: {one.subject.why}")
        if "windows" in told:
            for window in told["windows"][:5]:
                absorbs = "; ".join(window["constituents"][:3])
                label = Window(window["first_nm"], window["last_nm"], window["share"]).label
                lines.append(f"  {label}: {100 * window['share']:.1f} %" + (f"   {absorbs}" if absorbs else ""))
        else:
            lines += [f"  {top['input']}: {100 * top['share']:.1f} %" for top in told["top"][:5]]
        if "against" in told:
            kinds = [row["change"] for row in told["against"]["changes"]]
            lines.append(
                f"  against {told['against']['models'][1]}: overlap {100 * told['against']['overlap']:.0f} %, windows "
                f"shared {kinds.count('shared')}, lost {kinds.count('lost')}, new {kinds.count('new')}"
            )
    background = found.record["background"]
    lines.append(f"background: {background['rows']} rows ({background['source']})")
    return "\n".join(lines)
