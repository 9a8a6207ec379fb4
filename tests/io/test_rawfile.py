"""Cells of mapped files are those of their windows, and what stays mapped is bounded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geosoil.errors import InputError
from geosoil.io.lazy import footprint, reader_of
from geosoil.io.raster import open_scene
from geosoil.io.rasterfile import MappedCells
from geosoil.io.rawfile import _maps, release_maps
from geosoil.io.stack import Stack
from geosoil.testing import make_scene

from .cubes import write_envi

if TYPE_CHECKING:
    from geosoil.types import Float32, Int64

BANDS, ROWS, COLUMNS = 7, 90, 61


def made(folder: Path, interleave: str, rows: int = ROWS) -> Path:
    """Reflectance times 10,000 with gaps, two bands of it bad."""
    cube = np.random.default_rng(0).integers(1, 6000, (BANDS, rows, COLUMNS)).astype(np.int16)
    cube[2, 4:9, 3] = -9999
    entries = {"reflectance scale factor": 10_000, "data ignore value": -9999}
    return write_envi(folder / f"{interleave}.dat", cube, entries, interleave=interleave)


def stack_of(path: Path) -> Stack:
    reader = reader_of(open_scene(path).data)
    assert isinstance(reader, Stack)
    return reader


def cells_of(stack: Stack, rows: tuple[int, int], columns: tuple[int, int]) -> MappedCells:
    found = stack.cells(rows, columns)
    assert found is not None
    return found


def picked(cells: MappedCells, bands: Int64, row: Int64, column: Int64, edges: Int64) -> list[Float32]:
    """Each group's cells, (bands, n)."""
    out = np.full(len(bands) * len(row), -1, np.float32)
    cells.pick(bands, row, column, edges, out)
    parts = np.split(out, edges[1:-1] * len(bands))
    return [part.reshape(len(bands), -1) for part in parts]


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_cells_are_those_of_the_window(interleave: str, tmp_path: Path) -> None:
    stack = stack_of(made(tmp_path, interleave))
    bands = np.array([5, 0, 2])
    whole = stack.read(bands, (3, 80), (2, 50))
    assert np.isnan(whole).any()
    cells = cells_of(stack, (3, 80), (2, 50))
    np.testing.assert_array_equal(cells.planes(bands), whole)
    rng = np.random.default_rng(1)
    for share in (0.02, 0.5, 1.0):
        row, column = np.nonzero(rng.random(whole.shape[1:]) < share)
        (found,) = picked(cells, bands, row, column, np.array([0, len(row)]))
        np.testing.assert_array_equal(found, whole[:, row, column])
    part = cells.part(slice(60, 124), slice(40, 168))
    assert part.shape == (BANDS, 17, 8)
    np.testing.assert_array_equal(part.planes(bands), whole[:, 60:, 40:])
    none = np.empty(0, np.int64)
    assert [one.shape for one in picked(cells, bands, none, none, np.zeros(3, np.int64))] == [(3, 0), (3, 0)]


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("most_mapped", [4096, 2**25])
def test_groups_of_cells_are_each_those_of_the_window(
    interleave: str, most_mapped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the rows of a group lie in several maps of the file."""
    monkeypatch.setattr("geosoil.io.rawfile._MOST_MAPPED", most_mapped)
    release_maps()
    stack = stack_of(made(tmp_path, interleave))
    bands = np.array([6, 1, 1, 4])
    whole = stack.read(bands, (1, 85), (0, 61))
    cells = cells_of(stack, (1, 85), (0, 61))
    rng = np.random.default_rng(2)
    for share in (0.05, 0.6, 1.0):
        # The third group is empty, and groups overlap in their rows, not all of which each of them has.
        spans = [
            (slice(0, 40), slice(0, 20)),
            (slice(10, 84), slice(20, 50)),
            (slice(0, 0), slice(0, 0)),
            (slice(5, 30), slice(50, 61)),
        ]
        parts = []
        for rows, columns in spans:
            chosen = np.zeros(whole.shape[1:], bool)
            chosen[rows, columns] = rng.random(chosen[rows, columns].shape) < share
            parts.append(np.stack(np.nonzero(chosen)))
        row, column = np.concatenate(parts, axis=1)
        edges = np.cumsum([0, *(part.shape[1] for part in parts)])
        found = picked(cells, bands, row, column, edges)
        for one, (down, right) in zip(found, parts, strict=True):
            np.testing.assert_array_equal(one, whole[:, down, right])
    release_maps()


def test_files_that_are_packed_have_no_cells(tmp_path: Path) -> None:
    make_scene(tmp_path / "a.tif", shape=(24, 24))
    scene = open_scene(tmp_path / "a.tif")
    reader = reader_of(scene.data)
    assert isinstance(reader, Stack)
    assert reader.cells((0, 2), (0, 2)) is None
    assert footprint(scene.data, 2, 2, by_cells=True).own == 2 * 4 * scene.sizes["band"] * 2 * 2


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_what_stays_mapped_is_bounded_and_let_go_of(interleave: str, tmp_path: Path) -> None:
    release_maps()
    stack = stack_of(made(tmp_path, interleave, 400))
    every = np.arange(BANDS)
    held = stack.footprint(50, 20).shared
    for top in range(0, 400, 50):
        for left in (0, 20, 40):
            stack.read(every, (top, top + 50), (left, left + 20))
            assert sum(cost for _, cost in _maps._held.values()) <= held
    release_maps()
    assert not _maps._held


def test_a_file_that_changes_is_said_though_it_is_mapped(tmp_path: Path) -> None:
    path = made(tmp_path, "bil")
    stack = stack_of(path)
    stack.read(np.arange(BANDS), (0, 10), (0, 10))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="has changed since it was opened"):
        stack.read(np.arange(BANDS), (0, 10), (0, 10))
