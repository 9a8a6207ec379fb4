"""Satellite spectra made laboratory-like: fitted on pairs, applied to every spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, UsageError, listing
from geosoil.models.fusion_layers import Chains, Dense
from geosoil.models.fusion_settings import LINEAR_KINDS, FusionSettings
from geosoil.models.fusion_training import train_translator
from geosoil.models.fusion_translators import LinearTranslator, NetTranslator, Translator, restore_translator
from geosoil.models.loop import one_thread
from geosoil.models.standardise import (
    Affine,
    direct,
    orthogonal,
    partial_least_squares,
    piecewise,
    shrunken,
    weighted,
)
from geosoil.prep.split import random_folds
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = [
    "Chains",
    "FusionSettings",
    "LinearTranslator",
    "NetTranslator",
    "Translator",
    "cross_generate",
    "fit_translator",
    "restore_translator",
]

#: Fewer pairs say nothing about hundreds of bands.
_FEWEST = 10
#: Components of a kind that were not asked for.
_COMPONENTS = {"pds": 2, "epo": 2}
#: Penalty of the weighting.
_WEIGHTING = 0.01


def fit_translator(
    settings: FusionSettings,
    satellite: ArrayLike,
    laboratory: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y: ArrayLike | None = None,
    seed: int = 0,
    progress: Progress = quiet,
) -> Translator:
    """Learn to make laboratory-like spectra from satellite spectra of the same samples.

    Parameters
    ----------
    settings : FusionSettings
    satellite, laboratory : (n, p)
        Spectra of the same samples on the same bands, after preprocessing; training samples only.
    groups : (n,), optional
        Sample that a pair belongs to, where one has several pairs; searches keep them together.
    y : (n,), optional
        The target; ``seed_search`` alone looks at it.
    seed : int
        One seed gives one translator.

    Raises
    ------
    InputError
        ``GS-PAIRS-SHAPE``: the spectra are no pairs. ``GS-PAIRS-GAPS``: they have gaps. ``GS-PAIRS-FEW``: they are
        fewer than 10.
    UsageError
        ``GS-FUSION``: a search for seeds lacks the target.
    """
    near, far = _pairs(satellite, laboratory)
    names = np.arange(len(near)) if groups is None else _per_pair(groups, len(near), "groups")
    if settings.kind in LINEAR_KINDS:
        return LinearTranslator(settings.kind, _dense(_linear(settings, near, far, names, seed)))
    target = None if y is None else _per_pair(y, len(near), "values of the target").astype(np.float64)
    if settings.seed_search and target is None:
        raise UsageError("a search for seeds needs the target", code="GS-FUSION", hint="pass y, or set seed_search=0")
    with one_thread():
        return train_translator(settings, near, far, _base(settings, near, far, names), target, seed, progress)


def cross_generate(
    settings: FusionSettings,
    satellite: ArrayLike,
    laboratory: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y: ArrayLike | None = None,
    folds: int = 10,
    seed: int = 0,
    progress: Progress = quiet,
) -> Float32:
    """Generated spectra of the training pairs, each from a translator that its group had no part in.

    A translator makes spectra that it was fitted on more laboratory-like than new ones. A model that is fitted on
    those learns to trust them too far; on these it learns what generated spectra are worth.

    Parameters
    ----------
    folds : int
        At most; fewer where there are fewer groups.

    Other parameters, and errors, are those of `fit_translator`.

    Returns
    -------
    (n, p) float32
    """
    near, far = _pairs(satellite, laboratory)
    names = np.arange(len(near)) if groups is None else _per_pair(groups, len(near), "groups")
    target = None if y is None else _per_pair(y, len(near), "values of the target")
    fold = random_folds(names, min(folds, len(np.unique(names))), seed)
    found = np.empty(near.shape, np.float32)
    count = int(fold.max()) + 1
    for one in range(count):
        out = fold == one
        rest = None if target is None else target[~out]
        made = fit_translator(settings, near[~out], far[~out], groups=names[~out], y=rest, seed=seed)
        found[out] = made.generate(near[out].astype(np.float32))
        progress(one + 1, count, "generating held-out spectra")
    return found


def _linear(settings: FusionSettings, near: Float64, far: Float64, groups: Int64, seed: int) -> Affine:
    components = settings.components or _COMPONENTS.get(settings.kind, 1)
    match settings.kind:
        case "ridge":
            return shrunken(near, far, penalty=settings.penalty, groups=groups)
        case "ds":
            return direct(near, far)
        case "pds":
            return piecewise(near, far, window=settings.window, components=components)
        case "epo":
            return orthogonal(near, far, components=components)
        case "glsw":
            return weighted(near, far, penalty=settings.penalty or _WEIGHTING)
        case "pls":
            return partial_least_squares(near, far, components=settings.components, groups=groups, seed=seed)
    return np.eye(near.shape[1]), np.zeros(near.shape[1])


def _base(settings: FusionSettings, near: Float64, far: Float64, groups: Int64) -> Dense | None:
    match settings.base:
        case "input":
            return _dense((np.eye(near.shape[1]), np.zeros(near.shape[1])))
        case "linear":
            return _dense(shrunken(near, far, penalty=settings.penalty, groups=groups))
    return None


def _dense(affine: Affine) -> Dense:
    matrix, offset = affine
    return Dense(np.ascontiguousarray(matrix.T, np.float32), offset.astype(np.float32))


def _pairs(satellite: ArrayLike, laboratory: ArrayLike) -> tuple[Float64, Float64]:
    near, far = np.asarray(satellite, np.float64), np.asarray(laboratory, np.float64)
    if near.ndim != 2 or near.shape != far.shape or not near.shape[1]:
        raise InputError(
            "satellite and laboratory spectra are not paired",
            code="GS-PAIRS-SHAPE",
            details=[f"satellite: {near.shape}", f"laboratory: {far.shape}"],
            hint="give one row a sample on both sides, resampled to the same bands",
        )
    for name, rows in (("satellite", near), ("laboratory", far)):
        gaps = ~np.isfinite(rows).all(axis=1)
        if gaps.any():
            raise InputError(
                f"{int(gaps.sum())} {name} spectra have gaps",
                code="GS-PAIRS-GAPS",
                details=[f"rows: {listing(np.flatnonzero(gaps).tolist())}"],
                hint="leave these samples out, or bands that the sensor lacks",
            )
    if len(near) < _FEWEST:
        raise InputError(
            f"{len(near)} pairs of spectra are too few, at least {_FEWEST} are needed", code="GS-PAIRS-FEW"
        )
    return near, far


def _per_pair(values: ArrayLike, count: int, what: str) -> NDArray[Any]:
    found = np.asarray(values)
    if found.shape != (count,):
        raise InputError(
            f"{count} pairs of spectra, and {what} of shape {found.shape}",
            code="GS-PAIRS-SHAPE",
            hint="give one entry a pair",
        )
    return found
