"""Windows and patches of a scene: what lies outside is missing, as in the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["cells_of", "extract_patches", "fill_window", "lazy_window", "read_window"]

#: Edge of the squares by which points are read together, cells.
_SQUARE = 512


def cells_of(scene: xr.DataArray, x: Float64, y: Float64) -> tuple[Int64, Int64, Bool]:
    """Row and column of the cell that holds each point, and whether the point is inside.

    Cells are half open: a point on a border belongs to the cell right of it or below it.

    Parameters
    ----------
    scene : DataArray
        With a grid.
    x, y : (n,) float64
        Coordinates in the scene's CRS.
    """
    grid = scene.odc.geobox
    affine = ~grid.affine
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    columns = np.floor(affine.a * x + affine.b * y + affine.c)
    rows = np.floor(affine.d * x + affine.e * y + affine.f)
    inside = (rows >= 0) & (rows < grid.shape[0]) & (columns >= 0) & (columns < grid.shape[1])
    safe = np.where(inside, 0, np.nan)
    whole = [np.where(np.isnan(safe), -1, values).astype(np.int64) for values in (rows, columns)]
    return whole[0], whole[1], inside


def read_window(scene: xr.DataArray, rows: tuple[int, int], columns: tuple[int, int]) -> Float32:
    """Read a window, which may reach beyond the scene.

    Runs on the calling thread, so that it can be used inside a worker's task.

    Parameters
    ----------
    rows, columns : (int, int)
        First and one after the last; may be negative or beyond the scene.

    Returns
    -------
    (B, h, w) float32
        NaN where there is no data, and outside the scene.
    """
    return fill_window(*lazy_window(scene, rows, columns))


def lazy_window(
    scene: xr.DataArray, rows: tuple[int, int], columns: tuple[int, int]
) -> tuple[xr.DataArray, tuple[int, int, int, int]]:
    """The part of a window that is inside the scene, unread, and the cells that are missing round it.

    Returns
    -------
    part : DataArray
        May be empty.
    beyond : (int, int, int, int)
        Cells above, below, left and right of the scene.
    """
    _, height, width = scene.shape
    top, bottom = np.clip(rows, 0, height)
    left, right = np.clip(columns, 0, width)
    part = scene.isel(y=slice(int(top), int(bottom)), x=slice(int(left), int(right)))
    return part, (int(top) - rows[0], rows[1] - int(bottom), int(left) - columns[0], columns[1] - int(right))


def fill_window(part: xr.DataArray, beyond: tuple[int, int, int, int]) -> Float32:
    """Read what `lazy_window` left unread, on the calling thread."""
    above, below, left, right = beyond
    bands, height, width = part.shape
    out = np.full((bands, above + height + below, left + width + right), np.nan, np.float32)
    if height and width:
        inner = out[:, above : above + height, left : left + width]
        inner[...] = part.data.compute(scheduler="sync") if part.chunks is not None else part.data
        # Infinity is no data either, wherever the scene came from.
        np.copyto(inner, np.nan, where=np.isinf(inner))
    return out


def extract_patches(scene: xr.DataArray, x: Float64, y: Float64, width: int, progress: Progress = quiet) -> Float32:
    """Patches round points; the cell that holds the point is the centre.

    Points are read square by square, so that each part of the scene is read about once.

    Parameters
    ----------
    x, y : (P,) float64
        Coordinates in the scene's CRS.
    width : int
        Width of the patches, cells; odd.

    Returns
    -------
    (P, B, width, width) float32
        NaN where there is no data, outside the scene, and all of the patch of a point outside.
    """
    rows, columns, inside = cells_of(scene, x, y)
    halo = width // 2
    out = np.full((len(rows), scene.shape[0], width, width), np.nan, np.float32)
    points = np.flatnonzero(inside)
    squares = np.stack([rows[points] // _SQUARE, columns[points] // _SQUARE], axis=1)
    for done, square in enumerate(np.unique(squares, axis=0) if len(points) else []):
        here = points[(squares == square).all(axis=1)]
        top, left = rows[here].min() - halo, columns[here].min() - halo
        block = read_window(
            scene, (int(top), int(rows[here].max() + halo + 1)), (int(left), int(columns[here].max() + halo + 1))
        )
        for point in here:
            i, j = rows[point] - halo - top, columns[point] - halo - left
            out[point] = block[:, i : i + width, j : j + width]
        progress(done + 1, len(squares), "reading patches")
    return out
