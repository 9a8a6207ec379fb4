"""The image of a detector as GDAL opens it: counts in sensor geometry, and their rational polynomial coefficients."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio._err import CPLE_BaseError  # what GDAL's complaints about an .rpb become; it has no public name

from geosoil.errors import InputError, listing
from geosoil.io.addresses import short_name
from geosoil.io.gdal import borrow
from geosoil.io.headers import open_raster
from geosoil.io.rasterfile import RasterFile

from .layout import read_start
from .tables import MOST_BYTES

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.rpc import RPC

__all__ = ["Image", "open_image"]

_COEFFICIENTS = 20
_LISTS = ("line_num_coeff", "line_den_coeff", "samp_num_coeff", "samp_den_coeff")
_OFFSETS = ("line_off", "samp_off", "lat_off", "long_off", "height_off")
_SCALES = ("line_scale", "samp_scale", "lat_scale", "long_scale", "height_scale")
# What an .rpb file has to give, in its own words.
_ENTRIES = (
    *(f"{name}{end}" for end in ("Offset", "Scale") for name in ("line", "samp", "lat", "long", "height")),
    *("lineNumCoef", "lineDenCoef", "sampNumCoef", "sampDenCoef"),
)


@dataclass(frozen=True)
class Image:
    """An image in sensor geometry.

    Attributes
    ----------
    file : RasterFile
        Gives its windows.
    dtype : str
        Type of the counts.
    rpcs : rasterio.rpc.RPC or None
        Rational polynomial coefficients, from ground to image.
    """

    file: RasterFile
    dtype: str
    rpcs: RPC | None


def open_image(path: Path) -> Image:
    """Open the image of a detector; no pixel is read.

    Raises
    ------
    InputError
        ``GS-RASTER-...`` where it is no whole raster, ``GS-RPC-DAMAGED`` where its coefficients are incomplete or no
        numbers, ``GS-PRODUCT-TYPE`` where it holds no whole numbers.
    """
    try:
        file = open_raster(str(path), mapped=False)
        with borrow(file.handle) as dataset:
            kinds, rpcs = set(dataset.dtypes), _rpcs(dataset, path)
    except CPLE_BaseError as error:
        raise _complaint(path, str(error)) from error
    if any(np.dtype(kind).kind not in "iu" for kind in kinds):
        raise InputError(
            f"{short_name(path.name)} holds no counts",
            code="GS-PRODUCT-TYPE",
            details=[f"file: {path}", f"found: {listing(sorted(kinds))}", "expected: whole numbers"],
            hint="it looks calibrated already: give it another name, and open it as a raster with wavelengths",
        )
    return Image(file, str(np.result_type(*kinds)), rpcs)


def _rpcs(dataset: DatasetReader, path: Path) -> RPC | None:
    try:
        rpcs = dataset.rpcs
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    wrong = _unread(path) if rpcs is None else _wrong(rpcs)
    if wrong:
        raise _damaged(path, wrong)
    return rpcs


def _unread(path: Path) -> str | None:
    """What is wrong with the ``.rpb`` file beside an image in which GDAL finds no coefficients; None without one."""
    name = path.with_suffix(".rpb").name.lower()
    beside = next((one for one in path.parent.iterdir() if one.name.lower() == name), None)
    if beside is None:
        return None
    text = read_start(beside, MOST_BYTES).decode("ascii", errors="replace")
    lacking = [one for one in _ENTRIES if not re.search(rf"\b{one}\s*=", text, re.IGNORECASE)]
    cut = "" if re.search(r"\bEND\s*;\s*$", text) else ", and it ends without END;"
    return f"{beside.name} has no {listing(lacking, 4)}{cut}" if lacking else f"{beside.name} cannot be read{cut}"


def _wrong(rpcs: RPC) -> str | None:
    """What is wrong with the coefficients; None for sound ones."""
    for name in (*_OFFSETS, *_SCALES):
        value = getattr(rpcs, name)
        if value is None or not math.isfinite(value) or (name in _SCALES and value == 0):
            return f"{name} is {value}"
    if abs(rpcs.lat_off) > 90 or abs(rpcs.long_off) > 360:
        return f"lat_off is {rpcs.lat_off:g} and long_off {rpcs.long_off:g}, which is no place; are they exchanged?"
    for name in _LISTS:
        values = getattr(rpcs, name) or []
        if len(values) != _COEFFICIENTS or not all(map(math.isfinite, values)):
            return f"{name} is not a list of {_COEFFICIENTS} numbers"
    return None


def _complaint(path: Path, found: str) -> InputError:
    if ".rpb" in found.lower():
        return _damaged(path, found)
    return InputError(
        f"{short_name(path.name)} is not a raster that can be read",
        code="GS-RASTER-UNREADABLE",
        details=[f"file: {path}", f"GDAL: {found[:300]}"],
        hint="get the product from its provider again",
    )


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        f"the RPC of {short_name(path.name)} is damaged",
        code="GS-RPC-DAMAGED",
        details=[f"image: {path}", f"found: {found[:300]}"],
        hint="get the .rpb file again, or move it away to read the image without a place on the map",
    )
