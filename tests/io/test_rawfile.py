"""Cells of mapped files are those of their windows, and what stays mapped is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geosoil.errors import InputError
from geosoil.io.lazy import footprint, reader_of
from geosoil.io.raster import open_scene
from geosoil.io.rasterfile import FileStack, MappedCells
from geosoil.io.rawfile import _maps, release_maps
from geosoil.testing import make_scene

from .cubes import write_envi

BANDS, ROWS, COLUMNS = 7, 90, 61


def made(folder: Path, interleave: str, rows: int = ROWS) -> Path:
    """Reflectance times 10,000 with gaps, two bands of it bad."""
    cube = np.random.default_rng(0).integers(1, 6000, (BANDS, rows, COLUMNS)).astype(np.int16)
    cube[2, 4:9, 3] = -9999
    entries = {"reflectance scale factor": 10_000, "data ignore value": -9999}
    return write_envi(folder / f"{interleave}.dat", cube, entries, interleave=interleave)


def stack_of(path: Path) -> FileStack:
    reader = reader_of(open_scene(path).data)
    assert isinstance(reader, FileStack)
    return reader


def cells_of(stack: FileStack, rows: tuple[int, int], columns: tuple[int, int]) -> MappedCells:
    found = stack.cells(rows, columns)
    assert found is not None
    return found


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
        np.testing.assert_array_equal(cells.pick(bands, row, column), whole[:, row, column])
    part = cells.part(slice(60, 124), slice(40, 168))
    assert part.shape == (BANDS, 17, 8)
    np.testing.assert_array_equal(part.planes(bands), whole[:, 60:, 40:])
    assert cells.pick(bands, np.empty(0, np.int64), np.empty(0, np.int64)).shape == (3, 0)


def test_files_that_are_packed_have_no_cells(tmp_path: Path) -> None:
    make_scene(tmp_path / "a.tif", shape=(24, 24))
    scene = open_scene(tmp_path / "a.tif")
    reader = reader_of(scene.data)
    assert isinstance(reader, FileStack)
    assert reader.cells((0, 2), (0, 2)) is None
    assert footprint(scene.data, by_cells=True) == (2, 0)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_what_stays_mapped_is_bounded_and_let_go_of(interleave: str, tmp_path: Path) -> None:
    release_maps()
    stack = stack_of(made(tmp_path, interleave, 400))
    every = np.arange(BANDS)
    _, each = stack.footprint()
    for top in range(0, 400, 50):
        for left in (0, 20, 40):
            stack.read(every, (top, top + 50), (left, left + 20))
            assert sum(cost for _, cost in _maps._held.values()) <= 50 * each
    release_maps()
    assert not _maps._held


def test_a_file_that_changes_is_said_though_it_is_mapped(tmp_path: Path) -> None:
    path = made(tmp_path, "bil")
    stack = stack_of(path)
    stack.read(np.arange(BANDS), (0, 10), (0, 10))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="has changed since it was opened"):
        stack.read(np.arange(BANDS), (0, 10), (0, 10))
