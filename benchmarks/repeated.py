"""A GeoTIFF of any size from few blocks: the file is small, and each of its cells is read and decoded as any other."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rasterio

__all__ = ["repeat_blocks"]

#: Tags of a TIFF, and the types that its numbers have here.
_WIDTH, _LENGTH, _OFFSETS, _COUNTS = 256, 257, 324, 325
_LONG, _LONG8 = 4, 16
_BIG_TIFF = b"II\x2b\x00\x08\x00\x00\x00"


def repeat_blocks(source: Path, path: Path, edge: int) -> Path:
    """A file of edge x edge cells whose blocks are those of a smaller file, again and again.

    Parameters
    ----------
    source : Path
        A tiled BigTIFF, pixel-interleaved, without overviews; its edges are multiples of its blocks'.
    path : Path
        The new file: a copy whose directory names blocks several times.
    edge : int
        Cells.
    """
    with rasterio.open(source) as file:
        (block, _), (height, width) = file.block_shapes[0], file.shape
    rows, columns, count = height // block, width // block, -(-edge // block)
    pick = np.arange(count)[:, None] % rows * columns + np.arange(count)[None] % columns
    shutil.copyfile(source, path)
    with path.open("r+b") as file:
        if file.read(8) != _BIG_TIFF:
            raise ValueError(f"{source} is no BigTIFF of little-endian numbers")
        entries = _directory(file)
        tables = {tag: _numbers(file, *entries[tag][1:])[pick].ravel() for tag in (_OFFSETS, _COUNTS)}
        for tag, table in tables.items():
            value = int(table[0])  # one number stands in the entry itself
            if table.size > 1:
                value = file.seek(0, 2)
                file.write(table.astype("<u8").tobytes())
            _change(file, entries[tag][0], tag, _LONG8, table.size, value)
        for tag in (_WIDTH, _LENGTH):
            _change(file, entries[tag][0], tag, _LONG, 1, edge)
    return path


def _directory(file: BinaryIO) -> dict[int, tuple[int, int, int, int]]:
    """Where each entry of the first directory is, its type, count, and value or place of its values."""
    (start,) = struct.unpack("<Q", file.read(8))
    file.seek(start)
    (entries,) = struct.unpack("<Q", file.read(8))
    found = {}
    for place in range(entries):
        tag, kind, count, value = struct.unpack("<HHQQ", file.read(20))
        found[tag] = (start + 8 + 20 * place, kind, count, value)
    return found


def _numbers(file: BinaryIO, kind: int, count: int, value: int) -> np.ndarray:
    """The values of an entry; those that fit in its eight bytes are there."""
    dtype = np.dtype({3: "<u2", _LONG: "<u4", _LONG8: "<u8"}[kind])
    if count * dtype.itemsize <= 8:
        return np.frombuffer(struct.pack("<Q", value), dtype)[:count]
    file.seek(value)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _change(file: BinaryIO, place: int, tag: int, kind: int, count: int, value: int) -> None:
    file.seek(place)
    file.write(struct.pack("<HHQQ", tag, kind, count, value))
