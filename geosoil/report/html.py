"""Reports: one self-contained HTML file of paragraphs, tables and figures."""

from __future__ import annotations

import base64
import io
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from matplotlib.figure import Figure

import geosoil
from geosoil.types import PathLike

__all__ = ["Section", "number", "png", "write_report"]

_DPI = 130


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
    paragraphs : tuple of str
        Plain text; it is escaped.
    tables : tuple of (caption, DataFrame)
        Shown without the index; numbers to three digits, NaN as a dash.
    figures : tuple of (caption, Figure)
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[tuple[str, pd.DataFrame], ...] = ()
    figures: tuple[tuple[str, Figure], ...] = ()


def number(value: Any) -> str:
    """A cell of a table.

    >>> number(0.123456), number(12345.6), number(7), number(float("nan"))
    ('0.123', '12346', '7', '–')
    """
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def write_report(path: PathLike, title: str, sections: Sequence[Section], *, subtitle: str = "") -> Path:
    """Write a report, whole or not at all.

    Parameters
    ----------
    path : path
        HTML file.
    title, subtitle : str
        Plain text.
    sections : sequence of Section
        Empty ones are left out.
    """
    path = Path(path)
    template = Environment(autoescape=True).from_string(
        (files("geosoil.report") / "report.html").read_text(encoding="utf-8")
    )
    shown = [_plain(one) for one in sections if one.paragraphs or one.tables or one.figures]
    text = template.render(title=title, subtitle=subtitle, sections=shown, version=geosoil.__version__)
    part = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.html")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _plain(section: Section) -> dict[str, Any]:
    tables = [
        {
            "caption": caption,
            "columns": [str(name) for name in frame.columns],
            "rows": [[number(cell) for cell in row] for row in frame.itertuples(index=False)],
        }
        for caption, frame in section.tables
    ]
    figures = [
        {"caption": caption, "source": f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"}
        for caption, figure in section.figures
    ]
    return {"title": section.title, "paragraphs": section.paragraphs, "tables": tables, "figures": figures}
