"""Finished tiles on disk, and the ledger that says which they are: what a killed run leaves is not lost."""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import OutputError, listing
from geosoil.grid.tiles import Tile

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["Ledger", "Made", "Spool", "write_tile"]


#: Seconds that no part of a run takes: a century.
_MOST_S = 3.2e9


def write_tile(folder: Path, tile: Tile, values: Float32) -> int | None:
    """Put a tile on disk; it is there whole or not at all.

    Parameters
    ----------
    folder : Path
        Of the spool.
    values : (outputs, h, w) float32
        A tile without any value is not written.

    Returns
    -------
    int or None
        CRC-32 of the file; None for an empty tile.
    """
    if np.isnan(values).all():
        return None
    data = np.ascontiguousarray(values, np.float32).tobytes()
    # Machines that share the folder may have processes of the same number, above all where each is a container.
    part = folder / f".{tile.index:07d}-{gethostname()}-{os.getpid()}-{threading.get_ident()}"
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(_tile_path(folder, tile))
    finally:
        part.unlink(missing_ok=True)
    return zlib.crc32(data)


def _tile_path(folder: Path, tile: Tile) -> Path:
    return folder / f"{tile.index:07d}.f32"


@dataclass(frozen=True)
class Made:
    """How a finished tile came about.

    Attributes
    ----------
    part : int
        The part of the run, from 0; one begins with each command that goes on.
    seconds : float
        From the beginning of the part.
    worker : str
        Address of the worker of a cluster; empty where there is none.
    """

    part: int = 0
    seconds: float = 0.0
    worker: str = ""


@dataclass
class Ledger:
    """An append-only list of finished tiles, one JSON line each; the first line holds the run's key.

    Attributes
    ----------
    path : Path
        The file.
    done : dict
        Tile index to checksum; None for an empty tile.
    header : dict
        The first line.
    made : dict
        Tile index to how it came about.
    part : int
        The part of the run that adds tiles now; parts that finished no tile are not known.
    since : float
        When this part began, by `time.perf_counter`.
    """

    path: Path
    header: dict[str, Any]
    done: dict[int, int | None] = field(default_factory=dict)
    made: dict[int, Made] = field(default_factory=dict)
    part: int = 0
    since: float = field(default_factory=time.perf_counter)
    failed: dict[int, str] = field(default_factory=dict)
    _end: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Ledger:
        """A new ledger."""
        path.write_bytes(b"")
        ledger = cls(path, dict(header))
        ledger._append(ledger.header)
        return ledger

    @classmethod
    def read(cls, path: Path) -> Ledger | None:
        """An earlier run's ledger up to its first torn or damaged line; None where there is none. Changes nothing."""
        try:
            # What follows the last line break is torn.
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        header = _record(lines[0]) if lines else {}
        if not _is_header(header):
            return None
        ledger = cls(path, header, _end=len(lines[0]) + 1)
        for line in lines[1:]:
            record = _record(line)
            index, checksum = record.get("tile"), record.get("crc", "")
            made = _made(record)
            if not isinstance(index, int) or not isinstance(checksum, int | None) or made is None:
                break
            ledger.done[index] = checksum
            ledger.made[index] = made
            ledger._end += len(line) + 1
        ledger.part = max((one.part for one in ledger.made.values()), default=-1) + 1
        return ledger

    def add(self, tile: Tile, checksum: int | None, worker: str = "") -> None:
        """Note that a tile is on disk, and which worker of a cluster made it; durable when this returns."""
        with self._lock:
            made = Made(self.part, round(time.perf_counter() - self.since, 3), worker)
            self._append(
                {"tile": tile.index, "crc": checksum, **{name: one for name, one in vars(made).items() if one}}
            )
            self.done[tile.index], self.made[tile.index] = checksum, made

    def parts(self) -> list[dict[str, Any]]:
        """What each part of the run made, up to the one that is under way.

        Returns
        -------
        list of dict
            ``tiles``, ``seconds`` (up to the last of them; up to now in the part that is under way) and, of a cluster,
            ``workers``: how many made one.
        """
        here = time.perf_counter() - self.since
        parts: dict[int, list[Made]] = {self.part: []}
        for index in self.done:
            parts.setdefault(self.made[index].part, []).append(self.made[index])
        return [_sum_up(parts[part], here if part == self.part else None) for part in sorted(parts)]

    def _append(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, sort_keys=True).encode() + b"\n"
        with self.path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) != self._end:
                # What a stop has left of a line.
                file.truncate(self._end)
                file.seek(self._end)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._end += len(line)

    def fail(self, tile: Tile, reason: str) -> None:
        """Note that a tile could not be made; not kept for a later run, which tries again."""
        with self._lock:
            self.failed[tile.index] = reason


def _made(record: Mapping[str, Any]) -> Made | None:
    """How the tile of a line came about; None for what cannot be."""
    part, seconds, worker = record.get("part", 0), record.get("seconds", 0.0), record.get("worker", "")
    fits = isinstance(part, int) and isinstance(seconds, int | float) and isinstance(worker, str)
    return Made(part, float(seconds), worker) if fits and part >= 0 and 0 <= seconds < _MOST_S else None


def _is_header(record: Mapping[str, Any]) -> bool:
    """Whether a first line is one that a run wrote, as far as it is made use of."""
    created, facts = record.get("created", "2000-01-01"), record.get("facts", {})
    size = facts.get("tile_size", 1) if isinstance(facts, dict) else None
    try:
        datetime.fromisoformat(created)
    except (TypeError, ValueError):
        return False
    return "key" in record and isinstance(size, int) and not isinstance(size, bool) and size > 0


def _sum_up(made: Sequence[Made], seconds: float | None) -> dict[str, Any]:
    """Tiles, seconds and workers of a part; its seconds where they are known, else up to its last tile."""
    workers = {one.worker for one in made} - {""}
    took = max(one.seconds for one in made) if seconds is None else seconds
    return {"tiles": len(made), "seconds": round(took, 3), **({"workers": len(workers)} if workers else {})}


def _record(line: bytes) -> dict[str, Any]:
    """What a line holds; empty for a damaged one."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


@dataclass(frozen=True)
class Spool:
    """The finished tiles of a run, read as whole maps.

    Attributes
    ----------
    folder : Path
        Where the tiles are.
    tiles : tuple of Tile
        The plan.
    outputs : int
        Maps in each tile.
    done : mapping
        Checksums; what is missing or None is all nodata.
    """

    folder: Path
    tiles: tuple[Tile, ...]
    outputs: int
    done: Mapping[int, int | None]

    def check(self, indexes: Sequence[int]) -> list[int]:
        """Those of the tiles that the plan does not know, or whose file is missing or does not have its checksum."""
        wrong = []
        for index in indexes:
            checksum = self.done[index]
            if not 0 <= index < len(self.tiles):
                wrong.append(index)
                continue
            if checksum is None:
                if _tile_path(self.folder, self.tiles[index]).exists():  # an empty tile has no file
                    wrong.append(index)
                continue
            try:
                same = zlib.crc32(_tile_path(self.folder, self.tiles[index]).read_bytes()) == checksum
            except OSError:
                same = False
            if not same:
                wrong.append(index)
        return wrong

    def window(self, output: int, rows: tuple[int, int], columns: tuple[int, int]) -> Float32:
        """A window of one map, (h, w) float32; NaN where no tile has a value."""
        found = np.full((rows[1] - rows[0], columns[1] - columns[0]), np.nan, np.float32)
        first = self.tiles[0]
        size_y, size_x = first.height, first.width
        across = sum(1 for tile in self.tiles if tile.row == 0)
        for row in range(rows[0] // size_y, (rows[1] - 1) // size_y + 1):
            for column in range(columns[0] // size_x, (columns[1] - 1) // size_x + 1):
                tile = self.tiles[row * across + column]
                if self.done.get(tile.index) is None:
                    continue
                top, bottom = max(rows[0], tile.row), min(rows[1], tile.row + tile.height)
                left, right = max(columns[0], tile.column), min(columns[1], tile.column + tile.width)
                part = self._map(tile, output)[
                    top - tile.row : bottom - tile.row, left - tile.column : right - tile.column
                ]
                found[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]] = part
        return found

    def _map(self, tile: Tile, output: int) -> Float32:
        count = tile.height * tile.width
        try:
            values = np.fromfile(_tile_path(self.folder, tile), np.float32, count, offset=4 * count * output)
        except OSError as error:
            raise self._lost(tile) from error
        if values.size != count:
            raise self._lost(tile)
        return values.reshape(tile.height, tile.width)

    def _lost(self, tile: Tile) -> OutputError:
        return OutputError(
            f"finished tile {tile.index} is not whole any more",
            code="GS-SPOOL",
            details=[f"folder: {self.folder}", f"tiles: {listing([tile.index])}"],
            hint="run again with --resume: the tile will be made anew",
        )
