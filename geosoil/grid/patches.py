"""Windows and patches of a scene: what lies outside it, or has no data, is NaN."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from dask.local import get_sync

from geosoil.errors import UsageError
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["cells_of", "extract_patches", "fill_window", "lazy_window", "read_window", "window_spans"]


def cells_of(scene: xr.DataArray, x: Float64, y: Float64) -> tuple[Int64, Int64, Bool]:
    """The cells that contain points.

    Cells are half open: a point on an edge belongs to the cell right of or below it. So a point on the scene's right or
    lower border is outside.

    Parameters
    ----------
    scene : DataArray
        Scene ``(band, y, x)``.
    x, y : (n,) float64
        Coordinates in the scene's CRS.

    Returns
    -------
    row, column : (n,) int64
        Cells; -1 for points outside.
    inside : (n,) bool
        Whether the point lies in the scene.

    >>> from geosoil.testing import make_scene
    >>> scene = make_scene(shape=(2, 3), resolution=10.0, left=500.0, top=900.0)
    >>> row, column, inside = cells_of(scene, np.array([500.0, 529.9, 530.0]), np.array([900.0, 880.1, 890.0]))
    >>> row.tolist(), column.tolist(), inside.tolist()
    ([0, 1, -1], [0, 2, -1], [True, True, False])
    """
    geobox = scene.odc.geobox
    to_cell = ~geobox.affine
    height, width = geobox.shape
    with np.errstate(invalid="ignore"):  # points at infinity, or nowhere
        column, row = to_cell * (np.asarray(x, np.float64), np.asarray(y, np.float64))
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return _whole(row, inside), _whole(column, inside), inside


def _whole(place: Float64, inside: Bool) -> Int64:
    return np.where(inside, np.floor(np.where(inside, place, 0.0)), -1.0).astype(np.int64)


def read_window(scene: xr.DataArray, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
    """Read a window on the calling thread; it may reach over the scene's edges.

    Parameters
    ----------
    scene : DataArray
        Scene ``(band, y, x)``.
    rows, cols : (int, int)
        First and one past the last row and column; negative, or beyond the scene, for what lies outside.

    Returns
    -------
    (B, h, w) float32
        NaN outside the scene and where there is no data.
    """
    return fill_window(*lazy_window(scene, rows, cols))


def lazy_window(
    scene: xr.DataArray, rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[xr.DataArray, tuple[int, int, int, int]]:
    """The part of a window that is inside the scene, unread, and the cells that are missing round it.

    Parameters
    ----------
    rows, cols : (int, int)
        As for `read_window`.

    Returns
    -------
    part : DataArray
        May be empty.
    beyond : (int, int, int, int)
        Cells above, below, left and right of the scene.
    """
    (inside_rows, inside_cols), beyond = window_spans(scene.shape[1:], rows, cols)
    return scene.isel(y=slice(*inside_rows), x=slice(*inside_cols)), beyond


def window_spans(
    shape: tuple[int, ...], rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[tuple[tuple[int, int], tuple[int, int]], tuple[int, int, int, int]]:
    """The rows and columns of a window that are inside a scene, and the cells that are missing round them.

    >>> window_spans((10, 8), (-2, 5), (4, 9))
    (((0, 5), (4, 8)), (2, 0, 0, 1))
    """
    (top, bottom), (left, right) = _inside(rows, shape[0]), _inside(cols, shape[1])
    return ((top, bottom), (left, right)), (top - rows[0], rows[1] - bottom, left - cols[0], cols[1] - right)


def _inside(span: tuple[int, int], size: int) -> tuple[int, int]:
    """The part of a span from 0 to a size; empty, and inside the span, where it lies beyond."""
    first = min(max(span[0], 0), span[1])
    return first, max(min(span[1], size), first)


def fill_window(part: xr.DataArray, beyond: tuple[int, int, int, int]) -> Float32:
    """Read what `lazy_window` left unread, on the calling thread."""
    # A worker's own thread must not wait for a pool that it is part of. The name of this scheduler would make dask
    # load dask.distributed, half a second.
    found = part.data.compute(scheduler=get_sync) if part.chunks is not None else part.data
    # A copy in any case: what dask gives may be the user's own memory.
    pads = ((0, 0), beyond[:2], beyond[2:])
    values: Float32 = np.pad(found, pads, constant_values=np.nan) if any(beyond) else np.array(found, order="C")
    values = np.ascontiguousarray(values, np.float32)
    # Infinity is no data either, wherever the scene came from.
    infinite = np.isinf(values)
    if infinite.any():
        values[infinite] = np.nan
    return values


def extract_patches(scene: xr.DataArray, x: Float64, y: Float64, width: int, progress: Progress = quiet) -> Float32:
    """Patches round points, each chunk of the scene read at most once.

    Parameters
    ----------
    scene : DataArray
        Scene ``(band, y, x)``.
    x, y : (P,) float64
        Coordinates in the scene's CRS.
    width : int
        Width of the patches in cells; odd.
    progress : callable
        Called once a chunk.

    Returns
    -------
    (P, B, width, width) float32
        The cell that contains the point in the centre; NaN outside the scene and where there is no data. All NaN for a
        point outside.

    Raises
    ------
    UsageError
        ``GS-PATCH-WIDTH``: the width is even or not positive.
    """
    if width < 1 or width % 2 == 0:
        raise UsageError(
            f"a patch of {width} cells has no centre cell", code="GS-PATCH-WIDTH", hint="take 1, 3, 5, 9 or 15"
        )
    row, column, inside = cells_of(scene, x, y)
    half = width // 2
    patches = np.full((len(row), scene.shape[0], width, width), np.nan, np.float32)
    points = np.flatnonzero(inside)
    tops, lefts = row - half, column - half
    tasks = _points_by_chunk(scene, points, tops, lefts, width)
    for done, ((rows, cols), members) in enumerate(tasks):
        _fill(patches, scene, members, tops, lefts, rows, cols)
        progress(done + 1, len(tasks), "reading patches")
    return patches


_Span = tuple[int, int]


def _points_by_chunk(
    scene: xr.DataArray, points: Int64, tops: Int64, lefts: Int64, width: int
) -> list[tuple[tuple[_Span, _Span], Int64]]:
    """Chunks as (rows, columns), each with the points whose patch touches it."""
    row_edges, col_edges = (_chunk_edges(scene, axis) for axis in (1, 2))
    first_row, last_row = _touched(tops[points], width, row_edges)
    first_col, last_col = _touched(lefts[points], width, col_edges)
    owners: list[Int64] = []
    members: list[Int64] = []
    # A patch touches few chunks: step through "its first chunk, the one after, ...", all points at once.
    for down, across in product(_steps(first_row, last_row), _steps(first_col, last_col)):
        here = (first_row + down <= last_row) & (first_col + across <= last_col)
        owners.append((first_row + down)[here] * len(col_edges) + (first_col + across)[here])
        members.append(points[here])
    if not owners:
        return []
    owner, member = np.concatenate(owners), np.concatenate(members)
    order = np.lexsort((member, owner))
    chunks, starts = np.unique(owner[order], return_index=True)
    groups = np.split(member[order], starts[1:])
    places = [divmod(int(chunk), len(col_edges)) for chunk in chunks]
    return [
        ((_span(row_edges, down), _span(col_edges, across)), group)
        for (down, across), group in zip(places, groups, strict=True)
    ]


def _chunk_edges(scene: xr.DataArray, axis: int) -> Int64:
    """Edges of the chunks along an axis, from 0 to its size."""
    sizes = (scene.shape[axis],) if scene.chunks is None else scene.chunks[axis]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _touched(first_cells: Int64, width: int, edges: Int64) -> tuple[Int64, Int64]:
    """First and last chunk that patches touch, inside the scene."""
    first = np.maximum(first_cells, 0)
    last = np.minimum(first_cells + width, edges[-1]) - 1
    return np.searchsorted(edges, first, "right") - 1, np.searchsorted(edges, last, "right") - 1


def _steps(first: Int64, last: Int64) -> range:
    return range(int((last - first).max()) + 1) if len(first) else range(0)


def _span(edges: Int64, chunk: int) -> _Span:
    return int(edges[chunk]), int(edges[chunk + 1])


def _fill(
    patches: Float32, scene: xr.DataArray, points: Int64, tops: Int64, lefts: Int64, rows: _Span, cols: _Span
) -> None:
    """Copy a chunk's cells into the patches of the points; only the cells that they need are read."""
    width = patches.shape[-1]
    top, bottom = max(rows[0], int(tops[points].min())), min(rows[1], int(tops[points].max()) + width)
    left, right = max(cols[0], int(lefts[points].min())), min(cols[1], int(lefts[points].max()) + width)
    values = read_window(scene, (top, bottom), (left, right))
    for point in points:
        first_row, last_row = max(int(tops[point]), top), min(int(tops[point]) + width, bottom)
        first_col, last_col = max(int(lefts[point]), left), min(int(lefts[point]) + width, right)
        patches[
            point,
            :,
            first_row - tops[point] : last_row - tops[point],
            first_col - lefts[point] : last_col - lefts[point],
        ] = values[:, first_row - top : last_row - top, first_col - left : last_col - left]
