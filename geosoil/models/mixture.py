"""Mixtures: several models of the same features, weighted by what they predict of samples held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.mbl import fit_mbl
from geosoil.models.mixture_head import MixtureHead
from geosoil.models.pooled import LEAST_FOR_DERIVATIVE, PooledSettings, fit_pooled
from geosoil.models.ridge import blend_weights
from geosoil.models.source import Source
from geosoil.models.spiked import fit_spiked
from geosoil.prep.pls import checked, fold_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64, Int64

__all__ = ["DEFAULT", "PARTS", "Fit", "MixtureSettings", "fit_mixture"]

#: Fits a part on local features (n, F), their response (n,), their groups (n,) and a seed.
Fit = Callable[["Float64", "Float64", "Int64", int], Head]

#: Parts that a name stands for. Those that take the library's samples need one of the same property.
PARTS = (
    "pooled",
    "pooled-derivative",
    "pooled-snv",
    "pooled-snv-derivative",
    "own",
    "plsr",
    "spiked",
    "neighbours",
)
#: What is mixed unasked; see `docs/transfer.md`.
DEFAULT = ("pooled", "pooled-derivative", "pooled-snv", "pooled-snv-derivative")
_SAME = frozenset({"spiked", "neighbours"})
#: Parts that need spectra, not a few features.
_ALONG = frozenset({"pooled-derivative", "pooled-snv", "pooled-snv-derivative"})
_POOLED = {
    "pooled": PooledSettings(),
    "pooled-derivative": PooledSettings(view="derivative"),
    "pooled-snv": PooledSettings(normalised=True),
    "pooled-snv-derivative": PooledSettings(view="derivative", normalised=True),
}


@dataclass(frozen=True, slots=True)
class MixtureSettings:
    """What is mixed, and how.

    Attributes
    ----------
    parts : tuple of str
        Names of `PARTS`. ``pooled``: partial pooling of library and local samples (`models.pooled`);
        ``derivative``: of the derivative along the bands; ``snv``: of spectra normalised one by one. ``own``: partial
        pooling without the library's values. ``plsr``: local PLS. ``spiked``, ``neighbours``: see there. Features are
        best given as absorbance, since the parts normalise themselves.
    evenness : float
        How strongly weights are held at equal ones; see `models.ridge.blend_weights`. The errors of few samples are too
        uncertain to choose by: with 0 the mixture does worse than with equal weights.
    folds : int, optional
        Folds for parts that do not know their held-out predictions themselves; 10 by default, 5 below 60 samples.
    """

    parts: tuple[str, ...] = DEFAULT
    evenness: float = 0.5
    folds: int | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.parts if name not in PARTS]
        if unknown or len(set(self.parts)) < len(self.parts):
            raise UsageError(
                f"parts of a mixture are not known, or twice there: {', '.join(unknown or self.parts)}",
                code="GS-MIXTURE",
                hint=f"take some of {', '.join(PARTS)}",
            )
        if not self.evenness >= 0:
            raise UsageError(f"evenness is {self.evenness:g}, below 0", code="GS-MIXTURE")


def fit_mixture(
    X: ArrayLike,
    y: ArrayLike,
    source: Source | None = None,
    settings: MixtureSettings | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
    *,
    candidates: Mapping[str, Fit] | None = None,
) -> MixtureHead:
    """Fit several models and mix them; weights come from predictions of local samples held out of each.

    Parameters
    ----------
    X, y : (n, F), (n,) array-like
        Local features and response.
    source : Source, optional
        The library. Parts that need its samples are left out where there is none, or where it has another property.
    settings : MixtureSettings, optional
        See there.
    groups : (n,) array-like, optional
        Samples of one group are held out together.
    seed : int
        Of folds and draws.
    candidates : mapping of str to callable, optional
        Further parts by name, such as tuned networks. What such a function fits has to see nothing of
        samples that it is not given.

    Raises
    ------
    InputError
        As the parts do; ``GS-MIXTURE-EMPTY``: no part can be fitted on what is given.

    References
    ----------
    Breiman 1996, for weights from held-out predictions.
    """
    settings = settings if settings is not None else MixtureSettings()
    X, y = checked(X, y)
    members = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    fits = _named(source, settings.parts, X.shape[1]) | dict(candidates or {})
    if not fits:
        raise InputError(
            "no part of the mixture can be fitted without a library of the same property",
            code="GS-MIXTURE-EMPTY",
            hint="add the part 'plsr' or 'own', or give a library",
        )
    fold = fold_numbers(len(y), settings.folds, groups=members, seed=seed)
    parts = {name: fit(X, y, members, seed) for name, fit in fits.items()}
    held = np.column_stack([_held_out(part, fits[name], X, y, members, fold, seed) for name, part in parts.items()])
    weights = blend_weights(held, y, settings.evenness) if len(parts) > 1 else np.ones(1)
    errors = np.sqrt(((held - y[:, None]) ** 2).mean(axis=0))
    error = float(np.sqrt(((held @ weights - y) ** 2).mean()))
    return MixtureHead(tuple(parts), tuple(parts.values()), weights, error, errors)


def _held_out(part: Head, fit: Fit, X: Float64, y: Float64, groups: Int64, fold: Int64, seed: int) -> Float64:
    """Predictions of samples by models without them: the part's own where it knows them, else by folds."""
    known = getattr(part, "held_out", None)
    if isinstance(known, np.ndarray) and known.shape == y.shape:
        return known
    found = np.empty(len(y))
    for one in range(int(fold.max()) + 1):
        out = fold == one
        found[out] = fit(X[~out], y[~out], groups[~out], seed).predict(X[out])
    return found


def _named(source: Source | None, names: tuple[str, ...], features: int) -> dict[str, Fit]:
    """How the named parts are fitted; without those that this library, or these features, cannot give."""
    lent = source if source is not None and len(source) else None
    fits: dict[str, Fit] = {}
    for name in names:
        if name in _SAME and (lent is None or not lent.same):
            continue
        if name in _ALONG and features < LEAST_FOR_DERIVATIVE:
            continue
        fits[name] = _fit_of(name, lent)
    return fits


def _fit_of(name: str, source: Source | None) -> Fit:
    """How a named part is fitted."""
    if name in _POOLED:
        pooled = _POOLED[name]
        return lambda X, y, groups, seed: fit_pooled(X, y, source, pooled, groups, seed)
    if name == "own":
        spectra = None if source is None else replace(source, same=False)
        return lambda X, y, groups, seed: fit_pooled(X, y, spectra, None, groups, seed)
    if name == "plsr" or source is None:
        return _fit_plsr
    if name == "spiked":
        return lambda X, y, groups, seed: fit_spiked(X, y, source, None, groups, seed)
    return lambda X, y, groups, seed: fit_mbl(X, y, source, None, groups, seed)


def _fit_plsr(X: Float64, y: Float64, groups: Int64, seed: int) -> Head:
    return fit_head(X, y, HeadSettings("plsr"), groups=groups, seed=seed)
