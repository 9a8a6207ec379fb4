"""Ways to let a spectral library help a model of few samples; each ends in a head like any other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import UsageError
from geosoil.models.conv_head import CnnSettings
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.mbl import MblSettings, fit_mbl
from geosoil.models.mixture import MixtureSettings, fit_mixture
from geosoil.models.net_head import NETS
from geosoil.models.net_training import Training
from geosoil.models.source import Source
from geosoil.models.spiked import SpikedSettings, fit_spiked
from geosoil.models.tuning import Pretrained, PretrainSettings, TuneSettings, fit_tuned, pretrain
from geosoil.prep.rs_local import RsLocal, rs_local

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["KINDS", "SAME", "TUNED", "Pretrained", "TransferSettings", "fit_with_library", "localised", "pretrain_for"]

#: Ways of transfer. The first is that of a model which asks no library.
KINDS = ("local", "library", "spiked", "instances", "neighbours", "tuned", "instances-tuned", "mixture")
#: Those that take over a network which was trained on the library.
TUNED = frozenset({"tuned", "instances-tuned"})
#: Those that need samples of the property itself in the library.
SAME = frozenset({"library", "spiked", "instances", "neighbours", "instances-tuned"})


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How a library helps.

    Attributes
    ----------
    kind : str
        ``local``: not at all. ``library``: its samples alone. ``spiked``: both, the local ones with more weight.
        ``instances``: the local samples and those of the library that predict them best (RS-LOCAL). ``neighbours``:
        for each spectrum the most alike (memory-based learning). ``tuned``: a network of the library, tuned on the
        samples. ``instances-tuned``: tuned on the instances too. ``mixture``: several, weighted by what they predict of
        held-out local samples.
    head : HeadSettings
        The regression, where the way leaves one to choose; of tuned networks ``resnet`` or ``cnn``.
    localise : RsLocal
        How instances are found.
    neighbours : MblSettings
    spike : SpikedSettings
    tune : TuneSettings
    mix : MixtureSettings
        Settings of the ways.
    """

    kind: str = "mixture"
    head: HeadSettings = field(default_factory=HeadSettings)
    localise: RsLocal = field(default_factory=RsLocal)
    neighbours: MblSettings = field(default_factory=MblSettings)
    spike: SpikedSettings = field(default_factory=SpikedSettings)
    tune: TuneSettings = field(default_factory=TuneSettings)
    mix: MixtureSettings = field(default_factory=MixtureSettings)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"transfer {self.kind!r} is not known", code="GS-TRANSFER", hint=f"take one of {', '.join(KINDS)}"
            )
        if self.pretrains and self.head.kind not in NETS:
            raise UsageError(
                f"a {self.head.kind} cannot be trained on a library and tuned",
                code="GS-TRANSFER",
                hint='take head = "resnet" or "cnn"',
            )

    @property
    def pretrains(self) -> bool:
        """Whether a network is trained on the library first."""
        return self.kind in TUNED

    def of_source(self) -> HeadSettings:
        """What of it the network of the library depends on."""
        return self.head


def pretrain_for(source: Source, settings: TransferSettings, seed: int) -> Pretrained:
    """Train the networks that are taken over from the library."""
    head = settings.head
    bands = source.X.shape[1]
    shape = (head.net or CnnSettings.fitting(bands)).spec(bands) if head.kind == "cnn" else None
    training = Training(epochs=head.epochs)
    return pretrain(
        source, PretrainSettings(members=head.members, training=training, shape=shape, kind=head.kind), seed
    )


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
    """Fit a head on local samples and a library; every choice is made on these.

    Parameters
    ----------
    X, y : (n, F), (n,) float64
        Local features, and the response.
    source : Source
        The library.
    settings : TransferSettings
        The way.
    pretrained : Pretrained, optional
        Networks of the library, from `pretrain_for`; trained here where they are needed and not given.
    groups : (n,) int64, optional
        Samples of one group stay together wherever some are held out.
    seed : int
        Of draws and folds.

    Raises
    ------
    UsageError
        ``GS-TRANSFER``: the way needs the property itself in the library, which holds another one.
    InputError
        As the ways do.
    """
    if settings.kind in SAME and not source.same:
        raise UsageError(
            f"transfer {settings.kind!r} needs samples of the property itself in the library",
            code="GS-TRANSFER",
            hint='take kind = "tuned" or "mixture", or a library with the property',
        )
    if settings.kind == "local":
        return fit_head(X, y, settings.head, groups=groups, seed=seed)
    if settings.kind == "library":
        return fit_head(source.X, source.y, settings.head, groups=np.arange(len(source)), seed=seed)
    if settings.kind == "spiked":
        return fit_spiked(X, y, source, settings.spike, groups, seed)
    if settings.kind == "neighbours":
        return fit_mbl(X, y, source, settings.neighbours, groups, seed)
    if settings.kind == "mixture":
        return fit_mixture(X, y, source, settings.mix, groups, seed)
    if settings.kind in {"instances", "instances-tuned"}:
        X, y, groups = _with_instances(X, y, source, settings, groups, seed)
    if settings.kind == "instances":
        return fit_head(X, y, settings.head, groups=groups, seed=seed)
    if pretrained is None:
        pretrained = pretrain_for(source, settings, seed)
    return fit_tuned(X, y, pretrained, settings.tune, groups, seed)


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
