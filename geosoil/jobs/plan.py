"""The plan of a map run: tiles, memory, outputs and space, before anything is written."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from odc.geo.geobox import GeoBox

from geosoil.errors import ResourceError, UsageError
from geosoil.grid.tiles import BLOCK, Tile, plan_tiles
from geosoil.io.cog import BLOCK as FILE_BLOCK
from geosoil.io.cog import CACHE
from geosoil.types import Footprint

if TYPE_CHECKING:
    from geosoil.io.blocks import Cut
    from geosoil.models.bundle import Bundle, Output

__all__ = ["Plan", "bytes_of", "make_plan", "memory_bound", "memory_here"]

log = logging.getLogger(__name__)

#: Tile edges that are tried, largest first.
SIZES = (1024, 512, 256, BLOCK)
#: Tiles that each worker should get at least, where the scene has them.
_TILES_EACH = 8
#: Tiles are not made smaller than blocks of files by more than this for the sake of one more worker.
_AGAIN = 2
#: Activations and scratch of a worker while it predicts a block, bytes; measured for 5 networks of 15 x 15, 6 depths.
_BLOCK_SCRATCH = 96 * 2**20
#: Libraries, kernels and the writer, beyond what is resident when the plan is made, bytes.
_GROWTH = 128 * 2**20


def bytes_of(text: float | str) -> int:
    """A size such as ``4GB``, ``1500MB`` or ``2GiB`` in bytes; a number alone is bytes.

    >>> bytes_of("1.5GB"), bytes_of("2GiB"), bytes_of("1e9"), bytes_of(2.5e8)
    (1500000000, 2147483648, 1000000000, 250000000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)\s*([kKMGT]?)(i?)B?\s*", str(text))
    if match is None:
        raise UsageError(f"size {text!r} is not understood", code="GS-SIZE", hint="write it as 4GB, or as bytes: 4e9")
    power = " kMGT".index(match[2].replace("K", "k") or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def memory_bound(text: float | str) -> int:
    """The bytes of ``--max-memory``, as `bytes_of` reads them; more than there are is warned of."""
    bound, there = bytes_of(text), memory_here()
    if bound > there:
        log.warning(
            "--max-memory %s is more than the %s MB that there are here: the system may end the run",
            text, f"{there / 1e6:,.0f}",
        )  # fmt: skip
    return bound


def memory_here(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory of this machine, or of the narrowest control group that this process is in.

    Parameters
    ----------
    groups, root : Path
        Where Linux tells the groups of the process, and their limits; elsewhere there are none.
    """
    found = [int(psutil.virtual_memory().total)]
    with suppress(OSError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                found += _limits(root, path, "memory.max")
            elif "memory" in controllers.split(","):
                found += _limits(root / "memory", path, "memory.limit_in_bytes")
    return min(found)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """The limits of a control group and of all that it is in; a container sees its own as the root."""
    inner = root / path.strip("/")
    found = []
    for folder in (inner, *inner.parents):
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int((folder / name).read_text(encoding="utf-8")))
        if folder == root:
            break
    return found


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    grid : GeoBox
        Grid of the maps.
    tiles : tuple of Tile
        Row by row.
    tile_size, halo : int
        Cells.
    num_workers : int
        Tiles in flight.
    outputs : tuple of Output
        The maps.
    bands : int
        Bands that are read.
    memory : dict
        Bytes by part: what is resident now, caches, decoded blocks of files that are kept for the windows to come,
        workers, and all together.
    space : int
        Most bytes that the run needs on the disk.
    panel : int
        Columns, in cells, that are worked through from top to bottom before the next ones, so that decoded blocks are
        still there when they are needed again.
    """

    grid: GeoBox
    tiles: tuple[Tile, ...]
    tile_size: int
    halo: int
    num_workers: int
    outputs: tuple[Output, ...]
    bands: int
    memory: dict[str, int]
    space: int
    panel: int = 0

    def in_order(self) -> tuple[Tile, ...]:
        """The tiles in the order of work."""
        panel = self.panel or int(self.grid.shape[1])
        return tuple(sorted(self.tiles, key=lambda tile: (tile.column // panel, tile.index)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rows": int(self.grid.shape[0]),
            "columns": int(self.grid.shape[1]),
            "tiles": len(self.tiles),
            "tile_size": self.tile_size,
            "halo": self.halo,
            "num_workers": self.num_workers,
            "bands": self.bands,
            "outputs": [f"{output.stem}.tif" for output in self.outputs],
            "memory_bytes": self.memory,
            "space_bytes": self.space,
        }

    def describe(self) -> str:
        """For people."""
        rows, columns = (int(edge) for edge in self.grid.shape)
        return "\n".join(
            [
                f"scene: {columns} x {rows} cells, {self.bands} bands",
                f"tiles: {len(self.tiles)} of {self.tile_size} x {self.tile_size} cells, halo {self.halo}, "
                f"{self.num_workers} at a time",
                f"memory: {self.memory['all'] / 1e6:,.0f} MB at most, of which {self.memory['workers'] / 1e6:,.0f} MB "
                f"for tiles in flight and {self.memory['blocks'] / 1e6:,.0f} MB for decoded blocks of files",
                f"space: {self.space / 1e6:,.0f} MB at most while it runs",
                f"maps: {len(self.outputs)}",
                *(f"  {output.stem}.tif" for output in self.outputs),
            ]
        )


def _sizes(rows: int, columns: int, num_workers: int) -> tuple[int, ...]:
    """Tile edges to try, largest first: those that give each worker several tiles, so that none stands idle long.

    >>> _sizes(10_000, 10_000, 8), _sizes(1200, 1200, 2), _sizes(90, 100, 4)
    ((1024, 512, 256, 128), (256, 128), (128,))
    """
    enough = tuple(size for size in SIZES if -(-rows // size) * -(-columns // size) >= _TILES_EACH * num_workers)
    return enough or (BLOCK,)


def _file_bytes(rows: int, columns: int) -> int:
    """Size of a map with overviews that does not get smaller by compression."""
    return 4 * -(-rows // FILE_BLOCK) * -(-columns // FILE_BLOCK) * FILE_BLOCK**2 * 4 // 3


def make_plan(
    grid: GeoBox,
    models: Sequence[Bundle],
    outputs: Sequence[Output],
    *,
    flags: bool = False,
    bands: int,
    tile_size: int | None,
    max_memory: int,
    num_workers: int,
    footprint: Callable[[int, int], Footprint] | None = None,
    cut: Cut | None = None,
) -> Plan:
    """The largest tiles, and the most workers, that fit in the memory.

    Parameters
    ----------
    footprint : callable, optional
        Memory of reading windows, by their rows and columns; two windows where it is not given.
    cut : Cut, optional
        How the files are cut into blocks.

    Raises
    ------
    ResourceError
        ``GS-MEMORY``: not even one small tile fits; says what would.
    """
    rows, columns = (int(edge) for edge in grid.shape)
    layers = len(outputs) + flags
    halo = max(model.patch // 2 for model in models)
    features = max(model.encoder.features for model in models)
    resident = psutil.Process().memory_info().rss
    fixed = resident + _GROWTH

    def reading(height: int, width: int) -> Footprint:
        """Of a window with its halo."""
        height, width = height + 2 * halo, width + 2 * halo
        return Footprint(2 * 4 * bands * height * width) if footprint is None else footprint(height, width)

    @cache  # to see what surrounds a window on another grid takes its time, and all sizes are tried with all counts
    def caches(size: int) -> int:
        return CACHE + reading(min(size, rows), min(size, columns)).shared

    @cache
    def worker(size: int) -> int:
        width, height = min(size, -(-columns // BLOCK) * BLOCK), min(size, -(-rows // BLOCK) * BLOCK)
        read = reading(height, width)
        maps = 2 * 4 * layers * width * height
        block = 4 * (BLOCK + 2 * halo) ** 2 * (bands + features) + _BLOCK_SCRATCH
        return read.own + read.kept + maps + block

    sizes = (tile_size,) if tile_size is not None else _sizes(rows, columns, num_workers)
    tries = [(size, count) for count in range(num_workers, 0, -1) for size in sizes]

    def spare(size: int, count: int) -> int:
        left: int = max_memory - fixed - caches(size) - count * worker(size)
        return left

    def often(size: int, count: int) -> bool:
        """Whether blocks of files are decoded again and again: tiles are far smaller, and there is no room for them."""
        if cut is None or _AGAIN * size >= min(max(cut.rows, cut.columns), max(rows, columns)):
            return False
        return not _room(cut, size, halo, columns, count, spare(size, count))[0]

    # Workers count for more than tiles: a small tile costs a wider halo, an idle core all its work. But all cores are
    # soon busy decoding where each tile takes a small part of large blocks.
    fitting = [(size, count) for size, count in tries if spare(size, count) >= 0]
    if not fitting:
        least = fixed + caches(min(sizes)) + worker(min(sizes))
        raise ResourceError(
            f"{max_memory / 1e6:,.0f} MB are too few for this run",
            code="GS-MEMORY",
            details=[f"needed at least: {least / 1e6:,.0f} MB, of which {fixed / 1e6:,.0f} MB before the first tile"],
            hint=f"give --max-memory {-(-least // 10**8) / 10:g}GB",
        )
    size, count = min(fitting, key=lambda one: often(*one))
    tiles = plan_tiles(rows, columns, size)
    cells = rows * columns
    blocks, panel = (0, 0) if cut is None else _room(cut, size, halo, columns, count, spare(size, count))
    return Plan(
        grid=grid,
        tiles=tiles,
        tile_size=size,
        halo=halo,
        num_workers=count,
        outputs=tuple(outputs),
        bands=bands,
        memory={
            "resident": resident,
            "caches": caches(size),
            "blocks": blocks,
            "workers": count * worker(size),
            "all": max_memory - spare(size, count) + blocks,
        },
        # Spooled tiles; finished maps, and a plain map with overviews for each worker, whole blocks and not compressed.
        space=4 * cells * layers + _file_bytes(rows, columns) * (layers + count) + 10 * 2**20,
        panel=panel,
    )


def _room(cut: Cut, size: int, halo: int, columns: int, workers: int, spare: int) -> tuple[int, int]:
    """Bytes for decoded blocks, and the columns of cells that they are enough for; zeros where they are of no use.

    A block that windows of several tiles touch is decoded once, if all that the tiles of a row touch is kept until the
    row below it has been read.

    >>> from geosoil.io.blocks import Cut
    >>> _room(Cut(512, 512, 10**6), 512, 4, 2000, 2, 10**9), _room(Cut(512, 512, 10**6), 512, 4, 9000, 2, 30 * 10**6)
    ((17000000, 2048), (29000000, 3072))
    >>> _room(Cut(512, 512, 10**6), 1024, 0, 9000, 2, 10**9)
    (0, 0)
    """
    if not halo and size % cut.rows == 0 and size % cut.columns == 0:
        return 0, 0
    across = -(-columns // size)
    down = _touched(size, halo, cut.rows)
    most = -(-columns // cut.columns)

    def room(tiles: int) -> int:
        # Where a row ends the next one begins, and each worker decodes one block or copies from one.
        return cut.bytes * (down * (min(most, _touched(tiles * size, halo, cut.columns)) + 1) + workers)

    fitting = [tiles for tiles in range(across, 0, -1) if room(tiles) <= spare]
    return (room(fitting[0]), fitting[0] * size) if fitting else (0, 0)


def _touched(cells: int, halo: int, edge: int) -> int:
    """Blocks that so many cells and a halo on both sides touch along an axis, at most, where tiles begin anywhere."""
    if cells % edge == 0:
        return cells // edge + 2 * -(-halo // edge)
    return -(-(cells + 2 * halo) // edge) + 1
