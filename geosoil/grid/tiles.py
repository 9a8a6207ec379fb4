"""Tiles and blocks: how a scene is cut, so that the cut cannot be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geosoil.errors import UsageError

__all__ = ["BLOCK", "Tile", "blocks_of", "plan_tiles"]

#: Edge of the blocks that models are called on, cells. One shape for all, so that results repeat to the bit; small
#: enough that a block's features and activations stay in cache.
BLOCK = 128


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a scene that is read and predicted as one task.

    Attributes
    ----------
    index : int
        Place in the plan, row by row.
    row, column : int
        First cell.
    height, width : int
        Cells, without the halo; cut at the scene's edge.
    """

    index: int
    row: int
    column: int
    height: int
    width: int

    def rows(self, halo: int = 0) -> tuple[int, int]:
        """First row and one after the last, with a halo."""
        return self.row - halo, self.row + self.height + halo

    def columns(self, halo: int = 0) -> tuple[int, int]:
        """First column and one after the last, with a halo."""
        return self.column - halo, self.column + self.width + halo


def plan_tiles(height: int, width: int, size: int) -> tuple[Tile, ...]:
    """The tiles that cover a scene once.

    Parameters
    ----------
    height, width : int
        Cells of the scene.
    size : int
        Edge of the tiles, a multiple of `BLOCK`.

    Raises
    ------
    UsageError
        ``GS-TILE-SIZE``.

    >>> [(tile.row, tile.column, tile.height, tile.width) for tile in plan_tiles(130, 200, 128)]
    [(0, 0, 128, 128), (0, 128, 128, 72), (128, 0, 2, 128), (128, 128, 2, 72)]
    """
    if size < BLOCK or size % BLOCK:
        raise UsageError(
            f"tile size {size} is not a multiple of {BLOCK} cells",
            code="GS-TILE-SIZE",
            hint=f"take {BLOCK * max(1, round(size / BLOCK))}",
        )
    corners = [(row, column) for row in range(0, height, size) for column in range(0, width, size)]
    return tuple(
        Tile(index, row, column, min(size, height - row), min(size, width - column))
        for index, (row, column) in enumerate(corners)
    )


def blocks_of(tile: Tile, *, joined: bool = False) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of a tile's blocks, counted from the tile's corner; whole blocks, also beyond the tile.

    With `joined`, blocks side by side come as one, which ends with the tile.

    >>> list(blocks_of(Tile(0, 0, 0, 128, 130), joined=True))
    [(slice(0, 128, None), slice(0, 130, None))]
    """
    across = tile.width if joined else BLOCK
    for top in range(0, tile.height, BLOCK):
        for left in range(0, tile.width, across):
            yield slice(top, top + BLOCK), slice(left, left + across)
