"""Reports: one self-contained HTML file of paragraphs, facts, tables and figures."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from geosoil.io.atomic import replacing
from geosoil.types import PathLike

__all__ = ["Section", "number", "png", "write_report"]

#: Of figures; sharp in print at the width of a page.
_DPI = 150
#: Figures that stand in a report and in a folder of plots too.
_DRAWN: WeakKeyDictionary[Figure, bytes] = WeakKeyDictionary()
#: What begins like a number is set flush right, all else flush left.
_NUMERIC = re.compile(r"[-+−–]?(\d|$)")


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
        Heading, and entry in the table of contents.
    paragraphs : tuple of str
        Plain text; it is escaped.
    facts : tuple of (name, value)
        A short list of what there is to know; values as text.
    tables : tuple of (caption, DataFrame)
        Shown without the index; numbers to three digits, NaN as a dash.
    figures : tuple of (caption, Figure)
        The caption also stands in for the picture where it cannot be seen.
    figures_first : bool
        Whether the figures come before the tables.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[tuple[str, pd.DataFrame], ...] = ()
    figures: tuple[tuple[str, Figure], ...] = ()
    figures_first: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.paragraphs or self.facts or self.tables or self.figures)


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
    """A finished figure as PNG, drawn once; equal figures give equal bytes."""
    if figure not in _DRAWN:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
        _DRAWN[figure] = buffer.getvalue()
    return _DRAWN[figure]


def write_report(path: PathLike, title: str, sections: Sequence[Section], *, subtitle: str = "") -> Path:
    """Write a report, whole or not at all.

    The file needs no other file and no network, and holds no script.

    Parameters
    ----------
    path : path
        HTML file; replaced when it is there.
    title, subtitle : str
        Plain text.
    sections : sequence of Section
        Empty ones are left out.

    Raises
    ------
    OutputError
    """
    path = Path(path)
    source = (files("geosoil.report") / "report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = [_content(section) for section in sections if not section.empty]
    text = environment.from_string(source).render(title=title, subtitle=subtitle, sections=shown)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def _content(section: Section) -> dict[str, Any]:
    """A section as the template takes it."""
    return {
        "title": section.title,
        "paragraphs": section.paragraphs,
        "facts": section.facts,
        "tables": [_table(caption, frame) for caption, frame in section.tables],
        "figures": [
            {"caption": caption, "source": f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"}
            for caption, figure in section.figures
        ],
        "figures_first": section.figures_first,
    }


def _table(caption: str, frame: pd.DataFrame) -> dict[str, Any]:
    rows = [[number(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]
    columns = list(zip(*rows, strict=True))[1:]
    # The first column names the row.
    kinds = ["text", *("number" if all(map(_NUMERIC.match, column)) else "text" for column in columns)]
    names = [str(name) for name in frame.columns]
    kinds += ["text"] * (len(names) - len(kinds))  # an empty table says nothing of its columns
    return {"caption": caption, "columns": list(zip(names, kinds, strict=True)), "rows": rows}
