"""The networks of a run on another device than the processor, and how exactly they are computed there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.grid.tiles import BLOCK, Tile
from geosoil.jobs.task import Device, Task, whole_block, windows_of

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Float32

__all__ = ["DeviceName", "Found", "find", "place"]

log = logging.getLogger(__name__)

DeviceName = Literal["auto", "cpu", "cuda"]
#: A torch device, and what it calls itself.
Found = tuple[Any, str]
#: Where in the scene a block is looked for that has data, as shares of its rows and columns.
_LOOK = (0.5, 0.25, 0.75, 0.1, 0.9)


def find(name: DeviceName, scheduler: str | None = None) -> Found | None:
    """The device of a run; None for the CPU. Needs neither models nor a scene.

    Raises
    ------
    ResourceError
        ``GS-DEVICE``: there is none.
    UsageError
        ``GS-DEVICE-SCHEDULER``: the workers of a cluster compute on their CPUs.
    """
    if name == "cuda" and scheduler is not None:
        raise UsageError(
            "the workers of a dask cluster map on their CPUs",
            code="GS-DEVICE-SCHEDULER",
            hint="leave out --scheduler or --device cuda",
        )
    if name == "cpu" or scheduler is not None:
        return None
    # torch, which a run of a forest or of spectra on the CPU does without.
    from geosoil.models.device import find_device

    device, called = find_device(name)
    return None if device.type == "cpu" else (device, called)


def place(task: Task, stack: xr.DataArray, found: Found | None) -> Task:
    """The task with its patch networks on a device, in the precision that a block of the scene allows.

    Forests and models of spectra stay on the CPU, which is said.
    """
    if found is None:
        return task
    from geosoil.models.device import on_device

    device, called = found
    raw = _block_with_data(task, stack)
    models, precision = [], []
    for model, places in zip(task.models, task.places, strict=True):
        cut = task.halo - model.patch // 2
        moved, how = on_device(model, device, raw[:, cut : raw.shape[1] - cut, cut : raw.shape[2] - cut], places)
        models.append(moved)
        precision.append(how or "cpu")
        if not how:
            log.warning("model %r has no patch networks and is computed on the CPU", model.card.name)
    if set(precision) == {"cpu"}:
        return task
    return replace(task, models=tuple(models), device=Device(device.type, called, tuple(precision)))


def _block_with_data(task: Task, stack: xr.DataArray) -> Float32:
    """A block of the scene with its halo; of the first that are tried the one with a cell that has all bands."""
    edge = BLOCK + 2 * task.halo
    found = np.full((stack.sizes["band"], edge, edge), np.nan, np.float32)
    source_of = windows_of(stack, task.halo)
    for tile in _tries(stack.sizes["y"], stack.sizes["x"]):
        with suppress(InputError):  # what cannot be read is said when its tile is made
            found = whole_block(source_of(tile).read(), slice(0, BLOCK), slice(0, BLOCK), task.halo)
            if np.isfinite(found).all(axis=0).any():
                break
    return found


def _tries(rows: int, columns: int) -> Iterator[Tile]:
    for down in _LOOK:
        for right in _LOOK:
            row, column = (int(share * cells) // BLOCK * BLOCK for share, cells in ((down, rows), (right, columns)))
            yield Tile(0, row, column, min(BLOCK, rows - row), min(BLOCK, columns - column))
