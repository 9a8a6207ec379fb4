"""Small made scenes, samples, spectra and satellite products with a known truth, for tests and examples."""

from __future__ import annotations

from .scenes import DECAY_CM, make_samples, make_scene, true_values, write_raster

__all__ = ["DECAY_CM", "make_samples", "make_scene", "true_values", "write_raster"]
