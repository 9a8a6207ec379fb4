"""Print sheets: for each property all depths side by side, one legend, one scale bar."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyproj import Geod

from .tree import Node, add_layer_node, add_options_of
from .xml import add

if TYPE_CHECKING:
    from pyproj import CRS

__all__ = ["Box", "Panel", "Sheet", "add_sheet", "arrange", "nice_length"]

# Items by QGIS's numbers.
_PAGE, _MAP, _LABEL, _LEGEND, _SCALE_BAR = 65638, 65639, 65641, 65642, 65646
_FONT = "DejaVu Sans"
#: A4 across, mm.
_WIDTH, _HEIGHT, _MARGIN = 297.0, 210.0, 12.0
_LEGEND_WIDTH, _HEAD, _FOOT, _CAPTION, _GAP = 56.0, 16.0, 10.0, 6.0, 5.0


@dataclass(frozen=True, slots=True)
class Box:
    """A place on the page, mm from its top left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One map on the sheet: caption, and the layers that it draws, topmost first."""

    caption: str
    layers: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A print layout.

    Attributes
    ----------
    name, title, subtitle, footer : str
        Name in QGIS's list of layouts, and the texts on the page.
    panels : tuple of Panel
        Maps, in reading order.
    legend : tuple of Node
        Layers in the legend.
    bounds : (float, float, float, float)
        West, south, east, north to show, in units of `crs`.
    crs : CRS
        Of the project.
    """

    name: str
    title: str
    subtitle: str
    footer: str
    panels: tuple[Panel, ...]
    legend: tuple[Node, ...]
    bounds: tuple[float, float, float, float]
    crs: CRS


def add_sheet(parent: ET.Element, sheet: Sheet) -> None:
    """Append the layout."""
    layout = add(parent, "Layout", name=sheet.name, units="mm", printResolution=300, worldFileMap="")
    page = add(layout, "PageCollection")
    _add_item(page, sheet, "page", _PAGE, Box(0, 0, _WIDTH, _HEIGHT), background="true")
    _add_label(layout, sheet, "title", sheet.title, Box(_MARGIN, 9, _WIDTH - 2 * _MARGIN, 9), size=17, bold=True)
    _add_label(layout, sheet, "subtitle", sheet.subtitle, Box(_MARGIN, 18, _WIDTH - 2 * _MARGIN, 6), size=9)
    area = Box(
        _MARGIN,
        _MARGIN + _HEAD,
        _WIDTH - 2 * _MARGIN - _LEGEND_WIDTH - _GAP,
        _HEIGHT - 2 * _MARGIN - _HEAD - _FOOT,
    )
    bounds = _widened(sheet.bounds)
    boxes = arrange(len(sheet.panels), (bounds[2] - bounds[0]) / (bounds[3] - bounds[1]), area)
    for place, (panel, box) in enumerate(zip(sheet.panels, boxes, strict=True)):
        caption = Box(box.left, box.top - _CAPTION, box.width, _CAPTION)
        _add_label(layout, sheet, f"caption {place}", panel.caption, caption, size=9, bold=True)
        _add_map(layout, sheet, f"map {place}", panel, box, bounds)
    right = max(box.left + box.width for box in boxes) + 1.5 * _GAP
    _add_legend(layout, sheet, Box(right, boxes[0].top - _CAPTION, _LEGEND_WIDTH, 90))
    bottom = max(box.top + box.height for box in boxes)
    _add_scale_bar(layout, sheet, Box(right, bottom - 12, _LEGEND_WIDTH, 12), boxes[0], bounds)
    footer = Box(_MARGIN, _HEIGHT - _MARGIN - 3, _WIDTH - 2 * _MARGIN, 6)
    _add_label(layout, sheet, "footer", sheet.footer, footer, size=7)


def arrange(count: int, aspect: float, area: Box) -> list[Box]:
    """Boxes of one aspect ratio, in as many columns as make them largest; each leaves room for its caption above.

    >>> [round(box.width) for box in arrange(1, 1.0, Box(0, 0, 200, 106))]
    [100]
    >>> len({box.top for box in arrange(6, 1.5, Box(0, 0, 200, 150))})  # rows
    2
    """
    best: tuple[float, int] = (0.0, 1)
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        width = (area.width - _GAP * (columns - 1)) / columns
        height = (area.height - _GAP * (rows - 1)) / rows - _CAPTION
        best = max(best, (min(width, height * aspect), columns), key=lambda found: found[0])
    width, columns = best
    height = width / aspect
    return [
        Box(
            area.left + (place % columns) * (width + _GAP),
            area.top + (place // columns) * (height + _CAPTION + _GAP) + _CAPTION,
            width,
            height,
        )
        for place in range(count)
    ]


def nice_length(most: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above `most`.

    >>> nice_length(3400.0), nice_length(0.7)
    (2000.0, 0.5)
    """
    power = 1.0
    while power > most:
        power /= 10
    while power * 10 <= most:
        power *= 10
    return max(step for step in (1.0, 2.0, 5.0) if step * power <= most) * power


def _widened(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A little room round the maps."""
    west, south, east, north = bounds
    room = 0.02 * max(east - west, north - south)
    return west - room, south - room, east + room, north + room


def _metres(bounds: tuple[float, float, float, float], crs: CRS) -> float:
    """Width of an extent on the ground, m."""
    west, south, east, north = bounds
    if not crs.is_geographic:
        return (east - west) * crs.axis_info[0].unit_conversion_factor
    middle = (south + north) / 2
    return float(Geod(ellps="WGS84").line_length([west, (west + east) / 2, east], [middle] * 3))


def _id(sheet: Sheet, name: str) -> str:
    """Stable, so that a second run gives the same bytes."""
    return "{" + str(uuid.uuid5(uuid.NAMESPACE_OID, f"geosoil/{sheet.name}/{name}")) + "}"


def _add_item(parent: ET.Element, sheet: Sheet, name: str, type: int, box: Box, **attributes: object) -> ET.Element:
    identifier = _id(sheet, name)
    position, size = f"{box.left:.3f},{box.top:.3f},mm", f"{box.width:.3f},{box.height:.3f},mm"
    fixed: dict[str, Any] = {"type": type, "id": name, "uuid": identifier, "templateUuid": identifier}
    fixed |= {"position": position, "positionOnPage": position, "size": size, "referencePoint": 0}
    fixed |= {"visibility": 1, "opacity": 1}
    item = add(parent, "LayoutItem", **{**fixed, "frame": "false", "background": "false", **attributes})
    add(item, "FrameColor", red=120, green=120, blue=120, alpha=255)
    add(item, "BackgroundColor", red=255, green=255, blue=255, alpha=255)
    return item


def _font(size: float, *, bold: bool = False) -> str:
    """A font as Qt 5 writes it down."""
    return f"{_FONT},{size:g},-1,5,{75 if bold else 50},0,0,0,0,0"


def _add_label(
    layout: ET.Element, sheet: Sheet, name: str, text: str, box: Box, *, size: float, bold: bool = False
) -> None:
    item = _add_item(
        layout, sheet, name, _LABEL, box,
        labelText=text, htmlState=0, halign=1, valign=128, marginX=0, marginY=0, zValue=5,
    )  # fmt: skip
    add(item, "LabelFont", description=_font(size, bold=bold), style="Bold" if bold else "")
    add(item, "FontColor", red=30, green=30, blue=30, alpha=255)


def _add_map(
    layout: ET.Element, sheet: Sheet, name: str, panel: Panel, box: Box, bounds: tuple[float, float, float, float]
) -> None:
    item = _add_item(
        layout, sheet, name, _MAP, box,
        keepLayerSet="true", followPreset="false", drawCanvasItems="true", mapRotation=0, frame="true",
        background="true", outlineWidthM="0.15,mm", zValue=1,
    )  # fmt: skip
    west, south, east, north = bounds
    add(item, "Extent", xmin=west, ymin=south, xmax=east, ymax=north)
    layers = add(item, "LayerSet")
    for node in panel.layers:
        add(layers, "Layer", node.id, name=node.name, provider=node.provider, source=node.source)


def _add_legend(layout: ET.Element, sheet: Sheet, box: Box) -> None:
    item = _add_item(
        layout, sheet, "legend", _LEGEND, box,
        title="", resizeToContents=1, columnCount=1, symbolWidth=7, symbolHeight=4.5, boxSpace=0, columnSpace=2,
        titleAlignment=1, symbolAlignment=1, wrapChar="", fontColor="#1e1e1e", lineSpacing=1, rasterBorder=1,
        rasterBorderColor="140,140,140,255", rasterBorderWidth=0.1, wmsLegendWidth=50, wmsLegendHeight=25,
        legendFilterByAtlas=0, splitLayer=0, equalColumnWidth=0, zValue=2, map_uuid=_id(sheet, "map 0"),
    )  # fmt: skip
    styles = add(item, "styles")
    for name, size, above in (
        ("title", 12, 0.0), ("group", 10, 3.0), ("subgroup", 9, 4.0), ("symbol", 8, 1.0), ("symbolLabel", 8, 1.0)
    ):  # fmt: skip
        style = add(styles, "style", name=name, alignment=1, indent=0, marginTop=above, marginLeft=2)
        add(style, "styleFont", description=_font(size, bold=name == "subgroup"), style="")
    # An own tree: without one, the legend lists every layer of the project.
    tree = add(item, "layer-tree-group")
    add_options_of(tree, {})
    for node in sheet.legend:
        add_layer_node(tree, node)


def _add_scale_bar(
    layout: ET.Element, sheet: Sheet, box: Box, map_box: Box, bounds: tuple[float, float, float, float]
) -> None:
    per_mm = _metres(bounds, sheet.crs) / map_box.width
    segment = nice_length(min(20.0, map_box.width / 3) * per_mm)
    kilometres = segment >= 1000
    item = _add_item(
        layout, sheet, "scale bar", _SCALE_BAR, box,
        mapUuid=_id(sheet, "map 0"), style="Single Box", unitType="km" if kilometres else "meters",
        unitLabel="km" if kilometres else "m", numMapUnitsPerScaleBarUnit=1,
        numUnitsPerSegment=segment / 1000 if kilometres else segment, numSegments=2, numSegmentsLeft=0,
        numSubdivisions=1, subdivisionsHeight=1.5,
        segmentSizeMode=0, minBarWidth=20, maxBarWidth=60, height=2, labelBarSpace=1.5, boxContentSpace=0,
        outlineWidth=0.2, alignment=0, lineJoinStyle="miter", lineCapStyle="square", font=_font(8), zValue=3,
    )  # fmt: skip
    add(item, "text-style", fontFamily=_FONT, fontSize=8, fontSizeUnit="Point", textColor="30,30,30,255")
    add(item, "fillColor", red=60, green=60, blue=60, alpha=255)
    add(item, "fillColor2", red=255, green=255, blue=255, alpha=255)
    add(item, "strokeColor", red=60, green=60, blue=60, alpha=255)
