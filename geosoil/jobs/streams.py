"""Streams of a filled surface: where they run, their order and basins, and how high the land lies above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
from odc.geo.geobox import GeoBox
from pyflwdir import FlwdirRaster
from rasterio import features
from shapely.geometry import LineString, shape
from shapely.ops import unary_union

from geosoil.prep.flow import Filled, height_above, steepest
from geosoil.prep.terrain import Cell
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32

__all__ = ["Drainage", "drain", "write_streams"]

#: Version that QGIS 3.22 reads without a remark.
_GEOPACKAGE = {"VERSION": "1.2"}
_SQUARE_KM = 1e6


@dataclass(frozen=True)
class Drainage:
    """Where water goes by steepest descent.

    Attributes
    ----------
    directions : FlwdirRaster
        Of pyflwdir, with our own directions and order of cells.
    cells : (h, w) int32
        Cells that drain through each, itself included; -9999 where missing.
    streams : (h, w) bool
        Cells whose catchment is at least that of a stream.
    filled : Filled
        The surface.
    cell : (float, float)
        Width and height of a cell, m.
    """

    directions: FlwdirRaster
    cells: NDArray[np.int32]
    streams: Bool
    filled: Filled
    cell: Cell

    @property
    def square_km(self) -> float:
        """Area of a cell, km2."""
        return self.cell[0] * self.cell[1] / _SQUARE_KM

    @property
    def outlets(self) -> NDArray[Any]:
        """Cells where a stream leaves the map, the largest catchment first, counted row by row."""
        ends = self.directions.idxs_pit
        ends = ends[self.streams.ravel()[ends]]
        return np.asarray(ends[np.argsort(-self.cells.ravel()[ends], kind="stable")])

    def order(self) -> NDArray[np.uint8]:
        """Strahler's order of each stream cell, (h, w); 0 elsewhere."""
        found: NDArray[np.uint8] = self.directions.stream_order(mask=self.streams)
        return np.where(self.streams, found, np.uint8(0))

    def basins(self) -> NDArray[np.uint32]:
        """Number of the outlet that each cell drains to, (h, w), from 1 by falling area; 0 where it is no stream's."""
        ends = self.outlets
        if not ends.size:
            return np.zeros(self.cells.shape, np.uint32)
        found: NDArray[np.uint32] = self.directions.basins(idxs=ends, ids=np.arange(1, ends.size + 1, dtype=np.uint32))
        return found

    def height(self, progress: Progress = quiet) -> Float32:
        """Height above the stream that a cell drains to, m, (h, w); above where its water leaves the map else."""
        return height_above(self.filled, self.directions.idxs_ds, self.streams, progress=progress)

    def lines(self, grid: GeoBox) -> gpd.GeoDataFrame:
        """The streams as lines from one confluence to the next, in the direction of flow.

        Returns
        -------
        GeoDataFrame
            ``order`` (Strahler), ``basin``, ``upstream_km2`` (at its lower end, before the confluence), ``length_m``
            and ``fall_m`` (on the filled surface).
        """
        found = self.directions.streams(mask=self.streams) if self.streams.any() else []
        # A stream's last cell comes once more, as a line of no length.
        parts = [np.array(one["geometry"]["coordinates"]) for one in found if not one["properties"]["pit"]]
        cells = [np.floor(part * (1, -1)).astype(np.int64)[:, ::-1] for part in parts]  # row and column
        ends = Counter(tuple(one[-1]) for one in cells)
        order, basins = self.order(), self.basins()
        rows = []
        for one in cells:
            first, end = tuple(one[0]), tuple(one[-1])
            # Where lines come together, the area before the confluence is this line's own.
            last = tuple(one[-2]) if ends[end] > 1 else end
            rows.append(
                (
                    int(order[first]),
                    int(basins[first]),
                    float(self.cells[last]) * self.square_km,
                    float(np.hypot(*(np.diff(one, axis=0) * self.cell[::-1]).T).sum()),
                    float(self.filled.surface[first] - self.filled.surface[end]),
                    LineString(_centres(one, grid)),
                )
            )
        names = ["order", "basin", "upstream_km2", "length_m", "fall_m", "geometry"]
        frame = gpd.GeoDataFrame(rows, columns=names, geometry="geometry", crs=_wkt(grid))
        return frame.sort_values(["basin", "order", "upstream_km2"], ascending=[True, False, False], ignore_index=True)

    def polygons(self, grid: GeoBox) -> gpd.GeoDataFrame:
        """The basins of the streams: ``basin`` and ``area_km2``."""
        basins = self.basins().view(np.int32)
        parts: dict[int, list[Any]] = {}
        for outline, number in features.shapes(basins, mask=basins > 0, transform=grid.affine):
            parts.setdefault(int(number), []).append(shape(outline))
        sizes = self.cells.ravel()[self.outlets] * self.square_km
        rows = [(number, float(sizes[number - 1]), unary_union(parts[number])) for number in sorted(parts)]
        columns = ["basin", "area_km2", "geometry"]
        return gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs=_wkt(grid))


def drain(filled: Filled, cell: Cell, *, stream_km2: float, progress: Progress = quiet) -> Drainage:
    """Follow the water by steepest descent.

    Parameters
    ----------
    filled : Filled
        Surface without pits.
    cell : (float, float)
        Width and height of a cell, m.
    stream_km2 : float
        Least catchment of a stream, km2.
    """
    down = steepest(filled, cell, progress=progress)
    height, width = filled.surface.shape
    # Cells from low to high are cells from down- to upstream: no other order is needed.
    directions = FlwdirRaster(down, (height, width), "d8", idxs_seq=filled.order, nnodes=len(filled.order), cache=False)
    cells = directions.upstream_area("cell")
    least = stream_km2 * _SQUARE_KM / (cell[0] * cell[1])
    return Drainage(directions, cells, cells >= least, filled, cell)


def write_streams(path: Path, lines: gpd.GeoDataFrame, basins: gpd.GeoDataFrame) -> None:
    """Write the layers ``streams`` and ``basins`` of a GeoPackage."""
    layers: Sequence[tuple[str, gpd.GeoDataFrame, str]] = (
        ("streams", lines, "LineString"),
        ("basins", basins, "MultiPolygon"),
    )
    for place, (layer, frame, kind) in enumerate(layers):
        pyogrio.write_dataframe(
            frame, path, layer=layer, driver="GPKG", geometry_type=kind, promote_to_multi=kind.startswith("Multi"),
            append=place > 0, dataset_options=_GEOPACKAGE if place == 0 else None,
        )  # fmt: skip


def _centres(cells: NDArray[np.int64], grid: GeoBox) -> NDArray[np.float64]:
    """x and y of the centres of cells (n, 2), given by row and column; the grid is north up."""
    affine = grid.affine
    return np.column_stack([affine.c + affine.a * (cells[:, 1] + 0.5), affine.f + affine.e * (cells[:, 0] + 0.5)])


def _wkt(grid: GeoBox) -> str | None:
    return None if grid.crs is None else pyproj.CRS.from_user_input(grid.crs.to_wkt()).to_wkt("WKT2_2019")
