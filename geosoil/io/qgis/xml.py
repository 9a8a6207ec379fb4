"""Small pieces of XML that styles, metadata and projects share."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyproj import CRS

__all__ = ["add", "add_crs", "add_options", "authority", "to_bytes"]

#: Dialect that is written.
VERSION = "3.22.0"


def add(parent: ET.Element, tag: str, text: str | None = None, **attributes: object) -> ET.Element:
    """Append an element; attribute values are turned into text."""
    element = ET.SubElement(parent, tag, {name.rstrip("_"): str(value) for name, value in attributes.items()})
    element.text = text
    return element


def add_options(parent: ET.Element, options: Mapping[str, str]) -> None:
    """Append a map of texts as QGIS stores variants."""
    outer = add(parent, "Option", type="Map")
    for name, value in options.items():
        add(outer, "Option", name=name, type="QString", value=value)


def authority(crs: CRS) -> str:
    """``EPSG:n``, or empty for a CRS without a code."""
    found = crs.to_authority(min_confidence=100)
    return ":".join(found) if found else ""


def add_crs(parent: ET.Element, tag: str, crs: CRS) -> None:
    """Append a CRS. WKT2 is what counts: with the code alone, QGIS 3.22 finds none."""
    system = add(add(parent, tag), "spatialrefsys", nativeFormat="Wkt")
    code = authority(crs)
    add(system, "wkt", crs.to_wkt("WKT2_2019"))
    add(system, "authid", code)
    add(system, "srid", code.partition(":")[2] or "0")
    add(system, "description", crs.name)
    add(system, "geographicflag", "true" if crs.is_geographic else "false")


def to_bytes(root: ET.Element) -> bytes:
    """The document as UTF-8; equal trees give equal bytes."""
    ET.indent(root, " ")
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"
