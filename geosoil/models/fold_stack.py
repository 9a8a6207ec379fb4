"""Networks of one shape side by side: grouped convolutions and batched products over folds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geosoil.models.convnet import ACTIVATIONS, ConvNet1D, ConvSpec

__all__ = ["FoldStack", "turned"]


class FoldStack:
    """Networks of one shape side by side: every tensor of `ConvNet1D` with the folds in front.

    Dense weights are turned to (K, in, out), as the batched product takes them: their gradients then come in the same
    order, and are not copied.
    """

    def __init__(self, spec: ConvSpec, tensors: Mapping[str, Tensor]) -> None:
        self.spec = spec
        self.parameters = {
            name: one.detach().requires_grad_() for name, one in tensors.items() if name.endswith((".weight", ".bias"))
        }
        self.buffers = {name: one.detach() for name, one in tensors.items() if name not in self.parameters}
        self.conv_acts = [ACTIVATIONS[one.activation]() for one in spec.conv]
        self.dense_acts = [ACTIVATIONS[one.activation]() for one in spec.dense]
        lengths = (spec.bands, *spec.lengths)
        self.pads = [one.pads(length) for one, length in zip(spec.conv, lengths, strict=False)]

    @classmethod
    def made(cls, spec: ConvSpec, seeds: list[int], device: torch.device) -> FoldStack:
        """New networks, each drawn from its seed."""
        states: list[dict[str, Tensor]] = []
        for seed in seeds:
            torch.manual_seed(seed)
            states.append({k: v for k, v in ConvNet1D(spec).state_dict().items() if v.dtype.is_floating_point})
        stacked = {name: torch.stack([one[name] for one in states]).to(device) for name in states[0]}
        return cls(spec, turned(stacked))

    def __len__(self) -> int:
        return len(self.buffers["input_mean"])

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return {**self.parameters, **self.buffers}

    def take(self, keep: Tensor) -> FoldStack:
        """Some of the networks."""
        return FoldStack(self.spec, {name: one.detach()[keep] for name, one in self.tensors().items()})

    def standardise(self, known: list[Tensor]) -> None:
        """Learn the input's mean and SD of each fold, as `ConvNet1D.standardise` does."""
        for place, rows in enumerate(known):
            with torch.device("cpu"):
                net = _Inputs(self.spec.bands)
            net.to(rows.device)
            ConvNet1D.standardise(net, rows)  # type: ignore[arg-type]
            self.buffers["input_mean"][place], self.buffers["input_sd"][place] = net.input_mean, net.input_sd

    def forward(self, X: Tensor, drops: list[np.random.SFC64] | None = None) -> Tensor:
        """Spectra (K, b, F) to standardised values (K, b); with generators for dropout: in training mode."""
        x = (X - self.buffers["input_mean"][:, None]) / self.buffers["input_sd"][:, None]
        h = x.transpose(0, 1).contiguous()  # (b, K * channels, positions), the folds as groups
        for place in range(len(self.spec.conv)):
            h = self._conv(place, h, drops)
        h = h.view(len(h), len(self), -1).transpose(0, 1)
        for place in range(len(self.spec.dense)):
            h = self._dense(place, h, drops)
        return self._linear("head", h)[..., 0]

    def _conv(self, place: int, h: Tensor, drops: list[np.random.SFC64] | None) -> Tensor:
        block, name = self.spec.conv[place], f"blocks.{place}"
        if any(self.pads[place]):
            h = functional.pad(h, self.pads[place])
        weight, bias = self.parameters[f"{name}.conv.weight"], self.parameters[f"{name}.conv.bias"]
        h = functional.conv1d(h, weight.flatten(0, 1), bias.flatten(), block.stride, groups=len(self))
        h = self.conv_acts[place](h)
        if block.norm:
            h = self._norm(name, h, drops is not None)
        if block.pool == "max":
            h = functional.max_pool1d(h, block.pool_size)
        elif block.pool == "average":
            h = functional.avg_pool1d(h, block.pool_size)
        if drops is not None and block.dropout:
            kept = _kept(drops, (len(h), h.shape[1] // len(self), h.shape[2]), block.dropout, h)
            h = h * kept.transpose(0, 1).reshape(h.shape)
        return h

    def _dense(self, place: int, h: Tensor, drops: list[np.random.SFC64] | None) -> Tensor:
        block, name = self.spec.dense[place], f"layers.{place}"
        h = self.dense_acts[place](self._linear(f"{name}.linear", h))
        if block.norm:
            flat = self._norm(name, h.transpose(0, 1).reshape(h.shape[1], -1), drops is not None)
            h = flat.view(h.shape[1], len(self), -1).transpose(0, 1)
        if drops is not None and block.dropout:
            h = h * _kept(drops, (h.shape[1], h.shape[2]), block.dropout, h)
        return h

    def _linear(self, name: str, h: Tensor) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return torch.baddbmm(bias[:, None], h, weight)

    def _norm(self, name: str, h: Tensor, training: bool) -> Tensor:
        """Batch norm over the folds' channels; the statistics are written where they are kept."""
        mean, variance = self.buffers[f"{name}.norm.running_mean"], self.buffers[f"{name}.norm.running_var"]
        weight, bias = self.parameters[f"{name}.norm.weight"], self.parameters[f"{name}.norm.bias"]
        return functional.batch_norm(
            h, mean.view(-1), variance.view(-1), weight.flatten(), bias.flatten(), training=training
        )


def turned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Dense weights from (K, out, in) to (K, in, out), or back."""
    dense = ("head.weight", "linear.weight")
    return {name: one.transpose(1, 2).contiguous() if name.endswith(dense) else one for name, one in tensors.items()}


class _Inputs(nn.Module):
    """The two buffers that `ConvNet1D.standardise` fills."""

    input_mean: Tensor
    input_sd: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("input_mean", torch.zeros(bands))
        self.register_buffer("input_sd", torch.ones(bands))


def _kept(drops: list[np.random.SFC64], shape: tuple[int, ...], dropout: float, like: Tensor) -> Tensor:
    """Masks of dropout (K, *shape), each fold's from its own generator, divided by the share that is kept.

    Sixteen bits a value: torch's own draws cost more than the layers of a small network.
    """
    size = int(np.prod(shape))
    raw = np.stack([one.random_raw(-(-size // 4)).view(np.uint16)[:size] for one in drops])
    bits = torch.from_numpy(raw.view(np.int16)).to(like.device)
    kept = bits >= round(dropout * 65536) - 32768
    return kept.to(like.dtype).div_(1 - dropout).view(len(drops), *shape)
