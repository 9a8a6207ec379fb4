"""What a terrain run says of itself: tags of its layers, ``run.json``, and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import geosoil
from geosoil.io.cog import Statistics
from geosoil.io.grids import show_grid
from geosoil.io.qgis.breaks import decimated
from geosoil.jobs.elevation import Elevation
from geosoil.jobs.provenance import created_now
from geosoil.jobs.terrain_layers import Layer, Settings
from geosoil.report.terrain import Picture, layer_grid, relief, stream_table, write_terrain_report

if TYPE_CHECKING:
    import geopandas as gpd
    from odc.geo.geobox import GeoBox

    from geosoil.types import Float32

__all__ = ["RECORD", "REPORT", "STREAMS", "extent_of", "layer_tags", "make_page", "make_record"]

#: Names in the output folder.
STREAMS, REPORT, RECORD = "streams.gpkg", "report.html", "run.json"
#: Longest edge of the small maps, cells.
_SMALL = 400


def extent_of(grid: GeoBox) -> tuple[float, float, float, float]:
    """West, east, south and north of a grid."""
    box = grid.boundingbox
    return float(box.left), float(box.right), float(box.bottom), float(box.top)


def layer_tags(layer: Layer, name: str, digest: str, settings: Settings) -> dict[str, str]:
    """Dataset tags of a layer, CF names where there are some.

    Parameters
    ----------
    name, digest : str
        Of the elevation model, and of its heights.
    """
    version, created = f"geosoil {geosoil.__version__}", created_now()
    return {
        "long_name": layer.title,
        "units": layer.unit,
        "inputs": json.dumps([{"name": name, "hash": f"blake2b:{digest}"}], ensure_ascii=False),
        "settings": json.dumps(vars(settings)),
        "geosoil_version": geosoil.__version__,
        "created": created,
        "source": f"elevation model {name}",
        "history": f"{created}: {version}: {layer.name} of {name}",
        "Conventions": "CF-1.11",
        "TIFFTAG_IMAGEDESCRIPTION": layer.title if layer.unit == "1" else f"{layer.title} [{layer.unit}]",
        "TIFFTAG_SOFTWARE": version,
    }


def make_record(
    elevation: Elevation,
    settings: Settings,
    digest: str,
    statistics: Mapping[str, Statistics],
    lines: gpd.GeoDataFrame,
    command: str,
    seconds: float,
) -> dict[str, Any]:
    """What ``run.json`` holds."""
    return {
        "schema": 1,
        "command": command or "geosoil.terrain",
        "created": created_now(),
        "geosoil": geosoil.__version__,
        "input": {"name": elevation.name, "hash_of_heights": f"blake2b:{digest}"},
        "grid": {
            "rows": int(elevation.grid.shape[0]),
            "columns": int(elevation.grid.shape[1]),
            "cell_m": list(elevation.cell),
            "described": show_grid(elevation.grid),
        },
        "settings": vars(settings),
        "notes": list(elevation.notes),
        "layers": {name: _numbers(found) for name, found in statistics.items()},
        "streams": {"reaches": len(lines), "length_km": float(lines["length_m"].sum()) / 1000},
        "seconds": round(seconds, 1),
    }


def _numbers(found: Statistics) -> dict[str, float]:
    return {"mean": found.mean, "SD": found.sd, "lowest": found.lowest, "highest": found.highest}


def make_page(
    folder: Path,
    elevation: Elevation,
    layers: Sequence[Layer],
    statistics: Mapping[str, Statistics],
    lines: gpd.GeoDataFrame,
    record: Mapping[str, Any],
    heights: Float32,
    step: int,
) -> None:
    """Write the report.

    Parameters
    ----------
    folder : Path
        Of the layers, and of the report.
    heights : (h, w) float32
        Every `step`-th height, for the relief.
    """
    cell, extent = elevation.cell, extent_of(elevation.grid)
    shown = relief(Picture(heights, extent), (cell[0] * step, cell[1] * step), lines)
    figures = [("Relief, and the streams: the wider, the higher their order.", shown)]
    pictures = [
        Picture(decimated(folder / f"{layer.name}.tif", _SMALL), extent, _caption(layer), layer.colours)
        for layer in layers
        if not layer.codes
    ]
    if pictures:
        figures.append(("The layers; colours reach from the 2nd to the 98th percentile.", layer_grid(pictures)))
    rows = [
        {"layer": layer.name, "what": layer.title, "unit": layer.unit.replace("1", "–", layer.unit == "1")}
        | _numbers(statistics[layer.name])
        for layer in layers
    ]
    write_terrain_report(
        folder / REPORT,
        name=elevation.name,
        facts=_facts(elevation, next(iter(statistics.values())), lines, record),
        notes=elevation.notes,
        layers=pd.DataFrame(rows),
        streams=stream_table(pd.DataFrame(lines.drop(columns="geometry"))),
        figures=figures,
        record=_made(record),
    )


def _caption(layer: Layer) -> str:
    return layer.title if layer.unit == "1" else f"{layer.title} [{layer.unit.replace('m2', 'm²')}]"


def _facts(
    elevation: Elevation, found: Statistics, lines: gpd.GeoDataFrame, record: Mapping[str, Any]
) -> dict[str, str]:
    least = record["settings"]["stream_area_km2"]
    streams = (
        f"{len(lines):,} reaches, {record['streams']['length_km']:,.4g} km, where at least {least:g} km² drain through"
        if len(lines)
        else f"none: no cell drains {least:g} km²; --stream-area takes less"
    )
    return {
        "elevation model": elevation.name,
        "grid": show_grid(elevation.grid),
        "cells with a height": f"{found.valid:,} of {found.cells:,}",
        "streams": streams,
    }


def _made(record: Mapping[str, Any]) -> dict[str, str]:
    settings = record["settings"]
    return {
        "command": str(record["command"]),
        "made": str(record["created"]),
        "geosoil": str(record["geosoil"]),
        "slope": {"horn": "Horn 1981"}.get(settings["slope_method"], "Zevenbergen and Thorne 1987"),
        "pits": f"filled as by Wang and Liu 2006, least slope {settings['min_slope_degree']:g} degrees",
        "flow": f"multiple (Freeman 1991), exponent {settings['flow_exponent']:g}; streams by steepest descent (D8)",
        "heights": f"{record['input']['hash_of_heights']}, {settings['z_factor']:g} m a unit",
    }
