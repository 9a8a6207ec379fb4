"""What a user says of the tables of a library, in ``library.toml`` or as a mapping; what is not said is recognised."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

from geosoil.errors import InputError, UsageError, listing
from geosoil.types import PathLike, as_path

from .addresses import short_name

__all__ = ["DESCRIPTION", "Column", "Description", "Told", "describe"]

#: Name of the file that describes the tables of a folder.
DESCRIPTION = "library.toml"
#: Most bytes of a description.
_MOST = 2**20


@dataclass(frozen=True, slots=True)
class Column:
    """Where the values of a property are.

    Attributes
    ----------
    code : str
        Of the property, such as ``soc``.
    column : str
        Name of the column.
    unit : str or None
        Of its values; None where the header says it.
    """

    code: str
    column: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a table.

    Attributes
    ----------
    path : str
        Path or glob, from the library's folder.
    source, instrument, country : str
        Names of the data set, the spectrometer and the country; empty where they are not said.
    quantity : str or None
        ``reflectance``, ``percent`` or ``absorbance``.
    id : str or None
        Column with the samples' ids.
    values : str
        Path of a table with the samples' values, joined by their ids; empty where they stand beside the spectra.
    properties : tuple of Column
        Columns with values.
    organic_matter_factor : float or None
        What organic matter is divided by to stand for organic carbon.
    """

    path: str = ""
    source: str = ""
    quantity: str | None = None
    id: str | None = None
    instrument: str = ""
    country: str = ""
    values: str = ""
    properties: tuple[Column, ...] = ()
    organic_matter_factor: float | None = None

    def fits(self, path: Path, folder: Path) -> bool:
        """Whether a file is meant."""
        inside = path.relative_to(folder) if path.is_relative_to(folder) else path
        return PurePath(inside).match(self.path) or (folder / self.path) == path


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a library.

    Attributes
    ----------
    tables : tuple of Told
        The first one that fits a table holds.
    others : bool
        Whether tables that are not named are read too.
    """

    tables: tuple[Told, ...] = ()
    others: bool = True

    def of(self, path: Path, folder: Path) -> Told | None:
        """What is said of a file; None where nothing is."""
        return next((told for told in self.tables if told.fits(path, folder)), None)


def describe(given: PathLike | Mapping[str, Any] | None, folder: Path | None) -> Description:
    """Read a description.

    Parameters
    ----------
    given : path, mapping or None
        A TOML file; a mapping of the same form, or of paths and globs to what is said of each; else ``library.toml`` of
        the folder, where there is one.
    folder : Path or None
        Of the library.

    Raises
    ------
    InputError
        ``GS-LIBRARY-TOML``: no TOML.
    UsageError
        ``GS-LIBRARY-TOML``: a key that is not known, or something else than its value has to be.

    >>> describe({"lab/*.csv": {"quantity": "percent", "properties": {"soc": "C [%]"}}}, None).tables[0].properties
    (Column(code='soc', column='C [%]', unit=None),)
    """
    if isinstance(given, Mapping):
        return _description(given, "the description")
    path = as_path(given) if given is not None else folder / DESCRIPTION if folder is not None else None
    if path is None or (given is None and not path.is_file()):
        return Description()
    return _description(_read(path), short_name(str(path)))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise ValueError(f"it is larger than {_MOST} bytes")
        return tomllib.loads(text.decode("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path.name} is not a file", code="GS-FILE-MISSING", details=[f"looked for: {path}"]
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{short_name(str(path))} cannot be read as TOML",
            code="GS-LIBRARY-TOML",
            details=[str(error)[:300]],
            hint="see docs/libraries.md for an example",
        ) from error


def _description(given: Mapping[str, Any], where: str) -> Description:
    if "table" in given or "others" in given or "organic_matter_factor" in given:
        _known(given, ("table", "others", "organic_matter_factor"), where)
        rows = given.get("table", [])
        others = given.get("others", True)
    else:
        rows = [{"path": path, **(row if isinstance(row, Mapping) else {"?": row})} for path, row in given.items()]
        others = True
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not isinstance(others, bool):
        raise _wrong(where, "[[table]] is needed once a table, and others = true or false", "")
    factor = given.get("organic_matter_factor")
    return Description(tuple(_told(row, factor, where) for row in rows), others)


def _told(row: Any, factor: Any, where: str) -> Told:
    names = tuple(field.name for field in fields(Told))
    if not isinstance(row, Mapping):
        raise _wrong(where, "a table is described by keys and values", repr(row)[:40])
    _known(row, names, where)
    texts = {key: row[key] for key in names if key in row and key not in ("properties", "organic_matter_factor")}
    odd = [key for key, text in texts.items() if not isinstance(text, str)]
    if odd or not texts.get("path"):
        raise _wrong(where, "path, source and the like are texts, and path is needed", listing(odd))
    held = row.get("properties", {})
    if not isinstance(held, Mapping):
        raise _wrong(where, "properties are codes and columns", repr(held)[:40])
    factor = row.get("organic_matter_factor", factor)
    if factor is not None and not (isinstance(factor, (int, float)) and factor > 0):
        raise _wrong(where, "organic_matter_factor is a positive number", repr(factor)[:40])
    columns = tuple(_column(str(code), one, where) for code, one in held.items())
    return Told(**texts, properties=columns, organic_matter_factor=factor)


def _column(code: str, given: Any, where: str) -> Column:
    if isinstance(given, str):
        return Column(code, given)
    if isinstance(given, Mapping) and isinstance(given.get("column"), str):
        _known(given, ("column", "unit"), where)
        unit = given.get("unit")
        if unit is None or isinstance(unit, str):
            return Column(code, given["column"], unit)
    raise _wrong(where, f'a property is a column, or {{ column = "...", unit = "%" }}: {code}', repr(given)[:40])


def _known(given: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for key in given:
        if key not in names:
            close = get_close_matches(str(key), names, n=1)
            raise UsageError(
                f"{where}: key {str(key)[:30]!r} is not known",
                code="GS-LIBRARY-TOML",
                details=[f"known: {listing(list(names), 12)}"],
                hint=f"did you mean {close[0]!r}?" if close else "",
            )


def _wrong(where: str, needed: str, found: str) -> UsageError:
    return UsageError(
        f"{where} does not describe a library",
        code="GS-LIBRARY-TOML",
        details=[f"expected: {needed}", *([f"found: {found}"] if found else [])],
        hint="see docs/libraries.md for an example",
    )
