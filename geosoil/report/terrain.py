"""Pictures and pages of the land: shaded relief with streams, terrain layers, and how maps go with the terrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from geosoil.io.qgis.style import ClassStyle
from geosoil.prep.terrain import Cell, aspect, gradient, slope
from geosoil.report.html import Section, write_report
from geosoil.report.plots import COLOURS

if TYPE_CHECKING:
    import geopandas as gpd
    from matplotlib.axes import Axes

    from geosoil.types import Float32, Float64

__all__ = [
    "Picture",
    "hillshade",
    "layer_grid",
    "map_with_streams",
    "relation_plot",
    "relief",
    "stream_table",
    "write_relation_report",
    "write_terrain_report",
]

#: Direction and height of the sun of shaded relief, degrees.
_SUN_AZIMUTH, _SUN_HEIGHT = 315.0, 45.0
#: Most stream lines in a picture; the smallest orders are left out beyond.
_MOST_LINES = 4000
_WATER = "#0b4f9e"
#: How plots and tables call the layers that maps are compared with.
NAMES = {"slope": "Slope", "twi": "Wetness index", "ls_moore": "LS factor (Moore)"}
_TINTS = ("#5f8f6b", "#a9c48b", "#ece3b4", "#d0ab7c", "#a77c5b", "#f2efec")


@dataclass(frozen=True)
class Picture:
    """A raster made small enough for a picture.

    Attributes
    ----------
    values : (h, w) float32
        NaN where there is no data.
    extent : (float, float, float, float)
        West, east, south, north, in units of the CRS.
    title : str
        With the unit.
    colours : tuple of str
        Hexadecimal without ``#``, from low to high.
    """

    values: Float32
    extent: tuple[float, float, float, float]
    title: str = ""
    colours: tuple[str, ...] = ()


def hillshade(z: Float32, cell: Cell, *, exaggeration: float = 1.0) -> Float64:
    """Brightness of the land under a sun in the north-west, 0 to 1; NaN where missing.

    >>> hillshade(np.zeros((3, 3), np.float32), (1.0, 1.0)).round(3)[1, 1]
    np.float64(0.707)
    """
    east, north = gradient(z, (cell[0] / exaggeration, cell[1] / exaggeration))
    angle, facing = slope(east, north), np.nan_to_num(aspect(east, north))
    height, azimuth = np.radians(_SUN_HEIGHT), np.radians(_SUN_AZIMUTH)
    light = np.sin(height) * np.cos(angle) + np.cos(height) * np.sin(angle) * np.cos(azimuth - facing)
    return np.asarray(np.clip(light, 0.0, 1.0))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _main_lines(lines: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The lines without the smallest orders, where there are too many to be seen."""
    least = 1
    while (lines["order"] >= least).sum() > _MOST_LINES:
        least += 1
    return lines[lines["order"] >= least]


def _add_streams(axes: Axes, lines: gpd.GeoDataFrame, *, halo: bool = False) -> None:
    """Streams, wider the higher their order."""
    shown = _main_lines(lines)
    if shown.empty:
        return
    parts = [np.asarray(line.coords)[:, :2] for line in shown.geometry]
    # The widest line is the same whatever the number of orders.
    width = 0.35 + 1.5 * shown["order"].to_numpy(float) / shown["order"].max()
    if halo:
        axes.add_collection(LineCollection(parts, colors="white", linewidths=width + 1.1, alpha=0.75, capstyle="round"))
    axes.add_collection(LineCollection(parts, colors=_WATER, linewidths=width, capstyle="round"))


def _frame(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """Kilometres along the edges, few ticks."""
    west, east, south, north = extent
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")
    axes.locator_params(nbins=5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, place: f"{value / 1000:g}")
    axes.tick_params(labelsize=8, color="#9aa1a7")
    axes.spines[:].set(color="#b9bfc4", linewidth=0.6)
    axes.set_xlabel("easting [km]", fontsize=9)
    axes.set_ylabel("northing [km]", fontsize=9)


def _size(extent: tuple[float, float, float, float], width: float) -> tuple[float, float]:
    """Figure size for a map of some width, inches."""
    west, east, south, north = extent
    return width, min(max((width - 1.9) * (north - south) / (east - west) + 0.7, 2.4), 10.0)


def relief(heights: Picture, cell: Cell, lines: gpd.GeoDataFrame) -> Figure:
    """Shaded relief over tints of height, with the streams.

    Parameters
    ----------
    heights : Picture
        m.
    cell : (float, float)
        Width and height of a cell of the picture, m.
    lines : GeoDataFrame
        As `Drainage.lines` gives them.
    """
    figure = _figure(*_size(heights.extent, 8.6))
    axes = figure.subplots()
    z = heights.values
    tints = LinearSegmentedColormap.from_list("heights", _TINTS)
    low, high = np.nanquantile(z, (0.005, 0.995))
    shown = axes.imshow(z, extent=heights.extent, cmap=tints, vmin=low, vmax=max(high, low + 0.1), alpha=0.85)
    # Flat land would show nothing: its relief is drawn steeper, up to ten times.
    steep = float(np.nanquantile(np.hypot(*gradient(z, cell)), 0.9))
    shade = hillshade(z, cell, exaggeration=float(np.clip(0.4 / max(steep, 1e-6), 1.0, 10.0)))
    axes.imshow(shade, extent=heights.extent, cmap="gray", vmin=0.1, vmax=1.0, alpha=0.45)
    _add_streams(axes, lines)
    _frame(axes, heights.extent)
    bar = figure.colorbar(shown, ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("elevation [m]", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_linewidth(0.4)
    return figure


def layer_grid(pictures: Sequence[Picture]) -> Figure:
    """Small maps of the layers, each in its own colours from the 2nd to the 98th percentile."""
    west, east, south, north = pictures[0].extent
    ratio = (north - south) / (east - west)
    across = min(len(pictures), 3 if ratio < 1.1 else 4 if ratio < 2 else 5)
    down = -(-len(pictures) // across)
    wide = 9.3 / across
    figure = _figure(9.3, ((wide - 0.55) * ratio + 0.45) * down)
    panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axes, picture in zip(panels, pictures, strict=False):
        _small_map(figure, axes, picture)
    for unused in panels[len(pictures) :]:
        unused.set_visible(False)
    return figure


def _small_map(figure: Figure, axes: Axes, picture: Picture) -> None:
    ramp = LinearSegmentedColormap.from_list("layer", [f"#{one}" for one in picture.colours])
    good = picture.values[np.isfinite(picture.values)]
    norm = _norm(good)
    shown = axes.imshow(picture.values, cmap=ramp, norm=norm, interpolation="nearest")
    axes.set_title(picture.title, fontsize=8.5, loc="left")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color="#b9bfc4", linewidth=0.6)
    bar = figure.colorbar(shown, cax=axes.inset_axes((1.025, 0.0, 0.035, 1.0)))
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_linewidth(0.4)
    if isinstance(norm, LogNorm):
        bar.ax.minorticks_off()
        return
    bar.ax.locator_params(nbins=4)
    bar.formatter.set_powerlimits((-3, 4))  # type: ignore[attr-defined]
    bar.ax.yaxis.get_offset_text().set_fontsize(7)


def _norm(good: Float32) -> Normalize:
    """Where the colours of a layer begin and end, and whether they go by powers of ten."""
    if not good.size:
        return Normalize(0.0, 1.0)
    low, middle, high = (float(one) for one in np.quantile(good, (0.02, 0.5, 0.98)))
    if low < 0 < high:  # values on both sides of a middle: the middle is white
        high = max(-low, high)
        low = -high
    if low > 0 and high > 30 * middle:
        return LogNorm(low, high)
    return Normalize(low, max(high, low + 1e-12))


def map_with_streams(picture: Picture, breaks: Sequence[float], unit: str, lines: gpd.GeoDataFrame) -> Figure:
    """A map in the classes of its QGIS style, with the streams drawn over it."""
    style = ClassStyle(tuple(breaks), picture.colours, unit)
    classes = ListedColormap([f"#{entry.colour}" for entry in style.entries])
    figure = _figure(*_size(picture.extent, 8.6))
    axes = figure.subplots()
    place = np.ma.masked_array(np.digitize(picture.values, breaks, right=True), ~np.isfinite(picture.values))
    axes.imshow(place, extent=picture.extent, cmap=classes, vmin=-0.5, vmax=len(breaks) + 0.5, interpolation="nearest")
    _add_streams(axes, lines, halo=True)
    _frame(axes, picture.extent)
    axes.set_title(picture.title, fontsize=10, loc="left", fontweight="bold")
    patches = [
        Patch(facecolor=f"#{entry.colour}", edgecolor="#9aa1a7", linewidth=0.5, label=entry.label)
        for entry in style.entries
    ]
    handles = [*patches, Line2D([], [], color=_WATER, linewidth=1.5, label="stream")]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8.5, alignment="left")
    return figure


def relation_plot(relations: pd.DataFrame) -> Figure:
    """Correlation of each map with each terrain attribute: the whole image and its halves.

    Parameters
    ----------
    relations : DataFrame
        ``map``, ``attribute``, ``region`` (whole, left, right), ``pearson``, ``spearman``.
    """
    maps, attributes = (list(dict.fromkeys(relations[name])) for name in ("map", "attribute"))
    measures = {"pearson": "Pearson", "spearman": "Spearman"}
    # The halves lie a little above and below, so that equal values are seen.
    marks = {"whole": ("o", COLOURS[6], 0.0), "left": ("<", COLOURS[0], -0.2), "right": (">", COLOURS[1], 0.2)}
    figure = _figure(1.6 + 2.6 * len(attributes), 1.3 + 2 * (0.5 + 0.32 * len(maps)))
    panels = figure.subplots(2, len(attributes), squeeze=False, sharey=True, sharex=True)
    most = float(np.nanmax(relations[list(measures)].abs().to_numpy(), initial=0.1))
    for row, (measure, name) in enumerate(measures.items()):
        for column, attribute in enumerate(attributes):
            axes = panels[row, column]
            axes.axvline(0, color="#9aa1a7", linewidth=0.8, zorder=0)
            for region, (marker, colour, shift) in marks.items():
                own = relations[(relations["attribute"] == attribute) & (relations["region"] == region)]
                values = own.set_index("map")[measure].reindex(maps)
                size = 34 if region == "whole" else 26
                axes.scatter(
                    values,
                    np.arange(len(maps)) + shift,
                    marker=marker,
                    color=colour,
                    s=size,
                    linewidths=0,
                    label=region,
                )
            axes.set_yticks(range(len(maps)), maps, fontsize=8)
            axes.set_ylim(len(maps) - 0.5, -0.5)
            axes.set_xlim(-1.15 * most, 1.15 * most)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#eceff1", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(labelsize=8)
            axes.set_title(f"{NAMES.get(attribute, attribute)}, {name}", fontsize=9.5, loc="left")
    figure.supxlabel("correlation", fontsize=9)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, ncols=3, loc="outside upper center")
    return figure


def write_terrain_report(
    path: Path,
    *,
    name: str,
    facts: Mapping[str, str],
    notes: Sequence[str],
    layers: pd.DataFrame,
    streams: pd.DataFrame,
    figures: Sequence[tuple[str, Figure]],
    record: Mapping[str, str],
) -> Path:
    """Write the report of a terrain run.

    Parameters
    ----------
    name : str
        Of the elevation model.
    facts, record : mapping
        What there is, and how it was made.
    notes : sequence of str
        What a user should know.
    layers, streams : DataFrame
        Statistics of the layers; streams by order, may be empty.
    figures : sequence of (caption, Figure)
        Relief with streams, then the layers.
    """
    tables = [("Streams by Strahler's order.", streams)] if len(streams) else []
    sections = [
        Section("The land", tuple(notes), tuple(facts.items()), tuple(tables), tuple(figures[:1]), figures_first=True),
        Section(
            "Layers",
            ("Each is a GeoTIFF with its style for QGIS beside it; the folder can be used as covariates as it is.",),
            tables=(("Values of the layers.", layers),),
            figures=tuple(figures[1:]),
            figures_first=True,
        ),
        Section("How they were made", facts=tuple(record.items())),
    ]
    return write_report(path, f"Terrain of {name}", sections)


def write_relation_report(
    path: Path, relations: pd.DataFrame, figures: Sequence[tuple[str, Figure]], notes: Sequence[str]
) -> Path:
    """Write how maps go with the terrain: the plot, the table, the maps with the streams over them.

    Parameters
    ----------
    relations : DataFrame
        As `relation_plot` takes it, with ``cells``.
    figures : sequence of (caption, Figure)
        The plot first.
    notes : sequence of str
        What a reader should know.
    """
    wide = relations.pivot_table(
        index=["map", "attribute"], columns="region", values=["pearson", "spearman"], sort=False, dropna=False
    )
    table = pd.DataFrame(
        {
            "map": wide.index.get_level_values(0),
            "with": wide.index.get_level_values(1).map(lambda one: NAMES.get(one, one)),
        }
    )
    for measure in ("pearson", "spearman"):
        for region in ("whole", "left", "right"):
            table[f"{measure}, {region}"] = wide[(measure, region)].to_numpy(float)
    cells = relations.drop_duplicates("region").set_index("region")["cells"]
    counted = ", ".join(f"{region} {cells[region]:,}" for region in ("whole", "left", "right"))
    sections = [
        Section(
            "Correlation",
            tuple(notes),
            facts=(("cells", counted),),
            tables=(("Correlation of the maps with the terrain: whole image, left and right half.", table),),
            figures=tuple(figures[:1]),
            figures_first=True,
        ),
        Section("Maps and streams", figures=tuple(figures[1:])),
    ]
    return write_report(path, "Soil maps and terrain", sections)


def stream_table(lines: pd.DataFrame) -> pd.DataFrame:
    """Number, length and fall of the streams of each order.

    Parameters
    ----------
    lines : DataFrame
        ``order``, ``length_m``, ``fall_m``.
    """
    if lines.empty:
        return pd.DataFrame()
    groups = lines.groupby("order")
    rows: list[dict[str, Any]] = [
        {
            "order": str(order),
            "reaches": len(own),
            "length km": own["length_m"].sum() / 1000,
            "mean fall m/km": 1000 * own["fall_m"].sum() / own["length_m"].sum(),
        }
        for order, own in groups
    ]
    return pd.DataFrame(rows)
