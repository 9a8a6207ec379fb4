"""Patch networks run over whole tiles: exact, without cutting a single patch.

A network without padding gives, at each cell of a tile, what it gives for the patch round that cell: strided pools
become pools of stride one with the layers behind them dilated, and dense layers become 1 x 1 convolutions. Batch norms,
the target's scale and the layer's depth fold into the weights. What several depths share is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geosoil.models.nets import NetSpec

__all__ = ["DenseNets", "Stage", "compile_nets"]

_EPS = 1e-5
#: Batch that 1 x 1 convolutions are shaped to, and cells that go through them at once on a processor.
_BATCH, _PIECE = 16, 4096


@dataclass(frozen=True, slots=True)
class Stage:
    """One convolution of the folded network, and what follows it.

    Attributes
    ----------
    weight, bias : tensors
        Of a convolution, in channels-last memory.
    dilation : int
        Distance of its taps, 1 before a pool and 2 after it.
    act : str
        ``swish``, ``relu`` or nothing.
    sign : tensor or None
        Factors of -1 where the batch norm behind has a negative slope and a pool stands between: a maximum does not
        pass a negative slope.
    pool : bool
        Whether a 2 x 2 maximum follows.
    """

    weight: Tensor
    bias: Tensor
    dilation: int = 1
    act: str = ""
    sign: Tensor | None = None
    pool: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to (1, C, h, w)."""
        x = F.conv2d(x, self.weight, self.bias, dilation=self.dilation)
        if self.act == "swish":
            x = F.silu(x, inplace=True)
        elif self.act == "relu":
            x = F.relu_(x)
        if self.sign is not None:
            x = x.mul_(self.sign)
        if self.pool:
            # The pool's own stride is taken by the dilation of what follows.
            x = F.max_pool2d(x, 2, stride=1)
        return x

    def to(self, device: torch.device, dtype: torch.dtype) -> Stage:
        """The stage with its numbers on a device."""
        sign = None if self.sign is None else self.sign.to(device, dtype)
        weight = self.weight.to(device, dtype, memory_format=torch.channels_last)
        return replace(self, weight=weight, bias=self.bias.to(device, dtype), sign=sign)


@dataclass(frozen=True, slots=True)
class DenseNets:
    """An ensemble of folded networks: shared stages, then one chain of stages a depth.

    Attributes
    ----------
    trunks : tuple of tuple of Stage
        For each member what its depths share.
    heads : tuple of tuple of tuple of Stage
        For each member and depth what is its own; one chain for all depths of a multi-task network.
    piece : int
        Cells that go through 1 x 1 convolutions at once.
    """

    trunks: tuple[tuple[Stage, ...], ...]
    heads: tuple[tuple[tuple[Stage, ...], ...], ...]
    piece: int = _PIECE

    def __call__(self, tile: Tensor, height: int, width: int) -> Tensor:
        """A tile (1, F, h + w - 1, ...) to (T, h, w), the mean over members."""
        total: Tensor | None = None
        for trunk, heads in zip(self.trunks, self.heads, strict=True):
            found = _member(tile, trunk, heads, height, width, self.piece)
            total = found if total is None else total.add_(found)
        if total is None:
            raise ValueError("an ensemble has members")
        return total.div_(len(self.trunks)).T.reshape(-1, height, width)

    def to(self, device: torch.device, *, half: bool = False, piece: int = _PIECE) -> DenseNets:
        """The networks on a device, as exact as here, or in half precision but for their last layers.

        What a network ends with is the value itself, which half precision would round to three digits.
        """
        dtype = torch.float16 if half else torch.float32

        def chain(stages: Sequence[Stage], last: int) -> tuple[Stage, ...]:
            kinds = [torch.float32 if place == last else dtype for place in range(len(stages))]
            return tuple(stage.to(device, kind) for stage, kind in zip(stages, kinds, strict=True))

        trunks = tuple(chain(trunk, -1) for trunk in self.trunks)
        heads = tuple(tuple(chain(one, len(one) - 1) for one in member) for member in self.heads)
        return DenseNets(trunks, heads, piece)


def _member(
    tile: Tensor, trunk: Sequence[Stage], heads: Sequence[Sequence[Stage]], height: int, width: int, piece: int
) -> Tensor:
    """One member's outputs, (h w, T): first what looks round a cell, then what looks at the cell alone."""
    x, shared = tile, len(trunk)
    for place, stage in enumerate(trunk):
        if _pointwise(trunk[place:]) and all(_pointwise(chain) for chain in heads):
            shared = place
            break
        x = stage(x)
    rest = trunk[shared:]
    if all(_pointwise(chain) for chain in heads):
        # All depths go on from the same cells, which are put in order once.
        cells = _cells_of(x, height, width)
        return torch.cat([_pointwise_chain([*rest, *chain], cells, height * width, piece) for chain in heads], dim=1)
    parts = []
    for chain in heads:
        y, place = x, 0
        while not _pointwise(chain[place:]):
            y = chain[place](y)
            place += 1
        parts.append(_pointwise_chain(chain[place:], _cells_of(y, height, width), height * width, piece))
    return torch.cat(parts, dim=1)


def _pointwise(stages: Sequence[Stage]) -> bool:
    return all(stage.weight.shape[-1] == 1 and not stage.pool for stage in stages)


def _cells_of(x: Tensor, height: int, width: int) -> Tensor:
    """The cells of a tile as rows (n, C), filled up to a multiple of the batch.

    Pools that drop a last odd cell leave more than the patches have; it is cut off here.
    """
    cells = x[0, :, :height, :width].permute(1, 2, 0).reshape(height * width, -1)
    missing = -len(cells) % _BATCH
    return F.pad(cells, (0, 0, 0, missing)) if missing else cells.contiguous()


def _pointwise_chain(stages: Sequence[Stage], cells: Tensor, count: int, size: int) -> Tensor:
    """1 x 1 convolutions over rows of cells, in pieces that stay in cache.

    Shaped as a batch of 16: on one thread torch hands 1 x 1 convolutions to its fast kernels from that size on.
    """
    parts = []
    for piece in torch.split(cells, size):
        y = piece.view(_BATCH, -1, 1, piece.shape[1]).permute(0, 3, 1, 2)
        for stage in stages[:-1]:
            y = stage(y)
        last = stages[-1]
        rows = y.permute(0, 2, 3, 1).reshape(len(piece), -1)
        parts.append(F.linear(rows.to(last.weight.dtype), last.weight[:, :, 0, 0], last.bias))
    return torch.cat(parts)[:count]


def compile_nets(
    spec: NetSpec,
    members: Sequence[Sequence[Mapping[str, Tensor]]],
    depths: Sequence[float],
    centre: Sequence[float],
    spread: Sequence[float],
    shared: int,
) -> DenseNets:
    """Fold the networks of an ensemble.

    Parameters
    ----------
    spec : NetSpec
        Their common shape.
    members : sequence of sequence of state dicts
        For each member one network a depth, or one multi-task network.
    depths : (T,) floats
        Depth input of each depth, 1 at 200 cm.
    centre, spread : (T,) floats
        Mean and SD that turn standardised outputs back.
    shared : int
        Leading convolutions that are the same for all depths of a member.
    """
    trunks, heads = [], []
    for nets in members:
        chains = []
        for place, state in enumerate(nets):
            if spec.outputs > 1:
                scale, shift = list(spread), list(centre)
            else:
                scale, shift = [spread[place]], [centre[place]]
            depth = depths[place] if spec.depth_input else None
            chains.append(_fold(spec, state, depth, torch.tensor(scale), torch.tensor(shift)))
        cut = shared if len(chains) > 1 else 0
        trunks.append(tuple(chains[0][:cut]))
        heads.append(tuple(tuple(chain[cut:]) for chain in chains))
    return DenseNets(tuple(trunks), tuple(heads))


def _fold(
    spec: NetSpec, state: Mapping[str, Tensor], depth: float | None, spread: Tensor, centre: Tensor
) -> list[Stage]:
    """One network as a chain of convolutions; folded in float64, run in float32."""
    state = {name: value.double() for name, value in state.items()}
    stages: list[Stage] = []
    dilation = 1
    scale = 1 / state["input_sd"]
    shift = -state["input_mean"] * scale
    for place, (_, pool) in enumerate(spec.kernels):
        weight, bias = state[f"convs.{place}.weight"], state[f"convs.{place}.bias"]
        if place == 0 and spec.embeddings:
            weight = _embedded(spec, state, weight)
        weight, bias = _absorb(weight, bias, scale, shift)
        scale, shift = _norm(state, f"norms.{place}")
        sign = None
        if pool and bool((scale < 0).any()):
            sign = torch.where(scale < 0, -1.0, 1.0)
            scale = scale.abs()
        stages.append(_stage(weight, bias, dilation, "swish", sign, pool))
        dilation *= 2 if pool else 1
    stages += _dense_stages(spec, state, scale, shift, dilation, depth, spread, centre)
    return stages


def _dense_stages(
    spec: NetSpec,
    state: Mapping[str, Tensor],
    scale: Tensor,
    shift: Tensor,
    dilation: int,
    depth: float | None,
    spread: Tensor,
    centre: Tensor,
) -> list[Stage]:
    """What follows the convolutions: flatten and dense layers as convolutions."""
    channels, left = spec.filters[-1], spec.left
    first = "branch" if spec.outputs > 1 else "dense1"
    weight, bias = state[f"{first}.weight"], state[f"{first}.bias"]
    if spec.outputs == 1 and depth is not None:
        bias = bias + weight[:, -1] * depth
        weight = weight[:, :-1]
    weight = weight.reshape(len(weight), channels, left, left)
    weight, bias = _absorb(weight, bias, scale, shift)
    spread, centre = spread.double(), centre.double()
    if spec.outputs > 1:
        width = spec.dense[1]
        head = torch.zeros(spec.outputs, width * spec.outputs, dtype=torch.float64)
        for place in range(spec.outputs):
            head[place, place * width : (place + 1) * width] = state["heads.weight"][place, :, 0]
        last = head * spread[:, None], state["heads.bias"] * spread + centre
        return [_stage(weight, bias, dilation, "relu"), _stage(*_cells(*last))]
    stages = [_stage(weight, bias, dilation, "swish")]
    scale, shift = _norm(state, "norm")
    weight, bias = _absorb(*_cells(state["dense2.weight"], state["dense2.bias"]), scale, shift)
    stages.append(_stage(weight, bias, 1, "relu"))
    stages.append(_stage(*_cells(state["head.weight"] * spread[:, None], state["head.bias"] * spread + centre)))
    return stages


def _embedded(spec: NetSpec, state: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """The first convolution on the plain one-hot columns: an embedding is linear, so it folds in."""
    plain = [True] * spec.features
    for first, count, _ in spec.embeddings:
        plain[first : first + count] = [False] * count
    found = torch.zeros(weight.shape[0], spec.features, *weight.shape[2:], dtype=torch.float64)
    columns = [place for place, keep in enumerate(plain) if keep]
    found[:, columns] = weight[:, : len(columns)]
    start = len(columns)
    for place, (first, count, length) in enumerate(spec.embeddings):
        table = state[f"embed.{place}.weight"][:, :, 0, 0]
        found[:, first : first + count] = torch.einsum("oehw,ec->ochw", weight[:, start : start + length], table)
        start += length
    return found


def _norm(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as scale and shift."""
    scale = state[f"{name}.weight"] / torch.sqrt(state[f"{name}.running_var"] + _EPS)
    return scale, state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale


def _absorb(weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution of ``scale x + shift`` as one of x."""
    bias = bias + torch.einsum("oihw,i->o", weight, shift)
    return weight * scale[None, :, None, None], bias


def _cells(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A dense layer as a 1 x 1 convolution."""
    return weight[:, :, None, None], bias


def _stage(
    weight: Tensor,
    bias: Tensor,
    dilation: int = 1,
    act: str = "",
    sign: Tensor | None = None,
    pool: bool = False,
) -> Stage:
    return Stage(
        weight.float().contiguous(memory_format=torch.channels_last),
        bias.float(),
        dilation if weight.shape[-1] > 1 else 1,
        act,
        None if sign is None else sign.float()[None, :, None, None],
        pool,
    )
