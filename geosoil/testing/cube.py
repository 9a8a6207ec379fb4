"""A made landscape as a reflectance cube on a map grid, as programs for atmospheric correction leave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.windows import Window

from geosoil.errors import UsageError

from .acquisition import Acquisition, Levels, air_over, day_of_year, look_at, noise_floor, signal_to_noise, stripes
from .envi import Layout, write_header
from .ground import Ground
from .landscape import Landscape
from .sensors import FAMILIES, Detector
from .spectra import at_bands, cloud

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from geosoil.types import Bool, Float32, Float64, PathLike

__all__ = ["Cube", "make_cube"]

#: Reflectance of 1 in the file, and the number for no data.
SCALE, NODATA = 10_000, -9_999
# Cells that are computed at a time.
_CELLS = 65_536
# Rows of a repeated cube that are put together at a time.
_ROWS = 64
# What a correction leaves of the changes in vapour and haze over a scene.
_LEFT = 0.5
# Transmission below which a correction gives up and divides by this.
_LEAST = 0.005
# Largest reflectance that is kept, either sign: what the water bands hold is noise.
_MOST = 2.0
_NOISE = 201


@dataclass(frozen=True, slots=True)
class Cube:
    """What was written, and the truth behind it.

    Attributes
    ----------
    path : Path
        The GeoTIFF, or the ENVI data file; its header has the name with ``.hdr``.
    landscape : Landscape
        With the truth; of the size of one block where blocks are repeated.
    shape : (int, int)
        Rows and columns of the cube.
    wavelength_nm, fwhm_nm : (bands,) float64
        Centres and widths, VNIR then SWIR, nm.
    good : (bands,) bool
        Bands outside of the water bands and of the ends of the detectors.
    """

    path: Path
    landscape: Landscape
    shape: tuple[int, int]
    wavelength_nm: Float64
    fwhm_nm: Float64
    good: Bool

    @property
    def geobox(self) -> GeoBox:
        """The cube's map grid."""
        return replace(self.landscape, shape=self.shape).geobox

    def truth(self) -> xr.Dataset:
        """The truth for every cell of the cube, ``(y, x)``; repeated where the cube is."""
        block = self.landscape.truth()
        rows, cols = (np.arange(edge) % period for edge, period in zip(self.shape, self.landscape.shape, strict=True))
        if self.shape == self.landscape.shape:
            return block
        return block.drop_vars(("y", "x")).isel(y=rows, x=cols)


def make_cube(
    path: PathLike,
    shape: tuple[int, int] = (128, 128),
    *,
    landscape: Landscape | None = None,
    seed: int = 0,
    family: str = "GF5B",
    levels: Levels | None = None,
    layout: Layout | None = None,
    swath: bool = True,
    block: int | None = None,
    acquired: str = "2022-10-08",
) -> Cube:
    """Write a cube of int16 reflectance x 10,000 on the landscape's map grid.

    What the instrument and the atmosphere left is in it: noise (strong in the water bands), stripes that follow the
    flight, the step between the detectors, changes in vapour and haze, slopes, clouds.

    Parameters
    ----------
    path : path
        A GeoTIFF where it ends in ``.tif``; else an ENVI data file, with a header beside.
    shape : (int, int)
        Rows and columns.
    landscape : Landscape, optional
        By default one of this shape and `seed`.
    family : str
        Sensor whose bands the cube has; see `make_product`.
    levels : Levels, optional
        Disturbances; by default realistic ones.
    layout : Layout, optional
        How an ENVI file is written: interleave, byte order, units.
    swath : bool
        Whether the corners that an image of the same size does not reach hold no data.
    block : int, optional
        Edge of a block that is made once and then repeated, a little brighter or darker each time: for cubes of several
        GB within a minute.

    Raises
    ------
    UsageError
        ``GS-TESTING-BLOCK`` for a block together with a landscape of another shape.
    """
    target = Path(path)
    if block is not None and landscape is not None and landscape.shape != (block, block):
        raise UsageError(
            f"a block of {block} cells and a landscape of {landscape.shape} do not fit",
            code="GS-TESTING-BLOCK",
            hint="leave one of the two out",
        )
    landscape = landscape or Landscape(shape=shape if block is None else (block, block), seed=seed)
    detectors = FAMILIES[family].detectors()
    wavelength = np.concatenate([detector.wavelength_nm for detector in detectors])
    fwhm = np.concatenate([detector.fwhm_nm for detector in detectors])
    cube = Cube(target, landscape, shape, wavelength, fwhm, _good(wavelength))
    model = look_at(landscape, landscape.shape)
    seen = Acquisition(landscape, detectors, (model, model), levels or Levels(), day_of_year(acquired))
    strips = _strips(seen, swath) if block is None else _repeated(seen, shape)
    if target.suffix.lower() in (".tif", ".tiff"):
        _write_tiff(cube, strips, f"{family} AHSI", acquired)
    else:
        _write_envi(cube, strips, layout or Layout(), f"{family} AHSI", acquired)
    return cube


def _good(wavelength_nm: Float64) -> Bool:
    poor = ((0.0, 400.0), (1340.0, 1460.0), (1790.0, 1970.0), (2430.0, 9999.0))
    inside = [(wavelength_nm >= low) & (wavelength_nm <= high) for low, high in poor]
    return np.asarray(~np.any(inside, axis=0))


Strip = tuple[int, "NDArray[np.int16]"]


def _strips(seen: Acquisition, swath: bool) -> Iterator[Strip]:
    """First row, and ``(bands, rows, columns)``."""
    height, width = seen.landscape.shape
    step = max(_CELLS // width, 1)
    for start in range(0, height, step):
        rows = (start, min(start + step, height))
        yield start, _window(seen, rows, swath)


def _repeated(seen: Acquisition, shape: tuple[int, int]) -> Iterator[Strip]:
    """Rows of blocks, each a little brighter or darker than the one that was made."""
    edge = seen.landscape.shape[0]
    made = np.concatenate([part for _, part in _strips(seen, swath=False)], axis=1)
    tiles = -(-shape[0] // edge), -(-shape[1] // edge)
    rng = np.random.default_rng((seen.landscape.seed, _NOISE, edge))
    brighter = rng.integers(-150, 150, tiles).astype(np.int16)
    columns = np.arange(shape[1]) % edge
    for start in range(0, shape[0], _ROWS):
        rows = np.arange(start, min(start + _ROWS, shape[0]))
        strip = np.take(made[:, rows % edge], columns, axis=2)
        strip += np.repeat(brighter[rows // edge], edge, axis=1)[:, : shape[1]]
        yield start, strip


def _window(seen: Acquisition, rows: tuple[int, int], swath: bool) -> NDArray[np.int16]:
    width = seen.landscape.shape[1]
    ground = seen.landscape.window(rows, (0, width))
    line, sample = seen.models[0].image(ground.x, ground.y, ground.elevation)
    column = np.clip(np.rint(sample), 0, width - 1).astype(np.int64).ravel()
    parts = [_corrected(seen, ground, detector, rows, column) for detector in (0, 1)]
    found = np.concatenate(parts, axis=1)
    np.clip(found, -_MOST, _MOST, out=found)
    found *= SCALE
    counts = np.rint(found).astype(np.int16)
    if swath:
        counts[~seen.models[0].covers(line, sample).ravel()] = NODATA
    return np.ascontiguousarray(np.moveaxis(counts.reshape(rows[1] - rows[0], width, -1), 2, 0))


def _corrected(
    seen: Acquisition, ground: Ground, detector: int, rows: tuple[int, int], column: NDArray[np.int64]
) -> Float32:
    """Reflectance as a correction finds it, ``(cells, bands)``, with what it cannot take away."""
    sensor, levels = seen.detectors[detector], seen.levels
    air = air_over(seen.landscape, ground, levels)
    surface, atmosphere = seen.optics(detector)
    through = atmosphere.sun * np.maximum(atmosphere.transmission, _LEAST)
    found = surface.reflectance(ground)
    found *= air.light[:, np.newaxis]
    found *= 1.0 + np.float32(_LEFT) * air.vapour[:, np.newaxis] * atmosphere.vapour.astype(np.float32)
    found += np.float32(_LEFT) * air.haze[:, np.newaxis] * (atmosphere.path / through).astype(np.float32)
    white = at_bands(cloud(), sensor.wavelength_nm, sensor.fwhm_nm).astype(np.float32)
    for opacity in (air.cirrus, air.cloud):
        under = np.flatnonzero(opacity)
        share = opacity[under, np.newaxis]
        found[under] = found[under] * (1.0 - share) + share * white
    if detector == 0:
        found *= np.float32(1.0 + levels.splice)
    _add_faults(found, seen, sensor, rows[0], column, through)
    return found


def _add_faults(
    found: Float32, seen: Acquisition, sensor: Detector, first: int, column: NDArray[np.int64], through: Float64
) -> None:
    """Stripes of the sensor's columns, and noise row by row, each row with its own stream."""
    levels, seed = seen.levels, seen.landscape.seed
    width = seen.landscape.shape[1]
    floor = (noise_floor(sensor) / through).astype(np.float32)
    if levels.striping > 0:
        gain, dark = stripes(sensor, width, seed)
        found *= np.float32(1.0) + np.float32(levels.striping) * gain[column]
        found += (np.float32(60.0 * levels.striping) * floor * dark)[column]
    if levels.noise > 0:
        share = np.float32(levels.noise / signal_to_noise(sensor))
        for place, row in enumerate(found.reshape(-1, width, len(sensor))):
            rng = np.random.default_rng((seed, _NOISE, len(sensor), first + place))
            noise = rng.standard_normal(row.shape, np.float32)
            noise *= np.float32(levels.noise) * floor + share * np.abs(row)
            row += noise


def _write_tiff(cube: Cube, strips: Iterator[Strip], sensor: str, acquired: str) -> None:
    box = cube.geobox
    profile = {
        "driver": "GTiff", "count": len(cube.wavelength_nm), "dtype": "int16", "nodata": NODATA,
        "height": box.height, "width": box.width, "crs": str(box.crs), "transform": box.affine,
        "interleave": "band", "blockysize": 16, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with rasterio.open(cube.path, "w", **profile) as dataset:
        dataset.update_tags(sensor=sensor, acquired=acquired, wavelength_units="nm", reflectance_scale_factor=SCALE)
        for band, (centre, width, good) in enumerate(zip(cube.wavelength_nm, cube.fwhm_nm, cube.good, strict=True), 1):
            dataset.update_tags(band, wavelength=f"{centre:.3f}", fwhm=f"{width:.3f}", bbl=int(good))
            dataset.set_band_description(band, f"{centre:.2f} nm")
        for start, values in strips:
            dataset.write(values, window=Window(0, start, values.shape[2], values.shape[1]))


def _write_envi(cube: Cube, strips: Iterator[Strip], layout: Layout, sensor: str, acquired: str) -> None:
    cube.path.parent.mkdir(parents=True, exist_ok=True)
    bands, (height, width) = len(cube.wavelength_nm), cube.shape
    axes = layout.axes
    # Plain writes: pages of a mapped file would count as memory until the system takes them back.
    with cube.path.open("wb") as file:
        for start, values in strips:
            numbers = np.moveaxis(values, axes, (0, 1, 2)).astype(layout.dtype, order="C")
            if layout.interleave != "bsq":
                file.write(numbers.data)
                continue
            for band in range(bands):
                file.seek(2 * width * (band * height + start))
                file.write(numbers[band].data)
    write_header(cube.path, cube.geobox, layout, cube.wavelength_nm, cube.fwhm_nm, cube.good, sensor, acquired)
