"""The suite's scenes: one made stack of covariates in each format, written strip by strip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import odc.geo.xr  # noqa: F401 - gives xarray objects their .odc
import rasterio
import rasterio.shutil
import xarray as xr
from affine import Affine
from rasterio.windows import Window
from repeated import repeat_blocks

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["FORMATS", "Scene", "Scenes", "names_of", "samples"]

CRS = "EPSG:32755"
TRANSFORM = Affine(30, 0, 740_000, 0, -30, 6_680_000)
#: Edge of the file's tiles, of the strips in which it is written, and of the pattern that is repeated.
EDGE = 512
#: Values of the made covariates lie in this range.
RANGE = (0.0, 30.0)

#: Format to GDAL's driver and creation options; Zarr is written by xarray.
FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    f"GeoTIFF {compress} {order}": (
        "GTiff",
        {"interleave": order, **({} if compress == "plain" else {"compress": compress, "predictor": "3"})},
    )
    for compress in ("plain", "deflate", "zstd")
    for order in ("band", "pixel")
} | {
    "ENVI BSQ": ("ENVI", {"interleave": "bsq"}),
    "ENVI BIL": ("ENVI", {"interleave": "bil"}),
    "ENVI BIP": ("ENVI", {"interleave": "bip"}),
    "COG deflate": ("COG", {"compress": "deflate", "predictor": "yes", "blocksize": str(EDGE), "overviews": "none"}),
    "Zarr": ("Zarr", {}),
}


@dataclass(frozen=True)
class Scene:
    """A scene on disk.

    Attributes
    ----------
    path : Path
        File or store.
    format : str
        One of `FORMATS`, or what else the file is.
    shape : (int, int)
        Rows and columns.
    bands : tuple of int
        Places of the bands that a model reads, from 0.
    scale : float
        What a stored number is multiplied by.
    """

    path: Path
    format: str
    shape: tuple[int, int]
    bands: tuple[int, ...]
    scale: float = 1.0

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]


def names_of(bands: int) -> tuple[str, ...]:
    """Names of the bands."""
    return tuple(f"covariate_{number:03d}" for number in range(bands))


@cache
def _pattern(bands: int) -> Float32:
    """What the scenes repeat, (B, 512, 512): waves of another length in each band, and noise in the last digits."""
    y, x = np.mgrid[:EDGE, :EDGE].astype(np.float32)
    rng = np.random.default_rng(0)
    found = np.empty((bands, EDGE, EDGE), np.float32)
    for band in range(bands):
        wave = np.sin(x / (30 + 7 * (band % 40))) + np.cos(y / (50 + 5 * (band % 31))) + 2
        found[band] = np.round(7 * wave + rng.random(wave.shape, np.float32), 2)
    return found


def samples(bands: int, count: int) -> Float32:
    """Values of random cells, (n, B), to fit models on."""
    rng = np.random.default_rng(1)
    return _pattern(bands)[:, rng.integers(0, EDGE, count), rng.integers(0, EDGE, count)].T.copy()


def _strips(bands: int, rows: int, columns: int) -> Iterator[tuple[int, Float32]]:
    """First row and values (B, h, columns) of each strip; no two strips are alike."""
    repeats = -(-columns // EDGE)
    for row in range(0, rows, EDGE):
        strip = np.tile(np.roll(_pattern(bands), (row // EDGE) * 37, axis=2), (1, 1, repeats))
        yield row, strip[:, : min(EDGE, rows - row), :columns]


class Scenes:
    """Scenes in a folder, each made when it is first asked for; one that is there is not made again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, format: str, edge: int, bands: int, dtype: str = "float32", block: int = EDGE) -> Scene:
        """A scene of edge x edge cells; integers are hundredths; `block` is the edge of a GeoTIFF's tiles."""
        name = f"{format.replace(' ', '-')}-{edge}-{bands}-{dtype}-{block}".lower()
        driver, options = FORMATS[format]
        ends = {"GTiff": ".tif", "COG": ".tif", "ENVI": ".dat", "Zarr": ".zarr"}
        path = self.folder / f"{name}{ends[driver]}"
        self.own(path.name, lambda part: _write(part / path.name, driver, options, edge, bands, dtype, block))
        return Scene(path, format, (edge, edge), tuple(range(bands)), 1.0 if dtype == "float32" else 0.01)

    def own(self, name: str, make: Callable[[Path], object]) -> Path:
        """A scene of another's making: `make` puts it, and what belongs to it, in a folder."""
        path = self.folder / name
        if not path.exists():
            part = self.folder / "part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            for made in sorted(part.iterdir(), key=lambda one: one.name == name):
                made.rename(self.folder / made.name)  # the file itself last, so that what is there is whole
            part.rmdir()
        return path

    def repeated(self, edge: int, bands: int, source: int, block: int) -> Scene:
        """Integers of any size, whose blocks are those of a scene of `source` cells, again and again."""
        path = self.folder / f"repeated-{edge}-{bands}-{block}.tif"
        made = self.make("GeoTIFF plain pixel", source, bands, "int16", block)
        if not path.exists():
            repeat_blocks(made.path, path.with_suffix(".part"), edge)
            path.with_suffix(".part").rename(path)
        return replace(made, path=path, shape=(edge, edge))

    def drop(self, scene: Scene) -> None:
        """Remove a scene that is not needed any more."""
        for path in self.folder.glob(f"{scene.path.stem}.*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _write(path: Path, driver: str, options: dict[str, str], edge: int, bands: int, dtype: str, block: int) -> None:
    if driver == "Zarr":
        _write_zarr(path, edge, bands)
    elif driver == "COG":
        plain = path.with_name("plain.tif")
        _write_raster(plain, "GTiff", {}, edge, bands, dtype, block)
        rasterio.shutil.copy(str(plain), str(path), driver="COG", num_threads="all_cpus", **options)
        plain.unlink()
    else:
        _write_raster(path, driver, options, edge, bands, dtype, block)


def _write_raster(
    path: Path, driver: str, options: dict[str, str], edge: int, bands: int, dtype: str, block: int
) -> None:
    profile: dict[str, Any] = {
        "driver": driver, "width": edge, "height": edge, "count": bands, "dtype": dtype,
        "crs": CRS, "transform": TRANSFORM, **options,
    }  # fmt: skip
    if driver == "GTiff":
        profile |= {
            "tiled": True,
            "blockxsize": block,
            "blockysize": block,
            "num_threads": "all_cpus",
            "bigtiff": "yes",
        }
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = names_of(bands)
        if dtype != "float32":
            file.scales = (0.01,) * bands
        for row, strip in _strips(bands, edge, edge):
            stored = strip if dtype == "float32" else np.rint(strip * 100).astype(dtype)
            file.write(stored, window=Window(0, row, edge, strip.shape[1]))


def _write_zarr(path: Path, edge: int, bands: int) -> None:
    values = np.concatenate([strip for _, strip in _strips(bands, edge, edge)], axis=1)
    middle = np.arange(edge) + 0.5
    coords = {"band": list(names_of(bands)), "y": TRANSFORM.f + TRANSFORM.e * middle, "x": TRANSFORM.c + 30 * middle}
    scene = xr.DataArray(values, dims=("band", "y", "x"), coords=coords, name="scene").odc.assign_crs(CRS)
    scene.to_zarr(path, encoding={"scene": {"chunks": (bands, EDGE, EDGE)}}, consolidated=False, zarr_format=2)
