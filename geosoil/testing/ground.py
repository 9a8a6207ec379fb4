"""What a made landscape holds at a set of points, and the spectra that its surface has there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import spectra

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Bool, Float32, Float64

__all__ = ["Ground", "Surface"]


@dataclass(frozen=True, slots=True)
class Ground:
    """The truth at a set of points; all arrays have one shape, but `members` and `weights` one axis more.

    Attributes
    ----------
    x, y : float64
        Places, m.
    elevation : float64
        Height, m.
    east_slope, north_slope : float64
        Rise to the east and to the north, m/m.
    valley : float64
        How much of a valley a place is, 0 to 1.
    members, weights : int16, float64
        Which measured soils are mixed there, and their shares.
    som, arsenic, copper : float64
        Organic matter, g/kg; arsenic and copper, mg/kg.
    brightness : float64
        Reflectance of the surface as a factor of that of the soil in the laboratory.
    moisture : float64
        Wetness of the surface, 0 to about 1.
    green, dry : float64
        Shares of green and dry vegetation.
    lake : bool
        Open water.
    cloud, thin_cloud, shadow : float64
        Opacity of the clouds, and darkness of the thick cloud's shadow, 0 to 1.
    """

    x: Float64
    y: Float64
    elevation: Float64
    east_slope: Float64
    north_slope: Float64
    valley: Float64
    members: NDArray[np.int16]
    weights: Float64
    som: Float64
    arsenic: Float64
    copper: Float64
    brightness: Float64
    moisture: Float64
    green: Float64
    dry: Float64
    lake: Bool
    cloud: Float64
    thin_cloud: Float64
    shadow: Float64

    def value(self, code: str) -> Float64:
        """A property by its code: ``som``, ``as`` or ``cu``."""
        return {"som": self.som, "as": self.arsenic, "cu": self.copper}[code]

    @property
    def bare(self) -> Bool:
        """Soil that a satellite sees: little vegetation, no water, cloud or shadow."""
        hidden = self.lake | (self.cloud > 0.02) | (self.thin_cloud > 0.02) | (self.shadow > 0.05)
        return np.asarray((self.green < 0.15) & (self.dry < 0.2) & ~hidden)

    def illumination(self, sun_zenith: float, sun_azimuth: float) -> Float64:
        """Direct light on the slope as a factor of that on flat ground; not below 0.2, for the sky's own light."""
        zenith, azimuth = np.radians(sun_zenith), np.radians(sun_azimuth)
        toward = self.east_slope * np.sin(azimuth) + self.north_slope * np.cos(azimuth)
        steep = np.sqrt(1.0 + self.east_slope**2 + self.north_slope**2)
        # A slope that rises toward the sun looks away from it.
        return np.asarray(np.maximum((1.0 - np.tan(zenith) * toward) / steep, 0.2))

    def layers(self) -> dict[str, NDArray[Any]]:
        """The truth by name, for a dataset or files."""
        names = ("elevation", "som", "green", "dry", "lake", "cloud", "thin_cloud", "shadow", "moisture", "bare")
        return {**{name: getattr(self, name) for name in names}, "as": self.arsenic, "cu": self.copper}


@dataclass(frozen=True, slots=True)
class Surface:
    """Spectra of soils and covers at given bands, and what they make of a ground.

    Attributes
    ----------
    soils : (120, bands) float32
        The measured soils.
    green, dry, water, wetting : (bands,) float32
        Covers, and how strongly water in the soil darkens it.
    """

    soils: Float32
    green: Float32
    dry: Float32
    water: Float32
    wetting: Float32

    @classmethod
    def at(cls, wavelength_nm: ArrayLike, fwhm_nm: ArrayLike) -> Surface:
        """Averages over Gaussian bands."""

        def banded(values: Float64) -> Float32:
            return spectra.at_bands(values, wavelength_nm, fwhm_nm).astype(np.float32)

        return cls(
            banded(spectra.soils().reflectance),
            banded(spectra.green_vegetation()),
            banded(spectra.dry_vegetation()),
            banded(spectra.water()),
            banded(spectra.wetting()),
        )

    def soil(self, ground: Ground) -> Float32:
        """Reflectance of the air-dry soil in the laboratory, ``(points, bands)``."""
        members = ground.members.reshape(-1, ground.members.shape[-1])
        weights = ground.weights.reshape(members.shape).astype(np.float32)
        # One product after the other, never a matrix product: its rounding may depend on how many points there are.
        total = weights[:, :1] * self.soils[members[:, 0]]
        for place in range(1, members.shape[1]):
            total += weights[:, place : place + 1] * self.soils[members[:, place]]
        return total

    def reflectance(self, ground: Ground) -> Float32:
        """Reflectance of the surface, flat and in full light, ``(points, bands)``: wet soil, vegetation, water."""

        def column(values: NDArray[Any]) -> Float32:
            return np.asarray(values, np.float32).reshape(-1, 1)

        found = self.soil(ground)
        found *= np.exp(-column(ground.moisture) * self.wetting)
        found *= column(ground.brightness * (1.0 - ground.green - ground.dry))
        found += column(ground.green) * self.green
        found += column(ground.dry) * self.dry
        wet = ground.lake.ravel()
        found[wet] = self.water
        return found
