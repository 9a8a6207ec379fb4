"""Wide tables of spectra: one row a spectrum, one column a wavelength; read column by column and kept as float32."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from geosoil.errors import GeosoilError, InputError, listing

from .addresses import short_name
from .bandnames import BandColumns, find_bands
from .tables import read_table, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geosoil.types import Float32

__all__ = ["WideTable", "read_frame", "read_wide"]

_TEXT = (".csv", ".txt", ".tsv", ".tab", ".dat")
_PARQUET = (".parquet", ".pq")
#: Columns that are turned into rows at a time: few enough to hold twice, and wide enough to write rows at once.
_COLUMNS = 128
#: Bytes of a text that are looked at to find its separator and encoding.
_START = 2**20
_MISSING = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None"]
#: Names of a first column that holds wavelengths, in tables with a column a spectrum.
_DOWN = re.compile(r"(wave ?_?length|wvl|wl|lambda|nm|bands?)\b.*", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class WideTable:
    """What a table holds.

    Attributes
    ----------
    values : (n, p) float32
        As they stand in the table; NaN for missing cells.
    bands : BandColumns
        Wavelengths, rising, and what the columns' names tell.
    table : DataFrame
        The n rows of all other columns.
    notes : list of str
        What was found out.
    """

    values: Float32
    bands: BandColumns
    table: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def read_wide(path: Path, *, unit: str | None = None) -> WideTable:
    """Read a table of spectra: Parquet, text or a workbook.

    Raises
    ------
    InputError
        As `bandnames.find_bands` and `tables.read_table`; ``GS-SPECTRA-CELLS`` where a band's column holds text.
    """
    name = short_name(str(path))
    kind = path.suffix.lower()
    if kind in _PARQUET:
        return _read_parquet(path, name, unit)
    if kind in _TEXT:
        table, notes = _read_text(path, name)
        found = _of_arrow(table, name, unit)
        return WideTable(found.values, found.bands, found.table, [*notes, *found.notes])
    read = read_table(path)
    found = read_frame(read.frame, name, unit=unit)
    return WideTable(found.values, found.bands, found.table, [*read.notes, *found.notes])


def read_frame(frame: pd.DataFrame, name: str = "the table", *, unit: str | None = None) -> WideTable:
    """Take the spectra out of a frame."""
    frame = frame.copy(deep=False)
    frame.columns = pd.Index([str(column).strip() for column in frame.columns])
    frame = frame.apply(typed) if any(pd.api.types.is_object_dtype(one) for one in frame.dtypes) else frame
    if _runs_down(list(frame.columns), lambda column: frame[column]):
        frame = _turned(frame)
    bands = find_bands(list(frame.columns), where=name, unit=unit)
    values = np.empty((len(frame), len(bands.names)), np.float32)
    for place, column in enumerate(bands.names):
        _need_numbers(name, column, bool(pd.api.types.is_numeric_dtype(frame[column]) or frame[column].isna().all()))
        values[:, place] = frame[column].to_numpy(np.float32, na_value=np.nan)
    rest = frame[[column for column in frame.columns if column not in set(bands.names)]]
    return WideTable(values, bands, rest.reset_index(drop=True))


def _need_numbers(name: str, column: str, numbers: bool) -> None:
    if not numbers:
        raise InputError(
            f"{name}: column {column!r} holds something that is no number",
            code="GS-SPECTRA-CELLS",
            hint="clean the column; missing cells may be empty or NA",
        )


def _read_parquet(path: Path, name: str, unit: str | None) -> WideTable:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            bands = find_bands(schema.names, where=name, unit=unit)
            for column in bands.names:
                _need_numbers(name, column, _is_number(schema.field(column).type))
            values = np.empty((file.metadata.num_rows, len(bands.names)), np.float32)
            for first in range(0, len(bands.names), _COLUMNS):
                names = bands.names[first : first + _COLUMNS]
                _fill(values[:, first : first + len(names)], file.read(columns=list(names)), names)
            others = [column for column in schema.names if column not in set(bands.names)]
            further = file.read(columns=others)
            further.validate(full=True)  # text that is none is seen here, or in the middle of things
            rest = further.to_pandas().reset_index(drop=True)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        if isinstance(error, GeosoilError):
            raise
        raise _unreadable(name, error, "Parquet") from error
    return WideTable(values, bands, rest)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))


def _fill(out: Float32, table: pa.Table, names: Sequence[str]) -> None:
    """Some columns of a table into rows."""
    columns = np.empty((len(names), len(out)), np.float32)
    for place, column in enumerate(names):
        columns[place] = table.column(column).to_numpy()
    out[:] = columns.T


def _unreadable(name: str, error: Exception, kind: str) -> InputError:
    return InputError(
        f"{name} cannot be read as {kind}",
        code="GS-TABLE-READ",
        details=[f"{type(error).__name__}: {str(error)[:300]}"],
        hint="check that the file is whole and is what its name says",
    )


def _of_arrow(table: pa.Table, name: str, unit: str | None) -> WideTable:
    names = [column.strip() for column in table.column_names]
    table = table.rename_columns(names)
    if _runs_down(names, lambda column: table.column(column).to_pandas()):
        return read_frame(table.to_pandas(), name, unit=unit)
    bands = find_bands(names, where=name, unit=unit)
    for column in bands.names:
        _need_numbers(name, column, _is_number(table.schema.field(column).type))
    values = np.empty((len(table), len(bands.names)), np.float32)
    for first in range(0, len(bands.names), _COLUMNS):
        part = bands.names[first : first + _COLUMNS]
        _fill(values[:, first : first + len(part)], table, part)
    rest = table.select([column for column in names if column not in set(bands.names)]).to_pandas()
    return WideTable(values, bands, rest)


def _read_text(path: Path, name: str) -> tuple[pa.Table, list[str]]:
    """A text table; separator, encoding and decimal sign are found out."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError as error:
        raise _unreadable(name, error, "a text table") from error
    encoding = _encoding(start, name)
    lines = [line for line in start.decode(encoding, errors="ignore").splitlines() if line.strip()][:5]
    if len(lines) < 2:
        raise _unreadable(name, ValueError("it has no rows"), "a text table")
    separator = max(",;\t|", key=lines[0].count)
    comma = separator != "," and any(re.search(r"\d,\d", line) for line in lines[1:])
    header = [cell.strip().strip('"') for cell in lines[0].split(separator)]
    _once(header, name)
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(encoding=encoding.removesuffix("-sig")),
            parse_options=pa_csv.ParseOptions(delimiter=separator),
            convert_options=pa_csv.ConvertOptions(
                null_values=_MISSING, strings_can_be_null=True, decimal_point="," if comma else "."
            ),
        )
    except pa.ArrowInvalid as error:
        raise _ragged(name, error) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(name, error, "a text table") from error
    return table, [f"{name}: encoding {encoding}, separator {separator!r}{', decimal comma' if comma else ''}"]


def _encoding(start: bytes, name: str) -> str:
    if start.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if b"\x00" in start:
        raise _unreadable(name, ValueError("holds bytes that are not text"), "a text table")
    # A letter may be cut in two where the look ends.
    for cut in range(4):
        try:
            start[: len(start) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return "utf-8"
    return "cp1252"


def _once(header: Sequence[str], name: str) -> None:
    named = [column for column in header if column]
    if len(set(named)) == len(named):
        return
    twice = sorted(column for column, times in Counter(named).items() if times > 1)
    raise InputError(
        f"{name}: column names occur twice: {listing(twice, 5)}",
        code="GS-COLUMN-TWICE",
        hint="rename the columns, so that each name stands for one",
    )


def _ragged(name: str, error: Exception) -> InputError:
    if "columns, got" not in str(error):
        return _unreadable(name, error, "a text table")
    found = re.search(r"Expected (\d+) columns, got (\d+)", str(error))
    row = re.search(r"row #(\d+)", str(error), re.IGNORECASE)
    details = [f"expected: {found[1]} cells; found: {found[2]}"] if found else []
    return InputError(
        f"{name} has rows of different length",
        code="GS-TABLE-RAGGED",
        details=[*details, *([f"row: {row[1]}, the header counted"] if row else [])],
        hint="look for a stray separator, or a line that is cut off",
    )


def _runs_down(names: Sequence[str], column: Any) -> bool:
    """Whether wavelengths run down the first column, with a column a spectrum."""
    if len(names) < 2 or not _DOWN.fullmatch(str(names[0])):
        return False
    first = pd.to_numeric(column(names[0]), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    steps = [b - a for a, b in pairwise(first.tolist())]
    return len(first) >= 5 and bool(np.isfinite(first).all()) and (min(steps) > 0 or max(steps) < 0)


def _turned(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a spectrum, of a table with one column a spectrum."""
    first = str(frame.columns[0])
    unit = next((word for word in ("nm", "um", "µm") if word in re.split(r"[\W_]+", first.lower())), "")
    names = [f"{float(number):.10g}{unit}" for number in frame.iloc[:, 0]]
    turned = frame.iloc[:, 1:].T
    turned.columns = pd.Index(names)
    return turned.rename_axis("id").reset_index()
