"""A made spectral library of several sources, each with its own instrument, and a farm, with a known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from geosoil.errors import UsageError

from .landscape import Landscape, blend, mixture
from .sampling import LAYER_CM, make_spectral_samples
from .spectra import VAN_BEMMELEN, at_bands, soils

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64, PathLike

__all__ = ["Farm", "Library", "make_farm", "make_library", "soil_values"]

#: Names of the sources, and where their soils lie in organic matter, iron and clay [standard scores].
SOURCES = {
    "wheatbelt": (-0.3, -0.2, -0.4),
    "plateau": (0.6, 0.7, 0.5),
    "coast": (0.3, -0.7, -0.8),
    "river": (-0.5, 0.3, 0.8),
    "hills": (1.0, 0.2, -0.1),
    "plain": (-0.8, -0.5, 0.2),
}
#: Columns of the tables.
_COLUMNS = {"soc": "soc_g_per_kg", "clay": "clay_pct", "ph": "ph", "pb": "pb_mg_per_kg"}
_UNITS = {"soc": "g/kg", "clay": "%", "ph": "", "pb": "mg/kg"}
# What one standard deviation of organic matter, iron and clay adds to pH, and to the logarithm of lead.
_PH = (6.3, (-0.45, 0.2, 0.4))
_LEAD = (3.4, (0.35, 0.45, -0.15))
# Spread of what no spectrum shows: of the logarithm of carbon and lead, of clay in %, of pH.
_HIDDEN = {"soc": 0.08, "clay": 2.0, "ph": 0.15, "pb": 0.1}
# Spread of the sources' laboratories about each other, in the same units.
_METHOD = {"soc": 0.06, "clay": 1.5, "ph": 0.12, "pb": 0.06}
_LOGARITHMIC = frozenset({"soc", "pb"})
# Spread of the soils of a source, standard scores.
_SPREAD = 0.75
# Of instruments: ripple along wavelength, step of the detectors at 1000 nm, width of bands, noise as reflectance.
_RIPPLE, _STEP, _FWHM_NM, _NOISE = 0.012, 0.012, (4.0, 12.0), 0.0005
# Spread of a spectrum's brightness and tilt, as of the samples of a landscape.
_CUP, _TILT = 0.03, 0.006


@dataclass(frozen=True, slots=True)
class Library:
    """What was written, and the truth behind it.

    Attributes
    ----------
    folder : Path
        A table a source: ``sample_id``, ``country``, ``instrument``, the properties, a column a wavelength.
    wavelength_nm : (p,) float64
    reflectance : (N, p) float64
        As the instruments measured it.
    values, shown : dict of (N,) float64
        By property: as the sources' laboratories measured it, and the part that follows from the spectrum.
    source : (N,) str
        Name of the source.
    instruments : dict of (p,) float64
        By source: what its instrument makes of reflectance, as a factor.
    """

    folder: Path
    wavelength_nm: Float64
    reflectance: Float64
    values: dict[str, Float64]
    shown: dict[str, Float64]
    source: NDArray[np.str_]
    instruments: dict[str, Float64]


@dataclass(frozen=True, slots=True)
class Farm:
    """Samples of a landscape with values of the properties of a library.

    Attributes
    ----------
    folder : Path
        ``samples.csv`` (a row a sample and property), ``spectra.csv`` (a row a sample, a column a wavelength).
    samples : GeoDataFrame
        As `geosoil.open_samples` gives them.
    spectra : DataFrame
        ``sample_id``, and reflectance in columns named by wavelength in nm.
    shown : dict of (n,) float64
        By property: the part that follows from the spectrum, in the order of `spectra`.
    """

    folder: Path
    samples: gpd.GeoDataFrame
    spectra: pd.DataFrame
    shown: dict[str, Float64]


def soil_values(members: NDArray[np.int16], weights: Float64) -> dict[str, Float64]:
    """Properties of mixed soils as far as their spectra show them.

    Parameters
    ----------
    members, weights : (..., 6)
        Which of the measured soils are mixed, and their shares; a `Ground` has them.

    Returns
    -------
    dict of (...) float64
        ``soc`` [g/kg], ``clay`` [%], ``ph``, ``pb`` [mg/kg].

    >>> found = soil_values(np.array([[0, 1]], np.int16), np.array([[0.5, 0.5]]))
    >>> sorted(found)
    ['clay', 'pb', 'ph', 'soc']
    """
    known = soils()
    scores = [blend(weights, column[members]) for column in known.scores().T]

    def of(model: tuple[float, tuple[float, ...]]) -> Float64:
        return np.asarray(model[0] + sum(slope * score for slope, score in zip(model[1], scores, strict=True)))

    return {
        "soc": blend(weights, known.som[members]) / VAN_BEMMELEN,
        "clay": blend(weights, known.clay[members]),
        "ph": of(_PH),
        "pb": np.exp(of(_LEAD)),
    }


def make_library(
    folder: PathLike,
    count: int = 100,
    *,
    sources: int = 4,
    properties: Sequence[str] = ("soc", "clay", "ph"),
    step_nm: int = 10,
    seed: int = 0,
) -> Library:
    """Write a library of several sources, a table each.

    Soils are mixed from measured ones; each source has its own kind of soils, an instrument with a response of its
    own, and a laboratory that measures a little differently. Lead is known to few real libraries, and to this one
    only if it is asked for.

    Parameters
    ----------
    folder : path
        Where to write the tables.
    count : int
        Samples of each source.
    sources : int
        How many of the six sources.
    properties : sequence of str
        Of ``soc``, ``clay``, ``ph``, ``pb``.
    step_nm : int
        Step of the spectra, 350 to 2500 nm.
    seed : int
        Equal seeds give equal libraries.

    Raises
    ------
    UsageError
        ``GS-TESTING-LIBRARY``: a property is not known, or there are not as many sources.
    """
    unknown = sorted(set(properties) - set(_COLUMNS))
    if unknown or not 1 <= sources <= len(SOURCES):
        raise UsageError(
            "such a library cannot be made",
            code="GS-TESTING-LIBRARY",
            details=[f"properties: {', '.join(properties)}; sources: {sources}"],
            hint=f"take some of {', '.join(_COLUMNS)}, and 1 to {len(SOURCES)} sources",
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    wavelength = np.arange(350.0, 2501.0, step_nm)
    names = list(SOURCES)[:sources]
    parts, instruments = [], {}
    for number, name in enumerate(names):
        rng = np.random.default_rng((seed, 50, number))
        instruments[name] = _instrument(wavelength, rng)
        spectra, shown = _soils(SOURCES[name], count, wavelength, rng)
        measured = _measured(spectra * instruments[name], wavelength, rng)
        method = {code: spread * rng.standard_normal() for code, spread in _METHOD.items()}
        values = {code: _valued(code, held, rng, method[code]) for code, held in shown.items()}
        _write_source(target, name, wavelength, measured, {code: values[code] for code in properties})
        parts.append((measured, values, shown))
    return Library(
        folder=target,
        wavelength_nm=wavelength,
        reflectance=np.concatenate([part[0] for part in parts]),
        values={code: np.concatenate([part[1][code] for part in parts]) for code in properties},
        shown={code: np.concatenate([part[2][code] for part in parts]) for code in properties},
        source=np.repeat(names, count),
        instruments=instruments,
    )


def make_farm(
    folder: PathLike,
    landscape: Landscape,
    count: int = 60,
    *,
    properties: Sequence[str] = ("soc", "clay", "ph", "pb"),
    step_nm: int = 10,
    seed: int = 0,
) -> Farm:
    """Write samples of a landscape's bare soil, with laboratory spectra and the properties of a library.

    Parameters
    ----------
    folder : path
        Where to write ``samples.csv`` and ``spectra.csv``.
    landscape : Landscape
        Where the farm lies; its cubes see the same soils.
    count : int
        Number of samples.
    properties : sequence of str
        Of ``soc``, ``clay``, ``ph``, ``pb``.
    step_nm : int
        Step of the spectra, 350 to 2500 nm.
    seed : int
        Equal seeds give equal farms.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    taken = make_spectral_samples(landscape, count, step_nm=step_nm, seed=seed)
    shown = soil_values(taken.ground.members, taken.ground.weights)
    rng = np.random.default_rng((seed, 60))
    names = taken.spectra["sample_id"].to_numpy(str)
    rows = []
    for code in properties:
        values = _valued(code, shown[code], rng)
        rows.append(pd.DataFrame({"profile": names, "property": code, "value": values}))
    table = pd.concat(rows, ignore_index=True)
    table.insert(2, "top_cm", LAYER_CM[0])
    table.insert(3, "bottom_cm", LAYER_CM[1])
    x, y = np.tile(taken.ground.x, len(rows)), np.tile(taken.ground.y, len(rows))
    samples = gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs=landscape.crs)
    samples.attrs["report"] = {"rows": len(samples), "used": len(samples), "dropped": {}}
    written = pd.DataFrame(
        {
            "sample_id": table["profile"], "x": x.round(2), "y": y.round(2), "top_cm": table["top_cm"],
            "bottom_cm": table["bottom_cm"], "property": table["property"], "value": table["value"].round(4),
            "unit": table["property"].map(_UNITS),
        }
    )  # fmt: skip
    written.to_csv(target / "samples.csv", index=False)
    taken.spectra.round(6).to_csv(target / "spectra.csv", index=False)
    return Farm(target, samples, taken.spectra, {code: shown[code] for code in properties})


def _soils(
    centre: tuple[float, ...], count: int, wavelength: Float64, rng: np.random.Generator
) -> tuple[Float64, dict[str, Float64]]:
    """Clean spectra of soils about a centre, and what they show."""
    scores = np.asarray(centre) + _SPREAD * rng.standard_normal((count, 3))
    members, weights = mixture(scores)
    banded = at_bands(soils().reflectance, wavelength, rng.uniform(*_FWHM_NM))
    clean = np.einsum("ij,ijk->ik", weights, banded[members])
    return clean, soil_values(members, weights)


def _instrument(wavelength: Float64, rng: np.random.Generator) -> Float64:
    """What an instrument makes of reflectance along wavelength: slow ripples, and a step where detectors meet."""
    share = (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0])
    waves: Any = sum(
        rng.standard_normal() * np.cos(np.pi * order * share + rng.uniform(0, 2 * np.pi)) for order in range(1, 6)
    )
    return np.asarray(np.exp(_RIPPLE * waves + _STEP * rng.standard_normal() * (wavelength > 1000.0)))


def _measured(spectra: Float64, wavelength: Float64, rng: np.random.Generator) -> Float64:
    """Spectra with noise, and brightness and tilt of each filling of the cup."""
    rows = len(spectra)
    tilt = _TILT * rng.standard_normal((rows, 1)) * (wavelength - 1400.0) / 1000.0
    filled = spectra * np.exp(_CUP * rng.standard_normal((rows, 1)) + tilt)
    return np.asarray(filled + _NOISE * rng.standard_normal(spectra.shape))


def _valued(code: str, shown: Float64, rng: np.random.Generator, method: float = 0.0) -> Float64:
    """Measured values: with what no spectrum shows, and what is the laboratory's own."""
    off = method + _HIDDEN[code] * rng.standard_normal(len(shown))
    return shown * np.exp(off) if code in _LOGARITHMIC else np.maximum(shown + off, 0.1)


def _write_source(folder: Path, name: str, wavelength: Float64, spectra: Float64, values: dict[str, Float64]) -> None:
    head = {
        "sample_id": [f"{name}-{number:03d}" for number in range(1, len(spectra) + 1)],
        "country": name.capitalize(),
        "instrument": f"spectrometer of {name}",
        **{_COLUMNS[code]: held.round(4) for code, held in values.items()},
    }
    columns = pd.DataFrame(spectra.round(6), columns=[f"{nm:g}" for nm in wavelength])
    pd.DataFrame(head, index=columns.index).join(columns).to_csv(folder / f"{name}.csv", index=False)
