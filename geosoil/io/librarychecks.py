"""What is wrong with a library: spectra that are copies, saturated or upside down, and values that neighbours belie."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float64, Int64

__all__ = ["Neighbourhood", "contradicted", "copies", "copies_of", "saturated", "upside_down"]

#: Runs of bands whose means tell spectra apart before all bands are compared.
_RUNS = 8
#: Copies of one spectrum that are looked for at a time.
_NEAREST = 9
#: Spectra that are looked at in one go.
_ROWS = 4096
#: Reflectance at which a detector is full, and at which no light is left.
_FULL, _DARK = 0.95, 0.002
#: Least width of a stretch of one value that is a fault, in bands and in nm.
_STUCK = (5, 25.0)
#: A stretch of one value that is this many times longer than is usual in its table is a fault at any level.
_UNUSUAL = 20
#: Shoulders and middle of the water band near 1930 nm; ends of the visible; how near a band has to be, nm.
_WATER_NM, _VISIBLE_NM, _NEAR_NM = (1850.0, 1930.0, 2100.0), (450.0, 750.0), 15.0
#: A sign counts from this share of a spectrum's median on.
_CLEAR = 0.02
#: Principal components that neighbours are looked for on, bands that they are taken of, and the number of neighbours.
_SCORES, _THIN, _NEIGHBOURS = 5, 100, 12
#: Spectra that the components are taken of, and how far from the nearest a neighbour may be, as a share.
_SAMPLE, _NEARLY = 5000, 0.5
#: Spectra of a data set that are compared with the others.
_FEW = 500
#: Neighbours with a value that are needed to judge one.
_ENOUGH = 6


def copies(spectra: NDArray[Any], tolerance: float, rank: Int64 | None = None) -> Int64:
    """Which spectra are copies of others, exact or nearly.

    Spectra are the same where the root mean square of their difference is at most the tolerance. Measured again, a
    sample differs by more: these are the same measurement, rounded or resampled.

    Parameters
    ----------
    spectra : (n, p) float
        Reflectance, no missing values.
    tolerance : float
        Reflectance.
    rank : (n,) int64, optional
        Which of several copies to keep: the one of the lowest rank, of equal ones the first.

    Returns
    -------
    (n,) int64
        Row of the spectrum that this one copies; -1 for one that is kept.

    >>> copies(np.array([[0.1, 0.2], [0.3, 0.2], [0.1, 0.20001]]), 1e-4)
    array([-1, -1,  0])
    """
    order = np.arange(len(spectra)) if rank is None else np.lexsort((np.arange(len(spectra)), rank))
    place = np.empty(len(spectra), np.int64)
    place[order] = np.arange(len(spectra))
    of = np.full(len(spectra), -1, np.int64)
    _exact(spectra, order, of)
    keys = _keys(spectra)
    left = order[of[order] < 0]
    while len(left) > 1:
        near = _nearest(keys[left], tolerance)
        row, other = left[np.repeat(np.arange(len(left)), near.shape[1])], near.ravel()
        there = other < len(left)
        row, other = row[there], left[other[there]]
        later = place[other] < place[row]
        row, other = row[later], other[later]
        same = _distance(spectra, row, spectra, other) <= tolerance
        if not same.any():
            break
        # Of several, the first in order.
        for one, original in sorted(zip(row[same], other[same], strict=True), key=lambda pair: -place[pair[1]]):
            of[one] = original
        left = left[of[left] < 0]
    return _roots(of)


def _exact(spectra: NDArray[Any], order: Int64, of: Int64) -> None:
    """Mark the copies that are equal to the last bit."""
    first: dict[bytes, int] = {}
    for row in order.tolist():
        # A digest, so that no spectrum is held twice.
        kept = first.setdefault(blake2b(spectra[row].tobytes(), digest_size=16).digest(), row)
        if kept != row:
            of[row] = kept


def _roots(of: Int64) -> Int64:
    """Copies of copies are copies of the first."""
    found = of.copy()
    for _ in range(len(of)):
        again = np.where(found >= 0, of[np.maximum(found, 0)], -1)
        if not (again >= 0).any():
            break
        found = np.where(again >= 0, again, found)
    return found


def copies_of(spectra: NDArray[Any], others: NDArray[Any], tolerance: float) -> Int64:
    """For each spectrum the nearest of others that it is a copy of, the first of equal ones; -1 for none.

    Parameters
    ----------
    spectra, others : (n, p), (m, p) float
        Reflectance; others with missing values are no match.
    tolerance : float
        Root mean square of the difference, reflectance.
    """
    found = np.full(len(spectra), -1, np.int64)
    whole = np.flatnonzero(np.isfinite(others).all(axis=1))
    if not len(whole) or not len(spectra):
        return found
    count = min(_NEAREST, len(whole))
    _, near = cKDTree(_keys(others[whole])).query(
        _keys(spectra), k=np.arange(1, count + 1), distance_upper_bound=_reach(tolerance)
    )
    row, other = np.repeat(np.arange(len(spectra)), count), near.ravel()
    there = other < len(whole)
    row, other = row[there], whole[other[there]]
    distance = _distance(spectra, row, others, other)
    order = np.lexsort((other, distance, row))
    order = order[distance[order] <= tolerance]
    first = order[np.unique(row[order], return_index=True)[1]]
    found[row[first]] = other[first]
    return found


def _keys(spectra: NDArray[Any]) -> Float64:
    """Means of runs of bands, scaled so that their distance is never above the spectra's own."""
    edges = np.unique(np.linspace(0, spectra.shape[1], _RUNS + 1).astype(int))
    widths = np.diff(edges)
    means = [spectra[:, low:high].mean(axis=1, dtype=np.float64) for low, high in pairwise(edges.tolist())]
    return np.asarray(np.stack(means, axis=1) * np.sqrt(widths / spectra.shape[1]), np.float64)


def _reach(tolerance: float) -> float:
    """The tolerance with room for rounding; a tree leaves out what lies at its bound."""
    return tolerance * (1 + 1e-6) + 1e-12


def _nearest(keys: Float64, tolerance: float) -> Int64:
    count = min(_NEAREST, len(keys))
    _, near = cKDTree(keys).query(keys, k=np.arange(1, count + 1), distance_upper_bound=_reach(tolerance))
    return np.asarray(near, np.int64)


def _distance(one: NDArray[Any], rows: Int64, two: NDArray[Any], others: Int64) -> Float64:
    """Root mean square of the differences of pairs of spectra."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        apart = one[rows[part]].astype(np.float64) - two[others[part]]
        found[part] = np.sqrt(np.mean(apart**2, axis=1))
    return found


def saturated(spectra: NDArray[Any], wavelength_nm: Float64) -> Bool:
    """Which spectra have a detector that was full, dark or stuck: one value over at least 25 nm.

    Parameters
    ----------
    spectra : (n, p) float
        Reflectance of one table, as it was measured.
    wavelength_nm : (p,) float64
        Wavelengths, nm.

    Returns
    -------
    (n,) bool
        A full detector shows as one highest value of 0.95 or more, a dark one as one lowest value of 0.002 or less
        (in absorbance, 2.7 or more). At any other level, stretches are a fault only where they are far longer than is
        usual in the table: rounded values have them too.
    """
    step = float(np.median(np.abs(np.diff(wavelength_nm)))) if len(wavelength_nm) > 1 else 1.0
    least = max(_STUCK[0], int(np.ceil(_STUCK[1] / step)))
    found = np.zeros(len(spectra), np.bool_)
    for extreme, sign, level in ((np.fmax, 1.0, _FULL), (np.fmin, -1.0, -_DARK)):
        value, count = np.empty(len(spectra)), np.empty(len(spectra), np.int64)
        for start in range(0, len(spectra), _ROWS):
            rows = spectra[start : start + _ROWS]
            here = slice(start, start + len(rows))
            value[here] = extreme.reduce(rows, axis=1)
            count[here] = (rows == value[here, None].astype(rows.dtype)).sum(axis=1)
        usual = max(1.0, float(np.median(count))) if len(count) else 1.0
        # Zeros all over a table are as dark as a single one.
        found |= (count >= least) & ((sign * value >= level) | (count > _UNUSUAL * usual))
    return found


def upside_down(spectra: NDArray[Any], wavelength_nm: Float64) -> tuple[Bool, Bool]:
    """Which spectra have the shape of reflectance, and which that of absorbance.

    In reflectance soils brighten to the red, and water absorbs near 1930 nm; in absorbance both are upside down.

    Returns
    -------
    right, wrong : (n,) bool
        All signs that the bands allow clearly show reflectance, or absorbance; without such bands neither.
    """
    signs = _signs(spectra, wavelength_nm)
    if not signs:
        none = np.zeros(len(spectra), np.bool_)
        return none, none
    shown = np.stack(signs)
    right: Bool = np.all(shown > _CLEAR, axis=0)
    wrong: Bool = np.all(shown < -_CLEAR, axis=0)
    return right, wrong


def _signs(spectra: NDArray[Any], wavelength_nm: Float64) -> list[Float64]:
    """Depth of the water band and rise to the red, as shares of the median."""
    middle = np.abs(np.median(spectra[:, :: max(1, spectra.shape[1] // _THIN)], axis=1)) + 1e-6
    water = [_band(spectra, wavelength_nm, nm) for nm in _WATER_NM]
    visible = [_band(spectra, wavelength_nm, nm) for nm in _VISIBLE_NM]
    signs = []
    if all(one is not None for one in water):
        left, low, right = (one for one in water if one is not None)
        signs.append(((left + right) / 2 - low) / middle)
    if all(one is not None for one in visible):
        blue, red = (one for one in visible if one is not None)
        signs.append((red - blue) / middle)
    return [np.asarray(one, np.float64) for one in signs]


def _band(spectra: NDArray[Any], wavelength_nm: Float64, nm: float) -> Float64 | None:
    near = np.abs(wavelength_nm - nm) <= _NEAR_NM
    return np.asarray(spectra[:, near].mean(axis=1), np.float64) if near.any() else None


class Neighbourhood:
    """The spectra of the same data set that are most like each one.

    Likeness is nearness on the first principal components of SNV of absorbance.

    Parameters
    ----------
    spectra : (n, p) float
        Reflectance, no missing values.
    group : (n,) int64
        Number of the data set of each.

    Attributes
    ----------
    scores : (n, c) float64
        On the components.
    rows : (n, k) int64
        Neighbours of each; n stands for none, in data sets that are too small.
    """

    def __init__(self, spectra: NDArray[Any], group: Int64) -> None:
        self.scores = _scores(spectra)
        self.group = group
        self.rows: Int64 = np.full((len(spectra), _NEIGHBOURS), len(spectra), np.int64)
        for one in np.unique(group):
            members = np.flatnonzero(group == one)
            if len(members) > _NEIGHBOURS:
                self.rows[members] = members[self._near(members)]

    def _near(self, members: Int64) -> Int64:
        scores = self.scores[members]
        _, near = cKDTree(scores).query(scores, k=np.arange(1, _NEIGHBOURS + 2), eps=_NEARLY, workers=-1)
        own = near == np.arange(len(members))[:, None]
        # A spectrum is its own nearest but among copies: then the last one goes.
        own[~own.any(axis=1), -1] = True
        return np.asarray(near[~own].reshape(len(members), _NEIGHBOURS), np.int64)

    def ratio_to_others(self, values: Float64, group: int) -> float:
        """By how much the positive values of a data set differ from those of like spectra of the others.

        Returns
        -------
        float
            The median ratio; NaN where fewer than six have something to be compared with.
        """
        own, good = self.group == group, np.isfinite(values) & (values > 0)
        rows, others = np.flatnonzero(good & own), np.flatnonzero(good & ~own)
        if len(rows) < _ENOUGH or len(others) < _ENOUGH:
            return float("nan")
        rows = rows[:: max(1, len(rows) // _FEW)]
        _, near = cKDTree(self.scores[others]).query(self.scores[rows], k=np.arange(1, _ENOUGH + 1), eps=_NEARLY)
        like = np.median(np.log(values[others[near]]), axis=1)
        return float(np.exp(np.median(np.log(values[rows]) - like)))


def _scores(spectra: NDArray[Any]) -> Float64:
    rows = -np.log10(np.maximum(spectra[:, :: max(1, spectra.shape[1] // _THIN)].astype(np.float32), 1e-4))
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= rows.std(axis=1, keepdims=True) + 1e-9
    rows -= rows.mean(axis=0)
    some = rows[:: max(1, len(rows) // _SAMPLE)].astype(np.float64)
    _, axes = np.linalg.eigh(some.T @ some)
    return np.asarray(rows @ axes[:, ::-1][:, :_SCORES].astype(np.float32), np.float64)


def contradicted(values: Float64, near: Neighbourhood, times: float, *, log: bool) -> tuple[Bool, Float64]:
    """Which values are grossly unlike those of their spectral neighbours.

    Parameters
    ----------
    values : (n,) float64
        NaN where there is none.
    near : Neighbourhood
        Of their spectra.
    times : float
        A value is contradicted where it is this many times the usual deviation away from the median of its neighbours,
        and this many times the spread among these.
    log : bool
        Whether to compare logarithms: a hundredth of the median is added before, so that zero is no outlier.

    Returns
    -------
    contradicted : (n,) bool
    expected : (n,) float64
        The median of the neighbours; NaN where fewer than six have a value.
    """
    known = np.isfinite(values)
    none = np.zeros(len(values), np.bool_)
    if known.sum() <= _ENOUGH:
        return none, np.full(len(values), np.nan)
    offset = max(0.01 * float(np.nanmedian(np.abs(values))), 1e-12)
    scale = np.log(np.maximum(values, 0) + offset) if log else values
    beside = np.sort(np.append(scale, np.nan)[near.rows], axis=1)
    count = np.isfinite(beside).sum(axis=1)
    middle = _median(beside, count)
    spread = 1.4826 * _median(np.sort(np.abs(beside - middle[:, None]), axis=1), count)
    judged = known & (count >= _ENOUGH)
    away = np.where(judged, np.abs(scale - middle), 0.0)
    if not judged.any():
        return none, np.full(len(values), np.nan)
    usual = 1.4826 * float(np.median(away[judged]))
    expected = np.exp(middle) - offset if log else middle
    return (
        judged & (away > times * np.maximum(np.nan_to_num(spread), usual)) & (usual > 0),
        np.where(count >= _ENOUGH, expected, np.nan),
    )


def _median(rows: Float64, count: Int64) -> Float64:
    """Medians of sorted rows with the missing values last; NaN for rows without values."""
    here, last = np.arange(len(rows)), rows.shape[1] - 1
    low, high = np.clip((count - 1) // 2, 0, last), np.clip(count // 2, 0, last)
    found = (rows[here, low] + rows[here, high]) / 2
    return np.asarray(np.where(count > 0, found, np.nan), np.float64)
