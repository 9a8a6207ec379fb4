"""Partial pooling and mixtures as layers that run forwards and backwards, for their contributions by band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geosoil.models.gradients import Chain, Layer, Memory, Sum, scaled

if TYPE_CHECKING:
    from geosoil.models.pooled_head import Bumps, PooledHead

__all__ = ["Normalise", "Smooth", "pooled_layer", "weighted_layer"]


@dataclass(frozen=True, eq=False)
class Normalise:
    """Rows less their mean, divided by their standard deviation (n - 1)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `gradients.Layer`."""
        centred = x - x.mean(1, keepdim=True)
        spread = centred.square().sum(1, keepdim=True).div_(x.shape[1] - 1).sqrt_()
        found = centred / spread
        return found, (found, spread)

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `gradients.Layer`."""
        found, spread = memory
        across = slope - slope.mean(1, keepdim=True)
        across -= found * (found * slope).sum(1, keepdim=True) / (found.shape[1] - 1)
        return across.div_(spread)


@dataclass(frozen=True, eq=False)
class Smooth:
    """A linear function, and Gaussian bumps on some directions; both of what differs from a centre.

    A process that fits its samples closely is a sum of large terms that nearly cancel, so that all is float64 here.

    Attributes
    ----------
    centre, coef : (F,) float64 Tensor
    intercept : float
    bases : tuple of (F, C) float64 Tensor
    supports : tuple of (n, C) float64 Tensor
    duals : tuple of (n,) float64 Tensor
    gammas : tuple of float
    """

    centre: Tensor
    coef: Tensor
    intercept: float
    bases: tuple[Tensor, ...]
    supports: tuple[Tensor, ...]
    duals: tuple[Tensor, ...]
    gammas: tuple[float, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `gradients.Layer`."""
        centred = x.double() - self.centre
        total = centred @ self.coef + self.intercept
        memory = []
        for basis, support, dual, gamma in self._parts():
            at = centred @ basis
            pull = torch.cdist(at, support).square_().mul_(-gamma).exp_().mul_(dual)
            total += pull.sum(1)
            memory.append((at, pull))
        return total[:, None].to(x.dtype), memory

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `gradients.Layer`."""
        back = self.coef.expand(len(slope), -1)
        for (basis, support, _, gamma), (at, pull) in zip(self._parts(), memory, strict=True):
            back = back + 2 * gamma * (pull @ support - pull.sum(1, keepdim=True) * at) @ basis.T
        return back.to(slope.dtype) * slope

    def _parts(self) -> Sequence[tuple[Tensor, Tensor, Tensor, float]]:
        return list(zip(self.bases, self.supports, self.duals, self.gammas, strict=True))


def pooled_layer(head: PooledHead) -> Chain:
    """Partial pooling, features to the scale of the response."""
    bumps: tuple[Bumps, ...] = head.bumps
    smooth = Smooth(
        _double(head.centre),
        _double(head.coef),
        head.intercept,
        tuple(_double(one.basis) for one in bumps),
        tuple(_double(one.support) for one in bumps),
        tuple(_double(one.dual) for one in bumps),
        tuple(one.gamma for one in bumps),
    )
    return Chain((Normalise(), smooth) if head.normalised else (smooth,))


def weighted_layer(layers: Sequence[Layer], weights: Sequence[float]) -> Layer:
    """The weighted sum of functions of the same input with one output each."""
    return Sum(tuple(Chain((layer, *scaled(1, 0.0, weight))) for layer, weight in zip(layers, weights, strict=True)))


def _double(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).contiguous()
