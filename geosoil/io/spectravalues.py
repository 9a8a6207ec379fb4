"""Reflectance, percent or absorbance: what spectra are, by what was said and by their values, and to reflectance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["QUANTITIES", "Quantity", "to_reflectance"]

QUANTITIES = ("reflectance", "percent", "absorbance")

#: Spectra that are looked at.
_LOOK = 2000
#: Rows that are converted at a time.
_ROWS = 4096
#: A median above this is no reflectance and no absorbance; one above the second is not percent either.
_PERCENT = (3.0, 100.0)
#: Highest reflectance and absorbance that is believed of all but a thousandth of the values.
_MOST = {"reflectance": 1.5, "percent": 150.0, "absorbance": 6.0}
#: Share of the spectra that have to bear a sign.
_SURE = 0.95
#: The water band near 1930 nm and its shoulders; and the visible, where soils brighten to the red.
_WATER_NM = (1850.0, 1930.0, 2100.0)
_VISIBLE_NM = (450.0, 750.0)
#: How near a band has to be to one of these, nm.
_NEAR_NM = 15.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """What spectra are, and how that is known."""

    quantity: str
    why: str


def to_reflectance(
    values: Float32, wavelength_nm: Float64, said: str | None, where: str, *, named: str = ""
) -> Quantity:
    """Turn values into reflectance 0 to 1, in place.

    Parameters
    ----------
    values : (n, p) float32
        Spectra, overwritten.
    wavelength_nm : (p,) float64
        Wavelengths, nm.
    said : str or None
        One of `QUANTITIES`, where it is known.
    where : str
        What messages call the spectra.
    named : str
        What the names of columns or files hint at; taken where the values can be that.

    Raises
    ------
    InputError
        ``GS-SPECTRA-QUANTITY``: the values do not tell what they are, or contradict what was said.
    """
    sample = values[:: max(1, len(values) // _LOOK)].astype(np.float64)
    present = sample[np.isfinite(sample)]
    if not present.size:
        raise InputError(f"{where}: all values are missing", code="GS-SPECTRA-EMPTY")
    if said:
        _check(said, present, where)
    found = Quantity(said, "") if said else _guess(sample, present, wavelength_nm, where, named)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS]
        if found.quantity == "percent":
            part /= np.float32(100)
        elif found.quantity == "absorbance":
            np.exp2(part * np.float32(-np.log2(10)), out=part)
    return found


def _range(present: Float64) -> str:
    low, middle, high = np.quantile(present, [0.001, 0.5, 0.999])
    return f"values: {low:.4g} to {high:.4g}, median {middle:.4g}"


def _fits(quantity: str, middle: float, high: float) -> bool:
    """Whether values of this median and high end can be a quantity."""
    if quantity == "percent":
        return 1.0 < high <= _MOST[quantity]
    return high <= _MOST[quantity] and middle <= _PERCENT[0]


def _check(said: str, present: Float64, where: str) -> None:
    """Raise where values cannot be what they are said to be."""
    middle, high = np.quantile(present, [0.5, 0.999])
    if _fits(said, middle, high):
        return
    if said == "percent" and high <= 1.0:
        hint = 'they look like reflectance 0 to 1: quantity="reflectance"'
    elif said != "percent" and _PERCENT[0] < middle <= _PERCENT[1]:
        hint = 'they look like percent: quantity="percent"'
    elif middle > _PERCENT[1]:
        hint = "they look like reflectance times a number such as 10,000: divide by it first"
    else:
        hint = f"say what they are, one of: {', '.join(QUANTITIES)}"
    raise InputError(
        f"{where}: values are not {said}", code="GS-SPECTRA-QUANTITY", details=[_range(present)], hint=hint
    )


def _guess(sample: Float64, present: Float64, wavelength_nm: Float64, where: str, named: str) -> Quantity:
    """By names that the values do not contradict, else by values that are clear."""
    middle, high = np.quantile(present, [0.5, 0.999])
    if named and _fits(named, middle, high):
        return Quantity(named, f"taken as {named}, as its name says")
    if _PERCENT[0] < middle <= _PERCENT[1] and high <= _MOST["percent"]:
        return Quantity("percent", f"taken as percent: median {middle:.3g}")
    shown = _sign(sample, wavelength_nm) if middle <= _PERCENT[0] else ""
    if shown == "reflectance" and high <= 1.0:
        return Quantity("reflectance", f"taken as reflectance 0 to 1: {_range(present)}, and shaped as such")
    likely = [f'their shape is that of {shown}: if so, quantity="{shown}"'] if shown else []
    raise InputError(
        f"{where}: what are the values, reflectance, percent or absorbance?",
        code="GS-SPECTRA-QUANTITY",
        details=[_range(present), *likely],
        hint='say it: quantity="reflectance" (0 to 1), "percent" or "absorbance" (log10(1/R))',
    )


def _sign(sample: Float64, wavelength_nm: Float64) -> str:
    """By shape: in reflectance soils brighten to the red and water absorbs near 1930 nm; absorbance is upside down."""
    signs = []
    shoulders = [_band(sample, wavelength_nm, nm) for nm in _WATER_NM]
    if all(one is not None for one in shoulders):
        left, middle, right = (one for one in shoulders if one is not None)
        signs.append((left + right) / 2 - middle)
    visible = [_band(sample, wavelength_nm, nm) for nm in _VISIBLE_NM]
    if all(one is not None for one in visible):
        blue, red = (one for one in visible if one is not None)
        signs.append(red - blue)
    known = [one[np.isfinite(one)] for one in signs]
    if known and all(len(one) and (one > 0).mean() >= _SURE for one in known):
        return "reflectance"
    if known and all(len(one) and (one < 0).mean() >= _SURE for one in known):
        return "absorbance"
    return ""


def _band(sample: Float64, wavelength_nm: Float64, nm: float) -> Float64 | None:
    near = np.abs(wavelength_nm - nm)
    return sample[:, near <= _NEAR_NM].mean(axis=1) if near.min() <= _NEAR_NM else None
