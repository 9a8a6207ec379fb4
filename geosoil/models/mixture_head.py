"""Heads that are the weighted mean of other heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.models.features import damaged, feature_rows, number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.heads import Head
    from geosoil.types import Float64

__all__ = ["MixtureHead", "Restore"]

#: Restores a head from its kind, JSON values and arrays.
Restore = Callable[[str, Mapping[str, Any], "Mapping[str, NDArray[Any]]"], "Head"]


@dataclass(frozen=True, eq=False)
class MixtureHead:
    """The weighted mean of other heads.

    Attributes
    ----------
    names : tuple of str
        What each part is called.
    parts : tuple of Head
        Models of the same features.
    weights : (k,) float64
        Not negative, of sum 1.
    rmsecv : float
        Error of the weighted mean on samples held out of the parts; the weights saw them.
    errors : (k,) float64
        That of each part.
    """

    names: tuple[str, ...]
    parts: tuple[Head, ...]
    weights: Float64
    rmsecv: float
    errors: Float64

    kind = "mixture"

    @property
    def features(self) -> int:
        """Number of features, F."""
        return self.parts[0].features

    @property
    def importance(self) -> Float64 | None:
        """Weighted mean of the parts' importances, each of sum 1, (F,); None where a part has none."""
        total = np.zeros(self.features)
        for weight, part in zip(self.weights, self.parts, strict=True):
            own = part.importance
            if own is None:
                return None
            total += weight * own / max(float(own.sum()), np.finfo(np.float64).tiny)
        return total

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        total = np.zeros(len(rows))
        for weight, part in zip(self.weights, self.parts, strict=True):
            if weight > 0:
                total += weight * part.predict(rows)
        return total

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays; those of the parts begin with their place."""
        meta: dict[str, Any] = {"features": self.features, "rmsecv": self.rmsecv}
        listed: list[dict[str, Any]] = []
        arrays: dict[str, NDArray[Any]] = {}
        for place, (name, part) in enumerate(zip(self.names, self.parts, strict=True)):
            own, held = part.state()
            weight, error = float(self.weights[place]), float(self.errors[place])
            listed.append({"name": name, "kind": part.kind, "weight": weight, "error": error, "state": own})
            arrays |= {f"part{place}.{key}": one for key, one in held.items()}
        return meta | {"parts": listed}, arrays

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], restore: Restore) -> MixtureHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the parts do not fit.

        Parameters
        ----------
        restore : callable
            Restores a part from its kind, JSON values and arrays: `models.heads.restore_head`.
        """
        listed = meta.get("parts")
        if not isinstance(listed, list) or not listed or not all(isinstance(one, Mapping) for one in listed):
            raise damaged("the parts")
        parts = tuple(_restored(place, one, arrays, restore) for place, one in enumerate(listed))
        weights = np.array([number(one, "weight") for one in listed])
        errors = np.array([number(one, "error") for one in listed])
        if (weights < 0).any() or abs(weights.sum() - 1) > 1e-6:
            raise damaged("the weights")
        if any(one.features != int(number(meta, "features")) for one in parts):
            raise damaged("the features")
        return cls(tuple(str(one.get("name")) for one in listed), parts, weights, number(meta, "rmsecv"), errors)


def _restored(place: int, listed: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], restore: Restore) -> Head:
    state, prefix = listed.get("state"), f"part{place}."
    if not isinstance(state, Mapping) or listed.get("kind") == MixtureHead.kind:
        raise damaged("the parts")
    own = {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}
    return restore(str(listed.get("kind")), state, own)
