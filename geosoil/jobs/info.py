"""`geosoil info`: what a model, raster, table, study, spectra or map run holds, as a dict or in plain words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from odc.geo.crs import CRS

from geosoil.bands import Bands
from geosoil.config import Study, load_study
from geosoil.errors import InputError, UsageError
from geosoil.io import gaofen
from geosoil.io.addresses import expand, is_remote, redact
from geosoil.io.archive import is_archive
from geosoil.io.grids import parse_crs, show_crs
from geosoil.io.headers import NO_MAP
from geosoil.io.preview import preview_bands, preview_samples
from geosoil.io.products import addresses_of
from geosoil.io.raster import open_scene
from geosoil.io.tables import TABLE_SUFFIXES, layers_of, read_table, typed
from geosoil.jobs.cubes import quicklook, tell_cube, tell_product
from geosoil.jobs.explain import describe
from geosoil.jobs.library_info import is_library, tell_library
from geosoil.jobs.measured import is_spectrometer_file, tell_spectra
from geosoil.models.bundle import Bundle, load_model
from geosoil.types import PathLike

__all__ = ["describe", "info"]

#: A record of a run is not larger than this, bytes.
_MOST_RECORD = 50 * 2**20
#: Vector files that hold layers.
_LAYERED = frozenset({".gpkg", ".gdb"})
#: What the records of runs hold, by kind.
_RECORDS = {
    "run": {"key", "models", "outputs", "grid", "tiles"},
    "terrain": {"input", "grid", "settings", "layers", "streams"},
}
#: Files of a folder that are looked at for a cube among them.
_MOST_FILES = 20
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
    *,
    wavelengths: PathLike | None = None,
    scale: float | None = None,
    picture: PathLike | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """What is in a file or object, as a plain dict with a ``kind``.

    Kinds are model, study, samples, spectra, layers (a vector file of several), run, terrain (a run of it), product and
    scene.

    A cube has an entry ``cube`` in its scene: sensor, detectors, bad bands, what the values are. A product that is
    still packed is looked into, and is a ``product``.

    Parameters
    ----------
    source : path or object
        A file, folder, glob or address; or what geosoil made of one: a scene, a table, a study or a model.
    wavelengths, scale
        Of a cube that does not tell them; see `open_scene`.
    picture : path, optional
        PNG to write of a scene.
    overwrite : bool
        Whether the picture may be replaced.

    Raises
    ------
    InputError, ModelError, OutputError, UsageError
        Where the file cannot be read, the object is none of these, or the picture cannot be written.

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
    settings = {"wavelengths": wavelengths, "scale": scale}
    found, scene = _explained(source, {name: one for name, one in settings.items() if one is not None})
    if scene is None and (picture is not None or wavelengths is not None or scale is not None):
        packed = f"unpack it, and ask for the picture of its folder: geosoil info {_unpacked(found['path'])}"
        raise UsageError(
            f"a picture, wavelengths and scale are for scenes, and this is a {found['kind']}",
            code="GS-INFO",
            hint=packed if found["kind"] == "product" else "leave them out, or name a scene",
        )
    if scene is not None and picture is not None:
        found["picture"] = str(quicklook(scene, picture, overwrite=overwrite, inputs=(wavelengths,)))
    return found


def _unpacked(path: str) -> str:
    """What the folder of an archive is called."""
    return re.sub(r"\.(tar\.gz|tgz|tar|zip)$", "", Path(path).name, flags=re.IGNORECASE)


def _explained(source: Any, settings: Mapping[str, Any]) -> tuple[dict[str, Any], xr.DataArray | None]:
    """What a source is, and its scene where it is one."""
    if isinstance(source, Bundle):
        return _model(source, "the model"), None
    if isinstance(source, Study):
        return _study(source, "the study"), None
    if isinstance(source, pd.DataFrame):
        return _table(source, "the table"), None
    if isinstance(source, (xr.DataArray, xr.Dataset)):
        return _scene(source, "the scene", settings)
    if isinstance(source, (list, tuple)):
        return _scene(source, f"{len(source)} sources", settings)
    if not isinstance(source, (str, Path)) and not hasattr(source, "__fspath__"):
        raise UsageError(
            f"a {type(source).__name__} is nothing that can be explained",
            code="GS-INFO",
            hint="give a path, or a scene, a table of samples, a study or a model",
        )
    found = _file(str(source))
    return _scene(str(source), str(source), settings) if found is None else (found, None)


def _file(text: str) -> dict[str, Any] | None:
    """What a file is that is no scene; None for all others."""
    suffix = Path(text).suffix.lower()
    if not is_remote(text) and not any(sign in text for sign in "*?["):
        if is_spectrometer_file(path := Path(text).expanduser()):
            return _spectra(path, text)
        if is_library(path):
            return {"kind": "library", "path": text, **tell_library(path)}
        expand(text)  # raises where there is nothing, and says what is near
        if suffix in {".gsm", ".safetensors", ".pt", ".pth", ".pkl", ".joblib"}:
            return _model(load_model(text), text)
        if suffix == ".toml":
            return _study(load_study(text), text)
        if suffix in TABLE_SUFFIXES:
            return _table(path, text)
        if suffix == ".json" and (told := _record(path)):
            return {"kind": told[0], "path": text, "record": told[1]}
        if is_archive(path.name) and path.is_file():  # nothing else that geosoil opens is packed so
            return {"kind": "product", "path": text, "product": tell_product(gaofen.describe(text))}
    return None


def _record(path: Path) -> tuple[str, dict[str, Any]] | None:
    """The record that `geosoil map` or `geosoil terrain` left, with its kind; None for other files."""
    try:
        if path.stat().st_size > _MOST_RECORD:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return next(((kind, found) for kind, wanted in _RECORDS.items() if wanted <= found.keys()), None)


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
        **{
            key: card[key]
            for key in ("name", "model", "properties", "quantity", "level", "wavelength_nm", "extent", "counts")
        },
        "selection": card["selection"],
        "settings": card["settings"],
        "seed": card["seed"],
        "versions": card["versions"],
        "created": card["created"],
    }


def _study(study: Study, path: str) -> dict[str, Any]:
    return {"kind": "study", "path": path, "settings": study.model_dump(mode="json")}


def _table(source: Path | pd.DataFrame, path: str) -> dict[str, Any]:
    """Spectra where columns are wavelengths, else samples; of a file of several layers what these are."""
    if isinstance(source, Path) and source.suffix.lower() in _LAYERED and len(layers := layers_of(source)) > 1:
        return {"kind": "layers", "path": path, "layers": layers}
    return _spectra(source, path) or _samples(source, path)


def _spectra(source: Path | pd.DataFrame, path: str) -> dict[str, Any] | None:
    told = tell_spectra(source)
    return None if told is None else {"kind": "spectra", "path": path, **told}


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


def _opened(source: Any, settings: Mapping[str, Any]) -> xr.DataArray:
    """The scene; a cube, and an image that has no georeference at all, in sensor geometry where it has no map grid."""
    try:
        return open_scene(source, **settings)
    except InputError as error:
        if error.code not in NO_MAP:
            raise
        try:
            scene = open_scene(source, mapped=False, **settings)
        except InputError as second:
            # What is wrong beside the missing map grid has to be mended first.
            raise (error if second.code in NO_MAP else second) from None
        if error.code == "GS-GRID-MISSING" or "wavelength" in scene.coords:
            return scene
        raise


def _scene(source: Any, path: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], xr.DataArray]:
    scene = _opened(source, settings)
    parts = source if isinstance(source, (list, tuple)) else [source]
    held = any(isinstance(one, (xr.DataArray, xr.Dataset)) for one in parts)
    files = [] if held else preview_bands(source)
    geobox = scene.odc.geobox
    box = geobox.extent.boundingbox
    bands = Bands.of(scene)
    maps = [{"file": one["file"], **one["tags"]} for one in files if one["tags"].keys() >= _MAP_TAGS]
    cube = tell_cube(scene)
    inside = [] if cube or held else _cubes_in(source)
    found = {
        "kind": "scene",
        "path": path,
        "bands": list(bands.names),
        "classes": [name for name, is_class in zip(bands.names, bands.classes, strict=False) if is_class],
        "rows": int(geobox.shape.y),
        "columns": int(geobox.shape.x),
        "cell": [abs(float(geobox.resolution.x)), abs(float(geobox.resolution.y))],
        **_place(geobox.crs),
        "extent": [float(box.left), float(box.bottom), float(box.right), float(box.top)],
        "bytes": int(scene.nbytes),
        "stored": [band for one in files for band in one["bands"]],
        "maps": maps,
        **({"cube": cube} if cube else {}),
        **({"cubes": inside} if inside else {}),
        **({"flags": flags} if (flags := _flags(files)) else {}),
    }
    return found, scene


def _cubes_in(source: Any) -> list[dict[str, Any]]:
    """Files with wavelengths among others without: stacked they are a cube no more, and are asked about by name."""
    addresses = addresses_of(source)
    if not 1 < len(addresses) <= _MOST_FILES:
        return []
    found = []
    for address in addresses:
        try:
            bands = Bands.of(open_scene(address, mapped=False))
        except InputError:
            continue
        if bands.wavelength_nm:
            found.append({"path": redact(address), "bands": len(bands)})
    return found


def _flags(files: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the bits of a raster of flags mean, as CF names them; of one file alone."""
    tags = files[0]["tags"] if len(files) == 1 else {}
    names, bits = (str(tags.get(name, "")).split() for name in ("flag_meanings", "flag_masks"))
    if len(names) != len(bits) or not all(bit.isdecimal() for bit in bits):
        return {}
    return {name.replace("_", " "): int(bit) for name, bit in zip(names, bits, strict=True)}


def _place(crs: CRS | None) -> dict[str, Any]:
    """The CRS of a scene; none in sensor geometry."""
    if crs is None:
        return {"crs": None, "crs_name": show_crs(None), "units": ""}
    name = f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt()
    return {"crs": name, "crs_name": show_crs(crs), "units": crs.units[0] if crs.units else ""}
