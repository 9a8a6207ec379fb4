"""From radiance to reflectance: at the top of the atmosphere by physics, and by what a scene or the field offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.sun import solar_irradiance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float32, Float64

__all__ = [
    "HIGHEST_ZENITH",
    "BandLines",
    "dark_object",
    "day_of_year",
    "empirical_line",
    "flat_field",
    "sun_distance",
    "toa_reflectance",
]

#: Sun lower than this: the plane-parallel formula and the light on the ground mean nothing, degrees from the zenith.
HIGHEST_ZENITH = 85.0
#: Scattering that dark objects show ends about here, nm.
_DARK_LIMIT = 1000.0


@dataclass(frozen=True)
class BandLines:
    """A straight line a band: value = gain x value + offset.

    Attributes
    ----------
    method : str
        How the lines were found, for the record of what was done.
    gain, offset : (p,) float64
    """

    method: str
    gain: Float64
    offset: Float64

    def __call__(self, values: Float32) -> Float32:
        """Apply to ``(p, ...)`` values; NaN stays."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        found = values * self.gain.astype(np.float32).reshape(shape)
        found += self.offset.astype(np.float32).reshape(shape)
        return found


def day_of_year(acquired: str | date) -> int:
    """Day of the year, 1 to 366, of an ISO 8601 time or date.

    Raises
    ------
    InputError
        ``GS-ACQUIRED``: the text is no date.

    >>> day_of_year("2022-12-08T11:25:30")
    342
    """
    if isinstance(acquired, date):
        return acquired.timetuple().tm_yday
    try:
        return datetime.fromisoformat(acquired.strip()).timetuple().tm_yday
    except ValueError:
        raise InputError(
            f"the time of acquisition is no date: {acquired!r}"[:90],
            code="GS-ACQUIRED",
            hint="write it as 2022-12-08 or 2022-12-08T11:25:30",
        ) from None


def sun_distance(day: int) -> float:
    """Distance of the sun in astronomical units: d = 1 - 0.01672 cos(0.9856 deg (day - 4)).

    Parameters
    ----------
    day : int
        Day of the year.

    >>> round(sun_distance(4), 5), round(sun_distance(186), 5)
    (0.98328, 1.01672)
    """
    return float(1.0 - 0.01672 * np.cos(np.deg2rad(0.9856 * (day - 4))))


def toa_reflectance(
    wavelength_nm: ArrayLike,
    fwhm_nm: ArrayLike,
    *,
    sun_zenith_deg: float | None,
    day: int,
    told: Sequence[str] = (),
) -> BandLines:
    """Radiance to reflectance at the top of the atmosphere: rho = pi L d^2 / (E0 cos SZA).

    It is the reflectance of the ground seen through the air, and no substitute for that of the ground itself.

    Parameters
    ----------
    wavelength_nm, fwhm_nm : (p,) array
    sun_zenith_deg : float or None
        Angle of the sun from the zenith.
    day : int
        Day of the year.
    told : sequence of str
        Where the angle is from, or why it is not known, for the error that refuses it.

    Returns
    -------
    BandLines
        For radiance in W m-2 sr-1 um-1.

    Raises
    ------
    InputError
        ``GS-SUN-ZENITH``: the angle is missing or not 0 to `HIGHEST_ZENITH`; and those of `solar_irradiance`.

    >>> lines = toa_reflectance([550.0], [10.0], sun_zenith_deg=60.0, day=94)
    >>> lines.gain.round(5).tolist()
    [0.00337]
    """
    cosine = np.cos(np.deg2rad(_zenith(sun_zenith_deg, told)))
    gain = np.pi * sun_distance(day) ** 2 / (solar_irradiance(wavelength_nm, fwhm_nm) * cosine)
    return BandLines("reflectance at the top of the atmosphere, E0 of ASTM G173-03", gain, np.zeros_like(gain))


def _zenith(angle: float | None, told: Sequence[str]) -> float:
    hint = "give the angle of the sun from the zenith in degrees: --sun-zenith 42.5"
    if angle is None or not np.isfinite(angle):
        raise InputError(
            "the sun's zenith angle is not known",
            code="GS-SUN-ZENITH",
            details=told or ["no angle was given"],
            hint=hint,
        )
    if not 0 <= angle <= HIGHEST_ZENITH:
        raise InputError(
            f"the sun's zenith angle is {angle:g} degrees",
            code="GS-SUN-ZENITH",
            details=[*told, f"expected: 0 to {HIGHEST_ZENITH:g}; a lower sun gives no reflectance"],
            hint=hint,
        )
    return angle


def dark_object(values: Float32, wavelength_nm: ArrayLike, *, percentile: float = 1.0) -> BandLines:
    """Empirical: take the darkest cells of each band below 1000 nm as black (Chavez 1988).

    Parameters
    ----------
    values : (p, ...) float32
        Radiance or reflectance, of the scene or a sample of its cells; NaN where there is none.
    wavelength_nm : (p,) array
    percentile : float
        Which of the values is the dark object, %.

    Raises
    ------
    UsageError
        ``GS-RADIOMETRY``.
    """
    if not 0 <= percentile <= 50:
        raise UsageError(f"percentile {percentile:g} is no dark object; take 0 to 50", code="GS-RADIOMETRY")
    nm = np.asarray(wavelength_nm, np.float64)
    cells = values.reshape(len(values), -1)
    dark = np.array(
        [_percentile(one, percentile) if at < _DARK_LIMIT else 0.0 for one, at in zip(cells, nm, strict=True)]
    )
    return BandLines(
        f"empirical: dark object, percentile {percentile:g} below {_DARK_LIMIT:g} nm", np.ones_like(dark), -dark
    )


def _percentile(values: Float32, percentile: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, percentile)) if finite.size else 0.0


def flat_field(reference: ArrayLike, *, scene_mean: bool = False) -> BandLines:
    """Empirical: divide by the spectrum of a bright and flat field, or of the whole scene (IARR).

    The result is relative: features of the reference itself are lost from all spectra.

    Parameters
    ----------
    reference : (p,) array
        Mean spectrum of the field.
    scene_mean : bool
        Whether it is that of the scene (internal average relative reflectance), for the record.

    Raises
    ------
    InputError
        ``GS-RADIOMETRY``: the reference is not above 0 everywhere.
    """
    mean = np.asarray(reference, np.float64)
    if not (mean > 0).all():
        raise InputError(
            f"{int((~(mean > 0)).sum())} of {mean.size} bands of the reference are not above 0",
            code="GS-RADIOMETRY",
            hint="leave those bands out, or choose a brighter field",
        )
    method = "internal average relative reflectance (IARR)" if scene_mean else "flat field"
    return BandLines(f"empirical: {method}, relative values", 1.0 / mean, np.zeros_like(mean))


def empirical_line(scene: ArrayLike, field: ArrayLike) -> BandLines:
    """Empirical: the line through field spectra of places in the scene; the best of the empirical ways.

    Parameters
    ----------
    scene, field : (n, p) array
        Spectra of the scene, and reflectance measured in the field, of the same n >= 2 places.

    Raises
    ------
    InputError
        ``GS-RADIOMETRY``: fewer than two places, or places of equal brightness in a band.

    >>> lines = empirical_line([[10.0], [30.0]], [[0.1], [0.5]])
    >>> lines.gain.round(6).tolist(), lines.offset.round(6).tolist()
    ([0.02], [-0.1])
    """
    x, y = np.asarray(scene, np.float64), np.asarray(field, np.float64)
    if x.ndim != 2 or x.shape != y.shape or len(x) < 2:
        raise InputError(
            "an empirical line wants the same two or more places in the scene and in the field",
            code="GS-RADIOMETRY",
            details=[f"scene: {x.shape}, field: {y.shape} (places, bands)"],
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("spectra for the empirical line have gaps", code="GS-RADIOMETRY", hint="leave those bands out")
    centred = x - x.mean(axis=0)
    spread = (centred**2).sum(axis=0)
    flat = spread <= 1e-10 * np.maximum((x**2).sum(axis=0), 1e-30)
    if flat.any():
        raise InputError(
            f"the places are equally bright in {int(flat.sum())} of {x.shape[1]} bands",
            code="GS-RADIOMETRY",
            hint="add a darker or a brighter place",
        )
    gain = (centred * (y - y.mean(axis=0))).sum(axis=0) / spread
    return BandLines(f"empirical: line through {len(x)} field spectra", gain, y.mean(axis=0) - gain * x.mean(axis=0))
