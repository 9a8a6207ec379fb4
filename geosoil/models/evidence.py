"""Gaussian processes that are sums of given kernels: the share of each is found by the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from geosoil.errors import ModelError

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["Explained", "explain"]

#: Added to the diagonal, as a share of its mean, for the rounding of kernels of low rank.
_JITTER = 1e-5
#: How far from its prior a logarithm may go, in standard deviations.
_REACH = 4.0


@dataclass(frozen=True, eq=False)
class Explained:
    """A response explained by kernels.

    Attributes
    ----------
    share : (J,) float64
        Variance of each kernel.
    noise : (S,) float64
        Variance of the noise of each data set.
    dual : (n,) float64
        ``inverse @ y``: a kernel's row times it, and times the kernel's share, is what the kernel adds to a prediction.
    inverse : (n, n) float64
        Of the covariance of the response.
    """

    share: Float64
    noise: Float64
    dual: Float64
    inverse: Float64

    def left_out(self, rows: Int64) -> Float64:
        """Residuals (observed minus predicted) of some samples from a model without all of them, shares unchanged.

        Rasmussen & Williams 2006, section 5.4.2, for one sample; the same holds for several at once.
        """
        return np.asarray(np.linalg.solve(self.inverse[np.ix_(rows, rows)], self.dual[rows]), np.float64)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Minus the logarithm of the posterior density of the logarithms of shares and noises."""

    kernels: Sequence[Float64]
    fixed: Float64
    origin: Int64
    y: Float64
    centre: Float64
    spread: Float64

    def covariance(self, logs: Float64) -> Float64:
        weights = np.exp(logs)
        total: Float64 = np.array(self.fixed, np.float64)
        for weight, one in zip(weights, self.kernels, strict=False):
            total += weight * one
        place = np.diag_indices(len(total))
        total[place] += weights[len(self.kernels) :][self.origin] + _JITTER * total[place].mean()
        return total

    def __call__(self, logs: Float64) -> tuple[float, Float64]:
        root, inverse = _inverse(self.covariance(logs))
        dual = inverse @ self.y
        away = (logs - self.centre) / self.spread
        value = 0.5 * self.y @ dual + np.log(np.diagonal(root)).sum() + 0.5 * away @ away
        slope = inverse - np.outer(dual, dual)
        sets = len(logs) - len(self.kernels)
        by_kernel = [np.vdot(slope, one) for one in self.kernels]
        by_set = np.bincount(self.origin, np.diagonal(slope), sets)
        return float(value), 0.5 * np.exp(logs) * np.r_[by_kernel, by_set] + away / self.spread


def explain(
    kernels: Sequence[Float64],
    fixed: Float64,
    origin: Int64,
    y: Float64,
    *,
    share: tuple[float, float],
    noise: tuple[float, float],
    steps: int,
) -> Explained:
    """Shares of kernels and noises of data sets of largest posterior density (Rasmussen & Williams 2006, chapter 5).

    Parameters
    ----------
    kernels : sequence of (n, n) float64
        Each with a mean diagonal near 1.
    fixed : (n, n) float64
        What is added with the share 1.
    origin : (n,) int64
        Data set of each sample, from 0.
    y : (n,) float64
        Response, in units of about its standard deviation.
    share, noise : (float, float)
        Median of the prior of a variance, and standard deviation of its logarithm.
    steps : int
        Most steps of the search.
    """
    count, sets = len(kernels), int(origin.max()) + 1
    centre = np.log(np.r_[np.full(count, share[0]), np.full(sets, noise[0])])
    spread = np.r_[np.full(count, share[1]), np.full(sets, noise[1])]
    target = _Evidence(kernels, fixed, origin, y, centre, spread)
    bounds = list(zip(centre - _REACH * spread, centre + _REACH * spread, strict=True))
    found = minimize(target, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
    weights = np.exp(found.x)
    inverse = _inverse(target.covariance(found.x))[1]
    return Explained(weights[:count], weights[count:], inverse @ y, inverse)


def _inverse(covariance: Float64) -> tuple[Float64, Float64]:
    """Cholesky factor and inverse."""
    root, failed = dpotrf(covariance, lower=1)
    if not failed:
        half, failed = dpotri(root, lower=1)
    if failed:
        raise ModelError(
            "the kernels of these samples are singular", code="GS-FIT-DIVERGED", hint="look for spectra of no variation"
        )
    lower = np.tril(half)
    return root, lower + np.tril(lower, -1).T
