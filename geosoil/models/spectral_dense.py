"""Models of spectra over whole tiles: only what is read is computed, and what is linear is one layer.

A translator that ends in a linear layer and heads that are linear fold into each other: of the last layer, which makes
a spectrum, a row a target is left. Where a head is not linear, the bands that it reads are generated and no others.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from geosoil.models.heads import Head, LinearHead, SvrHead
from geosoil.models.loop import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.models.fusion import Translator
    from geosoil.models.fusion_nets import Chains, Dense
    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["DenseSpectra", "Readout"]

#: Cells that go through at once, so that what is computed of them stays in cache.
_PIECE = 2048
#: Results between layers whose memory a thread keeps.
_MOST_HELD = 64


@dataclass(frozen=True, eq=False)
class Readout:
    """What a target reads: places among the features (satellite, then generated), and how."""

    support: Int64
    head: Head


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A support vector machine on the made rows: a matrix product, an exponential, a vector product."""

    rows: Tensor
    scale: Tensor
    shift: Tensor
    support: Tensor
    squared: Tensor
    dual: Tensor
    gamma: float
    intercept: float

    @classmethod
    def of(cls, head: SvrHead, rows: Int64) -> _Kernel:
        support = torch.from_numpy(head.support)
        return cls(
            rows=torch.from_numpy(rows),
            scale=torch.from_numpy(1 / head.sd).float()[:, None],
            shift=torch.from_numpy(-head.mean / head.sd).float()[:, None],
            support=support.float().contiguous(),
            squared=(support**2).sum(1).float()[:, None],
            dual=torch.from_numpy(head.dual).float(),
            gamma=head.gamma,
            intercept=head.intercept,
        )

    def __call__(self, made: Tensor) -> Tensor:
        """Rows (m, n) to values (n,)."""
        z = made[self.rows] * self.scale + self.shift
        distance = torch.addmm(self.squared, self.support, z, alpha=-2).add_((z**2).sum(0))
        return self.dual @ distance.clamp_(min=0).mul_(-self.gamma).exp_() + self.intercept


#: What makes a target's value of the made rows: the row that is it, a kernel on rows, or a head on them.
_Reader: TypeAlias = "int | _Kernel | tuple[Head, Int64]"


class _Scratch(threading.local):
    """Memory of a thread that results between layers are written to: new memory costs as much as small products."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int, int], Tensor] = {}

    def take(self, place: int, rows: int, columns: int) -> Tensor:
        """Memory for the layer at a place; what was in it is lost."""
        key = (place, rows, columns)
        if key not in self.held:
            if len(self.held) > _MOST_HELD:
                self.held.clear()
            self.held[key] = torch.empty(rows, columns)
        return self.held[key]


_scratch = _Scratch()


@dataclass(frozen=True, eq=False)
class Layer:
    """A dense layer on bands by cells: ``activation(weight @ x + bias)``."""

    weight: Tensor
    bias: Tensor
    activation: str = "linear"

    @classmethod
    def of(cls, weight: NDArray[Any], bias: NDArray[Any], activation: str = "linear") -> Layer:
        return cls(_tensor(weight), _tensor(bias)[:, None], activation)

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Bands (in, n) to (out, n), in the memory given."""
        y = torch.addmm(self.bias, self.weight, x, out=out)
        if self.activation == "relu":
            return y.relu_()
        return y.sigmoid_() if self.activation == "sigmoid" else y


@dataclass(frozen=True, eq=False)
class DenseSpectra:
    """A model of spectra as layers, on bands by cells: a scene's own order, so that nothing has to be turned.

    Attributes
    ----------
    direct : Layer
        What the satellite bands give the m rows at once, and as a last row their sum: missing where any band is.
    chains : tuple of tuple of Layer
        Networks whose outputs are added; their last layer gives the m rows.
    readers : tuple
        What makes each target's value of the rows.
    translator : Translator or None
        One that cannot be folded; the rest then reads both the satellite bands and what it gives.
    """

    direct: Layer
    chains: tuple[tuple[Layer, ...], ...]
    readers: tuple[_Reader, ...]
    translator: Translator | None = None

    @classmethod
    def of(
        cls, bands: int, translator: Translator | None, chains: Chains | None, readouts: Sequence[Readout]
    ) -> DenseSpectra:
        """Fold a translator and the heads behind it."""
        matrix, bias, readers = _rows(bands, readouts)
        if translator is not None and chains is None:
            # One that averages draws is no chain of layers: it is called, and the heads read what it gives.
            return cls(_with_sum(matrix, bias), (), readers, translator)
        weight, far = matrix[:, :bands].copy(), matrix[:, bands:]
        layers = []
        if chains is not None:
            if chains.skip is not None:
                weight += far @ chains.skip.weight.astype(np.float64)
                bias += far @ chains.skip.bias.astype(np.float64)
            layers = [_layers(one, far / len(chains.members)) for one in chains.members]
        return cls(_with_sum(weight, bias), tuple(layers), readers)

    def __call__(self, cells: NDArray[np.float32]) -> tuple[Float32, Bool]:
        """Values of preprocessed satellite spectra.

        Parameters
        ----------
        cells : (q, n) float32
            Bands by cells; NaN where there is no data.

        Returns
        -------
        (T, n) float32, (n,) bool
            Values, and where all bands have one.
        """
        if self.translator is not None:
            cells = np.vstack([cells, self.translator.generate(np.ascontiguousarray(cells.T)).T])
        out = np.empty((len(self.readers), cells.shape[1]), np.float32)
        whole = np.empty(cells.shape[1], np.bool_)
        with torch.inference_mode(), one_thread():
            for start in range(0, cells.shape[1], _PIECE):
                piece = slice(start, start + _PIECE)
                x = torch.from_numpy(cells[:, piece])
                made = self.direct(x, _scratch.take(0, len(self.direct.weight), x.shape[1]))
                whole[piece] = torch.isfinite(made[-1]).numpy()
                for layers in self.chains:
                    y = x
                    for place, layer in enumerate(layers, 1):
                        y = layer(y, _scratch.take(place, len(layer.weight), x.shape[1]))
                    made[:-1] += y
                for place, reader in enumerate(self.readers):
                    out[place, piece] = _read(reader, made)
        return out, whole


def _read(reader: _Reader, made: Tensor) -> NDArray[np.float32]:
    if isinstance(reader, int):
        return made[reader].numpy()
    if isinstance(reader, _Kernel):
        return reader(made).numpy()
    head, rows = reader
    return head.predict(made.numpy()[rows].T).astype(np.float32)


def _rows(bands: int, readouts: Sequence[Readout]) -> tuple[Float64, Float64, tuple[_Reader, ...]]:
    """The rows to make from the features, as a matrix (m, 2 bands) and a bias, and who reads which.

    A linear head is one row, its value. All others read features, each of which is made once.
    """
    features = np.unique(
        np.concatenate([np.empty(0, np.int64), *(one.support for one in readouts if not _is_linear(one))])
    )
    linear = [one for one in readouts if _is_linear(one)]
    matrix = np.zeros((len(features) + len(linear), 2 * bands))
    bias = np.zeros(len(matrix))
    matrix[np.arange(len(features)), features] = 1.0
    readers: list[_Reader] = []
    used = len(features)
    for one in readouts:
        if isinstance(one.head, LinearHead):
            matrix[used, one.support], bias[used] = one.head.coef, one.head.intercept
            readers.append(used)
            used += 1
            continue
        rows = np.searchsorted(features, one.support)
        readers.append(_Kernel.of(one.head, rows) if isinstance(one.head, SvrHead) else (one.head, rows))
    return matrix, bias, tuple(readers)


def _with_sum(weight: Float64, bias: Float64) -> Layer:
    return Layer.of(np.vstack([weight, np.ones(weight.shape[1])]), np.append(bias, 0.0))


def _is_linear(one: Readout) -> bool:
    return isinstance(one.head, LinearHead)


def _layers(layers: Sequence[Dense], after: Float64) -> tuple[Layer, ...]:
    """A chain of dense layers with a matrix behind its last one."""
    *inner, last = layers
    found = [Layer.of(layer.weight, layer.bias, layer.activation) for layer in inner]
    if last.activation == "linear":
        return (*found, Layer.of(after @ last.weight.astype(np.float64), after @ last.bias.astype(np.float64)))
    found.append(Layer.of(last.weight, last.bias, last.activation))
    return (*found, Layer.of(after, np.zeros(len(after))))


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
