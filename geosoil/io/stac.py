"""STAC item of a map: where it is, what it shows, and from which model, as a ``.json`` beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer

from geosoil.errors import InputError
from geosoil.io.atomic import replacing
from geosoil.io.qgis.layer import MapFacts, MapLayer, read_facts
from geosoil.io.qgis.xml import authority

__all__ = ["item_of", "write_item"]

_EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
)
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_item(layer: MapLayer, *, licence: str = "") -> Path:
    """Write the item of a map beside it, with the same stem.

    Raises
    ------
    InputError, OutputError
        The map cannot be read, or the item not be written.
    """
    path = layer.path.with_suffix(".json")
    item = item_of(layer, read_facts(layer.path), licence=licence)
    with replacing(path) as part:
        part.write_text(json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def item_of(layer: MapLayer, facts: MapFacts, *, licence: str = "") -> dict[str, Any]:
    """The item as JSON values (STAC 1.1.0, with the projection and raster extensions).

    Raises
    ------
    InputError
        ``GS-MAP-TAGS``: the file does not say when it was made, and an item needs a time.
    """
    created = facts.tags.get("created")
    if created is None:
        raise InputError(
            f"{layer.path} has no tag 'created'", code="GS-MAP-TAGS", hint="add it to the file: YYYY-MM-DDThh:mm:ssZ"
        )
    ring = _footprint(facts)
    longitudes, latitudes = zip(*ring, strict=True)
    depth = layer.target.depth
    properties = {
        "datetime": created,
        "created": created,
        "title": layer.title,
        "license": licence if re.fullmatch(r"[A-Za-z0-9.+-]+", licence) else "other",
        **_projection(facts),
        "geosoil:property": layer.soil_property.code,
        "geosoil:statistic": layer.statistic,
        "geosoil:depth_top_cm": depth.top_cm,
        "geosoil:depth_bottom_cm": depth.bottom_cm,
    }
    if licence:
        properties["attribution"] = licence
    if "model_sha256" in facts.tags:
        properties["geosoil:model_sha256"] = facts.tags["model_sha256"]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": layer.path.stem,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": properties,
        "links": [],
        "assets": {
            "map": {
                "href": f"./{layer.path.name}",
                "type": _COG,
                "title": layer.title,
                "roles": ["data"],
                "bands": [_band(layer, facts)],
            }
        },
    }


def _footprint(facts: MapFacts, pieces: int = 4) -> list[list[float]]:
    """The border of the map in longitude and latitude, anticlockwise and closed.

    Each edge is cut in pieces, since a straight edge of a projected grid is not straight on the globe.
    """
    west, south, east, north = facts.bounds
    share = np.linspace(0.0, 1.0, pieces, endpoint=False)
    along_x, along_y = west + share * (east - west), south + share * (north - south)
    x = np.concatenate([along_x, np.full(pieces, east), west + east - along_x, np.full(pieces, west), [west]])
    y = np.concatenate([np.full(pieces, south), along_y, np.full(pieces, north), south + north - along_y, [south]])
    longitude, latitude = Transformer.from_crs(facts.crs, "OGC:CRS84", always_xy=True).transform(x, y)
    return [[round(float(a), 7), round(float(b), 7)] for a, b in zip(longitude, latitude, strict=True)]


def _projection(facts: MapFacts) -> dict[str, Any]:
    code = authority(facts.crs)
    described: dict[str, Any] = {"proj:code": code or None}
    if not code:
        described["proj:wkt2"] = facts.crs.to_wkt("WKT2_2019")
    return {**described, "proj:shape": list(facts.shape), "proj:transform": list(facts.affine)}


def _band(layer: MapLayer, facts: MapFacts) -> dict[str, Any]:
    names = {"minimum": "MINIMUM", "maximum": "MAXIMUM", "mean": "MEAN", "stddev": "STDDEV"}
    names["valid_percent"] = "VALID_PERCENT"
    statistics = {
        name: facts.statistics[f"STATISTICS_{tag}"]
        for name, tag in names.items()
        if f"STATISTICS_{tag}" in facts.statistics
    }
    nodata = facts.nodata
    band = {
        "name": layer.path.stem,
        "description": layer.title,
        "data_type": "float32",
        "nodata": "nan" if nodata is not None and np.isnan(nodata) else nodata,
        "unit": layer.unit,
        "statistics": statistics,
    }
    return {name: value for name, value in band.items() if value not in (None, {})}
