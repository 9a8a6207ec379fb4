"""The QGIS project of a folder of maps."""

from __future__ import annotations

import io
import os
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyproj import CRS
from pyproj.crs import Ellipsoid  # type: ignore[attr-defined]
from pyproj.exceptions import CRSError

from geosoil.errors import UsageError
from geosoil.io.atomic import replacing
from geosoil.types import PathLike

from .breaks import class_breaks
from .flags import add_flag_layer, flag_document, flag_style
from .layer import MapFacts, MapLayer, read_facts
from .layout import Panel, Sheet, add_sheet
from .metadata import add_metadata, metadata_document, notes
from .samples import SAMPLES_LAYER, add_aliases, add_marker, sample_fields
from .style import (
    APPLICABILITY,
    GREYS,
    RELATIVE_WIDTH,
    ClassStyle,
    Style,
    add_style,
    colours_of,
    is_amount,
    style_document,
)
from .tree import Group, Node, add_group, add_layer_node, add_options_of, group_layers, layer_id
from .xml import VERSION, add, add_crs, authority, to_bytes

__all__ = ["write_project"]

#: Zip files know no earlier time; a fixed one keeps the bytes of a second run equal.
_TIME = (1980, 1, 1, 0, 0, 0)
_NAME = "maps.qgz"


@dataclass(frozen=True)
class _Project:
    """All that goes into a project, gathered before a file is written."""

    folder: Path
    layers: tuple[MapLayer, ...]
    facts: Mapping[MapLayer, MapFacts]
    styles: Mapping[MapLayer, Style]
    groups: Sequence[Group]
    samples: Path | None
    flags: Path | None
    title: str
    abstract: str
    history: str
    licence: str

    @property
    def first(self) -> MapFacts:
        """Of the map whose CRS and extent are the project's."""
        return self.facts[self.groups[0].layers[0]]

    @property
    def crs(self) -> CRS:
        return self.first.crs


def write_project(
    folder: PathLike,
    layers: Sequence[MapLayer],
    *,
    title: str,
    samples: Path | None = None,
    flags: Path | None = None,
    abstract: str = "",
    history: str = "",
    licence: str = "",
) -> Path:
    """Write ``maps.qgz``, and a style (``.qml``) and metadata (``.qmd``) beside each map.

    Paths in the project are relative, so that the folder can be moved as a whole. A second call with equal arguments
    and maps gives equal bytes.

    Parameters
    ----------
    folder : path
        Folder of the project; the maps are in it or below.
    layers : sequence of MapLayer
        Maps in any order; properties are shown in the order in which they first come.
    title : str
        Of the project and its print sheets.
    samples : Path, optional
        GeoPackage of `write_samples`.
    flags : Path, optional
        Raster of masked cells, a bit for each reason, named in the tags ``flag_masks`` and ``flag_meanings``.
    abstract, history, licence : str
        For the metadata of the project and, but for the abstract, of each layer.

    Returns
    -------
    Path
        The project.

    Raises
    ------
    UsageError
        ``GS-PROJECT-EMPTY``, ``GS-PROJECT-PATH``: there is no map, or one is not in the folder.
    InputError
        A map cannot be read.
    OutputError
    """
    folder = Path(folder)
    project = _gather(folder, layers, title, samples, flags, abstract, history, licence)
    for layer in project.layers:
        facts, style = project.facts[layer], project.styles[layer]
        _write(layer.path.with_suffix(".qml"), to_bytes(style_document(layer, facts, style)))
        document = metadata_document(layer, facts, licence=licence, history=history)
        _write(layer.path.with_suffix(".qmd"), to_bytes(document))
    if flags is not None:
        _write(flags.with_suffix(".qml"), to_bytes(flag_document(flags)))
    path = folder / _NAME
    _write(path, _zipped(to_bytes(_document(project))))
    return path


def _gather(
    folder: Path,
    layers: Sequence[MapLayer],
    title: str,
    samples: Path | None,
    flags: Path | None,
    abstract: str,
    history: str,
    licence: str,
) -> _Project:
    if not layers:
        raise UsageError("a project needs at least one map", code="GS-PROJECT-EMPTY")
    for path in (*(layer.path for layer in layers), *([samples] if samples else []), *([flags] if flags else [])):
        _relative(path, folder)
    facts = {layer: read_facts(layer.path) for layer in layers}
    return _Project(
        folder=folder,
        layers=tuple(layers),
        facts=facts,
        styles=_styles(layers, facts),
        groups=group_layers(layers),
        samples=samples,
        flags=flags,
        title=title,
        abstract=abstract,
        history=history,
        licence=licence,
    )


def _styles(layers: Sequence[MapLayer], facts: Mapping[MapLayer, MapFacts]) -> dict[MapLayer, Style]:
    """One style for all maps that must be comparable: a property's means and quantiles at all depths."""
    families: dict[tuple[str, str], list[MapLayer]] = {}
    for layer in layers:
        families.setdefault(
            (layer.soil_property.code, "amount" if is_amount(layer.statistic) else layer.statistic), []
        ).append(layer)
    styles: dict[MapLayer, Style] = {}
    for (_, family), members in families.items():
        style = _style(family, members, [facts[member] for member in members])
        styles.update(dict.fromkeys(members, style))
    return styles


def _style(family: str, members: Sequence[MapLayer], facts: Sequence[MapFacts]) -> Style:
    if family == "aoa":
        return APPLICABILITY
    lowest = min((one.statistics.get("STATISTICS_MINIMUM", 0.0) for one in facts), default=0.0)
    highest = max((one.statistics.get("STATISTICS_MAXIMUM", 0.0) for one in facts), default=0.0)
    if family == "uncertainty":
        return ClassStyle(RELATIVE_WIDTH, GREYS, "1", lowest, highest)
    colours = GREYS if family in {"std", "di"} else colours_of(members[0].soil_property)
    breaks = class_breaks([member.path for member in members], len(colours))
    return ClassStyle(tuple(breaks), colours, members[0].unit, lowest, highest)


def _relative(path: Path, folder: Path) -> str:
    """The path as the project stores it."""
    found = os.path.relpath(path.absolute(), folder.absolute())
    if found.startswith(".."):
        raise UsageError(
            f"{path.name} is not in the folder of the project",
            code="GS-PROJECT-PATH",
            details=[f"map: {path}", f"folder: {folder}"],
            hint="keep the maps beside the project or below it, so that the folder can be moved as a whole",
        )
    return f"./{Path(found).as_posix()}"


def _document(project: _Project) -> ET.Element:
    root = ET.Element("qgis", version=VERSION, projectname=project.title)
    add(root, "homePath", path="")
    add(root, "title", project.title)
    add_crs(root, "projectCrs", project.crs)
    nodes, samples = _nodes(project)
    tree = add(root, "layer-tree-group")
    add_options_of(tree, {})
    if samples is not None:
        add_layer_node(tree, samples)
    masked = _flag_node(project)
    if masked is not None:
        add_layer_node(tree, masked)
    for place, group in enumerate(project.groups):
        add_group(tree, group, nodes, shown=place == 0)
    _add_canvas(root, project)
    maps = add(root, "projectlayers")
    if project.samples is not None and samples is not None:
        _add_samples(maps, project, project.samples, samples)
    if project.flags is not None and masked is not None:
        add_flag_layer(maps, masked, project.flags)
    for layer in project.layers:
        _add_map(maps, project, layer, nodes[layer])
    order = add(root, "layerorder")
    for node in (
        ([samples] if samples else []) + ([masked] if masked else []) + [nodes[layer] for layer in project.layers]
    ):
        add(order, "layer", id=node.id)
    _add_properties(root, project)
    _add_metadata(root, project)
    sheets = add(root, "Layouts")
    for group in project.groups:
        add_sheet(sheets, _sheet(project, group, nodes, samples))
    _add_view(root, project)
    return root


def _nodes(project: _Project) -> tuple[dict[MapLayer, Node], Node | None]:
    """The tree's nodes of all maps, and of the samples."""
    first = project.groups[0]
    top = first.layers[0]
    shown = {top, *(layer for layer in first.above if layer.target == top.target)}
    nodes = {}
    for layer in project.layers:
        source = _relative(layer.path, project.folder)
        style = project.styles[layer]
        classes = len(style.entries) if isinstance(style, ClassStyle) else 1
        nodes[layer] = Node(layer_id(source), layer.name, source, "gdal", classes, checked=layer in shown)
    if project.samples is None:
        return nodes, None
    source = f"{_relative(project.samples, project.folder)}|layername={SAMPLES_LAYER}"
    return nodes, Node(layer_id(source), "Samples", source, "ogr", checked=True)


def _flag_node(project: _Project) -> Node | None:
    """The tree's node of the masked cells."""
    if project.flags is None:
        return None
    source = _relative(project.flags, project.folder)
    return Node(layer_id(source), "Masked cells", source, "gdal", len(flag_style(project.flags).entries), checked=False)


def _add_canvas(root: ET.Element, project: _Project) -> None:
    """The first view of the desktop application."""
    canvas = add(root, "mapcanvas", name="theMapCanvas", annotationsVisible=1)
    add(canvas, "units", "degrees" if project.crs.is_geographic else "meters")
    _add_extent(canvas, "extent", project)
    add(canvas, "rotation", "0")
    add_crs(canvas, "destinationsrs", project.crs)


def _add_view(root: ET.Element, project: _Project) -> None:
    view = add(root, "ProjectViewSettings", UseProjectScales=0, rotation=0)
    west, south, east, north = project.first.bounds
    extent = add(view, "DefaultViewExtent", xmin=west, ymin=south, xmax=east, ymax=north)
    add_crs(extent, "referenceCrs", project.crs)
    extent.append(extent.find("referenceCrs/spatialrefsys"))  # type: ignore[arg-type]
    extent.remove(extent[0])


def _add_extent(parent: ET.Element, tag: str, project: _Project) -> None:
    extent = add(parent, tag)
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), project.first.bounds, strict=True):
        add(extent, name, str(value))


def _add_map(parent: ET.Element, project: _Project, layer: MapLayer, node: Node) -> None:
    facts = project.facts[layer]
    element = add(
        parent, "maplayer",
        type="raster", styleCategories="AllStyleCategories", hasScaleBasedVisibilityFlag=0,
        minScale=1e8, maxScale=0, refreshOnNotifyEnabled=0, autoRefreshEnabled=0, autoRefreshTime=0,
    )  # fmt: skip
    add(element, "id", node.id)
    add(element, "datasource", node.source)
    add(element, "shortname", layer.path.stem.replace(".", "_"))
    add(element, "title", layer.title)
    add(element, "abstract", notes(layer, facts))
    add(element, "layername", layer.name)
    add_crs(element, "srs", facts.crs)
    add_metadata(element, layer, facts, licence=project.licence, history=project.history)
    add(element, "provider", "gdal")
    add_style(element, layer, facts, project.styles[layer])


def _add_samples(parent: ET.Element, project: _Project, path: Path, node: Node) -> None:
    element = add(
        parent, "maplayer",
        type="vector", geometry="Point", wkbType="Point", styleCategories="AllStyleCategories",
        hasScaleBasedVisibilityFlag=0, minScale=1e8, maxScale=0, labelsEnabled=0, readOnly=0,
    )  # fmt: skip
    add(element, "id", node.id)
    add(element, "datasource", node.source)
    add(element, "layername", node.name)
    add_crs(element, "srs", project.crs)
    add(element, "provider", "ogr", encoding="UTF-8")
    add_marker(element)
    add_options_of(element, {})
    add(element, "blendMode", "0")
    add(element, "layerOpacity", "1")
    add_aliases(element, sample_fields(path))


def _add_properties(root: ET.Element, project: _Project) -> None:
    """Switches without which QGIS ignores the project's CRS or stores absolute paths."""
    properties = add(root, "properties")
    add(add(properties, "SpatialRefSys"), "ProjectionsEnabled", "1", type="int")
    add(add(properties, "Paths"), "Absolute", "false", type="bool")
    # For lengths and areas on the ground, also in a geographic CRS.
    add(add(properties, "Measure"), "Ellipsoid", _ellipsoid(project.crs), type="QString")
    measurement = add(properties, "Measurement")
    add(measurement, "DistanceUnits", "meters", type="QString")
    add(measurement, "AreaUnits", "ha", type="QString")


def _ellipsoid(crs: CRS) -> str:
    """Code of the ellipsoid on which lengths are measured.

    QGIS also knows ellipsoids by their axes, but 3.22 measures every length as nan on them. So one without a code is
    replaced by that of WGS 84, from which no ellipsoid in use is a part in 5,000 away.
    """
    try:
        named = Ellipsoid.from_name(crs.ellipsoid.name if crs.ellipsoid else "").to_json_dict()
    except CRSError:
        named = {}
    code = named.get("id", {"authority": ""})
    return f"EPSG:{code['code']}" if code["authority"] == "EPSG" else "EPSG:7030"


def _add_metadata(root: ET.Element, project: _Project) -> None:
    metadata = add(root, "projectMetadata")
    for name, text in (
        ("identifier", ""), ("parentidentifier", ""), ("language", "ENG"), ("type", "project"),
        ("title", project.title), ("abstract", project.abstract),
    ):  # fmt: skip
        add(metadata, name, text)
    add(metadata, "links")
    if project.history:
        add(metadata, "history", project.history)


def _sheet(project: _Project, group: Group, nodes: Mapping[MapLayer, Node], samples: Node | None) -> Sheet:
    above = (samples,) if samples else ()
    top = nodes[group.layers[0]]
    heading = Node(top.id, top.name, top.source, top.provider, top.classes, title=group.title, checked=True)
    code = authority(project.crs)
    pieces = [f"CRS: {project.crs.name}" + (f" ({code})" if code else ""), project.licence]
    return Sheet(
        name=group.title.partition(" [")[0],
        title=group.title,
        subtitle=project.title,
        footer="   ·   ".join(piece for piece in pieces if piece),
        panels=tuple(Panel(str(layer.target.depth), (*above, nodes[layer])) for layer in group.layers),
        legend=(*above, heading),
        bounds=project.first.bounds,
        crs=project.crs,
    )


def _zipped(document: bytes) -> bytes:
    """The project as one file; a fixed time and fixed flags keep its bytes the same."""
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(f"{Path(_NAME).stem}.qgs", date_time=_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, document)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)
