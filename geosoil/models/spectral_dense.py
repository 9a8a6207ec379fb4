"""Models of spectra over whole tiles: only what is read is computed, and what is linear is one layer.

A translator that ends in a linear layer and heads that are linear fold into each other: of the last layer, which makes
a spectrum, a row a target is left. Where a head is not linear, the bands that it reads are generated and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geosoil.models.dense import Stage, pointwise_chain, pointwise_stage
from geosoil.models.heads import Head, LinearHead, SvrHead
from geosoil.models.loop import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.models.fusion import Translator
    from geosoil.models.fusion_nets import Chains, Dense
    from geosoil.types import Float32, Float64, Int64

__all__ = ["DenseSpectra", "Readout"]

#: Cells that go through at once, so that what is computed of them stays in cache.
_PIECE = 4096


@dataclass(frozen=True, eq=False)
class Readout:
    """What a target reads: places among the features (satellite, then generated), and how."""

    support: Int64
    head: Head


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A support vector machine on the made columns: a matrix product, an exponential, a vector product."""

    columns: Tensor
    scale: Tensor
    shift: Tensor
    support: Tensor
    squared: Tensor
    dual: Tensor
    gamma: float
    intercept: float

    @classmethod
    def of(cls, head: SvrHead, columns: Int64) -> _Kernel:
        support = torch.from_numpy(head.support)
        return cls(
            columns=torch.from_numpy(columns),
            scale=torch.from_numpy(1 / head.sd).float(),
            shift=torch.from_numpy(-head.mean / head.sd).float(),
            support=support.T.float().contiguous(),
            squared=(support**2).sum(1).float(),
            dual=torch.from_numpy(head.dual).float(),
            gamma=head.gamma,
            intercept=head.intercept,
        )

    def __call__(self, made: Tensor) -> Tensor:
        """Columns (n, m) to values (n,)."""
        z = made[:, self.columns] * self.scale + self.shift
        distance = torch.addmm(self.squared, z, self.support, alpha=-2).add_((z**2).sum(1, keepdim=True))
        return distance.clamp_(min=0).mul_(-self.gamma).exp_() @ self.dual + self.intercept


@dataclass(frozen=True, eq=False)
class DenseSpectra:
    """A model of spectra as layers.

    Attributes
    ----------
    direct : (p, m) tensor and (m,) tensor
        What the satellite bands give the m columns at once.
    chains : tuple of tuple of Stage
        Networks whose outputs are added; their last layer gives the m columns.
    readers : tuple
        For each target the column that is its value, or a kernel on columns, or a head on them.
    translator : Translator or None
        One that cannot be folded; the rest then reads both the satellite bands and what it gives.
    """

    direct: tuple[Tensor, Tensor]
    chains: tuple[tuple[Stage, ...], ...]
    readers: tuple[int | _Kernel | tuple[Head, Int64], ...]
    translator: Translator | None = None

    @classmethod
    def of(
        cls, bands: int, translator: Translator | None, chains: Chains | None, readouts: Sequence[Readout]
    ) -> DenseSpectra:
        """Fold a translator and the heads behind it."""
        if translator is not None and chains is None:
            return cls._drawn(bands, translator, readouts)
        matrix, bias, readers = _columns(bands, readouts)
        near, far = matrix[:, :bands], matrix[:, bands:]
        weight, offset = near.copy(), bias.copy()
        stages = []
        if chains is not None:
            if chains.skip is not None:
                weight += far @ chains.skip.weight.astype(np.float64)
                offset += far @ chains.skip.bias.astype(np.float64)
            stages = [_stages(layers, far / len(chains.members)) for layers in chains.members]
        return cls((_tensor(weight.T), _tensor(offset)), tuple(stages), readers)

    @classmethod
    def _drawn(cls, bands: int, translator: Translator, readouts: Sequence[Readout]) -> DenseSpectra:
        """A translator that averages draws is no chain of layers: it is called, and the heads read what it gives."""
        matrix, bias, readers = _columns(bands, readouts)
        return cls((_tensor(matrix.T), _tensor(bias)), (), readers, translator)

    def __call__(self, rows: Float32) -> Float32:
        """Preprocessed satellite spectra (n, p) to values (T, n)."""
        if self.translator is not None:
            rows = np.hstack([rows, self.translator.generate(rows)])
        out = np.empty((len(self.readers), len(rows)), np.float32)
        weight, bias = self.direct
        with torch.inference_mode(), one_thread():
            for start in range(0, len(rows), _PIECE):
                cells = torch.from_numpy(rows[start : start + _PIECE])
                made = torch.addmm(bias, cells, weight)
                for stages in self.chains:
                    made += pointwise_chain(stages, _padded(cells), len(cells))
                for place, reader in enumerate(self.readers):
                    out[place, start : start + _PIECE] = _read(reader, made)
        return out


def _read(reader: int | _Kernel | tuple[Head, Int64], made: Tensor) -> NDArray[np.float32]:
    if isinstance(reader, int):
        return made[:, reader].numpy()
    if isinstance(reader, _Kernel):
        return reader(made).numpy()
    head, columns = reader
    return head.predict(made.numpy()[:, columns]).astype(np.float32)


def _padded(cells: Tensor) -> Tensor:
    missing = -len(cells) % 16
    return torch.nn.functional.pad(cells, (0, 0, 0, missing)) if missing else cells


def _columns(
    bands: int, readouts: Sequence[Readout]
) -> tuple[Float64, Float64, tuple[int | _Kernel | tuple[Head, Int64], ...]]:
    """The columns to make from the features, as a matrix (m, 2 bands) and a bias, and who reads which.

    A linear head is one column, its value. All others read features, each of which is made once.
    """
    features = np.unique(
        np.concatenate([np.empty(0, np.int64), *(one.support for one in readouts if not _is_linear(one))])
    )
    linear = [one for one in readouts if _is_linear(one)]
    matrix = np.zeros((len(features) + len(linear), 2 * bands))
    bias = np.zeros(len(matrix))
    matrix[np.arange(len(features)), features] = 1.0
    readers: list[int | _Kernel | tuple[Head, Int64]] = []
    used = len(features)
    for one in readouts:
        if isinstance(one.head, LinearHead):
            matrix[used, one.support], bias[used] = one.head.coef, one.head.intercept
            readers.append(used)
            used += 1
            continue
        columns = np.searchsorted(features, one.support)
        readers.append(_Kernel.of(one.head, columns) if isinstance(one.head, SvrHead) else (one.head, columns))
    return matrix, bias, tuple(readers)


def _is_linear(one: Readout) -> bool:
    return isinstance(one.head, LinearHead)


def _stages(layers: Sequence[Dense], after: Float64) -> tuple[Stage, ...]:
    """A chain of dense layers with a matrix behind its last one."""
    *inner, last = layers
    stages = [_stage(layer.weight, layer.bias, layer.activation) for layer in inner]
    if last.activation == "linear":
        return (*stages, _stage(after @ last.weight.astype(np.float64), after @ last.bias.astype(np.float64)))
    stages.append(_stage(last.weight, last.bias, last.activation))
    return (*stages, _stage(after, np.zeros(len(after))))


def _stage(weight: NDArray[Any], bias: NDArray[Any], activation: str = "linear") -> Stage:
    act = "" if activation == "linear" else activation
    return pointwise_stage(torch.from_numpy(weight), torch.from_numpy(bias), act)


def _tensor(values: Float64) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
