"""Scenes of smooth random fields, and samples of a property that falls with depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from scipy.ndimage import gaussian_filter

from geosoil.types import PathLike

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

__all__ = ["make_samples", "make_scene", "true_values", "write_raster"]

#: Depth over which the made property falls to 1/e, cm.
DECAY_CM = 40.0


def make_scene(
    path: PathLike | None = None,
    *,
    shape: tuple[int, int] = (64, 64),
    bands: Sequence[str] = ("elevation", "twi", "ndvi"),
    classes: Sequence[str] = (),
    missing: float = 0.0,
    seed: int = 0,
    crs: str = "EPSG:32755",
    resolution: float = 30.0,
    left: float = 740_000.0,
    top: float = 6_680_000.0,
    chunks: int = 32,
) -> xr.DataArray:
    """A scene of smooth random fields.

    Parameters
    ----------
    path : path, optional
        Where to write the scene as a GeoTIFF too.
    shape : (int, int)
        Rows and columns.
    bands : sequence of str
        Names; each band has mean 0 and standard deviation 1.
    classes : sequence of str
        Further bands, with the class codes 1, 2 and 3.
    missing : float
        Share of cells without data, as patches that all bands share.
    seed : int
        Equal seeds give equal scenes.
    crs, resolution, left, top
        Grid.
    chunks : int
        Edge of the dask chunks, cells.

    Returns
    -------
    DataArray
        ``(band, y, x)`` float32, dask-chunked.

    >>> scene = make_scene(shape=(8, 8), classes=["lithology"])
    >>> scene["band"].values.tolist(), scene.odc.geobox.crs.epsg
    (['elevation', 'twi', 'ndvi', 'lithology'], 32755)
    """
    rng = np.random.default_rng(seed)
    quantities = [_field(rng, shape) for _ in bands]
    codes = [1.0 + np.digitize(_field(rng, shape), [-0.5, 0.5]) for _ in classes]
    values = np.stack([*quantities, *codes]).astype(np.float32)
    if missing > 0:
        field = _field(rng, shape)
        values[:, field <= np.quantile(field, missing)] = np.nan
    geobox = GeoBox(shape, Affine(resolution, 0, left, 0, -resolution, top), crs)
    names = [*bands, *classes]
    if path is not None:
        write_raster(path, values, names=names, crs=crs, transform=geobox.affine)
    coords: dict[Any, Any] = {
        **xr_coords(geobox, dims=("y", "x")),
        "band": names,
        "classes": ("band", [False] * len(bands) + [True] * len(classes)),
    }
    attrs = {"sources": () if path is None else (str(path),)}
    scene = xr.DataArray(values, dims=("band", "y", "x"), coords=coords, attrs=attrs)
    return scene.chunk({"band": -1, "y": chunks, "x": chunks})


def _field(rng: np.random.Generator, shape: tuple[int, int]) -> Float64:
    """A smooth field with mean 0 and standard deviation 1."""
    noise = rng.normal(size=shape)
    smooth = gaussian_filter(noise, sigma=max(min(shape) / 20, 0.5), mode="reflect")
    spread = float(smooth.std())
    return np.asarray((smooth - smooth.mean()) / (spread if spread > 0 else 1.0))


def true_values(scene: xr.DataArray, top_cm: float, bottom_cm: float) -> Float64:
    """The made property averaged over a depth interval, ``(y, x)``, in g/kg.

    At the surface 20 + 4 x first band - 2 x second band (where there is one), not below 1; falling with depth as
    exp(-depth / 40 cm).

    >>> scene = make_scene(shape=(4, 4))
    >>> bool((true_values(scene, 0, 5) > true_values(scene, 60, 100)).all())
    True
    """
    first = np.asarray(scene[0].values, np.float64)
    second = np.asarray(scene[1].values, np.float64) if scene.sizes["band"] > 1 else np.zeros_like(first)
    surface = np.maximum(20.0 + 4.0 * first - 2.0 * second, 1.0)
    weight = DECAY_CM / (bottom_cm - top_cm) * (np.exp(-top_cm / DECAY_CM) - np.exp(-bottom_cm / DECAY_CM))
    return np.asarray(surface * weight)


def make_samples(
    scene: xr.DataArray,
    profiles: int = 60,
    *,
    property: str = "soc",
    layers: Sequence[tuple[float, float]] = ((0, 10), (10, 30), (30, 60), (60, 100), (100, 150)),
    noise: float = 0.0,
    seed: int = 0,
) -> gpd.GeoDataFrame:
    """Samples of `true_values` at random cells with data, in the form that ``io.samples`` gives.

    Parameters
    ----------
    scene : DataArray
        Such as `make_scene` gives.
    profiles : int
        Number of profiles; at most one a cell.
    property : str
        Code of the property.
    layers : sequence of (top, bottom)
        Sampled layers, cm.
    noise : float
        Standard deviation of the noise, as a share of the value.
    seed : int
        Equal seeds give equal samples.

    Returns
    -------
    GeoDataFrame
        One row a layer: ``profile``, ``property``, ``top_cm``, ``bottom_cm``, ``value``, ``geometry``.
    """
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(np.isfinite(scene.values).all(axis=0))
    chosen = rng.choice(len(rows), profiles, replace=False)
    row, col = rows[chosen], cols[chosen]
    # Anywhere in the cell, not only its centre.
    x, y = scene.odc.geobox.affine * (col + rng.uniform(0.05, 0.95, profiles), row + rng.uniform(0.05, 0.95, profiles))
    values = np.stack([true_values(scene, top, bottom)[row, col] for top, bottom in layers], axis=1)
    values *= np.maximum(1.0 + noise * rng.normal(size=values.shape), 0.05)
    table = {
        "profile": np.repeat([f"P{number:04d}" for number in range(profiles)], len(layers)),
        "property": property,
        "top_cm": np.tile([float(top) for top, _ in layers], profiles),
        "bottom_cm": np.tile([float(bottom) for _, bottom in layers], profiles),
        "value": values.ravel(),
    }
    points = gpd.points_from_xy(np.repeat(x, len(layers)), np.repeat(y, len(layers)))
    samples = gpd.GeoDataFrame(table, geometry=points, crs=scene.odc.geobox.crs.to_wkt())
    samples.attrs["report"] = {"rows": len(samples), "used": len(samples), "dropped": {}}
    return samples


def write_raster(
    path: PathLike,
    values: NDArray[Any],
    *,
    names: Sequence[str] = (),
    crs: str | None = "EPSG:32755",
    transform: Affine | None = None,
    nodata: float | None = None,
    driver: str = "GTiff",
    **options: Any,
) -> Path:
    """Write an array ``(band, y, x)`` or ``(y, x)`` as a raster file.

    Parameters
    ----------
    values : array
        In the type that the file shall have.
    names : sequence of str
        Descriptions of the bands; default: none.
    crs, transform, nodata, driver
        As rasterio takes them; by default 30 m cells in UTM zone 55 south.
    **options
        Creation options of the driver.
    """
    stack = values[np.newaxis] if values.ndim == 2 else values
    profile: dict[str, Any] = {
        "driver": driver,
        "count": stack.shape[0],
        "height": stack.shape[1],
        "width": stack.shape[2],
        "dtype": stack.dtype.name,
        "crs": crs,
        "transform": transform or Affine(30, 0, 740_000, 0, -30, 6_680_000),
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile, **options) as dataset:
        dataset.write(stack)
        for index, name in enumerate(names, start=1):
            dataset.set_band_description(index, name)
    return Path(path)
