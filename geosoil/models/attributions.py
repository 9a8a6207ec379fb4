"""Why a model says what it says: contributions of its inputs that add up to prediction less mean prediction (SHAP)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from geosoil.errors import InputError
from geosoil.models.gradients import Chain, Front, Layer
from geosoil.models.loop import one_thread
from geosoil.models.variates import centre_ways, steady
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.forest import Trees
    from geosoil.types import Float64, Int64

__all__ = [
    "Attribution",
    "Method",
    "draws_of",
    "expected_gradients",
    "linear_attribution",
    "permutation_attribution",
    "tree_attribution",
]

Method = Literal["linear", "expected gradients", "trees", "permutation"]

#: Points that go through a network at once: what its layers make of them stays in cache.
_PIECE = 32
#: Rows that forests and other models take at once.
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Attribution:
    """Contributions of the inputs to the predictions of samples.

    Attributes
    ----------
    values : (n, p) float64
        Contribution of each input, in the unit of the output.
    output : (n,) float64
        Predictions.
    base : float
        Mean prediction of the background.
    method : str
        How they were found.
    draws : int
        Points a sample, of expected gradients; permutations; 0 where nothing is drawn.
    scatter : float
        How far the draws leave the values from those of endless draws: root mean square of their standard errors, as a
        share of the values' own; NaN where nothing is drawn, or too little to tell.
    """

    values: Float64
    output: Float64
    base: float
    method: Method
    draws: int = 0
    scatter: float = float("nan")

    @property
    def gap(self) -> Float64:
        """What the contributions of each sample lack of prediction less mean prediction, (n,)."""
        return np.asarray(self.output - self.base - self.values.sum(axis=1), np.float64)

    @property
    def gap_share(self) -> float:
        """Root mean square of the gap, as a share of the output's standard deviation; NaN where that is 0."""
        spread = float(self.output.std())
        return float(np.sqrt(np.mean(self.gap**2))) / spread if spread > 0 else float("nan")


def linear_attribution(slope: ArrayLike, output: ArrayLike, X: ArrayLike, background: ArrayLike) -> Attribution:
    """Contributions of a linear model in closed form: slope times the distance to the background's mean.

    Parameters
    ----------
    slope : (p,) array-like
    output : (n + m,) array-like
        Predictions of the samples, then of the background.
    X, background : (n, p), (m, p) array-like

    Examples
    --------
    >>> found = linear_attribution([2.0, 0.0], [6.0, 2.0, 4.0], [[3.0, 9.0]], [[1.0, 1.0], [2.0, 5.0]])
    >>> found.values.tolist(), found.gap.tolist()
    ([[3.0, 0.0]], [0.0])
    """
    rows, far = _pair(X, background)
    found = np.asarray(output, np.float64)
    values = (rows - far.mean(axis=0)) * np.asarray(slope, np.float64)
    return Attribution(values, found[: len(rows)], float(found[len(rows) :].mean()), "linear")


def draws_of(background: int, draws: int, seed: int, sample: int) -> tuple[Int64, Float64]:
    """Where the gradients of a sample are taken: ranks of rows of the background, and shares of the way from there.

    A Hammersley set (Hammersley 1960), shifted at random in both directions (Cranley and Patterson 1976): rows and
    shares are spread evenly, and so are the shares within any few rows that follow each other. Each point alone is as
    if drawn freely, so the mean stays right, and what it scatters by gets less, most of all where the rows are in the
    order of their predictions.

    Returns
    -------
    (draws,) int64, (draws,) float64

    >>> rows, share = draws_of(4, 8, seed=0, sample=0)
    >>> np.bincount(rows).tolist(), np.sort((share * 8).astype(int)).tolist()
    ([2, 2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7])
    """
    along, share = np.random.default_rng([seed, sample]).random(2)
    place = np.arange(draws)
    rank = ((place + along) / draws * background).astype(np.int64)
    return np.minimum(rank, background - 1), (_reversed_bits(place) + share) % 1


def _reversed_bits(place: Int64) -> Float64:
    """The sequence of van der Corput (1935): 0, 1/2, 1/4, 3/4, 1/8 ..."""
    found, half, left = np.zeros(len(place)), 0.5, place.copy()
    while left.any():
        found += half * (left & 1)
        left, half = left >> 1, half / 2
    return found


def expected_gradients(
    layer: Layer,
    X: ArrayLike,
    background: ArrayLike,
    *,
    draws: int = 200,
    seed: int = 0,
    output: int = 0,
    join: ArrayLike | None = None,
    points: Callable[[int], tuple[NDArray[np.int64], NDArray[np.float64]]] | None = None,
    num_workers: int | None = None,
    progress: Progress = quiet,
) -> Attribution:
    """SHAP values of a differentiable function by expected gradients (Erion et al. 2021; Sundararajan et al. 2017).

    The mean, over rows b of the background and shares a of the way, of the gradient at ``b + a (x - b)`` times
    ``x - b``. It is what ``shap.GradientExplainer`` estimates. Where the function begins with weighted sums over
    windows (standardisation, an average pool) the way is gone behind them, and the gradients are spread over the
    windows afterwards, which is exact.

    Two things are known whatever is drawn: the mean of the ways, and the sum of all contributions. Both steady the mean
    (`models.variates`), so that at the same cost the values lie nearer to those of endless draws, and add up.

    Parameters
    ----------
    layer : Layer
        The function, (n, p) to (n, outputs).
    X, background : (n, p), (m, p) array-like
    draws : int
        Points a sample; what they scatter by shrinks with the root of their number, or faster. With fewer than 16 the
        plain mean is taken.
    output : int
        Column of the output that is explained.
    join : (p, q) array-like, optional
        Which inputs are taken together, such as the cells of a band; the values are then those of q sums.
    points : callable, optional
        Sample number to (rows, shares), in place of `draws_of`; their plain mean is taken.
    num_workers : int, optional
        Threads; all cores by default. They change nothing of the values.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``.
    """
    rows, far = _pair(X, background)
    front, rest = _split(layer, rows.shape[1])
    # Centred, so that little is lost where a spectrum differs from the background by far less than its own height.
    centre = far.mean(axis=0)
    near, back = (torch.from_numpy((one - centre).astype(np.float32)) for one in (rows, far))
    whole = torch.from_numpy(np.concatenate([rows, far]).astype(np.float32))
    with torch.inference_mode(), one_thread():
        found = _values(front, rest, whole, output)
        starts, ends = front.forward(whole[len(rows) :])[0], front.forward(whole[: len(rows)])[0]
    sums = None if join is None else torch.from_numpy(np.asarray(join, np.float32))
    paths = _Paths(front, rest, near, back, starts, ends, output, sums)
    order = np.argsort(found[len(rows) :], kind="stable")
    base = float(found[len(rows) :].mean())
    values = np.empty((len(rows), rows.shape[1] if sums is None else sums.shape[1]))
    variance = np.full(len(rows), np.nan)

    def choose(sample: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rank, share = draws_of(len(far), draws, seed, sample)
        return order[rank], share

    def one(sample: int) -> None:
        with torch.inference_mode():
            picked, share = (torch.from_numpy(one) for one in (points or choose)(sample))
            if points is not None:
                values[sample] = paths.plain(sample, picked, share).mean(0, dtype=torch.float64).numpy()
                return
            steadied = steady(paths.centred(sample, picked, share), found[sample] - base)
            values[sample], variance[sample] = steadied.values, steadied.variance

    with one_thread(), ThreadPoolExecutor(num_workers or os.cpu_count() or 1) as pool:
        for done, _ in enumerate(pool.map(one, range(len(rows))), 1):
            progress(done, len(rows), "attributing")
    return Attribution(values, found[: len(rows)], base, "expected gradients", draws, _scatter(values, variance))


def _scatter(values: Float64, variance: Float64) -> float:
    """Root mean square of standard errors (n,) as a share of the values' (n, p)."""
    size = float(np.mean(values**2))
    return float(np.sqrt(variance.mean() / size)) if size > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class _Paths:
    """Ways from the background to the samples, behind the front."""

    front: Front
    rest: Layer
    near: Tensor
    far: Tensor
    starts: Tensor
    ends: Tensor
    output: int
    join: Tensor | None

    def centred(self, sample: int, rows: Tensor, share: Tensor) -> Tensor:
        """(draws, p): gradient times way of each, centred on the background's mean."""
        return self._joined(centre_ways(self._slopes(sample, rows, share), self.near[sample], self.far[rows]))

    def plain(self, sample: int, rows: Tensor, share: Tensor) -> Tensor:
        """(draws, p): gradient times way of each."""
        return self._joined(self._slopes(sample, rows, share).mul_(self.near[sample] - self.far[rows]))

    def _slopes(self, sample: int, rows: Tensor, share: Tensor) -> Tensor:
        """Gradients by the inputs themselves, (draws, p)."""
        found = torch.empty(len(rows), self.near.shape[1])
        share = share.to(torch.float32)[:, None]
        for first in range(0, len(rows), _PIECE):
            piece = slice(first, first + _PIECE)
            start = self.starts[rows[piece]]
            point = torch.addcmul(start, self.ends[sample] - start, share[piece])
            slope = _slope(self.rest, point, self.output)
            torch.mul(self.front.spread(slope), self.front.weight, out=found[piece])
        return found

    def _joined(self, drawn: Tensor) -> Tensor:
        return drawn if self.join is None else drawn @ self.join


def _split(layer: Layer, columns: int) -> tuple[Front, Layer]:
    """The windows that a function begins with, and all that follows."""
    if isinstance(layer, Chain) and isinstance(layer.layers[0], Front):
        return layer.layers[0], Chain(layer.layers[1:])
    return Front.of(torch.zeros(columns), torch.ones(columns)), layer


def _slope(layer: Layer, points: Tensor, output: int) -> Tensor:
    found, memory = layer.forward(points)
    start = torch.zeros_like(found)
    start[:, output] = 1
    return layer.backward(start, memory)


def _values(front: Front, rest: Layer, rows: Tensor, output: int) -> Float64:
    """Predictions (n,)."""
    pieces = [rest.forward(front.forward(piece)[0])[0][:, output] for piece in torch.split(rows, _PIECE)]
    return torch.cat(pieces).double().numpy()


def tree_attribution(forest: Trees, X: ArrayLike, background: ArrayLike, *, progress: Progress = quiet) -> Attribution:
    """SHAP values of a forest, exact for this background (Lundberg et al. 2020, interventional), by ``shap``.

    The work grows with samples times background.

    Parameters
    ----------
    X, background : (n, F), (m, F) array-like
        What the forest is given.
    """
    import shap

    rows, far = (one.astype(np.float32).astype(np.float64) for one in _pair(X, background))
    trees = [_tree(forest, place) for place in range(len(forest.start) - 1)]
    explainer = shap.TreeExplainer({"trees": trees}, far, feature_perturbation="interventional")
    values = np.empty(rows.shape)
    for first in range(0, len(rows), 64):
        piece = slice(first, first + 64)
        values[piece] = explainer.shap_values(rows[piece], check_additivity=False)
        progress(min(first + 64, len(rows)), len(rows), "attributing")
    found = forest.predict(np.concatenate([rows, far]).astype(np.float32))
    return Attribution(values, found[: len(rows)], float(found[len(rows) :].mean()), "trees")


def _tree(forest: Trees, place: int) -> dict[str, NDArray[np.generic]]:
    """A tree as ``shap`` takes it; its value is a share of the forest's."""
    nodes = slice(int(forest.start[place]), int(forest.start[place + 1]))
    leaf = forest.feature[nodes] < 0
    left, right = (np.where(leaf, -1, one[nodes]).astype(np.int32) for one in (forest.left, forest.right))
    return {
        "children_left": left,
        "children_right": right,
        "children_default": left,
        "features": np.where(leaf, -2, forest.feature[nodes]).astype(np.int32),
        "thresholds": forest.threshold[nodes],
        "values": forest.value[nodes][:, None] / (len(forest.start) - 1),
        "node_sample_weight": np.ones(len(leaf)),
    }


def permutation_attribution(
    predict: Callable[[Float64], NDArray[np.floating]],
    X: ArrayLike,
    background: ArrayLike,
    blocks: Sequence[Sequence[int]],
    *,
    draws: int = 20,
    seed: int = 0,
    progress: Progress = quiet,
) -> Attribution:
    """Shapley values of blocks of inputs by sampling (Strumbelj and Kononenko 2014), for any function.

    The blocks are switched one after the other from a row of the background to the sample, in random orders, each of
    which is gone through backwards too. A block's value is spread evenly over its inputs.

    Parameters
    ----------
    predict : callable
        (n, p) to (n,).
    blocks : sequence of sequences of int
        Columns that are switched together; every column is in one of them.
    draws : int
        Rows of the background a sample, each with one order.
    """
    rows, far = _pair(X, background)
    members = [np.asarray(block, np.int64) for block in blocks]
    values, variance = np.zeros((len(rows), len(members))), np.full(len(rows), np.nan)
    output = _predicted(predict, np.concatenate([rows, far]))
    base = float(output[len(rows) :].mean())
    order = np.argsort(output[len(rows) :], kind="stable")
    for sample, row in enumerate(rows):
        rng = np.random.default_rng([seed, sample])
        picked = order[draws_of(len(far), draws, seed, sample)[0]]
        ways = [rng.permutation(len(members)) for _ in picked]
        steps = [(start, way) for start, one in zip(picked, ways, strict=True) for way in (one, one[::-1])]
        mixed = np.concatenate([list(_switched(far[start], row, way, members)) for start, way in steps])
        found = _predicted(predict, mixed).reshape(len(picked), 2, -1)
        # Both ways from a row are one draw.
        drawn = np.mean([_by_block(way, np.diff(both, axis=1)) for way, both in zip(ways, found, strict=True)], axis=1)
        steadied = steady(torch.from_numpy(drawn), output[sample] - base)
        values[sample], variance[sample] = steadied.values, steadied.variance
        progress(sample + 1, len(rows), "attributing")
    spread = np.zeros(rows.shape)
    for place, block in enumerate(members):
        spread[:, block] = values[:, place, None] / len(block)
    return Attribution(spread, output[: len(rows)], base, "permutation", draws, _scatter(values, variance))


def _by_block(way: Int64, changes: Float64) -> Float64:
    """Changes (2, blocks) of a way and of the same way backwards, in the order of the blocks."""
    found = np.empty(changes.shape)
    found[0, way], found[1, way[::-1]] = changes
    return found


def _switched(start: Float64, end: Float64, order: Int64, members: Sequence[Int64]) -> Iterator[Float64]:
    """From a row to another, block by block."""
    now = start.copy()
    yield now.copy()
    for block in order:
        now[members[block]] = end[members[block]]
        yield now.copy()


def _predicted(predict: Callable[[Float64], NDArray[np.floating]], rows: Float64) -> Float64:
    edges = [*range(0, len(rows), _ROWS), len(rows)]
    return np.concatenate([np.asarray(predict(rows[a:b]), np.float64) for a, b in pairwise(edges)])


def _pair(X: ArrayLike, background: ArrayLike) -> tuple[Float64, Float64]:
    rows, far = np.asarray(X, np.float64), np.asarray(background, np.float64)
    if rows.ndim != 2 or far.ndim != 2 or rows.shape[1] != far.shape[1] or not len(rows) or not len(far):
        raise InputError(
            "samples and background do not fit together",
            code="GS-SPECTRA-SHAPE",
            details=[f"samples: {rows.shape}", f"background: {far.shape}"],
        )
    if not (np.isfinite(rows).all() and np.isfinite(far).all()):
        raise InputError("samples or background have missing values", code="GS-SPECTRA-NAN", hint="leave them out")
    return rows, far
