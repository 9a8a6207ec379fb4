"""From the reflectance of the surface to the radiance at the sensor, through a simple atmosphere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from pvlib.spectrum import get_reference_spectra
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from .spectra import GRID, at_bands, cloud

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["Atmosphere", "earth_sun_distance"]

# Air mass of the reference spectra.
_REFERENCE_MASS = 1.5
# Optical depth of aerosol at 1 um, and how it falls with wavelength (Angstrom).
_AEROSOL, _ANGSTROM = 0.07, 1.3
# Share of the scattered light that goes on toward the ground, or comes back to the sensor.
_FORWARD, _BACK = 0.62, 0.09
# Share of the absorbing gases above a thick cloud and above cirrus.
_ABOVE_CLOUD, _ABOVE_CIRRUS = 0.35, 0.12
# Least transmission that a correction can divide by.
_LEAST = 0.03


def earth_sun_distance(day_of_year: int) -> float:
    """Distance from the sun in astronomical units.

    >>> round(earth_sun_distance(4), 5), round(earth_sun_distance(186), 4)
    (0.98328, 1.0167)
    """
    return float(1.0 - 0.01672 * np.cos(np.radians(0.9856 * (day_of_year - 4))))


@cache
def _reference() -> tuple[Float64, Float64]:
    """Irradiance of the sun, W m-2 um-1, and transmission of the gases at air mass 1.5, both on `GRID` (ASTM G173)."""
    table = get_reference_spectra(standard="ASTM G173-03")
    wavelength = table.index.to_numpy(np.float64)
    sun = np.interp(GRID, wavelength, table["extraterrestrial"].to_numpy()) * 1000.0
    direct = np.interp(GRID, wavelength, (table["direct"] / table["extraterrestrial"]).to_numpy())
    clear = np.exp(-_REFERENCE_MASS * _scattering())
    ratio = direct / clear
    # What varies slowly is scattering; what dips below it is gas.
    upper = uniform_filter1d(maximum_filter1d(ratio, 160, mode="nearest"), 160, mode="nearest")
    return sun, np.clip(ratio / upper, 1e-7, 1.0)


def _scattering() -> Float64:
    """Optical depth of molecules (lambda to the power of -4.08) and aerosol."""
    micrometre = GRID / 1000.0
    return np.asarray(0.00864 * micrometre**-4.08 + _AEROSOL * micrometre**-_ANGSTROM)


@dataclass(frozen=True, slots=True)
class Atmosphere:
    """The atmosphere and the sun over a scene, at given bands.

    Attributes
    ----------
    sun : (bands,) float64
        Radiance of a white surface under no atmosphere, W m-2 sr-1 um-1.
    transmission : (bands,) float64
        Share that comes down and up again.
    vapour : (bands,) float64
        Logarithm of the gases' transmission, not below that of 3 %; times a relative change of the column, the
        relative change of the radiance.
    path : (bands,) float64
        Radiance that never met the ground, W m-2 sr-1 um-1.
    cloud, cirrus : (bands,) float64
        Radiance over an opaque cloud in the middle and in the high air.
    """

    sun: Float64
    transmission: Float64
    vapour: Float64
    path: Float64
    cloud: Float64
    cirrus: Float64

    @classmethod
    def at(cls, wavelength_nm: Float64, fwhm_nm: Float64, *, sun_zenith: float, distance: float) -> Atmosphere:
        """The atmosphere at bands, under a sun at a zenith angle [degrees] and a distance [astronomical units]."""
        cosine = np.cos(np.radians(sun_zenith))
        mass = 1.0 / cosine + 1.0
        irradiance, gas = _reference()
        # Bands average radiance, so the products are averaged, not the factors.
        white = irradiance * cosine / (np.pi * distance**2)
        gases = gas ** (mass / _REFERENCE_MASS)
        scattering = _scattering()
        through = gases * np.exp(-(1.0 - _FORWARD) * mass * scattering)
        back = white * _BACK * mass * scattering * gases**0.3

        def banded(values: Float64) -> Float64:
            return at_bands(values, wavelength_nm, fwhm_nm)

        sun = banded(white)
        return cls(
            sun=sun,
            transmission=banded(white * through) / sun,
            vapour=np.log(np.maximum(banded(white * gases) / sun, _LEAST)),
            path=banded(back),
            cloud=banded(white * cloud() * gases**_ABOVE_CLOUD),
            cirrus=banded(white * cloud() * gases**_ABOVE_CIRRUS),
        )

    def radiance(
        self, reflectance: Float32, light: Float32, vapour: Float32, cloud: Float32, cirrus: Float32, haze: Float32
    ) -> Float32:
        """Radiance at the sensor, ``(points, bands)``, W m-2 sr-1 um-1.

        Parameters
        ----------
        reflectance : (points, bands) float32
            Of the surface.
        light : (points,) float32
            Factor of the direct light: slope and shadow.
        vapour, haze : (points,) float32
            Relative change of the gases' column and of the path radiance.
        cloud, cirrus : (points,) float32
            Opacity of clouds, 0 to 1.
        """
        through = (self.sun * self.transmission).astype(np.float32)
        found = reflectance * through
        found *= light[:, np.newaxis]
        found *= 1.0 + vapour[:, np.newaxis] * self.vapour.astype(np.float32)
        found += (1.0 + haze[:, np.newaxis]) * self.path.astype(np.float32)
        for opacity, radiance in ((cirrus, self.cirrus), (cloud, self.cloud)):
            under = np.flatnonzero(opacity)
            share = opacity[under, np.newaxis]
            found[under] = found[under] * (1.0 - share) + share * radiance.astype(np.float32)
        return found
