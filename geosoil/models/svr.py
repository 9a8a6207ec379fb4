"""Support vector regression with a Gaussian kernel: fitted by scikit-learn, kept and run as arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.models.features import array, damaged, feature_rows, number, standardisation
from geosoil.prep.pls import fold_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.heads import HeadSettings
    from geosoil.types import Float64, Int64

__all__ = ["SvrHead", "fit_svr"]

#: Rows whose kernel is in memory at once.
_BLOCK = 2048
#: Where the search begins: the customary setting, in units of the standardised data and of 1 / F.
_START = (1.0, 1.0, 0.1)
#: Spread of the candidates round the best, as a share of the range of the logarithms.
_NEAR = 0.12
#: Bayesian: settings that are tried at least before what they say is heeded; random points among which the next one is
#: chosen, half as many more near the best; and points between two fits of the process's widths.
_FEWEST, _POINTS, _ANEW = 8, 512, 8
#: Bound on the solver's steps while it searches; settings that need more are poor ones.
_STEPS = 20_000


@dataclass(frozen=True, eq=False)
class SvrHead:
    """``sum(dual * exp(-gamma |z - support|**2)) + intercept`` with ``z = (x - mean) / sd``.

    Attributes
    ----------
    mean, sd : (F,) float64
        Standardisation of the features.
    support : (S, F) float64
        Support vectors, standardised.
    dual : (S,) float64
        Their coefficients, in the unit of the response.
    gamma, intercept : float
        Width of the kernel; what is added, in the unit of the response.
    c, epsilon : float
        Penalty, and width of the tube in standard deviations of the response.
    rmsecv : float or None
        Cross-validated error of the setting; None where none was searched.
    """

    mean: Float64
    sd: Float64
    support: Float64
    dual: Float64
    gamma: float
    intercept: float
    c: float
    epsilon: float
    rmsecv: float | None = None

    kind = "svr"

    @property
    def features(self) -> int:
        """Number of features, F."""
        return len(self.mean)

    @property
    def importance(self) -> None:
        """A kernel has no importance of its features."""
        return

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        out = np.empty(len(rows))
        # exp(-gamma |z - s|^2) with the square written out: nearly all work is one matrix product.
        squared = (self.support**2).sum(axis=1)
        for start in range(0, len(rows), _BLOCK):
            z = (rows[start : start + _BLOCK] - self.mean) / self.sd
            kernel = z @ self.support.T
            kernel *= -2
            kernel += squared
            kernel += (z**2).sum(axis=1)[:, None]
            np.maximum(kernel, 0, out=kernel)
            kernel *= -self.gamma
            out[start : start + _BLOCK] = np.exp(kernel, out=kernel) @ self.dual + self.intercept
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        names = ("gamma", "intercept", "c", "epsilon", "rmsecv")
        meta = {"features": self.features, "vectors": len(self.dual), **{name: getattr(self, name) for name in names}}
        return meta, {name: getattr(self, name) for name in ("mean", "sd", "support", "dual")}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SvrHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        features, vectors = int(number(meta, "features")), int(number(meta, "vectors"))
        mean, sd = array(arrays, "mean", features), array(arrays, "sd", features)
        if features < 1 or (sd <= 0).any() or number(meta, "gamma") <= 0:
            raise damaged("the scales")
        return cls(
            mean,
            sd,
            array(arrays, "support", vectors, features),
            array(arrays, "dual", vectors),
            number(meta, "gamma"),
            number(meta, "intercept"),
            number(meta, "c"),
            number(meta, "epsilon"),
            None if meta.get("rmsecv") is None else number(meta, "rmsecv"),
        )


def fit_svr(X: Float64, y: Float64, settings: HeadSettings, groups: ArrayLike | None, seed: int) -> SvrHead:
    """Standardise, search penalty, width and tube by cross-validation, and fit on all."""
    (c, factor, epsilon), rmsecv = _START, None
    if settings.budget > 1:
        fold = fold_numbers(len(y), settings.folds or _folds(groups, len(y)), groups=groups, seed=seed)
        (c, factor, epsilon), rmsecv = _search(X, y, fold, settings, seed)
    mean, sd = standardisation(X)
    centre, spread = float(y.mean()), float(y.std())
    gamma = factor / X.shape[1]
    from sklearn.svm import SVR  # mapping needs this module, and not scikit-learn

    model = SVR(kernel="rbf", C=c, gamma=gamma, epsilon=epsilon).fit((X - mean) / sd, (y - centre) / spread)
    return SvrHead(
        mean=mean,
        sd=sd,
        support=np.ascontiguousarray(model.support_vectors_, np.float64),
        dual=model.dual_coef_[0] * spread,
        gamma=gamma,
        intercept=float(model.intercept_[0]) * spread + centre,
        c=c,
        epsilon=epsilon,
        rmsecv=rmsecv,
    )


def _folds(groups: ArrayLike | None, n: int) -> int:
    """Five, or as many as there are groups."""
    return min(5, n if groups is None else len(np.unique(np.asarray(groups))))


@dataclass(frozen=True, eq=False)
class _Fold:
    """One fold: squared distances of the standardised features, and the response."""

    within: Float64
    across: Float64
    z: Float64
    y: Float64
    centre: float
    spread: float

    @classmethod
    def of(cls, X: Float64, y: Float64, out: NDArray[np.bool_]) -> _Fold:
        from scipy.spatial.distance import cdist

        mean, sd = standardisation(X[~out])
        train, test = (X[~out] - mean) / sd, (X[out] - mean) / sd
        centre, spread = float(y[~out].mean()), float(y[~out].std()) or 1.0
        return cls(
            cdist(train, train, "sqeuclidean") / X.shape[1],
            cdist(test, train, "sqeuclidean") / X.shape[1],
            (y[~out] - centre) / spread,
            y[out],
            centre,
            spread,
        )

    def squared_error(self, c: float, factor: float, epsilon: float) -> float:
        from sklearn.svm import SVR

        model = SVR(kernel="precomputed", C=c, epsilon=epsilon, max_iter=_STEPS)
        model.fit(np.exp(-factor * self.within), self.z)
        found = model.predict(np.exp(-factor * self.across)) * self.spread + self.centre
        return float(((found - self.y) ** 2).sum())


def _search(
    X: Float64, y: Float64, fold: Int64, settings: HeadSettings, seed: int
) -> tuple[tuple[float, float, float], float]:
    """The best of `budget` settings (C, gamma F, epsilon), and its error."""
    folds = [_Fold.of(X, y, fold == one) for one in range(int(fold.max()) + 1)]
    ranges = np.log([settings.c, settings.gamma, settings.epsilon])
    search = {"near": _Near, "bayes": _Bayes}[settings.search](ranges, settings.budget, seed)
    least = np.inf
    with warnings.catch_warnings():
        # The bound on steps is meant, and those on a process's widths are.
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(settings.budget):
            error, share = _error(folds, _point(search.next()), least)
            search.tell(error / share, whole=share == 1)
            least = min(least, error) if share == 1 else least
        best = search.best()
    return _point(search.tried[best]), float(np.sqrt(search.errors[best] / len(y)))


class _Near:
    """Points of logarithms: half of them spread out, half round the best of those before."""

    def __init__(self, ranges: Float64, budget: int, seed: int) -> None:
        self.ranges = ranges
        self.tried = self._first(budget, seed)
        self.errors: list[float] = []
        self.whole: list[bool] = []
        self.rng = np.random.default_rng([seed, 1])

    def _first(self, budget: int, seed: int) -> Float64:
        return _spread_out(self.ranges, budget // 2, seed)

    def next(self) -> Float64:
        """The next point, (3,)."""
        if len(self.errors) == len(self.tried):
            self.tried = np.vstack([self.tried, self._following()])
        return np.asarray(self.tried[len(self.errors)])

    def tell(self, error: float, *, whole: bool) -> None:
        """The error of the point that was asked for last, and whether all folds have told it."""
        self.errors.append(error)
        self.whole.append(whole)

    def best(self) -> int:
        """Place of the point of the least error."""
        return int(np.where(self.whole, self.errors, np.inf).argmin())

    def _following(self) -> Float64:
        step = _NEAR * np.ptp(self.ranges, axis=1) * self.rng.standard_normal(3)
        return np.asarray(np.clip(self.tried[self.best()] + step, self.ranges[:, 0], self.ranges[:, 1]))


class _Bayes(_Near):
    """Points of which each, but for the first ones, is the most promising by what is known when it is asked for.

    Bayesian optimisation of the error's logarithm: greatest expected improvement under a Gaussian process (Jones et al.
    1998).
    """

    _kernel: Any = None

    def _first(self, budget: int, seed: int) -> Float64:
        return _spread_out(self.ranges, min(budget, max(_FEWEST, budget // 4)), seed)

    def best(self) -> int:
        """Place of the point of the least error by what all points tell: one that is low by chance alone is not."""
        if len(self.errors) <= _FEWEST:
            return super().best()
        self._kernel = None
        expected = self._process().predict(self._shares(self.tried))
        return int(np.where(self.whole, expected, np.inf).argmin())

    def _following(self) -> Float64:
        from scipy.special import ndtr

        errors = self._logarithms()
        least = errors.min()
        near = self._shares(self.tried[[errors.argmin()]])
        near = near + _NEAR * self.rng.standard_normal((_POINTS // 2, 3))
        points = np.clip(np.vstack([self.rng.random((_POINTS, 3)), near]), 0, 1)
        mean, sd = self._process().predict(points, return_std=True)
        gain = least - mean
        z = gain / np.maximum(sd, 1e-9)
        expected = gain * ndtr(z) + sd * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return np.asarray(self.ranges[:, 0] + points[expected.argmax()] * np.ptp(self.ranges, axis=1))

    def _logarithms(self) -> Float64:
        return np.log(np.maximum(self.errors, np.finfo(float).tiny))

    def _shares(self, points: Float64) -> Float64:
        """Points as shares of the ranges."""
        widths = np.ptp(self.ranges, axis=1)
        return np.asarray(
            np.divide(points - self.ranges[:, 0], widths, out=np.zeros(points.shape), where=widths > 0), np.float64
        )

    def _process(self) -> Any:
        """A Gaussian process through what is known; its widths are fitted anew now and then, which takes long."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import Matern, WhiteKernel

        fresh = self._kernel is None or len(self.errors) % _ANEW == 0
        kernel = self._kernel or Matern(np.full(3, 0.5), (0.05, 5.0), nu=2.5) + WhiteKernel(1e-2, (1e-6, 0.5))
        process = GaussianProcessRegressor(kernel, optimizer="fmin_l_bfgs_b" if fresh else None, normalize_y=True)
        process.fit(self._shares(self.tried[: len(self.errors)]), self._logarithms())
        self._kernel = process.kernel_
        return process


def _spread_out(ranges: Float64, count: int, seed: int) -> Float64:
    """The customary setting, then points of a Latin hypercube in the logarithms (count, 3)."""
    from scipy.stats import qmc

    customary = np.clip(np.log(_START), ranges[:, 0], ranges[:, 1])
    units = qmc.LatinHypercube(3, rng=np.random.default_rng([seed, 0])).random(max(0, count - 1))
    return np.vstack([customary, ranges[:, 0] + units * np.ptp(ranges, axis=1)])


def _point(logs: Float64) -> tuple[float, float, float]:
    c, factor, epsilon = np.exp(logs)
    return float(c), float(factor), float(epsilon)


def _error(folds: list[_Fold], point: tuple[float, float, float], least: float) -> tuple[float, float]:
    """Sum of squared errors over the folds, or over the first folds where these are worse than the best already.

    Also the share of the samples that are in these folds.
    """
    total, done = 0.0, 0
    for one in folds:
        total += one.squared_error(*point)
        done += len(one.y)
        if total > least:
            break
    return total, done / sum(len(one.y) for one in folds)
