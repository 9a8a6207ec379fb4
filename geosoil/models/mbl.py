"""Memory-based learning: each spectrum is predicted by a small PLS on its neighbours in a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.kernels import nearest as kernel
from geosoil.kernels.pls1 import LANES, padded
from geosoil.models.features import array, damaged, feature_rows, number
from geosoil.prep.moments import Moments
from geosoil.prep.pls import checked, fold_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.source import Source
    from geosoil.types import Float32, Float64, Int64

__all__ = ["DISSIMILARITIES", "MblHead", "MblSettings", "fit_mbl"]

#: What near means.
DISSIMILARITIES = ("mahalanobis", "euclidean", "correlation", "cosine", "pls")
_WEIGHTS = ("equal", "tricube")
_LOCAL = ("near", "always")
#: Components whose scores are the coordinates of ``pls``.
_PLS_AXES = 10


@dataclass(frozen=True, slots=True)
class MblSettings:
    """How the neighbours are found and used.

    Attributes
    ----------
    neighbours : int, optional
        Number of neighbours, k; by default the one of `tried` that predicts held-out local samples best.
    tried : tuple of int
        See there.
    dissimilarity : str
        ``mahalanobis``: in the scores of the principal components that hold the share `variance`. ``euclidean``,
        ``correlation``, ``cosine``: of the features. ``pls``: in the scores of ten PLS components.
    variance : float
        See there.
    components : (int, int)
        Least and largest component count of the weighted average.
    weights : str
        ``equal``, or ``tricube``: near neighbours count more.
    local : str
        ``near``: a local sample is a neighbour where it is near. ``always``: all of them stand beside the k nearest of
        the library, of any spectrum.
    local_weight : float, optional
        What a local sample counts beside one of the library; by default the one of `tried_weights` that predicts
        held-out local samples best.
    tried_weights : tuple of float
        See there.
    clip : bool
        Whether predictions are held in the range of the neighbours' values.
    folds : int, optional
        Folds of the search; 10 by default, 5 below 60 local samples.
    """

    neighbours: int | None = None
    tried: tuple[int, ...] = (40, 60, 80, 100, 125, 150)
    dissimilarity: str = "mahalanobis"
    variance: float = 0.99
    components: tuple[int, int] = (3, 15)
    weights: str = "tricube"
    local: str = "always"
    local_weight: float | None = None
    tried_weights: tuple[float, ...] = (1.0, 5.0, 20.0)
    clip: bool = False
    folds: int | None = None

    def __post_init__(self) -> None:
        names = {"dissimilarity": DISSIMILARITIES, "weights": _WEIGHTS, "local": _LOCAL}
        wrong = [name for name, known in names.items() if getattr(self, name) not in known]
        wrong += [] if len(self.components) == 2 and 1 <= self.components[0] <= self.components[1] else ["components"]
        least = self.components[-1] + 2
        wrong += ["neighbours"] if self.neighbours is not None and self.neighbours < least else []
        wrong += ["tried"] if not self.tried or min(self.tried) < least else []
        wrong += [] if 0 < self.variance <= 1 else ["variance"]
        wrong += [] if self.local_weight is None or 0 < self.local_weight < np.inf else ["local_weight"]
        wrong += [] if self.tried_weights and min(self.tried_weights) > 0 else ["tried_weights"]
        if wrong:
            raise UsageError(
                f"settings of memory-based learning are out of range: {', '.join(wrong)}",
                code="GS-MBL",
                details=[f"neighbours are at least {least}, two more than the components"],
                hint="; ".join(f"{name}: {', '.join(names[name])}" for name in wrong if name in names),
            )


@dataclass(frozen=True, eq=False)
class MblHead:
    """A library with its local samples, which are the last, and the way to ask it.

    Attributes
    ----------
    memory : (M, F) float32
        Spectra, less `middle` and divided by `unit`.
    values : (M,) float64
        Response.
    middle, unit : (F,) float64, float
        See there.
    axes : (q, F) float32
        Directions of the coordinates; none where the features are the coordinates.
    local : int
        Number of local samples.
    settings : MblSettings
        `neighbours` and `local_weight` are numbers here.
    rmsecv : float or None
        Error of held-out local samples; None where both numbers were given.
    """

    memory: Float32
    values: Float64
    middle: Float64
    unit: float
    axes: Float32
    local: int
    settings: MblSettings
    rmsecv: float | None = None
    _ready: _Ready = field(init=False, repr=False)

    kind = "mbl"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ready", _Ready.of(self))

    @property
    def features(self) -> int:
        """Number of features, F."""
        return len(self.middle)

    @property
    def importance(self) -> None:
        """Every spectrum has a model of its own."""
        return

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        whole = np.isfinite(rows).all(axis=1)
        out = np.full(len(rows), np.nan)
        out[whole] = self._ready.predict(self, rows[whole], *_numbers(self.settings))
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        settings = {name: getattr(self.settings, name) for name in MblSettings.__slots__}
        meta = {
            "features": self.features,
            "samples": len(self.values),
            "axes": len(self.axes),
            "local": self.local,
            "unit": self.unit,
            "rmsecv": self.rmsecv,
            "settings": {name: list(one) if isinstance(one, tuple) else one for name, one in settings.items()},
        }
        return meta, {"memory": self.memory, "values": self.values, "middle": self.middle, "axes": self.axes}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> MblHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        features, samples, axes, local = (int(number(meta, name)) for name in ("features", "samples", "axes", "local"))
        settings = _restored(meta.get("settings"))
        unit, k = number(meta, "unit"), _numbers(settings)[0]
        if features < 1 or axes < 0 or not 0 <= local <= samples or not 0 < k <= samples or unit <= 0:
            raise damaged("the counts")
        if (axes > 0) != (settings.dissimilarity in ("mahalanobis", "pls")):
            raise damaged("the axes")
        return cls(
            array(arrays, "memory", samples, features).astype(np.float32),
            array(arrays, "values", samples),
            array(arrays, "middle", features),
            unit,
            array(arrays, "axes", axes, features).astype(np.float32),
            local,
            settings,
            None if meta.get("rmsecv") is None else number(meta, "rmsecv"),
        )


def _restored(found: object) -> MblSettings:
    if not isinstance(found, Mapping) or set(found) != set(MblSettings.__slots__):
        raise damaged("the settings")
    settings = {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
    try:
        made = MblSettings(**cast("dict[str, Any]", settings))
    except (TypeError, IndexError, UsageError) as error:
        raise damaged("the settings") from error
    if made.local_weight is None or not all(isinstance(one, int) for one in (made.neighbours, *made.components)):
        raise damaged("the settings")
    return made


def _numbers(settings: MblSettings) -> tuple[int, float]:
    """Neighbours and weight of a fitted head."""
    return settings.neighbours or 0, settings.local_weight or 0.0


@dataclass(frozen=True, eq=False)
class _Ready:
    """The memory as the kernel takes it."""

    memory: Float32
    values: Float32
    axes: Float32
    z: Float32
    centre: float
    spread: float

    @classmethod
    def of(cls, head: MblHead) -> _Ready:
        width = padded(head.features, LANES)
        memory, axes = _wide(head.memory, width), _wide(head.axes, width)
        centre, spread = float(head.values.mean()), float(head.values.std()) or 1.0
        z = np.ascontiguousarray(_coordinates(head, memory, axes).T)
        return cls(memory, ((head.values - centre) / spread).astype(np.float32), axes, z, centre, spread)

    def predict(self, head: MblHead, rows: Float64, k: int, local_weight: float) -> Float64:
        settings, spectra = head.settings, _wide((rows - head.middle) / head.unit, self.memory.shape[1])
        low, high = settings.components
        always = head.local if settings.local == "always" else 0
        count = min(k, len(self.memory) - always) + always
        high = max(1, min(high, count - 2, head.features))
        out, weight = np.empty(len(rows)), np.ones(len(self.memory), np.float32)
        weight[len(weight) - head.local :] = local_weight
        kernel.predict(
            self.memory,
            self.values,
            weight,
            self.z,
            spectra,
            _coordinates(head, spectra, self.axes),
            count,
            always,
            min(low, high),
            high,
            settings.weights == "tricube",
            settings.clip,
            out,
        )
        return out * self.spread + self.centre


def _coordinates(head: MblHead, spectra: Float32, axes: Float32) -> Float32:
    """Where spectra lie, (n, q); the rows depend on each other in no bit."""
    if len(axes):
        found = np.empty((len(spectra), len(axes)), np.float32)
        kernel.coordinates(spectra, axes, found)
        return found
    rows = spectra[:, : head.features]
    if head.settings.dissimilarity == "euclidean":
        return np.ascontiguousarray(rows)
    plain = rows * np.float64(head.unit) + head.middle
    if head.settings.dissimilarity == "correlation":
        plain -= plain.mean(axis=1, keepdims=True)
    length = np.sqrt((plain**2).sum(axis=1, keepdims=True))
    found = np.empty(plain.shape, np.float32)
    np.divide(plain, np.maximum(length, np.finfo(np.float64).tiny), out=found, casting="same_kind")
    return found


def _wide(rows: NDArray[Any], width: int) -> Float32:
    """As float32, with further columns of zeros."""
    found = np.zeros((len(rows), width), np.float32)
    found[:, : rows.shape[1]] = rows
    return found


def fit_mbl(
    X: ArrayLike,
    y: ArrayLike,
    source: Source,
    settings: MblSettings | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> MblHead:
    """Remember a library and the local samples (Ramirez-Lopez et al. 2013).

    A spectrum is predicted by the weighted average of PLS models of 3 to 15 components on its k neighbours. Where k or
    the weight of the local samples is not given, local samples are held out in turn, the library stays whole, and what
    has the least error is taken.

    Parameters
    ----------
    X, y : (n, F), (n,) array-like
        Local samples.
    source : Source
        The library, on the same features and the same response.
    settings : MblSettings, optional
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
    settings = settings if settings is not None else MblSettings()
    X, y = checked(X, y)
    check_source(X, source)
    counts = (settings.neighbours,) if settings.neighbours is not None else settings.tried
    weights = (settings.local_weight,) if settings.local_weight is not None else settings.tried_weights
    choices = [(min(k, len(source) + len(y)), float(weight)) for k in counts for weight in weights]
    choices = list(dict.fromkeys(choices))
    if len(choices) == 1:
        return _remember(X, y, source, settings, choices[0])
    errors = _held_out_errors(
        X, y, source, settings, choices, fold_numbers(len(y), settings.folds, groups=groups, seed=seed)
    )
    best = int(errors.argmin())
    return replace(_remember(X, y, source, settings, choices[best]), rmsecv=float(errors[best]))


def _held_out_errors(
    X: Float64, y: Float64, source: Source, settings: MblSettings, choices: list[tuple[int, float]], fold: Int64
) -> Float64:
    """Root mean squared error of held-out local samples for each choice of neighbours and weight."""
    found = np.empty((len(choices), len(y)))
    for one in range(int(fold.max()) + 1):
        out = fold == one
        head = _remember(X[~out], y[~out], source, settings, choices[0])
        for place, (k, weight) in enumerate(choices):
            found[place, out] = head._ready.predict(head, X[out], min(k, len(head.values)), weight)
    rmse: Float64 = np.sqrt(((found - y) ** 2).mean(axis=1))
    return rmse


def check_source(X: Float64, source: Source) -> None:
    """Whether the samples of a library can stand beside local ones; raises InputError."""
    if source.X.shape[1] != X.shape[1]:
        raise InputError(
            "library and local samples have other features",
            code="GS-SPECTRA-SHAPE",
            details=[f"found: {source.X.shape[1]} and {X.shape[1]} features"],
        )
    if not source.same:
        raise InputError(
            "the library has another property than the local samples",
            code="GS-SOURCE-PROPERTY",
            hint="lend its samples only for the property that they were measured for; a network can be tuned instead",
        )


def _remember(X: Float64, y: Float64, source: Source, settings: MblSettings, choice: tuple[int, float]) -> MblHead:
    both, values = np.vstack([source.X, X]), np.concatenate([source.y, y])
    middle = both.mean(axis=0)
    both -= middle
    unit = float(np.sqrt(np.mean(both**2))) or 1.0
    both /= unit
    axes = np.zeros((0, len(middle)))
    if settings.dissimilarity == "mahalanobis":
        directions, variances = Moments.of(both, values).axes(settings.variance)
        axes = directions / np.sqrt(variances)[:, None]
    elif settings.dissimilarity == "pls":
        moments = Moments.of(both, values)
        steps = np.diff(moments.fit(_PLS_AXES).coef, axis=0, prepend=0.0)
        size = np.sqrt(np.einsum("ij,jk,ik->i", steps, moments.xx, steps) / moments.weight)
        axes = steps[size > 0] / size[size > 0, None]
    if settings.dissimilarity in ("mahalanobis", "pls") and not len(axes):
        axes = np.zeros((1, len(middle)))  # nothing differs: all are as near
    known = replace(settings, neighbours=min(choice[0], len(values)), local_weight=choice[1])
    return MblHead(both.astype(np.float32), values, middle, unit, axes.astype(np.float32), len(y), known)
