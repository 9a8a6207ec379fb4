"""Tables from files: text (encoding and separator detected), workbooks, Parquet, and what geopandas reads."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio

from geosoil.errors import InputError, listing
from geosoil.types import PathLike, as_path

__all__ = ["TABLE_SUFFIXES", "Table", "layers_of", "read_table", "typed"]

_TEXT = (".csv", ".txt", ".tsv", ".tab", ".dat")
_WORKBOOK = (".xlsx", ".xlsm")
_PARQUET = (".parquet", ".pq", ".geoparquet")
#: What is a table by its name; other files may hold one too.
TABLE_SUFFIXES = (*(one for one in _TEXT if one != ".dat"), *_WORKBOOK, *_PARQUET, ".gpkg", ".geojson", ".shp", ".fgb")
# What a workbook may unpack to, bytes for one that is packed, looked at from some MB on; and what a sheet may hold.
_MOST_RATIO, _RATIO_FROM = 100, 4 * 2**20
_MOST_ROWS, _MOST_CELLS = 2**20, 20_000_000
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_MISSING = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"]
_COMMA_NUMBER = r"^([<>≤]?\s*[-+−]?\d+),(\d+)$"
_POINT_NUMBER = r"^[<>≤]?\s*[-+−]?\d*\.\d+$"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read, and what had to be found out to read it.

    Attributes
    ----------
    frame : DataFrame
        The rows; a GeoDataFrame where the file has geometries. Cells of text files are text.
    name : str
        How messages call it.
    notes : list of str
        What was detected.
    """

    frame: pd.DataFrame
    name: str
    notes: list[str] = field(default_factory=list)


def read_table(source: PathLike | pd.DataFrame, *, layer: str | None = None) -> Table:
    """Read a table from a file, or take a frame as it is.

    Parameters
    ----------
    source : path or DataFrame
        Text (``.csv``, ``.tsv``, ``.txt``), workbook, Parquet, GeoParquet, or a vector file that geopandas reads.
    layer : str, optional
        Layer of a vector file, or sheet of a workbook; needed where there are several.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``, ``GS-TABLE-READ`` (damaged, or not what its name says), ``GS-TABLE-RAGGED``,
        ``GS-TABLE-LAYER`` (which one?), ``GS-COLUMN-TWICE``, ``GS-TABLE-EXTRA`` (a package is missing).
    """
    if isinstance(source, pd.DataFrame):
        # An index with a name is a column that the user set aside, often the id.
        unnamed = all(name is None for name in source.index.names)
        table = Table(source.reset_index(drop=unnamed), "the table")
    else:
        path = as_path(source)
        if not path.is_file() and not path.suffix == ".gdb":
            raise InputError(f"{path.name} is not a file", code="GS-FILE-MISSING", details=[f"looked for: {path}"])
        table = _reader(path)(path, layer)
    _unique_columns([str(name) for name in table.frame.columns], table.name)
    return table


def _reader(path: Path) -> Callable[[Path, str | None], Table]:
    readers = ((_TEXT, _read_text), (_WORKBOOK, _read_workbook), (_PARQUET, _read_parquet))
    kind = path.suffix.lower()
    return next((reader for suffixes, reader in readers if kind in suffixes), _read_vector)


def _unreadable(path: Path, error: Exception, kind: str) -> InputError:
    return InputError(
        f"{path.name} cannot be read as {kind}",
        code="GS-TABLE-READ",
        details=[f"{type(error).__name__}: {str(error)[:300]}"],
        hint="check that the file is whole and is what its name says",
    )


def _unique_columns(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"{where}: column names occur twice: {listing(twice)}",
            code="GS-COLUMN-TWICE",
            hint="rename the columns, so that each name stands for one",
        )


def _read_text(path: Path, layer: str | None) -> Table:
    text, encoding = _decode(path)
    try:
        separator = _separator(text)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(row)]
    except csv.Error as error:
        raise _unreadable(path, error, "a text table") from error
    if not rows:
        raise _unreadable(path, ValueError("the file is empty"), "a text table")
    header = [name.strip() for name in rows[0]]
    _unique_columns(header, path.name)
    frame = pd.DataFrame(_even(path, rows, len(header)), columns=header, dtype=object)
    frame = frame.loc[:, [name != "" for name in header]]
    frame = frame.mask(frame.isin(_MISSING))
    notes = [f"{path.name}: encoding {encoding}, separator {_SEPARATORS[separator]}"]
    if separator != "," and _has_decimal_comma(frame):
        frame = frame.replace(_COMMA_NUMBER, r"\1.\2", regex=True)
        notes.append(f"{path.name}: decimal comma")
    return Table(frame, path.name, notes)


def _even(path: Path, rows: list[list[str]], width: int) -> list[list[str]]:
    """The rows below the header, each as wide as the header; raises where one holds more."""
    wide = [place for place, row in enumerate(rows) if _width(row) > width]
    if wide:
        raise InputError(
            f"{path.name}: {len(wide)} rows have more cells than the header has names",
            code="GS-TABLE-RAGGED",
            details=[f"rows, counted from 1 below the header: {listing(wide)}"],
            hint="look for a stray separator, or a decimal comma in a comma-separated file",
        )
    return [[cell.strip() for cell in (*row[:width], *[""] * (width - len(row)))] for row in rows[1:]]


def _width(row: list[str]) -> int:
    """Number of cells, empty ones at the end left out."""
    return max((place + 1 for place, cell in enumerate(row) if cell.strip()), default=0)


def _decode(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding: by byte-order mark, else UTF-8, else Windows-1252."""
    data = path.read_bytes()
    marks = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
    marked = [encoding for mark, encoding in marks if data.startswith(mark)]
    for encoding in (*marked, "utf-8", "cp1252", "latin-1"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" in text:
            break
        return text, encoding
    raise _unreadable(path, ValueError("holds bytes that are not text"), "a text table")


def _separator(text: str) -> str:
    """The separator that cuts the header in most cells, of those that cut no row in more."""
    sample = "\n".join(text.splitlines()[:50])
    best, most = ",", 1
    for separator in _SEPARATORS:
        rows = [row for row in csv.reader(io.StringIO(sample), delimiter=separator) if row]
        if rows and len(rows[0]) > most and max(map(_width, rows)) <= len(rows[0]):
            best, most = separator, len(rows[0])
    return best


def _has_decimal_comma(frame: pd.DataFrame) -> bool:
    """Whether numbers have a decimal comma, and none a point."""

    def cells_like(pattern: str) -> bool:
        return any(frame[name].astype("string").str.match(pattern).any() for name in frame.columns)

    return cells_like(_COMMA_NUMBER) and not cells_like(_POINT_NUMBER)


def _read_workbook(path: Path, layer: str | None) -> Table:
    try:
        _check_unpacked(path)
        with pd.ExcelFile(path, engine="openpyxl") as book:
            sheet = _choose(path, [str(name) for name in book.sheet_names], layer, "sheet")
            _check_cells(book.book[sheet])
            header = pd.read_excel(book, sheet_name=sheet, header=None, nrows=1, dtype=object)
            frame = pd.read_excel(book, sheet_name=sheet, dtype=object)
    except ImportError as error:
        raise InputError(
            f"{path.name}: reading workbooks needs the package openpyxl",
            code="GS-TABLE-EXTRA",
            hint='pip install "geosoil[excel]"',
        ) from error
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error, "a workbook") from error
    _unique_columns([str(name).strip() for name in header.iloc[0].dropna()] if len(header) else [], path.name)
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return Table(frame, path.name, [f"{path.name}: sheet {sheet!r}"])


def layers_of(path: Path) -> list[dict[str, Any]]:
    """The layers of a vector file: ``name``, ``geometry`` (empty for none), ``rows``, ``columns``.

    Raises
    ------
    InputError
        ``GS-TABLE-READ``: it cannot be read.
    """
    try:
        names = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        told = [pyogrio.read_info(path, layer=name, force_feature_count=True) for name in names]
    except Exception as error:
        raise _unreadable(path, error, "a vector file") from error
    return [
        {
            "name": name,
            "geometry": str(one["geometry_type"] or ""),
            "rows": int(one["features"]),
            "columns": [str(field) for field in one["fields"]],
        }
        for name, one in zip(names, told, strict=True)
    ]


def _check_unpacked(path: Path) -> None:
    """Refuse a workbook that unpacks to far more than it holds, before anything is unpacked."""
    with zipfile.ZipFile(path) as book:
        size = sum(one.file_size for one in book.infolist())
    packed = path.stat().st_size
    if size > max(_RATIO_FROM, _MOST_RATIO * packed):
        raise ValueError(f"it unpacks from {packed} to {size} bytes; at most {_MOST_RATIO} to 1 is read")


def _check_cells(sheet: Any) -> None:
    """Refuse a sheet whose rows and columns make up more cells than can be held; gaps between rows count."""
    sheet.reset_dimensions()
    most = 0
    for place, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        most = max(most, len(row))
        if place > _MOST_ROWS or place * most > _MOST_CELLS:
            raise ValueError(f"a sheet of more than {_MOST_ROWS} rows, or {_MOST_CELLS} cells")


def _choose(path: Path, names: Sequence[str], wanted: str | None, kind: str) -> str:
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    problem = f"has {len(names)} {kind}s" if wanted is None else f"has no {kind} {wanted!r}"
    raise InputError(
        f"{path.name} {problem}",
        code="GS-TABLE-LAYER",
        details=[f"{kind}s: {listing(names)}"],
        hint=f"name one of them (layer = {names[0]!r})" if names else "",
    )


def _read_parquet(path: Path, layer: str | None) -> Table:
    try:
        whole = pq.read_table(path)
        whole.validate(full=True)  # text that is none is seen here, or in the middle of things
        geo = b"geo" in (whole.schema.metadata or {})
        frame = gpd.read_parquet(path) if geo else whole.to_pandas()
    except Exception as error:
        raise _unreadable(path, error, "Parquet") from error
    return Table(frame.reset_index(drop=True), path.name)


def _read_vector(path: Path, layer: str | None) -> Table:
    try:
        names = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    except Exception as error:
        raise _unreadable(path, error, "a table or vector file") from error
    chosen = _choose(path, names, layer, "layer")
    try:
        frame = gpd.read_file(path, layer=chosen)
    except Exception as error:
        raise _unreadable(path, error, "a vector file") from error
    return Table(frame, path.name, [f"{path.name}: layer {chosen!r}"] if len(names) > 1 else [])


def typed(column: pd.Series) -> pd.Series:
    """Cells of text, or of a workbook, as numbers or truth values, where all of them are; else as they came.

    >>> typed(pd.Series(["1", "2.5", None])).tolist(), typed(pd.Series(["1", "b"])).tolist()
    ([1.0, 2.5, nan], ['1', 'b'])
    >>> typed(pd.Series([1, 2.5, None], dtype=object)).tolist()
    [1.0, 2.5, nan]
    """
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return column
    present = column.dropna()
    if len(present) and all(isinstance(cell, Real) and not isinstance(cell, bool) for cell in present):
        return pd.to_numeric(column)
    if len(present) == 0 or not all(isinstance(cell, str) for cell in present):
        return column
    if all(re.fullmatch("true|false", cell, re.IGNORECASE) for cell in present) and len(present) == len(column):
        return column.str.lower().eq("true")
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column
