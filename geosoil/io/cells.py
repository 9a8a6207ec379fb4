"""Cells of a sample table to numbers: text, missing, below detection, and what is not a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64

__all__ = ["Cells", "ids", "numbers"]

_MISSING = ("", "-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "<na>", "nat")
#: Text that says "below detection" and gives no limit.
_BELOW = ("<", "<lod", "<loq", "<dl", "<mdl", "< lod", "< loq", "< dl", "< mdl", "bdl", "b.d.l.", "below detection")


@dataclass(frozen=True, slots=True)
class Cells:
    """A column of cells, read as numbers.

    Attributes
    ----------
    value : (n,) float64
        NaN where missing or bad; the limit where below detection, NaN where that is not told.
    missing, bad, below : (n,) bool
        Nothing there; something that is not a number; below detection.
    """

    value: Float64
    missing: Bool
    bad: Bool
    below: Bool


def numbers(column: pd.Series) -> Cells:
    """Read cells as numbers; nothing is guessed.

    >>> cells = numbers(pd.Series(["1.5", "<0.5", "NA", "two", "−3"]))
    >>> cells.value.tolist(), cells.below.nonzero()[0].tolist(), cells.bad.nonzero()[0].tolist()
    ([1.5, 0.5, nan, nan, -3.0], [1], [3])
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        value = column.to_numpy(np.float64, na_value=np.nan)
        none = np.zeros(len(value), bool)
        return Cells(value, np.isnan(value), none, none)
    text = column.astype("string").fillna("").str.strip().str.replace("−", "-", regex=False)
    lower = text.str.lower()
    missing = lower.isin(_MISSING).to_numpy(bool)
    without_limit = lower.isin(_BELOW).to_numpy(bool)
    with_sign = text.str.startswith(("<", "≤")).to_numpy(bool)
    plain = text.where(~with_sign, text.str.replace(r"^[<≤]\s*=?\s*", "", regex=True))
    value = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    below = without_limit | (with_sign & ~np.isnan(value))
    # "nan" written out would pass as a number; it is missing.
    return Cells(value, missing, np.isnan(value) & ~missing & ~below, below)


def ids(column: pd.Series) -> pd.Series:
    """Identifiers as text, "" where missing; whole numbers without a decimal point.

    >>> ids(pd.Series([1.0, 2.0, None])).tolist(), ids(pd.Series([" 007", "A"])).tolist()
    (['1', '2', ''], ['007', 'A'])
    """
    if pd.api.types.is_float_dtype(column.dtype):
        whole = column.dropna() % 1 == 0
        if bool(whole.all()):
            column = column.astype("Int64")
    return column.map(_id, na_action="ignore").fillna("").astype(object)


def _id(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
