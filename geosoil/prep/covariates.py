"""Which covariates to use: filter, redundancy, and a stepwise search (Han et al. 2025, section 2.2).

Everything here is fitted on what the caller gives, so it belongs inside a training fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from geosoil.errors import InputError
from geosoil.prep.split import random_folds
from geosoil.types import Layers

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["Selection", "forest_importance", "select_covariates"]

#: ``evaluate(columns)`` to a cross-validated RMSE on the transformed scale.
Evaluate: TypeAlias = "Callable[[Int64], float]"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection kept, and why it dropped the rest.

    Attributes
    ----------
    kept : tuple of str
        Bands to use, in the scene's order.
    dropped : mapping
        Band to reason, with the numbers.
    ranking : tuple of (str, float)
        Bands that passed the filters with their correlation to the target, best first.
    curve : tuple of (int, float)
        Numbers of bands and cross-validated RMSE of the stepwise search; empty without a search.
    """

    kept: tuple[str, ...]
    dropped: Mapping[str, str]
    ranking: tuple[tuple[str, float], ...] = ()
    curve: tuple[tuple[int, float], ...] = ()


def select_covariates(
    centre: Float32 | Float64,
    names: Sequence[str],
    layers: Layers,
    *,
    classes: Sequence[str] = (),
    min_correlation: float = 0.05,
    max_correlation: float = 0.8,
    step: int = 10,
    most: int | None = None,
    seed: int = 0,
    evaluate: Evaluate | None = None,
) -> Selection:
    """Select covariates.

    1. Bands that are constant at the profiles are dropped.
    2. Bands whose correlation with the target stays below `min_correlation` at every depth are dropped. The strength
       of a band is its largest \\|r\\| over the depths; a class band's is its correlation ratio.
    3. Of two quantities with \\|r\\| above `max_correlation` the one weaker in the target is dropped.
    4. With more than `step` left, the best by rank are taken in batches of `step`, and the number with the least
       cross-validated RMSE is kept.

    Parameters
    ----------
    centre : (P, B) float32
        Values at the training profiles, no NaN.
    names : sequence of str
        Band names.
    layers : Layers
        Observed layers of these profiles, transformed scale.
    classes : sequence of str
        Names of class bands.
    step : int
        Batch of the stepwise search; 0 for none.
    most : int, optional
        Keep at most this many.
    evaluate : callable, optional
        Columns to cross-validated RMSE; by default that of a small random forest on the layers, folds by profile.

    Raises
    ------
    InputError
        ``GS-COVARIATES-CONSTANT``: every band is constant.
    """
    values = np.asarray(centre, np.float64)
    dropped: dict[str, str] = {}
    varying = [place for place in range(len(names)) if np.ptp(values[:, place]) > 0]
    dropped.update({name: "constant at the profiles" for place, name in enumerate(names) if place not in varying})
    if not varying:
        raise InputError(
            "every covariate is constant at the profiles",
            code="GS-COVARIATES-CONSTANT",
            details=[f"{name} = {values[0, place]:g}" for place, name in enumerate(names[:10])],
            hint="check that the samples lie where the covariates vary",
        )
    is_class = np.array([name in classes for name in names])
    strength = _strengths(values, layers, is_class)
    order = sorted(varying, key=lambda place: (-strength[place], place))
    strong = [place for place in order if strength[place] >= min_correlation] or order[:1]
    for place in order:
        if place not in strong:
            dropped[names[place]] = f"|r| with the target {strength[place]:.3f} < {min_correlation:g}"
    ranked = _not_redundant(values, names, strong, is_class, max_correlation, dropped)
    curve: tuple[tuple[int, float], ...] = ()
    count = len(ranked)
    if step and len(ranked) > step:
        measure = evaluate or _forest_rmse(values, layers, seed)
        counts = [*range(step, len(ranked), step), len(ranked)]
        curve = tuple((number, measure(np.array(ranked[:number]))) for number in counts)
        count = min(curve, key=lambda point: point[1])[0]
        dropped.update({names[p]: f"rank {rank} is beyond the best {count}" for rank, p in _beyond(ranked, count)})
    if most is not None and count > most:
        dropped.update({names[p]: f"rank {rank} is beyond {most}" for rank, p in _beyond(ranked[:count], most)})
        count = most
    kept = sorted(ranked[:count])
    return Selection(
        kept=tuple(names[place] for place in kept),
        dropped=dropped,
        ranking=tuple((names[place], float(strength[place])) for place in ranked),
        curve=curve,
    )


def _beyond(ranked: Sequence[int], count: int) -> list[tuple[int, int]]:
    return [(rank, place) for rank, place in enumerate(ranked, 1) if rank > count]


def _strengths(centre: Float64, layers: Layers, is_class: np.ndarray) -> Float64:
    """Largest correlation over the depths, for each band."""
    best = np.zeros(centre.shape[1])
    for target in np.unique(layers.target):
        here = layers.target == target
        if here.sum() < 3:
            continue
        x, y = centre[layers.profile[here]], layers.value[here]
        for place in range(centre.shape[1]):
            measure = _correlation_ratio if is_class[place] else _correlation
            best[place] = max(best[place], measure(x[:, place], y))
    return best


def _correlation(x: Float64, y: Float64) -> float:
    x, y = x - x.mean(), y - y.mean()
    below = float(np.sqrt((x @ x) * (y @ y)))
    return abs(float(x @ y)) / below if below > 0 else 0.0


def _correlation_ratio(codes: Float64, y: Float64) -> float:
    """Eta: root of the share of variance between classes."""
    _, place = np.unique(codes, return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, weights=y) / counts
    total = float(((y - y.mean()) ** 2).sum())
    return float(np.sqrt((counts * (means - y.mean()) ** 2).sum() / total)) if total > 0 else 0.0


def _not_redundant(
    centre: Float64,
    names: Sequence[str],
    ranked: Sequence[int],
    is_class: np.ndarray,
    most: float,
    dropped: dict[str, str],
) -> list[int]:
    """Of each too similar pair the one that ranks higher; class bands stand apart."""
    kept: list[int] = []
    for place in ranked:
        if is_class[place]:
            kept.append(place)
            continue
        for other in kept:
            if is_class[other]:
                continue
            r = _correlation(centre[:, place], centre[:, other])
            if r > most:
                dropped[names[place]] = f"|r| with {names[other]} {r:.3f} > {most:g}"
                break
        else:
            kept.append(place)
    return kept


def _forest_rmse(centre: Float64, layers: Layers, seed: int, folds: int = 5) -> Evaluate:
    """Cross-validated RMSE of a small forest with depth as an input, folds by profile."""
    depth = layers.depth_cm[:, None]
    groups = random_folds(layers.profile, min(folds, len(np.unique(layers.profile))), seed)

    def measure(columns: Int64) -> float:
        x = np.hstack([centre[layers.profile][:, columns], depth])
        squares = 0.0
        for fold in range(groups.max() + 1):
            out = groups == fold
            forest = _forest(seed).fit(x[~out], layers.value[~out])
            squares += float(((forest.predict(x[out]) - layers.value[out]) ** 2).sum())
        return float(np.sqrt(squares / len(layers)))

    return measure


def _forest(seed: int) -> RandomForestRegressor:
    return RandomForestRegressor(100, min_samples_leaf=5, max_features=1 / 3, random_state=seed, n_jobs=1)


def forest_importance(centre: Float32, layers: Layers, seed: int = 0) -> Float64:
    """Importance of each band in a random forest with depth as an input; sums to 1 without the depth's own.

    Mean decrease in impurity (Breiman 2001), (B,) float64.
    """
    x = np.hstack([np.asarray(centre, np.float64)[layers.profile], layers.depth_cm[:, None]])
    importance = np.asarray(_forest(seed).fit(x, layers.value).feature_importances_, np.float64)[:-1]
    total = float(importance.sum())
    return importance / total if total > 0 else importance
