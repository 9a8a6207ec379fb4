"""The 1D residual network of He et al. (2025) for spectra, in the shape of their table."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from geosoil.errors import ModelError

__all__ = ["ResNet1D", "ResNetSpec"]

Output = Literal["linear", "relu"]

#: Positions that the first pool leaves at least: with 10 of 2,100 bands the paper leaves 210.
_POSITIONS = 200
#: Slope of the LeakyReLU below zero.
_SLOPE = 0.01
#: Least standard deviation of a band that is standardised.
_FLAT = 1e-6


@dataclass(frozen=True, slots=True)
class ResNetSpec:
    """Shape of a 1D residual network; the defaults are those of the paper's table.

    Attributes
    ----------
    bands : int
        Input columns, F.
    outputs : int
        Properties that come out at once.
    pool : int
        Bands that the first average pool joins when the spectrum is long enough; see `window`.
    filters : int
        Channels of the first convolution and of the residual blocks.
    kernel : int
        Width of all convolutions, odd.
    blocks : int
        Number of residual blocks.
    last : int
        Channels of the last convolution.
    dense : tuple of int
        Widths of the dense layers; none leaves a linear map of the flattened convolutions.
    output : str
        ``linear``, or ``relu`` as in the paper. A ReLU at the end dies easily, and cannot give what is below zero on a
        logarithmic or standardised scale.
    """

    bands: int
    outputs: int = 1
    pool: int = 10
    filters: int = 48
    kernel: int = 3
    blocks: int = 2
    last: int = 32
    dense: tuple[int, ...] = (16, 10)
    output: Output = "linear"

    @property
    def window(self) -> int:
        """Bands that the first average pool joins.

        The pool was made for spectra of 1 nm: ten bands become one position of 10 nm, which is how wide the bands of
        an imaging spectrometer are anyway. So it is `pool`, or what leaves 200 positions if that is less.

        >>> [ResNetSpec(bands).window for bands in (2100, 1401, 431, 285)]
        [10, 7, 2, 1]
        """
        return min(self.pool, max(1, self.bands // _POSITIONS))

    @property
    def positions(self) -> int:
        """Positions behind the first average pool; the last may join fewer bands."""
        return -(-self.bands // self.window)

    @property
    def halved(self) -> int:
        """Positions behind the max pool, which is left out for a single position."""
        return max(1, self.positions // 2)

    @property
    def flat(self) -> int:
        """Columns that the trunk gives: 3,360 in the paper.

        >>> ResNetSpec(2100).flat
        3360
        """
        return self.last * self.halved

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "dense": list(self.dense)}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> ResNetSpec:
        """Inverse of `to_meta`, with bounds checked before anything is allocated; raises ModelError."""
        names = ("bands", "outputs", "pool", "filters", "kernel", "blocks", "last")
        try:
            spec = cls(
                **{name: int(meta[name]) for name in names},
                dense=tuple(int(width) for width in meta["dense"]),
                output=meta["output"],
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the network's shape is damaged: {error}", code="GS-MODEL-DAMAGED") from error
        widths = (spec.bands, spec.outputs, spec.pool, spec.filters, spec.last, *spec.dense)
        fits = (
            all(1 <= width <= 65536 for width in widths)
            and len(spec.dense) <= 8
            and 0 <= spec.blocks <= 64
            and 1 <= spec.kernel <= 255
            and spec.kernel % 2 == 1
            and spec.output in get_args(Output)
        )
        if not fits:
            raise ModelError("the network's shape is out of bounds", code="GS-MODEL-DAMAGED")
        return spec


class _Residual(nn.Module):
    """Convolution, batch norm, ReLU, convolution, batch norm; added to what came in, then ReLU."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(spec.filters, spec.filters, spec.kernel, padding="same")
        self.norm1: nn.Module = nn.BatchNorm1d(spec.filters)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv1d(spec.filters, spec.filters, spec.kernel, padding="same")
        self.norm2: nn.Module = nn.BatchNorm1d(spec.filters)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        found: Tensor = self.relu2(x + inner)
        return found

    def fold(self) -> None:
        """Put the batch norms, as they are in evaluation mode, into the convolutions before them."""
        if isinstance(self.norm1, nn.BatchNorm1d) and isinstance(self.norm2, nn.BatchNorm1d):
            self.conv1 = fuse_conv_bn_eval(self.conv1, self.norm1)
            self.conv2 = fuse_conv_bn_eval(self.conv2, self.norm2)
            self.norm1, self.norm2 = nn.Identity(), nn.Identity()


class ResNet1D(nn.Module):
    """Spectra (n, F) to standardised values (n, outputs).

    Every activation is a module of its own that runs once, so that attributions by layer rules hold too. `trunk` is
    what transfer keeps (convolutions and residual blocks, flattened), `dense` what it tunes.
    """

    input_mean: Tensor
    input_sd: Tensor

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        # Mean and SD of the training spectra; they do nothing until `standardise` has learned them.
        self.register_buffer("input_mean", torch.zeros(spec.bands))
        self.register_buffer("input_sd", torch.ones(spec.bands))
        # ceil_mode: the bands that are left over at the end are a position too.
        self.pool = nn.AvgPool1d(spec.window, ceil_mode=True)
        self.conv1 = nn.Conv1d(1, spec.filters, spec.kernel, padding="same")
        self.leaky1 = nn.LeakyReLU(_SLOPE)
        self.norm1 = nn.BatchNorm1d(spec.filters)
        self.halve = nn.MaxPool1d(2 if spec.positions > 1 else 1)
        self.blocks = nn.ModuleList(_Residual(spec) for _ in range(spec.blocks))
        self.conv2 = nn.Conv1d(spec.filters, spec.last, spec.kernel, padding="same")
        self.leaky2 = nn.LeakyReLU(_SLOPE)
        self.flatten = nn.Flatten()
        widths = (spec.flat, *spec.dense)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(widths))
        self.activations = nn.ModuleList(nn.LeakyReLU(_SLOPE) for _ in spec.dense)
        self.head = nn.Linear(widths[-1], spec.outputs)
        self.end = nn.ReLU() if spec.output == "relu" else nn.Identity()

    def standardise(self, X: Tensor) -> None:
        """Learn mean and SD of the bands from training spectra (n, F)."""
        sd = X.std(dim=0, correction=0)
        self.input_mean.copy_(X.mean(dim=0))
        self.input_sd.copy_(torch.where(sd > _FLAT, sd, torch.ones_like(sd)))

    def pooled(self, X: Tensor) -> Tensor:
        """Spectra (n, F) to what the first convolution sees (n, 1, positions); linear in the spectra."""
        z = (X - self.input_mean) / self.input_sd
        found: Tensor = self.pool(z.unsqueeze(1))
        return found

    def stages(self) -> tuple[nn.Module, ...]:
        """The parts of the trunk behind the pool, in order: first convolution, residual blocks, last convolution."""
        first = nn.Sequential(self.conv1, self.leaky1, self.norm1, self.halve)
        return (first, *self.blocks, nn.Sequential(self.conv2, self.leaky2, self.flatten))

    def trunk(self, X: Tensor) -> Tensor:
        """Spectra (n, F) to the flattened last convolution (n, flat)."""
        x = self.halve(self.norm1(self.leaky1(self.conv1(self.pooled(X)))))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.flatten(self.leaky2(self.conv2(x)))
        return found

    def dense(self, x: Tensor) -> Tensor:
        """What the trunk gives (n, flat) to values (n, outputs)."""
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        found: Tensor = self.end(self.head(x))
        return found

    def forward(self, X: Tensor) -> Tensor:
        """Spectra (n, F) to standardised values (n, outputs)."""
        return self.dense(self.trunk(X))

    def folded(self) -> ResNet1D:
        """A copy for predictions: batch norms that follow a convolution are folded into it.

        The first batch norm stays, since an activation lies between.
        """
        net = copy.deepcopy(self).eval()
        for block in net.blocks:
            if isinstance(block, _Residual):
                block.fold()
        return net
