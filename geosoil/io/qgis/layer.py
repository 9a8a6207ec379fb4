"""A map on disk as a layer: what it shows, and what its file says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rasterio
from pyproj import CRS
from rasterio.errors import RasterioError

from geosoil.errors import InputError
from geosoil.soil import Property, Target

__all__ = ["MapFacts", "MapLayer", "read_facts", "statistic_in_words", "unit_suffix"]

#: How legends and tables call a statistic; quantiles are put in words by `statistic_in_words`.
_NAMES = {
    "mean": "mean",
    "std": "standard deviation",
    "uncertainty": "relative width of the prediction interval",
    "aoa": "area of applicability",
    "di": "dissimilarity index",
}


@dataclass(frozen=True, slots=True)
class MapLayer:
    """One map: a property at a depth, one statistic of it, in one single-band GeoTIFF.

    Attributes
    ----------
    path : Path
        The GeoTIFF.
    target : Target
        Property and depth.
    statistic : str
        ``mean``, ``std``, ``uncertainty``, ``aoa``, ``di``, or a quantile such as ``Q0.05``.

    >>> from geosoil.soil import Depth, property_of
    >>> layer = MapLayer(Path("soc_0-5cm_Q0.05.tif"), Target(property_of("soc"), Depth(0, 5)), "Q0.05")
    >>> layer.name
    'Soil organic carbon 0-5 cm, 5 % quantile'
    """

    path: Path
    target: Target
    statistic: str

    @property
    def soil_property(self) -> Property:
        """The property that is shown."""
        return self.target.soil_property

    @property
    def statistic_name(self) -> str:
        """The statistic in words."""
        return statistic_in_words(self.statistic)

    @property
    def name(self) -> str:
        """Name in the layer tree; the unit stands in the group and in the legend."""
        plain = f"{self.soil_property.name} {self.target.depth}"
        return plain if self.statistic == "mean" else f"{plain}, {self.statistic_name}"

    @property
    def unit(self) -> str:
        """Unit of the values; ``1`` for none."""
        return "1" if self.statistic in {"uncertainty", "aoa", "di"} else self.soil_property.unit

    @property
    def title(self) -> str:
        """Name and unit."""
        suffix = unit_suffix(self.unit)
        return f"{self.name} [{suffix.strip()}]" if suffix else self.name


def statistic_in_words(statistic: str) -> str:
    """A statistic as legends, tables and `geosoil info` call it.

    >>> statistic_in_words("Q0.05"), statistic_in_words("std")
    ('5 % quantile', 'standard deviation')
    """
    quantile = re.fullmatch(r"Q(0?\.\d+)", statistic)
    return f"{100 * float(quantile[1]):g} % quantile" if quantile else _NAMES.get(statistic, statistic)


def unit_suffix(unit: str) -> str:
    """A unit behind a number, empty for none.

    >>> unit_suffix("g/kg"), unit_suffix("1")
    (' g/kg', '')
    """
    return "" if unit == "1" else f" {unit}"


@dataclass(frozen=True, slots=True)
class MapFacts:
    """What the file of a map says of itself.

    Attributes
    ----------
    crs : CRS
        Coordinate reference system.
    bounds : (float, float, float, float)
        West, south, east, north, in units of the CRS.
    shape : (int, int)
        Rows and columns.
    affine : (float, ...)
        Six coefficients from column and row to x and y, row by row.
    nodata : float or None
        Value of cells without one.
    tags, statistics : mapping
        Tags of the file, and those of its band that begin with ``STATISTICS_``.
    """

    crs: CRS
    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]
    affine: tuple[float, ...]
    nodata: float | None
    tags: Mapping[str, str]
    statistics: Mapping[str, float]


def read_facts(path: Path) -> MapFacts:
    """Read the header of a map; raises InputError for what is not one, or has no CRS."""
    try:
        with rasterio.open(path) as file:
            if file.crs is None:
                raise InputError(f"{path} has no CRS", code="GS-CRS-MISSING", hint="map a scene that has one")
            return MapFacts(
                crs=CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019")),
                bounds=tuple(file.bounds),
                shape=tuple(file.shape),
                affine=tuple(file.transform)[:6],
                nodata=file.nodata,
                tags=file.tags(),
                statistics={
                    name: float(value) for name, value in file.tags(1).items() if name.startswith("STATISTICS_")
                },
            )
    except RasterioError as error:
        raise InputError(f"{path} cannot be read as a map", code="GS-MAP-UNREADABLE", details=[str(error)]) from error
