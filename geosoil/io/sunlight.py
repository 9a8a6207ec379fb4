"""Whether numbers are those of sunlight, as radiance and counts are: they fall with wavelength, and bear its lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.sun import solar_irradiance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

__all__ = ["LONG_NM", "SHORT_NM", "VISIBLE_NM", "falls_like_sunlight", "nearest", "solar_lines"]

#: Bands that are compared, nm: windows of the air in which one detector of common sensors measures both. The sun gives
#: 0.18 times as much at the second (ASTM G173-03).
SHORT_NM, LONG_NM = 1245.0, 2210.0
#: How near bands have to be to these, nm.
_NEAR_NM = 40.0
#: Cells darker than this share of the bright ones at `SHORT_NM` are shadow and water, whose ratio is noise.
_DARK = 0.25
#: Ratio that the upper twentieth of the cells has at least in reflectance. On real cubes it was 0.10 to 0.24 in
#: radiance of 16 kinds of crops, grass and forest, and 0.52 to 0.94 in reflectance of forest to roofs.
_LEAST = 0.3
#: Fewest cells that tell.
_FEWEST = 50
#: Where lines of the sun are told from soils, plants, the air and the first bands of a detector, whose gains fall
#: steeply, nm: without the red edge, oxygen and water.
VISIBLE_NM = (430.0, 680.0)
#: Bands narrow and near enough to show lines, nm; the width of what is taken off as smooth; and fewest bands.
_NARROW_NM, _APART_NM, _SMOOTH_NM, _LINES = 15.0, 12.0, 40.0, 20
#: Slopes of the spectrum's lines on the sun's up to which they are not there, and from which on they are, if they
#: correlate so much. Seen in radiance and counts of AVIRIS, EnMAP's
#: reflectance times sunlight, and made counts of AHSI: 0.90 to 1.20, and 0.67 to 0.75; in reflectance of EnMAP and of
#: five kinds of land cover there, and at the top of the air: -0.02 to 0.20, and 0.16 at most.
_SLOPE, _CORRELATION = (0.35, 0.5), 0.45


def nearest(wavelength_nm: Sequence[float], wanted_nm: float) -> int | None:
    """Position of the band nearest to a wavelength; None where none is near.

    >>> nearest((1200.0, 1240.0), 1245.0), nearest((500.0,), 1245.0)
    (1, None)
    """
    place = min(range(len(wavelength_nm)), key=lambda one: abs(wavelength_nm[one] - wanted_nm))
    return place if abs(wavelength_nm[place] - wanted_nm) <= _NEAR_NM else None


def falls_like_sunlight(short: NDArray[Any], long: NDArray[Any]) -> float | None:
    """The ratio of two bands in the upper twentieth of the cells, where it is that of sunlight; None where it is not.

    Green leaves hold water and are dark near 2.2 micrometres, but hardly any scene is without a road, a roof or a bare
    field; these are the upper twentieth.

    Parameters
    ----------
    short, long : (n,) array
        Values of the same cells near `SHORT_NM` and near `LONG_NM`, in one scale.

    >>> one = np.ones(100)
    >>> round(falls_like_sunlight(60 * one, 11.4 * one), 2), falls_like_sunlight(one, one)
    (0.19, None)
    """
    short, long = short.astype(np.float64), long.astype(np.float64)
    lit = short > _DARK * np.percentile(short, 95) if short.size else np.zeros(0, np.bool_)
    lit &= short > 0
    if lit.sum() < _FEWEST:
        return None
    ratio = float(np.percentile(long[lit] / short[lit], 95))
    return ratio if ratio < _LEAST else None


def solar_lines(spectrum: Float64, wavelength_nm: Float64, fwhm_nm: Float64) -> bool | None:
    """Whether the sun's own lines are in a spectrum; None where that cannot be told.

    Fraunhofer's lines near 430, 486, 517, 589 and 656 nm are a few hundredths deep in bands of 5 to 10 nm. Radiance has
    them, and so have counts, whatever the gain of each detector; in reflectance they are divided out.

    Parameters
    ----------
    spectrum, wavelength_nm, fwhm_nm : (p,) float64
        Bands within `VISIBLE_NM`, by rising wavelength; the spectrum of many cells, in any scale.
    """
    if len(spectrum) < _LINES or not (spectrum > 0).all():
        return None
    step = float(np.median(np.diff(wavelength_nm)))
    if not 0 < step <= _APART_NM or np.diff(wavelength_nm).max() > 2 * _APART_NM or fwhm_nm.max() > _NARROW_NM:
        return None
    width = 2 * round(_SMOOTH_NM / step / 2) + 1
    seen, sun = (_rough(np.log(one), width) for one in (spectrum, solar_irradiance(wavelength_nm, fwhm_nm)))
    slope = float(seen @ sun / (sun @ sun))
    if slope < _SLOPE[0]:
        return False
    return True if slope > _SLOPE[1] and float(np.corrcoef(seen, sun)[0, 1]) > _CORRELATION else None


def _rough(values: Float64, width: int) -> Float64:
    """What is left of values when their running mean is taken off, without the ends."""
    half = width // 2
    smooth = np.convolve(np.pad(values, half, mode="reflect"), np.full(width, 1 / width), "valid")
    return np.asarray((values - smooth)[2:-2])
