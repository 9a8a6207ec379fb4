"""A made landscape as a push-broom sensor sees it: radiance, the instrument's faults, counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .atmosphere import Atmosphere, earth_sun_distance
from .fields import Field
from .geometry import ImageModel
from .ground import Ground, Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64

    from .landscape import Landscape
    from .sensors import Detector

__all__ = [
    "Acquisition",
    "Air",
    "Levels",
    "air_over",
    "day_of_year",
    "look_at",
    "noise_floor",
    "signal_to_noise",
    "stripes",
]

# Signal to noise of a bright pixel, and noise of the electronics in counts, by detector.
_SIGNAL = {"VN": 90.0, "SW": 50.0}
_FLOOR = 0.8
# Of the light on a slope, what a thick cloud's shadow takes away.
_SHADOW = 0.78
# Seeds of the streams of random numbers.
_STRIPES, _NOISE, _VAPOUR, _HAZE = 101, 102, 103, 104


@dataclass(frozen=True, slots=True)
class Levels:
    """How strong the disturbances are; 0 is none.

    Attributes
    ----------
    noise : float
        Random noise as a factor of the usual: signal to noise 90 (VNIR) and 50 (SWIR) where it is bright.
    striping : float
        Standard deviation of the columns' gain, as a share.
    splice : float
        By how much the VNIR detector reads more than the SWIR one, as a share.
    vapour : float
        Standard deviation of the gases' column over the scene, as a share.
    haze : float
        Standard deviation of the path radiance over the scene, as a share.
    relief : float
        Share of the slopes' shading that is there.
    """

    noise: float = 1.0
    striping: float = 0.02
    splice: float = 0.04
    vapour: float = 0.06
    haze: float = 0.15
    relief: float = 1.0

    @classmethod
    def none(cls) -> Levels:
        """No disturbance at all."""
        return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Air:
    """What lies between sun, ground and sensor, a value a point, float32: see `Atmosphere.radiance`."""

    light: Float32
    vapour: Float32
    cloud: Float32
    cirrus: Float32
    haze: Float32


def air_over(landscape: Landscape, ground: Ground, levels: Levels) -> Air:
    """Light, gases, clouds and haze over each point of a ground, flattened."""

    def flat(values: Float64) -> Float32:
        return np.asarray(values, np.float32).ravel()

    def field(stream: int, spread: float) -> Float64:
        if spread == 0.0:
            return np.zeros(np.shape(ground.x))
        return spread * Field((landscape.seed, stream), 5.0 * landscape.scale, 3).at(ground.x, ground.y)

    slopes = ground.illumination(landscape.sun_zenith, landscape.sun_azimuth)
    light = (1.0 + levels.relief * (slopes - 1.0)) * (1.0 - _SHADOW * ground.shadow)
    return Air(
        flat(light),
        flat(field(_VAPOUR, levels.vapour)),
        flat(ground.cloud),
        flat(ground.thin_cloud),
        flat(np.maximum(field(_HAZE, levels.haze), -0.9)),
    )


def day_of_year(day: str) -> int:
    """Number of a day ``YYYY-MM-DD`` in its year."""
    return datetime.fromisoformat(day).timetuple().tm_yday


def look_at(landscape: Landscape, shape: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> ImageModel:
    """The image of some lines and samples that has a landscape's middle in its own."""
    x, y = landscape.place(0.5, 0.5)
    height = float(landscape.elevation(np.array([x]), np.array([y]))[0])
    return ImageModel(shape, x, y, round(height), landscape.resolution, shift=shift)


def noise_floor(detector: Detector) -> Float64:
    """Noise of the electronics, W m-2 sr-1 um-1: grows with the gain; where the gain collapses it stays."""
    usual = np.array([np.median(detector.gain[max(at - 20, 0) : at + 21]) for at in range(len(detector))])
    return np.asarray(_FLOOR * np.maximum(detector.gain, usual))


def signal_to_noise(detector: Detector) -> float:
    """Of a bright pixel."""
    return _SIGNAL[detector.label]


def stripes(detector: Detector, samples: int, seed: int) -> tuple[Float32, Float32]:
    """Relative gains and additive faults of the columns, ``(samples, bands)``, standard deviation about 1.

    Neighbouring bands share a part. The blue end and the SWIR have the most.
    """
    rng = np.random.default_rng((seed, _STRIPES, len(detector)))
    shared = rng.standard_normal((samples, 1))
    own = rng.standard_normal((samples, len(detector)))
    blue = 1.8 * np.exp(-(detector.wavelength_nm - 390.0) / 60.0)
    amount = 0.6 + blue if detector.label == "VN" else np.full(len(detector), 1.25)
    gain = amount * (0.6 * shared + 0.8 * own)
    return gain.astype(np.float32), rng.standard_normal((samples, len(detector))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A landscape seen by two detectors.

    Attributes
    ----------
    landscape : Landscape
    detectors : (Detector, Detector)
        VNIR and SWIR.
    models : (ImageModel, ImageModel)
        Where each detector's pixels look.
    levels : Levels
        How strong the disturbances are.
    day_of_year : int
        For the distance from the sun.
    """

    landscape: Landscape
    detectors: tuple[Detector, Detector]
    models: tuple[ImageModel, ImageModel]
    levels: Levels
    day_of_year: int

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""
        return self.models[0].shape

    def ground(self, lines: tuple[int, int] | None = None, detector: int = 0) -> Ground:
        """The ground that the pixels of some lines look at (first, and one past the last); by default all lines."""
        model = self.models[detector]
        first, last = lines or (0, model.shape[0])
        line, sample = np.meshgrid(
            np.arange(first, last, dtype=float), np.arange(model.shape[1], dtype=float), indexing="ij"
        )
        return self.landscape.ground(*model.ground(line, sample, self.landscape.elevation))

    def optics(self, detector: int) -> tuple[Surface, Atmosphere]:
        """Spectra of the surface and the atmosphere at a detector's bands; computed once."""
        sensor = self.detectors[detector]
        bands = tuple(sensor.wavelength_nm.tolist()), tuple(sensor.fwhm_nm.tolist())
        return _optics(*bands, self.landscape.sun_zenith, self.day_of_year)

    def grounds(self, lines: tuple[int, int]) -> tuple[Ground, Ground]:
        """The ground under either detector; one and the same where both look at the same places."""
        first = self.ground(lines)
        return first, first if self.models[1] == self.models[0] else self.ground(lines, 1)

    def clean_radiance(self, ground: Ground, detector: int) -> Float32:
        """Radiance that reaches the sensor, ``(points, bands)``, W m-2 sr-1 um-1."""
        surface, atmosphere = self.optics(detector)
        air = air_over(self.landscape, ground, self.levels)
        return atmosphere.radiance(surface.reflectance(ground), air.light, air.vapour, air.cloud, air.cirrus, air.haze)

    def measured_radiance(self, ground: Ground, detector: int, lines: tuple[int, int]) -> Float32:
        """Radiance with the instrument's faults; `ground` is that of these lines."""
        found = self.clean_radiance(ground, detector)
        if detector == 0:
            found *= np.float32(1.0 + self.levels.splice)
        sensor, samples = self.detectors[detector], self.shape[1]
        floor = noise_floor(sensor).astype(np.float32)
        image = found.reshape(lines[1] - lines[0], samples, len(sensor))
        if self.levels.striping > 0:
            gain, dark = stripes(sensor, samples, self.landscape.seed)
            image *= np.float32(1.0) + np.float32(self.levels.striping) * gain
            image += np.float32(60.0 * self.levels.striping) * floor * dark
        if self.levels.noise > 0:
            self._add_noise(image, detector, lines[0], floor)
        return found

    def _add_noise(self, image: Float32, detector: int, first: int, floor: Float32) -> None:
        """Line by line, each with its own stream, so that no cut into strips changes a value."""
        level = np.float32(self.levels.noise)
        share = np.float32(self.levels.noise / _SIGNAL[self.detectors[detector].label])
        for place, line in enumerate(image):
            rng = np.random.default_rng((self.landscape.seed, _NOISE, detector, first + place))
            noise = rng.standard_normal(line.shape, np.float32)
            noise *= level * floor + share * np.abs(line)
            line += noise

    def counts(self, ground: Ground, detector: int, lines: tuple[int, int], dtype: str) -> NDArray[Any]:
        """What the detector delivers, ``(bands, lines, samples)``; at least 1, since 0 stands for no data."""
        sensor = self.detectors[detector]
        found = self.measured_radiance(ground, detector, lines)
        found -= sensor.offset.astype(np.float32)
        found /= sensor.gain.astype(np.float32)
        np.rint(found, out=found)
        np.clip(found, 1, np.iinfo(dtype).max, out=found)
        image = found.reshape(lines[1] - lines[0], self.shape[1], len(sensor))
        return np.ascontiguousarray(np.moveaxis(image.astype(dtype), 2, 0))


# Kept while strip after strip is computed; keyed by what they depend on, since arrays in a detector cannot be.
@cache
def _optics(
    wavelength: tuple[float, ...], fwhm: tuple[float, ...], zenith: float, day: int
) -> tuple[Surface, Atmosphere]:
    centres, widths = np.array(wavelength), np.array(fwhm)
    return Surface.at(centres, widths), Atmosphere.at(
        centres, widths, sun_zenith=zenith, distance=earth_sun_distance(day)
    )
