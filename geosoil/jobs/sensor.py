"""The steps of a calibration in sensor geometry: stripes, splice and reflectance, strip of lines by strip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.io.gaofen import Product
from geosoil.io.staging import Staged, Staging
from geosoil.prep.destripe import Destriper, StripeFit
from geosoil.prep.radiometry import BandLines
from geosoil.prep.splice import Splice, SpliceCounts
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Bool, Float32, Float64

__all__ = ["Chain", "Seen", "detector_bands", "measure_stripes", "strip_lines"]

#: Copies of a strip that are held at a time: read, corrected, and what is on its way.
_COPIES = 4
#: Most lines of a strip: longer ones are not faster.
_MOST_LINES = 64


def detector_bands(product: Product) -> tuple[list[int], list[int]]:
    """Positions of the bands of either detector."""
    first = len(product.detectors[0])
    return list(range(first)), list(range(first, first + len(product.detectors[1])))


def strip_lines(shape: tuple[int, int, int], most_bytes: int) -> int:
    """Lines of a strip that fit in so many bytes."""
    bands, _, samples = shape
    return max(1, min(_MOST_LINES, most_bytes // (_COPIES * bands * samples * 4)))


def _strips(lines: int, step: int) -> Iterator[tuple[int, int]]:
    for first in range(0, lines, step):
        yield first, min(first + step, lines)


def measure_stripes(product: Product, step: int, progress: Progress = quiet) -> tuple[Destriper, ...]:
    """Stripes of each detector, from one pass over its lines."""
    _, lines, samples = product.shape
    found = []
    for number, places in enumerate(detector_bands(product)):
        reader = product.reader.take(places)
        fit = StripeFit(len(places), lines, samples)
        wanted = np.arange(len(places))
        for first, last in _strips(lines, step):
            fit.add(reader.read(wanted, (first, last), (0, samples)))
            progress(number * lines + last, 2 * lines, "measuring stripes")
        found.append(fit.fit())
    return tuple(found)


@dataclass
class Seen:
    """What showed while the lines went by.

    Attributes
    ----------
    lowest, highest : (p,) float64
        Of each band; infinite where it holds nothing.
    splice : SpliceCounts or None
    """

    lowest: Float64
    highest: Float64
    splice: SpliceCounts | None = None

    def add(self, values: Float32) -> None:
        """Count in the lowest and highest of a strip."""
        with np.errstate(invalid="ignore"):
            known = np.isfinite(values)
            flat = np.where(known, values, np.inf).min(axis=(1, 2)), np.where(known, values, -np.inf).max(axis=(1, 2))
        self.lowest, self.highest = np.minimum(self.lowest, flat[0]), np.maximum(self.highest, flat[1])

    @property
    def empty(self) -> Bool:
        """Bands without any value."""
        return np.asarray(~np.isfinite(self.highest))

    @property
    def constant(self) -> Bool:
        """Bands of one value."""
        return np.asarray(self.highest == self.lowest)


@dataclass(frozen=True)
class Chain:
    """What is done to the radiance of a product, in this order.

    Attributes
    ----------
    product : Product
    stripes : tuple of Destriper
        One a detector; none for no destriping.
    splice : Splice or None
    lines : BandLines or None
        Radiance to reflectance.
    """

    product: Product
    stripes: tuple[Destriper, ...] = ()
    splice: Splice | None = None
    lines: BandLines | None = None

    def run(self, path: Path, step: int, progress: Progress = quiet) -> tuple[Staged, Seen]:
        """Send all lines through, into a plain file; also tells what showed on the way."""
        bands, lines, samples = self.product.shape
        seen = Seen(np.full(bands, np.inf), np.full(bands, -np.inf), SpliceCounts() if self.splice else None)
        with Staging(path, self.product.shape) as staging:
            for first, last in _strips(lines, step):
                values = self.product.reader.read(np.arange(bands), (first, last), (0, samples))
                staging.write(first, self._through(values, seen))
                progress(last, lines, "calibrating")
            return staging.finish(), seen

    def _through(self, values: Float32, seen: Seen) -> Float32:
        seen.add(values)
        for places, destriper in zip(detector_bands(self.product), self.stripes, strict=False):
            part = slice(places[0], places[-1] + 1)
            values[part] = destriper(values[part])
        if self.splice is not None:
            self.splice(values, seen.splice)
        if self.lines is not None:
            # Band by band, in place: a second copy of all bands is not needed.
            for place, (gain, offset) in enumerate(zip(self.lines.gain, self.lines.offset, strict=True)):
                values[place] *= np.float32(gain)
                if offset:
                    values[place] += np.float32(offset)
        return values

    def striping(self) -> dict[str, Any]:
        """By detector, median over its bands of the stripes before, and of what is left, as shares of the level."""
        return {
            detector.label: {
                "before": float(np.median(one.striping)),
                "left": float(np.median(one.left)),
            }
            for detector, one in zip(self.product.detectors, self.stripes, strict=False)
        }
