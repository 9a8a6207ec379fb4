"""Metadata of a layer: the ``.qmd`` beside a map, and the same inside the project."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from .xml import VERSION, add, add_crs, authority

if TYPE_CHECKING:
    from .layer import MapFacts, MapLayer

__all__ = ["add_metadata", "metadata_document", "notes"]


def notes(layer: MapLayer, facts: MapFacts) -> str:
    """What the map shows and where it comes from, in a few sentences."""
    depth = layer.target.depth
    unit = "without a unit" if layer.unit == "1" else f"in {layer.unit}"
    sentences = [
        f"{layer.soil_property.name}, {layer.statistic_name}, {depth.top_cm} to {depth.bottom_cm} cm below the "
        f"surface, {unit}."
    ]
    if source := facts.tags.get("source"):
        sentences.append(f"Predicted by {source}.")
    if model := facts.tags.get("model_sha256"):
        sentences.append(f"Model SHA-256: {model}.")
    return " ".join(sentences)


def metadata_document(layer: MapLayer, facts: MapFacts, *, licence: str, history: str) -> ET.Element:
    """The content of a ``.qmd`` file."""
    root = ET.Element("qgis", version=VERSION)
    _fill(root, layer, facts, licence, history)
    return root


def add_metadata(parent: ET.Element, layer: MapLayer, facts: MapFacts, *, licence: str, history: str) -> None:
    """The same, inside a ``<maplayer>`` of the project."""
    _fill(add(parent, "resourceMetadata"), layer, facts, licence, history)


def _fill(root: ET.Element, layer: MapLayer, facts: MapFacts, licence: str, history: str) -> None:
    tags = facts.tags
    add(root, "identifier", layer.path.name)
    add(root, "parentidentifier", "")
    add(root, "language", "ENG")
    add(root, "type", "dataset")
    add(root, "title", layer.title)
    add(root, "abstract", notes(layer, facts))
    keywords = add(root, "keywords", vocabulary="geosoil")
    for word in ("soil", layer.soil_property.code, layer.soil_property.name, layer.target.depth.label):
        add(keywords, "keyword", word)
    add(root, "links")
    lines = [history or tags.get("history", ""), f"created {tags['created']}" if "created" in tags else ""]
    if "geosoil_version" in tags:
        lines.append(f"geosoil {tags['geosoil_version']}")
    for line in lines:
        if line:
            add(root, "history", line)
    add(root, "fees", "")
    if licence:
        add(root, "rights", licence)
        add(root, "license", licence)
    add(root, "encoding", "")
    add_crs(root, "crs", facts.crs)
    west, south, east, north = facts.bounds
    depth = layer.target.depth
    extent = add(root, "extent")
    add(
        extent, "spatial", crs=authority(facts.crs), dimensions=3,
        minx=west, maxx=east, miny=south, maxy=north,
        minz=-depth.bottom_cm / 100, maxz=-depth.top_cm / 100 + 0.0,
    )  # fmt: skip
