"""A push-broom image over a landscape: where a line and a sample look, and the rational polynomials that say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyproj import Transformer

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64

__all__ = ["ImageModel", "RationalModel", "fit_rational", "rational_text"]

# Height of the orbit, m: the view opens by so much across the track.
_ORBIT = 705_000.0
# Stretch across the track and skew along it, per metre from the middle.
_STRETCH, _SKEW = 4e-8, 3e-8
# Rounds in which a ray finds the ground; slopes times the tangent of the view leave 1e-2 of the error each.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class ImageModel:
    """Lines and samples of an image taken on a descending pass, tilted a little to the side.

    Attributes
    ----------
    shape : (int, int)
        Lines and samples.
    x, y : float
        Middle of the image on the ground, m.
    height : float
        Height above which relief shifts a point outward, m.
    resolution : float
        Distance on the ground between lines and between samples, m.
    heading : float
        Direction of flight, degrees clockwise from south.
    roll : float
        View across the track in the middle, degrees from the vertical.
    shift : (float, float)
        Lines and samples by which the image lies off.
    """

    shape: tuple[int, int]
    x: float
    y: float
    height: float
    resolution: float = 30.0
    heading: float = 11.0
    roll: float = 5.0
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def _middle(self) -> tuple[float, float]:
        return (self.shape[0] - 1) / 2 + self.shift[0], (self.shape[1] - 1) / 2 + self.shift[1]

    def _lean(self, across: Float64) -> Float64:
        """Tangent of the view angle."""
        return np.asarray(np.tan(np.radians(self.roll)) + across / _ORBIT)

    def image(self, x: Float64, y: Float64, height: Float64) -> tuple[Float64, Float64]:
        """Line and sample of points on or above the ground; whole numbers are the centres of pixels."""
        cosine, sine = np.cos(np.radians(self.heading)), np.sin(np.radians(self.heading))
        across = (x - self.x) * cosine - (y - self.y) * sine
        along = -(x - self.x) * sine - (y - self.y) * cosine
        line = self._middle[0] + along / self.resolution * (1.0 + _SKEW * across)
        lean = (height - self.height) * self._lean(across)
        sample = self._middle[1] + (across * (1.0 + _STRETCH * across) + lean) / self.resolution
        return line, sample

    def ground(
        self, line: Float64, sample: Float64, elevation: Callable[[Float64, Float64], Float64]
    ) -> tuple[Float64, Float64]:
        """Where pixels look: the points of the ground that `image` puts there.

        Parameters
        ----------
        line, sample : float arrays of one shape
        elevation : callable
            Height of the ground at places, m.
        """
        cosine, sine = np.cos(np.radians(self.heading)), np.sin(np.radians(self.heading))
        wanted = (sample - self._middle[1]) * self.resolution
        across, height = wanted, np.full(np.shape(line), self.height)
        for _ in range(_ROUNDS):
            across = (wanted - (height - self.height) * self._lean(across)) / (1.0 + _STRETCH * across)
            along = (line - self._middle[0]) * self.resolution / (1.0 + _SKEW * across)
            x = self.x + across * cosine - along * sine
            y = self.y - across * sine - along * cosine
            height = elevation(x, y)
        return x, y

    def covers(self, line: Float64, sample: Float64, margin: float = -0.5) -> Bool:
        """Whether lines and samples lie in the image, and how many pixels from its outer pixels' centres at least."""
        inside = (line >= margin) & (line <= self.shape[0] - 1 - margin)
        return np.asarray(inside & (sample >= margin) & (sample <= self.shape[1] - 1 - margin))


@dataclass(frozen=True, slots=True)
class RationalModel:
    """Rational polynomials (RPC00B) without denominators: 20 terms for the line and 20 for the sample.

    Attributes
    ----------
    offset, scale : (5,) float64
        Of line, sample, latitude, longitude and height.
    line, sample : (20,) float64
        Coefficients.
    """

    offset: Float64
    scale: Float64
    line: Float64
    sample: Float64

    def image(self, longitude: Float64, latitude: Float64, height: Float64) -> tuple[Float64, Float64]:
        """Line and sample of points; degrees and m."""
        places = np.stack([latitude, longitude, height], axis=-1)
        terms = _terms((places - self.offset[2:]) / self.scale[2:])
        line, sample = terms @ self.line, terms @ self.sample
        return line * self.scale[0] + self.offset[0], sample * self.scale[1] + self.offset[1]


def _terms(places: Float64) -> Float64:
    """The 20 terms in the order of RPC00B, from latitude, longitude and height, all scaled; ``(..., 20)``."""
    P, L, H = np.moveaxis(places, -1, 0)
    one = np.ones_like(P)
    return np.stack(
        [
            one, L, P, H, L * P, L * H, P * H, L * L, P * P, H * H,
            P * L * H, L**3, L * P * P, L * H * H, L * L * P, P**3, P * H * H, L * L * H, P * P * H, H**3,
        ],
        axis=-1,
    )  # fmt: skip


def fit_rational(model: ImageModel, crs: str, lowest: float, highest: float) -> RationalModel:
    """Rational polynomials that follow an image model from the lowest to the highest ground, fitted on a grid."""
    half = 0.55 * max(model.shape) * model.resolution * 1.2
    places = np.linspace(-half, half, 15)
    x, y, height = np.meshgrid(model.x + places, model.y + places, np.linspace(lowest, highest, 5))
    line, sample = model.image(x, y, height)
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    values = np.stack([line, sample, latitude, longitude, height], axis=-1).reshape(-1, 5)
    offset = (values.min(axis=0) + values.max(axis=0)) / 2
    scale = np.maximum(np.ptp(values, axis=0) / 2, 1.0e-6)
    scaled = (values - offset) / scale
    found, *_ = np.linalg.lstsq(_terms(scaled[:, 2:]), scaled[:, :2], rcond=None)
    return RationalModel(offset, scale, found[:, 0], found[:, 1])


def rational_text(rational: RationalModel, satellite: str, band: str) -> str:
    """The text of an ``.rpb`` file."""
    names = ("line", "samp", "lat", "long", "height")
    whole = [f"\t{name}Offset = {value:.12g};" for name, value in zip(names, rational.offset, strict=True)]
    whole += [f"\t{name}Scale = {value:.12g};" for name, value in zip(names, rational.scale, strict=True)]
    nothing = np.eye(1, 20)[0]
    lists = (("lineNum", rational.line), ("lineDen", nothing), ("sampNum", rational.sample), ("sampDen", nothing))
    blocks = [f"\t{name}Coef = (\n" + ",\n".join(f"\t\t\t{value:.15e}" for value in c) + ");" for name, c in lists]
    head = [f'satId = "{satellite}";', f'bandId = "{band}";', 'SpecId = "RPC00B";', "BEGIN_GROUP = IMAGE"]
    errors = ["\terrBias = 1.0;", "\terrRand = 0.5;"]
    return "\n".join([*head, *errors, *whole, *blocks, "END_GROUP = IMAGE", "END;", ""])
