"""Linear heads: PLSR on features, one coefficient a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.models.features import array, damaged, feature_rows, number
from geosoil.prep.pls import choose_components, fit_pls

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.heads import HeadSettings
    from geosoil.types import Float64

__all__ = ["LinearHead", "fit_linear"]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """``X @ coef + intercept``.

    Attributes
    ----------
    coef : (F,) float64
        Coefficients of the features as they are given.
    intercept : float
        What is added.
    components : int
        Components of the PLS behind it.
    vip : (F,) float64
        Variable importance in projection.
    rmsecv : float or None
        Cross-validated error of the component count; None where the count was given.
    """

    coef: Float64
    intercept: float
    components: int
    vip: Float64
    rmsecv: float | None = None

    kind = "plsr"

    @property
    def features(self) -> int:
        """Number of features, F."""
        return len(self.coef)

    @property
    def importance(self) -> Float64:
        """Variable importance in projection, (F,)."""
        return self.vip

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        found: Float64 = feature_rows(X, self.features) @ self.coef + self.intercept
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        meta = {
            "features": self.features,
            "intercept": self.intercept,
            "components": self.components,
            "rmsecv": self.rmsecv,
        }
        return meta, {"coef": self.coef, "vip": self.vip}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LinearHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        features, components = int(number(meta, "features")), int(number(meta, "components"))
        if not 1 <= components <= features:
            raise damaged("the component count and the features")
        rmsecv = None if meta.get("rmsecv") is None else number(meta, "rmsecv")
        coef, vip = array(arrays, "coef", features), array(arrays, "vip", features)
        return cls(coef, number(meta, "intercept"), components, vip, rmsecv)


def fit_linear(X: Float64, y: Float64, settings: HeadSettings, groups: ArrayLike | None, seed: int) -> LinearHead:
    """PLSR with the component count given, or that of the least cross-validated error."""
    components, rmsecv = settings.components, None
    if components is None:
        choice = choose_components(
            X,
            y,
            settings.most_components,
            folds=settings.folds,
            groups=groups,
            rule=settings.rule,
            seed=seed,
            scale=settings.scale,
        )
        components, rmsecv = choice.components, float(choice.rmsecv[choice.components - 1])
    model = fit_pls(X, y, components, scale=settings.scale)
    used = max(1, min(len(model.coef), model.rank))
    vip = np.asarray(model.vip(used), np.float64)
    return LinearHead(model.coef[-1].copy(), float(model.intercept[-1]), used, vip, rmsecv)
