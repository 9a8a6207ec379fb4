"""Whether the numbers of a cube lie in the order that its header says: neighbours are alike in the right one only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError

from .addresses import redact, short_name
from .rasterfile import RasterFile
from .rawfile import RawLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64, Int64

__all__ = ["check_order"]

#: Elements from one number to the next along bands, rows and columns, by the cube's shape.
_STRIDES: dict[str, Callable[[int, int, int], tuple[int, int, int]]] = {
    "bsq": lambda bands, rows, cols: (rows * cols, cols, 1),
    "bil": lambda bands, rows, cols: (cols, bands * cols, 1),
    "bip": lambda bands, rows, cols: (1, bands * cols, bands),
}
#: Smaller cubes tell too little.
_LEAST_BANDS, _LEAST_EDGE = 16, 16
#: Numbers whose neighbours are looked at; cells and bands of spectra, and the fewest cells that must have data.
_NUMBERS, _CELLS, _BANDS, _LEAST_CELLS = 256, 24, 16, 8
#: Two orders differ in one or two of the three steps to a neighbour. Along these the wrong order is at least this many
#: times as rough as the right one: 2 to 25 times on nineteen of twenty crops of AVIRIS, EnMAP and made cubes, never
#: less than 1.1. The right order is 0.9 times as rough at most, and more only with numbers that are no image.
_ROUGHER = 1.5
#: Spectra of cells far apart correlate at least this much more in the right order, and less than this in the wrong one.
_MORE_ALIKE, _ALIKE = 0.2, 0.85
#: Spectra that vary less than this are flat in the stated order, and only a right order gives flat ones.
_FLAT = 0.15


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The numbers of a file, of which those that are asked for are read.

    They are not mapped into memory: for a number the system may map two megabytes round it.
    """

    path: Path
    raw: RawLayout

    def __len__(self) -> int:
        return math.prod(self.raw.shape)

    def __getitem__(self, places: Int64) -> NDArray[Any]:
        size = np.dtype(self.raw.dtype).itemsize
        with self.path.open("rb", buffering=0) as file:
            found = bytearray()
            for place in places.ravel().tolist():
                file.seek(self.raw.start + place * size)
                found += file.read(size)
        return np.frombuffer(found, self.raw.dtype).reshape(places.shape)


class _Look(NamedTuple):
    """How spectra look in an order: what they have in common, and how far they are from being flat."""

    alike: float
    varied: float


class _Shape(NamedTuple):
    """How rough an image of given edges is from line to line, and from a line's end to the next one's beginning."""

    lines: float
    ends: float


def check_order(file: RasterFile, bands: Bands) -> None:
    """Refuse a file whose numbers make no image in the order that its header says, and one in another.

    The other one is another interleave, or lines and samples exchanged.

    A cube is left alone where that cannot be told for sure: it is small, its numbers of bands, rows and columns divide
    each other, its spectra are flat, or it is rough in any order.

    Parameters
    ----------
    file : RasterFile
        As opened; only files of bare numbers are looked at.
    bands : Bands
        With wavelengths; bands that are not good are passed over.

    Raises
    ------
    InputError
        ``GS-INTERLEAVE``, ``GS-LINES-SAMPLES``.
    """
    raw = file.raw
    if raw is None or min(raw.shape[1:]) < _LEAST_EDGE:
        return
    path = Path(file.handle.address)
    nodata = next((one.nodata for one in file.formats if one.nodata is not None), None)
    good = np.flatnonzero(bands.good) if len(bands.good) == raw.shape[0] else np.arange(raw.shape[0])
    look = _Numbers(path, raw), raw.shape, raw.interleave, good, nodata
    if raw.shape[1] != raw.shape[2] and all(_exchanged(*look, seed) for seed in (0, 1)):
        raise _swapped(path, raw.shape)
    likely = _likely(*look) if _can_tell(raw.shape) else None
    if likely is not None:
        raise _interleaved(path, raw.interleave, likely)


def _swapped(path: Path, shape: tuple[int, int, int]) -> InputError:
    lines, samples = shape[1:]
    return InputError(
        f"{short_name(str(path))} has not the lines and samples that its header says",
        code="GS-LINES-SAMPLES",
        details=[
            f"file: {redact(str(path))}",
            f"the header says {lines} lines of {samples} samples; neighbours are alike in {samples} of {lines}",
        ],
        hint=f"correct the header: lines = {samples}, samples = {lines}",
    )


def _interleaved(path: Path, stated: str, likely: str) -> InputError:
    return InputError(
        f"{short_name(str(path))} is not interleaved as its header says",
        code="GS-INTERLEAVE",
        details=[
            f"file: {redact(str(path))}",
            f"the header says {stated}, in which neighbouring cells and bands differ far more than in {likely}",
        ],
        hint=f"correct the header: interleave = {likely}",
    )


def _can_tell(shape: tuple[int, int, int]) -> bool:
    """Whether a cube is large enough, and no order repeats itself in another."""
    bands, rows, cols = shape
    if bands < _LEAST_BANDS or min(rows, cols) < _LEAST_EDGE:
        return False
    return all(edge % bands and bands % edge for edge in (rows, cols))


def _exchanged(
    numbers: _Numbers, shape: tuple[int, int, int], stated: str, good: Int64, nodata: float | None, seed: int
) -> bool:
    """Whether the numbers are an image of as many lines as the header says samples, by one draw of them."""
    turned = shape[0], shape[2], shape[1]
    own, other = (_shape(numbers, edges, stated, good, nodata, seed) for edges in (shape, turned))
    if not (math.isfinite(own.lines) and own.lines > _ROUGHER * other.lines):
        return False
    if stated == "bil":  # bands lie between the lines, so that spectra too are right in one of the two only
        return _fits_better(*(_look(numbers, edges, stated, good, nodata, seed) for edges in (shape, turned)))
    # Stripes across a flat image are rough from line to line too; but the ends of their lines are no neighbours.
    return other.ends > _ROUGHER * own.ends


def _shape(
    numbers: _Numbers, shape: tuple[int, int, int], order: str, good: Int64, nodata: float | None, seed: int
) -> _Shape:
    """Mean differences of neighbours; infinite where nothing is known."""
    places, along = _places(shape, good, seed), np.array(_STRIDES[order](*shape))
    if places is None:
        return _Shape(math.inf, math.inf)
    start = along @ places
    last = start + (shape[2] - 1 - places[2]) * along[2]
    below = last + along[1] - (shape[2] - 1) * along[2]
    pairs = [(start, start + along[1]), (last, below)]
    values = [tuple(_values(numbers[side], nodata) for side in pair) for pair in pairs]
    known = np.concatenate([one[np.isfinite(one)] for pair in values for one in pair])
    if len(known) < _NUMBERS // 16:
        return _Shape(math.inf, math.inf)
    low, high = np.percentile(known, [1, 99])
    return _Shape(*(_mean(np.abs(np.clip(one, low, high) - np.clip(other, low, high))) for one, other in values))


def _likely(
    numbers: _Numbers, shape: tuple[int, int, int], stated: str, good: Int64, nodata: float | None
) -> str | None:
    """The order that the numbers have if it is not the one stated; None where that one may be right."""
    first = _other(numbers, shape, stated, good, nodata, seed=0)
    if first is None:
        return None
    return first if _other(numbers, shape, stated, good, nodata, seed=1) == first else None  # two draws must agree


def _other(
    numbers: _Numbers, shape: tuple[int, int, int], stated: str, good: Int64, nodata: float | None, seed: int
) -> str | None:
    """The order that fits the numbers much better than the stated one, by one draw of them."""
    steps = _steps(numbers, shape, stated, good, nodata, seed)
    rougher = {order: _rougher(steps, shape, stated, order) for order in _STRIDES if order != stated}
    if max(rougher.values()) < _ROUGHER:
        return None
    own = _look(numbers, shape, stated, good, nodata, seed)
    first, second = sorted(rougher, key=lambda order: rougher[order], reverse=True)
    best = first if _rougher(steps, shape, second, first) >= 1 else second
    fits = rougher[best] >= _ROUGHER and _fits_better(own, _look(numbers, shape, best, good, nodata, seed))
    return best if fits else None


def _fits_better(own: _Look | None, other: _Look | None) -> bool:
    """Whether spectra make no sense in the stated order, and do in the other."""
    if own is None or other is None or own.varied < _FLAT or own.alike > _ALIKE:
        return False
    return other.alike > own.alike + _MORE_ALIKE


def _steps(
    numbers: _Numbers, shape: tuple[int, int, int], stated: str, good: Int64, nodata: float | None, seed: int
) -> dict[int, float]:
    """Mean difference of numbers that are so many elements apart, for the steps of all orders."""
    places = _places(shape, good, seed)
    if places is None:
        return {}
    start = np.array(_STRIDES[stated](*shape)) @ places
    here = _values(numbers[start], nodata)
    known = here[np.isfinite(here)]
    if len(known) < _NUMBERS // 16:
        return {}
    low, high = np.percentile(known, [1, 99])  # a few glints or sparks would outweigh all else
    found = {}
    for step in sorted({step for strides in _STRIDES.values() for step in strides(*shape)}):
        inside = start + step < len(numbers)
        beside = _values(numbers[start[inside] + step], nodata)
        found[step] = _mean(np.abs(np.clip(beside, low, high) - np.clip(here[inside], low, high)))
    return found


def _places(shape: tuple[int, int, int], good: Int64, seed: int) -> Int64 | None:
    """Bands, rows and columns of numbers that have a next one along each; None where no band has."""
    rng = np.random.default_rng(seed)
    usable = good[good < shape[0] - 1]
    if not len(usable):
        return None
    return np.stack([rng.choice(usable, _NUMBERS), *(rng.integers(0, edge - 1, _NUMBERS) for edge in shape[1:])])


def _rougher(steps: Mapping[int, float], shape: tuple[int, int, int], one: str, other: str) -> float:
    """How many times as rough an order is as another one, along the steps that are not those of both."""
    mine, others = (set(_STRIDES[order](*shape)) for order in (one, other))
    rough, smooth = (
        max((steps.get(step, 0.0) for step in part), default=0.0) for part in (mine - others, others - mine)
    )
    return rough / smooth if smooth > 0 and math.isfinite(smooth) else 0.0


def _look(
    numbers: _Numbers, shape: tuple[int, int, int], order: str, good: Int64, nodata: float | None, seed: int
) -> _Look | None:
    """How much spectra of cells far apart have in common, and how much they vary; None without data."""
    rng = np.random.default_rng(seed)
    along = _STRIDES[order](*shape)
    if len(good) < _LEAST_BANDS // 2:
        return None
    chosen = np.unique(good[np.linspace(0, len(good) - 1, _BANDS).round().astype(int)])
    rows, cols = (rng.integers(0, edge, _CELLS) for edge in shape[1:])
    spectra = _values(numbers[(rows * along[1] + cols * along[2])[:, np.newaxis] + chosen * along[0]], nodata)
    known = spectra[np.isfinite(spectra)]
    usual = float(np.abs(known - rng.permutation(known)).mean()) if known.size else 0.0
    # In a wrong order the gaps of an image lie all over the spectra.
    spectra = spectra[np.isfinite(spectra).mean(axis=1) > 0.5]
    if usual == 0 or len(spectra) < _LEAST_CELLS:
        return None
    return _Look(_alike(spectra), float(np.median(np.nanstd(spectra, axis=1))) / usual)


def _values(stored: NDArray[Any], nodata: float | None) -> Float64:
    with np.errstate(invalid="ignore"):  # numbers of another kind than the header says may be any
        values = stored.astype(np.float64)
    if nodata is not None:
        values[values == nodata] = np.nan
    return values


def _mean(steps: Float64) -> float:
    """Mean of what is known; infinite where nothing is."""
    known = steps[np.isfinite(steps)]
    return float(known.mean()) if known.size else math.inf


def _alike(spectra: Float64) -> float:
    """Median correlation of two of the spectra, which may have gaps; 1 where one has no shape."""
    centred = np.nan_to_num(spectra - np.nanmean(spectra, axis=1, keepdims=True))
    size = np.sqrt((centred**2).sum(axis=1))
    if not size.all():
        return 1.0
    centred /= size[:, np.newaxis]
    return float(np.median((centred @ centred.T)[np.triu_indices(len(centred), 1)]))
