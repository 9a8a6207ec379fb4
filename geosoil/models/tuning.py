"""Transfer of what networks learned of spectra: pre-train on a library, tune on few samples of another property."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from geosoil.errors import InputError, UsageError
from geosoil.models.features import array, damaged, number
from geosoil.models.loop import Fit, one_thread, stopping_parts, train_network
from geosoil.models.net_head import NETS, NetHead, Spec, arrays_of, checked_weights, module_of
from geosoil.models.net_training import Training, part_of, train_member
from geosoil.models.resnet import ResNetSpec
from geosoil.models.ridge import blend_weights, fit_ridge, fit_scaled_ridge
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.source import Source
    from geosoil.types import Bool, Float32, Float64

__all__ = ["PretrainSettings", "Pretrained", "TuneSettings", "fit_tuned", "pretrain"]

Way = Literal["joint", "published"]

#: Spectra that go through a frozen trunk at once.
_BLOCK = 256
#: Most properties and members in a file.
_MOST = 1000
#: Samples that a library has at least.
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """How to train networks on a library.

    Attributes
    ----------
    members : int
        Networks, each with another fifth of the library to stop by.
    training : Training
        The published schedule by default.
    shape : Spec, optional
        Shape of the networks; the 1D-ResNet of He et al. by default.
    kind : str
        Kind of the shape.
    """

    members: int = 3
    training: Training = field(default_factory=Training)
    shape: Spec | None = None
    kind: str = "resnet"

    def __post_init__(self) -> None:
        if self.kind not in NETS or (self.shape is None and self.kind != "resnet"):
            raise UsageError(f"no shape of kind {self.kind!r} is known", code="GS-PRETRAIN")
        if self.members < 1:
            raise UsageError(f"{self.members} networks cannot be trained", code="GS-PRETRAIN")


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How to tune what was pre-trained.

    Attributes
    ----------
    way : str
        ``joint``: a ridge regression of what the frozen networks make of a spectrum, and one of the spectrum itself,
        are averaged; penalties and weights follow from errors of samples left out, in closed form. ``published``: the
        dense layers are trained on, as He et al. (2025) do.
    frozen : int, optional
        Of the published way: leading parts that stay (the first convolution is one, each residual block, and the last
        convolution); all of them by default. -1 frees the last convolution, 0 all.
    reset_dense : bool
        Of the published way: dense layers start anew rather than from the source's.
    training : Training
        Of the published way.
    evenness : float
        Of the joint way: how strongly the two weights are held at one half. With 0 the errors of samples left out
        alone decide, which is unsteady for few samples.
    """

    way: Way = "joint"
    frozen: int | None = None
    reset_dense: bool = False
    training: Training = field(default_factory=Training)
    evenness: float = 0.5

    def __post_init__(self) -> None:
        if self.way not in get_args(Way) or not self.evenness >= 0:
            raise UsageError(
                "settings of the tuning are out of range",
                code="GS-TUNE",
                details=[f"way {self.way!r}, evenness {self.evenness}"],
                hint=f"take one of {', '.join(get_args(Way))}, and an evenness of 0 or more",
            )


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Networks that know a library; an ordinary value that can be sent to other processes.

    Attributes
    ----------
    kind, spec
        Of the networks; one output a property.
    weights : dict of (M, ...) float32
        Of the M members, by name.
    centre, spread : (K,) float64
        Standardisation of the K properties.
    rmse : (M,) float64
        Error of each member on the part of the library that it stopped by, in standard deviations.
    """

    kind: str
    spec: Spec
    weights: dict[str, Float32]
    centre: Float64
    spread: Float64
    rmse: Float64

    @property
    def members(self) -> int:
        """Number of networks, M."""
        return len(self.rmse)

    def network(self, member: int) -> Any:
        """A member as a module of its own, in evaluation mode."""
        return module_of(self.kind, self.spec, {name: one[member] for name, one in self.weights.items()})

    def head(self) -> NetHead:
        """The networks themselves, as a model of their first property."""
        nets = [_first_output(self.kind, self.network(member)) for member in range(self.members)]
        error = float(np.sqrt(np.mean(self.rmse**2))) * float(self.spread[0])
        return NetHead.of(self.kind, nets, float(self.centre[0]), float(self.spread[0]), error)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        arrays = {f"net.{name}": one for name, one in self.weights.items()}
        scales = {"centre": self.centre, "spread": self.spread, "rmse": self.rmse}
        return {"net": self.kind, "spec": self.spec.to_meta(), "members": self.members}, {**arrays, **scales}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Pretrained:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        kind, shape, members = meta.get("net"), meta.get("spec"), int(number(meta, "members"))
        if kind not in NETS or not isinstance(shape, Mapping) or not 1 <= members <= _MOST:
            raise damaged("the networks")
        spec: Spec = NETS[kind][0].from_meta(shape)
        nets = {name.removeprefix("net."): one for name, one in arrays.items() if name.startswith("net.")}
        spread = array(arrays, "spread", spec.outputs)
        if (spread <= 0).any():
            raise damaged("the scales")
        weights = checked_weights(kind, spec, nets, members)
        return cls(kind, spec, weights, array(arrays, "centre", spec.outputs), spread, array(arrays, "rmse", members))


def pretrain(
    source: Source,
    settings: PretrainSettings | None = None,
    seed: int = 0,
    *,
    others: ArrayLike | None = None,
    checkpoint: Path | None = None,
    progress: Progress = quiet,
) -> Pretrained:
    """Train networks on a library.

    Parameters
    ----------
    source : Source
        Spectra and the property.
    settings : PretrainSettings, optional
        The published ones by default.
    seed : int
        Of draws and parts.
    others : (N, K - 1) array-like, optional
        Further properties of the same samples, NaN where they were not measured; the networks learn all at once.
    checkpoint : path, optional
        Folder for the states of trainings, which go on from there.

    Raises
    ------
    InputError
        ``GS-SAMPLES-FEW``, ``GS-TARGET-CONSTANT``, ``GS-SPECTRA-SHAPE``.
    """
    settings = settings if settings is not None else PretrainSettings()
    values = _properties(source, others)
    centre, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    if not (spread > 0).all():
        raise InputError("a property of the library is constant", code="GS-TARGET-CONSTANT", hint="leave it out")
    shape = settings.shape if settings.shape is not None else ResNetSpec(source.X.shape[1])
    spec = _with(shape, outputs=values.shape[1])
    nets, errors = [], []
    for member, out in enumerate(stopping_parts(len(source), settings.members, None, seed)):
        net, fit = train_member(
            settings.kind,
            spec,
            source.X,
            (values - centre) / spread,
            out,
            settings.training,
            seed * 1009 + member,
            checkpoint=None if checkpoint is None else checkpoint / f"source-{member}.safetensors",
            progress=progress,
            message=f"training network {member + 1} of {settings.members} on the library",
        )
        nets.append(arrays_of(net))
        errors.append(np.sqrt(fit.best))
    weights = {name: np.stack([one[name] for one in nets]) for name in nets[0]}
    return Pretrained(settings.kind, spec, weights, centre, spread, np.array(errors))


def fit_tuned(
    X: Float64,
    y: Float64,
    pretrained: Pretrained,
    settings: TuneSettings | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> NetHead:
    """A model of few samples on networks that know a library; every choice is made on the samples given.

    Parameters
    ----------
    X : (n, F) float64
        Features, as those of the library.
    y : (n,) float64
        Any property, on the scale that it shall be predicted on.
    pretrained : Pretrained
        From `pretrain`.
    settings : TuneSettings, optional
        The joint way by default.
    groups : (n,) array-like, optional
        Samples of one group are left out together.
    seed : int
        Of draws and parts.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``: other features than the library's. ``GS-SAMPLES-FEW``, ``GS-FOLDS``.
    """
    settings = settings if settings is not None else TuneSettings()
    if X.shape[1] != pretrained.spec.bands:
        raise InputError(
            f"{X.shape[1]} features for networks that were pre-trained on {pretrained.spec.bands}",
            code="GS-SPECTRA-SHAPE",
            hint="put the library on the bands of the samples before pre-training",
        )
    if settings.way == "joint":
        return _joint(X, y, pretrained, settings.evenness, groups)
    return _published(X, y, pretrained, settings, groups, seed)


def _joint(X: Float64, y: Float64, pretrained: Pretrained, evenness: float, groups: ArrayLike | None) -> NetHead:
    """The weighted mean of a ridge regression of spectra and one of what the frozen trunks give."""
    shape = _with(pretrained.spec, outputs=1, dense=(), output="linear")
    nets = [_without_dense(pretrained.kind, shape, pretrained.network(one)) for one in range(pretrained.members)]
    learned = [_through(net.trunk, X) for net in nets]
    plain = fit_scaled_ridge(X, y, groups)
    deep = fit_ridge(np.hstack(learned), y, groups)
    left_out = np.column_stack([plain.left_out, deep.left_out])
    weight = blend_weights(left_out, y, evenness)
    parts = np.split(deep.coef, np.cumsum([one.shape[1] for one in learned])[:-1])
    for net, coef in zip(nets, parts, strict=True):
        # A head gives the mean over its networks; the ridge regression sums them up.
        net.head.weight.data = torch.from_numpy((weight[1] * len(nets) * coef[None]).astype(np.float32))
        net.head.bias.data.zero_()
    error = float(np.sqrt(np.mean((y - left_out @ weight) ** 2)))
    centre = float(weight @ [plain.intercept, deep.intercept])
    return NetHead.of(pretrained.kind, nets, centre, 1.0, error, slope=weight[0] * plain.coef)


def _published(
    X: Float64, y: Float64, pretrained: Pretrained, settings: TuneSettings, groups: ArrayLike | None, seed: int
) -> NetHead:
    """Each network's dense layers trained on; what is frozen runs once."""
    centre, spread = float(y.mean()), float(y.std())
    target = ((y - centre) / spread)[:, None]
    nets, squared = [], 0.0
    for member, out in enumerate(stopping_parts(len(y), pretrained.members, groups, seed)):
        net = _first_output(pretrained.kind, pretrained.network(member))
        nets.append(net)
        squared += _tune(net, X, target, out, settings, seed * 1009 + member).best / pretrained.members
    return NetHead.of(pretrained.kind, nets, centre, spread, float(np.sqrt(squared)) * spread)


def _tune(net: Any, X: Float64, target: Float64, out: Bool, settings: TuneSettings, seed: int) -> Fit:
    """Train what is not frozen, in place."""
    stages = net.stages()
    count = len(stages) if settings.frozen is None else settings.frozen
    frozen, free = stages[:count], stages[len(stages[:count]) :]
    for stage in frozen:
        stage.requires_grad_(requires_grad=False)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.reset_dense:
            _reset(net)
        start = _through(nn.Sequential(_Pooled(net), *frozen), X)
        inputs = torch.from_numpy(start.astype(np.float32))
        return train_network(
            net,
            lambda x: net.dense(nn.Sequential(*free)(x)),
            part_of(inputs, target, ~out),
            part_of(inputs, target, out),
            settings.training.schedule(int((~out).sum())),
            seed=seed,
            frozen=frozen,
        )


class _Pooled(nn.Module):
    """What a network does to spectra before its first part."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, X: Tensor) -> Tensor:
        found: Tensor = self.net.pooled(X)
        return found


def _reset(net: Any) -> None:
    """New weights for the dense layers."""
    for part in (net.layers, net.head):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.BatchNorm1d)):
                module.reset_parameters()


def _through(part: Callable[[Tensor], Tensor], X: Float64) -> Float64:
    """What a frozen part of a network makes of spectra."""
    inputs = torch.from_numpy(X.astype(np.float32))
    with one_thread(), torch.inference_mode():
        found = torch.cat([part(block) for block in torch.split(inputs, _BLOCK)])
    return found.numpy().astype(np.float64)


def _first_output(kind: str, net: Any) -> Any:
    """The same network with its first output alone, in evaluation mode."""
    one = arrays_of(net)
    kept = {**one, "head.weight": one["head.weight"][:1], "head.bias": one["head.bias"][:1]}
    return module_of(kind, _with(net.spec, outputs=1), kept)


def _without_dense(kind: str, shape: Spec, net: Any) -> Any:
    """The same network with a linear map behind its trunk."""
    kept = {name: one for name, one in arrays_of(net).items() if not name.startswith(("layers.", "head."))}
    zeros = {"head.weight": np.zeros((1, shape.flat), np.float32), "head.bias": np.zeros(1, np.float32)}
    return module_of(kind, shape, {**kept, **zeros})


def _with(spec: Any, **changes: Any) -> Any:
    """A shape with changes; those that the shape does not know are left out."""
    known = {one.name for one in fields(spec)}
    return replace(spec, **{name: value for name, value in changes.items() if name in known})


def _properties(source: Source, others: ArrayLike | None) -> Float64:
    """All properties of a library (N, K), the first one first."""
    if len(source) < _FEWEST:
        raise InputError(f"{len(source)} samples are too few to pre-train on", code="GS-SAMPLES-FEW")
    if others is None:
        return source.y[:, None]
    more = np.asarray(others, np.float64)
    if more.ndim != 2 or len(more) != len(source):
        raise InputError(f"further properties of shape {more.shape} for {len(source)} samples", code="GS-SPECTRA-SHAPE")
    return np.column_stack([source.y, np.where(np.isfinite(more), more, np.nan)])
