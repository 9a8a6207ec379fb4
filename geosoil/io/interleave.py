"""Whether the numbers of a cube lie in the order that its header says: neighbours are alike in the right one only."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError

from .addresses import redact, short_name
from .rasterfile import RasterFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64, Int64

__all__ = ["check_interleave"]

#: Elements from one number to the next along bands, rows and columns, by the cube's shape.
_STRIDES: dict[str, Callable[[int, int, int], tuple[int, int, int]]] = {
    "bsq": lambda bands, rows, cols: (rows * cols, cols, 1),
    "bil": lambda bands, rows, cols: (cols, bands * cols, 1),
    "bip": lambda bands, rows, cols: (1, bands * cols, bands),
}
#: Smaller cubes tell too little.
_LEAST_BANDS, _LEAST_EDGE = 16, 16
#: Cells and bands that are looked at, and the fewest cells that must have data.
_CELLS, _BANDS, _LEAST_CELLS = 16, 16, 8
#: Step to a neighbour against that between two numbers of the file taken at random. Measured on AVIRIS and EnMAP cubes
#: and made ones: 0.03 to 0.4 in the right order, and 0.7 to 1.5 along one axis at least in most wrong ones.
_ROUGH, _SMOOTH = 0.6, 0.4
#: Correlation of spectra of cells far apart: at least this in the right order, and this much more than in the wrong.
_ALIKE, _MORE_ALIKE = 0.6, 0.25
#: In an image that is read in the order of another one along the lines, spectra have nothing in common though all is
#: smooth; in the right order they do, and it is smoother still.
_UNLIKE, _SURELY_ALIKE, _LESS_ROUGH = 0.3, 0.75, 0.7
#: Spectra that vary less than this are flat in the stated order, and only a right order gives flat ones.
_FLAT = 0.15


class _Look(NamedTuple):
    """How a cube looks in an order: its steps, what spectra have in common, and how far they are from being flat."""

    roughest: float
    alike: float
    varied: float


def check_interleave(file: RasterFile, bands: Bands) -> None:
    """Refuse a file whose numbers make no image in the order that its header says, and one in another.

    A cube is left alone where that cannot be told for sure: it is small, its numbers of bands, rows and columns divide
    each other, or it is rough in any order.

    Parameters
    ----------
    file : RasterFile
        As opened; only files of bare numbers are looked at.
    bands : Bands
        With wavelengths; bands that are not good are passed over.

    Raises
    ------
    InputError
        ``GS-INTERLEAVE``.
    """
    raw = file.raw
    if raw is None or not _can_tell(raw.shape):
        return
    path = Path(file.handle.address)
    nodata = next((one.nodata for one in file.formats if one.nodata is not None), None)
    good = np.flatnonzero(bands.good) if len(bands.good) == raw.shape[0] else np.arange(raw.shape[0])
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as held:
        if hasattr(mmap, "MADV_RANDOM"):  # not on Windows
            held.madvise(mmap.MADV_RANDOM)
        numbers = np.frombuffer(held, raw.dtype, math.prod(raw.shape), raw.start)
        try:
            likely = _likely(numbers, raw.shape, raw.interleave, good, nodata)
        finally:
            del numbers  # or the file could not be closed
    if likely is None:
        return
    raise InputError(
        f"{short_name(str(path))} is not interleaved as its header says",
        code="GS-INTERLEAVE",
        details=[
            f"file: {redact(str(path))}",
            f"the header says {raw.interleave}, in which neighbouring cells and bands have nothing in common; "
            f"in {likely} they are alike",
        ],
        hint=f"correct the header: interleave = {likely}",
    )


def _can_tell(shape: tuple[int, int, int]) -> bool:
    """Whether a cube is large enough, and no order repeats itself in another."""
    bands, rows, cols = shape
    if bands < _LEAST_BANDS or min(rows, cols) < _LEAST_EDGE:
        return False
    return all(edge % bands and bands % edge for edge in (rows, cols))


def _likely(
    numbers: NDArray[Any], shape: tuple[int, int, int], stated: str, good: Int64, nodata: float | None
) -> str | None:
    """The order that the numbers have if it is not the one stated; None where that one may be right."""
    found = set()
    for seed in (0, 1):  # two draws that must agree
        own = _look(numbers, shape, stated, good, nodata, seed)
        if own is None or own.varied < _FLAT or (own.roughest < _ROUGH and own.alike > _UNLIKE):
            return None
        looks = {order: _look(numbers, shape, order, good, nodata, seed) for order in _STRIDES if order != stated}
        fitting = [order for order, look in looks.items() if look is not None and _fits_better(look, own)]
        if len(fitting) != 1:
            return None
        found.add(fitting[0])
    return found.pop() if len(found) == 1 else None


def _fits_better(other: _Look, own: _Look) -> bool:
    """Whether another order makes an image of what is none in its own."""
    if own.roughest >= _ROUGH:
        return other.roughest < _SMOOTH and other.alike > max(_ALIKE, own.alike + _MORE_ALIKE)
    return other.roughest < _LESS_ROUGH * own.roughest and other.alike > _SURELY_ALIKE


def _look(
    numbers: NDArray[Any], shape: tuple[int, int, int], order: str, good: Int64, nodata: float | None, seed: int
) -> _Look | None:
    """Roughness along the axes, and how much spectra of cells far apart have in common; None without data."""
    rng = np.random.default_rng(seed)
    along = _STRIDES[order](*shape)
    places = good[good < shape[0] - 1]
    if len(places) < _LEAST_BANDS // 2:
        return None
    chosen = np.unique(places[np.linspace(0, len(places) - 1, _BANDS).round().astype(int)])
    rows, cols = (rng.integers(0, edge - 1, _CELLS) for edge in shape[1:])
    start = chosen * along[0] + (rows * along[1] + cols * along[2])[:, np.newaxis]
    here, *beside = (_values(numbers[start + step], nodata) for step in (0, *along))
    known = here[np.isfinite(here)]
    usual = float(np.abs(known - rng.permutation(known)).mean()) if known.size else 0.0
    spectra = here[:, np.isfinite(here).mean(axis=0) > 0.5]
    spectra = spectra[np.isfinite(spectra).all(axis=1)]
    if usual == 0 or len(spectra) < _LEAST_CELLS or spectra.shape[1] < _LEAST_BANDS // 2:
        return None
    steps = [np.abs(other - here) for other in beside]
    varied = float(np.median(spectra.std(axis=1)))
    return _Look(max(_mean(one) for one in steps) / usual, _alike(spectra), varied / usual)


def _values(stored: NDArray[Any], nodata: float | None) -> Float64:
    values = stored.astype(np.float64)
    if nodata is not None:
        values[values == nodata] = np.nan
    return values


def _mean(steps: Float64) -> float:
    """Mean of what is known; infinite where nothing is."""
    known = steps[np.isfinite(steps)]
    return float(known.mean()) if known.size else math.inf


def _alike(spectra: Float64) -> float:
    """Median correlation of two of the spectra; 1 where one has no shape."""
    centred = spectra - spectra.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    if not size.all():
        return 1.0
    centred /= size[:, np.newaxis]
    return float(np.median((centred @ centred.T)[np.triu_indices(len(centred), 1)]))
