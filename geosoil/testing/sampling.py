"""Samples of a made landscape's bare soil, with spectra as a laboratory measures them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd

from .acquisition import look_at
from .ground import Ground, Surface
from .landscape import PROPERTIES, Landscape

if TYPE_CHECKING:
    from geosoil.types import Float64, PathLike

__all__ = ["SpectralSamples", "make_spectral_samples"]

#: Depth of the sampled layer, cm.
LAYER_CM = (0.0, 20.0)
# Width of a laboratory spectrometer's bands, nm.
_LAB_FWHM_NM = 6.0
# Laboratory noise of a reading, as reflectance; more below 450 nm and beyond 2400 nm.
_LAB_NOISE = 0.0004
# Spread of a spectrum's brightness from one filling of the cup to the next, and of its tilt over the range.
_CUP, _TILT = 0.03, 0.006
# Least distance from the edge of the image, cells.
_MARGIN = 3.0
# Points that are tried at a time.
_TRIES = 4096


@dataclass(frozen=True, slots=True)
class SpectralSamples:
    """Samples, their spectra, and the truth where they were taken.

    Attributes
    ----------
    samples : GeoDataFrame
        One row a sample and property: ``profile``, ``property``, ``top_cm``, ``bottom_cm``, ``value``, ``geometry``.
    spectra : DataFrame
        One row a sample: ``sample_id`` (the profile), and reflectance, 0 to 1, in columns named by wavelength in nm.
    ground : Ground
        The truth at the points, in the order of `spectra`.
    """

    samples: gpd.GeoDataFrame
    spectra: pd.DataFrame
    ground: Ground

    @property
    def wavelength_nm(self) -> Float64:
        """Wavelengths of the spectra, nm."""
        return np.array([float(name) for name in self.spectra.columns[1:]])

    @property
    def reflectance(self) -> Float64:
        """The spectra, ``(samples, bands)``."""
        return np.asarray(self.spectra.iloc[:, 1:], np.float64)

    def value(self, code: str) -> Float64:
        """The measured values of a property, in the order of `spectra`."""
        chosen = self.samples[self.samples["property"] == code].set_index("profile")["value"]
        return np.asarray(chosen.loc[self.spectra["sample_id"]], np.float64)


def make_spectral_samples(
    landscape: Landscape,
    count: int = 90,
    *,
    properties: Sequence[str] = ("som", "as", "cu"),
    step_nm: int = 10,
    error: float = 0.05,
    seed: int = 0,
    folder: PathLike | None = None,
) -> SpectralSamples:
    """Sample the bare soil of a landscape at random points.

    They lie where an image of the landscape's size, turned about its middle, sees them, three cells or more from the
    image's edge.

    The sample is taken at a point, and a pixel sees its own centre; soil changes a little between the two.

    Parameters
    ----------
    landscape : Landscape
    count : int
        Number of samples.
    properties : sequence of str
        Of ``som``, ``as``, ``cu``.
    step_nm : int
        Step of the spectra, 350 to 2500 nm.
    error : float
        Standard deviation of the laboratory's values, as a share.
    seed : int
        Equal seeds give equal samples.
    folder : path, optional
        Where to write ``samples.csv`` and ``spectra.csv`` too.

    Returns
    -------
    SpectralSamples

    >>> found = make_spectral_samples(Landscape(shape=(64, 64)), 5)
    >>> len(found.samples), found.spectra.shape
    (15, (5, 217))
    """
    rng = np.random.default_rng((seed, 7))
    ground = _bare_points(landscape, count, rng)
    names = [f"S{number:03d}" for number in range(1, count + 1)]
    spectra = _measure(ground, step_nm, rng)
    factors = np.exp(error * rng.standard_normal((len(PROPERTIES), count)))
    values = {code: ground.value(code) * factor for code, factor in zip(PROPERTIES, factors, strict=True)}
    found = SpectralSamples(
        _table(landscape, ground, names, {code: values[code] for code in properties}),
        pd.DataFrame({"sample_id": names}).join(spectra),
        ground,
    )
    if folder is not None:
        _write(found, Path(folder))
    return found


def _bare_points(landscape: Landscape, count: int, rng: np.random.Generator) -> Ground:
    """Random points on bare soil whose pixel is bare too."""
    model = look_at(landscape, landscape.shape)
    x, y = np.empty(0), np.empty(0)
    while len(x) < count:
        right, down = rng.uniform(size=(2, _TRIES))
        px, py = landscape.left + right * landscape.extent[0], landscape.top - down * landscape.extent[1]
        seen = model.covers(*model.image(px, py, landscape.elevation(px, py)), margin=_MARGIN)
        px, py = px[seen], py[seen]
        bare = landscape.ground(px, py).bare & landscape.ground(*_cell_centre(landscape, px, py)).bare
        x, y = np.append(x, px[bare]), np.append(y, py[bare])
    return landscape.ground(x[:count], y[:count])


def _cell_centre(landscape: Landscape, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    cell = landscape.resolution
    column, row = np.floor((x - landscape.left) / cell), np.floor((landscape.top - y) / cell)
    return landscape.left + (column + 0.5) * cell, landscape.top - (row + 0.5) * cell


def _measure(ground: Ground, step_nm: int, rng: np.random.Generator) -> pd.DataFrame:
    """Spectra of the dried and sieved soil: noise of the instrument, brightness and tilt of the filling."""
    wavelength = np.arange(350, 2501, step_nm)
    clean = Surface.at(wavelength, np.full(len(wavelength), _LAB_FWHM_NM)).soil(ground).astype(np.float64)
    rows = len(clean)
    tilt = _TILT * rng.standard_normal((rows, 1)) * (wavelength - 1400.0) / 1000.0
    filled = clean * np.exp(_CUP * rng.standard_normal((rows, 1)) + tilt)
    edges = 1.0 + 5.0 * np.exp(-(wavelength - 350.0) / 40.0) + 3.0 * np.exp(-(2500.0 - wavelength) / 60.0)
    spectra = filled + _LAB_NOISE * edges * rng.standard_normal(clean.shape)
    return pd.DataFrame(spectra, columns=[str(nm) for nm in wavelength])


def _table(landscape: Landscape, ground: Ground, names: list[str], values: dict[str, Float64]) -> gpd.GeoDataFrame:
    """One row a sample and property."""
    parts = [
        pd.DataFrame(
            {"profile": names, "property": code, "top_cm": LAYER_CM[0], "bottom_cm": LAYER_CM[1], "value": value}
        )
        for code, value in values.items()
    ]
    points = gpd.points_from_xy(np.tile(ground.x, len(parts)), np.tile(ground.y, len(parts)))
    samples = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), geometry=points, crs=landscape.crs)
    samples.attrs["report"] = {"rows": len(samples), "used": len(samples), "dropped": {}}
    return samples


def _write(found: SpectralSamples, folder: Path) -> None:
    """The two tables as a laboratory hands them over."""
    folder.mkdir(parents=True, exist_ok=True)
    table = found.samples
    columns = {
        "sample_id": table["profile"],
        "x": table.geometry.x.round(2),
        "y": table.geometry.y.round(2),
        "top_cm": table["top_cm"],
        "bottom_cm": table["bottom_cm"],
        "property": table["property"],
        "value": table["value"].round(4),
        "unit": table["property"].map(PROPERTIES),
    }
    pd.DataFrame(columns).to_csv(folder / "samples.csv", index=False)
    found.spectra.round(6).to_csv(folder / "spectra.csv", index=False)
