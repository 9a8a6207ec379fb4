"""Reflectance of soils (measured, in soils.npz beside) and of what else a scene holds (made), at any bands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm, rankdata

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64

__all__ = ["GRID", "Soils", "at_bands", "cloud", "dry_vegetation", "green_vegetation", "soils", "water", "wetting"]

#: Wavelengths on which the spectra below are given, nm. The measured ones end at 2500 and go on straight.
GRID = np.arange(350.0, 2541.0)
# Widest part of a band's response that counts, in standard deviations.
_REACH = 4.0
# Carbon to organic matter, the usual factor of van Bemmelen.
VAN_BEMMELEN = 1.724


@dataclass(frozen=True, slots=True)
class Soils:
    """Measured soils.

    Attributes
    ----------
    reflectance : (120, 2191) float64
        Reflectance, 0 to 1, at `GRID`.
    som : (120,) float64
        Organic matter, g/kg: 1.724 times the measured carbon.
    clay : (120,) float64
        Clay, %.
    iron_band, clay_band : (120,) float64
        Depths of the iron oxides' band near 900 nm and of the clay minerals' at 2205 nm under their continua.
    """

    reflectance: Float64
    som: Float64
    clay: Float64
    iron_band: Float64
    clay_band: Float64

    def scores(self) -> Float64:
        """Normal scores of organic matter and the two bands, ``(120, 3)``: ranks put on the normal distribution."""
        ranks = np.stack([rankdata(values) for values in (self.som, self.iron_band, self.clay_band)], axis=1)
        return np.asarray(norm.ppf((ranks - 0.5) / len(ranks)))


@cache
def soils() -> Soils:
    """The soils that come with the package.

    >>> found = soils()
    >>> found.reflectance.shape, round(float(np.median(found.som)), 1)
    ((120, 2191), 8.4)
    """
    with as_file(files("geosoil.testing") / "soils.npz") as path, np.load(path, allow_pickle=False) as data:
        wavelength = data["wavelength_nm"].astype(np.float64)
        measured = data["reflectance"] / 10_000.0
        som = 10.0 * VAN_BEMMELEN * data["carbon_percent"].astype(np.float64)
        clay = data["clay_percent"].astype(np.float64)
    last = wavelength[-1]
    slope = (measured[:, -1] - measured[:, -11]) / (last - wavelength[-11])
    beyond = last < GRID
    reflectance = np.stack([np.interp(GRID, wavelength, spectrum) for spectrum in measured])
    reflectance[:, beyond] += slope[:, np.newaxis] * (GRID[beyond] - last)
    iron_band, clay_band = _depth(reflectance, 760.0, 900.0, 1050.0), _depth(reflectance, 2130.0, 2205.0, 2265.0)
    return Soils(reflectance, som, clay, iron_band, clay_band)


def _depth(reflectance: Float64, left: float, centre: float, right: float) -> Float64:
    """Depth of a band below the straight line between its shoulders, as a share."""
    low, middle, high = (reflectance[:, int(nm - GRID[0])] for nm in (left, centre, right))
    line = low + (high - low) * (centre - left) / (right - left)
    return np.asarray(1.0 - middle / line)


def at_bands(spectra: Float64, wavelength_nm: ArrayLike, fwhm_nm: ArrayLike) -> Float64:
    """Spectra on `GRID` averaged over Gaussian bands.

    Parameters
    ----------
    spectra : (..., 2191) float
        Any quantity at `GRID`.
    wavelength_nm, fwhm_nm : (bands,) float
        Centres, and widths at half of the maximum, nm.

    Returns
    -------
    (..., bands) float64

    >>> at_bands(GRID, [700.0], [8.5]).round(6).tolist()
    [700.0]
    """
    centre, fwhm = np.broadcast_arrays(np.asarray(wavelength_nm, np.float64), np.asarray(fwhm_nm, np.float64))
    spread = np.maximum(fwhm, 1.0)[:, np.newaxis] / (2.0 * np.sqrt(2.0 * np.log(2.0)))
    offset = (GRID - centre[:, np.newaxis]) / spread
    response = np.where(np.abs(offset) < _REACH, np.exp(-0.5 * offset**2), 0.0)
    return np.asarray(spectra @ (response / response.sum(axis=1, keepdims=True)).T)


def _dip(centre: float, width: float, depth: float) -> Float64:
    return np.asarray(depth * np.exp(-0.5 * ((GRID - centre) / width) ** 2))


def _rise(centre: float, width: float) -> Float64:
    """From 0 to 1 over a width about a wavelength."""
    return np.asarray(1.0 / (1.0 + np.exp(-(GRID - centre) / width)))


def wetting() -> Float64:
    """How strongly liquid water in a soil darkens it at `GRID`, 1 at its deepest band; taken in an exponential."""
    bands = _dip(970, 35, 0.05) + _dip(1190, 40, 0.12) + _dip(1455, 55, 0.62) + _dip(1935, 60, 0.85)
    return np.asarray(0.15 + bands + 0.35 * _rise(2450, 90))


def green_vegetation() -> Float64:
    """A dense green canopy: pigments, red edge at 715 nm, water bands."""
    leaf = 0.035 + 0.055 * np.exp(-0.5 * ((GRID - 553) / 32) ** 2) + 0.44 * _rise(716, 11)
    water = (
        _dip(975, 35, 0.12) + _dip(1195, 45, 0.3) + _dip(1450, 75, 1.35) + _dip(1935, 90, 2.0) + 1.7 * _rise(2560, 180)
    )
    return np.asarray(leaf * np.exp(-water - 0.9 * _rise(1300, 80)))


def dry_vegetation() -> Float64:
    """Straw: a long rise, cellulose and lignin at 2100 and 2300 nm, little water."""
    rise = 0.06 + 0.42 * (1.0 - np.exp(-np.maximum(GRID - 400, 0) / 420))
    bands = _dip(1470, 60, 0.18) + _dip(1725, 25, 0.05) + _dip(1930, 55, 0.22) + _dip(2100, 45, 0.27)
    return np.asarray(rise * np.exp(-bands - _dip(2300, 45, 0.25) - 0.5 * _rise(2420, 60)))


def water() -> Float64:
    """A turbid lake: some light back below 700 nm, none beyond 900."""
    return np.asarray(0.004 + 0.065 * np.exp(-0.5 * ((GRID - 565) / 75) ** 2) + 0.03 * (1 - _rise(690, 25)))


def cloud() -> Float64:
    """A thick cloud: bright and even, absorption of ice and water at 1500 and 2000 nm."""
    return np.asarray(0.8 * np.exp(-_dip(1500, 70, 0.65) - _dip(2020, 90, 1.0) - 0.35 * _rise(1350, 120)))
