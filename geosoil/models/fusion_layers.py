"""Dense layers as arrays: what is left of networks that turn one spectrum into another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64

__all__ = ["Activation", "Chains", "Dense", "Scale", "pack", "unpack"]

Activation = Literal["linear", "relu", "sigmoid"]

_ACTIVATIONS: tuple[Activation, ...] = ("linear", "relu", "sigmoid")
#: No layer of a spectral model is wider; checked before anything is allocated.
_WIDEST = 65_536


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and SD of each band, of training spectra.

    Attributes
    ----------
    mean, spread : (p,) float64
    """

    mean: Float64
    spread: Float64

    @classmethod
    def of(cls, spectra: NDArray[Any]) -> Scale:
        """Of spectra (n, p); a constant band keeps its unit."""
        rows = np.asarray(spectra, np.float64)
        spread = rows.std(axis=0, ddof=1)
        return cls(rows.mean(axis=0), np.where(spread > 1e-12, spread, 1.0))

    def forward(self, spectra: NDArray[Any]) -> Float32:
        """Standardised, float32."""
        return np.asarray((np.asarray(spectra, np.float64) - self.mean) / self.spread, np.float32)


@dataclass(frozen=True, eq=False)
class Dense:
    """One dense layer: ``activation(x @ weight.T + bias)``.

    Attributes
    ----------
    weight : (out, in) float32
    bias : (out,) float32
    """

    weight: Float32
    bias: Float32
    activation: Activation = "linear"

    def __call__(self, rows: Float32) -> Float32:
        """Rows (n, in) to (n, out)."""
        found = rows @ self.weight.T + self.bias
        if self.activation == "relu":
            return np.asarray(np.maximum(found, np.float32(0)), np.float32)
        if self.activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-found)), np.float32)
        return np.asarray(found, np.float32)

    def after(self, scale: Scale) -> Dense:
        """The layer that takes spectra as they are, where this one takes standardised ones."""
        weight = self.weight.astype(np.float64) / scale.spread
        bias = self.bias - weight @ scale.mean
        return Dense(weight.astype(np.float32), bias.astype(np.float32), self.activation)

    def before(self, scale: Scale) -> Dense:
        """The layer that gives spectra in their unit, where this linear one gives standardised ones."""
        weight = self.weight.astype(np.float64) * scale.spread[:, None]
        bias = self.bias * scale.spread + scale.mean
        return Dense(weight.astype(np.float32), bias.astype(np.float32), self.activation)

    def then(self, matrix: Float64) -> Dense:
        """This linear layer followed by a matrix (out, out)."""
        weight, bias = matrix @ self.weight.astype(np.float64), matrix @ self.bias.astype(np.float64)
        return Dense(weight.astype(np.float32), bias.astype(np.float32), self.activation)


@dataclass(frozen=True, eq=False)
class Chains:
    """A translator as dense layers: the mean over the chains, plus a linear map of the input.

    Everything that scales is folded in, so the chains take and give spectra in their own unit. The last layer is linear
    unless the output is a sigmoid; a linear model that follows folds into it, and rows that nobody reads can be left
    out.

    Attributes
    ----------
    members : tuple of tuples of Dense
        The chains; none where the translator is linear.
    skip : Dense, optional
        What is added: the linear part.
    """

    members: tuple[tuple[Dense, ...], ...]
    skip: Dense | None = None

    def __call__(self, spectra: Float32) -> Float32:
        """Spectra (n, p) to (n, p)."""
        rows = np.ascontiguousarray(spectra, np.float32)
        total = np.zeros(rows.shape, np.float32) if self.skip is None else self.skip(rows)
        for layers in self.members:
            found = rows
            for layer in layers:
                found = layer(found)
            total = total + found / np.float32(len(self.members))
        return total


def pack(name: str, layer: Dense) -> dict[str, NDArray[Any]]:
    """The layer's arrays under a name."""
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def unpack(
    arrays: Mapping[str, NDArray[Any]], name: str, activation: Activation, inputs: int, outputs: int | None = None
) -> Dense:
    """Inverse of `pack`; raises ModelError ``GS-MODEL-DAMAGED`` where shapes or values do not fit."""
    try:
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
    except KeyError as error:
        raise ModelError(f"layer {name!r} of the translator is missing", code="GS-MODEL-DAMAGED") from error
    fits = (
        weight.ndim == 2
        and weight.shape[1] == inputs
        and bias.shape == (weight.shape[0],)
        and 1 <= weight.shape[0] <= _WIDEST
        and weight.shape[0] == (outputs or weight.shape[0])
        and activation in _ACTIVATIONS
        and bool(np.isfinite(weight).all() and np.isfinite(bias).all())
    )
    if not fits:
        raise ModelError(f"layer {name!r} of the translator does not fit", code="GS-MODEL-DAMAGED")
    return Dense(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32), activation)
