"""Partial least squares from weighted moments: tens of thousands of samples are gone through once, for many fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .pls import Pls

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["Moments"]

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Moments:
    """Weight, means and centred products of samples.

    Attributes
    ----------
    weight : float
        Sum of the weights. A sample of weight two is as good as two of them.
    x, y : (p,) float64, float
        Weighted means.
    xx, xy, yy : (p, p), (p,) float64, float
        Weighted sums of products of what differs from the means.
    """

    weight: float
    x: Float64
    y: float
    xx: Float64
    xy: Float64
    yy: float

    @classmethod
    def of(cls, X: Float64, y: Float64, weight: float = 1.0) -> Moments:
        """Moments of samples (n, p), (n,) that all have one weight.

        >>> one = Moments.of(np.array([[1.0], [3.0]]), np.array([0.0, 4.0]), weight=2.0)
        >>> one.weight, one.x.tolist(), one.xx.tolist(), one.xy.tolist()
        (4.0, [2.0], [[4.0]], [8.0])
        """
        middle, centre = X.mean(axis=0), float(y.mean())
        Z, z = X - middle, y - centre
        return cls(weight * len(y), middle, centre, weight * (Z.T @ Z), weight * (Z.T @ z), weight * float(z @ z))

    def __add__(self, other: Moments) -> Moments:
        """Moments of both sets of samples (Chan, Golub & LeVeque 1983)."""
        weight = self.weight + other.weight
        share, between = other.weight / weight, self.weight * other.weight / weight
        gap_x, gap_y = other.x - self.x, other.y - self.y
        return Moments(
            weight,
            self.x + share * gap_x,
            self.y + share * gap_y,
            self.xx + other.xx + between * np.outer(gap_x, gap_x),
            self.xy + other.xy + between * gap_y * gap_x,
            self.yy + other.yy + between * gap_y**2,
        )

    def fit(self, most: int) -> Pls:
        """PLS of 1 to `most` components, by improved kernel PLS, algorithm 2 (Dayal & MacGregor 1997)."""
        p = len(self.x)
        most = min(most, p)
        W, P, R = (np.zeros((most, p)) for _ in range(3))
        coef, explained, s, rank = np.zeros((most, p)), np.zeros(most), self.xy.copy(), 0
        first, largest = float(np.linalg.norm(s)), 0.0
        for a in range(most):
            norm = float(np.linalg.norm(s))
            if norm <= 10 * _EPS * first:
                break
            W[a] = s / norm
            R[a] = W[a] - (P[:a] @ W[a]) @ R[:a]
            carried = self.xx @ R[a]
            squared = float(R[a] @ carried)
            largest = max(largest, squared)
            if squared <= 10 * _EPS * largest:
                break
            loading = float(R[a] @ s) / squared
            P[a] = carried / squared
            s -= carried * loading
            coef[a] = coef[a - 1] + loading * R[a] if a else loading * R[a]
            explained[a] = loading**2 * squared
            rank = a + 1
        coef[rank:] = coef[rank - 1] if rank else 0.0
        return Pls(coef, self.y - coef @ self.x, rank, W.T, explained)

    def axes(self, variance: float) -> tuple[Float64, Float64]:
        """Principal directions (q, p) that hold a share of the variance, largest first, and their variances (q,)."""
        values, vectors = np.linalg.eigh(self.xx)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        held = np.flatnonzero(values > 10 * len(values) * _EPS * values[0])
        if not len(held):
            return np.zeros((0, len(values))), np.zeros(0)
        reach = np.cumsum(values[held]) / values.sum()
        count = min(int(np.searchsorted(reach, variance - 1e-12)) + 1, len(held))
        return vectors[:, :count].T.copy(), values[:count] / self.weight
