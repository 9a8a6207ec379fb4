"""What a model of spectra is trained on: samples with satellite spectra, laboratory spectra and values."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.prep.neighbours import Neighbours
from geosoil.soil import Depth, Property, Target

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    from geosoil.jobs.libraries import LibrarySet
    from geosoil.types import Float32, Float64, Int64

__all__ = ["PairSet"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairSet:
    """Samples of spectra.

    Attributes
    ----------
    properties : tuple of Property
        What was observed, T of them.
    depth : Depth
        Of the samples.
    names : (n,) array of str
        The samples.
    satellite : (n, p) float64
        Reflectance of their cells, on the bands that are used.
    laboratory : (n, p) float64 or None
        Their laboratory spectra, on the same bands.
    values : (n, T) float64
        In the properties' units; NaN where not observed.
    bands : Bands
        The p bands.
    points : GeoDataFrame or None
        Where they lie, in the scene's CRS; None for tables of spectra alone.
    geobox : GeoBox or None
        Grid of the scene.
    neighbours : Neighbours
        Cells beside the samples that share their laboratory spectrum.
    library : LibrarySet or None
        Samples of a spectral library on the same bands, which help to learn.
    sources : tuple of str
        The files.
    report : dict
        What was read, used and left out, with reasons.
    """

    properties: tuple[Property, ...]
    depth: Depth
    names: NDArray[np.str_]
    satellite: Float64
    laboratory: Float64 | None
    values: Float64
    bands: Bands
    points: gpd.GeoDataFrame | None = None
    geobox: GeoBox | None = None
    neighbours: Neighbours | None = None
    library: LibrarySet | None = None
    sources: tuple[str, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def laboratory_alone(self) -> bool:
        """Whether the laboratory spectra are all that there is, and stand in the satellite's place."""
        return self.laboratory is self.satellite

    @property
    def wavelength_nm(self) -> Float64:
        """Centres of the bands, nm."""
        return np.asarray(self.bands.wavelength_nm, np.float64)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The properties at the samples' depth."""
        return tuple(Target(soil, self.depth) for soil in self.properties)

    @property
    def digest(self) -> str:
        """Hash of all values: equal for equal data, however they were read."""
        total = hashlib.sha256(json.dumps([self.bands.names, [str(one) for one in self.names]]).encode())
        arrays: list[NDArray[Any]] = [self.satellite, self.values, self.wavelength_nm]
        if self.laboratory is not None:
            arrays.append(self.laboratory)
        if self.neighbours is not None:
            arrays += [self.neighbours.spectra, self.neighbours.sample]
        if self.library is not None:
            arrays += [self.library.spectra, self.library.values]
            total.update(json.dumps([str(one) for one in self.library.source]).encode())
        for array in arrays:
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()

    def of(self, spectra: str) -> Float64:
        """The spectra that a model of a kind is given to predict from."""
        if spectra == "laboratory" and self.laboratory is not None:
            return self.laboratory
        return self.satellite

    def beside(self, rows: Int64) -> tuple[Float32, Int64]:
        """Neighbours of some samples, and the places of these samples in `rows`."""
        if self.neighbours is None or not len(self.neighbours):
            return np.empty((0, self.satellite.shape[1]), np.float32), np.empty(0, np.int64)
        place = np.full(len(self), -1, np.int64)
        place[rows] = np.arange(len(rows))
        owner = place[self.neighbours.sample]
        return self.neighbours.spectra[owner >= 0], owner[owner >= 0]

    def of_bands(self, kept: Int64) -> PairSet:
        """Some of the bands."""
        beside, satellite = self.neighbours, self.satellite[:, kept]
        laboratory = None if self.laboratory is None else self.laboratory[:, kept]
        return replace(
            self,
            satellite=satellite,
            laboratory=satellite if self.laboratory_alone else laboratory,
            bands=self.bands.take(kept.tolist()),
            neighbours=None if beside is None else replace(beside, spectra=beside.spectra[:, kept]),
        )

    def without_neighbours(self) -> PairSet:
        """The samples' own cells alone."""
        return replace(self, neighbours=None)
