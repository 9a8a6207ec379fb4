"""Files that hold nothing but numbers in order, as ENVI's: windows are read from a map of the file into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError
from geosoil.kernels import decode

from .addresses import is_remote, redact, short_name
from .gdal import Handle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from geosoil.types import Int64

__all__ = ["Decoding", "RawLayout", "decode_window"]

#: Bytes of a file that are mapped into memory at once, and of a page.
_MOST_MAPPED, _PAGE = 32 * 2**20, 4096


@dataclass(frozen=True, eq=False)
class Decoding:
    """How bands become values, as arrays a band: whether and which number stands for no data, scale and offset."""

    has: NDArray[np.bool_]
    nodata: NDArray[np.float64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]


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

    def strips(self, rows: tuple[int, int], bands: int) -> Iterator[tuple[int, int]]:
        """Rows in strips of which the pages that are touched stay below a bound."""
        # A line of a band may begin and end within a page.
        line = self.shape[2] * np.dtype(self.dtype).itemsize + 2 * _PAGE
        count = self.shape[0] if self.interleave == "bip" else bands
        step = max(1, _MOST_MAPPED // (line * count))
        for top in range(rows[0], rows[1], step):
            yield top, min(top + step, rows[1])

    def stored(self, handle: Handle) -> NDArray[Any]:
        """The file's numbers in their own order, mapped into memory for as long as the array lives.

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
        bands, rows, columns = self.shape
        native = {"bsq": (bands, rows, columns), "bil": (rows, bands, columns), "bip": (rows, columns, bands)}
        return np.memmap(handle.address, self.dtype, "r", self.start, native[self.interleave])


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

    >>> how = Decoding(np.array([True]), np.array([-9999.0]), np.array([0.1]), np.array([0.0]))
    >>> values = np.empty((1, 1, 2), np.float32)
    >>> decode_window(np.array([[[250, -9999]]], np.int16), "bsq", np.array([0]), (0, 0), how, values)
    >>> values
    array([[[25., nan]]], dtype=float32)
    """
    kernel = {"bsq": decode.band_planes, "bil": decode.band_lines, "bip": decode.band_points}[interleave]
    kernel(np.asarray(stored), bands, np.array(first, np.int64), how.has, how.nodata, how.scale, how.offset, out)
