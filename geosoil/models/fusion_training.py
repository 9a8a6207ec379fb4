"""Training of the networks that make satellite spectra laboratory-like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geosoil.errors import ModelError
from geosoil.models.fusion_layers import Dense, Scale
from geosoil.models.fusion_loss import divergence, kernel_variances, mmd, spectral_angle
from geosoil.models.fusion_nets import SpectrumNet, dense_of
from geosoil.models.fusion_settings import FusionSettings
from geosoil.models.fusion_translators import Member, NetTranslator
from geosoil.types import Progress

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = ["epochs_of", "member_of", "new_net", "train_translator"]

#: Draws that a search for seeds keeps, and the window of their smoothing.
_BEST, _SMOOTH = 3, 11


def train_translator(
    settings: FusionSettings,
    near: Float64,
    far: Float64,
    skip: Dense | None,
    y: Float64 | None,
    seed: int,
    progress: Progress,
) -> NetTranslator:
    """Networks that map satellite to laboratory spectra (n, p), beside the linear part `skip`."""
    rest = far if skip is None else far - skip(near.astype(np.float32))
    inside = Scale.of(near)
    outside = Scale.of(rest) if settings.scale_output else Scale(np.zeros(near.shape[1]), np.ones(near.shape[1]))
    members = []
    for place in range(settings.members):
        net = _trained(settings, near, far, skip, inside, outside, seed + 7919 * place, place, progress)
        members.append(member_of(net, settings, inside, outside))
    draws = np.zeros((0, settings.latent), np.float32)
    if settings.n_draws:
        draws = _noise(seed, settings.n_draws, settings.latent)
    found = NetTranslator(settings.kind, tuple(members), skip, draws, settings.output == "sigmoid")
    return found if y is None or not settings.seed_search else _searched(settings, found, near, y, seed)


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
    epochs = epochs_of(settings, len(near))
    total = settings.members * epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = new_net(settings, near.shape[1])
        optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, fused=True)
        net.train()
        for epoch in range(epochs):
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
            progress(member * epochs + epoch + 1, total, "learning laboratory-like spectra")
    return net.eval()


def new_net(settings: FusionSettings, bands: int) -> SpectrumNet:
    """A network of the shape that the settings give, untrained."""
    return SpectrumNet(
        bands,
        settings.hidden,
        settings.latent,
        settings.dropout,
        variational=settings.kind != "autoencoder",
        sigmoid=settings.output == "sigmoid",
        log_sd=settings.convention == "published",
    )


def epochs_of(settings: FusionSettings, pairs: int) -> int:
    """Epochs for so many pairs.

    >>> [epochs_of(FusionSettings(epochs=150, steps=1000), pairs) for pairs in (96, 3200)]
    [150, 10]
    """
    most = settings.epochs if settings.steps is None else -(-settings.steps // _count(pairs, settings.batch))
    return min(settings.epochs, most)


def _count(pairs: int, batch: int) -> int:
    """Batches of an epoch."""
    return max(1, round(pairs / batch))


def _latent_noise(settings: FusionSettings, count: int) -> Tensor | None:
    return None if settings.kind == "autoencoder" else torch.randn(count, settings.latent)


def _batches(count: int, batch: int) -> tuple[Tensor, ...]:
    """All pairs in a new order, in batches of nearly the same size; a distribution needs more than one."""
    return torch.tensor_split(torch.randperm(count), _count(count, batch))


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


def member_of(net: SpectrumNet, settings: FusionSettings, inside: Scale, outside: Scale) -> Member:
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
    from scipy.signal import savgol_filter

    return np.asarray(savgol_filter(np.eye(bands), window, 2, axis=0), np.float64)
