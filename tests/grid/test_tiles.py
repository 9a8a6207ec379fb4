"""Tiles cover a scene once, whatever its shape; blocks stand on one lattice, whatever the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import UsageError
from geosoil.grid.tiles import BLOCK, Tile, blocks_of, plan_tiles

shapes = st.tuples(st.integers(1, 700), st.integers(1, 700))
tile_sizes = st.integers(1, 5).map(lambda times: BLOCK * times)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, size=tile_sizes)
def test_tiles_cover_each_cell_once(shape: tuple[int, int], size: int) -> None:
    owners = np.zeros(shape, int)
    for tile in plan_tiles(*shape, size):
        part = owners[slice(*tile.rows()), slice(*tile.columns())]
        assert part.shape == (tile.height, tile.width)
        part += 1
    assert (owners == 1).all()


@settings(max_examples=60, deadline=None)
@given(shape=shapes, size=tile_sizes)
def test_tiles_are_numbered_row_by_row(shape: tuple[int, int], size: int) -> None:
    tiles = plan_tiles(*shape, size)
    assert [tile.index for tile in tiles] == list(range(len(tiles)))
    corners = [(tile.row, tile.column) for tile in tiles]
    assert corners == sorted(corners)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, size=tile_sizes)
def test_blocks_are_the_same_for_every_tile_size(shape: tuple[int, int], size: int) -> None:
    def corners(edge: int) -> list[tuple[int, int]]:
        return sorted(
            (tile.row + rows.start, tile.column + columns.start)
            for tile in plan_tiles(*shape, edge)
            for rows, columns in blocks_of(tile)
        )

    assert corners(size) == corners(BLOCK)
    assert all(row % BLOCK == column % BLOCK == 0 for row, column in corners(size))


def test_blocks_are_whole_also_where_they_reach_beyond_the_tile() -> None:
    blocks = list(blocks_of(Tile(0, 0, 0, 130, 20)))
    assert [(rows.start, columns.start) for rows, columns in blocks] == [(0, 0), (BLOCK, 0)]
    assert all(one.stop - one.start == BLOCK for block in blocks for one in block)


def test_a_halo_reaches_the_same_number_of_cells_to_all_sides() -> None:
    tile = plan_tiles(300, 300, BLOCK)[4]
    assert tile.rows(7) == (BLOCK - 7, 2 * BLOCK + 7)
    assert tile.columns(7) == (BLOCK - 7, 2 * BLOCK + 7)


@pytest.mark.parametrize(("size", "better"), [(0, 128), (-128, 128), (100, 128), (200, 256), (513, 512)])
def test_a_tile_size_off_the_lattice_is_refused_and_the_nearest_one_named(size: int, better: int) -> None:
    with pytest.raises(UsageError, match=f"tile size {size} ") as caught:
        plan_tiles(300, 300, size)
    assert caught.value.code == "GS-TILE-SIZE"
    assert caught.value.hint == f"take {better}"
