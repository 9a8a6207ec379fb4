"""Models of spectra over whole tiles: only what is read is computed, and what is linear is one layer.

A translator that ends in a linear layer and heads that are linear fold into each other: of the last layer, which makes
a spectrum, a row a target is left. Where a head is not linear, the bands that it reads are generated and no others.

NumPy's own matrix products do it: on tall blocks of spectra they are as fast as torch's, which takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.special import expit

from geosoil.kernels.exponential import weighted_exponentials
from geosoil.kernels.layers import shift, shift_relu, standardise
from geosoil.models.heads import Head, LinearHead, SvrHead
from geosoil.models.threads import Scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.models.fusion import Translator
    from geosoil.models.fusion_layers import Chains, Dense
    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["DenseSpectra", "Readout"]

#: Numbers of a layer that go through at once, so that what is computed of them stays in cache, and cells at least.
_MOST, _LEAST = 2**17, 768


@dataclass(frozen=True, eq=False)
class Readout:
    """What a target reads: places among the features (satellite, then generated), and how."""

    support: Int64
    head: Head


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A support vector machine on the made rows: a matrix product, an exponential, a vector product.

    The product gives the exponents themselves: ``-gamma |z - s|**2`` is linear in z, 1 and ``|z|**2``.

    Attributes
    ----------
    rows : (k,) int64
        Rows that it reads.
    scale, shift : (k,) float32
        Their standardisation.
    support : (S, k + 2) float32
        ``2 gamma s``, ``-gamma |s|**2`` and ``-gamma``.
    dual : (S,) float32
    intercept : float
    """

    rows: Int64
    scale: Float32
    shift: Float32
    support: Float32
    dual: Float32
    intercept: float

    @classmethod
    def of(cls, head: SvrHead, rows: Int64) -> _Kernel:
        gamma, length = head.gamma, (head.support**2).sum(axis=1)
        parts = [2 * gamma * head.support, -gamma * length[:, None], np.full((len(length), 1), -gamma)]
        return cls(
            rows=rows,
            scale=_narrow(1 / head.sd),
            shift=_narrow(-head.mean / head.sd),
            support=_narrow(np.hstack(parts)),
            dual=_narrow(head.dual),
            intercept=head.intercept,
        )

    def __call__(self, made: Float32) -> Float32:
        """Rows (m, n) to values (n,)."""
        count = made.shape[1]
        z = _scratch.take(-2, len(self.rows) + 2, count)
        standardise(made, self.rows, self.scale, self.shift, z)
        similar = np.matmul(self.support, z, out=_scratch.take(-1, len(self.support), count))
        out = np.empty(count, np.float32)
        weighted_exponentials(similar, self.dual, np.float32(self.intercept), out)
        return out


#: What makes a target's value of the made rows: the row that is it, a kernel on rows, or a head on them.
_Reader: TypeAlias = "int | _Kernel | tuple[Head, Int64]"


_scratch = Scratch(_LEAST)


@dataclass(frozen=True, eq=False)
class Layer:
    """A dense layer on bands by cells: ``activation(weight @ x + bias)``."""

    weight: Float32
    bias: Float32
    activation: str = "linear"

    @classmethod
    def of(cls, weight: NDArray[Any], bias: NDArray[Any], activation: str = "linear") -> Layer:
        return cls(_narrow(weight), _narrow(bias), activation)

    def __call__(self, x: Float32, out: Float32) -> Float32:
        """Bands (in, n) to (out, n), in the memory given."""
        return _activate(np.matmul(self.weight, x, out=out), self.bias, self.activation)


def _activate(values: Float32, bias: Float32, activation: str) -> Float32:
    """Bias and activation, in place."""
    if activation == "relu":
        shift_relu(values, bias)
        return values
    shift(values, bias)
    return expit(values, out=values) if activation == "sigmoid" else values


@dataclass(frozen=True, eq=False)
class _Chain:
    """A network: which rows of the front are its first layer's, what becomes of them, and the layers behind."""

    rows: slice
    bias: Float32
    activation: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, eq=False)
class DenseSpectra:
    """A model of spectra as layers, on bands by cells: a scene's own order, so that nothing has to be turned.

    Attributes
    ----------
    front : (m + 1 + ..., q) float32
        What is made of the satellite bands in one product: m rows, their sum, which is missing where any band is, and
        the first layers of the networks.
    bias : (m,) float32
        Of the rows.
    chains : tuple of _Chain
        Networks whose outputs are added; their last layer gives the m rows.
    readers : tuple
        What makes each target's value of the rows.
    translator : Translator or None
        One that cannot be folded; the rest then reads both the satellite bands and what it gives.
    """

    front: Float32
    bias: Float32
    chains: tuple[_Chain, ...]
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
            return cls(*_fronted(matrix, bias, []), readers, translator)
        weight, far = matrix[:, :bands].copy(), matrix[:, bands:]
        layers = []
        if chains is not None:
            if chains.skip is not None:
                weight += far @ chains.skip.weight.astype(np.float64)
                bias += far @ chains.skip.bias.astype(np.float64)
            layers = [_layers(one, far / len(chains.members)) for one in chains.members]
        return cls(*_fronted(weight, bias, layers), readers)

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
        with np.errstate(invalid="ignore", over="ignore"):  # gaps are NaN, and stay so
            size = max(_LEAST, _MOST // len(self.front))
            for start in range(0, cells.shape[1], size):
                piece = slice(start, start + size)
                x = cells[:, piece]
                first = np.matmul(self.front, x, out=_scratch.take(0, len(self.front), x.shape[1]))
                whole[piece] = np.isfinite(first[len(self.bias)])
                made = _activate(first[: len(self.bias)], self.bias, "linear")
                for chain in self.chains:
                    y = _activate(first[chain.rows], chain.bias, chain.activation)
                    for place, layer in enumerate(chain.layers, 1):
                        y = layer(y, _scratch.take(place, len(layer.weight), x.shape[1]))
                    made += y
                for place, reader in enumerate(self.readers):
                    out[place, piece] = _read(reader, made)
        return out, whole


def _read(reader: _Reader, made: Float32) -> Float32:
    if isinstance(reader, int):
        return np.asarray(made[reader], np.float32)
    if isinstance(reader, _Kernel):
        return reader(made)
    head, rows = reader
    return head.predict(made[rows].T).astype(np.float32)


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


def _fronted(
    weight: Float64, bias: Float64, chains: Sequence[tuple[Layer, ...]]
) -> tuple[Float32, Float32, tuple[_Chain, ...]]:
    """One matrix of all that reads the satellite bands, the bias of its first rows, and the networks behind it."""
    weights = [_narrow(weight), np.ones((1, weight.shape[1]), np.float32), *(first.weight for first, *_ in chains)]
    used, found = len(weight) + 1, []
    for first, *rest in chains:
        rows = slice(used, used + len(first.weight))
        found.append(_Chain(rows, first.bias, first.activation, tuple(rest)))
        used = rows.stop
    return np.vstack(weights), _narrow(bias), tuple(found)


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


def _narrow(values: NDArray[Any]) -> Float32:
    return np.ascontiguousarray(values, np.float32)
