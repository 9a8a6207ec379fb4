"""Small made scenes, samples, spectra and satellite products with a known truth, for tests and examples."""

from __future__ import annotations

from .acquisition import Levels
from .cube import Cube, make_cube
from .envi import Layout
from .landscape import Landscape
from .library import Farm, Library, make_farm, make_library, soil_values
from .product import Product, make_product
from .sampling import SpectralSamples, make_spectral_samples
from .scenes import DECAY_CM, make_samples, make_scene, true_values, write_raster

__all__ = [
    "DECAY_CM",
    "Cube",
    "Farm",
    "Landscape",
    "Layout",
    "Levels",
    "Library",
    "Product",
    "SpectralSamples",
    "make_cube",
    "make_farm",
    "make_library",
    "make_product",
    "make_samples",
    "make_scene",
    "make_spectral_samples",
    "soil_values",
    "true_values",
    "write_raster",
]
