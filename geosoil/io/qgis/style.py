"""How a map is coloured: classes, colours and labels, and their XML in ``.qml`` files and projects."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .layer import unit_suffix
from .metadata import notes
from .xml import VERSION, add, add_options

if TYPE_CHECKING:
    from geosoil.soil import Depth, Property

    from .layer import MapFacts, MapLayer

__all__ = [
    "DEFAULT_COLOURS",
    "GREYS",
    "ClassStyle",
    "Entry",
    "PaletteStyle",
    "Style",
    "add_style",
    "colours_of",
    "is_amount",
    "style_document",
]

#: For a property that declares no colours: one hue, lightness falling at every step.
DEFAULT_COLOURS = ("f6f8e7", "dde8bd", "bdd298", "97b878", "6f985a", "486f41", "21462b")
#: For what has no property's colour: spread, relative width, dissimilarity.
GREYS = ("f7f7f7", "dcdcdc", "bdbdbd", "9a9a9a", "757575", "4e4e4e", "262626")


@dataclass(frozen=True, slots=True)
class Entry:
    """A class in the legend: upper bound (or value), colour with alpha of 0 to 255, label."""

    value: float
    colour: str
    label: str
    alpha: int = 255


@dataclass(frozen=True, slots=True)
class ClassStyle:
    """Classes of a continuous quantity.

    Attributes
    ----------
    breaks : tuple of float
        Upper bounds of all classes but the last.
    colours : tuple of str
        Hexadecimal, from low to high; spread evenly over the classes where there are more of them.
    unit : str
        For the labels; ``1`` for none.
    lowest, highest : float
        Of the values that the classes were made for.

    >>> [entry.label for entry in ClassStyle((5, 10), ("fff", "888", "000"), "g/kg").entries]
    ['≤ 5 g/kg', '5 – 10 g/kg', '> 10 g/kg']
    """

    breaks: tuple[float, ...]
    colours: tuple[str, ...]
    unit: str
    lowest: float = 0.0
    highest: float = 0.0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The classes from low to high."""
        unit = unit_suffix(self.unit)
        labels = [
            f"≤ {_text(self.breaks[0])}{unit}",
            *(f"{_text(low)} – {_text(high)}{unit}" for low, high in pairwise(self.breaks)),
            f"> {_text(self.breaks[-1])}{unit}",
        ]
        bounds = (*self.breaks, float("inf"))
        last = len(self.colours) - 1
        picked = [self.colours[round(place * last / (len(bounds) - 1))] for place in range(len(bounds))]
        return tuple(Entry(*entry) for entry in zip(bounds, picked, labels, strict=True))

    def renderer(self) -> ET.Element:
        """The renderer's XML. DISCRETE: an item's value is the upper bound of its class."""
        limits = {"classificationMin": _text(self.lowest), "classificationMax": _text(self.highest)}
        root = _renderer("singlebandpseudocolor", **limits)
        shader = add(
            add(root, "rastershader"), "colorrampshader", colorRampType="DISCRETE", classificationMode=1, clip=0,
            minimumValue=_text(self.lowest), maximumValue=_text(self.highest), labelPrecision=6,
        )  # fmt: skip
        _add_ramp(shader, self.colours)
        for entry in self.entries:
            add(
                shader, "item", value=_text(entry.value), color=f"#{entry.colour}", alpha=entry.alpha, label=entry.label
            )
        return root


@dataclass(frozen=True, slots=True)
class PaletteStyle:
    """Classes with codes."""

    entries: tuple[Entry, ...]

    def renderer(self) -> ET.Element:
        """The renderer's XML."""
        root = _renderer("paletted")
        palette = add(root, "colorPalette")
        for entry in self.entries:
            add(
                palette, "paletteEntry",
                value=_text(entry.value), color=f"#{entry.colour}", alpha=entry.alpha, label=entry.label,
            )  # fmt: skip
        return root


Style = ClassStyle | PaletteStyle

#: Greys out what lies outside, drawn above the depth; the inside is left as it is.
APPLICABILITY = PaletteStyle(
    (
        Entry(0, "f2f2f2", "outside the area of applicability", 190),
        Entry(1, "ffffff", "inside the area of applicability", 0),
    )
)
#: Width of the prediction interval over the median: one style for all properties, since it has no unit.
RELATIVE_WIDTH = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def is_amount(statistic: str) -> bool:
    """Whether a statistic is in the property's own unit and classes: means and quantiles are, spread is not."""
    return statistic not in {"std", "uncertainty", "aoa", "di"}


def colours_of(soil_property: Property) -> tuple[str, ...]:
    """The property's colours, without a leading ``#``."""
    return tuple(colour.lstrip("#") for colour in soil_property.colours) or DEFAULT_COLOURS


def add_style(parent: ET.Element, layer: MapLayer, facts: MapFacts, style: Style) -> None:
    """Style, notes and elevation of a layer: the same in a ``.qml`` and in the project."""
    text = notes(layer, facts)
    add(parent, "userNotes", value=text)
    add_options(add(parent, "customproperties"), {"userNotes": text})
    _add_elevation(parent, layer.target.depth)
    pipe = add(parent, "pipe")
    pipe.append(style.renderer())
    add(pipe, "brightnesscontrast", brightness=0, contrast=0, gamma=1)
    add(pipe, "huesaturation", saturation=0, grayscaleMode=0, colorizeOn=0)
    # Nearest neighbour, which is what a resampler without a name is: blending classes would invent values.
    add(pipe, "rasterresampler", maxOversampling=1)
    add(parent, "blendMode", "0")


def style_document(layer: MapLayer, facts: MapFacts, style: Style) -> ET.Element:
    """The content of a ``.qml`` file."""
    root = ET.Element("qgis", version=VERSION, styleCategories="AllStyleCategories")
    add_style(root, layer, facts, style)
    return root


def _renderer(type: str, **attributes: str) -> ET.Element:
    fixed = {"type": type, "band": "1", "alphaBand": "-1", "opacity": "1", "nodataColor": ""}
    root = ET.Element("rasterrenderer", {**fixed, **attributes})
    add(root, "rasterTransparency")
    origin = add(root, "minMaxOrigin")
    # No limits: QGIS keeps the classes as they are, whatever part of the map is in view.
    for name, value in (("limits", "None"), ("extent", "WholeRaster"), ("statAccuracy", "Exact")):
        add(origin, name, value)
    return root


def _add_ramp(shader: ET.Element, colours: Sequence[str]) -> None:
    """The colours as a ramp, so that a user can classify anew with them."""
    last = len(colours) - 1
    inner = ":".join(f"{place / last:.6g};{_rgba(colours[place])}" for place in range(1, last))
    ramp = add(shader, "colorramp", type="gradient", name="[source]")
    options = {
        "color1": _rgba(colours[0]), "color2": _rgba(colours[-1]), "discrete": "0", "rampType": "gradient",
        "stops": inner,
    }  # fmt: skip
    add_options(ramp, options)
    for name, value in options.items():
        add(ramp, "prop", k=name, v=value)


def _add_elevation(parent: ET.Element, depth: Depth) -> None:
    """The depth as a range of heights, m: the elevation slider of QGIS 3.38 and later then pages through depths."""
    add(
        parent, "elevation", enabled=1, mode="FixedElevationRange", symbology="Line", band=1, zoffset=0, zscale=1,
        lower=_text(-depth.bottom_cm / 100), upper=_text(-depth.top_cm / 100), includeLower=0, includeUpper=1,
    )  # fmt: skip


def _rgba(colour: str) -> str:
    return ",".join(str(int(colour[place : place + 2], 16)) for place in (0, 2, 4)) + ",255"


def _text(value: float) -> str:
    """A number as short as it can be written.

    >>> _text(2.5), _text(100000.0), _text(-0.0), _text(float("inf"))
    ('2.5', '100000', '0', 'inf')
    """
    return f"{value + 0.0:.12g}"
