"""Calibration files of a product: text in spite of their names, one line a band."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError
from geosoil.io.addresses import short_name

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["DESIGN", "MOST_BYTES", "OVERRIDE", "read_gains", "read_response"]

#: A list of 180 lines has 3 kB.
MOST_BYTES = 2**20

#: How to go on with a product whose own list is missing or wrong.
OVERRIDE = (
    "get the product from its provider again, or give a list of your own, one line a band:\n"
    "geosoil calibrate PRODUCT OUT --table {what}=FILE (in Python: tables={{'{what}': 'FILE'}})"
)

#: How to go on without a usable list of wavelengths.
DESIGN = "or take the wavelengths of its design: geosoil calibrate --nominal-wavelengths (nominal_wavelengths=True)"

_SPLIT = re.compile(r"[,;\s]+")


def read_gains(content: bytes, source: str, what: str, bands: int, other: int = 0) -> tuple[Float64, Float64]:
    """Gains and offsets of a detector; a missing second column means offsets of 0.

    Parameters
    ----------
    content : bytes
        The file.
    source : str
        What messages call it.
    what : str
        ``VN_gains`` or ``SW_gains``.
    bands : int
        Bands of the detector's image.
    other : int
        Bands of the other detector, to know swapped files by.

    Returns
    -------
    (bands,), (bands,) float64
        Radiance = gain x stored number + offset, W m-2 sr-1 um-1.

    Raises
    ------
    InputError
        ``GS-CALIBRATION-ROWS``; ``GS-CALIBRATION-NUMBERS``, also where most gains are not above 0.

    >>> read_gains(b"0.8,0\\n0.1, -1\\n", "RadCal.raw", "VN_gains", 2)
    (array([0.8, 0.1]), array([ 0., -1.]))
    """
    table = _numbers(content, source, what, (bands, other), columns=(1, 2))
    offsets = table[:, 1] if table.shape[1] == 2 else np.zeros(bands)
    dark = table[:, 0] <= 0
    if 2 * int(dark.sum()) > bands:
        found = f"found: {int(dark.sum())} of {bands} gains are 0 or less, first row {int(dark.argmax()) + 1}"
        expected = "expected: gains above 0, but for a few bands that see nothing"
        raise _wrong(source, what, "gives no gains", [found, expected])
    return table[:, 0].copy(), offsets.copy()


def read_response(content: bytes, source: str, what: str, bands: int, other: int = 0) -> tuple[Float64, Float64, str]:
    """Centres and widths of a detector's bands, nm, and what had to be assumed for them.

    Parameters, and errors, as in `read_gains`; ``GS-WAVELENGTHS`` for numbers that are no wavelengths or widths, and
    for wavelengths that do not rise from row to row: the values of a band would be taken for those of another one.

    Returns
    -------
    (bands,), (bands,) float64, str
        Centres and widths (full width at half maximum), nm; a note, or an empty text.
    """
    table = _numbers(content, source, what, (bands, other), columns=(2,))
    centres, widths = table[:, 0].copy(), table[:, 1].copy()
    note = ""
    if ((centres > 0.3) & (centres < 3)).all():
        centres, widths = centres * 1000, widths * (1000 if widths.max() < 1 else 1)
        note = f"{short_name(source)}: wavelengths taken as micrometres"
    _check_response(centres, widths, source, what)
    return centres, widths, note


def _check_response(centres: Float64, widths: Float64, source: str, what: str) -> None:
    wrong = {
        ("holds no wavelengths", "centres of 300 to 3000 nm"): (centres < 300) | (centres > 3000),
        ("has wavelengths that do not rise", "centres that rise from row to row"): np.diff(centres, prepend=0) <= 0,
        ("has bands without a width", "widths above 0 and below 200 nm"): (widths <= 0) | (widths >= 200),
    }
    for (problem, expected), rows in wrong.items():
        if rows.any():
            first, span = int(rows.argmax()), f"{centres[0]:g} to {centres[-1]:g} nm from the first row to the last"
            shown = f"row {first + 1} with {centres[first]:g} nm and width {widths[first]:g}"
            more = f" and {int(rows.sum()) - 1} more" if rows.sum() > 1 else ""
            raise InputError(
                f"{short_name(source)} {problem}",
                code="GS-WAVELENGTHS",
                details=[f"file: {source}", f"found: {shown}{more}; {span}", f"expected: {expected}"],
                hint=f"{OVERRIDE.format(what=what)}\n{DESIGN}",
            )


def _numbers(content: bytes, source: str, what: str, counts: tuple[int, int], columns: tuple[int, ...]) -> Float64:
    bands, other = counts
    if len(content) > MOST_BYTES:
        raise _wrong(source, what, "is no list of bands", [f"found: {len(content)} bytes", "expected: a text file"])
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    rows = [(number, _SPLIT.split(line.strip(" \t,;"))) for number, line in enumerate(lines, 1) if line.strip()]
    if len(rows) != bands:
        swapped = ["the other detector has so many bands: are the two files swapped?"] if len(rows) == other else []
        raise InputError(
            f"{short_name(source)} has {len(rows)} lines for {bands} bands",
            code="GS-CALIBRATION-ROWS",
            details=[f"file: {source}", f"found: {len(rows)} lines", f"expected: {bands}, one for each band", *swapped],
            hint=OVERRIDE.format(what=what),
        )
    width = len(rows[0][1])
    if width not in columns:
        asked = " or ".join(str(one) for one in columns)
        found = f"found: {width} columns in {lines[rows[0][0] - 1].strip()[:60]!r}"
        raise _wrong(source, what, "has other columns than expected", [found, f"expected: {asked}"])
    table = np.empty((bands, width))
    for place, (number, parts) in enumerate(rows):
        table[place] = _row(parts, width, source, what, number, lines[number - 1])
    return table


def _row(parts: list[str], width: int, source: str, what: str, number: int, line: str) -> list[float]:
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) == width and np.isfinite(values).all():
        return values
    details = [f"found: {line.strip()[:60]!r}", f"expected: {width} numbers"]
    raise _wrong(source, what, f"has no numbers in line {number}", details)


def _wrong(source: str, what: str, problem: str, details: list[str]) -> InputError:
    return InputError(
        f"{short_name(source)} {problem}",
        code="GS-CALIBRATION-NUMBERS",
        details=[f"file: {source}", *details],
        hint=OVERRIDE.format(what=what),
    )
