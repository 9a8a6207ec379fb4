"""A small dense network on selected bands (DNN-CARS when the bands are): an ensemble of few, kept as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from geosoil.models.features import array, damaged, feature_rows, number, standardisation
from geosoil.models.loop import Part, Schedule, one_thread, stopping_parts, train_network

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.models.heads import HeadSettings
    from geosoil.types import Bool, Float64

__all__ = ["DnnHead", "fit_dnn"]

_WIDTHS = (64, 32)
_SCHEDULE = Schedule(patience=60, batch=16, learning_rate=1e-3, weight_decay=1e-2)
#: Rows that go through at once.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class DnnHead:
    """Dense layers of 64, 32 and 1 with ReLU between, the mean over M members.

    Attributes
    ----------
    mean, sd : (F,) float64
        Standardisation of the features.
    weight1, bias1 : (M, F, 64), (M, 64) float64
        First layer; the others follow.
    centre, spread : float
        Of the response.
    """

    mean: Float64
    sd: Float64
    weight1: Float64
    bias1: Float64
    weight2: Float64
    bias2: Float64
    weight3: Float64
    bias3: Float64
    centre: float
    spread: float
    rmsecv: float | None = None

    kind = "dnn"

    @property
    def features(self) -> int:
        """Number of features, F."""
        return len(self.mean)

    @property
    def importance(self) -> None:
        """None of its own; permute bands, or explain it."""
        return

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        out = np.empty(len(rows))
        for start in range(0, len(rows), _BLOCK):
            z = (rows[start : start + _BLOCK] - self.mean) / self.sd
            x = np.maximum(z @ self.weight1 + self.bias1[:, None], 0)
            x = np.maximum(x @ self.weight2 + self.bias2[:, None], 0)
            members = x @ self.weight3[:, :, None]
            out[start : start + _BLOCK] = (members[..., 0] + self.bias3[:, None]).mean(axis=0)
        return out * self.spread + self.centre

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        meta = {
            "features": self.features,
            "members": len(self.bias3),
            "centre": self.centre,
            "spread": self.spread,
            "rmsecv": self.rmsecv,
        }
        arrays = {one.name: getattr(self, one.name) for one in fields(self)}
        return meta, {name: one for name, one in arrays.items() if isinstance(one, np.ndarray)}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> DnnHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        features, members = int(number(meta, "features")), int(number(meta, "members"))
        first, second = _WIDTHS
        sd = array(arrays, "sd", features)
        if features < 1 or members < 1 or (sd <= 0).any():
            raise damaged("the scales")
        return cls(
            array(arrays, "mean", features),
            sd,
            array(arrays, "weight1", members, features, first),
            array(arrays, "bias1", members, first),
            array(arrays, "weight2", members, first, second),
            array(arrays, "bias2", members, second),
            array(arrays, "weight3", members, second),
            array(arrays, "bias3", members),
            number(meta, "centre"),
            number(meta, "spread"),
            None if meta.get("rmsecv") is None else number(meta, "rmsecv"),
        )


def fit_dnn(X: Float64, y: Float64, settings: HeadSettings, groups: ArrayLike | None, seed: int) -> DnnHead:
    """Train the members, each with another fifth of the samples (or groups) to stop by."""
    mean, sd = standardisation(X)
    centre, spread = float(y.mean()), float(y.std())
    z, target = (X - mean) / sd, (y - centre) / spread
    layers, squared = [], 0.0
    for member, out in enumerate(stopping_parts(len(y), settings.members, groups, seed)):
        net, best = _member(z, target, out, settings.epochs, seed * 1009 + member)
        layers.append([one.detach().numpy().astype(np.float64) for one in net.parameters()])
        squared += best / settings.members
    weight1, bias1, weight2, bias2, weight3, bias3 = (np.array(one) for one in zip(*layers, strict=True))
    return DnnHead(
        mean=mean,
        sd=sd,
        weight1=np.ascontiguousarray(weight1.transpose(0, 2, 1)),
        bias1=bias1,
        weight2=np.ascontiguousarray(weight2.transpose(0, 2, 1)),
        bias2=bias2,
        weight3=weight3[:, 0],
        bias3=bias3[:, 0],
        centre=centre,
        spread=spread,
        rmsecv=float(np.sqrt(squared)) * spread,
    )


def _member(z: Float64, target: Float64, out: Bool, epochs: int, seed: int) -> tuple[nn.Sequential, float]:
    """One trained network, and its mean squared error on the samples that it stopped by."""
    first, second = _WIDTHS
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(z.shape[1], first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 1)
        )
        schedule = replace(_SCHEDULE, epochs=epochs)
        fit = train_network(net, net, _part(z[~out], target[~out]), _part(z[out], target[out]), schedule, seed=seed)
    return net, fit.best


def _part(z: Float64, target: Float64) -> Part:
    values = torch.from_numpy(target[:, None].astype(np.float32))
    return Part((torch.from_numpy(z.astype(np.float32)),), values, torch.ones_like(values))
