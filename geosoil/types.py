"""Protocols and small records that the layers share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    Float32: TypeAlias = NDArray[np.float32]
    Float64: TypeAlias = NDArray[np.float64]
    Int64: TypeAlias = NDArray[np.int64]
    Bool: TypeAlias = NDArray[np.bool_]

__all__ = ["Estimator", "Layers", "PathLike", "Predictor", "Progress", "Reader", "quiet"]

PathLike: TypeAlias = str | os.PathLike[str]

#: ``progress(done, total, message)``; called often, so it must be cheap.
Progress: TypeAlias = Callable[[int, int, str], None]


def quiet(done: int, total: int, message: str) -> None:
    """A progress callback that says nothing."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The observed layers of a set of profiles, one entry a layer.

    Attributes
    ----------
    profile : (L,) int64
        Row of the profile that the layer belongs to, in the features given beside it.
    depth_cm : (L,) float64
        Mid-point of the layer, cm.
    target : (L,) int64
        Index of the depth interval that the layer stands for.
    value : (L,) float64
        Observed value; in the property's unit, or on the transformed scale where that is said.
    """

    profile: Int64
    depth_cm: Float64
    target: Int64
    value: Float64

    def __len__(self) -> int:
        return len(self.value)


class Predictor(Protocol):
    """A fitted model: features in, one value for each depth out. Knows nothing of files, units or scaling.

    `features` are channels-last float32, encoded by ``prep.covariates.Encoder``.
    """

    @property
    def kind(self) -> str:
        """Name in the registry, by which a model file finds the class again."""
        ...

    @property
    def patch(self) -> int:
        """Width of the patch in cells; odd."""
        ...

    @property
    def targets(self) -> int:
        """Number of depths."""
        ...

    def predict(self, features: Float32) -> Float32:
        """Patches ``(n, patch, patch, F)`` to ``(n, targets)``."""
        ...

    def predict_tile(self, features: Float32) -> Float32:
        """A block with its halo, ``(h + patch - 1, w + patch - 1, F)``, to ``(targets, h, w)``."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a model file holds: JSON values, and arrays by name."""
        ...

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Predictor:
        """Inverse of `state`; raises ModelError where the two do not fit."""
        ...


class Estimator(Protocol):
    """A way to fit: hyper-parameters in the constructor, data in `fit`."""

    def fit(self, features: Float32, layers: Layers, depths_cm: Float64, progress: Progress = quiet) -> Predictor:
        """Fit on patches.

        Parameters
        ----------
        features : (P, patch, patch, F) float32
            One encoded patch a profile.
        layers : Layers
            Observed layers of these profiles, values on the transformed scale.
        depths_cm : (T,) float64
            Mid-points of the depth intervals to predict, cm.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """Opens one kind of file as a scene."""

    def accepts(self, path: str) -> bool:
        """Whether this reader knows the file, from its name and first bytes."""
        ...

    def open(self, path: str, *, chunks: int) -> xr.DataArray:
        """The lazy scene ``(band, y, x)``."""
        ...


def as_path(path: PathLike) -> Path:
    """A path with ``~`` expanded."""
    return Path(path).expanduser()
