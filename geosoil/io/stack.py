"""Several readers as one: their bands one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.types import Footprint, Measured, WindowReader

from .blocks import Blocked, Cut
from .rasterfile import MappedCells, RasterFile

if TYPE_CHECKING:
    from geosoil.types import Float32, Int64

__all__ = ["Stack", "footprint_of"]


@dataclass(frozen=True)
class Stack:
    """Readers on one grid, their bands one after the other; each is read once a window. A ``types.WindowReader``."""

    parts: tuple[WindowReader, ...]

    @classmethod
    def of(cls, readers: Sequence[WindowReader]) -> Stack:
        """The parts of stacks and all other readers side by side."""
        parts = (part for reader in readers for part in (reader.parts if isinstance(reader, Stack) else (reader,)))
        return cls(tuple(parts))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]

    def take(self, positions: list[int]) -> Stack:
        """The stack with some of its bands, in the order given."""
        owners = [(part, place) for part in self.parts for place in range(part.shape[0])]
        runs: list[tuple[WindowReader, list[int]]] = []
        for part, place in (owners[position] for position in positions):
            if runs and runs[-1][0] is part:
                runs[-1][1].append(place)
            else:
                runs.append((part, [place]))
        return Stack(tuple(part.take(places) for part, places in runs))

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `types.WindowReader`."""
        if len(self.parts) == 1:
            return self.parts[0].read(bands, rows, cols)
        out = np.empty((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
        first = 0
        for part in self.parts:
            count = part.shape[0]
            wanted = np.flatnonzero((bands >= first) & (bands < first + count))
            if len(wanted):
                out[wanted] = part.read(bands[wanted] - first, rows, cols)
            first += count
        return out

    def cells(self, rows: tuple[int, int], cols: tuple[int, int]) -> MappedCells | None:
        """The cells of a window, to be read as they are asked for; None where the parts cannot be read so."""
        one = self.parts[0]
        return one.cells(rows, cols) if len(self.parts) == 1 and isinstance(one, RasterFile) else None

    def footprint(self, rows: int, cols: int) -> Footprint:
        """See `types.Measured`."""
        each = [footprint_of(part, rows, cols) for part in self.parts]
        together = 4 * self.shape[0] * rows * cols if len(each) > 1 else 0
        return Footprint(
            together + max(one.own for one in each), sum(one.kept for one in each), sum(one.shared for one in each)
        )

    def blocks(self) -> Cut | None:
        """See `blocks.Blocked`."""
        return Cut.joined(part.blocks() for part in self.parts if isinstance(part, Blocked))


def footprint_of(reader: WindowReader, rows: int, cols: int) -> Footprint:
    """Memory of reading windows of so many rows and columns; of a reader that does not tell, two windows."""
    if isinstance(reader, Measured):
        return reader.footprint(rows, cols)
    return Footprint(2 * 4 * reader.shape[0] * rows * cols)
