"""RS-LOCAL: the samples of a spectral library that help to predict few local ones (Lobsey et al. 2017)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.kernels import subsets as kernel
from geosoil.kernels.pls1 import LANES, padded
from geosoil.types import quiet

from .pls import checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float32, Float64, Int64, Progress

    Int32 = NDArray[np.int32]

__all__ = ["Localised", "Round", "RsLocal", "rs_local"]

#: Subsets that a thread takes at once.
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class RsLocal:
    """Settings of the search.

    Attributes
    ----------
    k : int
        Samples of a subset, and samples that stay.
    b : int
        How often each library sample is tried in a round, on average; above 40 is advised.
    r : float
        Share of the samples that a round drops; below 0.1 is advised.
    components : int
        PLS components of every fit; nothing is tuned inside the search.
    drop_by : str
        ``proportion``: the share `r` of the worst. ``quantile``: those at or beyond the quantile ``1 - r``.
    criterion : str
        ``response``: error of the local samples' values. ``reconstruction``: error of the local spectra put together
        again from a subset's loadings, which needs no local values.
    standardise : bool
        Whether bands are divided by their standard deviation in each subset.
    """

    k: int = 100
    b: int = 50
    r: float = 0.05
    components: int = 10
    drop_by: str = "proportion"
    criterion: str = "response"
    standardise: bool = False

    def __post_init__(self) -> None:
        for name, known in (("drop_by", ("proportion", "quantile")), ("criterion", ("response", "reconstruction"))):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"RS-LOCAL setting {name} = {getattr(self, name)!r} is not known",
                    code="GS-RS-LOCAL",
                    hint=f"take {known[0]} or {known[1]}",
                )
        if self.components < 1 or self.b < 1 or not 0 < self.r < 1 or self.k <= self.components + 1:
            raise UsageError(
                "RS-LOCAL settings are out of range",
                code="GS-RS-LOCAL",
                details=[
                    f"found: k = {self.k}, b = {self.b}, r = {self.r:g}, components = {self.components}",
                    "expected: b and components at least 1, r between 0 and 1, k above components + 1",
                ],
            )


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the search.

    Attributes
    ----------
    size : int
        Library samples at its begin.
    subsets : int
        How many were fitted.
    least, mean : float
        Best and mean score of the subsets.
    cut : float
        Least mean score of a sample that was dropped.
    dropped : int
        How many were dropped.
    """

    size: int
    subsets: int
    least: float
    mean: float
    cut: float
    dropped: int


@dataclass(frozen=True, eq=False)
class Localised:
    """The samples that stay, and how the search came there.

    Attributes
    ----------
    kept : (k,) int64
        Their places in the library, in order.
    dropped_in : (N,) int64
        Round that dropped each library sample, from 1; 0 for those that stay.
    score : (N,) float64
        Mean score of the subsets that held a sample, in the last round that it was drawn in: root mean squared error of
        the local samples, in the unit of the response (of the spectra under ``reconstruction``). NaN where it was in
        none.
    rounds : tuple of Round
        The search; empty where the library was small enough from the start.
    """

    kept: Int64
    dropped_in: Int64
    score: Float64
    rounds: tuple[Round, ...]

    @property
    def fits(self) -> int:
        """PLS models that were fitted."""
        return sum(one.subsets for one in self.rounds)


def rs_local(
    X: ArrayLike,
    y: ArrayLike,
    local: ArrayLike,
    local_y: ArrayLike | None = None,
    settings: RsLocal | None = None,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: Progress = quiet,
) -> Localised:
    """Search the k library samples that predict local samples best (Lobsey et al. 2017; Shen et al. 2022).

    Round after round, random subsets of k samples are fitted by PLS and scored on the local samples. A sample's score
    is the mean of the subsets that held it; the samples of the largest are dropped, until k are left. The local samples
    are training data of whatever comes after: test on others.

    Parameters
    ----------
    X, y : (N, p), (N,) array-like
        Spectra and response of the library.
    local, local_y : (m, p), (m,) array-like
        The local samples, at least three; their values are needed by the criterion ``response``.
    settings : RsLocal, optional
        See there.
    seed : int
        The same seed gives the same samples, whatever the number of threads.
    workers : int, optional
        Threads; as many as the process may use by default.
    progress : Progress
        Called after each round with the samples dropped so far and those to drop.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``: bands differ. ``GS-SPECTRA-NAN``, ``GS-SAMPLES-FEW``, ``GS-TARGET-CONSTANT``.
    UsageError
        ``GS-RS-LOCAL``: the criterion needs local values.

    >>> rng = np.random.default_rng(0)
    >>> X, local = rng.choice([-1.0, 1.0], (300, 6)), rng.choice([-1.0, 1.0], (20, 6))
    >>> y = np.where(np.arange(300) < 90, X[:, 2], -X[:, 2])  # the first 90 are like the local samples
    >>> found = rs_local(X, y, local, local[:, 2], RsLocal(k=30, components=3))
    >>> int((found.kept < 90).sum())
    30
    """
    settings = settings if settings is not None else RsLocal()
    search = _Search.of(X, y, local, local_y, settings, seed)
    if len(search.y) <= settings.k:
        size = len(search.y)
        return Localised(np.arange(size), np.zeros(size, np.int64), np.full(size, np.nan), ())
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} threads cannot work", code="GS-RS-LOCAL", hint="take at least one")
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), "rs-local") as pool:
        return search.run(pool, progress)


@dataclass(frozen=True, eq=False)
class _Search:
    """The data as the fits take them: float32, in units of their spread, filled up with bands of zeros."""

    X: Float32
    y: Float32
    local: Float32
    wanted: Float32
    bands: int
    unit: float
    settings: RsLocal
    seed: int

    @classmethod
    def of(
        cls, X: ArrayLike, y: ArrayLike, local: ArrayLike, local_y: ArrayLike | None, settings: RsLocal, seed: int
    ) -> _Search:
        X, y = checked(X, y)
        local, wanted = _checked_local(local, local_y, X.shape[1], settings.criterion)
        middle, centre = X.mean(axis=0), y.mean()
        unit_x, unit_y = _size(X - middle), _size(y - centre)
        width = padded(X.shape[1], LANES)
        return cls(
            _filled((X - middle) / unit_x, width),
            ((y - centre) / unit_y).astype(np.float32),
            _filled((local - middle) / unit_x, width),
            ((wanted - centre) / unit_y).astype(np.float32),
            X.shape[1],
            unit_y if settings.criterion == "response" else unit_x,
            settings,
            seed,
        )

    def run(self, pool: Executor, progress: Progress) -> Localised:
        size, k = len(self.y), self.settings.k
        left, X, y, local = np.arange(size), self.X, self.y, self.local
        dropped_in, score = np.zeros(size, np.int64), np.full(size, np.nan)
        rounds: list[Round] = []
        while len(left) > k:
            drawn, found = self._round(pool, X, y, local, len(rounds))
            total, count = np.zeros(len(left)), np.zeros(len(left), np.int64)
            kernel.add_scores(drawn, found, total, count)
            mean = np.full(len(left), -np.inf)
            np.divide(total, count, out=mean, where=count > 0)
            out = self._worst(mean)
            rounds.append(
                Round(
                    len(left), len(found), float(found.min()) * self.unit, float(found.mean()) * self.unit,
                    float(mean[out].min()) * self.unit, len(out),
                )
            )  # fmt: skip
            score[left[count > 0]] = mean[count > 0] * self.unit
            dropped_in[left[out]] = len(rounds)
            stay = np.ones(len(left), np.bool_)
            stay[out] = False
            left, X, y = left[stay], X[stay], y[stay]
            progress(size - len(left), size - k, f"round {len(rounds)}: {len(left)} library samples are left")
        return Localised(left, dropped_in, score, tuple(rounds))

    def _round(self, pool: Executor, X: Float32, y: Float32, local: Float32, number: int) -> tuple[Int32, Float64]:
        """Places (d, k) and scores (d,) of the subsets of a round."""
        settings = self.settings
        count = max(1, round(len(y) * settings.b / settings.k))
        key = np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0]
        drawn, score = np.empty((count, settings.k), np.int32), np.empty(count)

        def chunk(part: slice) -> None:
            kernel.judge(
                X, y, local, self.wanted, self.bands, min(settings.components, self.bands),
                settings.criterion == "response", settings.standardise, key, part.start, drawn[part], score[part],
            )  # fmt: skip

        list(pool.map(chunk, _parts(count)))
        # As exact as the fits. Sums and means of equal ones then are exact: they tie whatever the number of draws.
        return drawn, score.astype(np.float32).astype(np.float64)

    def _worst(self, mean: Float64) -> Int64:
        """Places to drop; samples that were never drawn have no score and stay."""
        settings, size = self.settings, len(mean)
        tried = np.isfinite(mean)
        many = max(1, round(settings.r * size))
        if settings.drop_by == "quantile":
            many = int((mean >= np.quantile(mean[tried], 1 - settings.r)).sum())
        many = min(many, size - settings.k, int(tried.sum()))
        # The largest first, and of equal ones the later sample.
        order: Int64 = size - 1 - np.argsort(-mean[::-1], kind="stable")
        return order[:many]


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, min(start + _CHUNK, count))


def _checked_local(local: ArrayLike, local_y: ArrayLike | None, bands: int, criterion: str) -> tuple[Float64, Float64]:
    if local_y is None:
        if criterion == "response":
            raise UsageError(
                "the local samples have no values to judge by",
                code="GS-RS-LOCAL",
                hint="give them, or take the criterion 'reconstruction'",
            )
        # Only the spectra are looked at; the check of a response is passed by any that differs.
        local_y = np.arange(len(np.asarray(local)), dtype=np.float64)
    local, wanted = checked(local, local_y)
    if local.shape[1] != bands:
        raise InputError(
            "library and local spectra have other bands",
            code="GS-SPECTRA-SHAPE",
            details=[f"found: {bands} and {local.shape[1]} bands"],
            hint="resample both to the same wavelengths",
        )
    return local, wanted


def _size(values: Float64) -> float:
    """Root mean square; 1 for nothing but zeros."""
    return float(np.sqrt(np.mean(values**2))) or 1.0


def _filled(rows: Float64, width: int) -> Float32:
    """As float32, with further columns of zeros."""
    found = np.zeros((len(rows), width), np.float32)
    found[:, : rows.shape[1]] = rows
    return found
