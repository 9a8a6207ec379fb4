"""1D convolutional networks of spectra in any shape that the automated search of Shen et al. (2022) may choose."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from geosoil.errors import ModelError, UsageError

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ConvBlock",
    "ConvNet1D",
    "ConvSpec",
    "DenseBlock",
    "Padding",
    "Pool",
    "published",
]

Activation = Literal["relu", "leaky_relu", "elu", "selu", "swish"]
Padding = Literal["valid", "same"]
Pool = Literal["none", "max", "average"]

#: Least standard deviation of a band that is standardised.
_FLAT = 1e-6
#: Bounds of what a model file may ask for.
_WIDEST, _MOST_BLOCKS, _MOST_WEIGHTS = 65536, 16, 2**28

#: Activations by name; each use is a module of its own.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "swish": nn.SiLU,
}


@dataclass(frozen=True, slots=True)
class ConvBlock:
    """Convolution, activation, then batch norm, pool and dropout where they are on.

    Attributes
    ----------
    filters, kernel, stride : int
        Channels, width in positions, and step.
    padding : str
        ``valid``: none. ``same``: zeros on both sides, so that ``ceil(length / stride)`` positions come out.
    pool : str
        ``none``, ``max`` or ``average``.
    pool_size : int
        Positions that the pool joins.
    norm : bool
        Whether a batch norm follows the activation.
    dropout : float
        Share of the values dropped; 0 is off.
    activation : str
        One of `ACTIVATIONS`.
    """

    filters: int
    kernel: int
    stride: int = 1
    padding: Padding = "valid"
    pool: Pool = "none"
    pool_size: int = 2
    norm: bool = False
    dropout: float = 0.0
    activation: Activation = "relu"

    def pads(self, length: int) -> tuple[int, int]:
        """Zeros before and behind `length` positions; the odd one lies behind, as TensorFlow has it."""
        if self.padding == "valid":
            return 0, 0
        total = max((-(-length // self.stride) - 1) * self.stride + self.kernel - length, 0)
        return total // 2, total - total // 2

    def convolved(self, length: int) -> int:
        """Positions behind the convolution; none or less where `length` is too short."""
        return (length + sum(self.pads(length)) - self.kernel) // self.stride + 1

    def left(self, length: int) -> int:
        """Positions behind the block."""
        found = self.convolved(length)
        return found if self.pool == "none" else found // self.pool_size


@dataclass(frozen=True, slots=True)
class DenseBlock:
    """Dense layer, activation, then batch norm and dropout where they are on; as in `ConvBlock`."""

    nodes: int
    norm: bool = False
    dropout: float = 0.0
    activation: Activation = "relu"


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """Shape of a 1D convolutional network.

    Attributes
    ----------
    bands : int
        Input columns, F.
    conv : tuple of ConvBlock
        One or more.
    dense : tuple of DenseBlock
        Between the flattened convolutions and the linear output; may be empty.
    outputs : int
        Properties that come out at once.

    Raises
    ------
    UsageError
        ``GS-NET-LENGTH``: fewer positions are left than a block needs. ``GS-NET-SHAPE``: a size is out of bounds.

    >>> ConvSpec(211, (ConvBlock(32, 6, stride=3), ConvBlock(64, 4, stride=2, padding="same"))).lengths
    (69, 35)
    """

    bands: int
    conv: tuple[ConvBlock, ...]
    dense: tuple[DenseBlock, ...] = ()
    outputs: int = 1

    def __post_init__(self) -> None:
        wrong = [*self._sizes(), *self._choices()]
        if wrong:
            raise UsageError(f"the network's shape is out of bounds: {', '.join(wrong)}", code="GS-NET-SHAPE")
        length = self.bands
        for number, block in enumerate(self.conv, 1):
            after = block.left(length) if block.convolved(length) >= 1 else 0
            if after < 1:
                raise UsageError(
                    f"convolution {number} is left with no position",
                    code="GS-NET-LENGTH",
                    details=[f"it gets {length}, its kernel takes {block.kernel}, its pool {block.pool_size}"],
                    hint="take smaller strides, kernels or pools, or fewer convolutions",
                )
            length = after
        if self.weights > _MOST_WEIGHTS:
            raise UsageError(f"the network's shape is out of bounds: {self.weights} weights", code="GS-NET-SHAPE")

    def _sizes(self) -> list[str]:
        counts = {"bands": self.bands, "outputs": self.outputs}
        counts.update({f"filters {place}": one.filters for place, one in enumerate(self.conv, 1)})
        counts.update({f"kernel {place}": one.kernel for place, one in enumerate(self.conv, 1)})
        counts.update({f"stride {place}": one.stride for place, one in enumerate(self.conv, 1)})
        counts.update({f"pool size {place}": one.pool_size for place, one in enumerate(self.conv, 1)})
        counts.update({f"nodes {place}": one.nodes for place, one in enumerate(self.dense, 1)})
        wrong = [name for name, one in counts.items() if not 1 <= one <= _WIDEST]
        blocks = 1 <= len(self.conv) <= _MOST_BLOCKS and len(self.dense) <= _MOST_BLOCKS
        return wrong if blocks else [*wrong, "blocks"]

    def _choices(self) -> list[str]:
        shares = [one.dropout for one in self.conv] + [one.dropout for one in self.dense]
        names = [one.activation for one in self.conv] + [one.activation for one in self.dense]
        wrong = ["dropout" for one in shares if not 0 <= one < 1]
        wrong += ["activation" for one in names if one not in ACTIVATIONS]
        wrong += ["padding" for one in self.conv if one.padding not in get_args(Padding)]
        wrong += ["pool" for one in self.conv if one.pool not in get_args(Pool)]
        return wrong

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions behind each convolution block."""
        found, length = [], self.bands
        for block in self.conv:
            length = block.left(length)
            found.append(length)
        return tuple(found)

    @property
    def flat(self) -> int:
        """Columns that the convolutions give to the dense layers."""
        return self.lengths[-1] * self.conv[-1].filters

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs of the dense layers and of the output."""
        return (self.flat, *(one.nodes for one in self.dense))

    @property
    def weights(self) -> int:
        """Weights and offsets of convolutions and dense layers.

        >>> ConvSpec(10, (ConvBlock(2, 3),), (DenseBlock(4),)).weights  # 8 in the convolution, 68 and 5 dense
        81
        """
        channels = (1, *(one.filters for one in self.conv))
        conv = sum(one.filters * (one.kernel * before + 1) for before, one in zip(channels, self.conv, strict=False))
        after = (*self.widths[1:], self.outputs)
        return conv + sum(out * (into + 1) for into, out in zip(self.widths, after, strict=True))

    @property
    def multiplications(self) -> int:
        """Multiplications of one spectrum going through.

        >>> ConvSpec(10, (ConvBlock(2, 3),), (DenseBlock(4),)).multiplications  # 8 positions of 6; 64 and 4 dense
        116
        """
        channels = (1, *(one.filters for one in self.conv))
        lengths = (self.bands, *self.lengths)
        conv = sum(
            one.convolved(length) * one.filters * one.kernel * before
            for before, length, one in zip(channels, lengths, self.conv, strict=False)
        )
        after = (*self.widths[1:], self.outputs)
        return conv + sum(out * into for into, out in zip(self.widths, after, strict=True))

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        found = asdict(self)
        return {**found, "conv": list(found["conv"]), "dense": list(found["dense"])}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> ConvSpec:
        """Inverse of `to_meta`, with bounds checked before anything is allocated; raises ModelError."""
        conv, dense = cls.parts_of(meta)
        try:
            return cls(_whole(meta["bands"]), conv, dense, _whole(meta["outputs"]))
        except (KeyError, TypeError, UsageError) as error:
            raise _damaged(error) from error

    @staticmethod
    def parts_of(meta: Mapping[str, Any]) -> tuple[tuple[ConvBlock, ...], tuple[DenseBlock, ...]]:
        """The blocks of `to_meta`, which bands may still turn out not to fit; raises ModelError."""
        try:
            conv = tuple(
                ConvBlock(
                    **{name: _whole(one[name]) for name in ("filters", "kernel", "stride", "pool_size")},
                    padding=one["padding"],
                    pool=one["pool"],
                    norm=bool(one["norm"]),
                    dropout=float(one["dropout"]),
                    activation=one["activation"],
                )
                for one in meta["conv"]
            )
            dense = tuple(
                DenseBlock(_whole(one["nodes"]), bool(one["norm"]), float(one["dropout"]), one["activation"])
                for one in meta["dense"]
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _damaged(error) from error
        return conv, dense


def _damaged(error: Exception) -> ModelError:
    return ModelError("the network's shape is damaged", code="GS-MODEL-DAMAGED", details=[str(error)])


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


class _ConvLayers(nn.Module):
    """The modules of one `ConvBlock`."""

    def __init__(self, block: ConvBlock, channels: int, length: int) -> None:
        super().__init__()
        pads = block.pads(length)
        self.pad = nn.ConstantPad1d(pads, 0.0) if any(pads) else nn.Identity()
        self.conv = nn.Conv1d(channels, block.filters, block.kernel, block.stride)
        self.activation = ACTIVATIONS[block.activation]()
        self.norm: nn.Module = nn.BatchNorm1d(block.filters) if block.norm else nn.Identity()
        pools = {"none": nn.Identity(), "max": nn.MaxPool1d(block.pool_size), "average": nn.AvgPool1d(block.pool_size)}
        self.pool = pools[block.pool]
        self.drop: nn.Module = nn.Dropout(block.dropout) if block.dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.drop(self.pool(self.norm(self.activation(self.conv(self.pad(x))))))
        return found


class _DenseLayers(nn.Module):
    """The modules of one `DenseBlock`."""

    def __init__(self, block: DenseBlock, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, block.nodes)
        self.activation = ACTIVATIONS[block.activation]()
        self.norm: nn.Module = nn.BatchNorm1d(block.nodes) if block.norm else nn.Identity()
        self.drop: nn.Module = nn.Dropout(block.dropout) if block.dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.drop(self.norm(self.activation(self.linear(x))))
        return found


class ConvNet1D(nn.Module):
    """Spectra (n, F) to standardised values (n, outputs).

    Every activation is a module of its own that runs once, so that attributions by layer rules hold too. `trunk` is
    what transfer keeps (the convolutions, flattened), `dense` what it tunes.
    """

    input_mean: Tensor
    input_sd: Tensor

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__()
        self.spec = spec
        # Mean and SD of the training spectra; they do nothing until `standardise` has learned them.
        self.register_buffer("input_mean", torch.zeros(spec.bands))
        self.register_buffer("input_sd", torch.ones(spec.bands))
        channels = (1, *(one.filters for one in spec.conv))
        lengths = (spec.bands, *spec.lengths)
        self.blocks = nn.ModuleList(
            _ConvLayers(block, channels[place], lengths[place]) for place, block in enumerate(spec.conv)
        )
        self.flatten = nn.Flatten()
        self.layers = nn.ModuleList(
            _DenseLayers(block, width) for block, width in zip(spec.dense, spec.widths, strict=False)
        )
        self.head = nn.Linear(spec.widths[-1], spec.outputs)

    def standardise(self, X: Tensor) -> None:
        """Learn mean and SD of the bands from training spectra (n, F)."""
        sd = X.std(dim=0, correction=0)
        self.input_mean.copy_(X.mean(dim=0))
        self.input_sd.copy_(torch.where(sd > _FLAT, sd, torch.ones_like(sd)))

    def pooled(self, X: Tensor) -> Tensor:
        """Spectra (n, F) to what the first convolution sees (n, 1, F); linear in the spectra."""
        return ((X - self.input_mean) / self.input_sd).unsqueeze(1)

    def stages(self) -> tuple[nn.Module, ...]:
        """The parts of the trunk in order; the last ends flat."""
        *first, last = self.blocks
        return (*first, nn.Sequential(last, self.flatten))

    def trunk(self, X: Tensor) -> Tensor:
        """Spectra (n, F) to the flattened last convolution (n, flat)."""
        x = self.pooled(X)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.flatten(x)
        return found

    def dense(self, x: Tensor) -> Tensor:
        """What the trunk gives (n, flat) to values (n, outputs)."""
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.head(x)
        return found

    def forward(self, X: Tensor) -> Tensor:
        """Spectra (n, F) to standardised values (n, outputs)."""
        return self.dense(self.trunk(X))

    def folded(self) -> ConvNet1D:
        """A copy for predictions, without dropout.

        Batch norms stay: they follow an activation, so only a layer behind could take them in, and padding forbids it.
        """
        net = copy.deepcopy(self).eval()
        for block in (*net.blocks, *net.layers):
            block.drop = nn.Identity()
        return net


def published(bands: int) -> dict[str, ConvSpec]:
    """Two shapes at the ends of what Shen et al. (2022) print as optima: 25 to 252 filters, 22 to 1,015 nodes.

    The paper gives ranges over its models rather than each shape. Both fit into spectra of 60 bands and more.

    >>> {name: (spec.flat, spec.weights) for name, spec in published(211).items()}
    {'small': (1325, 29295), 'large': (1512, 1965036)}
    """
    lean = DenseBlock(22, dropout=0.07, activation="elu")
    wide = DenseBlock(1015, norm=True, dropout=0.48, activation="leaky_relu")
    return {
        "small": ConvSpec(bands, (ConvBlock(25, 3, 4, dropout=0.001, activation="selu"),), (lean,)),
        "large": ConvSpec(
            bands,
            (
                ConvBlock(100, 10, 4, "same", norm=True, dropout=0.1, activation="swish"),
                ConvBlock(180, 6, 3, "same", norm=True, dropout=0.2, activation="relu"),
                ConvBlock(252, 4, 3, "same", norm=True, dropout=0.39, activation="relu"),
            ),
            (wide, DenseBlock(128, dropout=0.2, activation="elu"), DenseBlock(64, activation="relu")),
        ),
    }
