"""Images in sensor geometry put on a map through rational polynomials (RPC) and a height model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import RPCTransformer

from geosoil.errors import InputError, UsageError, listing
from geosoil.kernels import resample
from geosoil.types import PathLike

from .addresses import expand, redact, short_name
from .align import Aligned
from .gdal import gdal_env
from .grids import parse_crs, show_crs, show_grid
from .headers import open_raster
from .stack import Stack

if TYPE_CHECKING:
    from rasterio.rpc import RPC

    from geosoil.types import Float32, Float64, Int64, WindowReader

__all__ = [
    "RESAMPLING",
    "HeightModel",
    "Places",
    "Rectification",
    "Rectified",
    "check_rpcs",
    "height_file",
    "map_grid",
    "open_heights",
]

_KERNELS: dict[str, Callable[..., None]] = {
    "nearest": resample.nearest,
    "bilinear": resample.bilinear,
    "cubic": resample.cubic,
}
#: Ways to take values from between pixels.
RESAMPLING = tuple(_KERNELS)

#: Cell of AHSI, m.
RESOLUTION = 30.0
# Points along each side of the image that its outline on the map is drawn through.
_OUTLINE = 41
# Cells across a coarse look at the heights under an image.
_COARSE = 96
# GDAL counts from the corner of the first pixel; here its centre is 0.
_CENTRE = 0.5
# Room that a resampling kernel needs round a cell, pixels.
_ROOM = 3
# Columns of a part of a window: the image under a turned map is not needed all at once. And bands at a time.
_WIDE, _GROUP = 256, 16
_LONLAT = "EPSG:4326"


@dataclass(frozen=True)
class HeightModel:
    """Heights of the ground: a raster, or one height for all.

    Attributes
    ----------
    constant : float
        m; what stands where there is no raster.
    reader : WindowReader or None
        Of one band, m.
    grid : GeoBox or None
    source : str
        The raster's address, for the record.
    """

    constant: float
    reader: WindowReader | None = None
    grid: GeoBox | None = field(default=None, repr=False)
    source: str = ""

    def on(self, target: GeoBox) -> Callable[[tuple[int, int], tuple[int, int]], Float32]:
        """Heights of windows of another grid, bilinear; NaN where there are none."""
        if self.reader is None or self.grid is None:
            return lambda rows, cols: np.full((rows[1] - rows[0], cols[1] - cols[0]), self.constant, np.float32)
        aligned = Aligned(self.reader, self.grid, target, ("bilinear",))
        return lambda rows, cols: aligned.read(np.zeros(1, np.int64), rows, cols)[0]


def check_rpcs(rpcs: RPC | None, image: str) -> RPC:
    """The RPC of an image; raises InputError ``GS-RPC-MISSING`` where it has none."""
    if rpcs is None:
        raise InputError(
            f"{short_name(image)} has no RPC, which tell where on the ground its pixels are",
            code="GS-RPC-MISSING",
            details=[f"image: {image}", "expected: a file .rpb of the same name beside it, or RPC in the image"],
            hint="get the .rpb from the product's provider, or stay in sensor geometry: --no-ortho",
        )
    return rpcs


def height_file(dem: PathLike) -> str:
    """The address of a height model.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``; ``GS-DEM-BANDS`` for a folder or pattern with several rasters.
    """
    try:
        found = expand(dem)
    except InputError as error:
        raise InputError(
            f"the height model is missing: {error.message}",
            code=error.code,
            details=error.details,
            hint=f"{error.hint}; heights are optional: without --dem the ground is taken as flat",
        ) from error
    if len(found) > 1:
        raise InputError(
            f"{short_name(str(dem))} holds {len(found)} rasters; a height model is one",
            code="GS-DEM-BANDS",
            details=[f"found: {listing([redact(one) for one in found], 5)}"],
            hint="name one of them, or join tiles first: gdalbuildvrt dem.vrt TILE...",
        )
    return found[0]


def open_heights(dem: PathLike | None, rpcs: RPC) -> tuple[HeightModel, tuple[str, ...]]:
    """The height model of a raster, or the constant height that the RPC name; and notes on it.

    Raises
    ------
    InputError
        Those of `height_file` and `open_raster`; ``GS-DEM-BANDS`` for a raster of several bands.
    """
    if dem is None:
        height = float(rpcs.height_off)
        note = f"no height model: the ground taken as flat at {height:.0f} m (HEIGHT_OFF of the RPC)"
        return HeightModel(height), (f"{note}; hills are displaced",)
    file = open_raster(height_file(dem))
    if len(file.names) != 1:
        raise InputError(
            f"{short_name(str(dem))} has {len(file.names)} bands and is no height model",
            code="GS-DEM-BANDS",
            details=[f"file: {redact(str(dem))}", f"bands: {listing(file.names, 5)}"],
            hint="give a raster of one band, heights in m",
        )
    return HeightModel(float(rpcs.height_off), Stack((file,)), file.geobox, redact(str(dem))), ()


def _transformer(rpcs: RPC) -> RPCTransformer:
    return RPCTransformer(rpcs)


def _outline(shape: tuple[int, int]) -> tuple[Float64, Float64]:
    """Lines and samples along the outer edge of an image."""
    lines, samples = shape
    t = np.linspace(0.0, 1.0, _OUTLINE)
    zero, one = np.zeros(_OUTLINE), np.ones(_OUTLINE)
    down = np.concatenate([zero, one, t, t]) * lines
    across = np.concatenate([t, t, zero, one]) * samples
    return down, across


def _footprint(rpcs: RPC, shape: tuple[int, int], height: float) -> tuple[Float64, Float64]:
    """Longitudes and latitudes of the outline at one height."""
    down, across = _outline(shape)
    with gdal_env(), _transformer(rpcs) as transformer:
        # Offset "ul": the numbers are corners already.
        x, y = transformer.xy(down.tolist(), across.tolist(), zs=[height] * len(down), offset="ul")
    found = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not all(np.isfinite(one).all() for one in found):
        raise InputError(
            "the RPC do not lead from the image to the ground",
            code="GS-RPC",
            details=[f"image: {shape[0]} lines of {shape[1]}", f"height: {height:g} m"],
            hint="get the product from its provider again, or leave the ortho step out",
        )
    return found


def _utm(longitude: float, latitude: float) -> str:
    """The UTM zone of a place, on WGS 84.

    >>> _utm(113.2, 36.3), _utm(-58.4, -34.6)
    ('EPSG:32649', 'EPSG:32721')
    """
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def map_grid(
    rpcs: RPC, shape: tuple[int, int], heights: HeightModel, *, crs: str | None = None, resolution: float | None = None
) -> GeoBox:
    """The map grid that holds an image, its corner at whole cells.

    Parameters
    ----------
    rpcs : RPC
    shape : (int, int)
        Lines and samples.
    heights : HeightModel
    crs : str, optional
        Default: the UTM zone of the image's middle.
    resolution : float, optional
        Cell, in units of the CRS; default 30 m.

    Raises
    ------
    InputError
        ``GS-RPC``, ``GS-DEM-COVER`` where heights and image do not meet, ``GS-CRS-UNKNOWN``.
    UsageError
        ``GS-RESOLUTION``: not above 0, or none given for a CRS that is not in metres.
    """
    longitude, latitude = _footprint(rpcs, shape, heights.constant)
    target = parse_crs(crs or _utm(float(longitude.mean()), float(latitude.mean())))
    cell = _cell(target, resolution)
    to_map = Transformer.from_crs(_LONLAT, target.to_wkt(), always_xy=True)
    x, y = to_map.transform(longitude, latitude)
    bounds = []
    for height in _extremes(heights, target, (x.min(), y.min(), x.max(), y.max())):
        x, y = to_map.transform(*_footprint(rpcs, shape, height))
        bounds.append((x.min(), y.min(), x.max(), y.max()))
    left, bottom = (math.floor(min(one[k] for one in bounds) / cell) for k in (0, 1))
    right, top = (math.ceil(max(one[k] for one in bounds) / cell) for k in (2, 3))
    affine = Affine(cell, 0.0, left * cell, 0.0, -cell, top * cell)
    return GeoBox((top - bottom, right - left), affine, target)


def _cell(crs: CRS, resolution: float | None) -> float:
    if resolution is None:
        if not crs.projected or crs.units[0] not in {"metre", "meter", "m"}:
            raise UsageError(
                f"{show_crs(crs)} is not in metres: name the size of its cells",
                code="GS-RESOLUTION",
                hint="add --resolution, in units of the CRS",
            )
        return RESOLUTION
    if not (math.isfinite(resolution) and resolution > 0):
        raise UsageError(f"resolution {resolution:g} is not above 0", code="GS-RESOLUTION")
    return float(resolution)


def _extremes(heights: HeightModel, crs: CRS, bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Lowest and highest ground under an image."""
    if heights.reader is None or heights.grid is None:
        return (heights.constant,)
    left, bottom, right, top = bounds
    found = _coarse(heights, crs, bounds)
    known = found[np.isfinite(found)]
    if not known.size:
        raise InputError(
            f"{short_name(heights.source)} does not cover the image",
            code="GS-DEM-COVER",
            details=[
                f"heights: {show_grid(heights.grid)}",
                f"image: {left:.0f} to {right:.0f}, {bottom:.0f} to {top:.0f} in {show_crs(crs)}",
            ],
            hint="give a height model of this place, or none",
        )
    return float(known.min()), float(known.max())


def _coarse(heights: HeightModel, crs: CRS, bounds: tuple[float, ...]) -> Float32:
    """Heights here and there in a box of a map."""
    left, bottom, right, top = bounds
    across, down = (right - left) / _COARSE, (top - bottom) / _COARSE
    grid = GeoBox((_COARSE, _COARSE), Affine(across, 0, left, 0, -down, top), crs)
    return heights.on(grid)((0, _COARSE), (0, _COARSE))


def uncovered(heights: HeightModel, grid: GeoBox) -> float:
    """Share of a map that has no heights, from a coarse look."""
    if heights.reader is None or grid.crs is None:
        return 0.0
    box = grid.boundingbox
    return float(np.isnan(_coarse(heights, grid.crs, (box.left, box.bottom, box.right, box.top))).mean())


@dataclass(frozen=True)
class Places:
    """Where the cells of a window of the map lie in the image.

    Attributes
    ----------
    line, sample : (h, w) float64
        Whole numbers are the centres of pixels; counted from the first of `lines` and `samples`. NaN beside the image.
    lines, samples : (int, int)
        The part of the image that is needed: first and one past the last; equal where none is.
    unknown : int
        Cells whose height is not known.
    """

    line: Float64
    sample: Float64
    lines: tuple[int, int]
    samples: tuple[int, int]
    unknown: int = 0

    @property
    def empty(self) -> bool:
        """Whether no cell lies in the image."""
        return self.lines[0] >= self.lines[1]

    def take(self, values: Float32, resampling: str = "bilinear") -> Float32:
        """Values of the cells from those of the part of the image.

        Parameters
        ----------
        values : (p, n, w) float32
            The image in `lines` and `samples`, NaN where there is no data.
        resampling : {"nearest", "bilinear", "cubic"}

        Returns
        -------
        (p, h, w) float32
            NaN beside the image and wherever a pixel that counts has no data.
        """
        out = np.full((len(values), *self.line.shape), np.nan, np.float32)
        if not self.empty:
            for one, place in zip(values, out, strict=True):
                _KERNELS[resampling](one, self.line, self.sample, place)
        return out


@dataclass(frozen=True)
class Rectification:
    """How the cells of a map come from an image.

    Every cell is computed by itself from its centre, its height and the polynomials, so that windows do not matter.

    Attributes
    ----------
    rpcs : RPC
    shape : (int, int)
        Lines and samples of the image.
    grid : GeoBox
        The map.
    heights : HeightModel
    """

    rpcs: RPC = field(repr=False)
    shape: tuple[int, int]
    grid: GeoBox = field(repr=False)
    heights: HeightModel

    def places(self, rows: tuple[int, int], cols: tuple[int, int]) -> Places:
        """Where the cells of a window lie in the image."""
        height = self.heights.on(self.grid)(rows, cols).astype(np.float64)
        affine = self.grid.affine
        x, y = np.meshgrid(
            affine.c + (np.arange(*cols) + 0.5) * affine.a, affine.f + (np.arange(*rows) + 0.5) * affine.e
        )
        crs = self.grid.crs.to_wkt() if self.grid.crs is not None else ""
        lon, lat = Transformer.from_crs(crs, _LONLAT, always_xy=True).transform(x.ravel(), y.ravel())
        known = np.isfinite(height.ravel()) & np.isfinite(lon) & np.isfinite(lat)
        line, sample = np.full(x.size, np.nan), np.full(x.size, np.nan)
        if known.any():
            with gdal_env(), _transformer(self.rpcs) as transformer:
                found = transformer.rowcol(lon[known], lat[known], zs=height.ravel()[known], op=_as_it_is)
            line[known], sample[known] = (np.asarray(one, np.float64) - _CENTRE for one in found)
        return self._part(line.reshape(x.shape), sample.reshape(x.shape), int((~known).sum()))

    def _part(self, line: Float64, sample: Float64, unknown: int) -> Places:
        lines, samples = self.shape
        with np.errstate(invalid="ignore"):
            inside = (line > -1) & (line < lines) & (sample > -1) & (sample < samples)
        if not inside.any():
            return Places(line, sample, (0, 0), (0, 0), unknown)
        line, sample = np.where(inside, line, np.nan), np.where(inside, sample, np.nan)
        down, across = _span(line[inside], lines), _span(sample[inside], samples)
        return Places(line - down[0], sample - across[0], down, across, unknown)


def _as_it_is(value: Any) -> Any:
    return value


def _span(places: Float64, size: int) -> tuple[int, int]:
    """Pixels round some places, with room for the kernel."""
    return max(0, math.floor(places.min()) - _ROOM), min(size, math.ceil(places.max()) + _ROOM + 1)


@dataclass(frozen=True)
class Rectified:
    """A reader in sensor geometry seen on the map; a ``types.WindowReader``.

    Attributes
    ----------
    reader : WindowReader
    rectifications : tuple of Rectification
        One a band, as detectors may look at places of their own; all on one grid.
    resampling : {"nearest", "bilinear", "cubic"}
    """

    reader: WindowReader
    rectifications: tuple[Rectification, ...]
    resampling: str = "bilinear"

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLING:
            raise UsageError(
                f"resampling {self.resampling!r} is not known",
                code="GS-RESAMPLING",
                details=[f"known: {listing(RESAMPLING)}"],
            )

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        grids = [(tuple(one.shape), tuple(one.grid.affine), str(one.grid.crs)) for one in self._different()]
        models = [(one.rpcs.to_dict(), one.heights.source, one.heights.constant) for one in self._different()]
        return ("geosoil.Rectified", self.reader, grids, models, self._owners(), self.resampling)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        rows, cols = self.rectifications[0].grid.shape
        return self.reader.shape[0], int(rows), int(cols)

    def take(self, positions: list[int]) -> Rectified:
        """The same with some of the bands."""
        chosen = tuple(self.rectifications[place] for place in positions)
        return replace(self, reader=self.reader.take(positions), rectifications=chosen)

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See ``types.WindowReader``."""
        return self.window(rows, cols)(bands)

    def window(self, rows: tuple[int, int], cols: tuple[int, int]) -> Callable[[Int64], Float32]:
        """What reads bands of a window; where its cells lie in the image is computed once for all of them."""
        edges = [*range(cols[0], cols[1], _WIDE), cols[1]]
        parts = [(first, last) for first, last in pairwise(edges)]
        places = [[one.places(rows, part) for part in parts] for one in self._different()]
        owners = self._owners()

        def read(bands: Int64) -> Float32:
            out = np.full((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.nan, np.float32)
            for start in range(0, len(bands), _GROUP):
                chosen = np.asarray(bands[start : start + _GROUP])
                for owner in dict.fromkeys(owners[band] for band in chosen):
                    own = np.array([place for place, band in enumerate(chosen) if owners[band] == owner])
                    for part, at in zip(parts, places[owner], strict=True):
                        if not at.empty:
                            values = self.reader.read(chosen[own], at.lines, at.samples)
                            where = slice(part[0] - cols[0], part[1] - cols[0])
                            out[start + own, :, where] = at.take(values, self.resampling)
            return out

        return read

    def _different(self) -> list[Rectification]:
        return list({id(one): one for one in self.rectifications}.values())

    def _owners(self) -> list[int]:
        """Which of the different rectifications each band has."""
        known = [id(one) for one in self._different()]
        return [known.index(id(one)) for one in self.rectifications]
