"""A library that was put together once, kept in a folder under the hash of all that it was made of."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geosoil.errors import OutputError
from geosoil.types import PathLike, as_path

from .atomic import replacing

__all__ = ["assemble", "cache_folder", "content_key", "recall", "remember"]

log = logging.getLogger(__name__)

#: Counts up where the same files would give another library.
VERSION = 1
#: Labels of the samples.
_LABELS = ("sample", "source", "instrument", "country")


def cache_folder(cache: PathLike | bool) -> Path | None:
    """The folder to keep libraries in: the one that is named, that of the user for True, none for False."""
    if isinstance(cache, bool):
        return _user_folder() / "geosoil" / "libraries" if cache else None
    return as_path(cache)


def _user_folder() -> Path:
    """Where a user's programs keep what can be made again."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return home / "AppData" / "Local" if sys.platform == "win32" else home / ".cache"


def content_key(files: Sequence[Path], settings: Any) -> str:
    """A hash of the files' names and contents, and of the settings."""
    total = hashlib.blake2b(json.dumps([VERSION, settings], sort_keys=True, default=str).encode(), digest_size=16)
    for path in sorted(files):
        total.update(f"\0{path.parent.name}/{path.name}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def recall(folder: Path, key: str) -> xr.DataArray | None:
    """A library from the cache; None where it is not there, or is damaged."""
    path = folder / f"{key}.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as held:
            return _unpacked({name: held[name] for name in held.files})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        # The checksum of each member is looked at when it is read.
        log.warning("%s is damaged (%s); the library is put together again", path.name, type(error).__name__)
        return None


def remember(folder: Path, key: str, library: xr.DataArray) -> None:
    """Put a library into the cache; one that cannot be written is no error, but is said."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{key}.npz") as part:
            np.savez(part, **_packed(library))
    except OSError as error:
        reason = error.message if isinstance(error, OutputError) else error.strerror
        log.warning("the library is not kept for the next time: %s", reason)


def _packed(library: xr.DataArray) -> dict[str, Any]:
    values: pd.DataFrame = library.attrs["values"]
    card = {
        "codes": list(values.columns),
        **{key: library.attrs[key] for key in ("value_units", "report", "notes", "sources")},
    }
    arrays = {name: library[name].values.astype(str) for name in _LABELS}
    return {
        "spectra": library.values,
        "wavelength": library["wavelength"].values,
        "values": values.to_numpy(np.float64),
        "card": np.array(json.dumps(card)),
        **arrays,
    }


def _unpacked(held: dict[str, Any]) -> xr.DataArray:
    card = json.loads(str(held["card"]))
    labels = {name: held[name] for name in _LABELS}
    values = pd.DataFrame(held["values"], columns=card["codes"])
    found = assemble(held["spectra"], held["wavelength"], labels, values, card)
    if len(values) != found.sizes["sample"]:
        raise ValueError("values and spectra differ in number")
    return found


def assemble(
    spectra: Any, wavelength_nm: Any, labels: dict[str, Any], values: pd.DataFrame, card: dict[str, Any]
) -> xr.DataArray:
    """The library as one array."""
    return xr.DataArray(
        spectra,
        dims=("sample", "band"),
        coords={
            "sample": ("sample", np.asarray(labels["sample"], str)),
            "band": ("band", [f"{one:.10g}" for one in wavelength_nm]),
            "wavelength": ("band", wavelength_nm),
            **{name: ("sample", np.asarray(labels[name], str)) for name in ("source", "instrument", "country")},
        },
        attrs={
            "quantity": "reflectance",
            "units": "1",
            "values": values,
            "value_units": dict(card["value_units"]),
            "report": card["report"],
            "notes": tuple(card["notes"]),
            "sources": tuple(card["sources"]),
        },
    )
