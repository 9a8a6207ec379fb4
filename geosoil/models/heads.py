"""Regression heads: from features of a spectrum to a value, fitted on training samples alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from geosoil.errors import ModelError, UsageError
from geosoil.models.linear import LinearHead
from geosoil.models.svr import SvrHead
from geosoil.prep.pls import checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.conv_head import CnnSettings
    from geosoil.types import Float64

__all__ = [
    "KINDS",
    "Head",
    "HeadSettings",
    "LinearHead",
    "SvrHead",
    "fit_head",
    "restore_head",
]

#: Kind to the function that fits it. By name: mapping reads models, and shall not wait for what only fitting needs.
_FIT = {
    "plsr": "linear:fit_linear",
    "svr": "svr:fit_svr",
    "rf": "spectral_forest:fit_forest",
    "fd-rf": "spectral_forest:fit_fractional_forest",
    "dnn": "dnn:fit_dnn",
    "resnet": "net_training:fit_resnet",
    "cnn": "conv_head:fit_cnn",
}
#: Kind of a stored head to its class.
_STORED = {
    "plsr": "linear:LinearHead",
    "svr": "svr:SvrHead",
    "rf": "spectral_forest:ForestHead",
    "fd-rf": "spectral_forest:ForestHead",
    "dnn": "dnn:DnnHead",
    "resnet": "net_head:NetHead",
    "cnn": "net_head:NetHead",
    "mbl": "mbl:MblHead",
    "pooled": "pooled_head:PooledHead",
    "mixture": "mixture_head:MixtureHead",
}

#: Kinds of heads that are fitted on samples alone.
KINDS = tuple(_FIT)


@runtime_checkable
class Head(Protocol):
    """A fitted regressor on features, on the scale of the response that it was fitted on."""

    @property
    def kind(self) -> str:
        """What its class is called in a model file: one of `KINDS`, or a way to use a library."""
        ...

    @property
    def features(self) -> int:
        """Number of features, F."""
        ...

    @property
    def importance(self) -> Float64 | None:
        """Importance of each feature (F,), where the model has one."""
        ...

    @property
    def rmsecv(self) -> float | None:
        """Error of the search inside the training samples; None without a search. Too small as a score."""
        ...

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is. Raises ModelError ``GS-MODEL-FEATURES``."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a model file holds: JSON values, and arrays by name."""
        ...


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How to fit a head.

    Attributes
    ----------
    kind : str
        ``plsr``: partial least squares. ``svr``: support vectors with a Gaussian kernel. ``rf``: random
        forest. ``fd-rf``: the same on the derivative of a fractional order. ``dnn``: a small dense network. ``resnet``:
        the 1D residual network of He et al. (2025), along all bands in their order. ``cnn``: 1D convolutional networks,
        one a fold (Shen et al. 2022).
    folds : int, optional
        Folds of the search inside; by default 10 for PLSR (5 below 60 samples) and 5 for the others.
    components : int, optional
        PLSR: number of components; by default searched up to `most_components` by `rule` (``min`` or ``one_se``).
    scale : bool
        PLSR: whether features are divided by their standard deviation.
    budget : int
        SVR: settings that the search tries; 1 takes C = 1, gamma = 1/F and a tube of 0.1.
    search : {"near", "bayes"}
        SVR: half of the settings spread out and half near the best of those; or Bayesian optimisation (He et al. 2025),
        which finds lower errors of cross-validation, and no lower ones of samples held out.
    c, gamma, epsilon : (float, float)
        SVR: least and largest penalty; kernel width in units of 1/F; tube in standard deviations of the response.
    trees : int
        Forests: number of trees.
    orders : tuple of float
        FD-RF: orders of the derivative that are tried.
    pieces : tuple of int
        FD-RF: numbers of bands of the spectra that lie one after the other among the features; one by default.
    members : int
        Network: how many are averaged.
    epochs : int
        Network: most epochs; a part of the samples given tells when to stop before.
    net : CnnSettings, optional
        CNN: its shape and training, as a search found them; by default one that fits the bands.
    """

    kind: str = "plsr"
    folds: int | None = None
    components: int | None = None
    most_components: int = 30
    rule: str = "min"
    scale: bool = False
    budget: int = 40
    search: Literal["near", "bayes"] = "near"
    c: tuple[float, float] = (1e-2, 1e3)
    gamma: tuple[float, float] = (1e-3, 10.0)
    epsilon: tuple[float, float] = (0.01, 0.5)
    trees: int = 500
    orders: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    pieces: tuple[int, ...] = ()
    members: int = 5
    epochs: int = 600
    net: CnnSettings | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"head {self.kind!r} is not known", code="GS-HEAD", hint=f"take one of {', '.join(KINDS)}")
        ranges = {"c": self.c, "gamma": self.gamma, "epsilon": self.epsilon}
        wrong = [name for name, (least, most) in ranges.items() if not 0 < least <= most]
        counts = ("most_components", "budget", "trees", "members", "epochs")
        wrong += [name for name in counts if getattr(self, name) < 1]
        wrong += [] if self.search in ("near", "bayes") else ["search"]
        wrong += ["orders"] if not self.orders or min(self.orders) < 0 else []
        if wrong:
            raise UsageError(f"head settings are out of range: {', '.join(wrong)}", code="GS-HEAD")


def fit_head(
    X: ArrayLike,
    y: ArrayLike,
    settings: HeadSettings | None = None,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Head:
    """Fit a head; every choice is made on the samples given.

    Parameters
    ----------
    X : (n, F) array-like
        Features.
    y : (n,) array-like
        Response, as it shall be predicted.
    settings : HeadSettings, optional
        PLSR by default.
    groups : (n,) array-like, optional
        Samples of one group (profile, plot, pixel) share a fold of the search.
    seed : int
        Of folds and draws.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``, ``GS-SAMPLES-FEW``, ``GS-TARGET-CONSTANT``, ``GS-FOLDS``.
    """
    settings = settings if settings is not None else HeadSettings()
    X, y = checked(X, y)
    head: Head = _named(_FIT[settings.kind])(X, y, settings, groups, seed)
    return head


def _named(place: str) -> Any:
    """What a name such as ``linear:fit_linear`` stands for."""
    module, name = place.split(":")
    return getattr(import_module(f"geosoil.models.{module}"), name)


def restore_head(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Head:
    """Inverse of `Head.state`; raises ModelError ``GS-MODEL-DAMAGED`` where the parts do not fit."""
    if kind not in _STORED:
        raise ModelError(f"a head of kind {kind!r} is not known", code="GS-MODEL-DAMAGED")
    # A mixture restores its parts by this function too.
    parts = (restore_head,) if kind == "mixture" else ()
    head: Head = _named(_STORED[kind]).restore(meta, arrays, *parts)
    if head.kind != kind:
        raise ModelError(f"a head of kind {head.kind!r} is stored as {kind!r}", code="GS-MODEL-DAMAGED")
    return head
