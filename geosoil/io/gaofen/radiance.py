"""Windows of radiance from the stored numbers of both detectors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.io.rasterfile import RasterFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Int64

__all__ = ["DetectorImage", "Radiance"]

# Bands that are looked at together where few are wanted and a pixel may have no data.
_GROUP = 32


@dataclass(frozen=True)
class DetectorImage:
    """The image of one detector, and how its numbers become radiance.

    Attributes
    ----------
    file : RasterFile
        The image in sensor geometry.
    gains, offsets : tuple of float
        Radiance = gain x stored number + offset, one of each a band of the file.
    """

    file: RasterFile
    gains: tuple[float, ...] = field(repr=False)
    offsets: tuple[float, ...] = field(repr=False)

    def read_into(
        self, out: Float32, places: Int64, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]
    ) -> None:
        """Fill ``out[places]`` with the radiance of these bands, by one windowed read of the file."""
        stored, mask = self.file.read_stored((bands + 1).tolist(), rows, cols)
        for source, place, band in zip(stored, places, bands, strict=True):
            self._calibrate(source, out[place], int(band))
        blank = self._blank(stored, bands, rows, cols)
        if mask is not None:
            blank |= (mask == 0).any(axis=0)
        gaps = np.flatnonzero(blank)
        if len(gaps):
            for place in places:
                out[place].reshape(-1)[gaps] = np.nan

    def _calibrate(self, stored: NDArray[Any], out: Float32, band: int) -> None:
        # NumPy converts the integers in small pieces on the way: no copy of the window in between.
        np.multiply(stored, np.float32(self.gains[band]), out=out, casting="same_kind")
        if self.offsets[band] != 0.0:
            out += np.float32(self.offsets[band])
        nodata = self.file.formats[band].nodata
        if nodata:  # a declared 0 counts only where all bands have it, as in files that declare nothing
            out[stored == nodata] = np.nan

    def _blank(self, stored: NDArray[Any], bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Bool:
        """Pixels that are 0 in all bands of the detector, wanted or not: the bands at hand decide nearly all."""
        blank = _all_zero(stored)
        rest = np.setdiff1d(np.arange(len(self.gains)), bands)
        for first in range(0, len(rest), _GROUP):
            if not blank.any():
                break
            top, bottom = _span(blank, axis=1)
            left, right = _span(blank, axis=0)
            group = (rest[first : first + _GROUP] + 1).tolist()
            window = (rows[0] + top, rows[0] + bottom), (cols[0] + left, cols[0] + right)
            blank[top:bottom, left:right] &= _all_zero(self.file.read_stored(group, *window)[0])
        return blank


def _all_zero(stored: NDArray[Any]) -> Bool:
    empty: Bool = np.bitwise_or.reduce(stored, axis=0) == 0
    return empty


def _span(flags: Bool, axis: int) -> tuple[int, int]:
    """First and one past the last row or column in which something is set."""
    places = np.flatnonzero(flags.any(axis=axis))
    return int(places[0]), int(places[-1]) + 1


@dataclass(frozen=True)
class Radiance:
    """Windows of radiance, W m-2 sr-1 um-1, float32; NaN where a detector has no data. A ``types.WindowReader``.

    Attributes
    ----------
    images : tuple of DetectorImage
        VN, then SW.
    chosen : tuple of int
        The bands that it offers, counted through both images from 0.
    """

    images: tuple[DetectorImage, ...]
    chosen: tuple[int, ...]

    @classmethod
    def of(cls, images: tuple[DetectorImage, ...]) -> Radiance:
        """All bands of the images."""
        return cls(images, tuple(range(sum(len(image.gains) for image in images))))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        files = tuple((image.file.__dask_tokenize__(), image.gains, image.offsets) for image in self.images)
        return ("geosoil.Radiance", files, self.chosen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, lines, samples."""
        lines, samples = self.images[0].file.geobox.shape
        return len(self.chosen), int(lines), int(samples)

    def take(self, positions: list[int]) -> Radiance:
        """The reader of some of the bands, in the order given."""
        return replace(self, chosen=tuple(self.chosen[place] for place in positions))

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """The window of the given bands; one windowed read a detector.

        Raises
        ------
        InputError
            ``GS-RASTER-READ`` with file, bands and window.
        """
        wanted = np.asarray(self.chosen, np.int64)[np.asarray(bands, np.int64)]
        out = np.empty((len(wanted), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
        first = 0
        for image in self.images:
            places = np.flatnonzero((wanted >= first) & (wanted < first + len(image.gains)))
            if len(places):
                image.read_into(out, places, wanted[places] - first, rows, cols)
            first += len(image.gains)
        return out
