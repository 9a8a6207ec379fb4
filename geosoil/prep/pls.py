"""Partial least squares of one response: fitted for all component counts at once, and cross-validated the same way."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.kernels import pls as kernel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64, Int64

__all__ = [
    "Choice",
    "Pls",
    "checked",
    "choose_components",
    "fit_pls",
    "fold_numbers",
    "held_out_predictions",
    "simplest",
]

_RULES = ("min", "one_se")


@dataclass(frozen=True, eq=False)
class Pls:
    """Linear models of 1 to A components (Wold et al. 2001).

    Attributes
    ----------
    coef : (A, p) float64
        Coefficients of the spectra as they were given, for 1 to A components.
    intercept : (A,) float64
        What is added.
    rank : int
        Components that the data hold. Models with more equal the one with so many.
    weights : (p, A) float64
        Unit vectors w of the components.
    y_variance : (A,) float64
        Sum of squares of y that each component explains.
    """

    coef: Float64
    intercept: Float64
    rank: int
    weights: Float64
    y_variance: Float64

    def predict(self, X: ArrayLike) -> Float64:
        """Spectra (n, p) to predictions (A, n), one row a component count; raises InputError for other bands."""
        X, bands = np.asarray(X, np.float64), self.coef.shape[1]
        if X.ndim != 2 or X.shape[1] != bands:
            raise InputError(f"the model takes {bands} bands", code="GS-SPECTRA-SHAPE", details=[f"found: {X.shape}"])
        found: Float64 = self.coef @ X.T + self.intercept[:, None]
        return found

    def vip(self, components: int | None = None) -> Float64:
        """Variable importance in projection, (p,); its mean square is 1 (Wold et al. 2001). 0 where no component holds.

        Parameters
        ----------
        components : int, optional
            Components that count; all by default.
        """
        explained = self.y_variance[:components]
        share = self.weights[:, : len(explained)] ** 2 @ explained / max(explained.sum(), np.finfo(float).tiny)
        found: Float64 = np.sqrt(len(self.weights) * share)
        return found


class Choice(NamedTuple):
    """A component count, and the error that led to it.

    Attributes
    ----------
    components : int
        The count that was chosen.
    rmsecv : (A,) float64
        Root mean squared error of cross-validation for 1 to A components.
    """

    components: int
    rmsecv: Float64


def fit_pls(X: ArrayLike, y: ArrayLike, components: int, *, scale: bool = False) -> Pls:
    """Fit by improved kernel PLS (Dayal & MacGregor 1997), centred.

    Parameters
    ----------
    X : (n, p) array-like
        Spectra.
    y : (n,) array-like
        Response.
    components : int
        Largest number of components; cut to n - 1 and p.
    scale : bool
        Whether bands are divided by their standard deviation (n - 1) first.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``, ``GS-SAMPLES-FEW``, ``GS-TARGET-CONSTANT``.
    UsageError
        ``GS-COMPONENTS``: less than one.

    >>> X = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    >>> model = fit_pls(X, 2 * X[:, 0] - X[:, 1] + 5, components=2)
    >>> model.coef[-1].round(6).tolist(), model.intercept[-1].round(6).item()
    ([2.0, -1.0], 5.0)
    """
    X, y = checked(X, y)
    if components < 1:
        raise UsageError(f"{components} components are no model", code="GS-COMPONENTS", hint="take at least one")
    most = min(components, len(y) - 1, X.shape[1])
    spread = _spread(X) if scale else np.ones(X.shape[1])
    # The library's limits are absolute; powers of two bring any unit there, and change no digit of the result.
    unit_x, unit_y = _unit((X - X.mean(axis=0)) / spread), _unit(y - y.mean())
    from ikpls.numpy import PLS  # it loads scikit-learn, which maps do not need

    model = PLS(algorithm=1, center_X=True, center_Y=True, scale_X=False, scale_Y=False)
    with warnings.catch_warnings():
        # Said by `rank`.
        warnings.simplefilter("ignore", UserWarning)
        model.fit(X / (spread * unit_x), y / unit_y, most)
    rank = int(model.max_stable_components)
    coef = model.B[:, :, 0] * unit_y / (spread * unit_x)
    loadings = model.Q[0, :rank] * unit_y
    explained = np.zeros(most)
    explained[:rank] = loadings**2 * (model.T[:, :rank] ** 2).sum(axis=0)
    return Pls(coef, y.mean() - coef @ X.mean(axis=0), rank, np.array(model.W), explained)


def choose_components(
    X: ArrayLike,
    y: ArrayLike,
    most: int = 50,
    *,
    folds: int | None = None,
    order: str = "random",
    groups: ArrayLike | None = None,
    rule: str = "min",
    seed: int = 0,
    scale: bool = False,
) -> Choice:
    """The component count of least cross-validated error, all counts from one fit a fold.

    Parameters
    ----------
    X, y : (n, p), (n,) array-like
        Spectra and response.
    most : int
        Largest count; cut to what the smallest training part and the bands allow.
    folds, order, groups, seed
        See `fold_numbers`.
    rule : str
        ``min``: least error. ``one_se``: fewest components whose error is at most one standard error above the least,
        the standard error taken over folds (Hastie, Tibshirani & Friedman 2009, section 7.10).
    scale : bool
        Whether bands are divided by their standard deviation, in each training part anew.

    Raises
    ------
    InputError
        As `fit_pls`; ``GS-FOLDS``.
    UsageError
        ``GS-RULE``, ``GS-COMPONENTS``.
    """
    X, y = checked(X, y)
    fold = fold_numbers(len(y), folds, order=order, groups=groups, seed=seed)
    predicted = held_out_predictions(X, y, fold, most, scale=scale)
    errors = (predicted - y) ** 2
    return Choice(simplest(errors, fold, rule), np.sqrt(errors.mean(axis=1)))


def simplest(errors: Float64, fold: Int64, rule: str = "min") -> int:
    """The model to take of several that grow more complex, counted from 1.

    Parameters
    ----------
    errors : (A, n) float64
        Squared error of each sample when it was held out.
    fold : (n,) int64
        Fold of each sample.
    rule : str
        See `choose_components`.
    """
    if rule not in _RULES:
        raise UsageError(f"rule {rule!r} is not known", code="GS-RULE", hint="take 'min' or 'one_se'")
    rmse = np.sqrt(errors.mean(axis=1))
    best = int(rmse.argmin())
    if rule == "min":
        return best + 1
    names = np.unique(fold)
    by_fold = np.array([np.sqrt(errors[best, fold == one].mean()) for one in names])
    limit = rmse[best] + by_fold.std(ddof=1) / np.sqrt(len(names))
    return int(np.flatnonzero(rmse <= limit)[0]) + 1


def held_out_predictions(X: ArrayLike, y: ArrayLike, fold: Int64, most: int, *, scale: bool = False) -> Float64:
    """Predictions (A, n) of each sample by models that did not see its fold, for 1 to A components.

    A is `most`, cut to the bands and to one below the smallest training part.
    """
    X, y = checked(X, y)
    counts = np.bincount(fold)
    folds = len(counts)
    least = len(y) - int(counts.max())
    if folds < 2 or least < 2:
        raise InputError(
            f"{folds} folds leave {least} samples to train on", code="GS-FOLDS", hint="take more folds or more samples"
        )
    if most < 1:
        raise UsageError(f"{most} components are no model", code="GS-COMPONENTS", hint="take at least one")
    most = min(most, least - 1, X.shape[1])
    out, work, bands = np.empty((most, len(y))), np.empty(X.shape), np.arange(X.shape[1])
    if not scale:
        kernel.held_out(X, y, bands, fold, folds, most, out, work)
        return out
    for one in range(folds):
        part = np.empty_like(out)
        kernel.held_out(X / _spread(X[fold != one]), y, bands, (fold != one).astype(np.int64), 1, most, part, work)
        out[:, fold == one] = part[:, fold == one]
    return out


def fold_numbers(
    n: int,
    folds: int | None = None,
    *,
    order: str = "random",
    groups: ArrayLike | None = None,
    seed: int = 0,
    along: ArrayLike | None = None,
) -> Int64:
    """A fold for each of n samples.

    Parameters
    ----------
    folds : int, optional
        Number of folds; by default 10, and 5 for less than 60 samples, but no more than there are groups.
    order : str
        ``random``: shuffled. ``interleaved``: first sample to the first fold, second to the second, and so on.
    groups : (n,) array-like, optional
        Samples of one group share a fold.
    seed : int
        Of the shuffling.
    along : (n,) array-like, optional
        Interleave in the order of these values (of groups: of their means) instead of that of the samples.

    Raises
    ------
    InputError
        ``GS-FOLDS``: fewer than two folds, or fewer samples or groups than folds.
    UsageError
        ``GS-RULE``: the order is not known.

    >>> fold_numbers(6, 3, order="interleaved").tolist()
    [0, 1, 2, 0, 1, 2]
    >>> fold_numbers(4, 2, order="interleaved", along=[3.0, 1.0, 4.0, 2.0]).tolist()
    [0, 0, 1, 1]
    """
    if order not in ("random", "interleaved"):
        raise UsageError(f"order {order!r} is not known", code="GS-RULE", hint="take 'random' or 'interleaved'")
    members = np.arange(n) if groups is None else np.asarray(groups)
    if members.shape != (n,):
        raise InputError(f"{n} samples have {members.size} groups", code="GS-SPECTRA-SHAPE")
    # Groups count in the order in which they come first.
    _, first, place = np.unique(members, return_index=True, return_inverse=True)
    groups_in_order = np.argsort(np.argsort(first))[place]
    count = len(first)
    if folds is None:
        folds = min(10 if n >= 60 else 5, count)
    if folds < 2 or folds > count:
        raise InputError(
            f"{count} samples or groups do not make {folds} folds", code="GS-FOLDS", hint="take fewer folds"
        )
    key = np.arange(count, dtype=np.float64)
    if order == "random":
        key = np.random.default_rng(seed).permutation(count).astype(np.float64)
    elif along is not None:
        totals = np.bincount(groups_in_order, np.asarray(along, np.float64), count)
        key = totals / np.bincount(groups_in_order, minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.argsort(key, kind="stable")] = np.arange(count) % folds
    found: Int64 = rank[groups_in_order]
    return found


def checked(X: ArrayLike, y: ArrayLike) -> tuple[Float64, Float64]:
    """Spectra (n, p) and response (n,) as float64 with contiguous rows; raises InputError, see `fit_pls`."""
    X, y = np.ascontiguousarray(X, np.float64), np.ascontiguousarray(y, np.float64)
    if X.ndim != 2 or y.shape != X.shape[:1] or X.shape[1] < 1:
        raise InputError(
            "spectra and response do not go together",
            code="GS-SPECTRA-SHAPE",
            details=[f"found: spectra of shape {X.shape}, response of shape {y.shape}", "expected: (n, p) and (n,)"],
        )
    bad = ~(np.isfinite(X).all(axis=1) & np.isfinite(y))
    if bad.any():
        raise InputError(
            f"{bad.sum()} of {len(y)} samples have missing values",
            code="GS-SPECTRA-NAN",
            details=[f"first: sample {int(np.flatnonzero(bad)[0])} (counted from 0)"],
            hint="drop these samples, or the bands that lack them",
        )
    if len(y) < 3:
        raise InputError(f"{len(y)} samples are too few to fit", code="GS-SAMPLES-FEW", hint="give at least three")
    if np.ptp(y) == 0:
        raise InputError(
            f"all {len(y)} values of the response are {y[0]:g}",
            code="GS-TARGET-CONSTANT",
            hint="there is nothing to learn; give samples that differ",
        )
    return X, y


def _spread(X: Float64) -> Float64:
    """Standard deviation of each band; 1 where it does not vary."""
    sd = X.std(axis=0, ddof=1)
    return np.where(sd > 1e-12 * np.abs(X).max(axis=0), sd, 1.0)


def _unit(values: Float64) -> float:
    """The power of two next to the root mean square."""
    size = float(np.sqrt(np.mean(values**2)))
    return float(2.0 ** np.round(np.log2(size))) if size > 0 else 1.0
