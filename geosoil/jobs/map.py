"""`geosoil map`: models and a scene to maps, tile by tile, in bounded memory, and never half."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask
import dask.array as da
import numpy as np
import xarray as xr
from filelock import FileLock, Timeout

import geosoil
from geosoil.bands import Bands, match_bands
from geosoil.errors import InputError, OutputError, PartialError, UsageError, listing
from geosoil.grid.patches import fill_window, lazy_window
from geosoil.grid.spool import Ledger, Spool, write_tile
from geosoil.grid.sweep import Stop, listen, sweep_cluster, sweep_threads
from geosoil.grid.tiles import BLOCK, Tile, blocks_of
from geosoil.io.atomic import output_error, replacing, sync_folder
from geosoil.io.cog import Statistics, write_cog
from geosoil.io.raster import open_scene
from geosoil.jobs.plan import Plan, bytes_of, make_plan
from geosoil.jobs.train import created_now
from geosoil.models.bundle import Bundle, Output, load_model
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["MapResult", "map", "plan", "predict"]

log = logging.getLogger(__name__)

Models = Bundle | PathLike | Sequence[Bundle | PathLike]
Unseen = Literal["error", "missing"]


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


@dataclass(frozen=True)
class Task:
    """What a worker needs besides a tile: models with the places of their bands, and choices."""

    models: tuple[Bundle, ...]
    places: tuple[tuple[int, ...], ...]
    halo: int
    statistics: tuple[str, ...]
    unseen: Unseen

    @property
    def outputs(self) -> int:
        """Maps in a tile."""
        return sum(len(model.targets) for model in self.models) * len(self.statistics)

    def predict(self, raw: Float32, tile: Tile) -> Float32:
        """All maps of a tile.

        Parameters
        ----------
        raw : (B, h + 2 halo, w + 2 halo) float32
            The tile's window.

        Returns
        -------
        (outputs, h, w) float32
        """
        maps = np.full((self.outputs, tile.height, tile.width), np.nan, np.float32)
        for rows, columns in blocks_of(tile):
            block = _block(raw, rows, columns, self.halo)
            inside = maps[:, rows, columns]
            first = 0
            for model, places in zip(self.models, self.places, strict=True):
                cut = self.halo - model.patch // 2
                window = block[list(places), cut : block.shape[1] - cut, cut : block.shape[2] - cut]
                try:
                    found = model.predict_block(window, self.statistics, unseen=self.unseen)
                except InputError as error:
                    raise _at(error, tile) from error
                inside[first : first + len(found)] = found[:, : inside.shape[1], : inside.shape[2]]
                first += len(found)
        return maps


def _block(raw: Float32, rows: slice, columns: slice, halo: int) -> Float32:
    """A block with its halo, always of the same shape; what lies beyond the tile's window is missing."""
    edge = BLOCK + 2 * halo
    part = raw[:, rows.start : rows.start + edge, columns.start : columns.start + edge]
    if part.shape[1:] == (edge, edge):
        return part
    whole = np.full((len(raw), edge, edge), np.nan, np.float32)
    whole[:, : part.shape[1], : part.shape[2]] = part
    return whole


def _at(error: InputError, tile: Tile) -> InputError:
    """The same error, with the place in the scene."""
    where = f"rows {tile.row}-{tile.row + tile.height}, columns {tile.column}-{tile.column + tile.width}"
    return InputError(error.message, code=error.code, details=[*error.details, f"where: {where}"], hint=error.hint)


def map(
    models: Models,
    scene: PathLike | Sequence[PathLike] | xr.DataArray | xr.Dataset,
    out: PathLike,
    *,
    statistics: Sequence[str] = ("mean",),
    tile_size: int | None = None,
    max_memory: int | str = "4GB",
    num_workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep_going: bool = False,
    band_map: Mapping[str, str] | None = None,
    align: PathLike | None = None,
    crs: str | None = None,
    unseen: Unseen = "error",
    nodata: float = float("nan"),
    co: Mapping[str, str] | None = None,
    samples: Any = None,
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
        Edge of the tiles, a multiple of 128 cells; by default what the memory allows. No value of the maps depends on it.
    max_memory : int or str
        Bound of the process's memory, such as ``4GB``.
    num_workers : int, optional
        Threads; all cores by default.
    scheduler : str, optional
        Address of a dask.distributed scheduler. Its workers read the scene and write tiles themselves, so both must be
        on storage that they share.
    resume : bool
        Go on with a run that was stopped.
    keep_going : bool
        Leave tiles that cannot be read empty, finish the rest, and raise PartialError at the end.
    band_map : mapping, optional
        Name in the model to name in the scene, where they differ.
    unseen : {"error", "missing"}
        What to do with class codes that training did not see.
    nodata : float
        Value of cells without one.
    co : mapping, optional
        Creation options of GDAL's COG driver.
    samples : GeoDataFrame, optional
        Shown in the project: observed and predicted values at the samples.
    progress : callable
        ``progress(done, total, message)``.
    command : str
        Recorded as the files' history.

    Returns
    -------
    MapResult

    Raises
    ------
    InputError, ModelError, OutputError, ResourceError, PartialError, InterruptedRunError
    """
    started = time.perf_counter()
    task, stack, the_plan = _prepare(
        models, scene, statistics, tile_size, max_memory, num_workers, band_map, align, crs, unseen
    )
    folder = _folder(Path(out), the_plan.outputs, overwrite=overwrite or resume)
    run = _Run(folder, the_plan, task, stack, command or f"geosoil map ... {folder}", nodata, dict(co or {}))
    with run.locked():
        ledger = run.ledger(resume=resume)
        stop = Stop()
        with listen(stop):
            run.sweep(ledger, stop, scheduler, keep_going=keep_going, progress=progress)
            if stop.asked:
                raise stop.error(_resume_line(command))
            maps, summary = run.finish(ledger, stop, progress)
            if stop.asked:
                raise stop.error(_resume_line(command))
        project, report = _present(folder, task, the_plan, maps, summary, samples, command)
        record = run.record(ledger, started)
        _save_record(folder, record)
        run.clean()
    if ledger.failed:
        raise PartialError(
            f"{len(ledger.failed)} of {len(the_plan.tiles)} tiles could not be made; they are empty in the maps",
            code="GS-TILES-MISSING",
            details=[f"tile {index}: {why}" for index, why in list(ledger.failed.items())[:10]],
            hint="mend the scene, and map it again",
        )
    return MapResult(folder, maps, the_plan.outputs, summary, project, report, record)


def plan(
    models: Models,
    scene: PathLike | Sequence[PathLike] | xr.DataArray | xr.Dataset,
    *,
    statistics: Sequence[str] = ("mean",),
    tile_size: int | None = None,
    max_memory: int | str = "4GB",
    num_workers: int | None = None,
    band_map: Mapping[str, str] | None = None,
    align: PathLike | None = None,
    crs: str | None = None,
) -> Plan:
    """What `map` would do with the same arguments; nothing is read or written."""
    return _prepare(models, scene, statistics, tile_size, max_memory, num_workers, band_map, align, crs, "error")[2]


def predict(
    model: Bundle | PathLike,
    scene: PathLike | xr.DataArray | xr.Dataset,
    *,
    statistics: Sequence[str] = ("mean",),
    band_map: Mapping[str, str] | None = None,
    unseen: Unseen = "error",
) -> xr.DataArray:
    """The maps of one model as a lazy array; computing it gives what `map` writes, to the bit.

    Returns
    -------
    DataArray
        ``(target, y, x)`` float32 in the property's unit, dask-chunked in tiles of 512 cells; `target` holds the stems
        of the file names.
    """
    task, stack, the_plan = _prepare(model, scene, statistics, 512, 2**62, 1, band_map, None, None, unseen)

    def one(tile: Tile) -> da.Array:
        window = dask_delayed(_tile_values)(
            task, tile, *lazy_window(stack, tile.rows(task.halo), tile.columns(task.halo))
        )
        return da.from_delayed(window, (task.outputs, tile.height, tile.width), np.float32)

    from dask import delayed as dask_delayed

    rows: dict[int, list[da.Array]] = {}
    for tile in the_plan.tiles:
        rows.setdefault(tile.row, []).append(one(tile))
    data = da.concatenate([da.concatenate(parts, axis=2) for parts in rows.values()], axis=1)
    names = [output.stem for output in the_plan.outputs]
    coords = {name: stack.coords[name] for name in ("y", "x", "spatial_ref") if name in stack.coords}
    bundle = task.models[0]
    return xr.DataArray(
        data,
        dims=("target", "y", "x"),
        coords={"target": names, **coords},
        name=bundle.soil_property.code,
        attrs={"units": bundle.soil_property.unit, "long_name": bundle.soil_property.name},
    )


def _tile_values(task: Task, tile: Tile, part: xr.DataArray, beyond: tuple[int, int, int, int]) -> Float32:
    return task.predict(fill_window(part, beyond), tile)


def _prepare(
    models: Models,
    scene: Any,
    statistics: Sequence[str],
    tile_size: int | None,
    max_memory: int | str,
    num_workers: int | None,
    band_map: Mapping[str, str] | None,
    align: PathLike | None,
    crs: str | None,
    unseen: Unseen,
) -> tuple[Task, xr.DataArray, Plan]:
    """Check everything that can be checked before the first tile."""
    bundles = _load(models)
    stack = open_scene(scene, align=align, crs=crs)
    stack, places = _needed(stack, bundles, band_map or {})
    outputs = tuple(output for bundle in bundles for output in bundle.outputs(statistics))
    twice = sorted({one.stem for one in outputs if [other.stem for other in outputs].count(one.stem) > 1})
    if twice:
        raise UsageError(
            f"two models make the same map: {listing(twice, 3)}", code="GS-MODELS-TWICE", hint="leave one of them out"
        )
    for bundle in bundles:
        bundle.predict_block(  # also checks the statistics, and compiles what tiles need
            np.full((len(bundle.bands), *(2 * (BLOCK + bundle.patch - 1,))), np.nan, np.float32), statistics
        )
    the_plan = make_plan(
        stack.odc.geobox,
        bundles,
        outputs,
        bands=stack.sizes["band"],
        tile_size=tile_size,
        max_memory=bytes_of(max_memory),
        num_workers=num_workers or os.cpu_count() or 1,
    )
    return Task(tuple(bundles), places, the_plan.halo, tuple(statistics), unseen), stack, the_plan


def _load(models: Models) -> list[Bundle]:
    several = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    if not several:
        raise UsageError("no model is given", code="GS-MODELS-NONE")
    return [one if isinstance(one, Bundle) else load_model(one) for one in several]


def _needed(
    stack: xr.DataArray, bundles: Sequence[Bundle], band_map: Mapping[str, str]
) -> tuple[xr.DataArray, tuple[tuple[int, ...], ...]]:
    """The bands that any model takes, and for each model where its own are among them."""
    offered = Bands.of(stack).names
    used = [name for name in band_map if all(name not in bundle.bands for bundle in bundles)]
    if used:
        match_bands(offered, bundles[0].bands, band_map=band_map)  # raises, and says which bands there are
    found = [
        match_bands(
            offered,
            bundle.bands,
            band_map={name: other for name, other in band_map.items() if name in bundle.bands},
            model=f"model {bundle.card.name!r}",
        )
        for bundle in bundles
    ]
    union = sorted({place for places in found for place in places})
    where = {place: row for row, place in enumerate(union)}
    # Not isel with a list: dask would then read all bands of a chunk.
    chosen = open_scene(stack, bands=[offered[place] for place in union])
    return chosen, tuple(tuple(where[place] for place in places) for places in found)


def _folder(folder: Path, outputs: Sequence[Output], *, overwrite: bool) -> Path:
    """The output folder, made and found free."""
    there = [name for name in (f"{output.stem}.tif" for output in outputs) if (folder / name).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{folder} holds {len(there)} of these maps already",
            code="GS-OUTPUT-EXISTS",
            details=[listing(there, 5)],
            hint="choose another folder, or add --overwrite",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".geosoil-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def _resume_line(command: str) -> str:
    line = command or "geosoil map ..."
    return f"go on with: {line}" + ("" if "--resume" in line else " --resume")


@dataclass
class _Run:
    """One run: its folder, its work, and what it needs to go on."""

    folder: Path
    plan: Plan
    task: Task
    stack: xr.DataArray
    command: str
    nodata: float
    co: dict[str, str]
    key: str = field(init=False)
    facts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.facts = _facts(self.plan, self.task, self.stack, self.nodata, self.co)
        self.key = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def work(self) -> Path:
        """Folder of the run's own files, beside its outputs."""
        return self.folder / f".geosoil-{self.key}"

    def locked(self) -> FileLock:
        """The lock on the output folder; raises OutputError ``GS-LOCKED``."""
        lock = FileLock(self.folder / ".geosoil.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another run is writing to {self.folder}",
                code="GS-LOCKED",
                hint="wait for it, or choose another folder",
            ) from error
        except OSError as error:
            raise output_error(self.folder, error) from error
        lock.release()
        return lock

    def ledger(self, *, resume: bool) -> Ledger:
        """The ledger to go on with, or a new one; other runs' leftovers are removed unless they could be meant."""
        ledger_path = self.work / "ledger.jsonl"
        if resume:
            found = Ledger.read(ledger_path)
            if found is not None:
                return self._checked(found)
            others = [path for path in self.folder.glob(".geosoil-*/ledger.jsonl") if path != ledger_path]
            if others:
                raise self._other(others[0])
        for path in self.folder.glob(".geosoil-*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        self._space()
        try:
            self.work.mkdir(mode=0o700)
            return Ledger.create(ledger_path, {"key": self.key, "created": created_now(), "facts": self.facts})
        except OSError as error:
            raise output_error(self.folder, error) from error

    def _checked(self, ledger: Ledger) -> Ledger:
        """Without the tiles whose files are not what they were."""
        wrong = self.spool(ledger).check(list(ledger.done))
        for index in wrong:
            del ledger.done[index]
        if wrong:
            log.warning("%d finished tiles were damaged and are made again: %s", len(wrong), listing(wrong))
        return ledger

    def _other(self, path: Path) -> OutputError:
        other = Ledger.read(path)
        theirs = other.header.get("facts", {}) if other else {}
        names = [name for name in self.facts if theirs.get(name) != self.facts[name]]
        return OutputError(
            "the run to go on with is another one",
            code="GS-RESUME-KEY",
            details=[f"{name}: {_short(theirs.get(name))} then, {_short(self.facts[name])} now" for name in names],
            hint="repeat the first command with --resume, or start again with --overwrite",
        )

    def _space(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < self.plan.space:
            raise OutputError(
                f"{self.folder} has too little room for this run",
                code="GS-NO-SPACE",
                details=[f"needed: {self.plan.space / 1e6:,.0f} MB, free: {free / 1e6:,.0f} MB"],
                hint="free some space, or write elsewhere",
            )

    def spool(self, ledger: Ledger) -> Spool:
        """The finished tiles."""
        return Spool(self.work, self.plan.tiles, self.task.outputs, ledger.done)

    def sweep(self, ledger: Ledger, stop: Stop, scheduler: str | None, *, keep_going: bool, progress: Progress) -> None:
        """Make the tiles that are not there yet."""
        tiles = [tile for tile in self.plan.tiles if tile.index not in ledger.done]
        total = len(self.plan.tiles)
        progress(total - len(tiles), total, "mapping")

        def note(tile: Tile, made: int | InputError | None) -> None:
            if isinstance(made, InputError):
                if not keep_going:
                    raise made
                ledger.fail(tile, made.message)
            else:
                ledger.add(tile, made)
            progress(len(ledger.done) + len(ledger.failed), total, "mapping")

        try:
            if scheduler is None:
                sweep_threads(
                    lambda tile: note(tile, _make(self.task, tile, self._part(tile), self.work)),
                    tiles,
                    num_workers=self.plan.num_workers,
                    stop=stop,
                )
            else:
                sweep_cluster(self._submit(), note, tiles, address=scheduler, stop=stop)
        except OSError as error:
            raise error if isinstance(error, OutputError) else output_error(self.folder, error) from error

    def _part(self, tile: Tile) -> tuple[xr.DataArray, tuple[int, int, int, int]]:
        return lazy_window(self.stack, tile.rows(self.task.halo), tile.columns(self.task.halo))

    def _submit(self) -> Callable[[Any, Tile], Any]:
        """Send a tile to a cluster: its own part of the scene, and the models as files on the shared storage."""
        recipe = _Recipe(
            tuple(
                str(model.save(self.work.resolve() / f"model-{place}.gsm", overwrite=True))
                for place, model in enumerate(self.task.models)
            ),
            self.task.places,
            self.task.halo,
            self.task.statistics,
            self.task.unseen,
        )
        work = self.work.resolve()

        def submit(client: Any, tile: Tile) -> Any:
            part, beyond = self._part(tile)
            if part.chunks is not None:
                part = part.copy(data=_culled(part.data))
            return client.submit(_make_remote, recipe, tile, _Sealed(part), beyond, work, pure=False)

        return submit

    def finish(self, ledger: Ledger, stop: Stop, progress: Progress) -> tuple[tuple[Path, ...], tuple[Statistics, ...]]:
        """Put the maps together; those of a stopped run are made again from the same tiles."""
        spool = self.spool(ledger)
        outputs = self.plan.outputs
        created = str(ledger.header["created"])
        done: list[int] = []
        progress(0, len(outputs), "writing maps")

        def write(place: int) -> Statistics | None:
            if stop.asked:
                return None
            output = outputs[place]
            statistics = write_cog(
                self.folder / f"{output.stem}.tif",
                lambda rows, columns: spool.window(place, rows, columns),
                self.plan.grid,
                self.work,
                tags=_tags(output, self._model_of(place), self.facts, created, self.command),
                description=_describe(output),
                unit=output.target.soil_property.unit,
                nodata=self.nodata,
                options=self.co,
            )
            done.append(place)
            progress(len(done), len(outputs), "writing maps")
            return statistics

        with ThreadPoolExecutor(min(self.plan.num_workers, len(outputs))) as pool:
            statistics = tuple(one for one in pool.map(write, range(len(outputs))) if one is not None)
        sync_folder(self.folder)
        return tuple(self.folder / f"{output.stem}.tif" for output in outputs), statistics

    def _model_of(self, place: int) -> Bundle:
        first = 0
        for model in self.task.models:
            first += len(model.targets) * len(self.task.statistics)
            if place < first:
                return model
        raise IndexError(place)

    def record(self, ledger: Ledger, started: float) -> dict[str, Any]:
        """What ``run.json`` holds."""
        return {
            "schema": 1,
            "command": self.command,
            "created": ledger.header["created"],
            "seconds": round(time.perf_counter() - started, 3),
            "tiles": {"made": len(ledger.done), "failed": sorted(ledger.failed)},
            "plan": self.plan.to_dict(),
            **self.facts,
        }

    def clean(self) -> None:
        """Remove the work folder; its maps are in place."""
        shutil.rmtree(self.work, ignore_errors=True)


@dataclass(frozen=True)
class _Recipe:
    """A task by the paths of its models, small enough to be sent with every tile."""

    models: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    halo: int
    statistics: tuple[str, ...]
    unseen: Unseen


@dataclass(frozen=True)
class _Sealed:
    """A lazy part that a cluster passes on as it is, rather than compute it as an argument."""

    part: xr.DataArray


def _culled(array: da.Array) -> da.Array:
    """An array whose graph holds what it needs and no more."""
    (small,) = dask.optimize(array)
    found: da.Array = small
    return found


@lru_cache(maxsize=8)
def _task_of(recipe: _Recipe) -> Task:
    models = tuple(load_model(path) for path in recipe.models)
    return Task(models, recipe.places, recipe.halo, recipe.statistics, recipe.unseen)


def _make(
    task: Task, tile: Tile, window: tuple[xr.DataArray, tuple[int, int, int, int]], work: Path
) -> int | InputError | None:
    """Read, predict and spool a tile; an unreadable part of the scene is given back, not raised."""
    try:
        values = task.predict(fill_window(*window), tile)
    except InputError as error:
        return error
    return write_tile(work, tile, values)


def _make_remote(
    recipe: _Recipe, tile: Tile, sealed: _Sealed, beyond: tuple[int, int, int, int], work: Path
) -> int | InputError | None:
    return _make(_task_of(recipe), tile, (sealed.part, beyond), work)


def _facts(the_plan: Plan, task: Task, stack: xr.DataArray, nodata: float, co: Mapping[str, str]) -> dict[str, Any]:
    """All that the maps depend on; two runs with equal facts make equal maps."""
    grid = the_plan.grid
    return {
        "geosoil_version": geosoil.__version__,
        "models": [model.sha256 for model in task.models],
        "inputs": [_input(path) for path in stack.attrs.get("sources", ())] or [_token(stack)],
        "bands": list(Bands.of(stack).names),
        "grid": [*(int(edge) for edge in grid.shape), *(float(one) for one in tuple(grid.affine)[:6])],
        "outputs": [output.stem for output in the_plan.outputs],
        "tile_size": the_plan.tile_size,
        "unseen": task.unseen,
        "nodata": repr(float(nodata)),
        "co": dict(co),
    }


def _input(path: str) -> dict[str, Any]:
    """Name, size and time of an input file; a large raster is not read twice to hash it."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return {"path": path}
    return {"path": path, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _token(stack: xr.DataArray) -> dict[str, Any]:
    from dask.base import tokenize

    return {"token": tokenize(stack.data)}


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _describe(output: Output) -> str:
    """Band description, which QGIS shows: property, depth, statistic and unit."""
    soil = output.target.soil_property
    statistic = "" if output.statistic == "mean" else f" {output.statistic}"
    unit = "" if soil.unit == "1" else f" [{soil.unit}]"
    return f"{soil.name} {output.target.depth}{statistic}{unit}"


def _tags(output: Output, model: Bundle, facts: Mapping[str, Any], created: str, command: str) -> dict[str, str]:
    """Dataset tags: CF names where there are some."""
    soil, depth = output.target.soil_property, output.target.depth
    tags = {
        "long_name": f"{soil.name} {depth}",
        "units": soil.unit,
        "depth_top_cm": str(depth.top_cm),
        "depth_bottom_cm": str(depth.bottom_cm),
        "statistic": output.statistic,
        "model_sha256": model.sha256,
        "inputs": json.dumps(facts["inputs"]),
        "geosoil_version": geosoil.__version__,
        "created": created,
        "source": f"{model.card.model} model {model.card.name!r} on {model.card.counts.get('profiles', '?')} profiles",
        "history": command,
        "Conventions": "CF-1.11",
        "TIFFTAG_IMAGEDESCRIPTION": _describe(output),
        "TIFFTAG_SOFTWARE": f"geosoil {geosoil.__version__}",
    }
    if output.statistic.startswith("Q"):
        tags["interval"] = output.statistic
    return tags


def _save_record(folder: Path, record: Mapping[str, Any]) -> None:
    with replacing(folder / "run.json") as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")


def _present(
    folder: Path,
    task: Task,
    the_plan: Plan,
    maps: Sequence[Path],
    statistics: Sequence[Statistics],
    samples: Any,
    command: str,
) -> tuple[Path | None, Path | None]:
    """The QGIS project and the report."""
    return None, None
