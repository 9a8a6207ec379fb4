"""Competitive adaptive reweighted sampling: few bands that a PLS model does well with (Li, Liang, Xu & Cao 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.kernels import pls as kernel

from .pls import checked, fit_pls, fold_numbers, held_out_predictions, simplest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Bool, Float64, Int64

__all__ = ["Cars", "CarsPath", "Selection", "in_words", "select"]


@dataclass(frozen=True, slots=True)
class Cars:
    """Settings of the selection.

    Attributes
    ----------
    runs : int
        Rounds of a path, N; the share of bands left falls exponentially from 1 to 2/p.
    sample_ratio : float
        Share of the samples that a stochastic round fits on.
    components : int
        Largest number of components of its PLS models.
    folds : int
        Folds of the cross-validation, dealt out along the sorted response.
    mode : str
        ``stochastic``: as published. ``deterministic``: all samples in each round and no weighted sampling, as the
        simplified algorithm of libPLS.
    repeats : int
        Stochastic paths; one path's choice is unstable.
    combine : str
        What several paths give. ``frequency``: the bands that were selected in at least a share of the paths; the
        share, and so the set, is the one of least cross-validated error on the samples given. ``best``: the best path's
        choice.
    rule : str
        ``min``: the round of least error, the later one in a tie. ``one_se``: the fewest bands within one standard
        error of it. The same holds for component counts.
    rounding : str
        How the number of bands kept is made whole: ``ceil``, ``round`` or ``floor``.
    offset : int
        1: the cut after round i keeps the share of round i + 1, as libPLS. 0: that of round i.
    scale : bool
        Whether bands are divided by their standard deviation.
    """

    runs: int = 50
    sample_ratio: float = 0.9
    components: int = 10
    folds: int = 5
    mode: str = "stochastic"
    repeats: int = 1
    combine: str = "frequency"
    rule: str = "min"
    rounding: str = "ceil"
    offset: int = 1
    scale: bool = False

    def __post_init__(self) -> None:
        choices = {
            "mode": ("stochastic", "deterministic"),
            "combine": ("frequency", "best"),
            "rule": ("min", "one_se"),
            "rounding": ("ceil", "round", "floor"),
            "offset": (0, 1),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"CARS setting {name} = {getattr(self, name)!r} is not known",
                    code="GS-CARS",
                    hint=f"take one of {', '.join(str(one) for one in known)}",
                )
        if self.runs < 2 or self.components < 1 or self.folds < 2 or self.repeats < 1 or not 0 < self.sample_ratio <= 1:
            raise UsageError(
                "CARS settings are out of range",
                code="GS-CARS",
                details=["expected: runs, folds at least 2; components, repeats at least 1; sample_ratio in (0, 1]"],
            )


def in_words(cars: Mapping[str, Any]) -> str:
    """Settings as a model keeps them, in words.

    >>> in_words({"mode": "stochastic", "repeats": 20, "runs": 50})
    'CARS, 20 paths of 50 rounds'
    >>> in_words({"mode": "deterministic", "repeats": 1, "runs": 50})
    'CARS, one path of 50 rounds without chance'
    """
    if cars.get("mode") == "deterministic":
        return f"CARS, one path of {cars['runs']} rounds without chance"
    return f"CARS, {cars['repeats']} path{'s' if cars['repeats'] > 1 else ''} of {cars['runs']} rounds"


@dataclass(frozen=True, eq=False)
class CarsPath:
    """What each round of each path looked at.

    Attributes
    ----------
    bands : (repeats, runs) int64
        Number of bands.
    rmsecv : (repeats, runs) float64
        Cross-validated error of these bands.
    components : (repeats, runs) int64
        Component count of that error.
    """

    bands: Int64
    rmsecv: Float64
    components: Int64


@dataclass(frozen=True, eq=False)
class Selection:
    """The bands that were selected, and the model on them.

    Attributes
    ----------
    support : (p,) bool
        Which bands.
    run, repeat : int
        Round of the best path, from 1, and its place, from 0.
    path : CarsPath
        All rounds.
    frequency : (p,) float64
        Share of the paths that selected each band.
    threshold : float
        Least frequency of a selected band; 0 where the best path alone decided.
    rmsecv, components : float, int
        Cross-validated error of the selected bands, and the component count of it. The bands were chosen on the same
        samples, so the error is too small: to judge a selection, hold samples out before it.
    coefficients : (p,) float64
        PLS coefficients of all samples, 0 for bands that were not selected.
    intercept : float
        What is added.
    """

    support: Bool
    run: int
    repeat: int
    path: CarsPath
    frequency: Float64
    threshold: float
    rmsecv: float
    components: int
    coefficients: Float64
    intercept: float


@dataclass(frozen=True, eq=False)
class _Task:
    """Data and folds that all rounds share."""

    X: Float64
    y: Float64
    fold: Int64
    settings: Cars

    def judge(self, columns: Int64) -> tuple[Float64, int]:
        """Squared errors (n,) of held-out samples on some bands, and the component count that they belong to."""
        settings = self.settings
        X = np.ascontiguousarray(self.X[:, columns])
        errors = (held_out_predictions(X, self.y, self.fold, settings.components, scale=settings.scale) - self.y) ** 2
        best = simplest(errors, self.fold, settings.rule)
        return errors[best - 1], best


def select(
    X: ArrayLike, y: ArrayLike, settings: Cars | None = None, seed: int = 0, *, groups: ArrayLike | None = None
) -> Selection:
    """Select bands.

    Parameters
    ----------
    X : (n, p) array-like
        Spectra.
    y : (n,) array-like
        Response.
    settings : Cars, optional
        See there.
    seed : int
        Of the stochastic mode.
    groups : (n,) array-like, optional
        Samples of one group share a fold, and are drawn together.

    Raises
    ------
    InputError
        ``GS-CARS``: fewer than three bands; and what `pls.checked` and `pls.fold_numbers` raise.
    """
    settings = settings if settings is not None else Cars()
    X, y = checked(X, y)
    n, p = X.shape
    if p < 3:
        raise InputError(f"{p} bands are too few to select from", code="GS-CARS", hint="give at least three")
    fold = fold_numbers(n, settings.folds, order="interleaved", groups=groups, along=y)
    task = _Task(X, y, fold, settings)
    members = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    repeats = settings.repeats if settings.mode == "stochastic" else 1
    chosen = np.zeros((repeats, p), np.bool_)
    runs = np.zeros(repeats, np.int64)
    rows = []
    for repeat, stream in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        sets = _path(task, members, np.random.default_rng(stream))
        row, errors = _judged(task, sets)
        runs[repeat] = _best_run(row, errors, fold, settings.rule)
        chosen[repeat, sets[runs[repeat]]] = True
        rows.append(row)
    path = CarsPath(
        np.array([row.bands for row in rows]),
        np.array([row.rmsecv for row in rows]),
        np.array([row.components for row in rows]),
    )
    best = int(np.argmin(path.rmsecv[np.arange(repeats), runs]))
    support, threshold = chosen[best], 0.0
    frequency = chosen.mean(axis=0)
    if repeats > 1 and settings.combine == "frequency":
        support, threshold = _frequent(task, frequency)
    errors, components = task.judge(np.flatnonzero(support))
    model = fit_pls(X[:, support], y, components, scale=settings.scale)
    coefficients = np.zeros(p)
    coefficients[support] = model.coef[-1]
    return Selection(
        support, int(runs[best]) + 1, best, path, frequency, threshold,
        float(np.sqrt(errors.mean())), components, coefficients, float(model.intercept[-1]),
    )  # fmt: skip


def _shares(p: int, settings: Cars) -> Int64:
    """Bands that the cut after each round keeps, (runs - 1,)."""
    decay = np.log(p / 2) / (settings.runs - 1)
    place = np.arange(1, settings.runs) + settings.offset
    kept = p * np.exp(decay) * np.exp(-decay * place)
    # Rounding errors must not add a band where the product is whole.
    whole = {"ceil": np.ceil(kept - 1e-9), "round": np.round(kept), "floor": np.floor(kept + 1e-9)}[settings.rounding]
    counts: Int64 = np.clip(whole, 2, p).astype(np.int64)
    return counts


def _path(task: _Task, members: Int64, rng: np.random.Generator) -> list[Int64]:
    """The band sets of all rounds."""
    settings, p = task.settings, task.X.shape[1]
    stochastic = settings.mode == "stochastic"
    sets = [np.arange(p)]
    for keep in _shares(p, settings):
        columns = sets[-1]
        rows = _draw(members, settings.sample_ratio, rng) if stochastic else np.arange(len(task.y))
        weight = np.abs(_weights(task, rows, columns))
        # The largest first; of equal ones the first band.
        kept = np.argsort(-weight, kind="stable")[:keep]
        if stochastic and weight[kept].sum() > 0:
            drawn = rng.choice(len(kept), size=p, p=weight[kept] / weight[kept].sum())
            kept = kept[np.unique(drawn)]
        sets.append(np.sort(columns[kept]))
    return sets


def _draw(members: Int64, ratio: float, rng: np.random.Generator) -> Int64:
    """Rows of a share of the groups, in order."""
    count = int(members.max()) + 1
    size = min(count, max(2, round(ratio * count)))
    taken = np.zeros(count, np.bool_)
    taken[rng.choice(count, size=size, replace=False)] = True
    rows: Int64 = np.flatnonzero(taken[members])
    return rows


def _weights(task: _Task, rows: Int64, columns: Int64) -> Float64:
    """Coefficients of a PLS with as many components as are allowed."""
    most = max(1, min(task.settings.components, len(columns), len(rows) - 1))
    out = np.empty(len(columns))
    if not task.settings.scale:
        kernel.coefficients(task.X, task.y, rows, columns, most, out)
        return out
    X = np.ascontiguousarray(task.X[np.ix_(rows, columns)])
    spread = X.std(axis=0, ddof=1)
    X /= np.where(spread > 0, spread, 1.0)
    kernel.coefficients(X, task.y[rows], np.arange(len(rows)), np.arange(len(columns)), most, out)
    return out


@dataclass(frozen=True, eq=False)
class _Row:
    """One path, judged."""

    bands: Int64
    rmsecv: Float64
    components: Int64


def _judged(task: _Task, sets: list[Int64]) -> tuple[_Row, Float64]:
    """The rounds of one path, and the squared errors (runs, n) behind them."""
    found = [task.judge(columns) for columns in sets]
    errors = np.array([one for one, _ in found])
    row = _Row(
        np.array([len(columns) for columns in sets]),
        np.sqrt(errors.mean(axis=1)),
        np.array([count for _, count in found]),
    )
    return row, errors


def _best_run(row: _Row, errors: Float64, fold: Int64, rule: str) -> int:
    """The round to take, from 0."""
    # Turned round, the sets grow: ties and the tolerance then go to fewer bands, and of equal sets to the later round.
    return len(row.rmsecv) - simplest(errors[::-1], fold, rule)


def _frequent(task: _Task, frequency: Float64) -> tuple[Bool, float]:
    """The bands of at least the frequency whose set has the least cross-validated error; of equal ones the fewest."""
    levels = np.unique(frequency[frequency > 0])[::-1]
    errors = np.array([task.judge(np.flatnonzero(frequency >= level))[0] for level in levels])
    level = float(levels[simplest(errors, task.fold, task.settings.rule) - 1])
    return frequency >= level, level
