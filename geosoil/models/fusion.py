"""Satellite spectra made laboratory-like: fitted on pairs, applied to every spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import Tensor

from geosoil.errors import InputError, ModelError, UsageError, listing
from geosoil.models.fusion_loss import divergence, kernel_variances, mmd, spectral_angle
from geosoil.models.fusion_nets import Chains, Dense, Scale, SpectrumNet, dense_of, pack, unpack
from geosoil.models.loop import one_thread
from geosoil.models.standardise import Affine, direct, orthogonal, partial_least_squares, piecewise, shrunken
from geosoil.prep.split import random_folds
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = [
    "KINDS",
    "FusionSettings",
    "LinearTranslator",
    "NetTranslator",
    "Translator",
    "cross_generate",
    "fit_translator",
    "restore_translator",
]

KINDS = ("ridge", "none", "ds", "pds", "epo", "pls", "autoencoder", "vae")
_LINEAR = frozenset(("ridge", "none", "ds", "pds", "epo", "pls"))
#: Fewer pairs say nothing about hundreds of bands.
_FEWEST = 10
#: Components of a kind that were not asked for.
_COMPONENTS = {"pds": 2, "epo": 2}
#: Draws that a search for seeds keeps, and the window of their smoothing.
_BEST, _SMOOTH = 3, 11


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """How satellite spectra are made laboratory-like.

    The default is the linear map that shrinks what the pairs do not bear out; on real pairs it did better than any
    network. The defaults of the networks are those of Ou et al.'s variational auto-encoder, with their slips
    put right; `FusionSettings.of` gives what suits a kind.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    penalty : float, optional
        Of ``ridge``; None: the one that reproduces left-out laboratory spectra best. See `standardise.shrunken`.
    components : int, optional
        Of ``pds`` (each window's PLS), ``epo`` (directions removed) and ``pls``; None: 2, 2, and the count that
        reproduces held-out laboratory spectra best.
    window : int
        Bands on each side that ``pds`` takes.
    hidden, latent, dropout
        Widths of the encoder (the decoder mirrors them), number of latent values, share dropped.
    mmd, sad, kld, mse : float
        Weights of the losses: discrepancy of the distributions, spectral angle, divergence from the prior, squared
        error in units of the laboratory bands' variances.
    unbiased : bool
        The estimate of the discrepancy that leaves the diagonals out.
    widths : tuple of float
        Kernel variances, in units of the median squared distance.
    convention : "corrected" or "published"
        The paper draws with the latent output as log-SD, takes it as log-variance in the divergence, and leaves out the
        factor 1/2 there.
    base : "none", "input" or "linear"
        What the network's output is added to: nothing, the satellite spectrum, or its map by ``ridge``.
    scale_output : bool
        Whether the network gives standardised spectra, which are scaled back; else it gives them in their own unit.
    output : "linear" or "sigmoid"
        The last activation; a sigmoid suits reflectance and nothing else, and goes without base and scaling.
    learning_rate, epochs, batch, clip
        Of Adam; gradients are clipped to the norm `clip`.
    noise : float
        SD of the noise that is added to the standardised input in training.
    members : int
        Networks with different seeds, whose outputs are averaged.
    n_draws : int
        0: the latent mean is decoded. Else so many draws of the latent values are, and averaged. A draw's noise is the
        same for every spectrum, so that a pixel does not depend on its neighbours.
    seed_search : int
        So many draws are tried, and the three whose spectra correlate best with the target are averaged and smoothed,
        as published. Needs the target. Correlations found this way are **optimistic**: with 61 samples noise alone
        reaches 0.48. For comparison only.
    """

    kind: str = "ridge"
    penalty: float | None = None
    components: int | None = None
    window: int = 5
    hidden: tuple[int, ...] = (256, 128, 64)
    latent: int = 16
    dropout: float = 0.4
    mmd: float = 1.0
    sad: float = 0.1
    kld: float = 1.0
    mse: float = 0.0
    unbiased: bool = False
    widths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    convention: Literal["corrected", "published"] = "corrected"
    base: Literal["none", "input", "linear"] = "none"
    scale_output: bool = False
    output: Literal["linear", "sigmoid"] = "linear"
    learning_rate: float = 1e-4
    epochs: int = 100
    batch: int = 32
    clip: float = 1.0
    noise: float = 0.0
    members: int = 1
    n_draws: int = 0
    seed_search: int = 0

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise UsageError(f"the fusion cannot be fitted: {wrong}", code="GS-FUSION")

    @classmethod
    def of(cls, kind: str, **changes: Any) -> Self:
        """The settings that suit a kind, some of them changed.

        >>> FusionSettings.of("autoencoder").mse, FusionSettings.of("vae", epochs=300).epochs
        (1.0, 300)
        """
        own: dict[str, Any] = {}
        if kind == "autoencoder":
            own = {"mmd": 0.0, "sad": 0.0, "kld": 0.0, "mse": 1.0, "scale_output": True}
        return cls(**{"kind": kind, **own, **changes})


def _wrong(settings: FusionSettings) -> str:
    """What does not go together, or an empty text."""
    checks = {
        f"kind {settings.kind!r} is none of {', '.join(KINDS)}": settings.kind not in KINDS,
        "penalty must be 0 or more": settings.penalty is not None and not 0 <= settings.penalty < float("inf"),
        "components must be 1 or more": settings.components is not None and settings.components < 1,
        "window must be 1 or more": settings.window < 1,
        "widths of layers must be 1 or more": min((*settings.hidden, settings.latent)) < 1,
        "dropout must be in [0, 1)": not 0 <= settings.dropout < 1,
        "weights of losses must be 0 or more": min(settings.mmd, settings.sad, settings.kld, settings.mse) < 0,
        "one of mmd, sad and mse must be above 0": max(settings.mmd, settings.sad, settings.mse) <= 0,
        "kernel widths must be above 0": not settings.widths or min(settings.widths) <= 0,
        "epochs, batch and members must be 1 or more": min(settings.epochs, settings.batch, settings.members) < 1,
        "learning_rate and clip must be above 0": min(settings.learning_rate, settings.clip) <= 0,
        "noise, n_draws and seed_search must be 0 or more": min(settings.noise, settings.n_draws, settings.seed_search)
        < 0,
        "a sigmoid output goes without base and scale_output": settings.output == "sigmoid"
        and (settings.base != "none" or settings.scale_output),
        "a search for seeds smooths, which a sigmoid output does not take": settings.output == "sigmoid"
        and settings.seed_search > 0,
        "an auto-encoder draws nothing": settings.kind == "autoencoder"
        and (settings.n_draws > 0 or settings.seed_search > 0),
    }
    return next((text for text, holds in checks.items() if holds), "")


class Translator(Protocol):
    """A fitted map of satellite spectra to laboratory-like ones on the same bands."""

    @property
    def kind(self) -> str:
        """One of `KINDS`, by which `restore_translator` finds the class again."""
        ...

    @property
    def bands(self) -> int:
        """Number of bands, p."""
        ...

    def generate(self, satellite: Float32) -> Float32:
        """Spectra (n, p) to (n, p); the same spectrum always gives the same one."""
        ...

    def chains(self) -> Chains | None:
        """The translator as dense layers, for a map to fold into what follows; None where draws are averaged."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a model file holds: JSON values, and arrays by name."""
        ...


@dataclass(frozen=True, eq=False)
class LinearTranslator:
    """A matrix and an offset.

    Attributes
    ----------
    map : Dense
        ``generated = satellite @ weight.T + bias``.
    """

    kind: str
    map: Dense

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.map.bias)

    def generate(self, satellite: Float32) -> Float32:
        """Spectra (n, p) to (n, p)."""
        return self.map(_spectra(satellite, self.bands))

    def chains(self) -> Chains:
        """The map, and no chain."""
        return Chains((), self.map)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        return {"bands": self.bands}, pack("map", self.map)

    @classmethod
    def restore(cls, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LinearTranslator:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED``."""
        bands = int(meta["bands"])
        return cls(kind, unpack(arrays, "map", "linear", bands, bands))


@dataclass(frozen=True, eq=False)
class Member:
    """One network as arrays, scaling folded in.

    Attributes
    ----------
    encoder, decoder : tuple of Dense
    mean : Dense
        Latent means.
    spread : Dense, optional
        Latent log-variances; kept where they are drawn from.
    """

    encoder: tuple[Dense, ...]
    mean: Dense
    decoder: tuple[Dense, ...]
    spread: Dense | None = None

    @property
    def chain(self) -> tuple[Dense, ...]:
        """The layers that the latent mean goes through."""
        return (*self.encoder, self.mean, *self.decoder)

    def draw(self, rows: Float32, noise: Float32) -> Float32:
        """Spectra from the latent mean plus its SD times the noise (latent,)."""
        for layer in self.encoder:
            rows = layer(rows)
        assert self.spread is not None  # noqa: S101 - kept whenever there are draws
        found: Float32 = np.asarray(self.mean(rows) + np.exp(self.spread(rows) / 2) * noise, np.float32)
        for layer in self.decoder:
            found = layer(found)
        return found


@dataclass(frozen=True, eq=False)
class NetTranslator:
    """Networks, whose outputs are averaged, and the linear part that they are added to.

    Attributes
    ----------
    members : tuple of Member
    skip : Dense, optional
        What the networks' mean is added to.
    draws : (k, latent) float32
        Latent noise; without rows the latent mean is decoded.
    sigmoid : bool
        Whether the last activation is a sigmoid.
    """

    kind: str
    members: tuple[Member, ...]
    skip: Dense | None
    draws: Float32
    sigmoid: bool = False

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.members[0].decoder[-1].bias)

    def generate(self, satellite: Float32) -> Float32:
        """Spectra (n, p) to (n, p)."""
        rows = _spectra(satellite, self.bands)
        chains = self.chains()
        if chains is not None:
            return chains(rows)
        total = np.zeros(rows.shape, np.float32) if self.skip is None else self.skip(rows)
        share = np.float32(1 / (len(self.members) * len(self.draws)))
        for member in self.members:
            for noise in self.draws:
                total += member.draw(rows, noise) * share
        return total

    def chains(self) -> Chains | None:
        """The dense layers; None where draws are averaged."""
        return None if len(self.draws) else Chains(tuple(one.chain for one in self.members), self.skip)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        arrays: dict[str, NDArray[Any]] = {"draws": self.draws}
        for place, member in enumerate(self.members):
            for name, layers in (("encoder", member.encoder), ("decoder", member.decoder)):
                for depth, layer in enumerate(layers):
                    arrays |= pack(f"{place}.{name}.{depth}", layer)
            arrays |= pack(f"{place}.mean", member.mean)
            if member.spread is not None:
                arrays |= pack(f"{place}.spread", member.spread)
        if self.skip is not None:
            arrays |= pack("skip", self.skip)
        meta = {
            "bands": self.bands,
            "members": len(self.members),
            "depth": len(self.members[0].encoder),
            "skip": self.skip is not None,
            "sigmoid": self.sigmoid,
        }
        return meta, arrays

    @classmethod
    def restore(cls, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> NetTranslator:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED``."""
        bands, depth, count = int(meta["bands"]), int(meta["depth"]), int(meta["members"])
        draws, sigmoid = np.asarray(arrays["draws"], np.float32), bool(meta["sigmoid"])
        if not (0 <= depth <= 16 and 1 <= count <= 1000 and draws.ndim == 2 and np.isfinite(draws).all()):
            raise ModelError("the translator's networks do not fit", code="GS-MODEL-DAMAGED")
        members = tuple(_restored_member(arrays, str(place), bands, depth, draws, sigmoid) for place in range(count))
        skip = unpack(arrays, "skip", "linear", bands, bands) if meta["skip"] else None
        return cls(kind, members, skip, draws, sigmoid)


def _restored_member(
    arrays: Mapping[str, NDArray[Any]], name: str, bands: int, depth: int, draws: Float32, sigmoid: bool
) -> Member:
    width, encoder = bands, []
    for place in range(depth):
        encoder.append(unpack(arrays, f"{name}.encoder.{place}", "relu", width))
        width = len(encoder[-1].bias)
    mean = unpack(arrays, f"{name}.mean", "linear", width)
    latent = len(mean.bias)
    spread = None
    if len(draws):
        spread = unpack(arrays, f"{name}.spread", "linear", width, latent)
        if draws.shape[1] != latent:
            raise ModelError("the translator's draws do not fit", code="GS-MODEL-DAMAGED")
    width, decoder = latent, []
    for place in range(depth + 1):
        last = place == depth
        activation: Literal["linear", "relu", "sigmoid"] = "relu" if not last else "sigmoid" if sigmoid else "linear"
        decoder.append(unpack(arrays, f"{name}.decoder.{place}", activation, width, bands if last else None))
        width = len(decoder[-1].bias)
    return Member(tuple(encoder), mean, tuple(decoder), spread)


def restore_translator(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Translator:
    """The translator that `state` described; raises ModelError ``GS-MODEL-DAMAGED`` where something does not fit."""
    if kind not in KINDS:
        raise ModelError(f"translator {kind!r} is not known", code="GS-MODEL-DAMAGED")
    try:
        if kind in _LINEAR:
            return LinearTranslator.restore(kind, meta, arrays)
        return NetTranslator.restore(kind, meta, arrays)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the translator is damaged: {error}", code="GS-MODEL-DAMAGED") from error


def fit_translator(
    settings: FusionSettings,
    satellite: ArrayLike,
    laboratory: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y: ArrayLike | None = None,
    seed: int = 0,
    progress: Progress = quiet,
) -> Translator:
    """Learn to make laboratory-like spectra from satellite spectra of the same samples.

    Parameters
    ----------
    settings : FusionSettings
    satellite, laboratory : (n, p)
        Spectra of the same samples on the same bands, after preprocessing; training samples only.
    groups : (n,), optional
        Sample that a pair belongs to, where one has several pairs; searches keep them together.
    y : (n,), optional
        The target; ``seed_search`` alone looks at it.
    seed : int
        One seed gives one translator.

    Raises
    ------
    InputError
        ``GS-PAIRS-SHAPE``: the spectra are no pairs. ``GS-PAIRS-GAPS``: they have gaps. ``GS-PAIRS-FEW``: they are
        fewer than 10.
    UsageError
        ``GS-FUSION``: a search for seeds lacks the target.
    """
    near, far = _pairs(satellite, laboratory)
    names = np.arange(len(near)) if groups is None else _per_pair(groups, len(near), "groups")
    if settings.kind in _LINEAR:
        return LinearTranslator(settings.kind, _dense(_linear(settings, near, far, names, seed)))
    target = None if y is None else _per_pair(y, len(near), "values of the target").astype(np.float64)
    if settings.seed_search and target is None:
        raise UsageError("a search for seeds needs the target", code="GS-FUSION", hint="pass y, or set seed_search=0")
    with one_thread():
        return _networks(settings, near, far, names, target, seed, progress)


def cross_generate(
    settings: FusionSettings,
    satellite: ArrayLike,
    laboratory: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y: ArrayLike | None = None,
    folds: int = 10,
    seed: int = 0,
    progress: Progress = quiet,
) -> Float32:
    """Generated spectra of the training pairs, each from a translator that its group had no part in.

    A translator makes spectra that it was fitted on more laboratory-like than new ones. A model that is fitted on
    those learns to trust them too far; on these it learns what generated spectra are worth.

    Parameters
    ----------
    folds : int
        At most; fewer where there are fewer groups.

    Other parameters, and errors, are those of `fit_translator`.

    Returns
    -------
    (n, p) float32
    """
    near, far = _pairs(satellite, laboratory)
    names = np.arange(len(near)) if groups is None else _per_pair(groups, len(near), "groups")
    target = None if y is None else _per_pair(y, len(near), "values of the target")
    fold = random_folds(names, min(folds, len(np.unique(names))), seed)
    found = np.empty(near.shape, np.float32)
    count = int(fold.max()) + 1
    for one in range(count):
        out = fold == one
        rest = None if target is None else target[~out]
        made = fit_translator(settings, near[~out], far[~out], groups=names[~out], y=rest, seed=seed)
        found[out] = made.generate(near[out].astype(np.float32))
        progress(one + 1, count, "generating held-out spectra")
    return found


def _linear(settings: FusionSettings, near: Float64, far: Float64, groups: Int64, seed: int) -> Affine:
    components = settings.components or _COMPONENTS.get(settings.kind, 1)
    match settings.kind:
        case "ridge":
            return shrunken(near, far, penalty=settings.penalty, groups=groups)
        case "ds":
            return direct(near, far)
        case "pds":
            return piecewise(near, far, window=settings.window, components=components)
        case "epo":
            return orthogonal(near, far, components=components)
        case "pls":
            return partial_least_squares(near, far, components=settings.components, groups=groups, seed=seed)
    return np.eye(near.shape[1]), np.zeros(near.shape[1])


def _networks(
    settings: FusionSettings,
    near: Float64,
    far: Float64,
    groups: Int64,
    y: Float64 | None,
    seed: int,
    progress: Progress,
) -> NetTranslator:
    skip = _base(settings, near, far, groups)
    rest = far if skip is None else far - skip(near.astype(np.float32))
    inside = Scale.of(near)
    outside = Scale.of(rest) if settings.scale_output else Scale(np.zeros(near.shape[1]), np.ones(near.shape[1]))
    members = []
    for place in range(settings.members):
        net = _trained(settings, near, far, skip, inside, outside, seed + 7919 * place, place, progress)
        members.append(_member(net, settings, inside, outside))
    draws = np.zeros((0, settings.latent), np.float32)
    if settings.n_draws:
        draws = _noise(seed, settings.n_draws, settings.latent)
    found = NetTranslator(settings.kind, tuple(members), skip, draws, settings.output == "sigmoid")
    return found if y is None or not settings.seed_search else _searched(settings, found, near, y, seed)


def _base(settings: FusionSettings, near: Float64, far: Float64, groups: Int64) -> Dense | None:
    match settings.base:
        case "input":
            return _dense((np.eye(near.shape[1]), np.zeros(near.shape[1])))
        case "linear":
            return _dense(shrunken(near, far, penalty=settings.penalty, groups=groups))
    return None


def _trained(
    settings: FusionSettings,
    near: Float64,
    far: Float64,
    skip: Dense | None,
    inside: Scale,
    outside: Scale,
    seed: int,
    member: int,
    progress: Progress,
) -> SpectrumNet:
    """One network, trained for all its epochs: there are too few pairs to spare some for early stopping."""
    variances = kernel_variances(np.vstack([near, far]).astype(np.float32), settings.widths)
    x, wanted = torch.from_numpy(inside.forward(near)), torch.from_numpy(far.astype(np.float32))
    base = torch.zeros_like(wanted) if skip is None else torch.from_numpy(skip(near.astype(np.float32)))
    mean, spread = (torch.from_numpy(one.astype(np.float32)) for one in (outside.mean, outside.spread))
    unit = torch.from_numpy(Scale.of(far).spread.astype(np.float32))
    total = settings.members * settings.epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _net(settings, near.shape[1])
        optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, fused=True)
        net.train()
        for epoch in range(settings.epochs):
            for rows in _batches(len(x), settings.batch):
                seen = x[rows] + settings.noise * torch.randn(len(rows), x.shape[1]) if settings.noise else x[rows]
                found, centre, wide = net(seen, _latent_noise(settings, len(rows)))
                loss = _loss(settings, base[rows] + mean + spread * found, wanted[rows], unit, variances)
                if wide is not None:
                    weight = settings.kld
                    loss = loss + weight * divergence(centre, wide, published=settings.convention == "published")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
                optimizer.step()
            if not torch.isfinite(loss):
                raise ModelError(
                    f"the loss is not finite in epoch {epoch + 1}",
                    code="GS-TRAIN-DIVERGED",
                    hint="take a lower learning rate",
                )
            progress(member * settings.epochs + epoch + 1, total, "learning laboratory-like spectra")
    return net.eval()


def _net(settings: FusionSettings, bands: int) -> SpectrumNet:
    return SpectrumNet(
        bands,
        settings.hidden,
        settings.latent,
        settings.dropout,
        variational=settings.kind != "autoencoder",
        sigmoid=settings.output == "sigmoid",
        log_sd=settings.convention == "published",
    )


def _latent_noise(settings: FusionSettings, count: int) -> Tensor | None:
    return None if settings.kind == "autoencoder" else torch.randn(count, settings.latent)


def _batches(count: int, batch: int) -> tuple[Tensor, ...]:
    """All pairs in a new order, in batches of nearly the same size; a distribution needs more than one."""
    return torch.tensor_split(torch.randperm(count), max(1, round(count / batch)))


def _loss(
    settings: FusionSettings, found: Tensor, wanted: Tensor, unit: Tensor, variances: tuple[float, ...]
) -> Tensor:
    """What generated and laboratory spectra differ by."""
    total = torch.zeros(())
    if settings.mmd:
        total = total + settings.mmd * mmd(found, wanted, variances, unbiased=settings.unbiased)
    if settings.sad:
        total = total + settings.sad * spectral_angle(found, wanted)
    if settings.mse:
        total = total + settings.mse * (((found - wanted) / unit) ** 2).mean()
    return total


def _member(net: SpectrumNet, settings: FusionSettings, inside: Scale, outside: Scale) -> Member:
    """The trained network as arrays, with the scaling of its input and output folded in."""
    encoder = [dense_of(layer, "relu") for layer in net.encoder]
    mean = dense_of(net.mean)
    spread = None
    if net.spread is not None and (settings.n_draws or settings.seed_search):
        spread = dense_of(net.spread)
        # A log-SD is half a log-variance.
        spread = Dense(spread.weight * np.float32(2 * net.power), spread.bias * np.float32(2 * net.power))
    if encoder:
        encoder[0] = encoder[0].after(inside)
    else:
        mean, spread = mean.after(inside), None if spread is None else spread.after(inside)
    decoder = [dense_of(layer, "relu") for layer in net.decoder]
    last = dense_of(net.decoder[-1], "sigmoid" if net.sigmoid else "linear")
    decoder[-1] = last if net.sigmoid else last.before(outside)
    return Member(tuple(encoder), mean, tuple(decoder), spread)


def _noise(seed: int, count: int, latent: int) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, latent)).astype(np.float32)


def _searched(settings: FusionSettings, found: NetTranslator, near: Float64, y: Float64, seed: int) -> NetTranslator:
    """The translator with the three draws whose spectra follow the target best, smoothed."""
    draws = _noise(seed, settings.seed_search, settings.latent)
    rows = near.astype(np.float32)
    score = [_agreement(replace(found, draws=one[None]).generate(rows), y) for one in draws]
    best = draws[np.argsort(score)[::-1][:_BEST]]
    smooth = _smoother(found.bands)
    members = tuple(replace(one, decoder=(*one.decoder[:-1], one.decoder[-1].then(smooth))) for one in found.members)
    return replace(found, draws=best, members=members, skip=None if found.skip is None else found.skip.then(smooth))


def _agreement(spectra: Float32, y: Float64) -> float:
    """Mean absolute correlation of the bands with the target."""
    bands, target = spectra - spectra.mean(axis=0), y - y.mean()
    length = np.sqrt((bands.astype(np.float64) ** 2).sum(axis=0) * (target**2).sum())
    return float(np.abs(target @ bands / np.maximum(length, 1e-12)).mean())


def _smoother(bands: int) -> Float64:
    """Savitzky-Golay smoothing as a matrix, (p, p)."""
    window = min(_SMOOTH, bands - 1 + bands % 2)
    if window < 5:
        return np.eye(bands)
    return np.asarray(savgol_filter(np.eye(bands), window, 2, axis=0), np.float64)


def _dense(affine: Affine) -> Dense:
    matrix, offset = affine
    return Dense(np.ascontiguousarray(matrix.T, np.float32), offset.astype(np.float32))


def _spectra(satellite: Float32, bands: int) -> Float32:
    rows = np.ascontiguousarray(satellite, np.float32)
    if rows.ndim != 2 or rows.shape[1] != bands:
        raise InputError(
            f"the translator takes spectra of {bands} bands", code="GS-PAIRS-SHAPE", details=[f"found: {rows.shape}"]
        )
    return rows


def _pairs(satellite: ArrayLike, laboratory: ArrayLike) -> tuple[Float64, Float64]:
    near, far = np.asarray(satellite, np.float64), np.asarray(laboratory, np.float64)
    if near.ndim != 2 or near.shape != far.shape or not near.shape[1]:
        raise InputError(
            "satellite and laboratory spectra are not paired",
            code="GS-PAIRS-SHAPE",
            details=[f"satellite: {near.shape}", f"laboratory: {far.shape}"],
            hint="give one row a sample on both sides, resampled to the same bands",
        )
    for name, rows in (("satellite", near), ("laboratory", far)):
        gaps = ~np.isfinite(rows).all(axis=1)
        if gaps.any():
            raise InputError(
                f"{int(gaps.sum())} {name} spectra have gaps",
                code="GS-PAIRS-GAPS",
                details=[f"rows: {listing(np.flatnonzero(gaps).tolist())}"],
                hint="leave these samples out, or bands that the sensor lacks",
            )
    if len(near) < _FEWEST:
        raise InputError(
            f"{len(near)} pairs of spectra are too few, at least {_FEWEST} are needed", code="GS-PAIRS-FEW"
        )
    return near, far


def _per_pair(values: ArrayLike, count: int, what: str) -> NDArray[Any]:
    found = np.asarray(values)
    if found.shape != (count,):
        raise InputError(
            f"{count} pairs of spectra, and {what} of shape {found.shape}",
            code="GS-PAIRS-SHAPE",
            hint="give one entry a pair",
        )
    return found
