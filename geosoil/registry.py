"""Names to factories: geosoil's own from a table, plug-ins from entry points."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import ModelError, listing

__all__ = ["PREDICTORS", "predictor"]

#: Kind of a fitted model, as in its file, to the class that restores it.
PREDICTORS = {
    "forest": "geosoil.models.forest:ForestPredictor",
    "patchnet": "geosoil.models.cnn:PatchPredictor",
}


def predictor(kind: str) -> Any:
    """The predictor class of a kind; plug-ins come from the entry-point group ``geosoil.predictors``."""
    place = PREDICTORS.get(kind)
    if place is not None:
        module, name = place.split(":")
        return getattr(import_module(module), name)
    found = [point for point in entry_points(group="geosoil.predictors") if point.name == kind]
    if len(found) == 1:
        return found[0].load()
    problem = "is not known here" if not found else "is offered by several plug-ins"
    raise ModelError(
        f"model kind {kind!r} {problem}",
        code="GS-MODEL-KIND",
        details=[f"known: {listing(sorted(PREDICTORS))}", *(f"offered by {point.value}" for point in found)],
    )
