"""`geosoil info`: what a model, raster, sample table or study file holds, in plain words or as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from geosoil.bands import Bands
from geosoil.config import load_study
from geosoil.io.addresses import expand, is_remote
from geosoil.io.raster import open_scene
from geosoil.io.tables import TABLE_SUFFIXES, read_table, typed
from geosoil.jobs.counts import say_counts
from geosoil.models.bundle import load_model
from geosoil.types import PathLike

__all__ = ["describe", "info"]


def info(path: PathLike) -> dict[str, Any]:
    """What is in a file, as a plain dict with a ``kind``: model, study, samples or scene.

    Raises
    ------
    InputError, ModelError, UsageError
        Where the file cannot be read.
    """
    text = str(path)
    suffix = Path(text).suffix.lower()
    if not is_remote(text) and not any(sign in text for sign in "*?["):
        expand(text)  # raises where there is nothing, and says what is near
        if suffix in {".gsm", ".safetensors", ".pt", ".pth", ".pkl", ".joblib"}:
            return _model(path)
        if suffix == ".toml":
            return _study(path)
        if suffix in TABLE_SUFFIXES:
            return _samples(path)
    return _scene(text)


def _model(path: PathLike) -> dict[str, Any]:
    bundle = load_model(path)
    card = bundle.card.model_dump(mode="json")
    return {
        "kind": "model",
        "path": str(path),
        "sha256": bundle.sha256,
        "patch": bundle.patch,
        "bands": list(bundle.bands),
        **{key: card[key] for key in ("name", "model", "soil_property", "depths", "extent", "counts", "scores")},
        "selection": card["selection"],
        "seed": card["seed"],
        "versions": card["versions"],
        "created": card["created"],
    }


def _study(path: PathLike) -> dict[str, Any]:
    return {"kind": "study", "path": str(path), "settings": load_study(path).model_dump(mode="json")}


def _samples(path: PathLike) -> dict[str, Any]:
    found = read_table(path)
    table, notes = found.frame, found.notes
    columns = []
    for name in table.columns:
        if name == "geometry":
            continue
        column = typed(table[name])
        entry: dict[str, Any] = {"name": str(name), "type": str(column.dtype), "missing": int(column.isna().sum())}
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            entry.update(_span(column))
        columns.append(entry)
    return {"kind": "samples", "path": str(path), "rows": len(table), "columns": columns, "notes": list(notes)}


def _span(column: pd.Series) -> dict[str, Any]:
    """Lowest and highest of the finite numbers in a column, and how many are not finite."""
    infinite = column.isin([math.inf, -math.inf])
    finite = column[~infinite].dropna()
    return {
        **({"lowest": float(finite.min()), "highest": float(finite.max())} if len(finite) else {}),
        **({"infinite": int(infinite.sum())} if infinite.any() else {}),
    }


def _scene(path: str) -> dict[str, Any]:
    scene = open_scene(path)
    geobox = scene.odc.geobox
    box = geobox.extent.boundingbox
    bands = Bands.of(scene)
    epsg = geobox.crs.epsg
    return {
        "kind": "scene",
        "path": path,
        "bands": list(bands.names),
        "rows": int(geobox.shape.y),
        "columns": int(geobox.shape.x),
        "cell": [abs(float(geobox.resolution.x)), abs(float(geobox.resolution.y))],
        "crs": f"EPSG:{epsg}" if epsg else geobox.crs.to_wkt(),
        "extent": [float(box.left), float(box.bottom), float(box.right), float(box.top)],
        "units": geobox.crs.units[0] if geobox.crs.units else "",
        "bytes": int(scene.nbytes),
    }


def describe(found: dict[str, Any]) -> str:
    """The same in plain words."""
    return {"model": _say_model, "study": _say_study, "samples": _say_samples, "scene": _say_scene}[found["kind"]](
        found
    )


def _say_model(found: dict[str, Any]) -> str:
    soil = found["soil_property"]
    unit = "" if soil["unit"] == "1" else f" in {soil['unit']}"
    depths = ", ".join(f"{top}-{bottom}" for top, bottom in found["depths"])
    lines = [
        f"{found['path']}: a {found['model']} model of {soil['name'].lower()}{unit} at {depths} cm",
        f"trained on {found['counts'].get('profiles')} profiles of {found['name']!r}, {found['created']}, "
        f"seed {found['seed']}",
        *say_counts(found["counts"]),
        f"takes {len(found['bands'])} bands in patches of {found['patch']} x {found['patch']} cells: "
        + ", ".join(found["bands"]),
    ]
    lines += [f"left out {name}: {why}" for name, why in found["selection"].get("dropped", {}).items()]
    if found["scores"]:
        lines.append(f"scores from {found['scores'][0]['split']}:")
        lines += [
            f"  {row['depth']:>12}  n {row['n']:.0f}, RMSE {_score(row['RMSE'], '.3g')}{unit[3:]}, "
            f"R2 {_score(row['R2'], '.2f')}, CCC {_score(row['CCC'], '.2f')}"
            for row in found["scores"]
        ]
    lines.append(f"sha256 {found['sha256']}")
    return "\n".join(lines)


def _score(value: float | None, form: str) -> str:
    """A score; some are not defined, as R2 where all values are equal."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def _say_study(found: dict[str, Any]) -> str:
    lines = [f"{found['path']}: a study file; all settings, with the defaults filled in:"]
    for section, values in found["settings"].items():
        if isinstance(values, dict):
            lines.append(f"[{section}]")
            lines += [f"  {key} = {value}" for key, value in values.items() if value not in (None, {}, [])]
        else:
            lines.append(f"{section} = {values}")
    return "\n".join(lines)


def _say_samples(found: dict[str, Any]) -> str:
    lines = [f"{found['path']}: a table of {found['rows']} rows", *found["notes"]]
    for column in found["columns"]:
        span = f", {column['lowest']:.6g} to {column['highest']:.6g}" if "lowest" in column else ""
        missing = f", {column['missing']} missing" if column["missing"] else ""
        infinite = f", {column['infinite']} infinite" if "infinite" in column else ""
        lines.append(f"  {column['name']} ({column['type']}){span}{missing}{infinite}")
    return "\n".join(lines)


def _say_scene(found: dict[str, Any]) -> str:
    west, south, east, north = found["extent"]
    shown = ", ".join(found["bands"][:20]) + (" ..." if len(found["bands"]) > 20 else "")
    return "\n".join(
        [
            f"{found['path']}: {len(found['bands'])} bands of {found['columns']} x {found['rows']} cells",
            f"cell {found['cell'][0]:g} x {found['cell'][1]:g} {found['units']}, {found['crs'][:60]}",
            f"x {west:.10g} to {east:.10g}, y {south:.10g} to {north:.10g}",
            f"{found['bytes'] / 2**20:.1f} MiB as float32",
            f"bands: {shown}",
        ]
    )
