"""Ridge regression whose penalty follows from errors of samples left out, in closed form; and blends of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64, Int64

__all__ = ["Ridge", "blend_weights", "fit_ridge", "fit_scaled_ridge"]

#: Penalties that are tried, as shares of the mean squared length of a centred row.
PENALTIES = np.logspace(-6, 2, 33)
#: Least share of a sample's own say that is divided by.
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Ridge:
    """``X @ coef + intercept``.

    Attributes
    ----------
    coef : (F,) float64
        Of the features as they were given.
    intercept : float
        What is added.
    left_out : (n,) float64
        Prediction of each training sample by the model without it (or its group).
    error : float
        Root mean square of what those miss.
    """

    coef: Float64
    intercept: float
    left_out: Float64
    error: float


def fit_ridge(X: Float64, y: Float64, groups: ArrayLike | None = None) -> Ridge:
    """Ridge regression (Hoerl & Kennard 1970) with the penalty of least error on samples left out.

    The errors are exact, not approximate: with residuals r and R the matrix that makes them of y, what a model without
    the rows G misses of them is ``R[G, G]^-1 r[G]`` (Allen 1974).

    Parameters
    ----------
    X : (n, F) float64
        Features; any number of them, the work grows with n.
    y : (n,) float64
        Response.
    groups : (n,) array-like, optional
        Rows of one group are left out together.

    >>> X = np.arange(6.0)[:, None]
    >>> found = fit_ridge(X, 2 * X[:, 0] + 1)
    >>> found.coef.round(4), round(found.intercept, 4)
    (array([2.]), 1.0)
    """
    mean, centre = X.mean(axis=0), float(y.mean())
    z = X - mean
    gram = z @ z.T
    values, vectors = np.linalg.eigh(gram)
    values = np.clip(values, 0, None)
    turned = vectors.T @ (y - centre)
    rows = None if groups is None else _rows(groups)
    size = max(float(values.sum()) / len(y), np.finfo(np.float64).tiny)
    best, missed, penalty = np.inf, y - centre, PENALTIES[-1] * size
    for one in PENALTIES * size:
        found = _missed(vectors, one / (values + one), turned, rows)
        squared = float(np.mean(found**2))
        if squared < best:
            best, missed, penalty = squared, found, one
    coef = z.T @ (vectors @ (turned / (values + penalty)))
    return Ridge(coef, centre - float(mean @ coef), y - missed, float(np.sqrt(best)))


def fit_scaled_ridge(X: Float64, y: Float64, groups: ArrayLike | None = None) -> Ridge:
    """The better of two: features count by their variance, or all alike."""
    sd = X.std(axis=0)
    sd = np.where(sd > 1e-12 * np.abs(X).max(axis=0), sd, 1.0)
    alike = fit_ridge(X / sd, y, groups)
    found = [fit_ridge(X, y, groups), Ridge(alike.coef / sd, alike.intercept, alike.left_out, alike.error)]
    return min(found, key=lambda one: one.error)


def _rows(groups: ArrayLike) -> list[Int64]:
    """Rows of each group."""
    _, code = np.unique(np.asarray(groups), return_inverse=True)
    return [np.flatnonzero(code == one) for one in range(int(code.max()) + 1)]


def _missed(vectors: Float64, kept: Float64, turned: Float64, rows: list[Int64] | None) -> Float64:
    """What models without each sample, or group, miss of it; the intercept is left out with them."""
    residual = vectors @ (kept * turned)
    if rows is None:
        # The mean takes 1/n of each sample; the eigenvector of ones has a value of 0, so `kept` counts it as free.
        own = (vectors**2) @ kept - 1 / len(residual)
        return np.asarray(residual / np.maximum(own, _TINY))
    found = np.empty_like(residual)
    for one in rows:
        own = (vectors[one] * kept) @ vectors[one].T - 1 / len(residual)
        found[one] = np.linalg.lstsq(own, residual[one], rcond=_TINY)[0]
    return found


def blend_weights(left_out: Float64, y: Float64, evenness: float) -> Float64:
    """Weights of models, not negative and of sum 1, by their predictions of samples left out.

    They minimise ``mean((y - left_out @ w)^2) + evenness^2 var(y) |w - 1/k|^2``: stacking (Breiman 1996), held towards
    the plain mean, which few samples can hardly better.

    Parameters
    ----------
    left_out : (n, k) float64
        One column a model.
    y : (n,) float64
        Observed.
    evenness : float
        0 leaves all to the errors.

    >>> y = np.array([1.0, 2.0, 3.0, 4.0])
    >>> blend_weights(np.column_stack([y, y[::-1]]), y, 0.0).round(3)
    array([1., 0.])
    """
    count = left_out.shape[1]
    missed = (left_out - y[:, None]) / np.sqrt(len(y))
    even = evenness * float(y.std()) * (np.eye(count) - 1 / count)
    rows = np.vstack([missed, even])
    # A heavy last row holds the sum at 1.
    heavy = 1e4 * max(float(np.abs(rows).max()), _TINY)
    weights, _ = nnls(np.vstack([rows, np.full(count, heavy)]), np.append(np.zeros(len(rows)), heavy))
    total = float(weights.sum())
    return np.full(count, 1 / count) if total <= 0 else np.asarray(weights / total)
