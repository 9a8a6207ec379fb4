"""Ways to let a spectral library help a model of few samples; each ends in a head like any other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import UsageError
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.source import Source
from geosoil.prep.rs_local import RsLocal, rs_local

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["KINDS", "TUNED", "Pretrained", "TransferSettings", "fit_with_library", "localised", "pretrain_for"]

#: Ways of transfer. The first is that of a model which asks no library.
KINDS = ("local", "library", "spiked", "instances", "neighbours", "tuned", "instances-tuned", "mixture")
#: Those that take over a network which was trained on the library.
TUNED = frozenset({"tuned", "instances-tuned"})

Pretrained = Any


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How a library helps.

    Attributes
    ----------
    kind : str
        ``local``: not at all. ``library``: its samples alone. ``spiked``: both, the local ones with more weight.
        ``instances``: the local samples and those of the library that predict them best (RS-LOCAL). ``neighbours``:
        for each spectrum the most alike (memory-based learning). ``tuned``: a network of the library, its last layers
        tuned. ``instances-tuned``: tuned on the instances too. ``mixture``: several, weighted by what they predict of
        held-out local samples.
    head : HeadSettings
        The regression, where the way leaves one to choose.
    localise : RsLocal
        How instances are found.
    """

    kind: str = "mixture"
    head: HeadSettings = field(default_factory=HeadSettings)
    localise: RsLocal = field(default_factory=RsLocal)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"transfer {self.kind!r} is not known", code="GS-TRANSFER", hint=f"take one of {', '.join(KINDS)}"
            )

    @property
    def pretrains(self) -> bool:
        """Whether a network is trained on the library first."""
        return self.kind in TUNED

    def of_source(self) -> TransferSettings:
        """What of it the network of the library depends on."""
        return replace(self, kind="tuned")


def pretrain_for(source: Source, settings: TransferSettings, seed: int) -> Pretrained:
    """Train the network that is taken over from the library."""
    raise NotImplementedError


def fit_with_library(
    X: Float64,
    y: Float64,
    source: Source,
    settings: TransferSettings,
    pretrained: Pretrained | None = None,
    *,
    groups: Int64 | None = None,
    seed: int = 0,
) -> Head:
    """Fit a head on local samples and a library."""
    if settings.kind == "local":
        return fit_head(X, y, settings.head, groups=groups, seed=seed)
    if settings.kind == "library":
        return fit_head(source.X, source.y, settings.head, groups=np.arange(len(source)), seed=seed)
    if settings.kind == "instances":
        X, y, groups = _with_instances(X, y, source, settings, groups, seed)
        return fit_head(X, y, settings.head, groups=groups, seed=seed)
    raise NotImplementedError(settings.kind)


def localised(X: Float64, y: Float64, source: Source, settings: TransferSettings, seed: int) -> Int64:
    """The library's samples that predict the local ones best."""
    return rs_local(source.X, source.y, X, y, settings.localise, seed).kept


def _with_instances(
    X: Float64, y: Float64, source: Source, settings: TransferSettings, groups: Int64 | None, seed: int
) -> tuple[Float64, Float64, Int64]:
    """Local samples, those of the library that predict them best, and their groups."""
    own = np.arange(len(y)) if groups is None else np.asarray(groups)
    kept = localised(X, y, source, settings, seed)
    lent = own.max() + 1 + np.arange(len(kept))
    return np.vstack([X, source.X[kept]]), np.concatenate([y, source.y[kept]]), np.concatenate([own, lent])
