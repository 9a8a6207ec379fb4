"""What a spectral library lends to a model of few samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geosoil.errors import InputError

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["Source"]


@dataclass(frozen=True, eq=False)
class Source:
    """Samples of a library, on the features of the local samples.

    Attributes
    ----------
    X : (N, F) float64
        Features.
    y : (N,) float64
        A property on its transformed scale.
    same : bool
        Whether it is the property that shall be predicted, on the scale that the local samples have it on. If it is
        another one, only what a network learned of spectra can be lent, not the samples.
    origin : (N,) int64
        Which data set a sample is from.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``.
    """

    X: Float64
    y: Float64
    same: bool
    origin: Int64

    def __post_init__(self) -> None:
        if self.X.ndim != 2 or self.y.shape != (len(self.X),) or self.origin.shape != (len(self.X),):
            raise InputError(
                "the parts of a library do not fit together",
                code="GS-SPECTRA-SHAPE",
                details=[f"spectra {self.X.shape}, values {self.y.shape}, data sets {self.origin.shape}"],
            )
        if not (np.isfinite(self.X).all() and np.isfinite(self.y).all()):
            raise InputError("a library has missing values", code="GS-SPECTRA-NAN", hint="leave these samples out")

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: Int64) -> Source:
        """Some of its samples."""
        return Source(self.X[rows], self.y[rows], self.same, self.origin[rows])
