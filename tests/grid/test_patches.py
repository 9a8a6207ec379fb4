"""Windows and patches equal those cut from the whole array; what lies outside is missing."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import UsageError
from geosoil.grid.patches import cells_of, extract_patches, read_window
from geosoil.testing import make_scene

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

LEFT, TOP, CELL = 500.0, 900.0, 10.0


def scene_of(shape: tuple[int, int], chunks: int, missing: float = 0.2) -> xr.DataArray:
    return make_scene(shape=shape, missing=missing, left=LEFT, top=TOP, resolution=CELL, chunks=chunks)


def brute_force(values: Float32, rows: Any, cols: Any, width: int) -> Float32:
    half = width // 2
    padded = np.pad(values, ((0, 0), (half, half), (half, half)), constant_values=np.nan)
    return np.stack([padded[:, r : r + width, c : c + width] for r, c in zip(rows, cols, strict=True)])


def random_points(shape: tuple[int, int], count: int, seed: int = 0) -> tuple[Float64, Float64]:
    rng = np.random.default_rng(seed)
    return LEFT + CELL * rng.uniform(0, shape[1], count), TOP - CELL * rng.uniform(0, shape[0], count)


@pytest.mark.parametrize("width", [1, 3, 5, 9, 15])
@pytest.mark.parametrize("chunks", [4, 7, 16, 100])
def test_patches_equal_those_of_the_padded_array(width: int, chunks: int) -> None:
    shape = (31, 26)
    scene = scene_of(shape, chunks)
    x, y = random_points(shape, 150)
    # Corners too: there most of a patch lies outside.
    x = np.concatenate([x, LEFT + CELL * np.array([0.5, 25.5, 0.5, 25.5])])
    y = np.concatenate([y, TOP - CELL * np.array([0.5, 0.5, 30.5, 30.5])])
    rows, cols = ((TOP - y) // CELL).astype(int), ((x - LEFT) // CELL).astype(int)
    patches = extract_patches(scene, x, y, width)
    assert patches.dtype == np.float32
    np.testing.assert_array_equal(patches, brute_force(scene.values, rows, cols, width))


def test_patches_of_an_array_that_is_not_chunked() -> None:
    scene = scene_of((20, 20), 8).compute()
    x, y = random_points((20, 20), 30)
    lazy = extract_patches(scene.chunk({"y": 6, "x": 6}), x, y, 5)
    np.testing.assert_array_equal(extract_patches(scene, x, y, 5), lazy)


def test_points_outside_are_never_sampled() -> None:
    scene = scene_of((4, 5), 2, missing=0)
    x = np.array([LEFT, LEFT + 50.0, LEFT - 1e-6, LEFT + 25, LEFT + 25, np.nan, np.inf])
    y = np.array([TOP, TOP - 5, TOP - 5, TOP - 40.0, TOP + 1e-6, TOP - 5, TOP - 5])
    row, column, inside = cells_of(scene, x, y)
    assert inside.tolist() == [True, False, False, False, False, False, False]
    assert (row[0], column[0]) == (0, 0)
    assert (row[~inside] == -1).all()
    assert (column[~inside] == -1).all()
    patches = extract_patches(scene, x, y, 3)
    assert np.isnan(patches[1:]).all()
    assert patches[0, 0, 1, 1] == scene.values[0, 0, 0]


def test_point_on_a_border_belongs_to_the_cell_right_of_and_below_it() -> None:
    scene = scene_of((4, 5), 2)
    row, column, inside = cells_of(scene, np.array([LEFT + 20.0]), np.array([TOP - 30.0]))
    assert (row[0], column[0], inside[0]) == (3, 2, True)


def test_no_points_give_no_patches() -> None:
    patches = extract_patches(scene_of((8, 8), 4), np.empty(0), np.empty(0), 3)
    assert patches.shape == (0, 3, 3, 3)


@pytest.mark.parametrize("width", [0, -1, 2, 4])
def test_width_without_a_centre_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match=f"patch of {width} cells") as caught:
        extract_patches(scene_of((8, 8), 4), np.empty(0), np.empty(0), width)
    assert caught.value.code == "GS-PATCH-WIDTH"


class Counted:
    """An array that notes which cells were read, and how often."""

    def __init__(self, values: Float32) -> None:
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, 3
        self.reads = np.zeros(values.shape[1:], int)
        self.windows = 0

    def __getitem__(self, key: Any) -> Float32:
        self.reads[key[1:]] += 1
        self.windows += 1
        return np.asarray(self.values[key])


def counted_scene(shape: tuple[int, int], chunks: int) -> tuple[xr.DataArray, Counted]:
    scene = scene_of(shape, chunks)
    counted = Counted(scene.values)
    data = da.from_array(counted, chunks=(-1, chunks, chunks), asarray=True, meta=np.empty((0, 0, 0), np.float32))
    return scene.copy(data=data), counted


def test_each_chunk_is_read_at_most_once_for_many_points() -> None:
    scene, counted = counted_scene((64, 64), 16)
    x, y = random_points((64, 64), 500)
    extract_patches(scene, x, y, 9)
    assert counted.windows == 16
    assert counted.reads.max() == 1


def test_few_points_read_only_their_patches() -> None:
    scene, counted = counted_scene((64, 64), 16)
    extract_patches(scene, np.array([LEFT + 83.0]), np.array([TOP - 83.0]), 3)
    assert counted.reads.sum() == 9


def test_window_reads_only_itself() -> None:
    scene, counted = counted_scene((64, 64), 16)
    read_window(scene, (10, 20), (-5, 3))
    assert counted.reads.sum() == 10 * 3


def test_progress_counts_to_the_end() -> None:
    calls: list[tuple[int, int]] = []
    x, y = random_points((64, 64), 200)
    extract_patches(scene_of((64, 64), 16), x, y, 3, lambda done, total, _: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(1, 17))
    assert {total for _, total in calls} == {16}


@settings(deadline=None, max_examples=40)
@given(
    top=st.integers(-30, 40), height=st.integers(1, 40), left=st.integers(-30, 40), width=st.integers(1, 40),
    chunks=st.integers(3, 40),
)  # fmt: skip
def test_window_equals_that_of_the_padded_array(top: int, height: int, left: int, width: int, chunks: int) -> None:
    scene = scene_of((24, 21), chunks)
    pad = 80
    padded = np.pad(scene.values, ((0, 0), (pad, pad), (pad, pad)), constant_values=np.nan)
    expected = padded[:, pad + top : pad + top + height, pad + left : pad + left + width]
    found = read_window(scene, (top, top + height), (left, left + width))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_infinity_of_the_users_array_is_no_data() -> None:
    scene = scene_of((8, 8), 4, missing=0)
    values = scene.values.copy()
    values[0, 2, 2] = np.inf
    window = read_window(scene.copy(data=da.from_array(values, chunks=4)), (0, 8), (0, 8))
    assert np.isnan(window[0, 2, 2])
    assert np.isfinite(window).sum() == window.size - 1


@pytest.mark.parametrize("chunks", [None, 8, 4])
def test_window_is_the_callers_own(chunks: int | None) -> None:
    scene = scene_of((8, 8), 8, missing=0).compute()
    kept = scene.values.copy()
    scene = scene if chunks is None else scene.copy(data=da.from_array(scene.values, chunks=(3, chunks, chunks)))
    for window in (read_window(scene, (0, 8), (0, 8)), read_window(scene, (0, 4), (0, 4))):
        window[...] = -1
    np.testing.assert_array_equal(scene.values, kept)


def test_reading_stays_on_the_calling_thread() -> None:
    import threading

    threads: set[Hashable] = set()

    def note(block: Float32) -> Float32:
        threads.add(threading.get_ident())
        return block

    scene = scene_of((16, 16), 4)
    read_window(scene.copy(data=scene.data.map_blocks(note, dtype=np.float32)), (0, 16), (0, 16))
    assert threads == {threading.get_ident()}
