"""The suite's page: one HTML file with tables, targets, a chart and profiles, that loads nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
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
    shares = [found[name]["shares"]["tiles"] for name in names]
    left.barh(names, shares, color=[_HIT if one >= LIMIT_SHARE else _MISS for one in shares])
    left.axvline(LIMIT_SHARE, color="black", linewidth=0.8)
    left.set_xlabel("share of the limit (line: 60 %)")
    ratios = [min(found[name]["ratios"].values(), default=0.0) for name in names]
    right.barh(names, ratios, color=[_colour(name, ratio) for name, ratio in zip(names, ratios, strict=True)])
    for place, name in enumerate(names):
        least = RATIOS.get(name.split(":")[0])
        if least is not None:
            right.plot([least, least], [place - 0.4, place + 0.4], color="black", linewidth=1.2)
    right.set_xscale("log")
    right.set_xlabel("times as fast as the best peer (line: target)")
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


def _colour(name: str, ratio: float) -> str:
    least = RATIOS.get(name.split(":")[0])
    if least is None:
        return _BESIDE
    return _HIT if ratio >= least else _MISS
