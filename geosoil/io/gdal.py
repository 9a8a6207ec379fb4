"""GDAL's settings while geosoil reads, and a bounded set of open files that no two threads share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.errors import RasterioIOError

from .addresses import gdal_path, is_remote, suffix

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

__all__ = [
    "CACHE_BYTES",
    "SOURCES_EACH",
    "Handle",
    "borrow",
    "bounded_sources",
    "close_idle",
    "gdal_env",
    "open_dataset",
]

#: GDAL's block cache. Its default, 5 % of the machine's memory, can be most of a run's peak.
CACHE_BYTES = 64 * 2**20

#: Formats that foreign files are read in. NetCDF and Zarr go through xarray; a VRT must say so in its name.
DRIVERS = ("GTiff", "ENVI", "JP2OpenJPEG")

#: Most files kept open between reads; a stack of 134 single-band files fits, and so do common limits of 1024.
MOST_IDLE = 192

#: Sources of a mosaic (VRT) that each thread keeps open. A window touches nine that are as large as it is; GDAL reads
#: it band by band, and a source that was closed in between is decoded anew for each.
SOURCES_EACH = 12
#: What each run that bounds them needs; without any it is GDAL's own number.
_bounds: list[int] = []

# How GDAL says that a driver does not know a file.
_UNKNOWN = "not recognized as being in a supported file format"

_LOCAL: dict[str, Any] = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    # A VRT may carry Python code.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}
_REMOTE: dict[str, Any] = {
    **_LOCAL,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}


def gdal_env(address: str = "") -> rasterio.Env:
    """GDAL's settings for reading an address; what the user has set in the environment wins."""
    settings = dict(_REMOTE if is_remote(address) else _LOCAL)
    if most := sum(_bounds):
        settings["GDAL_MAX_DATASET_POOL_SIZE"] = str(most)
    forced = "GDAL_VRT_ENABLE_PYTHON"
    return rasterio.Env(**{key: value for key, value in settings.items() if key == forced or key not in os.environ})


@dataclass(frozen=True, slots=True)
class Handle:
    """What identifies an open file: another one may take its name.

    Attributes
    ----------
    address : str
        Path or URL; may hold secrets, so it stays out of messages.
    stamp : (int, int)
        Time of change, ns, and size, bytes; zeros for a remote file.
    """

    address: str = field(repr=False)
    stamp: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, address: str) -> Handle:
        """The handle of a file as it is now."""
        if is_remote(address):
            return cls(address)
        found = Path(address).stat()
        return cls(address, (found.st_mtime_ns, found.st_size))


def open_dataset(address: str) -> DatasetReader:
    """Open a raster with the first of the drivers that its name allows and that knows it.

    Raises
    ------
    rasterio.errors.RasterioIOError
        What the driver that knows the file says of it; else what the first one says.
    """
    first: RasterioIOError | None = None
    for driver in _drivers(address):
        try:
            return rasterio.open(gdal_path(address), driver=driver, sharing=False)
        except RasterioIOError as error:
            if _UNKNOWN not in str(error):
                raise
            first = first or error
    raise first or RasterioIOError(address)


def _drivers(address: str) -> tuple[str, ...]:
    if suffix(address) == ".vrt":
        return ("VRT",)
    return tuple(reversed(DRIVERS)) if suffix(address) in {".jp2", ".j2k"} else DRIVERS


class _Idle:
    """Open files that nobody reads from, most recently used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: list[tuple[Handle, DatasetReader]] = []
        self._inherited: list[tuple[Handle, DatasetReader]] = []

    def __len__(self) -> int:
        return len(self._open)

    def take(self, handle: Handle) -> DatasetReader | None:
        with self._lock:
            for place in range(len(self._open) - 1, -1, -1):
                if self._open[place][0] == handle:
                    return self._open.pop(place)[1]
        return None

    def give(self, handle: Handle, dataset: DatasetReader) -> None:
        with self._lock:
            self._open.append((handle, dataset))
            surplus = self._open[: -self._most]
            del self._open[: -self._most]
        for _, old in surplus:
            old.close()

    def close(self) -> None:
        with self._lock:
            old, self._open = self._open, []
        for _, dataset in old:
            dataset.close()

    def forget(self) -> None:
        """In a forked child: the file offsets are shared with the parent, so leave its handles alone."""
        self._lock = threading.Lock()
        self._inherited, self._open = self._open, []


_idle = _Idle(MOST_IDLE)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.forget)


def close_idle() -> None:
    """Close the files that nobody reads from, with the blocks that they keep; the next read opens them again."""
    _idle.close()


@contextmanager
def bounded_sources(threads: int) -> Iterator[None]:
    """Keep as many sources of mosaics open as threads need, where GDAL keeps a hundred with a block of each.

    Runs side by side in one process have as many as all of them need.
    """
    close_idle()  # GDAL asks for the number when it opens the first mosaic
    bound = SOURCES_EACH * threads
    _bounds.append(bound)
    try:
        yield
    finally:
        _bounds.remove(bound)
        close_idle()


@contextmanager
def borrow(handle: Handle) -> Iterator[DatasetReader]:
    """A dataset for this thread alone, until the block ends; one that failed is not used again."""
    with gdal_env(handle.address):
        dataset = _idle.take(handle) or open_dataset(handle.address)
        try:
            yield dataset
        except BaseException:
            dataset.close()
            raise
        _idle.give(handle, dataset)
