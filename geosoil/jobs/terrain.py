"""`geosoil terrain`: an elevation model to covariates, streams and a report; and how maps go with them."""

from __future__ import annotations

import hashlib
import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import xarray as xr

from geosoil.errors import OutputError, ResourceError, UsageError
from geosoil.io.cog import CACHE, Statistics, check_options, write_cog
from geosoil.io.qgis.breaks import class_breaks
from geosoil.io.qgis.style import ClassStyle
from geosoil.io.qgis.xml import VERSION, add, to_bytes
from geosoil.io.reads import read_files
from geosoil.jobs.elevation import Elevation, open_elevation, read_heights
from geosoil.jobs.plan import memory_bound
from geosoil.jobs.staging import staged
from geosoil.jobs.streams import Drainage, drain, write_streams
from geosoil.jobs.terrain_layers import Land, Layer, Settings, choose_layers
from geosoil.jobs.terrain_page import RECORD, REPORT, STREAMS, layer_tags, make_page, make_record
from geosoil.jobs.terrain_relations import RELATIONS, Relations, check_places, find_maps, relate, relation_files
from geosoil.prep.flow import Filled, catchment_area, fill, find_holes
from geosoil.prep.terrain import SlopeMethod
from geosoil.stops import Stop, listen, stoppable
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import geopandas as gpd

    from geosoil.types import Float32

__all__ = ["BYTES_A_CELL", "TerrainResult", "terrain"]

#: Most memory at any time, bytes a cell, the front of the rising water apart: heights 4, filled surface 8, order 4, way
#: down 4, catchment 4, streams 1, a finished layer 4, and the scratch of what makes lines and polygons of streams.
#: Measured.
BYTES_A_CELL = 33
#: The same while pits are filled: heights, filled surface, order, states.
_FILLING = 17
#: Libraries, pictures and the writer beyond what is resident at the start, bytes.
_GROWTH = 200 * 2**20 + CACHE
#: Longest edge of pictures, cells.
_EDGE = 900


@dataclass(frozen=True)
class TerrainResult:
    """What a terrain run left.

    Attributes
    ----------
    folder : Path
        All of it.
    layers : dict of str to Path
        GeoTIFFs by name.
    statistics : dict of str to Statistics
        Of each layer.
    streams : Path
        GeoPackage with the layers ``streams`` and ``basins``.
    report : Path or None
        The HTML report.
    relations : Relations or None
        How maps go with the terrain, where some were given.
    record : dict
        As in ``run.json``.
    """

    folder: Path
    layers: dict[str, Path]
    statistics: dict[str, Statistics]
    streams: Path
    report: Path | None
    relations: Relations | None
    record: dict[str, Any]


def terrain(
    dem: PathLike | xr.DataArray,
    out: PathLike,
    *,
    attributes: Sequence[str] | None = None,
    slope_method: SlopeMethod = "zevenbergen-thorne",
    min_slope: float = 0.01,
    exponent: float = 1.1,
    stream_area_km2: float = 1.0,
    hole_cells: int = 100,
    z_factor: float | None = None,
    band: int | None = None,
    crs: str | None = None,
    maps: PathLike | Sequence[PathLike] | None = None,
    max_memory: float | str = "4GB",
    nodata: float = float("nan"),
    co: Mapping[str, str] | None = None,
    report: bool = True,
    overwrite: bool = False,
    progress: Progress = quiet,
    command: str = "",
) -> TerrainResult:
    """Make terrain covariates, streams and a report from an elevation model.

    Every file appears when all are finished, or none does. A missing cell stays missing. Water leaves the map at the
    border and at missing cells, but crosses small holes in the data.

    Parameters
    ----------
    dem : path or DataArray
        Heights in metres on a projected grid, one band.
    out : path
        Folder for a GeoTIFF a layer, ``streams.gpkg``, ``report.html`` and ``run.json``.
    attributes : sequence of str, optional
        Layers to write, such as ``slope`` and ``twi``; the usual ones by default.
    slope_method : {"zevenbergen-thorne", "horn"}
        For all that goes by slope.
    min_slope : float
        Least slope over filled pits, degrees.
    exponent : float
        Of slope, by which flow is shared among lower neighbours.
    stream_area_km2 : float
        Least catchment of a stream, km2.
    hole_cells : int
        Cells of the largest hole that water crosses; 0 for none.
    z_factor : float, optional
        Metres in the unit of the heights: 0.3048 for feet.
    band : int, optional
        Band with the heights, from 1, in a file with several.
    crs : str, optional
        CRS of an elevation model that has none.
    maps : path or sequence of paths, optional
        Folder of maps, or maps, to be correlated with slope, wetness and LS; see `terrain_relations`.
    max_memory : float or str
        Bound of the process's memory; 33 bytes a cell are needed.
    nodata : float
        Value of cells without one.
    co : mapping
        Creation options of GDAL's COG driver.
    report : bool
        Whether to write ``report.html``.
    overwrite : bool
        Replace earlier results in `out`.
    progress : callable
        ``progress(done, total, message)``.
    command : str
        For the record.

    Returns
    -------
    TerrainResult

    Raises
    ------
    InputError
        As `open_elevation` and `read_heights`; for the maps as `terrain_relations`.
    UsageError
        A setting cannot be used.
    OutputError
    ResourceError
        ``GS-MEMORY``, before any height is read, or when the front of the water outgrows the bound.
    InterruptedRunError
    """
    started = time.monotonic()
    layers = choose_layers(attributes)
    check_options(co or {})
    if not 0 < stream_area_km2 < np.inf:
        raise UsageError(
            f"a stream area of {stream_area_km2:g} km2 is not usable", code="GS-STREAM-AREA", hint="give one above 0"
        )
    elevation = open_elevation(dem, band=band, crs=crs, z_factor=z_factor)
    settings = Settings(slope_method, min_slope, exponent, stream_area_km2, hole_cells, elevation.z_factor)
    front = _room_for_front(elevation, memory_bound(max_memory))
    found_maps = find_maps(maps) if maps is not None else []
    if found_maps:
        source = next(iter(elevation.scene.attrs.get("sources", ())), elevation.name)
        check_places(found_maps, source, elevation.grid)
    needed = {layer.name for layer in layers}
    if found_maps and not set(RELATIONS) <= needed:
        layers = choose_layers([*needed, *RELATIONS])
    names = [
        *(f"{one.name}.{end}" for one in layers for end in ("tif", "qml")),
        STREAMS,
        RECORD,
        *([REPORT] if report else []),
    ]
    names += relation_files(found_maps) if found_maps else []
    out, stop = Path(out).expanduser(), Stop()
    read = read_files(*(one.path for one in found_maps), scenes=[dem])
    with listen(stop), staged(out, names, overwrite=overwrite, inputs=read) as work:
        tick = stoppable(progress, stop)
        run = _Run(elevation, settings, layers, work, out, nodata, dict(co or {}), front, tick)
        statistics, lines = run.go()
        related = relate(found_maps, work, work / STREAMS, work, progress=tick) if found_maps else None
        elevation = replace(elevation, notes=elevation.notes + run.notes)
        record = make_record(elevation, settings, run.digest, statistics, lines, command, time.monotonic() - started)
        if report:
            make_page(work, elevation, layers, statistics, lines, record, run.heights, run.step)
        (work / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return TerrainResult(
        folder=out,
        layers={layer.name: out / f"{layer.name}.tif" for layer in layers},
        statistics=statistics,
        streams=out / STREAMS,
        report=out / REPORT if report else None,
        relations=related.moved(out) if related is not None else None,
        record=record,
    )


def _room_for_front(elevation: Elevation, most: int) -> int:
    """What is left of the memory for the front of the rising water, bytes; raises ResourceError for none."""
    resident = int(psutil.Process().memory_info().rss)
    needed = resident + _GROWTH + BYTES_A_CELL * elevation.cells
    if needed > most:
        raise ResourceError(
            f"{elevation.name[:40]} needs {needed / 1e9:.1f} GB, more than the memory allowed",
            code="GS-MEMORY",
            details=[
                f"cells: {elevation.cells:,} of {BYTES_A_CELL} bytes, and {(resident + _GROWTH) / 1e6:,.0f} MB besides",
                f"allowed: {most / 1e9:.1f} GB",
            ],
            hint="give a higher --max-memory, cut the DEM at its watersheds, or take larger cells",
        )
    # The front of the rising water comes before most else.
    return most - needed + (BYTES_A_CELL - _FILLING) * elevation.cells


@dataclass
class _Run:
    """A run under way: what it was asked for, and where it works."""

    elevation: Elevation
    settings: Settings
    layers: tuple[Layer, ...]
    work: Path
    out: Path
    nodata: float
    options: dict[str, str]
    front: int
    tick: Progress
    digest: str = ""
    heights: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    step: int = 1
    notes: tuple[str, ...] = ()

    def go(self) -> tuple[dict[str, Statistics], gpd.GeoDataFrame]:
        """Write all layers and the streams."""
        land = Land(read_heights(self.elevation, self.tick), self.elevation.cell, self.settings.slope_method)
        self.digest = hashlib.blake2b(land.heights.data, digest_size=16).hexdigest()
        self.step = max(1, -(-max(land.heights.shape) // _EDGE))
        self.heights = land.heights[:: self.step, :: self.step].copy()
        found = self._write(land, "heights")
        filled = self._fill(land)
        land.surface = filled.surface
        if any(layer.stage == "flow" for layer in self.layers):
            exponent = self.settings.flow_exponent
            land.area, _ = catchment_area(filled, land.cell, exponent=exponent, progress=self.tick)
            found |= self._write(land, "flow")
            land.area = None  # the largest array; the streams need the room
        return found, self._streams(land, filled, found)

    def _fill(self, land: Land) -> Filled:
        """Fill pits; small holes hold the height of their rim meanwhile, so that water crosses them."""
        holes = find_holes(land.heights, self.settings.hole_cells)
        most = self.settings.hole_cells
        if holes.small:
            self.notes += (f"{holes.small} holes in the data, of at most {most} cells: water crosses them",)
        if holes.large:
            self.notes += (f"{holes.large} holes in the data, of more than {most} cells: water ends there",)
        heights = land.heights.reshape(-1)
        heights[holes.cells] = holes.levels
        settings = self.settings
        try:
            return fill(
                land.heights,
                land.cell,
                min_slope=settings.min_slope_degree,
                most_heap=self.front,
                progress=self.tick,
            )
        finally:
            heights[holes.cells] = np.nan

    def _streams(self, land: Land, filled: Filled, found: dict[str, Statistics]) -> gpd.GeoDataFrame:
        """Follow the streams, and write what hangs on them; one layer at a time, since each is large."""
        drainage = drain(filled, land.cell, stream_km2=self.settings.stream_area_km2, progress=self.tick)
        for layer in self.layers:
            if layer.stage == "streams":
                land.rasters = {layer.name: _raster(drainage, layer.name, self.tick)}
                found |= self._write(land, "streams", layer.name)
        land.rasters = {}
        self.tick(0, 1, "streams")
        lines = drainage.lines(self.elevation.grid)
        write_streams(self.work / STREAMS, lines, drainage.polygons(self.elevation.grid))
        self.tick(1, 1, "streams")
        return lines

    def _write(self, land: Land, stage: str, name: str = "") -> dict[str, Statistics]:
        """Write the layers of a stage, each with its style."""
        found = {}
        chosen = [one for one in self.layers if one.stage == stage and name in {"", one.name}]
        height = int(self.elevation.grid.shape[0])
        total = len(self.layers) * height
        for layer in chosen:
            done = self.layers.index(layer) * height

            def window(
                rows: tuple[int, int], columns: tuple[int, int], layer: Layer = layer, done: int = done
            ) -> Float32:
                self.tick(done + rows[0], total, "writing layers")
                values = np.array(layer.window(land, rows, columns), np.float32, order="C")
                values[np.isnan(land.heights[slice(*rows), slice(*columns)])] = np.nan
                return values

            path = self.work / f"{layer.name}.tif"
            with self._no_resume(layer):
                found[layer.name] = write_cog(
                    path,
                    window,
                    self.elevation.grid,
                    self.work,
                    tags=layer_tags(layer, self.elevation.name, self.digest, self.settings),
                    description=layer.name,
                    unit=layer.unit,
                    nodata=self.nodata,
                    resampling="nearest" if layer.codes or layer.name == "aspect" else "average",
                    options=self.options,
                )
            self.tick(done + height, total, "writing layers")
            path.with_suffix(".qml").write_bytes(_style(path, layer, found[layer.name]))
        return found

    @contextmanager
    def _no_resume(self, layer: Layer) -> Iterator[None]:
        """An error in writing, in the words of a run that leaves nothing behind."""
        try:
            yield
        except OutputError as error:
            raise OutputError(
                error.message.replace(str(self.work / f"{layer.name}.tif"), f"{layer.name}.tif"),
                code=error.code,
                details=[f"folder: {self.out}", *error.details],
                hint="check the space on the disk, and run the same command again; nothing was left behind",
            ) from error


def _raster(drainage: Drainage, name: str, tick: Progress) -> Any:
    """A layer that hangs on the streams, (h, w)."""
    match name:
        case "catchment_area_d8":
            return np.multiply(drainage.cells, drainage.square_km * 1e6, dtype=np.float32)
        case "height_above_drainage":
            return drainage.height(tick)
        case "stream_order":
            return drainage.order()
    return drainage.basins()


def _style(path: Path, layer: Layer, found: Statistics) -> bytes:
    """The ``.qml`` of a layer: classes between rounded breaks."""
    style = ClassStyle(tuple(class_breaks([path])), layer.colours, layer.unit, found.lowest, found.highest)
    root = ET.Element("qgis", version=VERSION, styleCategories="AllStyleCategories")
    pipe = add(root, "pipe")
    pipe.append(style.renderer())
    add(pipe, "rasterresampler", maxOversampling=1)
    add(root, "blendMode", "0")
    return to_bytes(root)
