"""Pseudo-labelled neighbours: pixels beside a sample that look like its own pixel share its laboratory spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["Neighbours", "like_neighbours", "spectral_angle"]

#: Largest angle to the sample's pixel, in radians (Ou et al.).
ANGLE_RAD = 0.08
#: The four neighbours, as (row, column) of a 3 x 3 patch.
_BESIDE = ((0, 1), (1, 0), (1, 2), (2, 1))


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Neighbouring pixels that stand in for a sample's own.

    Attributes
    ----------
    spectra : (m, p) float32
        Their spectra.
    sample : (m,) int64
        The sample that each belongs to: row of its laboratory spectrum, target and group. A neighbour must share the
        sample's fold.
    angle_rad : (m,) float64
        Angle to the sample's pixel.
    """

    spectra: Float32
    sample: Int64
    angle_rad: Float64

    def __len__(self) -> int:
        return len(self.sample)


def spectral_angle(one: ArrayLike, other: ArrayLike) -> Float64:
    """Angle between spectra along the last axis, in radians (Kruse et al. 1993); NaN where one has gaps or is zero.

    >>> float(spectral_angle([1.0, 0.0], [0.0, 2.0]).round(4))
    1.5708
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    # The tangent of half the angle is exact for small angles, where the arc cosine loses half of the digits.
    with np.errstate(invalid="ignore", divide="ignore"):
        a = a / np.linalg.norm(a, axis=-1, keepdims=True)
        b = b / np.linalg.norm(b, axis=-1, keepdims=True)
        return np.asarray(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)), np.float64)


def like_neighbours(
    patches: Float32,
    *,
    rows: ArrayLike | None = None,
    columns: ArrayLike | None = None,
    valid: Bool | None = None,
    angle_rad: float = ANGLE_RAD,
) -> Neighbours:
    """The four neighbours of each sample's pixel whose spectrum is within an angle of its own.

    Parameters
    ----------
    patches : (n, p, 3, 3) float32
        Reflectance round the samples, NaN where there is no data, as ``grid.patches.extract_patches`` gives it.
    rows, columns : (n,), optional
        Cells of the samples. With them a pixel that holds a sample of its own is left to it, and one that lies beside
        several samples goes to the one whose spectrum it is closest to; else it would stand for both.
    valid : (n, 3, 3) bool, optional
        False where a mask (cloud, vegetation, water) is on.
    angle_rad : float
        Largest angle.

    Returns
    -------
    Neighbours
        Sorted by sample.

    Raises
    ------
    InputError
        ``GS-NEIGHBOURS``: the patches are not 3 x 3, or something else does not go with them.
    """
    places = _checked(patches, rows, columns, valid)
    centre = patches[:, :, 1, 1]
    beside = np.stack([patches[:, :, row, column] for row, column in _BESIDE], axis=1)
    angle = spectral_angle(beside, centre[:, None])
    near = angle <= angle_rad  # False where there is no data
    if valid is not None:
        near &= valid[:, 1:2, 1] & np.stack([valid[:, row, column] for row, column in _BESIDE], axis=1)
    sample, side = np.nonzero(near)
    if places is not None:
        kept = _one_owner(places, sample, side, angle[sample, side])
        sample, side = sample[kept], side[kept]
    return Neighbours(np.ascontiguousarray(beside[sample, side]), sample.astype(np.int64), angle[sample, side])


def _checked(patches: Float32, rows: ArrayLike | None, columns: ArrayLike | None, valid: Bool | None) -> Int64 | None:
    """The samples' cells (n, 2), if they were given."""
    if patches.ndim != 4 or patches.shape[2:] != (3, 3):
        raise InputError(
            "neighbours are taken from patches of 3 x 3 cells",
            code="GS-NEIGHBOURS",
            details=[f"found: {patches.shape}"],
        )
    count = len(patches)
    if valid is not None and valid.shape != (count, 3, 3):
        raise InputError(
            "the mask does not go with the patches", code="GS-NEIGHBOURS", details=[f"{valid.shape}, {patches.shape}"]
        )
    if (rows is None) != (columns is None):
        raise InputError("cells need both rows and columns", code="GS-NEIGHBOURS")
    if rows is None or columns is None:
        return None
    row, column = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    if row.shape != (count,) or column.shape != (count,):
        raise InputError(
            "the cells do not go with the patches",
            code="GS-NEIGHBOURS",
            details=[f"{row.shape} rows and {column.shape} columns for {count} patches"],
        )
    return np.stack([row, column], axis=1)


def _one_owner(places: Int64, sample: Int64, side: Int64, angle: Float64) -> Int64:
    """Which of the candidates stay, so that a pixel stands for one sample."""
    steps = np.array(_BESIDE) - 1
    taken = {(int(row), int(column)) for row, column in places}
    kept = []
    for place in np.argsort(angle, kind="stable"):
        row, column = places[sample[place]] + steps[side[place]]
        cell = (int(row), int(column))
        if cell not in taken:
            taken.add(cell)
            kept.append(int(place))
    return np.array(sorted(kept), np.int64)
