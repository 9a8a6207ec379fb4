"""What the heads check: rows of features when they predict, arrays when they are restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float64

__all__ = ["array", "damaged", "feature_rows", "number", "standardisation"]


def feature_rows(X: ArrayLike, features: int) -> Float64:
    """Features (n, F) as float64; raises ModelError ``GS-MODEL-FEATURES`` where F is another."""
    rows = np.asarray(X, np.float64)
    if rows.ndim != 2 or rows.shape[1] != features:
        raise ModelError(
            f"the model takes {features} features", code="GS-MODEL-FEATURES", details=[f"found: shape {rows.shape}"]
        )
    return rows


def standardisation(X: Float64) -> tuple[Float64, Float64]:
    """Mean and standard deviation of each feature; 1 where it does not vary."""
    mean, sd = X.mean(axis=0), X.std(axis=0)
    return mean, np.where(sd > 1e-12 * np.abs(X).max(axis=0), sd, 1.0)


def damaged(what: str) -> ModelError:
    """The error of a model file whose parts do not fit."""
    return ModelError(f"{what} of the model file do not fit", code="GS-MODEL-DAMAGED", hint="fit the model again")


def array(arrays: Mapping[str, NDArray[Any]], name: str, *shape: int) -> Float64:
    """A float64 array of a model file; raises ModelError where it is absent, not finite or of another shape."""
    found = arrays.get(name)
    if found is None or found.shape != shape or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise damaged(f"the arrays {name!r}")
    return np.ascontiguousarray(found, np.float64)


def number(meta: Mapping[str, Any], name: str) -> float:
    """A finite number of a model file; raises ModelError."""
    value = meta.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise damaged(f"the values {name!r}")
    return float(value)
