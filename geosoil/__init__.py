"""Soil samples and big rasters to soil maps that open in QGIS."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Study, load_study
    from .io.library import open_library
    from .io.raster import open_scene
    from .io.samples import open_samples
    from .io.spectra import open_spectra
    from .jobs.attribution import explain
    from .jobs.calibrate import calibrate
    from .jobs.compare import compare
    from .jobs.demo import demo
    from .jobs.info import info
    from .jobs.map import map, plan, predict
    from .jobs.predict import predict_spectra
    from .jobs.search_study import search_study
    from .jobs.terrain import terrain
    from .jobs.terrain_relations import terrain_relations
    from .jobs.train import train
    from .jobs.transfer import transfer
    from .models.bundle import Bundle, load_model

try:
    __version__ = version("geosoil")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Bundle",
    "Study",
    "__version__",
    "calibrate",
    "compare",
    "demo",
    "explain",
    "generate",
    "info",
    "invert",
    "load_model",
    "load_study",
    "map",
    "open_library",
    "open_samples",
    "open_scene",
    "open_spectra",
    "plan",
    "predict",
    "predict_spectra",
    "search_study",
    "terrain",
    "terrain_relations",
    "train",
    "transfer",
]

# Looked up on first use, so that `import geosoil` loads none of the heavy packages.
_PLACES = {
    "Bundle": "models.bundle",
    "Study": "config",
    "calibrate": "jobs.calibrate",
    "compare": "jobs.compare",
    "demo": "jobs.demo",
    "explain": "jobs.attribution",
    "generate": "jobs.generate",
    "info": "jobs.info",
    "invert": "jobs.invert",
    "load_model": "models.bundle",
    "load_study": "config",
    "map": "jobs.map",
    "open_library": "io.library",
    "open_samples": "io.samples",
    "open_scene": "io.raster",
    "open_spectra": "io.spectra",
    "plan": "jobs.map",
    "predict": "jobs.map",
    "predict_spectra": "jobs.predict",
    "search_study": "jobs.search_study",
    "terrain": "jobs.terrain",
    "terrain_relations": "jobs.terrain_relations",
    "train": "jobs.train",
    "transfer": "jobs.transfer",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
