"""What people open: the QGIS project, the samples beside the maps, the report, and a STAC item a map."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio

from geosoil.errors import InputError
from geosoil.io.cog import Statistics
from geosoil.io.qgis import MapLayer, write_project, write_samples
from geosoil.io.qgis.breaks import decimated
from geosoil.io.qgis.layer import read_facts
from geosoil.io.stac import write_item
from geosoil.io.tables import read_table
from geosoil.jobs.maprun import REPORT, SAMPLES
from geosoil.jobs.plan import Plan
from geosoil.models.bundle import Bundle
from geosoil.prep.masks import NAMES, NODATA, summary, tally
from geosoil.report.mapping import Shown, write_map_report
from geosoil.types import PathLike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geosoil.types import UInt16

__all__ = ["open_points", "present", "shares_masked"]

#: Longest edge of the picture of masked cells.
_LONGEST = 700


def open_points(samples: gpd.GeoDataFrame | PathLike | Sequence[PathLike] | None) -> gpd.GeoDataFrame | None:
    """Samples to show on the maps, from an object or files such as ``geosoil train --predictions`` writes.

    Several files come as one table, in the CRS of the first.

    Raises
    ------
    InputError
        ``GS-POINTS``: there are no points in it, or they have no CRS; and as `read_table`.
    """
    if samples is None:
        return None
    if not isinstance(samples, (str, os.PathLike, gpd.GeoDataFrame)):
        frames = [_points(one) for one in samples]
        together = [frame.to_crs(frames[0].crs) for frame in frames]
        return gpd.GeoDataFrame(pd.concat(together, ignore_index=True)) if frames else None
    return _points(samples)


def _points(samples: gpd.GeoDataFrame | PathLike) -> gpd.GeoDataFrame:
    named = isinstance(samples, (str, os.PathLike))
    table = read_table(samples)
    frame = table.frame
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None or not (frame.geom_type == "Point").all():
        raise InputError(
            f"{Path(samples).name if named else 'the samples'} cannot be shown on the maps",
            code="GS-POINTS",
            details=["points with a CRS are needed"],
            hint="give the GeoPackage of: geosoil train ... --predictions samples.gpkg",
        )
    return frame


def present(
    folder: Path,
    plan: Plan,
    models: Sequence[Bundle],
    statistics: Mapping[Path, Statistics],
    record: Mapping[str, Any],
    points: gpd.GeoDataFrame | None,
    flags: Path | None = None,
) -> tuple[Path, Path]:
    """Write all that people open beside finished maps.

    Parameters
    ----------
    folder : Path
        Of the maps.
    plan : Plan
        With the grid and the outputs.
    models : sequence of Bundle
        That made the maps.
    statistics : mapping
        Of each map, in the order of the outputs.
    record : mapping
        As in ``run.json``.
    points : GeoDataFrame, optional
        Samples to show.
    flags : Path, optional
        Raster of the masked cells.

    Returns
    -------
    project, report : Path
    """
    layers = [MapLayer(path, out.target, out.statistic) for path, out in zip(statistics, plan.outputs, strict=True)]
    crs = read_facts(layers[0].path).crs
    samples = None if points is None else write_samples(folder / SAMPLES, points, crs)
    names = list(dict.fromkeys(model.card.name for model in models))
    title = f"{', '.join(names)}: soil maps"
    project = write_project(
        folder, layers, title=title, samples=samples, flags=flags, history=f"made by: {record['command']}"
    )
    for layer in layers:
        write_item(layer)
    shown: list[Shown] = [
        (layer.target, layer.statistic, decimated(layer.path), _numbers(found))
        for layer, found in zip(layers, statistics.values(), strict=True)
    ]
    affine = plan.grid.affine
    metres = crs.is_projected and crs.axis_info[0].unit_name in {"metre", "meter"}
    report = write_map_report(
        folder / REPORT,
        title=title,
        record=dict(record),
        maps=shown,
        cards=[model.card for model in models],
        cell=(abs(affine.a), abs(affine.e)),
        crs=crs.name,
        cell_unit="m" if metres else "",
        masked=record.get("masked"),
        reasons=None if flags is None else _first_reasons(flags),
    )
    return project, report


def _first_reasons(flags: Path) -> tuple[UInt16, tuple[str, ...]]:
    """The masks at the size of a picture, as the place of a cell's first reason, from 1; 0 where none is.

    Returns
    -------
    (h, w) uint16
        65535 where there is no data.
    tuple of str
        The reasons.
    """
    with rasterio.open(flags) as file:
        shrink = max(1.0, max(file.shape) / _LONGEST)
        shape = tuple(max(1, round(edge / shrink)) for edge in file.shape)
        values = file.read(1, out_shape=shape)
    found = np.zeros(values.shape, np.uint16)
    for place, bit in reversed(list(enumerate(NAMES.values(), start=1))):
        found[(values & bit) > 0] = place
    found[values == NODATA] = np.iinfo(np.uint16).max
    return found, tuple(NAMES)


def shares_masked(flags: Path) -> dict[str, Any]:
    """How much is masked, by reason; read in blocks."""
    counts = np.zeros(18, np.int64)
    with rasterio.open(flags) as file:
        for _, window in file.block_windows(1):
            counts += tally(file.read(1, window=window))
        return {**summary(counts), "not_computed": json.loads(file.tags().get("not_computed", "{}"))}


def _numbers(found: Statistics) -> dict[str, float]:
    """Statistics of a map by the names that a table shows."""
    if not found.valid:
        return {"mapped %": 0.0}
    return {
        "mean": found.mean,
        "SD": found.sd,
        "lowest": found.lowest,
        "highest": found.highest,
        "mapped %": 100 * found.valid / found.cells,
    }
