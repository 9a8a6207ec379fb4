"""The automated 1D-CNN: optuna looks for the shape and the training that cross-validate best (Shen et al. 2022)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.io.atomic import replacing
from geosoil.jobs.pool import ended_by_signals
from geosoil.jobs.search_record import JOURNAL, Record, fingerprint, recorded
from geosoil.jobs.search_space import Space
from geosoil.jobs.search_trials import Outcome, State, Stopping, Task, Workers, workers
from geosoil.models.conv_head import CnnSettings
from geosoil.models.loop import device_of
from geosoil.prep.pls import checked, fold_numbers
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64, Int64

__all__ = ["SEARCH_FILES", "SearchResult", "SearchSettings", "Trial", "search"]

_BEST = "best.json"
#: What a search leaves in its folder.
SEARCH_FILES = (JOURNAL, _BEST)

#: Random trials before the sampler learns.
_STARTUP = 16
#: Random draws without a shape that can be trained, after which the space counts as empty.
_MOST_DRAWS = 300


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How to search.

    Attributes
    ----------
    trials : int
        Networks that are trained. Shapes that cannot be, or cost too much, are drawn anew and do not count.
    folds : int
        Of the cross-validation.
    together : int
        Trials that are drawn before the results of any of them are known. The answer depends on it, and not on the
        number of workers; so it is the most workers that have work.
    stop : bool
        Whether trials that the first folds show to be worse than the best end there.
    first : float
        Share of the folds that are trained before that decision.
    level : float
        Of the one-sided Wilcoxon test on the errors of the samples that these folds hold out.
    most_multiplications, most_weights : int
        Larger networks are not tried: of one spectrum, of one network. The defaults keep one epoch of ten folds of 130
        samples below about 1.5 seconds of one core; nine of ten shapes of the table are smaller.
    epochs : (int, int)
        Range of the most epochs, which is searched too.
    patience : int
        Epochs without a better error after which a fold stops.
    watch : str
        As `FoldSchedule` has it; ``held-out`` is the published way, and its errors are too small.
    """

    trials: int = 100
    folds: int = 10
    together: int = 8
    stop: bool = True
    first: float = 0.3
    level: float = 0.1
    most_multiplications: int = 5_000_000
    most_weights: int = 2_000_000
    epochs: tuple[int, int] = (50, 500)
    patience: int = 30
    watch: Literal["part", "held-out"] = "part"

    def __post_init__(self) -> None:
        counts = ("trials", "together", "most_multiplications", "most_weights", "patience")
        wrong = [name for name in counts if getattr(self, name) < 1]
        wrong += ["folds"] if self.folds < 2 else []
        wrong += ["epochs"] if not 1 <= self.epochs[0] <= self.epochs[1] else []
        wrong += [name for name in ("first", "level") if not 0 < getattr(self, name) < 1]
        if wrong:
            raise UsageError(f"search settings are out of range: {', '.join(wrong)}", code="GS-SEARCH-SETTINGS")

    @classmethod
    def quick(cls) -> SearchSettings:
        """Twenty trials: enough to see whether a network is worth it."""
        return cls(trials=20)


@dataclass(frozen=True, slots=True)
class Trial:
    """One network that was tried.

    Attributes
    ----------
    number : int
        From 0, in the order in which they were drawn.
    state : str
        ``complete``; ``stopped`` after the first folds; ``diverged``.
    rmse : float
        Of all held-out samples; of a stopped trial those of the first folds. Infinite where it diverged.
    params : dict
        As the search space names them.
    epochs : float
        Mean of the folds' best epochs.
    seconds : float
        Of one core.
    """

    number: int
    state: State
    rmse: float
    params: dict[str, Any]
    epochs: float
    seconds: float


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    best : CnnSettings
        Shape and training of the best trial; `models.conv_head.fit_cnn` takes it.
    rmse : float
        Cross-validated error of the best trial. The best of many is too small as a score: judge on other samples.
    trials : tuple of Trial
        All that were trained, in the order drawn.
    impossible, large : int
        Shapes that were drawn and could not be, and that cost too much.
    importance : dict
        Share of the variance of the error that each setting explains (fANOVA, Hutter et al. 2014), of the settings
        that all trials have; empty where too few were trained.
    """

    best: CnnSettings
    rmse: float
    trials: tuple[Trial, ...]
    impossible: int
    large: int
    importance: dict[str, float] = field(default_factory=dict)

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "schema": 1,
            "best": self.best.to_meta(),
            "rmse": self.rmse,
            "trials": [{**asdict(one), "rmse": one.rmse if np.isfinite(one.rmse) else None} for one in self.trials],
            "impossible": self.impossible,
            "large": self.large,
            "importance": self.importance,
        }

    def save(self, path: PathLike) -> None:
        """Write it as JSON; `CnnSettings.load` reads the best settings from such a file."""
        with replacing(path) as part:
            part.write_text(json.dumps(self.to_meta(), indent=1), encoding="utf-8")


def search(
    X: ArrayLike,
    y: ArrayLike,
    settings: SearchSettings | None = None,
    *,
    folds: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
    folder: PathLike | None = None,
    num_workers: int = 1,
    device: str = "auto",
    progress: Progress = quiet,
) -> SearchResult:
    """Look for the 1D-CNN with the least cross-validated error.

    Optuna's tree-structured Parzen estimator (multivariate, in groups) draws `together` trials at a time; the folds of
    a trial are trained in one pass. The first trials are the default network and a published one, so the answer is
    never worse than these. Everything that is drawn follows from the seed and the results of the draws before. So on
    the CPU the same call gives the same answer, with any number of workers, and also after it was killed: with a folder
    it goes on where it was.

    Parameters
    ----------
    X : (n, F) array-like
        Features.
    y : (n,) array-like
        Response on the scale of the network, such as a logarithm.
    settings : SearchSettings, optional
        100 trials, 10 folds.
    folds : (n,) array-like of int, optional
        Fold that holds each sample out, -1 for samples that are always trained on; instead of `settings.folds`.
    groups : (n,) array-like, optional
        Samples of one group share a fold.
    folder : path, optional
        Where `trials.log` (optuna's journal) and `best.json` are kept.
    num_workers : int
        Processes, of one thread each. On a GPU trials follow one another.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called after each trial.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``, ``GS-TARGET-CONSTANT``, ``GS-FOLDS``, ``GS-SAMPLES-FEW``;
        ``GS-SEARCH-SPACE``: no shape of the space fits the spectra; ``GS-SEARCH-OTHER``: the folder holds another
        search.
    InterruptedRunError
        ``GS-INTERRUPTED``, ``GS-TERMINATED``: a signal ended it; in a folder, finished trials are kept.
    """
    settings = settings if settings is not None else SearchSettings()
    X, y = checked(X, y)
    fold = fold_numbers(len(y), settings.folds, groups=groups, seed=seed) if folds is None else _checked_folds(folds, y)
    place = device_of(device).type
    stopping = Stopping(settings.first, settings.level) if settings.stop else None
    task = Task(X, y, fold, None if groups is None else np.asarray(groups), stopping, seed, place)
    space = _space(task, settings)
    key = fingerprint(_facts(settings, seed, place), X, y, fold, *([] if groups is None else [np.asarray(groups)]))
    _check_space(space)
    fate = ("nothing was written", "run it again")
    if folder is not None:
        fate = ("finished trials are kept", "the same command goes on from there")
    with (
        _quiet_optuna(),
        ended_by_signals(*fate),
        recorded(folder, key) as record,
        workers(task, min(num_workers, settings.together)) as ours,
    ):
        return _Search(settings, space, seed, record).run(ours, progress, folder)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Optuna tells of each trial, and that the sampler's groups may change; progress is told otherwise."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _space(task: Task, settings: SearchSettings) -> Space:
    smallest = min(int((task.fold != one).sum()) for one in np.unique(task.fold[task.fold >= 0]))
    return Space(
        task.X.shape[1],
        smallest,
        settings.watch,
        settings.most_multiplications,
        settings.most_weights,
        settings.epochs,
        settings.patience,
    )


def _check_space(space: Space) -> None:
    """Raise where random draws find no network: the sampler would look for one for ever."""
    with _quiet_optuna():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        for _ in range(_MOST_DRAWS):
            try:
                space.draw(study.ask())
            except UsageError:
                continue
            return
    raise InputError(
        f"no network of the search space fits spectra of {space.bands} bands",
        code="GS-SEARCH-SPACE",
        hint="take more bands, or allow larger networks",
    )


def _facts(settings: SearchSettings, seed: int, device: str) -> dict[str, Any]:
    """What a search that goes on must have in common with the one before; trials may be more."""
    return {
        "settings": {**asdict(settings), "trials": None},
        "seed": seed,
        "device": device,
        "optuna": optuna.__version__,
        "starts": CnnSettings().to_meta(),
    }


def _checked_folds(folds: ArrayLike, y: Float64) -> Int64:
    fold = np.asarray(folds)
    if fold.shape != y.shape or fold.dtype.kind not in "iu" or len(np.unique(fold[fold >= 0])) < 2:
        raise InputError(f"{len(y)} samples need a whole number of a fold each, of two folds or more", code="GS-FOLDS")
    return fold.astype(np.int64)


class _Search:
    """The study: draws, results, and what is best so far."""

    def __init__(self, settings: SearchSettings, space: Space, seed: int, record: Record) -> None:
        self.settings, self.space, self.seed, self.record = settings, space, seed, record
        # A search that goes on draws everything anew, and in the same order, so one sampler serves.
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=_STARTUP, multivariate=True, group=True, constant_liar=True, seed=abs(seed) % 2**32
        )
        self.study = optuna.create_study(sampler=sampler)
        starts = space.starts()
        for params in starts:
            self.study.enqueue_trial(params)
        # The starts come alone: what follows is compared with them and may be stopped.
        self.round = len(starts)
        self.trials: list[Trial] = []
        self.metas: list[dict[str, Any]] = []
        self.least, self.place = float("inf"), -1
        self.reference: Float64 | None = None
        self.impossible = self.large = 0

    def run(self, workers: Workers, progress: Progress, folder: PathLike | None) -> SearchResult:
        """Rounds until there are enough trials."""
        wanted = self.settings.trials
        progress(0, wanted, "searching a network")
        while len(self.trials) < wanted:
            drawn = [self._draw() for _ in range(min(self.round, wanted - len(self.trials)))]
            self.round = self.settings.together
            for one, outcome in zip(drawn, self._results(drawn, workers, progress), strict=True):
                self._tell(one, outcome)
        if self.place < 0:
            raise ModelError(
                "no network of the search could be trained",
                code="GS-TRAIN-DIVERGED",
                hint="look at the spectra, or take another transform of the target",
            )
        result = SearchResult(
            best=CnnSettings.from_meta(self.metas[self.place]),
            rmse=self.least,
            trials=tuple(self.trials),
            impossible=self.impossible,
            large=self.large,
            importance=self._importance(),
        )
        if folder is not None:
            result.save(Path(folder) / _BEST)
        return result

    def _draw(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """The next trial that can be trained; the others are told to the sampler as pruned."""
        while True:
            trial = self.study.ask()
            try:
                return trial, self.space.draw(trial).to_meta()
            except UsageError as error:
                self.large += error.code == "GS-NET-LARGE"
                self.impossible += error.code != "GS-NET-LARGE"
                self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def _results(
        self, drawn: Sequence[tuple[optuna.Trial, dict[str, Any]]], workers: Workers, progress: Progress
    ) -> list[Outcome]:
        """Outcomes of a round, from the record where it has them."""
        known = [self.record.find(trial) for trial, _ in drawn]
        new = [place for place, one in enumerate(known) if one is None]
        done = len(self.trials) + len(drawn) - len(new)
        progress(done, self.settings.trials, self._message())
        # The largest first: a long one that comes last keeps the others waiting.
        new.sort(key=lambda place: -self.space.work(drawn[place][1]))
        found: dict[int, Outcome] = {}
        for place, outcome in workers.run([(drawn[one][1], self.reference) for one in new]):
            trial, meta = drawn[new[place]]
            found[new[place]] = outcome
            self.record.add(trial, meta, asdict(outcome))
            done += 1
            progress(done, self.settings.trials, self._message())
        return [found[place] if one is None else Outcome(**one) for place, one in enumerate(known)]

    def _message(self) -> str:
        return "searching a network" if self.place < 0 else f"searching a network, RMSE {self.least:.4g} so far"

    def _tell(self, drawn: tuple[optuna.Trial, dict[str, Any]], outcome: Outcome) -> None:
        trial, meta = drawn
        if outcome.state == "complete":
            self.study.tell(trial, outcome.rmse)
        else:
            if outcome.state == "stopped":
                trial.report(self._estimate(outcome), step=1)
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        self.trials.append(
            Trial(len(self.trials), outcome.state, outcome.rmse, dict(trial.params), outcome.epochs, outcome.seconds)
        )
        self.metas.append(meta)
        if outcome.state == "complete" and outcome.rmse < self.least:
            self.least, self.place = outcome.rmse, len(self.trials) - 1
            self.reference = outcome.errors

    def _estimate(self, outcome: Outcome) -> float:
        """What a stopped trial would have come to: the best one's error times how much worse it was so far."""
        squared = outcome.errors
        if self.reference is None:
            return outcome.rmse
        same = self.reference[np.isfinite(squared)]
        return self.least * outcome.rmse / float(np.sqrt(same.mean()))

    def _importance(self) -> dict[str, float]:
        """fANOVA on all that was trained, stopped trials with what they would have come to."""
        study = optuna.create_study()
        for one in self.study.get_trials(deepcopy=False):
            value = one.value if one.state == optuna.trial.TrialState.COMPLETE else one.intermediate_values.get(1)
            if value is not None:
                study.add_trial(
                    optuna.trial.create_trial(params=one.params, distributions=one.distributions, value=value)
                )
        values = {one.value for one in study.get_trials(deepcopy=False)}
        if len(values) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        return {
            name: float(one)
            for name, one in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
        }
