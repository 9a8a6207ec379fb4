"""Forest heads: on features as they are, or on their derivative of a fractional order that is searched (FD-RF)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.models.features import damaged, feature_rows, number
from geosoil.models.forest import Trees
from geosoil.prep.fractional import fractional_derivative
from geosoil.prep.pls import fold_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from sklearn.ensemble import RandomForestRegressor

    from geosoil.models.heads import HeadSettings
    from geosoil.types import Float64, Int64

__all__ = ["ForestHead", "fit_forest", "fit_fractional_forest"]

#: Trees while orders and leaves are searched.
_SEARCH_TREES = 100
#: Arrays of a forest.
_FORMS = {
    "start": np.int64,
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "value": np.float64,
    "importance": np.float64,
}
_LEAVES = (1, 3, 5)
#: Shares of the features that a split looks at; of many, which repeat each other, fewer do.
_SHARES_FEW, _SHARES_MANY, _MANY = (1 / 3, 2 / 3, 1.0), (0.1, 1 / 3), 100


@dataclass(frozen=True, eq=False)
class ForestHead:
    """A forest on derivatives of the features.

    Attributes
    ----------
    trees : Trees
        The forest (Breiman 2001).
    features : int
        Number of features, F.
    order : float
        Order of the derivative; 0 for none.
    pieces : tuple of int
        See `prep.fractional.fractional_derivative`.
    kind : str
        ``rf`` or ``fd-rf``.
    rmsecv : float
        Error of the search: out of bag, or by folds where samples are grouped.
    """

    trees: Trees
    features: int
    order: float = 0.0
    pieces: tuple[int, ...] = ()
    kind: str = "rf"
    rmsecv: float | None = None

    @property
    def importance(self) -> Float64:
        """Mean decrease in impurity of each feature (of its derivative), (F,)."""
        return self.trees.importance

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        whole = np.isfinite(rows).all(axis=1)
        out = np.full(len(rows), np.nan)
        out[whole] = self.trees.predict(_derivative(rows[whole], self.order, self.pieces).astype(np.float32))
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        meta = {
            "kind": self.kind,
            "features": self.features,
            "order": self.order,
            "pieces": list(self.pieces),
            "rmsecv": self.rmsecv,
        }
        return meta, {name: getattr(self.trees, name) for name in _FORMS}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ForestHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        features, order = int(number(meta, "features")), number(meta, "order")
        try:
            pieces = tuple(int(one) for one in meta["pieces"])
            kind = str(meta["kind"])
            trees = Trees(**{name: arrays[name].astype(form, casting="no") for name, form in _FORMS.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("the forest's parts") from error
        if not 0 <= order <= 10 or (pieces and (min(pieces) < 1 or sum(pieces) != features)):
            raise damaged("the order and pieces")
        trees.check(features)
        if trees.importance.shape != (features,):
            raise damaged("the arrays 'importance'")
        rmsecv = None if meta.get("rmsecv") is None else number(meta, "rmsecv")
        return cls(trees, features, order, pieces, kind, rmsecv)


def fit_forest(X: Float64, y: Float64, settings: HeadSettings, groups: ArrayLike | None, seed: int) -> ForestHead:
    """A forest on the features as they are."""
    return _fit(X, y, settings, groups, seed, (0.0,), "rf")


def fit_fractional_forest(
    X: Float64, y: Float64, settings: HeadSettings, groups: ArrayLike | None, seed: int
) -> ForestHead:
    """A forest on the derivative of the best of the orders."""
    return _fit(X, y, settings, groups, seed, settings.orders, "fd-rf")


def _fit(
    X: Float64,
    y: Float64,
    settings: HeadSettings,
    groups: ArrayLike | None,
    seed: int,
    orders: tuple[float, ...],
    kind: str,
) -> ForestHead:
    """Search the order with a middling forest, then the forest; fit on all."""
    fold = None if groups is None else _grouped(np.asarray(groups), settings, seed)
    # Derivatives shrink with their order; forests do not mind the unit.
    views = {order: _derivative(X, order, settings.pieces) for order in orders}
    trees = min(_SEARCH_TREES, settings.trees)
    order = orders[0]
    if len(orders) > 1:
        middling = [_error(views[one], y, fold, trees, 1 / 3, _LEAVES[1], seed) for one in orders]
        order = orders[int(np.argmin(middling))]
    grid = list(product(_SHARES_MANY if X.shape[1] >= _MANY else _SHARES_FEW, _LEAVES))
    errors = [_error(views[order], y, fold, trees, share, leaf, seed) for share, leaf in grid]
    best = int(np.argmin(errors))
    forest = _forest(settings.trees, *grid[best], seed).fit(views[order], y)
    return ForestHead(Trees.of(forest), X.shape[1], order, settings.pieces, kind, float(np.sqrt(errors[best])))


def _grouped(groups: NDArray[Any], settings: HeadSettings, seed: int) -> Int64:
    folds = settings.folds or min(5, len(np.unique(groups)))
    return fold_numbers(len(groups), folds, groups=groups, seed=seed)


def _derivative(rows: Float64, order: float, pieces: tuple[int, ...]) -> Float64:
    return rows if order == 0 else fractional_derivative(rows, order, pieces=pieces)


def _forest(trees: int, share: float, leaf: int, seed: int, *, oob: bool = False) -> RandomForestRegressor:
    from sklearn.ensemble import RandomForestRegressor  # maps walk arrays, and need no scikit-learn

    return RandomForestRegressor(
        trees, max_features=share, min_samples_leaf=leaf, random_state=seed, n_jobs=1, oob_score=oob
    )


def _error(X: Float64, y: Float64, fold: Int64 | None, trees: int, share: float, leaf: int, seed: int) -> float:
    """Mean squared error of what the trees did not see: out of bag, or by folds."""
    if fold is None:
        with warnings.catch_warnings():
            # With few samples one may be in every bag; it then counts as badly predicted for all settings alike.
            warnings.simplefilter("ignore", UserWarning)
            forest = _forest(trees, share, leaf, seed, oob=True).fit(X, y)
        return float(np.mean((forest.oob_prediction_ - y) ** 2))
    found = np.empty(len(y))
    for one in range(int(fold.max()) + 1):
        out = fold == one
        found[out] = _forest(trees, share, leaf, seed).fit(X[~out], y[~out]).predict(X[out])
    return float(np.mean((found - y) ** 2))
