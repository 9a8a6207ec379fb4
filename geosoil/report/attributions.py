"""The report of attributions: along wavelength or by covariate, sample by sample, and against another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .absorptions import absorptions, constituents_at
from .html import Section, write_report
from .importance import Window, important_windows
from .plots import bare_axes
from .spectra import segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geosoil.types import Float64

__all__ = [
    "Against",
    "Shown",
    "against_figure",
    "covariate_figure",
    "figure_names",
    "sample_figure",
    "wavelength_figure",
    "write_attributions",
]

#: Okabe and Ito (2008), told apart with any colour vision; a colour a group of constituents.
_GROUPS = {
    "iron oxides": "#D55E00",
    "water": "#56B4E9",
    "clay minerals": "#CC79A7",
    "carbonates": "#444444",
    "salts": "#8a8f94",
    "organic matter": "#009E73",
    "vegetation": "#7a9a01",
}
_MAIN, _LOW, _HIGH = "#0072B2", "#56B4E9", "#D55E00"
_CHANGES = {"shared": "#8a8f94", "lost": "#E69F00", "new": "#0072B2"}
_NOTHING = "nothing listed"
#: Windows or covariates in a plot of samples, and samples in it.
_ROWS, _POINTS = 12, 600


@dataclass(frozen=True, eq=False)
class Shown:
    """One explained output.

    Attributes
    ----------
    title : str
        Such as ``Lead, 0-20 cm``.
    unit : str
        Of contributions: the scale that the model works on.
    quantity : str
        What the inputs are.
    table : DataFrame
        As `importance_table` makes it.
    values, inputs : (n, p) float64
        Contributions, and inputs; NaN for those that are no single number.
    facts : mapping
        What there is to know: method, draws, gap, background.
    notes : tuple of str
    """

    title: str
    unit: str
    quantity: str
    table: pd.DataFrame
    values: Float64
    inputs: Float64
    facts: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def wavelength_nm(self) -> Float64 | None:
        """Of the inputs; None for covariates."""
        return self.table["wavelength"].to_numpy(np.float64) if "wavelength" in self.table else None

    @property
    def windows(self) -> list[Window]:
        """The wavelengths that hold half of all importance, over all kinds of spectra."""
        if self.wavelength_nm is None:
            return []
        joined = self.table.groupby("wavelength", sort=True)["smoothed"].sum()
        return important_windows(joined.index.to_numpy(np.float64), joined.to_numpy(np.float64))


@dataclass(frozen=True, eq=False)
class Against:
    """Another model on the same samples, and what it shares.

    Attributes
    ----------
    names : (str, str)
        Of the model, and of the other one.
    other : Shown
    changes : DataFrame
    alike : mapping
        As `compare_importance` gives them.
    """

    names: tuple[str, str]
    other: Shown
    changes: pd.DataFrame
    alike: Mapping[str, float]


def write_attributions(
    path: Path, name: str, shown: Sequence[Shown], against: Mapping[str, Against], subtitle: str = ""
) -> dict[str, Figure]:
    """Write the report; returns its figures by name.

    Parameters
    ----------
    shown : sequence of Shown
        All of them spectra, or all covariates.
    against : mapping
        By the title of what is shown.
    """
    sections: list[Section] = []
    figures: dict[str, Figure] = {}
    if shown and shown[0].wavelength_nm is None:
        figure = covariate_figure(shown)
        figures["covariates"] = figure
        caption = "Mean absolute contribution of each covariate, the largest of any depth first."
        sections.append(Section("Covariates by depth", figures=((caption, figure),)))
    for one in shown:
        made = _section(one, against.get(one.title))
        sections.append(made[0])
        figures |= {f"{_slug(one.title)}-{key}": figure for key, figure in made[1].items()}
    sections.append(_reading(shown))
    write_report(path, f"{name}: why", sections, subtitle=subtitle)
    return figures


def figure_names(titles: Sequence[str], *, spectral: bool, against: bool) -> list[str]:
    """Names of the figures that `write_attributions` gives."""
    kinds = [*(["wavelength"] if spectral else []), "samples", *(["against"] if against else [])]
    names = [] if spectral else ["covariates"]
    return [*names, *(f"{_slug(title)}-{kind}" for title in titles for kind in kinds)]


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _section(one: Shown, against: Against | None) -> tuple[Section, dict[str, Figure]]:
    figures: dict[str, Figure] = {}
    captions = {
        "wavelength": "Above: mean absolute contribution of each band (thin) and smoothed (bold); shaded: the fewest "
        "wavelengths that hold half of it. Middle: mean contribution in the thirds of samples with the lowest and the "
        "highest predictions. Below: where constituents of soils absorb.",
        "samples": "Each point a sample: contribution of a window or covariate, coloured by how large the input is.",
        "against": "Share of all importance along wavelength, smoothed, of both models.",
    }
    tables: list[tuple[str, pd.DataFrame]] = []
    if one.wavelength_nm is not None:
        figures["wavelength"] = wavelength_figure(one)
        tables.append(("Wavelengths that hold half of all importance, and what is known to absorb there", _named(one)))
    else:
        tables.append(("Covariates", _listed(one)))
    figures["samples"] = sample_figure(one)
    if against is not None:
        figures["against"] = against_figure(one, against)
        tables.append((f"Wavelengths against {against.names[1]}", _changes(against)))
    section = Section(
        one.title,
        paragraphs=one.notes,
        facts=tuple((key, str(value)) for key, value in one.facts.items()),
        tables=tuple(tables),
        figures=tuple((captions[key], figure) for key, figure in figures.items()),
        figures_first=True,
    )
    return section, figures


def _reading(shown: Sequence[Shown]) -> Section:
    texts = [
        "A contribution says how far an input moves the prediction of a sample from the mean prediction of the "
        "background; the contributions of a sample add up to that difference, but for the gap that is told.",
        "They explain the model, not the soil: of inputs that repeat each other any may get the share of all.",
    ]
    if shown and shown[0].wavelength_nm is not None:
        texts.append(
            "Neighbouring bands share what they have in common; read windows, not single bands. Constituents overlap, "
            "and a wavelength that matters is no proof of what absorbs there."
        )
    return Section("How to read this", tuple(texts))


def _named(one: Shown) -> pd.DataFrame:
    rows = [
        {
            "window": window.label,
            "share": f"{100 * window.share:.1f} %",
            "known to absorb there": "; ".join(constituents_at(window.first_nm, window.last_nm)[:5])
            or "nothing listed",
        }
        for window in one.windows
    ]
    return pd.DataFrame(rows, columns=["window", "share", "known to absorb there"])


def _listed(one: Shown) -> pd.DataFrame:
    table = one.table.sort_values("mean_abs", ascending=False, kind="stable").head(25)
    return table[["input", "mean_abs", "mean", "direction", "share"]].rename(columns={"input": "covariate"})


def _changes(against: Against) -> pd.DataFrame:
    every = against.changes
    # Where there are many, those that matter most to either model: not the first kind alone.
    weight = every[["own", "other"]].max(axis=1)
    rows = every.loc[weight.sort_values(ascending=False, kind="stable").index[:20].sort_values()]
    return pd.DataFrame(
        {
            "": rows["change"],
            "window": [Window(a, b, 0.0).label for a, b in zip(rows["first"], rows["last"], strict=True)],
            against.names[0]: [f"{100 * value:.1f} %" for value in rows["own"]],
            against.names[1]: [f"{100 * value:.1f} %" for value in rows["other"]],
            "known to absorb there": [text or _NOTHING for text in rows["constituents"]],
        }
    )


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _line(axes: Axes, nm: Float64, values: Float64, **style: Any) -> None:
    """A curve that no gap in wavelength is crossed by."""
    label = style.pop("label", None)
    for place, run in enumerate(segments(nm)):
        axes.plot(nm[run], values[run], label=label if place == 0 else None, **style)


def wavelength_figure(one: Shown) -> Figure:
    """Importance along wavelength, with the features of soil constituents."""
    figure = _figure(9.2, 7.2)
    top, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2.2, 1.5))
    table = one.table
    kinds = list(dict.fromkeys(table["source"])) if "source" in table else [""]
    colours = dict(zip(kinds, (_MAIN, "#009E73"), strict=False))
    half = _half_step(table)
    for window in one.windows:
        for axes in (top, middle, below):
            axes.axvspan(window.first_nm - half, window.last_nm + half, color="#eef1e2", linewidth=0)
    for kind in kinds:
        rows = table if not kind else table[table["source"] == kind]
        nm = rows["wavelength"].to_numpy(np.float64)
        _line(top, nm, rows["mean_abs"].to_numpy(np.float64), color=colours[kind], linewidth=0.6, alpha=0.5)
        _line(top, nm, rows["smoothed"].to_numpy(np.float64), color=colours[kind], linewidth=1.8, label=kind or None)
        style = "-" if kind == kinds[0] else ":"
        words = f", {kind}" if kind else ""
        for name, colour, label in (("mean_low", _LOW, "lowest"), ("mean_high", _HIGH, "highest")):
            own = rows[name].to_numpy(np.float64)
            _line(middle, nm, own, color=colour, linewidth=1.2, linestyle=style, label=f"{label} third{words}")
    middle.axhline(0, color="#444444", linewidth=0.7)
    bare_axes(top).set_ylabel(f"mean |SHAP|\n[{one.unit}]", fontsize=9)
    bare_axes(middle).set_ylabel(f"mean SHAP\n[{one.unit}]", fontsize=9)
    top.set_ylim(bottom=0)
    if len(kinds) > 1:
        top.legend(frameon=False, fontsize=8)
    middle.legend(frameon=False, fontsize=8, title="samples by prediction", title_fontsize=8)
    _constituents(below, table["wavelength"].to_numpy(np.float64))
    below.set_xlabel(f"wavelength of {one.quantity} [nm]", fontsize=9)
    return figure


def _half_step(table: pd.DataFrame) -> float:
    """Half the usual distance of bands, nm: a window reaches to the middle between bands."""
    steps = np.diff(np.unique(table["wavelength"].to_numpy(np.float64)))
    return float(np.median(steps)) / 2 if len(steps) else 0.5


def _constituents(axes: Axes, nm: Float64) -> None:
    """A row a group of constituents, a tick a feature."""
    bare_axes(axes)
    groups = list(_GROUPS)
    for one in absorptions():
        row = groups.index(one.group)
        for centre in one.nm:
            if nm.min() - one.width <= centre <= nm.max() + one.width:
                axes.plot([centre, centre], [row - 0.36, row + 0.36], color=_GROUPS[one.group], linewidth=1.4)
    axes.set_yticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def sample_figure(one: Shown) -> Figure:
    """The contributions of samples, a row a window or covariate, spread where they are dense."""
    rows = _sample_rows(one)
    figure = _figure(8.2, 1.2 + 0.36 * len(rows))
    axes = bare_axes(figure.subplots())
    rng = np.random.default_rng(0)
    points = None
    for place, (_, contribution, level) in enumerate(rows):
        chosen = np.arange(len(contribution))
        if len(chosen) > _POINTS:
            chosen = np.sort(rng.choice(chosen, _POINTS, replace=False))
        x, colour = contribution[chosen], _ranked(level[chosen])
        points = axes.scatter(
            x, place + _spread(x, rng), c=colour, cmap="cividis", vmin=0, vmax=1, s=9, linewidths=0, alpha=0.85
        )
    axes.axvline(0, color="#444444", linewidth=0.7)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"contribution [{one.unit}]", fontsize=9)
    if points is not None:
        bar = figure.colorbar(points, ax=axes, ticks=[0, 1], aspect=30, pad=0.01)
        bar.ax.set_yticklabels(["low", "high"], fontsize=8)
        bar.set_label("input", fontsize=8)
        bar.outline.set_visible(False)
    return figure


def _sample_rows(one: Shown) -> list[tuple[str, Float64, Float64]]:
    """Name, contributions and inputs of what matters most."""
    if one.wavelength_nm is None:
        order = np.argsort(-one.table["mean_abs"].to_numpy(np.float64), kind="stable")[:_ROWS]
        return [(str(one.table["input"].iloc[p]), one.values[:, p], one.inputs[:, p]) for p in order]
    found = []
    for window in one.windows[:_ROWS]:
        inside = (one.wavelength_nm >= window.first_nm) & (one.wavelength_nm <= window.last_nm)
        found.append((window.label, one.values[:, inside].sum(axis=1), one.inputs[:, inside].mean(axis=1)))
    return found


def _ranked(level: Float64) -> Float64:
    """Ranks from 0 to 1; the middle where there is nothing to rank by."""
    if not np.isfinite(level).all() or len(level) < 2 or np.ptp(level) == 0:
        return np.full(len(level), 0.5)
    return np.argsort(np.argsort(level)) / (len(level) - 1)


def _spread(x: Float64, rng: np.random.Generator) -> Float64:
    """How far points step aside: more where many lie together."""
    if len(x) < 2 or np.ptp(x) == 0:
        return np.zeros(len(x))
    count, edges = np.histogram(x, bins=40)
    dense = count[np.clip(np.digitize(x, edges) - 1, 0, 39)] / count.max()
    return np.asarray(0.34 * np.sqrt(dense) * rng.uniform(-1, 1, len(x)))


def covariate_figure(shown: Sequence[Shown]) -> Figure:
    """Mean absolute contributions of covariates, a panel a depth."""
    first = shown[0].table["input"].tolist()
    mean = np.array([one.table["mean_abs"].to_numpy(np.float64) for one in shown])
    order = np.argsort(-mean.max(axis=0), kind="stable")[:20]
    figure = _figure(2.4 + 1.9 * len(shown), 1.2 + 0.28 * len(order))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, one, values in zip(panels, shown, mean, strict=True):
        direction = one.table["direction"].to_numpy(np.float64)[order]
        colours = [_HIGH if value > 0 else _LOW if value < 0 else "#8a8f94" for value in direction]
        bare_axes(axes).barh(range(len(order)), values[order], color=colours, height=0.7)
        axes.set_title(one.title.rpartition(", ")[2], fontsize=9)
    panels[0].set_yticks(range(len(order)), [first[place] for place in order], fontsize=8)
    panels[0].invert_yaxis()
    label = f"mean |SHAP| [{shown[0].unit}]; orange: more of it raises the prediction, blue: lowers it"
    figure.supxlabel(label, fontsize=9)
    return figure


def against_figure(one: Shown, against: Against) -> Figure:
    """Two models along wavelength: what is shared, lost and new."""
    figure = _figure(9.2, 4.8)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    half = _half_step(one.table)
    for change, first, last in against.changes[["change", "first", "last"]].itertuples(index=False):
        axes.axvspan(first - half, last + half, color=_CHANGES[change], alpha=0.16, linewidth=0)
    named = ((against.other, against.names[1], "#E69F00"), (one, against.names[0], _MAIN))
    for shown, name, colour in named:
        joined = shown.table.groupby("wavelength", sort=True)["smoothed"].sum()
        nm, values = joined.index.to_numpy(np.float64), joined.to_numpy(np.float64)
        # Per nm, so that models of other bands can be compared.
        total = float(np.trapezoid(values, nm)) if len(nm) > 1 else 1.0
        _line(axes, nm, 100 * values / (total or 1.0), color=colour, linewidth=1.6, label=name)
    for change, colour in _CHANGES.items():
        axes.fill_between([], [], [], color=colour, alpha=0.3, label=change)
    axes.set_ylim(bottom=0)
    bare_axes(axes).set_ylabel("share of importance\n[% per nm]", fontsize=9)
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _constituents(below, one.table["wavelength"].to_numpy(np.float64))
    below.set_xlabel("wavelength [nm]", fontsize=9)
    return figure
