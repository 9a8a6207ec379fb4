"""Heads of partially pooled data: a linear function of a spectrum and a smooth one beside, kept as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from geosoil.models.features import array, damaged, feature_rows, number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float64

__all__ = ["Bumps", "PooledHead", "normalise", "through_normalise"]

#: Rows whose kernel is in memory at once.
_BLOCK = 2048
#: A row varies where its standard deviation is above this share of its largest value.
_FLAT = 1e-10


def normalise(rows: Float64) -> Float64:
    """Rows (n, F) less their mean, divided by their standard deviation (n - 1); NaN where a row does not vary.

    >>> normalise(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[-1.0, 0.0, 1.0]]
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, ddof=1, keepdims=True)
    flat = spread <= _FLAT * np.abs(rows).max(axis=1, keepdims=True)
    return np.asarray(centred / np.where(flat, np.nan, spread))


def through_normalise(slopes: Float64, rows: Float64) -> Float64:
    """Gradients (n, F) with respect to rows, from those with respect to the normalised rows."""
    z = normalise(rows)
    across = slopes - slopes.mean(axis=1, keepdims=True)
    across -= z * (z * slopes).sum(axis=1, keepdims=True) / (rows.shape[1] - 1)
    return np.asarray(across / rows.std(axis=1, ddof=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Bumps:
    """``sum(dual * exp(-gamma |(x - centre) @ basis - support|**2))``.

    Attributes
    ----------
    basis : (F, C) float64
        Directions.
    support : (n, C) float64
        Where the samples lie.
    dual : (n,) float64
        Their coefficients, in the unit of the response.
    gamma : float
        Width.
    """

    basis: Float64
    support: Float64
    dual: Float64
    gamma: float

    def of(self, centred: Float64) -> Float64:
        """Centred features (n, F) to what they add (n,)."""
        z = centred @ self.basis
        squared = -2 * (z @ self.support.T)
        squared += (self.support**2).sum(axis=1)
        squared += (z**2).sum(axis=1)[:, None]
        np.maximum(squared, 0, out=squared)
        squared *= -self.gamma
        found: Float64 = np.exp(squared, out=squared) @ self.dual
        return found

    def slopes(self, centred: Float64) -> Float64:
        """Gradient (n, F) with respect to the features."""
        z = centred @ self.basis
        pull = np.exp(-self.gamma * cdist(z, self.support, "sqeuclidean")) * self.dual
        found: Float64 = -2 * self.gamma * (z * pull.sum(axis=1)[:, None] - pull @ self.support) @ self.basis.T
        return found


@dataclass(frozen=True, eq=False)
class PooledHead:
    """``(X - centre) @ coef + intercept``, and a smooth function of the same beside.

    Attributes
    ----------
    centre, coef : (F,) float64
        Mean of the local features, and coefficients.
    intercept : float
        What is added.
    bumps : tuple of Bumps
        The smooth function, one part a view.
    importance : (F,) float64
        Mean absolute gradient at the local samples times their standard deviation.
    rmsecv : float
        Error of the local samples, each predicted without itself and its group, with the variances of all.
    held_out : (n,) float64
        These predictions.
    normalised : bool
        Whether each row is brought to mean 0 and standard deviation 1 first (standard normal variate).
    """

    centre: Float64
    coef: Float64
    intercept: float
    bumps: tuple[Bumps, ...]
    importance: Float64
    rmsecv: float
    held_out: Float64
    normalised: bool = False

    kind = "pooled"

    @property
    def features(self) -> int:
        """Number of features, F."""
        return len(self.coef)

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        out = np.empty(len(rows))
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            centred = (normalise(block) if self.normalised else block) - self.centre
            out[start : start + _BLOCK] = centred @ self.coef + self.intercept
            for one in self.bumps:
                out[start : start + _BLOCK] += one.of(centred)
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        meta: dict[str, Any] = {"features": self.features, "intercept": self.intercept, "rmsecv": self.rmsecv}
        meta |= {"samples": len(self.held_out), "normalised": self.normalised}
        meta["bumps"] = [[len(one.dual), one.basis.shape[1], one.gamma] for one in self.bumps]
        arrays = {name: getattr(self, name) for name in ("centre", "coef", "importance", "held_out")}
        for place, one in enumerate(self.bumps):
            arrays |= {f"{name}.{place}": getattr(one, name) for name in ("basis", "support", "dual")}
        return meta, arrays

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> PooledHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        features, samples = int(number(meta, "features")), int(number(meta, "samples"))
        listed = meta.get("bumps")
        if features < 1 or samples < 1 or not isinstance(listed, list):
            raise damaged("the parts")
        return cls(
            array(arrays, "centre", features),
            array(arrays, "coef", features),
            number(meta, "intercept"),
            tuple(_restored(place, one, features, arrays) for place, one in enumerate(listed)),
            array(arrays, "importance", features),
            number(meta, "rmsecv"),
            array(arrays, "held_out", samples),
            meta.get("normalised") is True,
        )


def _restored(place: int, listed: Any, features: int, arrays: Mapping[str, NDArray[Any]]) -> Bumps:
    if not isinstance(listed, list) or len(listed) != 3:
        raise damaged("the parts")
    count, directions, gamma = (number({"value": one}, "value") for one in listed)
    if gamma <= 0:
        raise damaged("the widths")
    return Bumps(
        array(arrays, f"basis.{place}", features, int(directions)),
        array(arrays, f"support.{place}", int(count), int(directions)),
        array(arrays, f"dual.{place}", int(count)),
        gamma,
    )
