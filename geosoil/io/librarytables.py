"""The tables of a spectral library, one by one: found, told apart, and read to reflectance with values and origin."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike as OsPathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from geosoil.errors import InputError, UsageError, listing
from geosoil.types import PathLike, as_path

from .addresses import short_name
from .bandnames import find_bands
from .librarychecks import saturated
from .librarylayouts import Layout, first_of, layout_of
from .librarytold import DESCRIPTION, Description, Told
from .libraryvalues import Values, join_values, take_values
from .spectra import SPECTROMETERS, TABLES, TEXTS, open_spectra
from .spectratables import WideTable, read_frame, read_wide
from .spectravalues import QUANTITIES
from .tables import read_table

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Bool, Float32, Float64

__all__ = [
    "Item",
    "LibraryTable",
    "files_within",
    "find_items",
    "library_files",
    "read_item",
    "with_tables_beside",
]

#: A table of these is no table of spectra; it may be one of values.
_NO_SPECTRA = frozenset({"GS-SPECTRA-COLUMNS", "GS-WAVELENGTH-UNIT", "GS-SPECTRA-EMPTY"})
#: Bytes of a text table in which its header ends.
_HEADER = 2**20
#: A spectrum with a median above this is in percent; the share of a table's spectra that may be on another scale.
_OTHER_SCALE, _FEW = 2.0, 0.2
#: Columns that differ by a number only are another spectrum from so many on.
_OTHER_SPECTRUM = 50


@dataclass(frozen=True, slots=True)
class Item:
    """What is read at once: a table, or the files of spectrometers in one folder.

    Attributes
    ----------
    name : str
        What messages and notes call it, and the data set where nothing else names it.
    files : tuple of Path
        One table, or any number of spectrometers' files.
    told : Told
        What the user says of it.
    named : bool
        Whether the user named it; else it may turn out to be something else.
    """

    name: str
    files: tuple[Path, ...]
    told: Told
    named: bool


@dataclass(eq=False)
class LibraryTable:
    """Spectra of one table.

    Attributes
    ----------
    item : Item
    values : (n, p) float32
        Reflectance 0 to 1.
    wavelength_nm : (p,) float64
        Rising.
    ids, source, instrument, country : (n,) array of str
    properties : Values
    saturated, mislabelled : (n,) bool
        Spectra with a fault that shows in the table alone.
    quantity, layout : str
        What the table held, and whose layout it has.
    values_from : Path or None
        The table that the values come from, where it is another one.
    notes : list of str
    """

    item: Item
    values: Float32
    wavelength_nm: Float64
    ids: np.ndarray[Any, Any]
    source: np.ndarray[Any, Any]
    instrument: np.ndarray[Any, Any]
    country: np.ndarray[Any, Any]
    properties: Values
    saturated: Bool
    mislabelled: Bool
    quantity: str
    layout: str
    values_from: Path | None = None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def step_nm(self) -> float:
        """Usual spacing of the bands, nm."""
        return float(np.median(np.diff(self.wavelength_nm)))

    def place(self, row: int) -> tuple[str, int]:
        """File and row, counted from 1 below the header, of a spectrum."""
        return (self.item.files[row].name, 1) if len(self.item.files) > 1 else (self.item.files[0].name, row + 1)


def find_items(
    source: PathLike | Iterable[PathLike], description: Description, folder: Path | None
) -> tuple[list[Item], list[Path]]:
    """The tables that a source names, in order of their paths, and all files that they are made of.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``: nothing there, or a table that is described is not.
    UsageError
        ``GS-SOURCE``.
    """
    paths = _paths(source)
    base = folder or Path()
    told = {path: description.of(path, base) for path, _ in paths}
    for one in description.tables:
        if not any(one.fits(path, base) for path in told):
            raise InputError(
                f"{one.path[:50]} is described, but is not in the library",
                code="GS-FILE-MISSING",
                details=[f"looked in: {base}"],
                hint="paths are those from the library's folder; * and ? stand for any letters",
            )
    # Tables of values are read with the spectra that they belong to.
    beside = {(path.parent / one.values).resolve() for path, one in told.items() if one and one.values}
    beside |= {(base / one.values).resolve() for one in told.values() if one and one.values}
    kept = [
        (path, named or told[path] is not None)
        for path, named in paths
        if (told[path] is not None or description.others) and path.resolve() not in beside
    ]
    return _items(kept, told), [path for path, _ in kept] + sorted(path for path in beside if path.is_file())


def library_files(source: PathLike | Iterable[PathLike]) -> list[Path]:
    """All files that may be read of a library: its tables, those beside them, and the file that describes them.

    Raises
    ------
    InputError, UsageError
        As `find_items`.
    """
    tables = [path for path, _ in _paths(source)]
    described = dict.fromkeys(path.parent / DESCRIPTION for path in tables)
    return [*with_tables_beside(tables), *(path for path in described if path.is_file())]


def with_tables_beside(files: Sequence[Path]) -> list[Path]:
    """The files, and the tables beside them that may hold their values."""
    folders = {path.parent for path in files}
    more = {one for folder in folders for one in folder.iterdir() if one.is_file() and one.suffix.lower() in TABLES}
    return sorted({*files, *more})


def _paths(source: PathLike | Iterable[PathLike]) -> list[tuple[Path, bool]]:
    """Files, and whether each was named as such."""
    if isinstance(source, (str, OsPathLike)):
        return _paths_of(as_path(source))
    if not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray)):
        raise UsageError(
            f"a path or a list of paths is needed, not an object of type {type(source).__name__}", code="GS-SOURCE"
        )
    return [one for path in source for one in _paths_of(as_path(path))]


def _paths_of(path: Path) -> list[tuple[Path, bool]]:
    if path.is_file():
        return [(path, True)]
    if path.is_dir():
        found = [one for one in files_within(path) if one.is_file() and _is_table(one) and not _hidden(one, path)]
    else:
        found = [Path(one) for one in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - absolute patterns
        found = [one for one in found if one.is_file() and _is_table(one)]
    if not found:
        raise InputError(
            f"{short_name(str(path))} {'holds no tables' if path.is_dir() else 'does not exist'}",
            code="GS-FILE-MISSING",
            details=[f"looked for: {path}"],
            hint=f"tables and spectra end in {listing((*TABLES, *SPECTROMETERS), 10)}",
        )
    return [(one, False) for one in sorted(found)]


def files_within(folder: Path) -> Iterator[Path]:
    """All files of a folder, and of those that links in it lead to, each once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in names)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (*TABLES, *SPECTROMETERS) and path.name != DESCRIPTION


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "~$")) for part in path.relative_to(folder).parts)


def _items(paths: Sequence[tuple[Path, bool]], told: dict[Path, Told | None]) -> list[Item]:
    stems = Counter(path.stem for path, _ in paths if path.suffix.lower() not in SPECTROMETERS)
    sources = Counter(one.source for path, _ in paths if (one := told[path]) is not None)
    items, folders = [], dict[tuple[Path, Told | None], list[Path]]()
    for path, named in paths:
        if path.suffix.lower() in SPECTROMETERS:
            folders.setdefault((path.parent, told[path]), []).append(path)
            continue
        one = told[path] or Told(str(path))
        name = path.stem if stems[path.stem] == 1 else f"{path.parent.name}/{path.stem}"
        items.append(Item(one.source if sources[one.source] == 1 and one.source else name, (path,), one, named))
    for (folder, said), files in folders.items():
        items.append(Item(folder.name or "spectra", tuple(files), said or Told(str(folder)), named=True))
    return items


def read_item(item: Item, *, quantity: str | None, id_column: str | None, factor: float | None) -> LibraryTable | str:
    """Read one table.

    Parameters
    ----------
    item : Item
    quantity, id_column, factor
        What holds for tables of which nothing else is said: what spectra are, the column of ids, and what organic
        matter is divided by to stand for organic carbon.

    Returns
    -------
    LibraryTable or str
        Or why it is none, for a table that nobody named.

    Raises
    ------
    InputError
        As `spectra.open_spectra` and `libraryvalues.take_values`.
    """
    told = item.told
    told = replace(
        told,
        quantity=told.quantity or quantity,
        id=told.id or id_column,
        organic_matter_factor=told.organic_matter_factor or factor,
    )
    try:
        columns = _columns(item.files[0])
        layout = layout_of(columns) if columns else None
        spectra, odd = _open(item, told, layout, columns)
    except InputError as error:
        if item.named or error.code not in _NO_SPECTRA:
            raise _with_hint(error, item) from error
        return error.message
    frame, matched, beside = _with_values(item, told, layout, spectra)
    notes = list(spectra.attrs["notes"])
    if beside is not None:
        found = "" if told.values else ", which lies beside and has the same ids"
        notes += [f"{item.name}: values from {beside.name}{found}", f"{item.name}: {matched} samples have values"]
    layout = layout or layout_of([str(name) for name in frame.columns])
    values, wavelength = _rising(spectra)
    return LibraryTable(
        item=item,
        values=values,
        wavelength_nm=wavelength,
        ids=spectra["sample"].values.astype(str).astype(object),
        source=_labels(frame, told.source, layout.source if layout else (), item.name),
        instrument=_labels(
            frame, told.instrument, (*(layout.instrument if layout else ()), "instrument"), _instrument(layout)
        ),
        country=_labels(frame, told.country, (*(layout.country if layout else ()), "country"), ""),
        properties=take_values(frame, told, layout, item.name),
        saturated=saturated(values, wavelength),
        mislabelled=odd,
        quantity=str(spectra.attrs["report"]["stored_as"]),
        layout=layout.name if layout else "",
        values_from=beside,
        notes=notes,
    )


def _instrument(layout: Layout | None) -> str:
    return layout.fixed_instrument if layout else ""


def _columns(path: Path) -> list[str]:
    """Names of a table's columns without reading it; empty where they cannot be had cheaply."""
    kind = path.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            return [str(name) for name in pq.read_schema(path).names]
        if kind in TEXTS:
            with path.open("rb") as file:
                first = file.readline(_HEADER).decode("utf-8-sig", "replace").rstrip("\r\n")
            return [cell.strip().strip('"') for cell in first.split(max(",;\t|", key=first.count))]
    except (OSError, pa.ArrowException):
        pass
    return []


def _open(item: Item, told: Told, layout: Layout | None, columns: Sequence[str]) -> tuple[xr.DataArray, Bool]:
    """The spectra, and which of them are in another unit than the rest."""
    # An id column that is said for all tables need not be in each; one that is said for this one has to.
    ids = item.told.id or (told.id if told.id in columns or not columns else None)
    if ids is None and layout is not None:
        ids = first_of(columns, layout.ids)
    quantity: Any = told.quantity or (layout.quantity if layout else "") or None
    if len(item.files) > 1 or item.files[0].suffix.lower() in SPECTROMETERS:
        spectra = open_spectra(item.files)
        return spectra, np.zeros(spectra.sizes["sample"], np.bool_)
    wanted = _wanted(columns, layout)
    # Spectra of the mid infrared that stand beside are not read at all.
    source: Any = item.files[0] if len(wanted) == len(columns) else _some(item.files[0], wanted)
    try:
        spectra = open_spectra(source, quantity=quantity, id=ids, mixed="keep")
    except InputError as error:
        if error.code != "GS-SPECTRA-QUANTITY":
            raise
        frame, odd = _without_odd(read_frame(source) if isinstance(source, pd.DataFrame) else read_wide(source))
        if not odd.any():
            raise
        try:
            return open_spectra(frame, quantity=quantity or _named(item.files[0]), id=ids, mixed="keep"), odd
        except InputError:
            raise error from None
    return spectra, np.zeros(spectra.sizes["sample"], np.bool_)


def _without_odd(wide: WideTable) -> tuple[pd.DataFrame, Bool]:
    """A table without the few spectra that are on another scale than the rest, and which these are."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        high = np.nanmedian(wide.values, axis=1) > _OTHER_SCALE
    few = high if high.mean() <= _FEW else ~high if high.mean() >= 1 - _FEW else np.zeros(len(high), np.bool_)
    wide.values[few] = np.nan
    bands = pd.DataFrame(wide.values, columns=[f"{one:.10g}nm" for one in wide.bands.wavelength_nm])
    return pd.concat([wide.table, bands], axis=1), few


def _named(path: Path) -> Any:
    """What the name of a file says of its spectra."""
    return next((one for one in QUANTITIES if one in path.name.lower()), None)


def _wanted(columns: Sequence[str], layout: Layout | None) -> list[str]:
    """All columns, without further spectra beside those that the layout means."""
    if layout is None or not layout.bands:
        return list(columns)
    shapes = {name: re.sub(r"\d+(\.\d+)?", "#", name) for name in columns}
    counts = Counter(shapes.values())
    bands = re.compile(layout.bands)
    return [name for name in columns if bands.fullmatch(name) or counts[shapes[name]] < _OTHER_SPECTRUM]


def _some(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.DataFrame(pq.read_table(path, columns=columns).to_pandas())
        with path.open("rb") as file:
            first = file.readline(_HEADER).decode("utf-8-sig", "replace")
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(delimiter=max(",;\t|", key=first.count)),
            convert_options=pa_csv.ConvertOptions(
                include_columns=columns, null_values=["", "NA", "NaN", "nan", "NULL"], strings_can_be_null=True
            ),
        )
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{short_name(str(path))} cannot be read",
            code="GS-TABLE-READ",
            details=[f"{type(error).__name__}: {str(error)[:300]}"],
            hint="check that the file is whole and is what its name says",
        ) from error
    return pd.DataFrame(table.to_pandas())


def _with_hint(error: InputError, item: Item) -> InputError:
    """The error with what to write for this table into the library's description."""
    if error.code != "GS-SPECTRA-QUANTITY":
        return error
    hint = f'say it in library.toml: [[table]] with path = "{item.files[0].name}" and quantity = "percent", for example'
    return InputError(error.message, code=error.code, details=error.details, hint=hint)


def _with_values(
    item: Item, told: Told, layout: Layout | None, spectra: xr.DataArray
) -> tuple[pd.DataFrame, int, Path | None]:
    """All columns with values, how many spectra they met, and the other table that they came from, if any."""
    table: pd.DataFrame = spectra.attrs["table"]
    ids = [str(one) for one in spectra["sample"].values]
    folder = item.files[0].parent
    if told.values:
        path = folder / told.values
        if not path.is_file():
            raise InputError(
                f"{item.name}: its table of values is not there",
                code="GS-FILE-MISSING",
                details=[f"looked for: {path}"],
                hint=f"correct `values` of this table in {DESCRIPTION}; paths are those from its own folder",
            )
        frame, matched = join_values(table, ids, read_table(path).frame, told, layout, needed=True)
        return frame, matched, path
    own = take_values(table, told, layout, item.name).columns if not told.properties else {"": np.empty(0)}
    if own:
        return table, 0, None
    for path in sorted(folder.iterdir()):
        if path in item.files or path.suffix.lower() not in TABLES or _has_bands(path):
            continue
        beside = read_table(path).frame
        its = layout or layout_of([str(name) for name in beside.columns])
        frame, matched = join_values(table, ids, beside, told, its, needed=False)
        if matched:
            return frame, matched, path
    return table, 0, None


def _has_bands(path: Path) -> bool:
    """Whether a table holds spectra of any kind."""
    try:
        find_bands(_columns(path), where=path.name)
    except InputError as error:
        return error.code == "GS-WAVELENGTH-UNIT"
    return True


def _labels(frame: pd.DataFrame, told: str, columns: Sequence[str], otherwise: str) -> np.ndarray[Any, Any]:
    """A text a row: what is told, else a column of the table, else something for all."""
    name = first_of([str(one) for one in frame.columns], columns)
    if told or name is None:
        return np.full(len(frame), told or otherwise, object)
    text = frame[name].astype("string").fillna("").str.strip()
    return text.where(text != "", otherwise).to_numpy(object)


def _rising(spectra: xr.DataArray) -> tuple[Float32, Float64]:
    """Values and wavelengths, without the bands of a second detector that overlap the first."""
    wavelength = spectra["wavelength"].values.astype(np.float64)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(wavelength)[:-1]])
    kept = wavelength > before
    values: Float32 = spectra.values
    return (values, wavelength) if kept.all() else (np.ascontiguousarray(values[:, kept]), wavelength[kept])
