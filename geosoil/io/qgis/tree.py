"""The layer tree: which layers there are, in which group, and which are shown at first."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .layer import MapLayer, unit_suffix
from .xml import add, add_options

__all__ = ["Group", "Node", "add_group", "add_layer_node", "add_options_of", "group_layers", "layer_id", "main_layers"]


@dataclass(frozen=True, slots=True)
class Node:
    """A layer in the tree.

    Attributes
    ----------
    id, name, source, provider : str
        As in the project.
    classes : int
        Lines of its legend that are shown; 0 for all of them.
    title : str
        Heading in a legend, in place of the name.
    checked : bool
        Whether it is drawn at first.
    """

    id: str
    name: str
    source: str
    provider: str
    classes: int = 0
    title: str = ""
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group of layers and groups, topmost first."""

    title: str
    layers: tuple[MapLayer, ...]
    groups: tuple[Group, ...] = field(default=())
    above: tuple[MapLayer, ...] = field(default=())


def layer_id(name: str) -> str:
    """A stable identifier from a file's name, unique where the names are.

    >>> layer_id("soc_0-5cm_Q0.05.tif")
    'soc_0_5cm_Q0_05_tif_b809736c'
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def main_layers(layers: Sequence[MapLayer]) -> list[MapLayer]:
    """The maps of a property that are shown first: the means, else the medians, else the first statistic there is."""
    there = [layer.statistic for layer in layers]
    main = next((name for name in ("mean", "Q0.5", "Q0.50") if name in there), there[0])
    return sorted((layer for layer in layers if layer.statistic == main), key=_by_depth)


def group_layers(layers: Sequence[MapLayer]) -> list[Group]:
    """One group a property in the order given: applicability on top, depths shallow to deep, then uncertainty."""
    groups = []
    codes = [layer.soil_property.code for layer in layers]
    ordered = sorted(layers, key=lambda layer: codes.index(layer.soil_property.code))
    for _, members in groupby(ordered, key=lambda layer: layer.soil_property.code):
        of_property = sorted(members, key=_by_depth)
        main = main_layers([one for one in of_property if one.statistic != "aoa"] or of_property)
        above = tuple(one for one in of_property if one.statistic == "aoa" and one not in main)
        rest = tuple(one for one in of_property if one not in main and one not in above)
        soil = of_property[0].soil_property
        unit = unit_suffix(soil.unit)
        title = f"{soil.name} [{unit.strip()}]" if unit else soil.name
        inner = (Group("Uncertainty", rest),) if rest else ()
        groups.append(Group(title, tuple(main), inner, above))
    return groups


def _by_depth(layer: MapLayer) -> tuple[int, int, str]:
    """By number: as text, 100-200 would come before 15-30."""
    return layer.target.depth.top_cm, layer.target.depth.bottom_cm, layer.statistic


def add_group(parent: ET.Element, group: Group, nodes: Mapping[MapLayer, Node], *, shown: bool) -> None:
    """Append a group with all that is in it."""
    element = add(
        parent, "layer-tree-group",
        name=group.title, checked=_checked(shown), expanded=int(shown), groupLayer="",
    )  # fmt: skip
    add_options_of(element, {})
    for layer in (*group.above, *group.layers):
        add_layer_node(element, nodes[layer])
    for inner in group.groups:
        add_group(element, inner, nodes, shown=False)


def add_layer_node(parent: ET.Element, node: Node) -> None:
    """Append a layer."""
    element = add(
        parent, "layer-tree-layer",
        id=node.id, name=node.name, source=node.source, providerKey=node.provider,
        checked=_checked(node.checked), expanded=int(node.checked), legend_exp="", legend_split_behavior=0,
        patch_size="-1,-1",
    )  # fmt: skip
    options = {}
    if node.classes:
        # Line 0 is "Band 1: ...", which says nothing that the group and the name do not.
        options["legend/node-order"] = ",".join(str(line) for line in range(1, node.classes + 1))
    if node.title:
        options["legend/title-label"] = node.title
    add_options_of(element, options)


def add_options_of(parent: ET.Element, options: Mapping[str, str]) -> None:
    """Append custom properties."""
    add_options(add(parent, "customproperties"), options)


def _checked(on: bool) -> str:
    return "Qt::Checked" if on else "Qt::Unchecked"
