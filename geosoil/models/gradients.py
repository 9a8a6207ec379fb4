"""Networks as layers that run forwards and backwards, for many gradients of one output with respect to its input.

What automatic differentiation does in general is written out here for the layers that models of spectra have: batch
norms are folded, spectra lie channels last, and of what a layer met only that is kept which its way back needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

if TYPE_CHECKING:
    from geosoil.models.dnn import DnnHead
    from geosoil.models.fusion_layers import Chains
    from geosoil.models.resnet import ResNet1D
    from geosoil.models.svr import SvrHead

__all__ = [
    "Chain",
    "Dense",
    "Front",
    "Join",
    "Kernel",
    "Layer",
    "Mean",
    "Sum",
    "Take",
    "Traced",
    "chains_layer",
    "dnn_layer",
    "resnet_layer",
    "svr_layer",
    "together",
]

Memory: TypeAlias = Any


class Layer(Protocol):
    """A function of rows whose way back is known."""

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """Rows (n, ...) to rows (n, ...), and what `backward` needs."""
        ...

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """From the slope by the output to the slope by the input."""
        ...


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers one after the other."""

    layers: tuple[Layer, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        memory = []
        for layer in self.layers:
            x, kept = layer.forward(x)
            memory.append(kept)
        return x, memory

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        for layer, kept in zip(reversed(self.layers), reversed(memory), strict=True):
            slope = layer.backward(slope, kept)
        return slope


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of several functions of the same input: an ensemble."""

    layers: tuple[Layer, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        found = [layer.forward(x) for layer in self.layers]
        return torch.stack([one for one, _ in found]).mean(0), [kept for _, kept in found]

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        back = [layer.backward(slope, kept) for layer, kept in zip(self.layers, memory, strict=True)]
        return torch.stack(back).mean(0)


@dataclass(frozen=True, eq=False)
class Dense:
    """``activation(x @ weight.T + bias)``.

    Attributes
    ----------
    weight : (out, in) Tensor
    bias : (out,) Tensor
    leak : float
        Slope below zero: 1 for a linear layer, 0 for ReLU, between for LeakyReLU.
    sigmoid : bool
        A logistic function instead.
    """

    weight: Tensor
    bias: Tensor
    leak: float = 1.0
    sigmoid: bool = False

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        y = torch.addmm(self.bias, x, self.weight.T)
        if self.sigmoid:
            y = y.sigmoid()
            return y, y * (1 - y)
        if self.leak == 1:
            return y, None
        steep = _steepness(y, self.leak)
        return y * steep, steep

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        return (slope if memory is None else slope * memory) @ self.weight


@dataclass(frozen=True, eq=False)
class Front:
    """Weighted sums over windows of neighbouring columns, plus an offset: standardisation and average pooling in one.

    Attributes
    ----------
    width : int
        Columns that a window joins; the last one may join fewer.
    weight : (p,) Tensor
        Of the columns.
    offset : (windows,) Tensor
    """

    width: int
    weight: Tensor
    offset: Tensor

    @classmethod
    def of(cls, mean: Tensor, sd: Tensor, width: int = 1) -> Front:
        """The mean over windows of ``(x - mean) / sd``."""
        p = len(mean)
        size = torch.full((p,), float(width))
        if p % width:
            size[p - p % width :] = p % width
        bare = cls(width, 1 / (sd * size), torch.zeros(-(-p // width)))
        return cls(width, bare.weight, -bare.sums(mean[None])[0])

    def sums(self, x: Tensor) -> Tensor:
        """Rows (n, p) to (n, windows), without the offset."""
        x = x * self.weight
        if self.width == 1:
            return x
        missing = len(self.offset) * self.width - x.shape[1]
        return nn.functional.pad(x, (0, missing)).view(len(x), -1, self.width).sum(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        return self.sums(x) + self.offset, None

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        return self.spread(slope) * self.weight

    def spread(self, windows: Tensor) -> Tensor:
        """A value a window (n, windows) to its columns (n, p)."""
        return windows.repeat_interleave(self.width, 1)[:, : len(self.weight)]


@dataclass(frozen=True, eq=False)
class Join:
    """The input, and beside it what a layer makes of it."""

    layer: Layer

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        y, kept = self.layer.forward(x)
        return torch.cat([x, y], dim=1), (x.shape[1], kept)

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        own, kept = memory
        return slope[:, :own] + self.layer.backward(slope[:, own:], kept)


@dataclass(frozen=True, eq=False)
class Take:
    """Some of the columns; none twice.

    Attributes
    ----------
    columns : (k,) int64 Tensor
    """

    columns: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        return x[:, self.columns], x.shape[1]

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        back = torch.zeros(len(slope), memory, dtype=slope.dtype)
        back[:, self.columns] = slope
        return back


@dataclass(frozen=True, eq=False)
class Sum:
    """The sum of functions of the same input."""

    layers: tuple[Layer, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        found = [layer.forward(x) for layer in self.layers]
        return torch.stack([one for one, _ in found]).sum(0), [kept for _, kept in found]

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        back = [layer.backward(slope, kept) for layer, kept in zip(self.layers, memory, strict=True)]
        return torch.stack(back).sum(0)


@dataclass(frozen=True, eq=False)
class Kernel:
    """``sum(dual * exp(-gamma |x - support|**2)) + intercept``, of standardised rows.

    Attributes
    ----------
    support : (s, k) Tensor
    dual : (s,) Tensor
    """

    support: Tensor
    dual: Tensor
    gamma: float
    intercept: float

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        near = torch.cdist(x, self.support).square_().mul_(-self.gamma).exp_() * self.dual
        return near.sum(1, keepdim=True) + self.intercept, (x, near)

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        x, near = memory
        back: Tensor = 2 * self.gamma * slope * (near @ self.support - near.sum(1, keepdim=True) * x)
        return back


@dataclass(frozen=True, eq=False)
class Traced:
    """Any torch module, by automatic differentiation; for those that have no way of their own here.

    Attributes
    ----------
    module : Module
        In evaluation mode; rows (n, ...) to (n, outputs).
    """

    module: nn.Module

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """See `Layer`."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            start = x.clone().requires_grad_()
            end = self.module(start)
        return end.detach(), (start, end)

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        """See `Layer`."""
        start, end = memory
        with torch.inference_mode(mode=False):
            back: Tensor = torch.autograd.grad(end, start, slope.clone())[0]
        return back


@dataclass(frozen=True, eq=False)
class _Conv:
    """A convolution along the bands with as many positions after as before; rows (n, positions, channels)."""

    weight: Tensor
    turned: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Conv1d) -> _Conv:
        weight, bias = conv.weight.detach(), conv.bias
        # Two-dimensional with one row: that is what has fast kernels for channels last.
        flat = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        turned = weight.flip(2).transpose(0, 1)[:, :, None].contiguous(memory_format=torch.channels_last)
        return cls(flat, turned, torch.zeros(len(weight)) if bias is None else bias.detach())

    def __call__(self, x: Tensor) -> Tensor:
        return self._run(x, self.weight, self.bias)

    def back(self, slope: Tensor) -> Tensor:
        return self._run(slope, self.turned, None)

    @staticmethod
    def _run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pad = (0, weight.shape[3] // 2)
        found: Tensor = torch.conv2d(x.unsqueeze(1).permute(0, 3, 1, 2), weight, bias, padding=pad)
        return found.permute(0, 2, 3, 1).squeeze(1).contiguous()


@dataclass(frozen=True, eq=False)
class _First:
    """The first block: convolution of one channel, LeakyReLU, batch norm, and the larger of two neighbours."""

    conv: _Conv
    leak: float
    gain: Tensor
    shift: Tensor
    halve: bool

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        y = self.conv(x.unsqueeze(2))
        steep = _steepness(y, self.leak).mul_(self.gain)
        # The batch norm stands behind the activation; its gain goes with the steepness.
        y = torch.addcmul(self.shift, y, steep)
        if not self.halve:
            return y, (steep, None)
        count = y.shape[1] // 2
        pairs = y[:, : 2 * count].view(len(y), count, 2, -1)
        return pairs.amax(2), (steep, pairs[:, :, 0] >= pairs[:, :, 1])

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        steep, left = memory
        if left is not None:
            both = torch.zeros_like(steep)
            pairs = both[:, : 2 * left.shape[1]].view(len(both), left.shape[1], 2, -1)
            torch.mul(slope, left, out=pairs[:, :, 0])
            torch.sub(slope, pairs[:, :, 0], out=pairs[:, :, 1])
            slope = both
        back: Tensor = self.conv.back(slope.mul_(steep) if left is not None else slope * steep).squeeze(2)
        return back


@dataclass(frozen=True, eq=False)
class _Residual:
    """``relu(x + second(relu(first(x))))``, batch norms folded."""

    first: _Conv
    second: _Conv

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        inner = self.first(x).relu_()
        found = self.second(inner).add_(x).relu_()
        return found, (inner, found)

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        inner, found = memory
        slope = _gated(slope, found)
        return slope + self.first.back(_gated(self.second.back(slope), inner))


@dataclass(frozen=True, eq=False)
class _Last:
    """The last convolution with its LeakyReLU, flattened channels last."""

    conv: _Conv
    leak: float

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        y = self.conv(x)
        steep = _steepness(y, self.leak)
        return y.mul_(steep).flatten(1), steep

    def backward(self, slope: Tensor, memory: Memory) -> Tensor:
        return self.conv.back(slope.view_as(memory) * memory)


def _gated(slope: Tensor, found: Tensor) -> Tensor:
    """The way back through a ReLU that gave `found`."""
    gated: Tensor = torch.ops.aten.threshold_backward(slope, found, 0)
    return gated


def _steepness(y: Tensor, leak: float) -> Tensor:
    """1 where positive, the leak elsewhere."""
    return (y > 0).to(y.dtype).mul_(1 - leak).add_(leak)


def resnet_layer(net: ResNet1D, centre: float = 0.0, spread: float = 1.0) -> Chain:
    """A residual network, spectra (n, F) to values (n, outputs) times `spread` plus `centre`."""
    own = net.folded()
    norm = own.norm1
    gain = norm.weight.detach() / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
    shift = norm.bias.detach() - gain * norm.get_buffer("running_mean")
    layers: list[Layer] = [
        Front.of(own.input_mean, own.input_sd, own.spec.window),
        _First(_Conv.of(own.conv1), own.leaky1.negative_slope, gain, shift, own.spec.positions > 1),
        *(_residual(block) for block in own.blocks),
        _Last(_Conv.of(own.conv2), own.leaky2.negative_slope),
    ]
    for place, layer in enumerate(own.layers):
        layers.append(_dense(layer, own.leaky2.negative_slope, own.spec.last if place == 0 else 1))
    layers += _head(own, centre, spread)
    return Chain(tuple(layers))


def _residual(block: Any) -> _Residual:
    if isinstance(block.norm1, nn.BatchNorm1d):
        return _Residual(
            _Conv.of(fuse_conv_bn_eval(block.conv1, block.norm1)), _Conv.of(fuse_conv_bn_eval(block.conv2, block.norm2))
        )
    return _Residual(_Conv.of(block.conv1), _Conv.of(block.conv2))


def _dense(layer: nn.Module, leak: float, channels: int = 1) -> Dense:
    """A linear layer; the first behind the convolutions takes them channels last."""
    weight, bias = layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach()
    if channels > 1:
        weight = weight.view(len(weight), channels, -1).transpose(1, 2).flatten(1)
    return Dense(weight.contiguous(), bias, leak)


def _head(net: ResNet1D, centre: float, spread: float) -> list[Layer]:
    """The output, brought to the scale of the response."""
    channels = net.spec.last if not len(net.layers) else 1
    last = _dense(net.head, 0.0 if isinstance(net.end, nn.ReLU) else 1.0, channels)
    return [last, *scaled(last.weight.shape[0], centre, spread)]


def scaled(outputs: int, centre: float, spread: float) -> list[Layer]:
    """``x * spread + centre``; nothing where that changes nothing."""
    if (centre, spread) == (0.0, 1.0):
        return []
    return [Dense(torch.eye(outputs) * spread, torch.full((outputs,), centre))]


def dnn_layer(head: DnnHead) -> Chain:
    """A small dense network, features to the scale of the response."""
    members = []
    for place in range(len(head.bias3)):
        layers: list[Layer] = [
            Dense(_tensor(head.weight1[place].T), _tensor(head.bias1[place]), 0.0),
            Dense(_tensor(head.weight2[place].T), _tensor(head.bias2[place]), 0.0),
            Dense(_tensor(head.weight3[place][None]), _tensor(head.bias3[place : place + 1])),
            *scaled(1, head.centre, head.spread),
        ]
        members.append(Chain(tuple(layers)))
    return Chain((Front.of(_tensor(head.mean), _tensor(head.sd)), Mean(tuple(members))))


def svr_layer(head: SvrHead) -> Chain:
    """Support vectors, features to the scale of the response."""
    kernel = Kernel(_tensor(head.support), _tensor(head.dual), head.gamma, head.intercept)
    return Chain((Front.of(_tensor(head.mean), _tensor(head.sd)), kernel))


def chains_layer(chains: Chains) -> Layer:
    """A translator as layers: the mean of its networks, plus its linear part."""
    parts: list[Layer] = []
    if chains.skip is not None:
        parts.append(Dense(_tensor(chains.skip.weight), _tensor(chains.skip.bias)))
    if chains.members:
        members = [
            Chain(
                tuple(
                    Dense(_tensor(one.weight), _tensor(one.bias), _LEAKS[one.activation], one.activation == "sigmoid")
                    for one in member
                )
            )
            for member in chains.members
        ]
        parts.append(Mean(tuple(members)))
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


#: Slope below zero of the activations of translators.
_LEAKS = {"linear": 1.0, "relu": 0.0, "sigmoid": 1.0}


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values.copy(), dtype=torch.float32).contiguous()


def together(layers: Sequence[Layer]) -> Layer:
    """An ensemble: the mean of its members. What they do first in the same way is done once."""
    if len(layers) == 1:
        return layers[0]
    chains = [layer for layer in layers if isinstance(layer, Chain) and isinstance(layer.layers[0], Front)]
    if len(chains) < len(layers) or not _same([chain.layers[0] for chain in chains]):
        return Mean(tuple(layers))
    return Chain((chains[0].layers[0], Mean(tuple(Chain(chain.layers[1:]) for chain in chains))))


def _same(fronts: Sequence[Any]) -> bool:
    first = fronts[0]
    return all(
        one.width == first.width and torch.equal(one.weight, first.weight) and torch.equal(one.offset, first.offset)
        for one in fronts
    )
