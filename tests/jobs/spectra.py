"""A small study of spectra with a known truth: a cube of 64 x 64 cells, 60 samples, and what belongs to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.bands import Bands
from geosoil.config import Study
from geosoil.jobs.inversion import SpectralRecipe
from geosoil.jobs.pairs import PairSet
from geosoil.models.fusion import FusionSettings
from geosoil.models.heads import HeadSettings
from geosoil.prep.cars import Cars
from geosoil.prep.neighbours import Neighbours
from geosoil.soil import Depth, property_of
from geosoil.testing import Landscape, make_cube, make_spectral_samples

if TYPE_CHECKING:
    from geosoil.types import Float64

LAND = Landscape(shape=(64, 64), seed=3)
CODES = ("som", "as", "cu")
STUDY = f"""
name = "Tailings"
property = "som"
[samples]
path = "lab/samples.csv"
crs = "{LAND.crs}"
[scene]
path = "cube.tif"
[spectra]
laboratory = "lab/spectra.csv"
[fusion]
kind = "ds"
[invert]
properties = ["som", "as", "cu"]
spectra = "mixed"
cars_repeats = 1
cars_runs = 10
components = 8
[validation]
folds = 3
[compare]
spectra = ["laboratory", "satellite", "mixed"]
heads = ["plsr"]
schemes = ["random"]
repeats = 2
folds = 3
"""


def make_site(folder: Path) -> Path:
    """Cube, samples, laboratory spectra and study file of a ZY1E scene."""
    make_cube(folder / "cube.tif", LAND.shape, landscape=LAND, family="ZY1E")
    make_spectral_samples(LAND, 60, folder=folder / "lab")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    return folder


def study_of(site: Path, **changes: Any) -> Study:
    """The study of a site, tables changed as ``invert={"head": "svr"}``."""
    tables: dict[str, dict[str, Any]] = {
        "samples": {"path": site / "lab/samples.csv", "crs": LAND.crs},
        "scene": {"path": site / "cube.tif"},
        "spectra": {"laboratory": site / "lab/spectra.csv"},
        "fusion": {"kind": "ds"},
        "invert": {"properties": CODES, "spectra": "mixed", "cars_repeats": 1, "cars_runs": 10, "components": 8},
        "validation": {"folds": 3},
        "compare": {
            "spectra": ["laboratory", "satellite", "mixed"],
            "heads": ["plsr"],
            "schemes": ["random"],
            "repeats": 2,
            "folds": 3,
        },
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table} if isinstance(table, dict) else table
    return Study(name="Tailings", property="som", **tables)


def recipe_of(spectra: str, head: str = "plsr", **changes: Any) -> SpectralRecipe:
    """A recipe that is fitted in a moment."""
    quick = {
        "plsr": HeadSettings(most_components=6),
        "svr": HeadSettings("svr", budget=2),
        "rf": HeadSettings("rf", trees=10),
        "fd-rf": HeadSettings("fd-rf", trees=10, orders=(0.0, 1.0)),
        "dnn": HeadSettings("dnn", members=1, epochs=20),
    }
    bare = SpectralRecipe(
        spectra, quick[head], (), FusionSettings.of("ds", components=4), Cars(runs=8, components=4), ("none",)
    )
    return replace(bare, **changes)


def made_pairs(count: int = 60, bands: int = 24, *, noise: float = 0.0, targets: int = 1, seed: int = 0) -> PairSet:
    """Smooth spectra of four substances, whose amounts the targets are; the satellite sees them tilted and noisy.

    Each sample has two neighbours, which see the same but for noise.
    """
    rng = np.random.default_rng(seed)
    wavelength = np.linspace(450.0, 2300.0, bands)
    amounts = rng.random((count, 4))
    shapes = np.exp(-(((wavelength - np.array([[600.0], [1100], [1700], [2150]])) / 250) ** 2))
    laboratory = 0.5 - 0.08 * amounts @ shapes
    tilted = 0.9 * laboratory + 0.02 + 0.01 * np.sin(wavelength / 300)
    satellite = tilted + noise * rng.standard_normal(laboratory.shape)
    sample = np.repeat(np.arange(count), 2)
    beside = tilted[sample] + 0.002 * rng.standard_normal((2 * count, bands))
    return PairSet(
        properties=tuple(property_of(code) for code in CODES[:targets]),
        depth=Depth(0, 20),
        names=np.array([f"S{number:03d}" for number in range(count)]),
        satellite=satellite,
        laboratory=laboratory,
        values=_values(amounts)[:, :targets],
        bands=Bands(tuple(f"b{number}" for number in range(bands)), wavelength_nm=tuple(wavelength)),
        neighbours=Neighbours(beside.astype(np.float32), sample, np.zeros(2 * count)),
        report={},
    )


def _values(amounts: Float64) -> Float64:
    return np.stack([20 + 30 * amounts[:, 0], 8 + 6 * amounts[:, 1], 10 + 20 * amounts[:, 2]], axis=1)
