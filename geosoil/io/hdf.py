"""HDF5 files as products have them: opened for one read at a time, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from geosoil.errors import InputError

from .addresses import is_remote, redact, short_name
from .gdal import Handle
from .hdfchunks import part

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["attribute", "is_hdf", "numbers", "opened", "reading", "text"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf(address: str) -> bool:
    """Whether a local file begins as HDF5 does."""
    path = Path(address)
    if is_remote(address) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


@contextmanager
def opened(address: str, what: str) -> Iterator[h5py.File]:
    """The file, open as long as the block lasts.

    Parameters
    ----------
    what : str
        What it should be, for the message.

    Raises
    ------
    InputError
        ``GS-RASTER-UNREADABLE``, also for what the block does not find in the file.
    """
    try:
        with h5py.File(address, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{short_name(address)} is no {what} that can be read",
            code="GS-RASTER-UNREADABLE",
            details=[f"file: {redact(address)}", str(error)[:300]],
            hint="check that it is the whole file, and of this product",
        ) from error


@contextmanager
def reading(handle: Handle, bands: Sequence[str], rows: tuple[int, int], cols: tuple[int, int]) -> Iterator[h5py.File]:
    """The file for one window; errors name the window."""
    try:
        with h5py.File(handle.address, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{short_name(handle.address)} cannot be read in rows {rows[0]}-{rows[1] - 1}",
            code="GS-RASTER-READ",
            details=[
                f"file: {redact(handle.address)}",
                f"bands: {bands[0]} to {bands[-1]}" if bands else "no bands",
                f"window: rows {rows[0]} to {rows[1] - 1}, columns {cols[0]} to {cols[1] - 1}",
                str(error)[:300],
            ],
            hint="the file is cut off or damaged, or its disk or server failed: copy it again",
        ) from error


def attribute(file: h5py.File, name: str) -> Any:
    """An attribute of the file; raises KeyError with its name."""
    if name not in file.attrs:
        raise KeyError(f"attribute {name!r} is missing")
    return file.attrs[name]


def numbers(values: Any) -> Float64:
    """Numbers of an attribute or dataset as one array."""
    stored = part(values, (slice(None),) * values.ndim) if isinstance(values, h5py.Dataset) else values
    return np.asarray(stored, np.float64).ravel()


def text(value: Any) -> str:
    """An attribute as text."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
