"""Whether all spectra of a table are in one unit: some in percent, or as absorbance, among others in reflectance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError

from .librarychecks import upside_down

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float64, Int64

__all__ = ["check_one_unit", "other_unit"]

#: Medians of spectra by unit: of 0 to 1 and absorbance below the first, of percent between the others, and times a
#: number such as 10,000 above. Those in between may be either.
_LOW, _PERCENT, _MOST_PERCENT = 1.0, 3.0, 100.0
_UNITS = ("reflectance 0 to 1, or absorbance", "percent", "reflectance times a number such as 10,000")
#: Spectra of another unit are this many times brighter or darker than the median one; dark soils are not.
_APART = 25.0
#: Spectra upside down run against the others: their correlation with the mean of these is below this.
_AGAINST = -0.3
#: Bands that levels and shapes are taken of, and spectra at a time.
_THIN, _ROWS = 100, 4096
#: Rows that are named.
_NAMED = 10


def check_one_unit(values: NDArray[Any], wavelength_nm: Float64, names: Sequence[str], where: str) -> None:
    """Refuse spectra of which some are in another unit than the others.

    Normalised one by one (SNV), spectra in percent look like all others, and those of absorbance like odd soils.

    Parameters
    ----------
    values : (n, p) float
        As they stand in a table.
    wavelength_nm : (p,) float64
        nm.
    names : sequence of str
        Of the n spectra.
    where : str
        What messages call the table.

    Raises
    ------
    InputError
        ``GS-SPECTRA-MIXED``, with the rows.
    """
    rows, own, others = other_unit(values, wavelength_nm)
    if not len(rows):
        return
    told = [f"{row + 1} ({names[row]})" for row in rows[:_NAMED].tolist()]
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    raise InputError(
        f"{where[:30]}: {len(rows)} of {len(values)} spectra are in another unit than the others",
        code="GS-SPECTRA-MIXED",
        details=[
            f"rows (from 1, below the header): {', '.join(told)}{more}",
            f"they look like {own}; the others like {others}",
        ],
        hint="bring these rows to the unit of the others, or leave them out",
    )


def other_unit(values: NDArray[Any], wavelength_nm: Float64) -> tuple[Int64, str, str]:
    """The rows in another unit than most, what they look like, and what the others look like; no rows where none are.

    >>> shape = np.linspace(0.2, 0.4, 8)
    >>> other_unit(np.array([shape, shape * 1.1, shape * 100]), np.linspace(500, 1200, 8))
    (array([2]), 'percent', 'reflectance 0 to 1, or absorbance')
    """
    middle = _medians(values)
    level = _levels(middle)
    most = int(np.bincount(level[level >= 0], minlength=len(_UNITS)).argmax())
    other = (level >= 0) & (level != most)
    if other.any():
        times = middle / np.median(middle[level == most])
        rows = np.flatnonzero(other & ((times > _APART) | (times < 1 / _APART)))
        if len(rows):
            return rows, " or ".join(_UNITS[one] for one in np.unique(level[rows])), _UNITS[most]
    right, wrong = _shapes(values, wavelength_nm)
    if not right.any() or not wrong.any():
        return np.empty(0, np.int64), "", ""
    shapes = ("reflectance", "absorbance")
    few, many, said = (wrong, right, shapes[::-1]) if wrong.sum() <= right.sum() else (right, wrong, shapes)
    rows = np.flatnonzero(few)
    return rows[_along(values, rows, np.flatnonzero(many)) < _AGAINST], *said


def _medians(values: NDArray[Any]) -> Float64:
    """Median of each spectrum; NaN where a band is missing."""
    step = max(1, values.shape[1] // _THIN)
    starts = range(0, len(values), _ROWS)
    return np.concatenate([np.median(values[one : one + _ROWS, ::step], axis=1).astype(np.float64) for one in starts])


def _levels(middle: Float64) -> Int64:
    """Place in `_UNITS` by each spectrum's median; -1 where it may be either, or is missing or dark."""
    found = np.full(len(middle), -1, np.int64)
    found[(middle > 0) & (middle < _LOW)] = 0
    found[(middle > _PERCENT) & (middle <= _MOST_PERCENT)] = 1
    found[middle > _MOST_PERCENT] = 2
    return found


def _shapes(values: NDArray[Any], wavelength_nm: Float64) -> tuple[Bool, Bool]:
    """Which spectra have the shape of reflectance, and which that of absorbance."""
    parts = [upside_down(values[start : start + _ROWS], wavelength_nm) for start in range(0, len(values), _ROWS)]
    right, wrong = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return right, wrong


def _along(values: NDArray[Any], rows: Int64, others: Int64) -> Float64:
    """Correlation of spectra with the mean of others."""
    step = max(1, values.shape[1] // _THIN)
    mean = np.nanmean(values[others][:, ::step].astype(np.float64), axis=0)
    own = values[rows][:, ::step].astype(np.float64)
    own = own - own.mean(axis=1, keepdims=True)
    mean = mean - mean.mean()
    size = np.sqrt((own**2).sum(axis=1) * (mean**2).sum())
    return np.asarray(own @ mean / np.where(size > 0, size, np.nan), np.float64)
