"""Common bands of the tables of a library: which, what is cut for them, and straight lines to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError

from .librarytables import LibraryTable

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["CommonGrid", "common_grid", "onto"]

#: Spacings that are chosen by themselves, nm.
_STEPS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
#: A table may end up to its own spacing short of a band, at most this, nm: its last band stands for it.
_SHORT = 5.0
#: A gap that is told of: this many usual steps, and nm.
_GAP = (2.5, 20.0)
#: Spectra that are brought to other bands at a time.
_ROWS = 2048
#: Wavelengths are the same within this, nm.
_SAME_NM = 1e-3


@dataclass(frozen=True, slots=True)
class CommonGrid:
    """The common bands.

    Attributes
    ----------
    wavelength_nm : (p,) float64
    tables : tuple of int
        Places of the tables that cover them.
    left : tuple of (str, str)
        Tables that do not, and why.
    notes : tuple of str
        What was cut.
    """

    wavelength_nm: Float64
    tables: tuple[int, ...]
    left: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def common_grid(
    tables: Sequence[LibraryTable],
    wavelengths: Sequence[float] | None,
    range_nm: tuple[float, float] | None,
    step_nm: float | None,
    short: str,
) -> CommonGrid:
    """Choose the common bands.

    Parameters
    ----------
    tables : sequence of LibraryTable
    wavelengths, range_nm, step_nm
        What is asked for; see `library.open_library`.
    short : str
        ``leave`` out or ``refuse`` tables that do not cover what is asked for.

    Raises
    ------
    InputError
        ``GS-LIBRARY-RANGE``: the tables do not overlap, or one or all do not cover what is asked for.
    """
    step = step_nm or _usual_step(tables)
    if wavelengths is not None:
        bands = np.asarray(wavelengths, np.float64)
    elif range_nm is not None:
        bands = _regular(*range_nm, step)
    else:
        bands = _overlap(tables, step)
    covers = [_covers(table, bands) for table in tables]
    left = tuple(
        (table.item.name, f"reaches from {_shown(table)} nm, not from {bands[0]:g} to {bands[-1]:g} nm")
        for table, fine in zip(tables, covers, strict=True)
        if not fine
    )
    if left and (short == "refuse" or len(left) == len(tables)):
        widest = max(tables, key=lambda table: float(np.ptp(table.wavelength_nm)))
        lowest, highest = float(np.ceil(widest.wavelength_nm[0])), float(np.floor(widest.wavelength_nm[-1]))
        lowest, highest = max(lowest, float(bands[0])), min(highest, float(bands[-1]))
        narrower = f"ask for a narrower range, such as range_nm = [{lowest:g}, {highest:g}], under [library] in a study"
        if lowest >= highest:
            narrower = "nothing overlaps: take a library of these wavelengths"
        raise InputError(
            f"{len(left)} of {len(tables)} tables do not cover {bands[0]:g} to {bands[-1]:g} nm",
            code="GS-LIBRARY-RANGE",
            details=[f"{name} {why}" for name, why in left[:10]],
            hint=narrower + ('; or leave these tables out: short="leave"' if short == "refuse" else ""),
        )
    kept = tuple(place for place, fine in enumerate(covers) if fine)
    notes = [_note(tables[place], bands) for place in kept]
    spacing = f", every {bands[1] - bands[0]:g} nm" if np.ptp(np.diff(bands)) < _SAME_NM else ""
    said = f"common bands: {bands[0]:g} to {bands[-1]:g} nm{spacing}, {len(bands)} in all"
    return CommonGrid(bands, kept, left, (said, *(note for note in notes if note)))


def _usual_step(tables: Sequence[LibraryTable]) -> float:
    coarsest = max(table.step_nm for table in tables)
    return next((step for step in _STEPS if step >= coarsest - 0.25 * coarsest), _STEPS[-1])


def _regular(low: float, high: float, step: float) -> Float64:
    count = int(np.floor((high - low) / step + 1e-6)) + 1
    if count < 2:
        raise InputError(
            f"{low:g} to {high:g} nm hold fewer than two bands every {step:g} nm",
            code="GS-LIBRARY-RANGE",
            hint="ask for a wider range, or a smaller step: range_nm, step_nm (under [library] in a study)",
        )
    return np.asarray(low + step * np.arange(count), np.float64)


def _overlap(tables: Sequence[LibraryTable], step: float) -> Float64:
    """Regular bands where all tables overlap."""
    low = max(float(table.wavelength_nm[0]) for table in tables)
    high = min(float(table.wavelength_nm[-1]) for table in tables)
    first, last = step * np.ceil(low / step - 1e-9), step * np.floor(high / step + 1e-9)
    if last - first < step:
        raise InputError(
            "the tables of the library have no wavelengths in common",
            code="GS-LIBRARY-RANGE",
            details=[f"{table.item.name}: {_shown(table)} nm" for table in tables[:10]],
            hint="say which range you need, such as range_nm = [400, 2400] under [library] in a study; tables that "
            "do not cover it are left out",
        )
    return _regular(float(first), float(last), step)


def _shown(table: LibraryTable) -> str:
    return f"{table.wavelength_nm[0]:g} to {table.wavelength_nm[-1]:g}"


def _covers(table: LibraryTable, bands: Float64) -> bool:
    room = min(_SHORT, table.step_nm) + 1e-6
    return bool(table.wavelength_nm[0] - room <= bands[0] and bands[-1] <= table.wavelength_nm[-1] + room)


def _note(table: LibraryTable, bands: Float64) -> str:
    """What is cut of a table, and what is bridged."""
    wavelength = table.wavelength_nm
    below, above = int((wavelength < bands[0]).sum()), int((wavelength > bands[-1]).sum())
    steps = np.diff(wavelength)
    wide = steps > np.maximum(_GAP[0] * table.step_nm, _GAP[1])
    gaps = [
        f"{wavelength[k]:g} to {wavelength[k + 1]:g}"
        for k in np.flatnonzero(wide)
        if wavelength[k + 1] > bands[0] and wavelength[k] < bands[-1]
    ]
    parts = [f"{below} bands below and {above} above are cut"] if below or above else []
    parts += [f"gaps are bridged by straight lines: {', '.join(gaps[:5])} nm"] if gaps else []
    return f"{table.item.name} ({_shown(table)} nm): {'; '.join(parts)}" if parts else ""


def onto(values: Float32, source_nm: Float64, target_nm: Float64) -> Float32:
    """Spectra on other bands, by straight lines; beyond the ends the last band stands.

    Parameters
    ----------
    values : (n, p) float32
    source_nm, target_nm : (p,), (b,) float64
        Rising, nm.

    Returns
    -------
    (n, b) float32
        The very array where the bands are the same. NaN where a band that is used is missing.

    >>> onto(np.array([[1, 2, 4]], np.float32), np.array([400.0, 410, 420]), np.array([405.0, 420]))
    array([[1.5, 4. ]], dtype=float32)
    """
    if len(source_nm) == len(target_nm) and np.abs(source_nm - target_nm).max() <= _SAME_NM:
        return values
    target = np.clip(target_nm, source_nm[0], source_nm[-1])
    left = np.clip(np.searchsorted(source_nm, target, side="right") - 1, 0, len(source_nm) - 2)
    share = (target - source_nm[left]) / (source_nm[left + 1] - source_nm[left])
    # A band that has no weight must not spread what it misses.
    right = np.where(share > 0, left + 1, left)
    left = np.where(share < 1, left, left + 1)
    weight = share.astype(np.float32)
    out = np.empty((len(values), len(target)), np.float32)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS]
        first = rows[:, left]
        out[start : start + len(rows)] = first + weight * (rows[:, right] - first)
    return out
