"""The report of a map run: the maps, their statistics, the models, and where all came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from geosoil.report.html import Section, write_report
from geosoil.report.plots import map_grid
from geosoil.report.training import model_section, score_frame

if TYPE_CHECKING:
    from geosoil.soil import Target
    from geosoil.types import Float32

__all__ = ["write_map_report"]


def write_map_report(
    path: Path,
    *,
    title: str,
    record: dict[str, Any],
    maps: Sequence[tuple[Target, str, Float32, dict[str, float]]],
    cards: Sequence[Any],
    cell: tuple[float, float],
    crs: str,
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
    """
    sections = []
    for card in cards:
        code = card.soil_property.code
        own = [one for one in maps if one[0].soil_property.code == code]
        means = [(target, small) for target, statistic, small, _ in own if statistic == "mean"]
        soil = own[0][0].soil_property if own else None
        if soil is None:
            continue
        table = pd.DataFrame(
            [{"map": target.stem(statistic), **statistics} for target, statistic, _, statistics in own]
        )
        sections.append(
            Section(
                soil.name,
                (model_section(card).paragraphs[0],),
                tables=(
                    (f"Values of the maps, {soil.unit}", table),
                    *(((f"Scores: {card.scores[0]['split']}", score_frame(card)),) if card.scores else ()),
                ),
                figures=((f"{soil.name} by depth; grey is no data.", map_grid(means)),) if means else (),
            )
        )
    return write_report(path, title, [*sections, _open_them(), _run(record, cell, crs)], subtitle=_subtitle(maps))


def _subtitle(maps: Sequence[tuple[Target, str, Float32, dict[str, float]]]) -> str:
    names = dict.fromkeys(target.soil_property.name for target, *_ in maps)
    return f"{len(maps)} maps: {', '.join(names)}"


def _open_them() -> Section:
    return Section(
        "In QGIS",
        (
            "Open maps.qgz: one group a property with its depths from shallow to deep, one colour scale for all of them. "
            "The folder can be moved as a whole. Each map also opens alone with its style, the .qml file beside it.",
        ),
    )


def _run(record: dict[str, Any], cell: tuple[float, float], crs: str) -> Section:
    plan = record.get("plan", {})
    facts = {
        "command": record.get("command", ""),
        "made": record.get("created", ""),
        "seconds": record.get("seconds", ""),
        "grid": f"{plan.get('columns', '?')} x {plan.get('rows', '?')} cells of {cell[0]:g} x {cell[1]:g}, {crs}",
        "tiles": f"{plan.get('tiles', '?')} of {plan.get('tile_size', '?')} cells",
        "geosoil": record.get("geosoil_version", ""),
        "models (SHA-256)": ", ".join(str(one)[:16] for one in record.get("models", ())),
        "inputs": ", ".join(str(one.get("path", one)) for one in record.get("inputs", ())),
    }
    frame = pd.DataFrame([(name, str(value)) for name, value in facts.items()], columns=["", "value"])
    return Section("How they were made", tables=(("From run.json", frame),))
