"""The suite's page: one HTML file with tables, targets, a chart and profiles, that loads nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .targets import LIMIT_SHARE, RATIOS, marks

__all__ = ["write_page"]

_TITLES = {
    "plsr": "PLSR", "svr": "SVR", "forest": "Forest", "cnn": "Depth CNN, six depths", "fusion": "Fusion chain",
}  # fmt: skip
_HIT, _MISS, _BESIDE = "#2a6f4e", "#b5532a", "#9db4c0"


def write_page(results: Mapping[str, Any], path: Path) -> None:
    """Write the page of all results."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    cases = results["cases"]
    of_workloads = {
        title: {key.split(": ", 1)[1]: one for key, one in cases.items() if key.startswith(f"{name}:")}
        for name, title in _TITLES.items()
    }
    whole = {
        title: {key: one for key, one in found.items() if "failed" not in one} for title, found in of_workloads.items()
    }
    page = environment.get_template("page.html").render(
        results=results,
        workloads={title: found for title, found in whole.items() if found},
        failed={key: one["failed"] for key, one in cases.items() if "failed" in one},
        marks=marks(cases),
        chart=chart(cases),
        sizes=[one for key, one in cases.items() if key.startswith("sizes:") and "failed" not in one],
    )
    part = path.with_suffix(".part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def chart(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Shares of the limit, and ratios to the best peer, as SVG."""
    found = {key: one for key, one in cases.items() if "shares" in one}
    if not found:
        return ""
    names = list(found)[::-1]
    figure = Figure(figsize=(11, 1.2 + 0.32 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    shares = {name: found[name]["shares"]["tiles"] for name in names}
    _bars(left, shares, {name: 1.0 if name.startswith("forest:") else LIMIT_SHARE for name in names})
    left.set_xlabel("share of the limit (lines: targets)")
    ratios = {name: min(found[name]["ratios"].values(), default=0.0) for name in names}
    _bars(right, ratios, {name: RATIOS[name.split(":")[0]] for name in names if name.split(":")[0] in RATIOS})
    right.set_xscale("log")
    right.axvline(1, color="grey", linewidth=0.6)
    right.set_xlabel("times as fast as the best peer (lines: targets)")
    named = {"reached": _HIT, "not reached": _MISS, "no target": _BESIDE}
    figure.legend(
        handles=[Patch(color=colour, label=label) for label, colour in named.items()],
        ncols=3,
        loc="outside upper right",
    )
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "suite", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _bars(axes: Axes, seen: Mapping[str, float], targets: Mapping[str, float]) -> None:
    """A bar a case, with a line where its target is."""
    colours = [
        _BESIDE if name not in targets else _HIT if one >= targets[name] else _MISS for name, one in seen.items()
    ]
    axes.barh(list(seen), list(seen.values()), color=colours)
    for place, name in enumerate(seen):
        if name in targets:
            axes.plot([targets[name]] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.2)
