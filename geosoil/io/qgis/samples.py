"""Samples as a point layer beside the maps."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyogrio
from pyproj import CRS

from geosoil.errors import InputError
from geosoil.io.atomic import replacing

from .xml import add, add_options

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["ALIASES", "SAMPLES_LAYER", "add_aliases", "add_marker", "sample_fields", "write_samples"]

#: Name of the layer in the GeoPackage.
SAMPLES_LAYER = "samples"
#: Version that QGIS 3.22 reads without a remark.
_GEOPACKAGE = {"VERSION": "1.2"}
#: How columns are called in tables and forms.
ALIASES = {
    "profile": "Profile",
    "property": "Property",
    "depth": "Depth",
    "top_cm": "Top [cm]",
    "bottom_cm": "Bottom [cm]",
    "value": "Observed",
    "observed": "Observed",
    "predicted": "Predicted, held out",
    "residual": "Observed minus predicted",
    "fold": "Fold",
    "unit": "Unit",
}


def write_samples(path: Path, samples: gpd.GeoDataFrame, crs: Any) -> Path:
    """Write samples as the layer ``samples`` of a GeoPackage, in the CRS of the maps.

    Parameters
    ----------
    path : Path
        The GeoPackage; replaced when it is there.
    samples : GeoDataFrame
        Points with a CRS; ``observed``, ``predicted``, ``fold``, ``depth`` and ``unit`` are shown under the names in
        `ALIASES`, other columns as they are.
    crs : CRS or what pyproj understands
        Of the maps.

    Raises
    ------
    InputError
        ``GS-CRS-MISSING``: the samples have no CRS.
    OutputError
    """
    if samples.crs is None:
        raise InputError("the samples have no CRS", code="GS-CRS-MISSING", hint="name one: samples.set_crs(...)")
    wkt = CRS.from_user_input(crs).to_wkt("WKT2_2019")
    frame = samples.to_crs(wkt)
    with replacing(path) as part:
        # Without a spatial index: its tables would hold more than the points of a usual study.
        pyogrio.write_dataframe(
            frame, part, layer=SAMPLES_LAYER, driver="GPKG", geometry_type="Point", dataset_options=_GEOPACKAGE
        )
    return path


def sample_fields(path: Path) -> list[str]:
    """Names of the columns of the sample layer."""
    return [str(name) for name in pyogrio.read_info(path, layer=SAMPLES_LAYER)["fields"]]


def add_marker(parent: ET.Element) -> None:
    """A fixed marker; without a renderer QGIS draws a colour by lot at each opening."""
    renderer = add(
        parent, "renderer-v2",
        type="singleSymbol", symbollevels=0, enableorderby=0, forceraster=0, referencescale=-1,
    )  # fmt: skip
    symbol = add(add(renderer, "symbols"), "symbol", type="marker", name="0", alpha=1, clip_to_extent=1, force_rhr=0)
    layer = add(symbol, "layer", **{"class": "SimpleMarker"}, enabled=1, locked=0)
    layer.set("pass", "0")
    options = {
        "name": "circle", "color": "255,255,255,230", "size": "1.3", "size_unit": "MM",
        "outline_color": "25,25,25,255", "outline_style": "solid", "outline_width": "0.2", "outline_width_unit": "MM",
        "angle": "0", "offset": "0,0", "scale_method": "diameter", "joinstyle": "bevel",
        "horizontal_anchor_point": "1", "vertical_anchor_point": "1",
    }  # fmt: skip
    add_options(layer, options)
    for name, value in options.items():
        add(layer, "prop", k=name, v=value)


def add_aliases(parent: ET.Element, fields: list[str]) -> None:
    """Column names for people. The feature id of a GeoPackage is its first column."""
    aliases = add(parent, "aliases")
    for place, name in enumerate(fields, start=1):
        if name in ALIASES:
            add(aliases, "alias", field=name, index=place, name=ALIASES[name])
