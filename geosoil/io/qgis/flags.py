"""The raster of masked cells as a layer: a colour for each set of reasons that occurs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import rasterio
from pyproj import CRS

from .style import Entry, PaletteStyle
from .tree import Node
from .xml import VERSION, add, add_crs

__all__ = ["add_flag_layer", "flag_colour", "flag_document", "flag_style"]

#: Colours of the reasons; the first that a cell has gives its colour.
_COLOURS = {
    "cloud": "f4f4f4",
    "thin_cloud": "d5dbe3",
    "shadow": "4a4a55",
    "water": "3b78b5",
    "snow_or_ice": "bfe4f2",
    "land_use": "a05a8c",
    "green_vegetation": "4d9a4d",
    "dry_vegetation": "c9b458",
    "residue_or_wet_soil": "9b7653",
}
_OTHER = "808080"
_ABSTRACT = "Cells that are no bare soil and are left out of the maps; a bit for each reason."


def flag_style(path: Path) -> PaletteStyle:
    """An entry for each value that occurs, none for cells that are left."""
    with rasterio.open(path) as file:
        tags, nodata = file.tags(), file.nodata
        found: set[int] = set()
        for _, window in file.block_windows(1):
            found |= set(np.unique(file.read(1, window=window)).tolist())
    masks = [int(one) for one in tags.get("flag_masks", "").split()]
    names = tags.get("flag_meanings", "").split()
    meanings = dict(zip(masks, names, strict=True))
    values = sorted(found - {0, int(nodata if nodata is not None else -1)})
    return PaletteStyle(tuple(_entry(value, meanings) for value in values))


def _entry(value: int, meanings: dict[int, str]) -> Entry:
    reasons = [name for bit, name in meanings.items() if value & bit]
    colour = next((colour for name, colour in _COLOURS.items() if name in reasons), _OTHER)
    return Entry(value, colour, ", ".join(name.replace("_", " ") for name in reasons) or str(value))


def flag_colour(reason: str) -> str:
    """Colour of a reason, as six hexadecimal digits.

    >>> flag_colour("green vegetation")
    '4d9a4d'
    """
    return _COLOURS.get(reason.replace(" ", "_"), _OTHER)


def add_flag_layer(parent: ET.Element, node: Node, path: Path) -> None:
    """Append the layer to a project."""
    element = add(
        parent, "maplayer",
        type="raster", styleCategories="AllStyleCategories", hasScaleBasedVisibilityFlag=0,
        minScale=1e8, maxScale=0, refreshOnNotifyEnabled=0, autoRefreshEnabled=0, autoRefreshTime=0,
    )  # fmt: skip
    add(element, "id", node.id)
    add(element, "datasource", node.source)
    add(element, "shortname", path.stem)
    add(element, "title", node.name)
    add(element, "abstract", _ABSTRACT)
    add(element, "layername", node.name)
    with rasterio.open(path) as file:
        crs = CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019"))
    add_crs(element, "srs", crs)
    metadata = add(element, "resourceMetadata")
    for name, text in (
        ("identifier", path.name), ("parentidentifier", ""), ("language", "ENG"), ("type", "dataset"),
        ("title", node.name), ("abstract", _ABSTRACT),
    ):  # fmt: skip
        add(metadata, name, text)
    add_crs(metadata, "crs", crs)
    add(element, "provider", "gdal")
    _add_pipe(element, path)


def flag_document(path: Path) -> ET.Element:
    """The content of the ``.qml`` file."""
    root = ET.Element("qgis", version=VERSION, styleCategories="AllStyleCategories")
    _add_pipe(root, path)
    return root


def _add_pipe(parent: ET.Element, path: Path) -> None:
    pipe = add(parent, "pipe")
    pipe.append(flag_style(path).renderer())
    add(pipe, "brightnesscontrast", brightness=0, contrast=0, gamma=1)
    add(pipe, "huesaturation", saturation=0, grayscaleMode=0, colorizeOn=0)
    add(pipe, "rasterresampler", maxOversampling=1)
    add(parent, "blendMode", "0")
