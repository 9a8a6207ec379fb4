"""Plots: matplotlib figures without global state, readable for colour-blind eyes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from geosoil.io.qgis.flags import flag_colour
from geosoil.io.qgis.style import ClassStyle, colours_of
from geosoil.score import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geosoil.soil import Property, Target
    from geosoil.types import Float32, UInt16

__all__ = [
    "bare_axes",
    "density_by_depth",
    "level_curve",
    "map_grid",
    "mask_map",
    "metric_by_depth",
    "relative_bias_map",
    "scatter_by_depth",
    "zone_bars",
]

#: Okabe and Ito (2008): told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bare_axes(axes: Axes) -> Axes:
    """Axes without what only frames."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def _unit(soil: Property) -> str:
    return "" if soil.unit == "1" else f" [{soil.unit}]"


def _grid(count: int, across: int = 3, size: float = 2.9) -> tuple[Figure, list[Any]]:
    rows, columns = -(-count // across), min(count, across)
    figure = _figure(size * columns + 0.6, size * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def scatter_by_depth(frame: pd.DataFrame, soil: Property, depths: Sequence[str]) -> Figure:
    """Observed against held-out predicted values, a panel a depth, with the line of equality and scores.

    Parameters
    ----------
    frame : DataFrame
        ``depth``, ``observed``, ``predicted``.
    """
    figure, panels = _grid(len(depths))
    for axes, depth in zip(panels, depths, strict=True):
        rows = frame[frame["depth"] == depth]
        o, p = rows["observed"].to_numpy(float), rows["predicted"].to_numpy(float)
        # Long tails would squeeze all else into a corner; the axes end at the 99.5th percentile.
        top = float(np.quantile(np.concatenate([o, p]), 0.995)) * 1.08 or 1.0
        low = min(0.0, float(np.min([o.min(), p.min()])))
        bare_axes(axes).scatter(o, p, s=9, color=COLOURS[0], alpha=0.4, linewidths=0)
        axes.plot([low, top], [low, top], color="#444444", linewidth=0.9)
        axes.set(xlim=(low, top), ylim=(low, top), aspect="equal")
        axes.set_title(depth.replace("cm", " cm"), fontsize=10)
        found = score(o, p)
        text = f"n {found['n']:.0f}\nRMSE {found['RMSE']:.3g}\nR2 {found['R2']:.2f}\nCCC {found['CCC']:.2f}"
        axes.text(0.04, 0.97, text, transform=axes.transAxes, va="top", fontsize=8)
    figure.supxlabel(f"observed {soil.name.lower()}{_unit(soil)}", fontsize=10)
    figure.supylabel(f"predicted{_unit(soil)}", fontsize=10)
    return figure


def metric_by_depth(scores: pd.DataFrame, metric: str, soil: Property, depths: Sequence[str]) -> Figure:
    """A score of each model by depth, with its SD over repeats.

    Parameters
    ----------
    scores : DataFrame
        One scheme: ``model``, ``depth``, ``metric``, ``mean``, ``sd``.
    """
    figure = _figure(7.6, 3.6)
    axes = bare_axes(figure.subplots())
    rows = scores[scores["metric"] == metric]
    models = list(dict.fromkeys(rows["model"]))
    for place, model in enumerate(models):
        one = rows[rows["model"] == model].set_index("depth").reindex(depths)
        at = np.arange(len(depths)) + (place - (len(models) - 1) / 2) * 0.16
        axes.errorbar(
            at,
            one["mean"],
            yerr=one["sd"].fillna(0),
            fmt=MARKERS[place % 8],
            color=COLOURS[place % 8],
            markersize=6,
            capsize=2.5,
            linewidth=1.2,
            label=model,
        )
    axes.set_xticks(range(len(depths)), [depth.replace("cm", "") for depth in depths])
    axes.set_xlabel("depth [cm]")
    axes.set_ylabel(metric + (_unit(soil) if metric in {"RMSE", "MAE", "ME"} else ""))
    axes.grid(axis="y", color="#e3e6e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, ncols=len(models), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def level_curve(
    scores: pd.DataFrame, levels: dict[str, int], soil: Property, label: str, metric: str = "RMSE"
) -> Figure:
    """A score against a number that was varied: frozen layers, covariates, patch width."""
    figure = _figure(5.6, 3.3)
    axes = bare_axes(figure.subplots())
    rows = scores[(scores["metric"] == metric) & (scores["depth"] == "all")].copy()
    rows["level"] = rows["model"].map(levels)
    rows = rows.sort_values("level")
    axes.plot(rows["level"], rows["mean"], marker="o", color=COLOURS[0], linewidth=1.6)
    axes.set_xticks(rows["level"].to_list())
    axes.set_xlabel(label)
    axes.set_ylabel(f"{metric} over all depths" + (_unit(soil) if metric == "RMSE" else ""))
    axes.grid(axis="y", color="#e3e6e8", linewidth=0.8)
    return figure


def zone_bars(zones: pd.DataFrame, soil: Property) -> Figure:
    """RMSE of each model in each zone.

    Parameters
    ----------
    zones : DataFrame
        ``zone``, ``model``, ``n``, ``RMSE``.
    """
    names = list(dict.fromkeys(zones["zone"]))
    models = list(dict.fromkeys(zones["model"]))
    figure = _figure(7.6, 0.8 + 0.42 * len(names))
    axes = bare_axes(figure.subplots())
    for place, model in enumerate(models):
        one = zones[zones["model"] == model].set_index("zone").reindex(names)
        at = np.arange(len(names)) + (place - (len(models) - 1) / 2) * 0.15
        axes.plot(one["RMSE"], at, MARKERS[place % 8], color=COLOURS[place % 8], markersize=6, label=model)
    counts = zones.drop_duplicates("zone").set_index("zone")["n"]
    axes.set_yticks(range(len(names)), [f"{name} ({counts[name]:.0f})" for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"RMSE{_unit(soil)}")
    axes.grid(axis="x", color="#e3e6e8", linewidth=0.8)
    axes.legend(frameon=False, fontsize=9, ncols=len(models), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def density_by_depth(frame: pd.DataFrame, soil: Property, depths: Sequence[str]) -> Figure:
    """Densities of observed and predicted values, a panel a depth; models that smooth show narrow ones.

    Parameters
    ----------
    frame : DataFrame
        ``model``, ``depth``, ``observed``, ``predicted``.
    """
    from scipy.stats import gaussian_kde

    figure, panels = _grid(len(depths), size=2.7)
    models = list(dict.fromkeys(frame["model"]))
    for axes, depth in zip(panels, depths, strict=True):
        rows = frame[frame["depth"] == depth]
        observed = rows[rows["model"] == models[0]]["observed"].to_numpy(float)
        low, top = np.quantile(observed, [0.0, 0.99])
        x = np.linspace(min(low, 0), top * 1.1 + 1e-9, 200)
        if np.ptp(observed) > 0:
            bare_axes(axes).fill_between(x, gaussian_kde(observed)(x), color="#c9ced2", linewidth=0, label="observed")
        for place, model in enumerate(models):
            values = rows[rows["model"] == model]["predicted"].to_numpy(float)
            if np.ptp(values) > 0:
                axes.plot(x, gaussian_kde(values)(x), color=COLOURS[place % 8], linewidth=1.4, label=model)
        axes.set_title(depth.replace("cm", " cm"), fontsize=10)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, ncols=len(labels), loc="outside upper center")
    figure.supxlabel(f"{soil.name.lower()}{_unit(soil)}", fontsize=10)
    return figure


def relative_bias_map(places: pd.DataFrame, soil: Property) -> Figure:
    """Where predictions are too low (blue) or too high (brown), in % of the observed value, over all depths.

    Parameters
    ----------
    places : DataFrame
        ``x``, ``y``, ``bias`` (percent).
    """
    figure = _figure(6.6, 4.8)
    axes = bare_axes(figure.subplots())
    metric = float(places["x"].abs().max()) > 360
    factor = 1e-3 if metric else 1.0
    order = places["bias"].abs().sort_values().index
    rows = places.loc[order]
    points = axes.scatter(
        rows["x"] * factor,
        rows["y"] * factor,
        c=rows["bias"].clip(-100, 100),
        s=20,
        cmap="BrBG_r",
        vmin=-100,
        vmax=100,
        edgecolors="#555555",
        linewidths=0.3,
    )
    axes.set_aspect("equal" if metric else 1 / max(np.cos(np.radians(rows["y"].mean())), 0.1))
    axes.set_xlabel("easting [km]" if metric else "longitude [°]")
    axes.set_ylabel("northing [km]" if metric else "latitude [°]")
    axes.ticklabel_format(useOffset=False)
    bar = figure.colorbar(points, ax=axes, extend="both", shrink=0.8)
    bar.set_label(f"relative bias of {soil.name.lower()} [%]", fontsize=9)
    return figure


def map_grid(maps: Sequence[tuple[Target, Float32]], breaks: Sequence[float]) -> Figure:
    """Small maps of one property at its depths, in one set of classes.

    Parameters
    ----------
    maps : sequence of (Target, (h, w) float32)
        NaN where there is no data, which is left white.
    breaks : sequence of float
        Upper bounds of all classes but the last, as `rounded_breaks` gives them.
    """
    soil = maps[0][0].soil_property
    style = ClassStyle(tuple(breaks), colours_of(soil), soil.unit)
    classes = ListedColormap([f"#{entry.colour}" for entry in style.entries])
    height, width = maps[0][1].shape
    columns = _across(len(maps), height / width)
    figure, panels = _grid(len(maps), across=columns)
    across = 7.6 / columns
    figure.set_size_inches(9.3, (across * height / width + 0.35) * -(-len(maps) // columns) + 0.1)
    for axes, (target, values) in zip(panels, maps, strict=True):
        place = np.ma.masked_array(np.digitize(values, breaks, right=True), ~np.isfinite(values))
        axes.imshow(place, cmap=classes, vmin=-0.5, vmax=len(breaks) + 0.5, interpolation="nearest")
        axes.set_title(str(target.depth), fontsize=10, loc="left", fontweight="bold")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="#b9bfc4", linewidth=0.6)
    patches = [
        Patch(facecolor=f"#{entry.colour}", edgecolor="#9aa1a7", linewidth=0.5, label=entry.label)
        for entry in style.entries
    ]
    legend = figure.legend(
        handles=patches, loc="outside right upper", frameon=False, fontsize=9, alignment="left",
        title=f"{soil.name}{_unit(soil)}" if len(soil.name) < 16 else f"{soil.name}\n{_unit(soil).strip()}",
        title_fontsize=9,
    )  # fmt: skip
    legend.get_title().set_fontweight("bold")
    return figure


def mask_map(first: UInt16, reasons: Sequence[str]) -> Figure:
    """Masked cells by their first reason, in the colours of the QGIS project; bare soil and no data are pale.

    Parameters
    ----------
    first : (h, w) uint16
        Place of a cell's first reason from 1, 0 for bare soil, 65535 where there is no data.
    reasons : sequence of str
    """
    there = [place for place in range(1, len(reasons) + 1) if (first == place).any()]
    entries = [("bare soil", "e9dcc9", first == 0)]
    entries += [(reasons[place - 1], flag_colour(reasons[place - 1]), first == place) for place in there]
    picture = np.ones((*first.shape, 3))
    for _, colour, where in entries:
        picture[where] = to_rgb(f"#{colour}")
    height, width = first.shape
    across = min(6.5, 7.5 * width / height)
    figure = Figure(figsize=(across + 2.2, across * height / width + 0.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color="#b9bfc4", linewidth=0.6)
    patches = [Patch(facecolor=f"#{colour}", edgecolor="#9aa1a7", label=name) for name, colour, _ in entries]
    figure.legend(handles=patches, loc="outside right upper", frameon=False, fontsize=9, alignment="left")
    return figure


def _across(count: int, ratio: float) -> int:
    """Columns of small maps: more of them the taller the maps are."""
    return min(count, 2 if ratio < 0.5 else 3 if ratio < 1.4 else 4)
