"""Networks that only do `forward`: the patch network of Han et al. (2025) and its multi-task form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geosoil.errors import ModelError

__all__ = ["NetSpec", "PatchNet"]


@dataclass(frozen=True, slots=True)
class NetSpec:
    """Shape of a patch network.

    Attributes
    ----------
    features : int
        Input columns, F.
    patch : int
        Width of the patch, odd.
    outputs : int
        Depths that come out at once: 1, or T for the multi-task network.
    depth_input : bool
        Whether the layer's depth joins after the convolutions.
    filters : (int, int, int)
        Channels of the convolutions.
    dense : (int, int)
        Widths of the dense layers; of the multi-task network's branches the second.
    dropout : float
        Share dropped before the last dense layers.
    embeddings : tuple of (first column, columns, length)
        Class bands that a network embeds.
    """

    features: int
    patch: int
    outputs: int = 1
    depth_input: bool = True
    filters: tuple[int, ...] = (32, 64, 64)
    dense: tuple[int, int] = (128, 64)
    dropout: float = 0.3
    embeddings: tuple[tuple[int, int, int], ...] = ()

    @property
    def kernels(self) -> tuple[tuple[int, bool], ...]:
        """Kernel width of each convolution, and whether a pool of 2 follows.

        A convolution becomes 1 x 1 when less than three cells are left; only the first block pools, and only while
        four cells are left. No padding anywhere, so a tile gives what its patches give.

        >>> NetSpec(5, 9).kernels, NetSpec(5, 1).kernels
        (((3, True), (3, False), (1, False)), ((1, False), (1, False), (1, False)))
        """
        width, found = self.patch, []
        for place in range(len(self.filters)):
            kernel = 3 if width >= 3 else 1
            width -= kernel - 1
            pool = place == 0 and width >= 4
            width = width // 2 if pool else width
            found.append((kernel, pool))
        return tuple(found)

    @property
    def left(self) -> int:
        """Width that is left after the convolutions."""
        width = self.patch
        for kernel, pool in self.kernels:
            width -= kernel - 1
            width = width // 2 if pool else width
        return width

    @property
    def inputs(self) -> int:
        """Channels of the first convolution: plain columns, then embedded ones."""
        return self.features + sum(length - count for _, count, length in self.embeddings)

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> NetSpec:
        """Inverse of `to_meta`, with bounds checked before anything is allocated; raises ModelError."""
        try:
            spec = cls(
                features=int(meta["features"]),
                patch=int(meta["patch"]),
                outputs=int(meta["outputs"]),
                depth_input=bool(meta["depth_input"]),
                filters=tuple(int(v) for v in meta["filters"]),
                dense=(int(meta["dense"][0]), int(meta["dense"][1])),
                dropout=float(meta["dropout"]),
                embeddings=tuple((int(a), int(b), int(c)) for a, b, c in meta["embeddings"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelError(f"the network's shape is damaged: {error}", code="GS-MODEL-DAMAGED") from error
        widths = (spec.features, spec.outputs, *spec.filters, *spec.dense)
        fits = (
            all(1 <= width <= 65536 for width in widths)
            and 1 <= spec.patch <= 255
            and spec.patch % 2 == 1
            and len(spec.filters) == 3
            and all(first >= 0 and first + count <= spec.features for first, count, _ in spec.embeddings)
        )
        if not fits:
            raise ModelError("the network's shape is out of bounds", code="GS-MODEL-DAMAGED")
        return spec


class PatchNet(nn.Module):
    """Convolution - Swish - batch norm blocks without padding, then dense layers.

    Input is ``(n, F, w, w)``, output ``(n, outputs)``, standardised.
    """

    input_mean: Tensor
    input_sd: Tensor

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        # Mean and SD of the training patches; min-max scaled columns alone are badly conditioned for training.
        self.register_buffer("input_mean", torch.zeros(spec.features))
        self.register_buffer("input_sd", torch.ones(spec.features))
        self.embed = nn.ModuleList(nn.Conv2d(count, length, 1, bias=False) for _, count, length in spec.embeddings)
        channels = (spec.inputs, *spec.filters)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels[place], channels[place + 1], kernel) for place, (kernel, _) in enumerate(spec.kernels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in spec.filters)
        self.pool = nn.MaxPool2d(2)
        flat = spec.filters[-1] * spec.left**2
        if spec.outputs > 1:
            self.branch = nn.Linear(flat, spec.dense[1] * spec.outputs)
            self.heads = nn.Conv1d(spec.dense[1] * spec.outputs, spec.outputs, 1, groups=spec.outputs)
        else:
            self.dense1 = nn.Linear(flat + spec.depth_input, spec.dense[0])
            self.norm = nn.BatchNorm1d(spec.dense[0])
            self.dense2 = nn.Linear(spec.dense[0], spec.dense[1])
            self.head = nn.Linear(spec.dense[1], 1)
        self.drop_cells = nn.Dropout(min(0.2, spec.dropout))
        self.drop = nn.Dropout(spec.dropout)
        self.swish = nn.SiLU()
        self.relu = nn.ReLU()

    def standardise(self, x: Tensor) -> None:
        """Learn mean and SD of the input columns from training patches; columns of embedded classes stay."""
        mean = x.mean(dim=(0, 2, 3))
        sd = x.std(dim=(0, 2, 3), correction=0)
        sd = torch.where(sd > 1e-6, sd, torch.ones_like(sd))
        for first, count, _ in self.spec.embeddings:
            mean[first : first + count] = 0
            sd[first : first + count] = 1
        self.input_mean.copy_(mean)
        self.input_sd.copy_(sd)

    def columns(self, x: Tensor) -> Tensor:
        """Plain columns, then the embedded ones."""
        x = (x - self.input_mean[:, None, None]) / self.input_sd[:, None, None]
        if not self.spec.embeddings:
            return x
        parts, start = [], 0
        for first, count, _ in self.spec.embeddings:
            parts.append(x[:, start:first])
            start = first + count
        parts.append(x[:, start:])
        embedded = [
            layer(x[:, first : first + count])
            for layer, (first, count, _) in zip(self.embed, self.spec.embeddings, strict=True)
        ]
        return torch.cat(parts + embedded, dim=1)

    def trunk(self, x: Tensor, layers: int) -> Tensor:
        """The first convolutions alone."""
        return self._blocks(self.columns(x), 0, layers)

    def rest(self, x: Tensor, layers: int, depth: Tensor | None = None) -> Tensor:
        """All that follows the first convolutions."""
        x = self.drop_cells(self._blocks(x, layers, len(self.convs))).flatten(1)
        if self.spec.outputs > 1:
            x = self.drop(self.relu(self.branch(x)))
            branches: Tensor = self.heads(x.unsqueeze(-1)).squeeze(-1)
            return branches
        if self.spec.depth_input:
            if depth is None:
                raise ValueError("this network takes the depth")
            x = torch.cat([x, depth.reshape(-1, 1)], dim=1)
        x = self.drop(self.norm(self.swish(self.dense1(x))))
        found: Tensor = self.head(self.relu(self.dense2(x)))
        return found

    def forward(self, x: Tensor, depth: Tensor | None = None) -> Tensor:
        """Patches, and the depth of each on a scale where 200 cm is 1, to standardised values."""
        return self.rest(self.trunk(x, len(self.convs)), len(self.convs), depth)

    def _blocks(self, x: Tensor, start: int, stop: int) -> Tensor:
        for place in range(start, stop):
            x = self.norms[place](self.swish(self.convs[place](x)))
            if self.spec.kernels[place][1]:
                x = self.pool(x)
        return x
