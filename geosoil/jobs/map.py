"""`geosoil map`: models and a scene to maps, tile by tile, in bounded memory, and never half."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from geosoil.errors import PartialError, listing
from geosoil.grid.patches import fill_window, lazy_window
from geosoil.grid.spool import Ledger
from geosoil.grid.sweep import check_address
from geosoil.grid.tiles import Tile, plan_tiles
from geosoil.io.addresses import redact
from geosoil.io.atomic import keep_inputs, replacing
from geosoil.io.cog import Statistics, check_options
from geosoil.io.lazy import cut_of_files, footprint
from geosoil.io.reads import read_files
from geosoil.jobs.devices import DeviceName, find, place
from geosoil.jobs.maprun import PROJECT, RECORD, REPORT, MapRun, find_ledger
from geosoil.jobs.matching import Masks, Models, Reading, Scene, prepare
from geosoil.jobs.plan import Plan, make_plan, memory_bound
from geosoil.jobs.task import Task, Unseen
from geosoil.models.bundle import Bundle, Output
from geosoil.prep.masks import MaskRules
from geosoil.stops import Stop, listen
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import geopandas as gpd

    from geosoil.types import Float32

__all__ = ["MapResult", "map", "plan", "predict"]

log = logging.getLogger(__name__)

#: Edge of the chunks of a lazy prediction, cells.
_CHUNK = 512


@dataclass(frozen=True)
class MapResult:
    """What a run left.

    Attributes
    ----------
    folder : Path
        All of it.
    maps : tuple of Path
        One GeoTIFF a property, depth and statistic.
    outputs : tuple of Output
        What each map shows.
    statistics : tuple of Statistics
        Of each map.
    project : Path or None
        The QGIS project.
    report : Path or None
        The HTML report.
    record : dict
        As in ``run.json``.
    """

    folder: Path
    maps: tuple[Path, ...]
    outputs: tuple[Output, ...]
    statistics: tuple[Statistics, ...]
    project: Path | None
    report: Path | None
    record: dict[str, Any]


def map(
    models: Models,
    scene: Scene,
    out: PathLike,
    *,
    statistics: Sequence[str] = ("mean",),
    tile_size: int | None = None,
    max_memory: float | str = "4GB",
    num_workers: int | None = None,
    scheduler: str | None = None,
    device: DeviceName = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    keep_going: bool = False,
    band_map: Mapping[str, str] | None = None,
    align: PathLike | None = None,
    crs: str | None = None,
    unseen: Unseen = "error",
    masks: MaskRules | Mapping[str, Any] | Literal["auto"] | None = "auto",
    land_use: PathLike | None = None,
    wavelengths: PathLike | None = None,
    scale: float | None = None,
    nodata: float = float("nan"),
    co: Mapping[str, str] | None = None,
    samples: gpd.GeoDataFrame | PathLike | Sequence[PathLike] | None = None,
    progress: Progress = quiet,
    command: str = "",
) -> MapResult:
    """Map a scene with one or more models.

    Parameters
    ----------
    models : Bundle, path, or several
        What to map; all of them in one pass over the scene.
    scene : path, several, or xarray object
        What to map on; see `open_scene`.
    out : path
        Folder for the maps, the QGIS project, the report and ``run.json``.
    statistics : sequence of str
        ``mean``, and quantiles such as ``Q0.05``, from the residuals of cross-validation.
    tile_size : int, optional
        Edge of the tiles, a multiple of 128 cells; by default what the memory allows, or with `resume` that of the
        earlier run. No value of the maps depends on it.
    max_memory : float or str
        Bound of the process's memory, such as ``4GB``; a number alone is bytes.
    num_workers : int, optional
        Threads; all cores by default.
    scheduler : str, optional
        Address of a dask.distributed scheduler. Its workers read the scene and write tiles themselves, so both must be
        on storage that they share.
    device : {"auto", "cpu", "cuda"}
        Where patch networks run; all else runs on the CPU. Values of a GPU differ from the CPU's in their last digits,
        so a run goes on only where it was begun.
    resume : bool
        Go on with a run that was stopped; begin one where there is none.
    overwrite : bool
        Replace earlier maps, and drop an unfinished run.
    keep_going : bool
        Leave tiles that cannot be read empty, finish the rest, and raise PartialError at the end.
    band_map : mapping, optional
        Name in the model to name in the scene, where they differ.
    align : path, optional
        Raster whose grid the maps get; see `open_scene`.
    crs : str, optional
        CRS of sources that have none.
    unseen : {"error", "missing"}
        What to do with class codes that training did not see.
    masks : MaskRules, mapping, "auto" or None
        Which cells are no bare soil and stay empty; ``masked.tif`` says which and why. By default models of spectra
        mask as they were trained, and models of covariates do not; a mapping, such as ``{"ndvi": 0.25}``, changes some
        of these rules.
    land_use : path, optional
        Raster with codes, of which ``masks.land_use`` stay empty.
    wavelengths, scale
        Of a cube that does not tell them, or tells them wrong; see `open_scene`.
    nodata : float
        Value of cells without one.
    co : mapping, optional
        Creation options of GDAL's COG driver.
    samples : GeoDataFrame, path or several paths, optional
        Points that the project shows, such as the observed and held-out predicted values that `train` writes.
    progress : callable
        ``progress(done, total, message)``.
    command : str
        What the user typed, for ``run.json`` and the line that goes on after a stop.

    Returns
    -------
    MapResult

    Raises
    ------
    InputError
        The scene cannot be read, or does not hold what the models need; ``GS-INPUT-CHANGED``: its files changed
        during the run.
    ModelError
        A model file is damaged, or its bands are not in the scene.
    OutputError
        ``GS-OUTPUT-EXISTS``, ``GS-OUTPUT-INPUT``, ``GS-LOCKED``, ``GS-RESUME-KEY``, ``GS-NO-SPACE``,
        ``GS-NOT-WRITABLE``.
    ResourceError
        ``GS-MEMORY``, ``GS-SCHEDULER``, ``GS-DEVICE``.
    UsageError
        ``GS-SCHEDULER-ADDRESS``, ``GS-SIZE``.
    PartialError
        ``GS-TILES-MISSING``: with `keep_going`, when tiles could not be made.
    InterruptedRunError
        A signal ended the run; finished tiles are kept.

    Examples
    --------
    >>> import geosoil
    >>> from tempfile import TemporaryDirectory
    >>> from geosoil.testing import make_samples, make_scene
    >>> scene = make_scene(shape=(24, 24))
    >>> samples = make_samples(scene, 40)
    >>> study = geosoil.Study(
    ...     depths={"intervals": ["0-5", "5-15"]}, model={"kind": "rf", "trees": 5}, validation={"folds": 3}
    ... )
    >>> model = geosoil.train(study, samples=samples, scene=scene)
    >>> with TemporaryDirectory() as folder:
    ...     made = map(model, scene, folder, statistics=["mean", "Q0.95"])
    ...     [path.name for path in made.maps], made.project.exists()
    (['soc_0-5cm_mean.tif', 'soc_0-5cm_Q0.95.tif', 'soc_5-15cm_mean.tif', 'soc_5-15cm_Q0.95.tif'], True)
    """
    started = time.perf_counter()
    folder = Path(out).expanduser()
    if resume and tile_size is None:
        # The tiles that are there have a size, whatever the memory would allow today.
        tile_size = _earlier_tile_size(folder)
        if tile_size is not None:
            log.info("tiles of %d cells, as the earlier run has them", tile_size)
    check_options(co or {})
    there = find(device, scheduler)
    if scheduler is not None:
        check_address(scheduler)
    points = None if samples is None else _points(samples)
    task, stack = prepare(
        models, scene, statistics, unseen, Reading(band_map, align, crs, wavelengths, scale), Masks(masks, land_use)
    )
    task = place(task, stack, there)
    run = MapRun(folder, _plan(task, stack, tile_size, max_memory, num_workers), task, stack, nodata, dict(co or {}))
    keep_inputs(
        [folder, *run.written(samples=points is not None)],  # a store may be a folder
        read_files(models, samples, wavelengths, scenes=[scene, align, land_use]),
    )
    command = redact(command)
    stop = Stop()
    with run.locked():
        done = _finished(run) if resume else None
        if done is not None:
            return done
        ledger = run.begin(resume=resume, overwrite=overwrite)
        ledger.since = started
        with listen(stop):
            try:
                run.sweep(ledger, stop, scheduler, keep_going=keep_going, progress=progress)
                _check_stop(stop, command)
                run.check_inputs()
                found = run.finish(ledger, stop, progress)
                _check_stop(stop, command)
            except BaseException:
                if not ledger.done:
                    run.clean()
                raise
            # A signal now comes too late to stop anything: what is left takes a moment.
            record = _record(run, ledger, command)
            # Plots and vector files take a second to load, which the first tile need not wait for.
            from geosoil.jobs.present import present, shares_masked

            if run.flags is not None:
                record["masked"] = shares_masked(run.flags)
                _warn_of_land_use(task, record["masked"])
            if not any(one.valid for one in found.values()):
                log.warning("the maps are empty: %s", _why_empty(record.get("masked")))
            project, report = present(folder, run.plan, task.models, found, record, points, run.flags)
            _save_record(folder, record)
            run.clean()
    _check_whole(ledger, len(run.plan.tiles))
    return MapResult(folder, tuple(found), run.plan.outputs, tuple(found.values()), project, report, record)


def plan(
    models: Models,
    scene: Scene,
    *,
    statistics: Sequence[str] = ("mean",),
    tile_size: int | None = None,
    max_memory: float | str = "4GB",
    num_workers: int | None = None,
    device: DeviceName = "cpu",
    band_map: Mapping[str, str] | None = None,
    align: PathLike | None = None,
    crs: str | None = None,
    masks: MaskRules | Mapping[str, Any] | Literal["auto"] | None = "auto",
    land_use: PathLike | None = None,
    wavelengths: PathLike | None = None,
    scale: float | None = None,
) -> Plan:
    """What `map` would do with the same arguments; nothing is written, and no more read than a corner.

    Examples
    --------
    >>> import geosoil
    >>> from geosoil.testing import make_samples, make_scene
    >>> scene = make_scene(shape=(24, 24))
    >>> samples = make_samples(scene, 40)
    >>> study = geosoil.Study(
    ...     depths={"intervals": ["0-5", "5-15"]}, model={"kind": "rf", "trees": 5}, validation={"folds": 3}
    ... )
    >>> model = geosoil.train(study, samples=samples, scene=scene)
    >>> found = plan(model, scene, num_workers=1)
    >>> found.bands, [output.stem for output in found.outputs]
    (3, ['soc_0-5cm_mean', 'soc_5-15cm_mean'])
    """
    there = find(device)
    task, stack = prepare(
        models, scene, statistics, "error", Reading(band_map, align, crs, wavelengths, scale), Masks(masks, land_use)
    )
    return _plan(place(task, stack, there), stack, tile_size, max_memory, num_workers)


def predict(
    model: Bundle | PathLike,
    scene: Scene,
    *,
    statistics: Sequence[str] = ("mean",),
    band_map: Mapping[str, str] | None = None,
    align: PathLike | None = None,
    crs: str | None = None,
    unseen: Unseen = "error",
    masks: MaskRules | Mapping[str, Any] | Literal["auto"] | None = "auto",
    land_use: PathLike | None = None,
    wavelengths: PathLike | None = None,
    scale: float | None = None,
) -> xr.DataArray:
    """The maps of one model as a lazy array; computing it gives what `map` writes, to the bit.

    Returns
    -------
    DataArray
        ``(target, y, x)`` float32 in the property's unit, dask-chunked; `target` holds the stems of the file names, and
        has the coordinates `property`, `unit`, `depth` [cm, down], `depth_top`, `depth_bottom` and `statistic`.

    Examples
    --------
    >>> import geosoil
    >>> from geosoil.testing import make_samples, make_scene
    >>> scene = make_scene(shape=(24, 24))
    >>> samples = make_samples(scene, 40)
    >>> study = geosoil.Study(
    ...     depths={"intervals": ["0-5", "5-15"]}, model={"kind": "rf", "trees": 5}, validation={"folds": 3}
    ... )
    >>> model = geosoil.train(study, samples=samples, scene=scene)
    >>> soil = predict(model, scene)
    >>> soil.dims, soil["target"].values.tolist(), soil.attrs["units"]
    (('target', 'y', 'x'), ['soc_0-5cm_mean', 'soc_5-15cm_mean'], 'g/kg')
    >>> bool(soil.compute().notnull().all())
    True
    """
    task, stack = prepare(
        model, scene, statistics, unseen, Reading(band_map, align, crs, wavelengths, scale), Masks(masks, land_use)
    )

    def chunk(tile: Tile) -> da.Array:
        part, beyond = lazy_window(stack, tile.rows(task.halo), tile.columns(task.halo))
        values = delayed(_predict_part, pure=True)(task, tile, part, beyond)
        found: da.Array = da.from_delayed(values, (len(task.outputs), tile.height, tile.width), np.float32)
        return found

    rows: dict[int, list[da.Array]] = {}
    for tile in plan_tiles(stack.sizes["y"], stack.sizes["x"], _CHUNK):
        rows.setdefault(tile.row, []).append(chunk(tile))
    data = da.concatenate([da.concatenate(chunks, axis=2) for chunks in rows.values()], axis=1)
    coords = {name: stack.coords[name] for name in ("y", "x", "spatial_ref") if name in stack.coords}
    soils = task.models[0].soil_properties
    several = len(soils) > 1
    return xr.DataArray(
        data,
        dims=("target", "y", "x"),
        coords={"target": [output.stem for output in task.outputs], **_target_coords(task), **coords},
        name="soil" if several else soils[0].code,
        attrs={
            **({} if several else {"units": soils[0].unit}),
            "long_name": ", ".join(soil.name for soil in soils),
            "grid_mapping": "spatial_ref",
        },
    )


def _target_coords(task: Task) -> dict[str, Any]:
    """Property and unit of each target, its depth with its bounds, and its statistic, along the axis of targets."""
    depths = [output.target.depth for output in task.outputs]
    attrs = {"units": "cm", "positive": "down"}
    soils = [output.target.soil_property for output in task.outputs]
    return {
        "property": ("target", [soil.code for soil in soils]),
        "unit": ("target", [soil.unit for soil in soils]),
        "depth": ("target", [depth.middle_cm for depth in depths], attrs),
        "depth_top": ("target", [depth.top_cm for depth in depths], attrs),
        "depth_bottom": ("target", [depth.bottom_cm for depth in depths], attrs),
        "statistic": ("target", [output.statistic for output in task.outputs]),
    }


def _predict_part(task: Task, tile: Tile, part: xr.DataArray, beyond: tuple[int, int, int, int]) -> Float32:
    return task.predict(fill_window(part, beyond), tile)[: len(task.outputs)]


def _plan(
    task: Task, stack: xr.DataArray, tile_size: int | None, max_memory: float | str, num_workers: int | None
) -> Plan:
    return make_plan(
        stack.odc.geobox,
        task.models,
        task.outputs,
        flags=task.masking is not None,
        bands=stack.sizes["band"],
        tile_size=tile_size,
        max_memory=memory_bound(max_memory),
        num_workers=num_workers or os.cpu_count() or 1,
        footprint=partial(footprint, stack.data, by_cells=task.takes_cells),
        cut=cut_of_files(stack.data),
    )


def _earlier_tile_size(folder: Path) -> int | None:
    """Tile size of the unfinished or finished run in a folder."""
    ledger = find_ledger(folder)
    size = (ledger.header.get("facts", {}) if ledger is not None else _earlier_record(folder)).get("tile_size")
    return int(size) if size is not None else None


def _earlier_record(folder: Path) -> dict[str, Any]:
    """The record of the finished run in a folder; empty where there is none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _finished(run: MapRun) -> MapResult | None:
    """What an earlier, finished run with the same facts left; None where there is none."""
    record = _earlier_record(run.folder)
    whole = record.get("key") == run.key and not record["tiles"]["failed"]
    if not whole or not all(path.exists() for path in run.files):
        return None
    log.info("the run in %s is finished", run.folder)
    statistics = tuple(Statistics.read(path) for path in run.maps)
    project, report = (path if path.exists() else None for path in (run.folder / PROJECT, run.folder / REPORT))
    return MapResult(run.folder, run.maps, run.plan.outputs, statistics, project, report, record)


def _points(samples: Any) -> gpd.GeoDataFrame | None:
    from geosoil.jobs.present import open_points

    return open_points(samples)


def _check_stop(stop: Stop, command: str) -> None:
    if not stop.asked:
        return
    if not command:
        raise stop.error("go on with the same call and resume=True")
    raise stop.error(f"go on with: {command}" + ("" if "--resume" in command else " --resume"))


def _check_whole(ledger: Ledger, tiles: int) -> None:
    if ledger.failed:
        raise PartialError(
            f"{len(ledger.failed)} of {tiles} tiles could not be made; they are empty in the maps",
            code="GS-TILES-MISSING",
            details=[f"tile {index}: {why}" for index, why in list(ledger.failed.items())[:10]],
            hint="mend the scene, and map it again",
        )


def _warn_of_land_use(task: Task, masked: Mapping[str, Any]) -> None:
    """Codes that no cell has may be mistyped."""
    codes = () if task.masking is None else task.masking.plan.rules.land_use
    if codes and not masked["reasons"].get("land use"):
        log.warning("no cell has the land use %s: nothing is left out for it", listing([str(one) for one in codes]))


def _why_empty(masked: Mapping[str, Any] | None) -> str:
    """Why no cell has a value: masks, as `shares_masked` counts them, or gaps.

    >>> _why_empty({"cells": 9, "nodata": 1, "left": 0.0, "reasons": {"water": 1.0, "shadow": 0.75, "cloud": 0.0}})
    'all 8 cells with data are masked: water 100%, shadow 75%; see masked.tif, and --mask RULE=off'
    """
    valid = 0 if masked is None else int(masked["cells"]) - int(masked["nodata"])
    if masked is None or not valid or masked["left"] == 1:
        return "no cell of the scene has data in all bands that the models take"
    shares = sorted(masked["reasons"].items(), key=lambda one: -float(one[1]))
    why = ", ".join(f"{name} {share:.3g}%" for name, one in shares if (share := 100 * float(one)) > 0)
    if not masked["left"]:
        return f"all {valid:,} cells with data are masked: {why}; see masked.tif, and --mask RULE=off"
    return (
        f"{1 - masked['left']:.1%} of the cells with data are masked ({why}), and the others lack bands of the models"
    )


def _record(run: MapRun, ledger: Ledger, command: str) -> dict[str, Any]:
    """What ``run.json`` holds."""
    parts = ledger.parts()
    return {
        "schema": 1,
        "key": run.key,
        "command": command,
        "created": ledger.header["created"],
        "seconds": parts[-1]["seconds"],
        "seconds_all": round(sum(one["seconds"] for one in parts), 3),
        "parts": parts,
        "tiles": {"made": len(ledger.done), "failed": {str(index): why for index, why in ledger.failed.items()}},
        "plan": run.plan.to_dict(),
        **run.facts,
    }


def _save_record(folder: Path, record: Mapping[str, Any]) -> None:
    with replacing(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
