"""`geosoil info`: what a model, raster, sample table, study file or map run holds, as a dict or in plain words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from geosoil.bands import Bands
from geosoil.config import Study, load_study
from geosoil.errors import UsageError
from geosoil.io.addresses import expand, is_remote
from geosoil.io.grids import parse_crs, show_crs
from geosoil.io.preview import preview_bands, preview_samples
from geosoil.io.raster import open_scene
from geosoil.io.tables import TABLE_SUFFIXES, read_table, typed
from geosoil.jobs.explain import describe
from geosoil.models.bundle import Bundle, load_model
from geosoil.types import PathLike

__all__ = ["describe", "info"]

#: A record of a run is not larger than this, bytes.
_MOST_RECORD = 50 * 2**20
#: Tags that only a map of geosoil has together.
_MAP_TAGS = {"long_name", "units", "depth_top_cm", "depth_bottom_cm", "statistic", "model_sha256"}


def info(
    source: PathLike
    | xr.DataArray
    | xr.Dataset
    | Sequence[PathLike | xr.DataArray | xr.Dataset]
    | Bundle
    | Study
    | pd.DataFrame,
) -> dict[str, Any]:
    """What is in a file or object, as a plain dict with a ``kind``: model, study, samples, run or scene.

    Parameters
    ----------
    source : path or object
        A file, folder, glob or address; or what geosoil made of one: a scene, a table, a study or a model.

    Raises
    ------
    InputError, ModelError, UsageError
        Where the file cannot be read, or the object is none of these.

    Examples
    --------
    >>> from geosoil.testing import make_samples, make_scene
    >>> scene = make_scene(shape=(8, 10))
    >>> found = info(scene)
    >>> found["kind"], found["rows"], found["columns"], found["bands"]
    ('scene', 8, 10, ['elevation', 'twi', 'ndvi'])
    >>> info(make_samples(scene, 20))["rows"]
    100
    """
    if isinstance(source, Bundle):
        return _model(source, "the model")
    if isinstance(source, Study):
        return _study(source, "the study")
    if isinstance(source, pd.DataFrame):
        return _samples(source, "the table")
    if isinstance(source, (xr.DataArray, xr.Dataset)):
        return _scene(source, "the scene")
    if isinstance(source, (list, tuple)):
        return _scene(source, f"{len(source)} sources")
    if not isinstance(source, (str, Path)) and not hasattr(source, "__fspath__"):
        raise UsageError(
            f"a {type(source).__name__} is nothing that can be explained",
            code="GS-INFO",
            hint="give a path, or a scene, a table of samples, a study or a model",
        )
    return _file(str(source))


def _file(text: str) -> dict[str, Any]:
    suffix = Path(text).suffix.lower()
    if not is_remote(text) and not any(sign in text for sign in "*?["):
        expand(text)  # raises where there is nothing, and says what is near
        if suffix in {".gsm", ".safetensors", ".pt", ".pth", ".pkl", ".joblib"}:
            return _model(load_model(text), text)
        if suffix == ".toml":
            return _study(load_study(text), text)
        if suffix in TABLE_SUFFIXES:
            return _samples(text, text)
        if suffix == ".json" and (record := _record(Path(text).expanduser())):
            return {"kind": "run", "path": text, "record": record}
    return _scene(text, text)


def _record(path: Path) -> dict[str, Any] | None:
    """The record that a run of `geosoil map` left; None for other files."""
    try:
        if path.stat().st_size > _MOST_RECORD:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    wanted = {"key", "models", "outputs", "grid", "tiles"}
    return found if isinstance(found, dict) and wanted <= found.keys() else None


def _model(bundle: Bundle, path: str) -> dict[str, Any]:
    card = bundle.card.model_dump(mode="json")
    coded = zip(card["encoder"]["bands"], card["encoder"]["categories"], strict=True)
    return {
        "kind": "model",
        "path": path,
        "sha256": bundle.sha256,
        "patch": bundle.patch,
        "bands": list(bundle.bands),
        "classes": {name: codes for name, codes in coded if codes is not None},
        "crs": show_crs(parse_crs(card["crs"])) if card["crs"] else "no CRS",
        **{key: card[key] for key in ("name", "model", "properties", "extent", "counts")},
        "selection": card["selection"],
        "settings": card["settings"],
        "seed": card["seed"],
        "versions": card["versions"],
        "created": card["created"],
    }


def _study(study: Study, path: str) -> dict[str, Any]:
    return {"kind": "study", "path": path, "settings": study.model_dump(mode="json")}


def _samples(source: PathLike | pd.DataFrame, path: str) -> dict[str, Any]:
    found = read_table(source)
    table, notes = found.frame, found.notes
    columns = []
    for name in table.columns:
        if str(table[name].dtype) == "geometry":
            continue
        column = typed(table[name])
        entry: dict[str, Any] = {"name": str(name), "type": str(column.dtype), "missing": int(column.isna().sum())}
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            entry.update(_span(column))
        columns.append(entry)
    return {
        "kind": "samples",
        "path": path,
        "rows": len(table),
        "columns": columns,
        "notes": list(notes),
        **preview_samples(found),
    }


def _span(column: pd.Series) -> dict[str, Any]:
    """Lowest and highest of the finite numbers in a column, and how many are not finite."""
    infinite = column.isin([math.inf, -math.inf])
    finite = column[~infinite].dropna()
    return {
        **({"lowest": float(finite.min()), "highest": float(finite.max())} if len(finite) else {}),
        **({"infinite": int(infinite.sum())} if infinite.any() else {}),
    }


def _scene(source: Any, path: str) -> dict[str, Any]:
    scene = open_scene(source)
    parts = source if isinstance(source, (list, tuple)) else [source]
    held = any(isinstance(one, (xr.DataArray, xr.Dataset)) for one in parts)
    files = [] if held else preview_bands(source)
    geobox = scene.odc.geobox
    box = geobox.extent.boundingbox
    bands = Bands.of(scene)
    epsg = geobox.crs.epsg
    maps = [{"file": one["file"], **one["tags"]} for one in files if one["tags"].keys() >= _MAP_TAGS]
    return {
        "kind": "scene",
        "path": path,
        "bands": list(bands.names),
        "classes": [name for name, is_class in zip(bands.names, bands.classes, strict=False) if is_class],
        "rows": int(geobox.shape.y),
        "columns": int(geobox.shape.x),
        "cell": [abs(float(geobox.resolution.x)), abs(float(geobox.resolution.y))],
        "crs": f"EPSG:{epsg}" if epsg else geobox.crs.to_wkt(),
        "crs_name": show_crs(geobox.crs),
        "extent": [float(box.left), float(box.bottom), float(box.right), float(box.top)],
        "units": geobox.crs.units[0] if geobox.crs.units else "",
        "bytes": int(scene.nbytes),
        "stored": [band for one in files for band in one["bands"]],
        "maps": maps,
    }
