"""A made landscape with a known truth: relief, soils mixed from measured spectra, parcels, a lake, clouds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window
from scipy.spatial import cKDTree

from .fields import Field, Parcels
from .ground import Ground
from .spectra import soils

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geosoil.types import Float64, PathLike

__all__ = ["PROPERTIES", "Landscape", "blend", "mixture"]

#: Properties with a known truth: code and unit.
PROPERTIES = {"som": "g/kg", "as": "mg/kg", "cu": "mg/kg"}
# Soils that are mixed at a point, and one more, at whose distance the weight is 0.
_MIXED = 6
# Metals: mean of the logarithm, then what one standard deviation of organic matter, iron, clay and of the part that no
# spectrum shows adds to it. Arsenic goes with iron oxides, copper with clay and organic matter.
_METALS = {"as": (2.5, 0.12, 0.34, 0.05, 0.11), "cu": (3.3, 0.26, 0.06, 0.38, 0.10)}
# Parcels: shares of what is bare, under stubble and sparsely green; the rest is densely green.
_BARE, _STUBBLE, _SPARSE = 0.62, 0.77, 0.87
# Height of the lowland, m.
_BASE = 420.0
# Where the banks of the lake end, in its radii.
_BANKS = 1.8
# Rows that are written at a time.
_STRIP = 128


@dataclass(frozen=True, slots=True)
class Landscape:
    """A made landscape; every quantity depends on the place and the seed only, so windows agree however they are cut.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the map grid.
    seed : int
        Equal seeds give equal landscapes.
    left, top : float
        Corner of the map grid, m.
    crs : str
        A projected CRS in metres.
    resolution : float
        Cell size, m.
    sun_zenith, sun_azimuth : float
        Where the sun stands, degrees; azimuth clockwise from north.
    clouds, lake : bool
        Whether there is a thick and a thin cloud, and a lake.

    >>> landscape = Landscape(shape=(40, 50))
    >>> whole, part = landscape.window((0, 40), (0, 50)), landscape.window((10, 20), (5, 9))
    >>> bool((whole.som[10:20, 5:9] == part.som).all())
    True
    """

    shape: tuple[int, int] = (256, 256)
    seed: int = 0
    left: float = 690_000.0
    top: float = 4_020_000.0
    crs: str = "EPSG:32649"
    resolution: float = 30.0
    sun_zenith: float = 38.0
    sun_azimuth: float = 152.0
    clouds: bool = True
    lake: bool = True

    @property
    def geobox(self) -> GeoBox:
        """The map grid."""
        cell = self.resolution
        return GeoBox(self.shape, Affine(cell, 0, self.left, 0, -cell, self.top), self.crs)

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height, m."""
        return self.shape[1] * self.resolution, self.shape[0] * self.resolution

    @property
    def scale(self) -> float:
        """Length over which soils change, m: a sixth of a small landscape, 2 km in a large one."""
        return float(np.clip(min(self.extent) / 6, 4 * self.resolution, 2000.0))

    def place(self, right: float, down: float) -> tuple[float, float]:
        """Coordinates of a place given as shares of the extent, from the upper left corner."""
        width, height = self.extent
        return self.left + right * width, self.top - down * height

    def centres(self, rows: tuple[int, int], cols: tuple[int, int]) -> tuple[Float64, Float64]:
        """Coordinates of the cell centres of a window, m."""
        x = self.left + (np.arange(*cols) + 0.5) * self.resolution
        y = self.top - (np.arange(*rows) + 0.5) * self.resolution
        grid = np.meshgrid(x, y)
        return grid[0], grid[1]

    def window(self, rows: tuple[int, int], cols: tuple[int, int]) -> Ground:
        """The ground at the cell centres of a window; first and one past the last row and column."""
        return self.ground(*self.centres(rows, cols))

    def ground(self, x: Float64, y: Float64) -> Ground:
        """The ground at any points, m in the landscape's CRS."""
        relief = _Relief.of(self)
        elevation, valley = relief.at(x, y)
        east, north = relief.slopes(x, y)
        # Flat valleys gather what rain brings.
        gathering = 1.2 * (valley - 0.35) - 16.0 * (np.hypot(east, north) - 0.06)
        members, weights = mixture(self._scores(x, y, gathering))
        properties = self._properties(x, y, gathering, members, weights)
        lake = relief.lake_share(x, y) > 0.999
        green, dry = self._cover(x, y, elevation)
        thick, thin = self._clouds(x, y)
        toward = self.scale * 0.7 * np.tan(np.radians(self.sun_zenith))
        azimuth = np.radians(self.sun_azimuth)
        shadow, _ = self._clouds(x + toward * np.sin(azimuth), y + toward * np.cos(azimuth))
        return Ground(
            x=x, y=y, elevation=elevation, east_slope=east, north_slope=north, valley=valley,
            members=members, weights=weights,
            som=properties["som"], arsenic=properties["as"], copper=properties["cu"],
            brightness=self._brightness(x, y), moisture=self._moisture(x, y, valley),
            green=np.where(lake, 0.0, green), dry=np.where(lake, 0.0, dry), lake=lake,
            cloud=thick, thin_cloud=np.where(thick > 0.5, 0.0, thin), shadow=shadow * (1 - thick),
        )  # fmt: skip

    def elevation(self, x: Float64, y: Float64) -> Float64:
        """Height of the ground at any points, m."""
        return _Relief.of(self).at(x, y)[0]

    def _field(self, number: int, scale: float, octaves: int = 3, falling: float = 0.5) -> Field:
        return Field((self.seed, number), self.scale * scale, octaves, falling)

    def _fine(self, number: int) -> Field:
        """What changes from one cell to the next."""
        return Field((self.seed, number), 0.8 * self.resolution, 1)

    def _scores(self, x: Float64, y: Float64, gathering: Float64) -> Float64:
        """Standard scores of organic matter, iron and clay, ``(..., 3)``."""
        iron = 0.93 * self._field(1, 1.2).at(x, y) + 0.35 * self._fine(2).at(x, y)
        clay = 0.8 * iron + 0.55 * self._field(3, 0.9).at(x, y) + 0.25 * self._fine(4).at(x, y)
        organic = 0.6 * self._field(5, 0.8).at(x, y) + 0.35 * self._fine(6).at(x, y) + 0.7 * gathering - 0.3 * iron
        # The few soils of much organic matter stay rare.
        return np.stack([1.9 * np.tanh(organic / 1.9), iron, clay], axis=-1)

    def _properties(
        self, x: Float64, y: Float64, gathering: Float64, members: Any, weights: Float64
    ) -> dict[str, Float64]:
        library = soils()
        known = [blend(weights, scores[members]) for scores in library.scores().T]
        found = {"som": blend(weights, library.som[members])}
        for number, (code, (mean, organic, iron, clay, hidden)) in enumerate(_METALS.items()):
            unseen = (
                0.7 * self._field(20 + number, 0.7).at(x, y) + 0.6 * self._fine(30 + number).at(x, y) + 0.8 * gathering
            )
            seen = organic * known[0] + iron * known[1] + clay * known[2]
            found[code] = np.exp(mean + seen + hidden * unseen)
        return found

    def _cover(self, x: Float64, y: Float64, elevation: Float64) -> tuple[Float64, Float64]:
        """Shares of green and of dry vegetation."""
        size = max(0.3 * self.scale, 4 * self.resolution)
        parcel = Parcels((self.seed, 7), 1.5 * size, size).at(x, y)
        mottle = self._field(8, 0.25, 2).at(x, y)
        some = np.clip(0.05 + 0.04 * mottle + 0.07 * self._fine(15).at(x, y), 0.0, 0.25)
        green = np.select([parcel < _STUBBLE, parcel < _SPARSE], [some, 0.45 + 0.1 * mottle], 0.88 + 0.06 * mottle)
        straw = np.clip(0.08 + 0.05 * self._field(9, 0.3, 2).at(x, y) + 0.08 * self._fine(16).at(x, y), 0.0, 0.3)
        dry = np.select([parcel < _BARE, parcel < _STUBBLE], [straw, 0.62 + 0.12 * mottle], 0.06)
        green = np.clip(green, 0.0, 0.97)
        return green, np.clip(dry, 0.0, 1.0 - green)

    def _brightness(self, x: Float64, y: Float64) -> Float64:
        """Factor by which tillage and crusts make the surface brighter or darker than the sieved soil."""
        size = max(0.3 * self.scale, 4 * self.resolution)
        tilled = Parcels((self.seed, 10), 1.5 * size, size).at(x, y) - 0.5
        return np.asarray(np.exp(-0.22 + 0.25 * tilled + 0.1 * self._fine(11).at(x, y)))

    def _moisture(self, x: Float64, y: Float64, valley: Float64) -> Float64:
        """Wetness of the surface, 0 (air dry) to about 1."""
        smooth = self._field(12, 0.6).at(x, y)
        return np.asarray(np.clip(0.25 + 0.2 * smooth + 0.2 * (valley - 0.35) + 0.2 * self._fine(13).at(x, y), 0, 1.2))

    def _clouds(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Opacity of the thick and of the thin cloud, 0 to 1."""
        if not self.clouds:
            return np.zeros(np.shape(x)), np.zeros(np.shape(x))
        ragged = self._field(14, 0.5, 4, 0.6).at(x, y)
        thick = _falling(self._distance(x, y, 0.27, 0.30, 0.085) + 0.22 * ragged, 0.8, 1.1)
        thin = 0.3 * _falling(self._distance(x, y, 0.72, 0.30, 0.15) + 0.25 * ragged, 0.3, 1.1)
        return thick, thin

    def _distance(self, x: Float64, y: Float64, right: float, down: float, radius: float) -> Float64:
        """Distance from a place, in radii given as a share of the shorter side."""
        px, py = self.place(right, down)
        return np.asarray(np.hypot(x - px, y - py) / (radius * min(self.extent)))

    def truth(self, rows: tuple[int, int] | None = None, cols: tuple[int, int] | None = None) -> xr.Dataset:
        """The truth on the map grid, or on a window of it: properties, relief, cover, masks, ``(y, x)``."""
        rows, cols = rows or (0, self.shape[0]), cols or (0, self.shape[1])
        layers = self.window(rows, cols).layers()
        box = self.geobox[rows[0] : rows[1], cols[0] : cols[1]]
        return xr.Dataset(
            {name: (("y", "x"), values) for name, values in layers.items()}, xr_coords(box, dims=("y", "x"))
        )

    def write_dem(self, path: PathLike, *, margin: int = 40) -> Path:
        """Write the heights as a GeoTIFF that reaches further than the map grid.

        Parameters
        ----------
        margin : int
            Cells beyond each edge. An image that is turned against the grid reaches further than the grid.
        """
        rows, cols = (-margin, self.shape[0] + margin), (-margin, self.shape[1] + margin)

        def strips() -> Iterator[tuple[tuple[int, int], Float64]]:
            for start in range(rows[0], rows[1], _STRIP):
                strip = (start, min(start + _STRIP, rows[1]))
                yield strip, self.elevation(*self.centres(strip, cols))

        return _write_strips(path, self.geobox.pad(margin), strips(), -margin)


def _write_strips(path: PathLike, box: GeoBox, strips: Iterator[tuple[tuple[int, int], Float64]], first: int) -> Path:
    from pathlib import Path

    height, width = box.shape
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": height, "width": width}
    with rasterio.open(path, "w", crs=str(box.crs), transform=box.affine, tiled=True, **profile) as dataset:
        for (start, stop), values in strips:
            window = Window(0, start - first, width, stop - start)
            dataset.write(values.astype(np.float32), 1, window=window)
        dataset.set_band_description(1, "elevation")
    return Path(path)


def _falling(values: Float64, full: float, none: float) -> Float64:
    """1 up to `full`, 0 from `none` on, smooth between."""
    share = np.clip((none - values) / (none - full), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


@cache
def _tree() -> cKDTree:
    return cKDTree(soils().scores())


def mixture(scores: Float64) -> tuple[Any, Float64]:
    """The measured soils nearest to given scores, and their shares; both ``(..., 6)``."""
    distance, members = _tree().query(scores, k=_MIXED + 1)
    near = 1.0 - (distance[..., :-1] / distance[..., -1:]) ** 2
    # The seventh has no share, so that one soil takes over from another without a step.
    weights = np.maximum(near, 1e-9) ** 2
    return members[..., :-1].astype(np.int16), weights / weights.sum(axis=-1, keepdims=True)


def blend(weights: Float64, values: Float64) -> Float64:
    """Weighted sum over the last axis, term by term: the rounding of a product of matrices depends on their size."""
    total = weights[..., 0] * values[..., 0]
    for place in range(1, weights.shape[-1]):
        total = total + weights[..., place] * values[..., place]
    return np.asarray(total)


@dataclass(frozen=True, slots=True)
class _Relief:
    """Hills, and valleys along the lines where a field changes its sign, which are long and join."""

    landscape: Landscape
    hills: Field
    valleys: Field
    shore: Field
    lake_level: float

    @classmethod
    @cache
    def of(cls, landscape: Landscape) -> _Relief:
        seed, scale = landscape.seed, landscape.scale
        relief = cls(
            landscape,
            Field((seed, 40), 4.0 * scale, 4, 0.42),
            Field((seed, 41), 2.2 * scale, 3, 0.45),
            Field((seed, 42), 0.6 * scale, 3),
            np.nan,
        )
        place = landscape.place(0.66, 0.72)
        level = float(relief._land(np.array([place[0]]), np.array([place[1]]))[0][0]) - 0.004 * scale
        return cls(landscape, relief.hills, relief.valleys, relief.shore, level)

    def _land(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Heights without the lake, and how much of a valley a place is, 0 to 1."""
        scale = self.landscape.scale
        valley = np.exp(-((self.valleys.at(x, y) / 0.45) ** 2))
        tilt = 0.003 * ((x - self.landscape.left) + (y - self.landscape.top + self.landscape.extent[1]))
        return np.asarray(_BASE + tilt + 0.06 * scale * self.hills.at(x, y) - 0.045 * scale * valley), valley

    def lake_share(self, x: Float64, y: Float64) -> Float64:
        """1 in the lake, falling to 0 up its banks."""
        if not self.landscape.lake:
            return np.zeros(np.shape(x))
        distance = self.landscape._distance(x, y, 0.66, 0.72, 0.07)
        share = np.zeros(np.shape(x))
        near = distance < _BANKS + 1.0
        share[near] = _falling(distance[near] + 0.2 * self.shore.at(x[near], y[near]), 1.0, _BANKS)
        return share

    def at(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Heights, m, and how much of a valley a place is."""
        land, valley = self._land(x, y)
        share = self.lake_share(x, y)
        return land * (1 - share) + self.lake_level * share, valley

    def slopes(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Rise to the east and to the north, m/m, over two cells."""
        step = self.landscape.resolution
        east = (self.at(x + step, y)[0] - self.at(x - step, y)[0]) / (2 * step)
        north = (self.at(x, y + step)[0] - self.at(x, y - step)[0]) / (2 * step)
        return east, north
