"""Which rows of a sample table are used, and for what reason each of the others is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from geosoil.errors import InputError, listing
from geosoil.soil import OVERLAP_TOLERANCE_CM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float64, Int64

__all__ = ["Finding", "Screen", "overlapping", "scattered", "twice"]

#: How far apart the positions of one profile may be.
POSITION_TOLERANCE_M = 1.0
_METRES_A_DEGREE = 111_320.0


class Finding(NamedTuple):
    """Rows that cannot be used, and why.

    Attributes
    ----------
    rows : (n,) bool
        The rows.
    reason : str
        Why, as it reads after "rows with" and in the report.
    code : str
        Error code for rows that cannot be right; empty for rows that just hold nothing.
    """

    rows: Bool
    reason: str
    code: str = ""


@dataclass(slots=True)
class Screen:
    """Row by row, whether it is used; and the reasons why not.

    A row leaves for one reason, the first that is found. Rows that hold nothing are counted; rows that contradict
    themselves or the property are refused, unless `invalid` is ``"drop"``.

    Attributes
    ----------
    row : (n,) int64
        Row in the table, from 1.
    where : str
        How messages call the table.
    invalid : {"error", "drop"}
        What to do with rows that contradict.
    profile : (n,) array of str, optional
        Profile of each row, for messages.
    """

    row: Int64
    where: str
    invalid: Literal["error", "drop"] = "error"
    profile: NDArray[np.object_] | None = None
    used: Bool = field(init=False)
    reasons: dict[str, Int64] = field(init=False, default_factory=dict)
    refused: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.used = np.ones(len(self.row), bool)

    def take(self, finding: Finding) -> None:
        """Take rows out, and note why; `settle` raises where they are refused."""
        rows = finding.rows & self.used
        if not rows.any():
            return
        self.used &= ~rows
        before = self.reasons.get(finding.reason, np.empty(0, np.int64))
        self.reasons[finding.reason] = np.concatenate([before, self.row[rows]])
        if finding.code:
            self.refused[finding.reason] = finding.code

    def among(self, find: Callable[[Int64], Bool]) -> Bool:
        """Rows that `find` marks among those still used; it is given their positions."""
        places = np.flatnonzero(self.used)
        marked = np.zeros(len(self.row), bool)
        marked[places] = find(places)
        return marked

    def settle(self, hint: str = "") -> None:
        """Raise for the refused rows, all reasons in one message, unless they are to be dropped."""
        if not self.refused or self.invalid == "drop":
            return
        first, code = next(iter(self.refused.items()))
        count = len(self.reasons[first])
        raise InputError(
            f"{self.where}: {count} {'row' if count == 1 else 'rows'} with {first}",
            code=code,
            details=[
                *(f"{reason}: {self._places(reason)}" for reason in self.refused),
                "rows are counted from 1, below the header",
            ],
            hint=hint or 'correct them, or leave them out and have them counted: invalid = "drop"',
        )

    def _places(self, reason: str) -> str:
        """Rows that were refused for a reason, and their profiles."""
        rows = np.unique(self.reasons[reason])
        found = f"row {listing(rows.tolist())}"
        if self.profile is None:
            return found
        names = dict.fromkeys(str(name) for name in self.profile[np.isin(self.row, rows)])
        return f"{found} (profile {listing(list(names), 5)})"

    def counts(self) -> dict[str, int]:
        """Rows left out, by reason."""
        return {reason: len(rows) for reason, rows in self.reasons.items()}

    def examples(self, most: int = 10) -> dict[str, list[int]]:
        """The first rows left out, by reason."""
        return {reason: np.unique(rows)[:most].tolist() for reason, rows in self.reasons.items()}


def twice(profile: Int64, top: Float64, bottom: Float64, value: Float64) -> Bool:
    """Layers that occur again in a profile: all of them where values differ, else all but the first."""
    order = np.lexsort((value, bottom, top, profile))
    key = np.stack([profile, top, bottom])[:, order]
    same = (key[:, 1:] == key[:, :-1]).all(axis=0)
    group = np.concatenate([[0], np.cumsum(~same)]) if len(order) else np.empty(0, np.int64)
    size = np.bincount(group)
    low, high = np.full(len(size), np.inf), np.full(len(size), -np.inf)
    np.minimum.at(low, group, value[order])
    np.maximum.at(high, group, value[order])
    first = np.full(len(size), len(order))
    np.minimum.at(first, group, order)
    spare = (size[group] > 1) & ((low != high)[group] | (order != first[group]))
    marked = np.zeros(len(order), bool)
    marked[order] = spare
    return marked


def overlapping(profile: Int64, top: Float64, bottom: Float64) -> Bool:
    """Layers that reach into another layer of their profile."""
    order = np.lexsort((bottom, top, profile))
    p, u, v = profile[order], top[order], bottom[order]
    marked = np.zeros(len(order), bool)
    deepest = -1
    for i in range(len(order)):
        if deepest < 0 or p[deepest] != p[i]:
            deepest = i
            continue
        if u[i] < v[deepest] - OVERLAP_TOLERANCE_CM:
            marked[order[i]] = marked[order[deepest]] = True
        if v[i] > v[deepest]:
            deepest = i
    return marked


def scattered(profile: Int64, x: Float64, y: Float64, *, geographic: bool, metres: float = 1.0) -> Bool:
    """Rows of profiles whose positions lie further apart than the tolerance.

    Parameters
    ----------
    profile : (n,) int64
        Profile of a row, from 0 on.
    x, y : (n,) float64
        Positions; degrees where `geographic`, else in units of `metres` each.
    """
    count = int(profile.max(initial=-1)) + 1

    def spread(values: Float64) -> Float64:
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, profile, values)
        np.maximum.at(high, profile, values)
        return np.asarray(high - low, np.float64)

    scale = _METRES_A_DEGREE if geographic else metres
    across, along = spread(x) * scale, spread(y) * scale
    if geographic:
        latitude = np.zeros(count)
        latitude[profile] = y
        across = across * np.cos(np.radians(latitude))
    return np.asarray(np.hypot(across, along) > POSITION_TOLERANCE_M)[profile]
