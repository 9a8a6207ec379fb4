"""Files that hold nothing but numbers in order, as ENVI's: windows are read from maps of the file into memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError
from geosoil.kernels import decode

from .addresses import is_remote, redact, short_name
from .gdal import Handle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from geosoil.types import Float32, Int64

__all__ = ["Decoding", "RawLayout", "decode_window", "pick_cells", "release_maps"]

#: Bytes of a file in one map of it, and of a page.
_MOST_MAPPED, _PAGE = 32 * 2**20, 4096
#: Maps that are kept are at most this many times what the rows of one window take.
_KEPT = 1.1


@dataclass(frozen=True, eq=False)
class Decoding:
    """How bands become values, as arrays a band: which number stands for no data, NaN for none; scale and offset."""

    nodata: NDArray[np.float64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def take(self, bands: Int64) -> Decoding:
        """That of some of the bands."""
        return Decoding(self.nodata[bands], self.scale[bands], self.offset[bands])


@dataclass(frozen=True, slots=True)
class RawLayout:
    """Where the numbers of a file are.

    Attributes
    ----------
    interleave : str
        ``bsq``, ``bil`` or ``bip``.
    start : int
        Bytes before the first number.
    dtype : str
        Type of the numbers, in this machine's byte order.
    shape : (int, int, int)
        Bands, rows, columns.
    """

    interleave: str
    start: int
    dtype: str
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, handle: Handle, dataset: DatasetReader) -> RawLayout | None:
        """The layout of a local ENVI file whose numbers can be read as they stand; None for all others."""
        if dataset.driver != "ENVI" or is_remote(handle.address) or len(set(dataset.dtypes)) != 1:
            return None
        tags = {name.lower(): value for name, value in dataset.tags(ns="ENVI").items()}
        interleave = tags.get("interleave", "").lower()
        order = tags.get("byte_order", "")
        dtype = np.dtype(dataset.dtypes[0])
        native = dtype.itemsize == 1 or order == ("0" if np.little_endian else "1")
        if interleave not in {"bsq", "bil", "bip"} or not native or tags.get("file_compression", "0") != "0":
            return None
        shape = (dataset.count, dataset.height, dataset.width)
        return cls(interleave, int(tags.get("header_offset", 0)), dtype.name, shape)

    def touched(self, bands: int) -> int:
        """Bytes of the pages that a row of so many bands lies in: a window that is narrower touches them all."""
        line = self.shape[2] * np.dtype(self.dtype).itemsize
        # A line of a band may begin and end within a page; where most bands are read, such pages are neighbours'.
        row = line * self.shape[0] + 2 * _PAGE
        return row if self.interleave == "bip" else min(row, (line + 2 * _PAGE) * bands)

    def held(self, bands: int) -> int:
        """Bytes that reading keeps mapped, for each row of a window; the last of a file's rows come on top."""
        # The bands of one row lie all over a sequential file, which is mapped as a whole, and anew for other rows.
        return int((2 if self.interleave == "bsq" else 1.3) * self.touched(bands))

    def parts(
        self, handle: Handle, rows: tuple[int, int], bands: int, only: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """The rows in parts: the first, one past the last, and an array of the file's numbers that begins with it.

        Of the parts of `rows`, which are kept, those are given that hold some of the rows `only`.

        The arrays are maps of the file. They are kept while windows of the same rows are read, as tiles side by side
        are: to map pages costs more than to decode them. What is touched counts as the process's memory.

        Raises
        ------
        InputError
            ``GS-RASTER-READ``: the file is not what it was when it was opened. Reading on would give a mixture, or end
            the process where the file has become shorter.
        """
        if _as_it_is(handle) != handle:
            raise InputError(
                f"{short_name(handle.address)} has changed since it was opened",
                code="GS-RASTER-READ",
                details=[f"file: {redact(handle.address)}"],
                hint="leave it alone while it is read, and begin again",
            )
        row = self.touched(bands)
        step = rows[1] - rows[0] if self.interleave == "bsq" else max(1, _MOST_MAPPED // row)
        most = int(_KEPT * (rows[1] - rows[0]) * row)
        for top in range(rows[0], rows[1], step):
            part = (top, min(top + step, rows[1]))
            if only is not None and not (part[0] < only[1] and only[0] < part[1]):
                continue
            key = (handle, self, *part)
            yield *part, _maps.get(key, (part[1] - part[0]) * row, most, partial(self._map, handle, part))

    def _map(self, handle: Handle, rows: tuple[int, int]) -> NDArray[Any]:
        """The numbers of some rows in their own order, mapped into memory; of a sequential file all from there on."""
        bands, height, columns = self.shape
        size = np.dtype(self.dtype).itemsize
        if self.interleave == "bsq":
            whole = np.memmap(handle.address, self.dtype, "r", self.start, (bands, height, columns))
            return np.asarray(whole)[:, rows[0] :]
        lines = rows[1] - rows[0]
        shape = (lines, bands, columns) if self.interleave == "bil" else (lines, columns, bands)
        start = self.start + rows[0] * bands * columns * size
        return np.asarray(np.memmap(handle.address, self.dtype, "r", start, shape))


def pick_cells(
    stored: NDArray[Any],
    interleave: str,
    bands: Int64,
    cells: tuple[Int64, Int64],
    groups: tuple[Int64, Int64, Int64],
    how: Decoding,
    out: Float32,
) -> None:
    """Fill groups of cells from stored numbers, as `decode_window` does.

    Parameters
    ----------
    cells : ((n,), (n,)) int64
        Rows and columns, group by group and within each by rows.
    groups : (G + 1,), (G,), (G,) int64
        First cell of each group, and of each the first cell, and one past the last, that is filled.
    out : (b * n,) float32
        Group by group, each as (b, its cells).
    """
    rest = (bands, *cells, *groups, how.nodata, how.scale, how.offset, out)
    if interleave == "bip":
        decode.pick_points(stored, *rest)
    else:
        line, apart, by_band = decode.in_line(stored, by_band=interleave == "bsq")
        decode.pick_lines(line, apart, by_band, *rest)


class _Maps:
    """Maps of parts of files, those used last; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[Any, tuple[NDArray[Any], int]] = OrderedDict()

    def get(self, key: Any, cost: int, most: int, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The map of a key; `most` bounds the costs of all that are kept, of which this is one."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key][0]
        made = make()
        with self._lock:
            self._held[key] = (made, cost)
            while len(self._held) > 1 and sum(one for _, one in self._held.values()) > most:
                self._held.popitem(last=False)
        return made

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._held.clear()


_maps = _Maps()


def release_maps() -> None:
    """Let go of files that are mapped into memory for windows to come."""
    _maps.clear()


def _as_it_is(handle: Handle) -> Handle | None:
    """The handle of what now has the name; None where nothing has."""
    try:
        return Handle.of(handle.address)
    except OSError:
        return None


def decode_window(
    stored: NDArray[Any],
    interleave: str,
    bands: Int64,
    first: tuple[int, int],
    how: Decoding,
    out: NDArray[np.float32],
) -> None:
    """Fill bands (n, h, w) from stored numbers; NaN for no data and for what is not finite. See ``kernels.decode``.

    >>> how = Decoding(np.array([-9999.0]), np.array([0.1]), np.array([0.0]))
    >>> values = np.empty((1, 1, 2), np.float32)
    >>> decode_window(np.array([[[250, -9999]]], np.int16), "bsq", np.array([0]), (0, 0), how, values)
    >>> values
    array([[[25., nan]]], dtype=float32)
    """
    rest = (bands, np.array(first, np.int64), how.nodata, how.scale, how.offset, out)
    if interleave == "bip":
        decode.band_points(np.asarray(stored), *rest)
    else:
        line, apart, by_band = decode.in_line(np.asarray(stored), by_band=interleave == "bsq")
        decode.band_lines(line, apart, by_band, *rest)
