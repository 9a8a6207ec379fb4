"""How mapped properties go with the terrain: correlations of the whole image and of its halves, and streams on maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import xarray as xr
from rasterio.errors import CRSError, RasterioError

from geosoil.errors import InputError, UsageError, listing
from geosoil.io.addresses import expand, short_name
from geosoil.io.atomic import replacing
from geosoil.io.grids import outline_on, refuse_mismatch, same_crs, show_grid
from geosoil.io.qgis.breaks import decimated, rounded_breaks
from geosoil.io.qgis.style import DEFAULT_COLOURS, colours_of
from geosoil.io.raster import open_scene
from geosoil.jobs.staging import staged
from geosoil.jobs.terrain_page import STREAMS, extent_of
from geosoil.report.html import png
from geosoil.report.terrain import Picture, map_with_streams, relation_plot, write_relation_report
from geosoil.soil import properties
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from odc.geo.geobox import GeoBox

    from geosoil.types import Float32, Float64, Int64

__all__ = [
    "RELATIONS",
    "MapFile",
    "Relations",
    "check_places",
    "find_maps",
    "relate",
    "relation_files",
    "terrain_relations",
]

#: Terrain layers that maps are compared with.
RELATIONS = ("slope", "twi", "ls_moore")
REGIONS = ("whole", "left", "right")
TABLE, PLOT, PAGE = "relations.csv", "relations.png", "relations.html"

#: Edge of the windows, cells.
_WINDOW = 512
#: Values that the classes of ranks are made from; most of them that are taken one by one; classes else. With that many
#: classes of equal share a rank correlation is right to eight digits.
_SAMPLE, _MOST_EXACT, _CLASSES = 2**18, 2**16, 2**14
#: Longest edge of a map's picture, cells.
_EDGE = 1000


@dataclass(frozen=True)
class MapFile:
    """A map to be compared.

    Attributes
    ----------
    path : Path
        A GeoTIFF of one band.
    label, unit : str
        What it shows; ``1`` for no unit.
    colours : tuple of str
        From low to high.
    """

    path: Path
    label: str
    unit: str
    colours: tuple[str, ...]

    @property
    def picture(self) -> str:
        """Name of its picture with the streams."""
        return f"{self.path.stem}_streams.png"


@dataclass(frozen=True)
class Relations:
    """Correlations of maps with terrain, and where they were written.

    Attributes
    ----------
    frame : DataFrame
        A row a map, terrain attribute and region: ``map``, ``attribute``, ``region`` (whole, left, right), ``cells``,
        ``pearson``, ``spearman``.
    table, plot, report : Path
        CSV, PNG and HTML.
    pictures : tuple of Path
        The maps with the streams over them.
    """

    frame: pd.DataFrame
    table: Path
    plot: Path
    report: Path
    pictures: tuple[Path, ...]

    def moved(self, folder: Path) -> Relations:
        """The same in another folder."""
        return replace(
            self,
            table=folder / self.table.name,
            plot=folder / self.plot.name,
            report=folder / self.report.name,
            pictures=tuple(folder / one.name for one in self.pictures),
        )


def terrain_relations(
    maps: PathLike | Sequence[PathLike],
    terrain: PathLike,
    out: PathLike,
    *,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> Relations:
    """Correlate maps with slope, wetness and LS, for the whole image and its left and right half.

    Cells count that are valid in all maps and in the terrain. The terrain is put on the grid of the maps. Windows are
    read one by one, so the memory does not grow with the maps. Neighbouring cells are alike, so the correlations have
    no significance in the sense of independent samples; none is given.

    Parameters
    ----------
    maps : path or sequence of paths
        A folder, of which the maps with the statistic ``mean`` are taken; or files, which are all taken.
    terrain : path
        Folder that `terrain` left.
    out : path
        Folder for ``relations.csv``, ``relations.png``, ``relations.html`` and a picture of each map with the streams.
    overwrite : bool
        Replace earlier ones.
    progress : callable

    Raises
    ------
    InputError
        ``GS-MAPS-MISSING``, ``GS-TERRAIN-MISSING``, ``GS-GRID-MISMATCH``, ``GS-GRID-APART``, ``GS-NO-OVERLAP``.
    OutputError
    """
    found = find_maps(maps)
    folder = Path(terrain).expanduser()
    absent = [name for name in (*(f"{one}.tif" for one in RELATIONS), STREAMS) if not (folder / name).exists()]
    if absent:
        raise InputError(
            f"{short_name(str(folder))} is not a folder of terrain layers",
            code="GS-TERRAIN-MISSING",
            details=[f"missing: {listing(absent)}"],
            hint="make them first: geosoil terrain DEM OUT/",
        )
    layer = folder / f"{RELATIONS[0]}.tif"
    check_places(found, str(layer), open_scene(layer).odc.geobox)
    read = [*(one.path for one in found), *(folder / f"{one}.tif" for one in RELATIONS), folder / STREAMS]
    with staged(out, relation_files(found), overwrite=overwrite, inputs=read) as work:
        made = relate(found, folder, folder / STREAMS, work, progress=progress)
    return made.moved(Path(out).expanduser())


def relation_files(maps: Sequence[MapFile]) -> list[str]:
    """Names of the files that `relate` writes."""
    return [TABLE, PLOT, PAGE, *(one.picture for one in maps)]


def find_maps(maps: PathLike | Sequence[PathLike]) -> list[MapFile]:
    """The maps that a path or several name; of a folder those with the statistic ``mean``.

    Raises
    ------
    InputError
        ``GS-MAPS-MISSING``, ``GS-MAP-UNREADABLE``, ``GS-FILE-MISSING``.
    """
    from_folder = isinstance(maps, (str, Path)) and Path(maps).expanduser().is_dir()
    paths = [Path(one) for one in expand(maps)]
    found = [one for one in map(_look, paths) if one is not None and (not from_folder or one[1] == "mean")]
    if not found:
        raise InputError(
            f"{short_name(str(maps))} holds no map with the statistic mean",
            code="GS-MAPS-MISSING",
            details=[f"rasters: {listing([path.name for path in paths])}"],
            hint="give the folder of geosoil map, or name the GeoTIFFs",
        )
    twice = sorted(
        {one.path.stem for one, _ in found if sum(one.path.stem == other.path.stem for other, _ in found) > 1}
    )
    if twice:
        raise UsageError(
            f"two maps are called {twice[0][:60]}", code="GS-MAPS-TWICE", hint="give each of them another file name"
        )
    return [one for one, _ in found]


def check_places(maps: Sequence[MapFile], terrain: str, grid: GeoBox) -> None:
    """Refuse maps that are not on one grid, or that lie elsewhere than the terrain.

    Parameters
    ----------
    maps : sequence of MapFile
    terrain : str
        The file of the terrain, or of the elevation model that it is made from.
    grid : GeoBox
        Of that file.

    Raises
    ------
    InputError
        ``GS-GRID-MISMATCH``, ``GS-GRID-APART``.
    """
    grids = [(str(one.path), open_scene(one.path).odc.geobox) for one in maps]
    refuse_mismatch(grids)
    first, own = grids[0]
    if not outline_on(grid, own).intersects(own.extent):
        raise InputError(
            f"the maps lie outside {short_name(terrain)}",
            code="GS-GRID-APART",
            details=[f"map: {first}: {show_grid(own)}", f"terrain: {terrain}: {show_grid(grid)}"],
            hint="name heights and maps of one region; where they are, one of the two states a wrong CRS",
        )


def _look(path: Path) -> tuple[MapFile, str] | None:
    """A map and its statistic; None for a raster of several bands in a folder."""
    try:
        with rasterio.open(path) as file:
            tags, count, described = file.tags(), file.count, file.descriptions[0]
    except (RasterioError, CRSError) as error:
        raise InputError(
            f"{short_name(str(path))} cannot be read as a map", code="GS-MAP-UNREADABLE", details=[str(error)[:300]]
        ) from error
    if count != 1:
        return None
    code = path.stem.split("_")[0]
    colours = colours_of(properties()[code]) if code in properties() else DEFAULT_COLOURS
    statistic = tags.get("statistic", "mean" if path.stem.endswith("_mean") else "")
    label = tags.get("long_name") or described or path.stem
    return MapFile(path, label, tags.get("units", "1"), colours), statistic


def relate(
    maps: Sequence[MapFile], terrain: Path, streams: Path, folder: Path, *, progress: Progress = quiet
) -> Relations:
    """Write the correlations and pictures into a folder; see `terrain_relations`."""
    scene, layers = _open(maps, terrain)
    frame = correlate(scene, layers, [one.label for one in maps], list(RELATIONS), progress)
    with replacing(folder / TABLE) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    plot = relation_plot(frame)
    _write_png(folder / PLOT, plot)
    lines = _lines(streams, scene.odc.geobox)
    figures = []
    for place, one in enumerate(maps):
        progress(place, len(maps), "drawing maps")
        figure = _drawn(one, scene.odc.geobox, lines)
        _write_png(folder / one.picture, figure)
        figures.append((f"{one.label}, with the streams.", figure))
    progress(len(maps), len(maps), "drawing maps")
    notes = (
        "Cells count that are valid in all maps and in the terrain. The halves are those of the image, cut along its "
        "middle column. Neighbouring cells are alike: no significance is given, since it would take them for "
        "independent samples.",
    )
    caption = "Correlation with the terrain: whole image and its halves."
    write_relation_report(folder / PAGE, frame, [(caption, plot), *figures], notes)
    return Relations(frame, folder / TABLE, folder / PLOT, folder / PAGE, tuple(folder / one.picture for one in maps))


def _open(maps: Sequence[MapFile], terrain: Path) -> tuple[xr.DataArray, xr.DataArray]:
    """The maps as one scene, and the terrain on their grid."""
    scenes = [open_scene(one.path) for one in maps]
    # Two maps may have the same description.
    named = [scene.assign_coords(band=[one.path.stem]) for one, scene in zip(maps, scenes, strict=True)]
    paths = [terrain / f"{name}.tif" for name in RELATIONS]
    scene = xr.concat(named, "band", coords="minimal", compat="override", join="override")
    own, other = (abs(open_scene(path).odc.geobox.affine.a) for path in (maps[0].path, paths[0]))
    # Terrain of finer cells is averaged over the cells of the maps, where both are in one unit.
    finer = other < 0.6 * own and same_crs(scene.odc.geobox.crs, open_scene(paths[0]).odc.geobox.crs)
    return scene, open_scene(paths, align=maps[0].path, resampling="average" if finer else "bilinear")


def _lines(streams: Path, grid: GeoBox) -> gpd.GeoDataFrame:
    lines = pyogrio.read_dataframe(streams, layer="streams")
    return lines.to_crs(grid.crs.to_wkt()) if len(lines) and grid.crs is not None else lines


def _drawn(one: MapFile, grid: GeoBox, lines: gpd.GeoDataFrame) -> Figure:
    values = decimated(one.path, _EDGE)
    good = values[np.isfinite(values)]
    title = one.label if one.unit == "1" else f"{one.label} [{one.unit}]"
    return map_with_streams(
        Picture(values, extent_of(grid), title, one.colours), rounded_breaks(good, len(one.colours)), one.unit, lines
    )


def _write_png(path: Path, figure: Figure) -> None:
    with replacing(path) as part:
        part.write_bytes(png(figure))


class _Moments:
    """Sums for the correlations of maps with attributes in one region, about a point near their means."""

    def __init__(self, centre: Float64, maps: int) -> None:
        self.centre, self.maps, self.count = centre[:, None], maps, 0
        self.sums, self.squares = np.zeros(len(centre)), np.zeros(len(centre))
        self.products = np.zeros((maps, len(centre) - maps))

    def add(self, values: Float64) -> None:
        """Count in values ``(maps and attributes, n)``."""
        gap = values - self.centre
        self.count += gap.shape[1]
        self.sums += gap.sum(axis=1)
        self.squares += (gap * gap).sum(axis=1)
        self.products += gap[: self.maps] @ gap[self.maps :].T

    def correlation(self) -> Float64:
        """``(maps, attributes)``; NaN where one does not vary."""
        n = max(self.count, 1)
        spread = self.squares - self.sums**2 / n
        shared = self.products - np.outer(self.sums[: self.maps], self.sums[self.maps :]) / n
        # Rounding leaves a trace of spread where all values are equal.
        spread[spread <= 1e-12 * self.squares] = np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            found = shared / np.sqrt(np.outer(spread[: self.maps], spread[self.maps :]))
        return np.asarray(np.clip(found, -1, 1))


def correlate(
    scene: xr.DataArray,
    layers: xr.DataArray,
    maps: Sequence[str],
    attributes: Sequence[str],
    progress: Progress = quiet,
) -> pd.DataFrame:
    """Pearson's and Spearman's correlation of each map with each attribute, in three passes over the windows.

    Ranks are those of classes: every value is one where there are at most 65,536 of them, which is exact; else 16,384
    of equal share, which is right to about eight digits.

    Parameters
    ----------
    scene, layers : DataArray
        ``(band, y, x)`` on one grid.
    maps, attributes : sequence of str
        Names of their bands.

    Raises
    ------
    InputError
        ``GS-NO-OVERLAP``.
    """
    count, width = len(maps), scene.sizes["x"]
    windows = list(product(range(0, scene.sizes["y"], _WINDOW), range(0, width, _WINDOW)))
    total = 3 * len(windows)

    def values(turn: int) -> Iterator[tuple[Float32, Int64]]:
        """Valid cells (variables, n) of each window, and the half that each is in: 1 left, 2 right."""
        for place, (row, column) in enumerate(windows):
            progress(turn * len(windows) + place, total, "comparing with terrain")
            at = (slice(None), slice(row, row + _WINDOW), slice(column, column + _WINDOW))
            both = np.concatenate([np.asarray(one[at].values, np.float32) for one in (scene, layers)])
            half = np.where(np.arange(column, column + both.shape[2]) < width // 2, 1, 2)
            valid = np.isfinite(both).all(axis=0)
            yield both[:, valid], np.broadcast_to(half, valid.shape)[valid]

    every = max(1, -(-scene.sizes["y"] * width // _SAMPLE))
    sample = np.concatenate([found[:, ::every] for found, _ in values(0)], axis=1)
    if not sample.shape[1]:
        raise InputError(
            "no cell is valid in all maps and in the terrain",
            code="GS-NO-OVERLAP",
            hint="give maps of the region of the elevation model, and leave out those that are empty",
        )
    edges = [_edges(one) for one in sample]
    amounts = [_Moments(sample.mean(axis=1, dtype=np.float64), count) for _ in REGIONS]
    counts = [np.zeros((3, 2 * len(one) + 1), np.int64) for one in edges]
    for found, half in values(1):
        _in_regions(amounts, found.astype(np.float64), half)
        for tally, one, ends in zip(counts, found, edges, strict=True):
            classes = _classes(one, ends)
            for region in (1, 2):
                tally[region] += np.bincount(classes[half == region], minlength=tally.shape[1])
    for tally in counts:
        tally[0] = tally[1] + tally[2]
    # The rank of a class is the mean of its members' ranks, scaled to 0 to 1.
    ranks = [
        (np.cumsum(tally, axis=1) - tally / 2) / np.maximum(tally.sum(axis=1, keepdims=True), 1) for tally in counts
    ]
    orders = [_Moments(np.full(len(edges), 0.5), count) for _ in REGIONS]
    for found, half in values(2):
        classes_of = [_classes(one, ends) for one, ends in zip(found, edges, strict=True)]
        for place in range(3):
            inside = half == place if place else np.ones(half.shape, bool)
            own = np.stack([rank[place][one[inside]] for rank, one in zip(ranks, classes_of, strict=True)])
            orders[place].add(own)
    progress(total, total, "comparing with terrain")
    return _table(maps, attributes, amounts, orders)


def _in_regions(moments: Sequence[_Moments], values: Float64, half: Int64) -> None:
    moments[0].add(values)
    for place in (1, 2):
        moments[place].add(values[:, half == place])


def _edges(sample: Float32) -> Float32:
    """Ends of the classes of ranks, increasing."""
    found = np.unique(sample)
    if len(found) <= _MOST_EXACT:
        return found
    return np.unique(np.quantile(sample, np.linspace(0, 1, _CLASSES), method="nearest"))


def _classes(values: Float32, ends: Float32) -> Int64:
    """Class of each value: odd where it is an end, even where it lies between two."""
    place = np.searchsorted(ends, values)
    equal = ends[np.minimum(place, len(ends) - 1)] == values
    return np.asarray(2 * place + equal, np.int64)


def _table(
    maps: Sequence[str], attributes: Sequence[str], amounts: Sequence[_Moments], orders: Sequence[_Moments]
) -> pd.DataFrame:
    rows = []
    for place, region in enumerate(REGIONS):
        pearson, spearman = amounts[place].correlation(), orders[place].correlation()
        for (i, one), (j, attribute) in product(enumerate(maps), enumerate(attributes)):
            rows.append((one, attribute, region, amounts[place].count, pearson[i, j], spearman[i, j]))
    frame = pd.DataFrame(rows, columns=["map", "attribute", "region", "cells", "pearson", "spearman"])
    order = {name: place for place, name in enumerate([*maps, *attributes])}
    return frame.sort_values(
        ["map", "attribute"], key=lambda column: column.map(order), kind="stable", ignore_index=True
    )
