"""Names to factories: geosoil's own from a table, plug-ins from entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import InputError, ModelError, listing
from .types import Reader

__all__ = ["GENERAL", "PREDICTORS", "READERS", "predictor", "reader_for", "readers", "special_reader"]

#: Kind of a fitted model, as in its file, to the class that restores it.
PREDICTORS = {
    "forest": "geosoil.models.forest:ForestPredictor",
    "patchnet": "geosoil.models.cnn:PatchPredictor",
    "spectral": "geosoil.models.spectral:SpectralPredictor",
}

#: Name of a reader of scenes to its class. Those of one sensor's products come first.
READERS = {
    "gaofen": "geosoil.io.gaofen:Gaofen",
    "enmap": "geosoil.io.enmap:EnMAP",
    "prisma": "geosoil.io.prisma:Prisma",
    "emit": "geosoil.io.emit:Emit",
    "store": "geosoil.io.stores:StoreReader",
    "raster": "geosoil.io.cube:RasterReader",
}
#: Readers that take what no other one knows, the first that accepts it.
GENERAL = ("store", "raster")


def predictor(kind: str) -> Any:
    """The predictor class of a kind; plug-ins come from the entry-point group ``geosoil.predictors``."""
    place = PREDICTORS.get(kind)
    if place is not None:
        return _load(place)
    found = [point for point in entry_points(group="geosoil.predictors") if point.name == kind]
    if len(found) == 1:
        return found[0].load()
    problem = "is not known here" if not found else "is offered by several plug-ins"
    raise ModelError(
        f"model kind {kind!r} {problem}",
        code="GS-MODEL-KIND",
        details=[f"known: {listing(sorted(PREDICTORS))}", *(f"offered by {point.value}" for point in found)],
    )


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)


@cache
def readers() -> dict[str, Reader]:
    """All readers of scenes by name; those of plug-ins, from the entry-point group ``geosoil.readers``, come first.

    Raises
    ------
    InputError
        ``GS-READER-BROKEN`` where a plug-in cannot be loaded.
    """
    found: dict[str, Reader] = {}
    for point in entry_points(group="geosoil.readers"):
        try:
            found[f"{point.name} ({point.value})"] = point.load()()
        except Exception as error:  # a plug-in may fail in any way
            raise InputError(
                f"the reader {point.name!r} of a plug-in cannot be loaded",
                code="GS-READER-BROKEN",
                details=[f"entry point: {point.value}", f"{type(error).__name__}: {error}"[:300]],
                hint="update or uninstall the plug-in",
            ) from error
    found.update({name: _load(place)() for name, place in READERS.items()})
    return found


def special_reader(address: str) -> Reader | None:
    """The reader of one sensor's products, or of a plug-in, that knows the address; None where none does.

    Raises
    ------
    InputError
        ``GS-READER-SEVERAL`` where two know it.
    """
    takers = {name: one for name, one in readers().items() if name not in GENERAL and one.accepts(address)}
    if len(takers) > 1:
        raise InputError(
            f"{len(takers)} readers know this file: {listing(list(takers), 3)}"[:99],
            code="GS-READER-SEVERAL",
            details=[f"file: {_shown(address)}", *(f"reader: {name}" for name in takers)],
            hint="uninstall the plug-in that is not meant",
        )
    return next(iter(takers.values()), None)


def reader_for(address: str) -> Reader:
    """The reader that opens a file, folder or address.

    Raises
    ------
    InputError
        ``GS-READER-NONE`` where no reader accepts it, ``GS-READER-SEVERAL`` where two do.
    """
    found = special_reader(address)
    if found is not None:
        return found
    for name in GENERAL:
        if readers()[name].accepts(address):
            return readers()[name]
    raise InputError(
        "no reader knows this file",
        code="GS-READER-NONE",
        details=[f"file: {_shown(address)}", f"readers: {listing(list(readers()))}"],
        hint="name a raster, a product's folder or archive, NetCDF or Zarr",
    )


def _shown(address: str) -> str:
    """The address without a query, which may hold secrets, and without a user."""
    bare = address.split("?")[0]
    scheme, sign, rest = bare.partition("://")
    return f"{scheme}{sign}{rest.rpartition('@')[2]}" if sign else bare
