"""ENVI headers: which file they belong to, what they say, and the lies that they can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from geosoil.errors import InputError, listing

from .addresses import short_name
from .wavelengths import TABLE_HINT, Spectral, numbers_of

__all__ = [
    "DTYPES",
    "REASONS",
    "check_layout",
    "find_data",
    "find_header",
    "is_header",
    "layout",
    "read_header",
    "spectral_of",
]

#: ``data type`` of a header to the NumPy type.
DTYPES = {
    1: "uint8",
    2: "int16",
    3: "int32",
    4: "float32",
    5: "float64",
    12: "uint16",
    13: "uint32",
    14: "int64",
    15: "uint64",
}
#: Complex numbers: GDAL opens them, and they are refused there.
_COMPLEX = {6: 8, 9: 16}
#: Suffixes of data files, in the order in which they are looked for beside a header.
_DATA = ("", ".dat", ".img", ".bsq", ".bil", ".bip", ".raw", ".sli")
#: Entry of our own: why each band is not good, "-" for one that is.
REASONS = "bad band reasons"
#: Largest header, bytes.
_MOST = 20 * 2**20
#: Entries with one number a band.
_LISTS = ("wavelength", "fwhm", "bbl", "data gain values", "data offset values")


def find_header(data: Path) -> Path | None:
    """The header beside a data file: ``name.hdr`` or ``name.dat.hdr``, in upper or lower case."""
    for one in (data.with_name(data.name + ".hdr"), data.with_suffix(".hdr")):
        for path in (one, one.with_suffix(".HDR")):
            if path != data and path.is_file():
                return path
    return None


def find_data(header: Path) -> Path | None:
    """The data file beside a header; None where there is none."""
    for one in (header.with_suffix(end) for end in (*_DATA, *(end.upper() for end in _DATA if end))):
        if one != header and one.is_file():
            return one
    return None


def is_header(header: Path) -> bool:
    """Whether a file begins as an ENVI header does."""
    with header.open("rb") as file:
        return file.read(20).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"ENVI")


def read_header(path: Path) -> dict[str, str]:
    """The entries of a header: names in lower case with single blanks, values as text, lists in their braces.

    Raises
    ------
    InputError
        ``GS-ENVI-HEADER`` where it is none, is too large, or a list in it is never closed.
    """
    if path.stat().st_size > _MOST:
        raise _wrong(path, "is too large for a header", [f"size: {path.stat().st_size} bytes"])
    lines = _decoded(path.read_bytes()).splitlines()
    if not lines or not lines[0].strip().startswith("ENVI"):
        raise _wrong(path, "is no ENVI header", ["its first line does not begin with ENVI"])
    entries: dict[str, str] = {}
    place = 1
    while place < len(lines):
        line, place = lines[place], place + 1
        name, sign, value = line.partition("=")
        if not sign or line.lstrip().startswith(";"):
            continue
        while "{" in value and "}" not in value:
            if place >= len(lines):
                raise _wrong(path, "has a list that is never closed", [f"entry: {name.strip()[:60]}"])
            value, place = f"{value}\n{lines[place]}", place + 1
        entries[re.sub(r"[_\s]+", " ", name).strip().lower()] = value.strip()
    return entries


def _decoded(content: bytes) -> str:
    """Text of a header; nothing in it says how it is encoded."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Chinese text comes in pairs of bytes; a micro or degree sign of a Western code stands alone.
        paired = all(len(run) % 2 == 0 for run in re.findall(rb"[\x80-\xff]+", content))
        return content.decode("gb18030" if paired else "latin-1", errors="replace")


def check_layout(entries: Mapping[str, str], path: Path) -> None:
    """Refuse a header whose numbers are none, or whose lists do not fit its bands.

    Parameters
    ----------
    entries : mapping
        From `read_header`.
    path : Path
        The header.

    Raises
    ------
    InputError
        ``GS-ENVI-HEADER``.
    """
    for name in ("samples", "lines", "bands"):
        if _whole(entries, name, path) < 1:
            raise _wrong(path, f"says {name} = {entries[name][:20]}", ["expected: a whole number above 0"])
    dtype = _whole(entries, "data type", path)
    if dtype not in DTYPES and dtype not in _COMPLEX:
        raise _wrong(path, f"says data type = {dtype}", [f"known: {listing(list(DTYPES), 20)}"])
    if _whole(entries, "byte order", path, default=0) not in (0, 1):
        raise _wrong(path, f"says byte order = {entries['byte order'][:20]}", ["known: 0 (little), 1 (big endian)"])
    if _whole(entries, "header offset", path, default=0) < 0:
        raise _wrong(path, "says that the data begin before the file", [f"header offset: {entries['header offset']}"])
    if entries.get("interleave", "bsq").lower() not in {"bsq", "bil", "bip"}:
        raise _wrong(path, f"says interleave = {entries['interleave'][:20]}", ["known: bsq, bil, bip"])
    for name in _LISTS:
        _check_list(entries, name, path)


def layout(entries: Mapping[str, str]) -> tuple[int, int]:
    """Where the data begin, and the size of a band, in bytes; of a header that `check_layout` has passed."""
    code = int(entries["data type"])
    item = _COMPLEX[code] if code in _COMPLEX else np.dtype(DTYPES[code]).itemsize
    return int(entries.get("header offset", 0)), int(entries["samples"]) * int(entries["lines"]) * item


def _whole(entries: Mapping[str, str], name: str, path: Path, default: int | None = None) -> int:
    text = entries.get(name)
    if text is None:
        if default is None:
            raise _wrong(path, f"does not say {name!r}", [f"it has: {listing(list(entries), 20)}"])
        return default
    try:
        return int(text)
    except ValueError as error:
        raise _wrong(path, f"says {name} = {text[:20]!r}", ["expected: a whole number"]) from error


def _check_list(entries: Mapping[str, str], name: str, path: Path) -> None:
    if name not in entries:
        return
    numbers, bands = numbers_of(entries[name]), int(entries["bands"])
    if numbers is None:
        raise _wrong(path, f"has something in {name!r} that is no number", [f"found: {entries[name][:60]}"])
    if len(numbers) != bands:
        raise _wrong(path, f"lists {len(numbers)} values of {name!r} for {bands} bands", ["expected: one a band"])


def spectral_of(entries: Mapping[str, str], count: int, where: str) -> Spectral | None:
    """Wavelengths, widths and the bad-band list of a header; None where it has no wavelengths.

    Parameters
    ----------
    entries : mapping
        Names as `read_header` gives them.
    count : int
        Bands of the file.
    where : str
        What messages call the file.

    Raises
    ------
    InputError
        ``GS-WAVELENGTH`` where the lists do not fit the bands; as `Spectral.of`.
    """
    lists = {name: numbers_of(entries[name]) for name in ("wavelength", "fwhm", "bbl") if name in entries}
    if "wavelength" not in lists:
        return None
    for name, numbers in lists.items():
        if numbers is None or len(numbers) != count:
            raise InputError(
                f"{short_name(where)} has not one {name} a band",
                code="GS-WAVELENGTH",
                details=[f"file: {where}", f"{name}: {len(numbers or ())} numbers", f"bands: {count}"],
                hint=f"correct the list in the file, or {TABLE_HINT}",
            )
    good = [one != 0 for one in lists.get("bbl") or ()]
    found = Spectral.of(
        lists["wavelength"] or (),
        entries.get("wavelength units"),
        fwhm=lists.get("fwhm") or (),
        good=good,
        where=where,
    )
    return replace(found, why=_reasons(entries.get(REASONS, ""), count))


def _reasons(text: str, count: int) -> tuple[str, ...]:
    """Why each band is not good, empty for one that is; nothing where the list does not fit the bands."""
    words = [word.strip() for word in text.strip("{} \n").split(",")]
    return tuple("" if word == "-" else word for word in words) if text and len(words) == count else ()


def _wrong(path: Path, problem: str, details: list[str]) -> InputError:
    return InputError(
        f"{short_name(str(path))} {problem}",
        code="GS-ENVI-HEADER",
        details=[f"file: {path}", *details],
        hint="correct the header: it says how the data file is to be read",
    )
