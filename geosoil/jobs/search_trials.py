"""Trials of a search, trained in this process or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from time import process_time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import wilcoxon

from geosoil.errors import ModelError
from geosoil.jobs.pool import process_pool
from geosoil.models.conv_head import CnnSettings
from geosoil.models.fold_training import train_folds

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["Outcome", "State", "Stopping", "Task", "Workers", "train_trial", "workers", "worse"]

State = Literal["complete", "stopped", "diverged"]

#: Samples that a signed-rank test needs to tell anything.
_LEAST = 6


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a trial ends early: the share of folds that come first, and the level of the test on their errors."""

    first: float = 0.3
    level: float = 0.1


@dataclass(frozen=True, eq=False)
class Task:
    """What every trial is trained on."""

    X: Float64
    y: Float64
    fold: Int64
    groups: Any
    stopping: Stopping | None
    seed: int
    device: str

    def stages(self, reference: Float64 | None) -> list[list[int]]:
        """Folds that are trained together: the first ones apart where there is something to compare with."""
        every = np.unique(self.fold[self.fold >= 0]).tolist()
        if self.stopping is None or reference is None:
            return [every]
        count = min(max(1, round(self.stopping.first * len(every))), len(every) - 1)
        return [every[:count], every[count:]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial gave.

    Attributes
    ----------
    state : str
        ``complete``; ``stopped`` after the first folds; ``diverged``.
    rmse : float
        Of the samples held out so far.
    squared : list
        Their squared errors; None for samples that were not reached.
    epochs : float
        Mean of the folds' best epochs.
    seconds : float
        Of one core.
    """

    state: State
    rmse: float
    squared: list[float | None]
    epochs: float
    seconds: float

    @property
    def errors(self) -> Float64:
        """Squared errors, NaN where there are none."""
        return np.array([np.nan if one is None else one for one in self.squared])


def train_trial(task: Task, meta: dict[str, Any], reference: Float64 | None) -> Outcome:
    """Train the folds of one trial; where the first are clearly worse than the reference, no others."""
    start, settings = process_time(), CnnSettings.from_meta(meta)
    squared, epochs = np.full(len(task.y), np.nan), list[int]()
    state: State = "complete"
    try:
        stages = task.stages(reference)
        for only in stages:
            error, best = _folds(task, settings, only)
            squared = np.where(np.isfinite(error), error, squared)
            epochs += best
            if only is not stages[-1] and task.stopping and worse(squared, reference, task.stopping.level):
                state = "stopped"
                break
    except ModelError as error:
        if error.code != "GS-TRAIN-DIVERGED":
            raise
        return Outcome("diverged", float("inf"), [None] * len(task.y), 0.0, process_time() - start)
    values = [float(one) if np.isfinite(one) else None for one in squared]
    return Outcome(state, float(np.sqrt(np.nanmean(squared))), values, float(np.mean(epochs)), process_time() - start)


def _folds(task: Task, settings: CnnSettings, only: list[int]) -> tuple[Float64, list[int]]:
    """Squared errors (n,) of what these folds hold out, and their best epochs."""
    fit = train_folds(
        settings.spec(task.X.shape[1]),
        task.X,
        task.y,
        task.fold,
        settings.schedule,
        seed=task.seed,
        only=only,
        groups=task.groups,
        device=task.device,
    )
    return (fit.predictions - task.y) ** 2, fit.best_epoch.tolist()


def worse(squared: Float64, reference: Float64 | None, level: float) -> bool:
    """Whether errors of the same samples are larger: their mean square, and by a signed-rank test (Wilcoxon 1945)."""
    if reference is None:
        return False
    both = np.isfinite(squared) & np.isfinite(reference)
    ours, theirs = np.sqrt(squared[both]), np.sqrt(reference[both])
    if len(ours) < _LEAST or np.mean(ours**2) <= np.mean(theirs**2):
        return False
    return bool(wilcoxon(ours, theirs, alternative="greater").pvalue < level)


class Workers:
    """Trains trials in this process, or in several that keep the data."""

    def __init__(self, task: Task, pool: ProcessPoolExecutor | None = None) -> None:
        self.task, self.pool = task, pool

    def run(self, trials: Sequence[tuple[dict[str, Any], Float64 | None]]) -> Iterator[tuple[int, Outcome]]:
        """Place and outcome of each trial, as they end."""
        if self.pool is None:
            for place, (meta, reference) in enumerate(trials):
                yield place, train_trial(self.task, meta, reference)
            return
        futures: dict[Future[Outcome], int] = {
            self.pool.submit(_train_here, meta, reference): place for place, (meta, reference) in enumerate(trials)
        }
        for future in as_completed(futures):
            yield futures[future], future.result()


#: The data, in a process of the pool.
_here: list[Task] = []


def _begin(task: Task) -> None:
    _here[:] = [task]


def _train_here(meta: dict[str, Any], reference: Float64 | None) -> Outcome:
    return train_trial(_here[0], meta, reference)


@contextmanager
def workers(task: Task, count: int) -> Iterator[Workers]:
    """This process for one worker or a GPU, and otherwise a pool of so many."""
    if count <= 1 or task.device != "cpu":
        yield Workers(task)
        return
    with process_pool(count, _begin, (task,)) as pool:
        yield Workers(task, pool)
