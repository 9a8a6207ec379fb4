"""The report of a map run: the maps, their statistics, the models, and where all came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from geosoil.io.qgis.breaks import rounded_breaks
from geosoil.io.qgis.style import colours_of, is_amount
from geosoil.report.html import Section, write_report
from geosoil.report.inversion import spectral_model
from geosoil.report.plots import map_grid, mask_map
from geosoil.report.times import tell_parts
from geosoil.report.training import model_section, score_frame

if TYPE_CHECKING:
    from geosoil.soil import Target
    from geosoil.types import Float32, UInt16

__all__ = ["Shown", "write_map_report"]

#: What is shown of a map: target, statistic, thumbnail (h, w) float32 with NaN, and statistics of the whole by name.
Shown: TypeAlias = "tuple[Target, str, Float32, dict[str, float]]"


def write_map_report(
    path: Path,
    *,
    title: str,
    record: dict[str, Any],
    maps: Sequence[Shown],
    cards: Sequence[Any],
    cell: tuple[float, float],
    crs: str,
    cell_unit: str = "",
    masked: Mapping[str, Any] | None = None,
    reasons: tuple[UInt16, tuple[str, ...]] | None = None,
) -> Path:
    """Write the report of a map run.

    Parameters
    ----------
    record : dict
        As in ``run.json``.
    maps : sequence of (Target, statistic, thumbnail, statistics)
        Thumbnails (h, w) float32 with NaN; statistics by name, of the whole map.
    cards : sequence of Card
        Of the models.
    cell : (float, float)
        Size of a cell in units of the CRS.
    crs : str
        Name of the CRS.
    cell_unit : str
        ``m`` for a CRS in metres; the mapped area is then stated.
    masked : mapping, optional
        As ``prep.masks.summary``, and ``not_computed``: rules that could not be, with the reason.
    reasons : ((h, w) uint16, tuple of str), optional
        A picture of the masks: the place of a cell's first reason from 1, 0 where there is none, 65535 without data.
    """
    sections = [_summary(record, maps, cell, cell_unit, crs)]
    for card in cards:
        for part in card.properties:
            own = [one for one in maps if one[0].soil_property.code == part.code]
            if own:
                sections.append(_property_section(card, part, own))
    if masked is not None:
        sections.append(_masked_section(masked, reasons))
    sections += [_open_them(), _run(record)]
    return write_report(path, title, sections, subtitle=_subtitle(maps))


def _subtitle(maps: Sequence[Shown]) -> str:
    names = dict.fromkeys(target.soil_property.name for target, *_ in maps)
    depths = sorted({target.depth for target, *_ in maps})
    return f"{', '.join(names)} at {', '.join(str(depth).removesuffix(' cm') for depth in depths)} cm"


def _summary(
    record: dict[str, Any], maps: Sequence[Shown], cell: tuple[float, float], cell_unit: str, crs: str
) -> Section:
    """What was mapped, in a few facts."""
    plan = record.get("plan", {})
    facts = [("maps", f"{len(maps)} GeoTIFF files, one for each property, depth and statistic")]
    if {"columns", "rows"} <= set(plan):
        size = f"{cell[0]:g} x {cell[1]:g} {cell_unit}".strip()
        facts.append(("grid", f"{plan['columns']:,} x {plan['rows']:,} cells of {size}, {crs}"))
        if cell_unit == "m":
            area = plan["columns"] * plan["rows"] * cell[0] * cell[1] / 1e6
            facts.append(("extent", f"{area:,.4g} km²"))
    if record.get("parts"):
        facts.append(("time", tell_parts(record["parts"])))
    return Section("Summary", facts=tuple(facts))


def _property_section(card: Any, part: Any, own: Sequence[Shown]) -> Section:
    """Pictures and values of the maps of a property, and how good its model is."""
    soil = own[0][0].soil_property
    means = [(target, small) for target, statistic, small, _ in own if statistic == "mean"]
    amounts = [small[np.isfinite(small)] for _, statistic, small, _ in own if is_amount(statistic)]
    breaks = rounded_breaks(np.concatenate(amounts), len(colours_of(soil))) if amounts else []
    unit = "" if soil.unit == "1" else f" [{soil.unit}]"
    tables = [(f"Values of the maps{unit}", _values(own))]
    if part.scores:
        tables.append((f"How good the model is: {part.scores[0]['split']}; errors{unit}", score_frame(part)))
    return Section(
        soil.name,
        (_model_text(card),),
        tables=tuple(tables),
        figures=((f"{soil.name}{unit} by depth, in the classes of the QGIS project.", map_grid(means, breaks)),)
        if means
        else (),
        figures_first=True,
    )


def _model_text(card: Any) -> str:
    """What the model is; one of spectra looks at no patch."""
    own = spectral_model if card.settings and "recipe" in card.settings else model_section
    return own(card).paragraphs[0]


def _masked_section(masked: Mapping[str, Any], reasons: tuple[UInt16, tuple[str, ...]] | None) -> Section:
    """What is no bare soil, and why."""
    # A reason that no cell has is mostly a rule that was off, which 0 % would hide.
    shares = {name: share for name, share in masked["reasons"].items() if share > 0}
    rows = [{"reason": name, "% of the cells with data": 100 * share} for name, share in shares.items()]
    text = (
        f"{100 * masked['left']:.3g} % of the cells with data are left as bare soil. A cell may be masked for several "
        "reasons; masked.tif holds a bit for each. Thresholds are starting values: look at the picture. No index tells "
        "roofs and asphalt from soil."
    )
    lacking = [f"Not computed: {rule}, {why}." for rule, why in masked["not_computed"].items()]
    tables = (("By reason", pd.DataFrame(rows)),) if rows else ()
    figures = () if reasons is None else (("Masked cells, by the first reason that takes them.", mask_map(*reasons)),)
    return Section("Masked cells", (text, *lacking), tables=tables, figures=figures, figures_first=True)


def _values(own: Sequence[Shown]) -> pd.DataFrame:
    """A row a map, a column a statistic."""
    rows = [{"depth": str(target.depth), "map": statistic, **statistics} for target, statistic, _, statistics in own]
    frame = pd.DataFrame(rows)
    return frame if frame["map"].nunique() > 1 else frame.drop(columns="map")


def _open_them() -> Section:
    return Section(
        "In QGIS",
        (
            "Open maps.qgz: one group a property with its depths from shallow to deep, one colour scale for all of "
            "them, and a print sheet for each property. The folder can be moved as a whole. Each map also opens alone "
            "with its style, the .qml file beside it.",
        ),
    )


def _run(record: dict[str, Any]) -> Section:
    """What is needed to make the maps again."""
    plan = record.get("plan", {})
    facts = {
        "command": record.get("command"),
        "made": record.get("created"),
        "geosoil": record.get("geosoil"),
        "tiles": f"{plan['tiles']} of {plan['tile_size']} cells" if "tiles" in plan else None,
        "models": "; ".join(f"{one['name']}, SHA-256 {one['sha256']}" for one in record.get("models", ())),
        "inputs": "; ".join(
            ", ".join(str(one[key]) for key in ("name", "hash") if key in one) for one in record.get("inputs", ())
        ),
    }
    return Section("How they were made", facts=tuple((name, str(value)) for name, value in facts.items() if value))


def _input(one: dict[str, Any]) -> str:
    return ", ".join(str(one[key]) for key in ("name", "hash", "token") if key in one)
