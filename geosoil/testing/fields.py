"""Smooth random fields over the plane whose value at a point depends on nothing but the point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["Field", "Parcels"]

#: Knots along an edge of the table of random numbers; the field repeats after as many knots.
KNOTS = 256
# Standard deviation of a cubic B-spline over white noise in the plane: the integral of the squared spline.
_SPREAD = 151 / 315


@lru_cache(maxsize=64)
def _table(seed: tuple[int, ...]) -> Float64:
    return np.random.default_rng(seed).standard_normal((KNOTS, KNOTS))


@dataclass(frozen=True, slots=True)
class Field:
    """Octaves of cubic B-splines over white noise: mean 0, standard deviation 1.

    Attributes
    ----------
    seed : tuple of int
        Equal seeds give equal fields.
    scale : float
        Distance between the knots of the coarsest octave, in the unit of the coordinates.
    octaves : int
        Each further octave has half the distance.
    falling : float
        Amplitude of an octave to that of the one before.

    >>> field = Field((1,), scale=500.0)
    >>> x = np.arange(0.0, 3000.0, 30.0)
    >>> bool((field.at(x, x)[40:60] == field.at(x[40:60], x[40:60])).all())
    True
    """

    seed: tuple[int, ...]
    scale: float
    octaves: int = 3
    falling: float = 0.5

    def at(self, x: Float64, y: Float64) -> Float64:
        """The field at points of any shape."""
        shape = np.shape(x)
        total = np.zeros(np.size(x))
        power = 0.0
        for octave in range(self.octaves):
            weight, scale = self.falling**octave, self.scale / 2**octave
            # Octaves are shifted against each other, lest their knots meet at the origin.
            places = np.stack([np.ravel(y) / scale + 0.37 * octave, np.ravel(x) / scale + 0.71 * octave])
            table = _table((*self.seed, octave))
            total += weight * map_coordinates(table, places, order=3, mode="grid-wrap", prefilter=False)
            power += weight**2
        return np.asarray(total / (_SPREAD * np.sqrt(power))).reshape(shape)


@dataclass(frozen=True, slots=True)
class Parcels:
    """Rectangular fields of a farmed plain, each with one random number from 0 to 1.

    Attributes
    ----------
    seed : tuple of int
        Equal seeds give equal numbers.
    width, height : float
        Size of a parcel, in the unit of the coordinates.
    turned : float
        Angle of the pattern, radians.
    """

    seed: tuple[int, ...]
    width: float
    height: float
    turned: float = 0.15

    def at(self, x: Float64, y: Float64) -> Float64:
        """The number of the parcel that each point lies in."""
        along = x * np.cos(self.turned) + y * np.sin(self.turned)
        across = y * np.cos(self.turned) - x * np.sin(self.turned)
        row = np.floor(across / self.height).astype(np.int64)
        # Every other row begins half a parcel later, as bricks do.
        column = np.floor(along / self.width + 0.5 * (row % 2)).astype(np.int64)
        table = np.random.default_rng(self.seed).random((KNOTS, KNOTS))
        return np.asarray(table[row % KNOTS, column % KNOTS])
