"""What attributions are made for: spectra, patches round samples, or the cells of a part of a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from geosoil.errors import InputError, ModelError, UsageError, listing
from geosoil.grid.patches import extract_patches, read_window
from geosoil.io.positions import locate
from geosoil.io.spectra import open_spectra
from geosoil.io.tables import read_table
from geosoil.jobs.dataset import cells_under
from geosoil.jobs.matching import Masks, Reading, Scene, prepare
from geosoil.jobs.predict import on_model
from geosoil.jobs.task import Task
from geosoil.models.bundle import Bundle
from geosoil.types import PathLike

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Int64

__all__ = ["Part", "Rows", "part_of", "patches_of_samples", "prepared", "spectra_of"]

#: Windows that cells of a whole scene are drawn from, and their edge.
_PLACES, _EDGE = 64, 8


@dataclass(frozen=True, eq=False)
class Rows:
    """What a model takes, one row a sample or cell, and what to call it.

    Attributes
    ----------
    raw : (n, p) or (n, w, w, F)
        Spectra on the model's bands, or encoded patches.
    names : tuple of str
    source : str
        Where they come from, in words.
    notes : tuple of str
        What was decided and left out.
    """

    raw: NDArray[Any]
    names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.raw)

    def some(self, most: int, seed: int) -> Rows:
        """Not more than `most` rows, drawn without order."""
        if len(self) <= most:
            return self
        rows = np.sort(np.random.default_rng([seed, 99]).choice(len(self), most, replace=False))
        return Rows(self.raw[rows], tuple(self.names[row] for row in rows), self.source, self.notes)


def spectra_of(
    bundle: Bundle, source: PathLike | pd.DataFrame | xr.DataArray, *, quantity: Any = None, id: str | None = None
) -> Rows:
    """Spectra on the bands of a model.

    Raises
    ------
    InputError
        As `open_spectra` and `on_bands`; ``GS-SPECTRA-EMPTY`` where no whole spectrum is left.
    ModelError
        ``GS-MODEL-BANDS``: the model does not know its wavelengths.
    """
    spectra = source if isinstance(source, xr.DataArray) else open_spectra(source, quantity=quantity, id=id)
    if not bundle.card.wavelength_nm:
        raise ModelError(f"model {bundle.card.name!r} does not know its wavelengths", code="GS-MODEL-BANDS")
    rows = on_model(spectra, bundle)
    whole = np.asarray(np.isfinite(rows).all(axis=1))
    names = [str(name) for name in spectra["sample"].values]
    where = "spectra" if isinstance(source, (pd.DataFrame, xr.DataArray)) else Path(source).name
    if not whole.any():
        raise InputError(
            f"no spectrum of {where[:40]} is whole on the model's bands",
            code="GS-SPECTRA-EMPTY",
            details=[f"spectra: {len(rows)}, all with missing values"],
            hint="check the table, and that it reaches over the model's wavelengths",
        )
    notes = [*spectra.attrs.get("notes", ())]
    if not whole.all():
        gone = [name for name, kept in zip(names, whole, strict=True) if not kept]
        notes.append(f"{len(gone)} spectra with missing values are left out: {listing(gone, 5)}")
    kept = tuple(name for name, one in zip(names, whole, strict=True) if one)
    return Rows(rows[whole], kept, where, tuple(notes))


def prepared(bundle: Bundle, scene: Scene, *, crs: str | None = None) -> tuple[Task, xr.DataArray]:
    """The model and a scene brought together, with the masks that the model was trained with."""
    return prepare(bundle, scene, ("mean",), "missing", Reading(crs=crs), Masks())


def patches_of_samples(
    task: Task, stack: xr.DataArray, samples: PathLike | pd.DataFrame, *, crs: str | None = None
) -> Rows:
    """What a model takes round the places of samples; each place once.

    Raises
    ------
    InputError
        As `read_table` and `locate`; ``GS-SAMPLES-OUTSIDE`` where no place has data.
    """
    bundle = task.models[0]
    table = read_table(samples)
    placed = locate(table, crs=crs, id=None, x=None, y=None)
    points = gpd.GeoDataFrame(
        {"profile": placed.profile.to_numpy()}, geometry=gpd.points_from_xy(placed.x, placed.y), crs=placed.crs
    )
    points = points.drop_duplicates("profile").to_crs(stack.odc.geobox.crs.to_wkt())
    x, y = (np.asarray(one, np.float64) for one in (points.geometry.x, points.geometry.y))
    raw = extract_patches(stack, x, y, bundle.patch)[:, list(task.places[0])]
    raw, valid = np.ascontiguousarray(raw), np.zeros(len(raw), np.bool_)
    if len(raw):
        middle = bundle.patch // 2
        valid = bundle.encoder.valid(raw)[:, middle, middle]
    if not valid.any():
        inside = cells_under(points, stack)[2]
        raise InputError(
            f"none of {len(raw)} places has data in all bands of the model",
            code="GS-SAMPLES-OUTSIDE",
            details=[f"outside the scene: {int((~inside).sum())}", f"on cells without data: {int(inside.sum())}"],
            hint="give samples on cells that the scene has data for, or check their CRS: --crs",
        )
    names = [str(name) for name in points["profile"]]
    gone = [name for name, kept in zip(names, valid, strict=True) if not kept]
    notes = [f"{len(gone)} places without data are left out: {listing(gone, 5)}"] if gone else []
    where = "samples" if isinstance(samples, pd.DataFrame) else Path(samples).name
    kept = tuple(name for name, one in zip(names, valid, strict=True) if one)
    return Rows(_taken(bundle, raw[valid]), kept, where, tuple(notes))


def _taken(bundle: Bundle, raw: Float32) -> NDArray[Any]:
    """Raw patches (n, B, w, w) as the predictor takes them: encoded, or spectra (n, p) for models of single cells."""
    encoded = bundle.encoder.encode(raw, unseen="missing")
    return encoded[:, 0, 0] if bundle.predictor.kind == "spectral" else encoded


@dataclass(frozen=True, eq=False)
class Part:
    """A rectangle of a scene, cell by cell.

    Attributes
    ----------
    rows, columns : (int, int)
        First, and one past the last.
    """

    task: Task
    stack: xr.DataArray
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def grid(self) -> GeoBox:
        """The grid of the rectangle."""
        grid: GeoBox = self.stack.odc.geobox[slice(*self.rows), slice(*self.columns)]
        return grid

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def cells(self, rows: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What the model takes of the valid cells of some rows, and which these are, (h, w)."""
        return self._read(rows, self.columns)

    def _read(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        bundle, halo = self.task.models[0], self.task.halo
        block = read_window(self.stack, (rows[0] - halo, rows[1] + halo), (columns[0] - halo, columns[1] + halo))
        raw = np.ascontiguousarray(block[list(self.task.places[0])])
        inner = slice(halo, -halo or None)
        valid = bundle.encoder.valid(raw)[inner, inner]
        if self.task.masking is not None:
            valid &= self.task.masking.flags(block)[inner, inner] == 0
        windows = np.lib.stride_tricks.sliding_window_view(raw, (bundle.patch, bundle.patch), axis=(1, 2))
        patches = np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)[valid])
        return _taken(bundle, patches), valid

    def sample(self, most: int, seed: int) -> Rows:
        """Cells drawn from the rectangle."""
        found, names = [], []
        for top in self.strips(32):
            taken, valid = self.cells(top)
            found.append(taken)
            row, column = np.nonzero(valid)
            names += [f"{r + top[0]},{c + self.columns[0]}" for r, c in zip(row, column, strict=True)]
        return self._rows(np.concatenate(found), names, "cells of the region").some(most, seed)

    def background(self, most: int, seed: int) -> Rows:
        """Cells drawn from the whole scene, out of small windows all over it."""
        height, width = self.stack.sizes["y"], self.stack.sizes["x"]
        rng = np.random.default_rng([seed, 7])
        found: list[NDArray[Any]] = []
        names: list[str] = []
        for _ in range(_PLACES):
            top, left = int(rng.integers(max(1, height - _EDGE + 1))), int(rng.integers(max(1, width - _EDGE + 1)))
            columns = (left, min(left + _EDGE, width))
            taken, valid = self._read((top, min(top + _EDGE, height)), columns)
            found.append(taken)
            names += [f"{r + top},{c + left}" for r, c in zip(*np.nonzero(valid), strict=True)]
        return self._rows(np.concatenate(found), names, "cells of the scene").some(most, seed)

    def _rows(self, raw: NDArray[Any], names: list[str], where: str) -> Rows:
        if not len(raw):
            raise InputError(
                f"no {where} has data in all bands of the model",
                code="GS-REGION-EMPTY",
                details=[f"rows {self.rows[0]}-{self.rows[1]}, columns {self.columns[0]}-{self.columns[1]}"],
                hint="choose another region; cells that the model's masks take out count as empty",
            )
        return Rows(raw, tuple(names), where)

    def strips(self, height: int) -> Iterator[tuple[int, int]]:
        """Runs of rows."""
        for top in range(self.rows[0], self.rows[1], height):
            yield top, min(top + height, self.rows[1])


def part_of(
    task: Task,
    stack: xr.DataArray,
    window: tuple[int, int, int, int] | None,
    region: tuple[float, float, float, float] | None,
) -> Part:
    """The rectangle that is meant.

    Parameters
    ----------
    window : (column, row, width, height), optional
        In cells of the scene.
    region : (west, south, east, north), optional
        In the scene's CRS; all cells that it touches.

    Raises
    ------
    UsageError
        ``GS-REGION``: it is empty, or outside the scene.
    """
    height, width = stack.sizes["y"], stack.sizes["x"]
    if window is not None:
        left, top, wide, high = window
        rows, columns = (top, top + high), (left, left + wide)
    elif region is not None:
        rows, columns = _touched(stack, region)
    else:
        rows, columns = (0, height), (0, width)
    inside = (max(rows[0], 0), min(rows[1], height)), (max(columns[0], 0), min(columns[1], width))
    if inside[0][0] >= inside[0][1] or inside[1][0] >= inside[1][1]:
        box = stack.odc.geobox.extent.boundingbox
        raise UsageError(
            "the region holds no cell of the scene",
            code="GS-REGION",
            details=[
                f"scene: {width} columns, {height} rows; x {box.left:.6g} to {box.right:.6g}, y {box.bottom:.6g} to "
                f"{box.top:.6g}"
            ],
            hint="give --window COLUMN,ROW,WIDTH,HEIGHT or --region WEST,SOUTH,EAST,NORTH in the scene's CRS",
        )
    return Part(task, stack, *inside)


def _touched(stack: xr.DataArray, region: tuple[float, float, float, float]) -> tuple[tuple[int, int], tuple[int, int]]:
    west, south, east, north = region
    to_cell = ~stack.odc.geobox.affine
    corners = [to_cell * corner for corner in ((west, north), (east, south), (west, south), (east, north))]
    columns: Int64 = np.array([np.floor(min(c for c, _ in corners)), np.ceil(max(c for c, _ in corners))], np.int64)
    rows: Int64 = np.array([np.floor(min(r for _, r in corners)), np.ceil(max(r for _, r in corners))], np.int64)
    return (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))
