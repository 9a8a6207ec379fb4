"""Partial pooling: a Gaussian process of what soils have in common, and of what each data set has of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh
from scipy.signal import savgol_filter
from scipy.spatial.distance import cdist

from geosoil.errors import InputError, UsageError
from geosoil.models.evidence import Explained, explain
from geosoil.models.pooled_head import Bumps, PooledHead, normalise, through_normalise
from geosoil.models.source import Source
from geosoil.prep.pls import checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float64, Int64

__all__ = ["LEAST_FOR_DERIVATIVE", "PooledSettings", "fit_pooled"]

#: Window and degree of the derivative, in features.
_WINDOW, _DEGREE = 7, 2
#: Features that a derivative needs.
LEAST_FOR_DERIVATIVE = 2 * _WINDOW
#: Prior variance of a data set's mean, in units of the variance of the local response.
_MEAN = 4.0
#: Prior median of a kernel's variance and of the noise, and standard deviations of their logarithms.
_SHARE, _NOISE = (0.5, 1.5), (0.3, 1.0)
#: Library spectra that tell the directions in which spectra vary.
_SPACE = 4000
#: Singular values below this share of the largest are rounding.
_RANK = 1e-7


@dataclass(frozen=True, slots=True)
class PooledSettings:
    """How a library and local samples are pooled.

    Attributes
    ----------
    view : str
        ``given``: the features as they are. ``derivative``: their first derivative along the features, which have to be
        bands in order (Savitzky-Golay, 7 features, degree 2). ``both``.
    normalised : bool
        Whether each spectrum is brought to mean 0 and standard deviation 1 first (standard normal variate). What it
        loses by that, its level, tells of organic carbon; a mixture of both ways does better than either.
    components : int
        Directions in which the library's spectra vary within data sets; what lies beyond is noise.
    power : float
        Power of its singular value that each direction is divided by: 0 keeps their variances, 1 makes them equal.
    width : float
        Of the Gaussian kernel: its variance is this times the median squared distance of local samples.
    samples : int
        Library samples that are taken; the data sets have as equal a share in them as they can.
    steps : int
        Most steps of the search for the variances.
    """

    view: str = "given"
    normalised: bool = False
    components: int = 20
    power: float = 0.5
    width: float = 4.0
    samples: int = 400
    steps: int = 25

    def __post_init__(self) -> None:
        if self.view not in ("given", "derivative", "both"):
            raise UsageError(
                f"view {self.view!r} is not known", code="GS-HEAD", hint="take 'given', 'derivative' or 'both'"
            )
        counts = (self.components, self.samples, self.steps)
        if min(counts) < 1 or not self.width > 0 or not 0 <= self.power <= 1:
            raise UsageError("settings of pooling are out of range", code="GS-HEAD", details=[f"found: {self}"])


def fit_pooled(
    X: ArrayLike,
    y: ArrayLike,
    source: Source | None = None,
    settings: PooledSettings | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> PooledHead:
    """Fit a Gaussian process in which data sets share a part of their function.

    In each data set s, the local samples and every one of the library, ``y = m[s] + f(x) + g[s](x) + noise[s]``. The
    function f is common to all, g and the mean m are a data set's own; both are sums of a linear and a smooth function
    of the spectrum less the data set's mean spectrum, so that an instrument's offset does not matter. How much is
    common, how much is own and how much is noise is what makes the observed values most likely, the local ones and the
    library's together. With a library that does not agree with the local samples the common part goes to nothing, and
    what is left is a model of the local samples, in the directions in which soil spectra vary.

    Parameters
    ----------
    X, y : (n, F), (n,) array-like
        Local features and response, at least three.
    source : Source, optional
        The library. If it has another property, only the directions of its spectra are taken. None: no library.
    settings : PooledSettings, optional
        See there.
    groups : (n,) array-like, optional
        Samples of one group are left out together in `rmsecv`.
    seed : int
        Of the draw of library samples.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``, ``GS-SAMPLES-FEW``, ``GS-TARGET-CONSTANT``.

    References
    ----------
    Gelman & Hill 2007, chapter 12, for partial pooling; Bonilla, Chai & Williams 2008 for kernels of tasks.
    """
    settings = settings if settings is not None else PooledSettings()
    X, y = checked(X, y)
    if source is not None and source.X.shape[1] != X.shape[1]:
        raise InputError(
            f"local samples have {X.shape[1]} features, the library {source.X.shape[1]}", code="GS-SPECTRA-SHAPE"
        )
    members = np.arange(len(y)) if groups is None else np.asarray(groups)
    if members.shape != y.shape:
        raise InputError(f"{len(y)} samples have {members.size} groups", code="GS-SPECTRA-SHAPE")
    given = X
    if settings.normalised:
        X, source = _normalised(X), None if source is None else replace(source, X=_normalised(source.X))
    pool = _Pool.of(X, y, source, settings, seed)
    views = [_View.of(basis, pool, settings) for basis in pool.bases(settings)]
    same = (pool.origin[:, None] == pool.origin).astype(np.float64)
    common = [kernel for one in views for kernel in one.kernels(pool)]
    kernels = [*common, *(one * same for one in common)] if len(pool.y) > len(y) else common
    fitted = explain(kernels, _MEAN * same, pool.origin, pool.y, share=_SHARE, noise=_NOISE, steps=settings.steps)
    return _head(pool, views, fitted, members, given if settings.normalised else None)


@dataclass(frozen=True, eq=False)
class _Pool:
    """The samples that are fitted, local ones first.

    Features and responses are less their data set's mean, responses in units of the local standard deviation. Data set
    0 is the local one. `space` holds all spectra that tell in which directions spectra vary.
    """

    x: Float64
    y: Float64
    origin: Int64
    local: int
    centre: Float64
    mean: float
    spread: float
    space: Float64

    @classmethod
    def of(cls, X: Float64, y: Float64, source: Source | None, settings: PooledSettings, seed: int) -> _Pool:
        centre, mean, spread = X.mean(axis=0), float(y.mean()), float(y.std())
        x, z = X - centre, (y - mean) / spread
        own = np.zeros(len(y), np.int64)
        if source is None or not len(source):
            return cls(x, z, own, len(y), centre, mean, spread, x)
        _, code = np.unique(source.origin, return_inverse=True)
        far = _less_means(source.X, code)
        space = far[_drawn(code, _SPACE, seed)]
        if not source.same:
            return cls(x, z, own, len(y), centre, mean, spread, space)
        rows = _drawn(code, settings.samples, seed)
        values = _less_means(source.y[:, None], code)[rows, 0] / spread
        origin = np.concatenate([own, np.unique(code[rows], return_inverse=True)[1] + 1])
        return cls(np.vstack([x, far[rows]]), np.r_[z, values], origin, len(y), centre, mean, spread, space)

    def bases(self, settings: PooledSettings) -> list[Float64]:
        """Directions (F, C) of each view."""
        views = {"given": ["given"], "derivative": ["derivative"], "both": ["given", "derivative"]}[settings.view]
        return [self._directions(one == "derivative", settings) for one in views]

    def _directions(self, derivative: bool, settings: PooledSettings) -> Float64:
        space, turned = self.space, np.eye(self.x.shape[1])
        if derivative:
            if len(turned) < LEAST_FOR_DERIVATIVE:
                raise InputError(f"{len(turned)} features are too few for a derivative", code="GS-SPECTRA-SHAPE")
            inside = slice(_WINDOW // 2, -(_WINDOW // 2))
            turned = savgol_filter(turned, _WINDOW, _DEGREE, deriv=1, axis=1)[:, inside]
            space = space @ turned
        last = space.shape[1] - 1
        first = max(0, last + 1 - settings.components)
        values, vectors = eigh(space.T @ space, subset_by_index=(first, last))
        size = np.sqrt(np.maximum(values[::-1], 0.0))
        held = int((size > _RANK * size[0]).sum()) if size[0] > 0 else 0
        if not held:
            raise InputError("the spectra do not differ", code="GS-SPECTRA-CONSTANT", hint="give samples that differ")
        found: Float64 = turned @ (vectors[:, ::-1][:, :held] / size[:held] ** settings.power)
        return found


@dataclass(frozen=True, eq=False)
class _View:
    """Where the samples lie in the directions of a view, and the units of its kernels."""

    basis: Float64
    at: Float64
    unit: float
    gamma: float

    @classmethod
    def of(cls, basis: Float64, pool: _Pool, settings: PooledSettings) -> _View:
        at = pool.x @ basis
        local = at[: pool.local]
        squared = cdist(local, local, "sqeuclidean")[np.triu_indices(pool.local, 1)]
        # Most spectra may be equal; the mean of the squared distances is then still above zero.
        typical = float(np.median(squared)) or float(squared.mean())
        unit = float((local**2).sum(axis=1).mean())
        if not typical > 0:
            raise InputError("the local spectra do not differ", code="GS-SPECTRA-CONSTANT")
        return cls(basis, at, unit, 0.5 / (settings.width * typical))

    def kernels(self, pool: _Pool) -> list[Float64]:
        """Linear and Gaussian, (n, n) each."""
        return [self.at @ self.at.T / self.unit, np.exp(-self.gamma * cdist(self.at, self.at, "sqeuclidean"))]


def _head(
    pool: _Pool, views: list[_View], fitted: Explained, members: NDArray[Any], given: Float64 | None
) -> PooledHead:
    """The function of the local data set; `given` are its features before they were normalised."""
    local = np.arange(pool.local)
    own = np.zeros(len(pool.y))
    own[local] = fitted.dual[local]
    coef, bumps = np.zeros(pool.x.shape[1]), []
    shares = np.zeros((2, len(views), 2))
    shares[: len(fitted.share) // (2 * len(views))] = fitted.share.reshape(-1, len(views), 2)
    for one, common, apart in zip(views, shares[0], shares[1], strict=True):
        # Without a library all is common.
        dual = (common[:, None] * fitted.dual + apart[:, None] * own) * pool.spread
        coef += one.basis @ (one.at.T @ dual[0]) / one.unit
        bumps.append(Bumps(one.basis, one.at, dual[1], one.gamma))
    left = np.empty(pool.local)
    for group in np.unique(members):
        rows = np.flatnonzero(members == group)
        left[rows] = fitted.left_out(rows)
    observed = pool.y[local] * pool.spread + pool.mean
    inside = pool.x[local]
    slope = coef + sum((one.slopes(inside) for one in bumps), np.zeros_like(inside))
    spread = inside.std(axis=0)
    if given is not None:
        slope, spread = through_normalise(slope, given), given.std(axis=0)
    return PooledHead(
        centre=pool.centre,
        coef=coef,
        intercept=pool.mean + _MEAN * float(fitted.dual[local].sum()) * pool.spread,
        bumps=tuple(bumps),
        importance=np.abs(slope).mean(axis=0) * spread,
        rmsecv=float(np.sqrt((left**2).mean()) * pool.spread),
        held_out=observed - left * pool.spread,
        normalised=given is not None,
    )


def _normalised(X: Float64) -> Float64:
    found = normalise(X)
    if not np.isfinite(found).all():
        raise InputError("a spectrum does not vary along its bands", code="GS-SPECTRA-CONSTANT")
    return found


def _less_means(values: Float64, code: Int64) -> Float64:
    """Rows less the mean of their data set."""
    out = np.empty_like(values)
    for one in range(int(code.max()) + 1):
        inside = code == one
        out[inside] = values[inside] - values[inside].mean(axis=0)
    return out


def _drawn(code: Int64, count: int, seed: int) -> Int64:
    """Rows of so many samples at most, in which data sets have as equal a share as they can."""
    rng = np.random.default_rng(seed)
    sets = [rng.permutation(np.flatnonzero(code == one)) for one in range(int(code.max()) + 1)]
    # The n-th sample of every data set comes before the next of any.
    turn = np.concatenate([np.arange(len(one)) for one in sets])
    found: Int64 = np.sort(np.concatenate(sets)[np.argsort(turn, kind="stable")][:count])
    return found
