"""What is done for a tile: read its window, predict it, put it on disk; here or on another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from dask.base import optimize

import geosoil
from geosoil.errors import GeosoilError, InputError, ResourceError
from geosoil.grid.patches import fill_window, window_spans
from geosoil.grid.spool import write_tile
from geosoil.grid.tiles import BLOCK, Tile, blocks_of
from geosoil.io.lazy import reader_of
from geosoil.io.stack import Stack
from geosoil.models.bundle import Bundle, Output, load_model
from geosoil.prep.masks import NODATA, MaskPlan

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Bool, Cells, Float32, WindowReader

__all__ = [
    "Abandoned",
    "Device",
    "Masking",
    "Source",
    "Task",
    "Unseen",
    "make_tile",
    "remote_work",
    "whole_block",
    "windows_of",
]

Unseen = Literal["error", "missing"]
_E = TypeVar("_E", bound=GeosoilError)


class Abandoned(Exception):  # noqa: N818 - not an error: nobody waits for the tile any more
    """A stop was asked for in the middle of a tile."""


@dataclass(frozen=True)
class Masking:
    """Which cells are left out, and where in the scene its bands are.

    Attributes
    ----------
    plan : MaskPlan
        The rules, on the scene's bands.
    places : tuple of int
        Bands of the scene that the plan takes.
    land_use : int
        Band with the codes of the land use; -1 for none.
    """

    plan: MaskPlan
    places: tuple[int, ...]
    land_use: int = -1

    def flags(self, cells: Float32 | Cells) -> Float32:
        """Flags of a block (B, h, w), as numbers of the spool; NaN for cells without data."""
        bands = np.array([*self.places, *([self.land_use] if self.land_use >= 0 else [])], np.int64)
        planes = cells[bands] if isinstance(cells, np.ndarray) else cells.planes(bands)
        codes = None
        if self.land_use >= 0:
            codes = np.nan_to_num(planes[-1], nan=-1).astype(np.int64)
        flags = self.plan.flags(planes[: len(self.places)], codes)
        found = flags.astype(np.float32)
        found[flags == NODATA] = np.nan
        return found


@dataclass(frozen=True)
class Device:
    """Where the networks of a run are computed.

    Attributes
    ----------
    kind : str
        ``cpu`` or ``cuda``.
    name : str
        What the device calls itself.
    precision : tuple of str
        For each model ``half`` or ``single``, or ``cpu`` for one that is computed there; empty where all are.
    """

    kind: str = "cpu"
    name: str = ""
    precision: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": self.kind, "name": self.name, "precision": list(self.precision)}


@dataclass(frozen=True)
class Task:
    """What a worker needs besides a tile: the models with the places of their bands, and the user's choices.

    Attributes
    ----------
    models : tuple of Bundle
        All are applied to the same window.
    places : tuple of tuple of int
        For each model where its bands are in the scene.
    halo : int
        Cells round a tile that the widest patch needs.
    statistics : tuple of str
        As in `Bundle.predict_block`.
    unseen : {"error", "missing"}
        As in `Bundle.predict_block`.
    masking : Masking, optional
        What is left out of all maps; its flags are one layer more.
    device : Device
        Where the models' networks are.
    """

    models: tuple[Bundle, ...]
    places: tuple[tuple[int, ...], ...]
    halo: int
    statistics: tuple[str, ...]
    unseen: Unseen
    masking: Masking | None = None
    device: Device = Device()

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The maps, model by model, in the order in which `predict` gives them."""
        return tuple(output for model in self.models for output in model.outputs(self.statistics))

    @property
    def takes_cells(self) -> bool:
        """Whether cells can be read as they are asked for."""
        return self.halo == 0 and all(model.takes_cells for model in self.models)

    @property
    def layers(self) -> int:
        """Layers of a finished tile: the maps, and the flags where cells are masked."""
        return len(self.outputs) + (self.masking is not None)

    def model_of(self, place: int) -> Bundle:
        """The model that makes the output at a place of `outputs`."""
        owners = [model for model in self.models for _ in model.outputs(self.statistics)]
        return owners[place]

    def warm_up(self) -> None:
        """Check the statistics, and compile what tiles need, on a made block."""
        for model in self.models:
            edge = BLOCK + model.patch - 1
            block = np.zeros((len(model.bands), edge, edge), np.float32)
            for band, codes in zip(block, model.encoder.categories, strict=True):
                band[:] = 0.0 if codes is None else codes[0]
            model.predict_block(block, self.statistics)

    def predict(self, raw: Float32 | Cells, tile: Tile, stopped: Callable[[], bool] = bool) -> Float32:
        """All layers of a tile.

        Parameters
        ----------
        raw : (B, h + 2 halo, w + 2 halo) float32, or Cells
            The tile's window; one of `Cells` where the task `takes_cells`.
        stopped : callable
            Asked before each block whether to go on.

        Returns
        -------
        (layers, h, w) float32

        Raises
        ------
        InputError
            What a model says of the data, with the place in the scene.
        Abandoned
            After a stop.
        """
        maps = np.full((self.layers, tile.height, tile.width), np.nan, np.float32)
        # Models of single cells take them side by side from all blocks of a row, which files give them more quickly.
        for rows, columns in blocks_of(tile, joined=self.takes_cells):
            if stopped():
                raise Abandoned
            inside = maps[:, rows, columns]
            block = self._block(raw, rows, columns)
            wanted = self._wanted(block, inside)
            first = 0
            for model, places in zip(self.models, self.places, strict=True):
                cut = self.halo - model.patch // 2
                window = block
                if isinstance(block, np.ndarray):
                    window = block[:, cut : block.shape[1] - cut, cut : block.shape[2] - cut]
                try:
                    found = model.predict_block(
                        window, self.statistics, unseen=self.unseen, places=places, wanted=wanted
                    )
                except InputError as error:
                    raise _at(error, tile) from error
                inside[first : first + len(found)] = found[:, : inside.shape[1], : inside.shape[2]]
                first += len(found)
        return maps

    def _block(self, raw: Float32 | Cells, rows: slice, columns: slice) -> Float32 | Cells:
        """What is read for a block."""
        if not isinstance(raw, np.ndarray):
            return raw.part(rows, columns)
        return raw[:, rows, columns] if self.takes_cells else whole_block(raw, rows, columns, self.halo)

    def _wanted(self, block: Float32 | Cells, inside: Float32) -> Bool:
        """The cells of a block to predict: those in the tile without a flag; notes the flags."""
        height, width = inside.shape[1:]
        wanted = np.zeros((block.shape[1] - 2 * self.halo, block.shape[2] - 2 * self.halo), np.bool_)
        wanted[:height, :width] = True
        if self.masking is not None:
            core = block
            if isinstance(block, np.ndarray):
                core = block[:, self.halo : self.halo + height, self.halo : self.halo + width]
            inside[-1] = self.masking.flags(core)
            wanted[:height, :width] = inside[-1] == 0
        return wanted


def whole_block(raw: Float32, rows: slice, columns: slice, halo: int) -> Float32:
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
    where = f"rows {tile.row} to {tile.row + tile.height - 1}, columns {tile.column} to {tile.column + tile.width - 1}"
    return InputError(error.message, code=error.code, details=[*error.details, f"where: {where}"], hint=error.hint)


@dataclass(frozen=True)
class Source:
    """The window of a tile, unread; it can be sent to another machine.

    Attributes
    ----------
    inside : ((int, int), (int, int))
        Rows and columns of the window that are in the scene.
    beyond : (int, int, int, int)
        Cells of it above, below, left and right of the scene.
    reader : WindowReader or None
        Reads them, where the scene is one of files.
    part : DataArray or None
        The lazy part of any other scene.
    """

    inside: tuple[tuple[int, int], tuple[int, int]]
    beyond: tuple[int, int, int, int]
    reader: WindowReader | None = None
    part: xr.DataArray | None = None

    def cells(self) -> Cells | None:
        """The window, to be read as its cells are asked for; None where that cannot be."""
        if any(self.beyond) or not isinstance(self.reader, Stack):
            return None
        return self.reader.cells(*self.inside)

    def read(self) -> Float32:
        """The window (B, h, w) on the calling thread, NaN where there is no data and outside the scene."""
        if self.reader is None:
            assert self.part is not None  # noqa: S101 - `of` gives the one or the other
            return fill_window(self.part, self.beyond)
        values = self.reader.read(np.arange(self.reader.shape[0]), *self.inside)
        if not any(self.beyond):
            return values
        pads = ((0, 0), self.beyond[:2], self.beyond[2:])
        return np.pad(values, pads, constant_values=np.nan)


def windows_of(stack: xr.DataArray, halo: int) -> Callable[[Tile], Source]:
    """What gives the window of each tile of a scene, with a halo."""
    shape = stack.shape[1:]
    # Straight from the files, where it is of files: no graph to build, no copy to make.
    reader = reader_of(stack.data) if stack.chunks is not None else None

    def window(tile: Tile) -> Source:
        inside, beyond = window_spans(shape, tile.rows(halo), tile.columns(halo))
        if reader is not None:
            return Source(inside, beyond, reader=reader)
        part = stack.isel(y=slice(*inside[0]), x=slice(*inside[1]))
        if part.chunks is not None:
            # The graph of this window alone, not of the whole scene.
            part = part.copy(data=optimize(part.data)[0])
        return Source(inside, beyond, part=part)

    return window


def make_tile(
    task: Task, tile: Tile, source: Source, work: Path, stopped: Callable[[], bool] = bool
) -> int | InputError | None:
    """Read, predict and spool a tile.

    Parameters
    ----------
    source : Source
        The tile's window with the task's halo.
    work : Path
        Folder of the spool.

    Returns
    -------
    int, None or InputError
        As `write_tile`; an unreadable part of the scene is given back, not raised, so that others can go on.
    """
    try:
        cells = source.cells() if task.takes_cells else None
        values = task.predict(source.read() if cells is None else cells, tile, stopped)
    except InputError as error:
        return error
    return write_tile(work, tile, values)


@dataclass(frozen=True)
class _Recipe:
    """A task by the paths of its models, small enough to be sent with every tile."""

    version: str
    models: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    halo: int
    statistics: tuple[str, ...]
    unseen: Unseen
    masking: Masking | None


@lru_cache(maxsize=8)
def _task_of(recipe: _Recipe) -> Task:
    """The task on a worker, which loads the models once for all its tiles."""
    models = tuple(load_model(path) for path in recipe.models)
    return Task(models, recipe.places, recipe.halo, recipe.statistics, recipe.unseen, recipe.masking)


def _make_remote(recipe: _Recipe, tile: Tile, source: Source, work: Path) -> tuple[int | InputError | None, str]:
    """`make_tile` on a worker, and the worker's address.

    Raises
    ------
    ResourceError
        ``GS-SCHEDULER``: the worker has another version, or does not see the folder of the run.
    """
    if recipe.version != geosoil.__version__:
        raise ResourceError(
            "a worker of the dask cluster has another version of geosoil",
            code="GS-SCHEDULER",
            details=[f"worker {gethostname()}: {geosoil.__version__}", f"here: {recipe.version}"],
            hint="install the same version everywhere, and go on with --resume",
        )
    if not work.is_dir():
        raise ResourceError(
            "a worker of the dask cluster does not see the output folder",
            code="GS-SCHEDULER",
            details=[f"worker: {gethostname()}", f"folder: {work}"],
            hint="write to storage that all workers have under the same path",
        )
    try:
        made = make_tile(_task_of(recipe), tile, source, work)
    except GeosoilError as error:
        raise _bare(error) from None
    from distributed import get_worker

    return _bare(made) if isinstance(made, InputError) else made, str(get_worker().address)


def _bare(error: _E) -> _E:
    """The error without the library's that it came from, which may not survive the way to another machine."""
    error.__cause__ = error.__context__ = None
    return error


def remote_work(task: Task, stack: xr.DataArray, work: Path) -> Callable[[Any, Tile], Any]:
    """How to send a tile to a cluster: with its own part of the scene, and the models as files in the work folder.

    Parameters
    ----------
    work : Path
        Folder of the spool, which the workers share.

    Returns
    -------
    callable
        ``submit(client, tile)`` to a future of what `make_tile` gives, and the address of the worker that did it.
    """
    work = work.resolve()
    paths = [model.save(work / f"model-{place}.gsm", overwrite=True) for place, model in enumerate(task.models)]
    files = tuple(str(path) for path in paths)
    recipe = _Recipe(geosoil.__version__, files, task.places, task.halo, task.statistics, task.unseen, task.masking)

    source_of = windows_of(stack, task.halo)

    def submit(client: Any, tile: Tile) -> Any:
        return client.submit(_make_remote, recipe, tile, source_of(tile), work, pure=False)

    return submit
