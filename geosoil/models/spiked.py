"""Spiking: a library and the local samples in one PLS model, the local ones with extra weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import UsageError
from geosoil.models.linear import LinearHead
from geosoil.models.mbl import check_source
from geosoil.prep.moments import Moments
from geosoil.prep.pls import checked, fold_numbers, simplest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.models.source import Source
    from geosoil.types import Float64, Int64

__all__ = ["MOST_WEIGHT", "SpikedSettings", "extra_weight", "fit_spiked"]

#: Largest weight that a local sample gets unasked.
MOST_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class SpikedSettings:
    """How the local samples are joined to the library.

    Attributes
    ----------
    weight : float, optional
        What a local sample counts beside one of the library; by default as `extra_weight` has it.
    components : int, optional
        Number of PLS components; by default the one that predicts held-out local samples best.
    most_components : int
        Largest count of that search.
    rule : str
        ``min`` or ``one_se``; see `prep.pls.choose_components`.
    folds : int, optional
        Folds of the search; 10 by default, 5 below 60 local samples.
    """

    weight: float | None = None
    components: int | None = None
    most_components: int = 30
    rule: str = "min"
    folds: int | None = None

    def __post_init__(self) -> None:
        wrong = [] if self.weight is None or 0 < self.weight < np.inf else ["weight"]
        wrong += [] if self.components is None or self.components >= 1 else ["components"]
        wrong += [] if self.most_components >= 1 else ["most_components"]
        if wrong:
            raise UsageError(f"settings of spiking are out of range: {', '.join(wrong)}", code="GS-SPIKED")


def extra_weight(library: int, local: int) -> float:
    """Weight of a local sample with which both parts count the same, between 1 and 100 (Guerrero et al. 2016).

    >>> extra_weight(1285, 30), extra_weight(50_000, 30), extra_weight(20, 30)
    (43.0, 100.0, 1.0)
    """
    return float(min(max(round(library / local), 1), MOST_WEIGHT))


def fit_spiked(
    X: ArrayLike,
    y: ArrayLike,
    source: Source,
    settings: SpikedSettings | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> LinearHead:
    """PLS on a library and the local samples, these with extra weight (Brown 2007; Guerrero et al. 2014).

    A weight of two is the same as a copy of the sample. Where the component count is not given, local samples are held
    out in turn while the library stays whole, and the count of least error is taken.

    Parameters
    ----------
    X, y : (n, F), (n,) array-like
        Local samples.
    source : Source
        The library, on the same features and the same response.
    settings : SpikedSettings, optional
        See there.
    groups : (n,) array-like, optional
        Local samples of one group are held out together.
    seed : int
        Of the folds.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``, ``GS-SAMPLES-FEW``, ``GS-TARGET-CONSTANT``, ``GS-FOLDS``;
        ``GS-SOURCE-PROPERTY``: the library has another property.
    """
    settings = settings if settings is not None else SpikedSettings()
    X, y = checked(X, y)
    check_source(X, source)
    # The library is gone through once; a fold only adds what differs.
    library = Moments.of(source.X, source.y)
    components, rmsecv = settings.components, None
    if components is None:
        fold = fold_numbers(len(y), settings.folds, groups=groups, seed=seed)
        errors = _held_out_errors(X, y, library, fold, len(source), settings)
        components = simplest(errors, fold, settings.rule)
        rmsecv = float(np.sqrt(errors[components - 1].mean()))
    model = _spiked(library, X, y, len(source), settings).fit(min(components, len(source) + len(y) - 1))
    used = max(1, min(len(model.coef), model.rank))
    vip = np.asarray(model.vip(used), np.float64)
    return LinearHead(model.coef[-1].copy(), float(model.intercept[-1]), used, vip, rmsecv)


def _spiked(library: Moments, X: Float64, y: Float64, size: int, settings: SpikedSettings) -> Moments:
    weight = settings.weight if settings.weight is not None else extra_weight(size, len(y))
    return library + Moments.of(X, y, weight)


def _held_out_errors(
    X: Float64, y: Float64, library: Moments, fold: Int64, size: int, settings: SpikedSettings
) -> Float64:
    """Squared errors (A, n) of local samples by models of the library and the other folds."""
    most = min(settings.most_components, X.shape[1], size + len(y) - int(np.bincount(fold).max()) - 1)
    found = np.empty((most, len(y)))
    for one in range(int(fold.max()) + 1):
        out = fold == one
        found[:, out] = _spiked(library, X[~out], y[~out], size, settings).fit(most).predict(X[out])
    squared: Float64 = (found - y) ** 2
    return squared
