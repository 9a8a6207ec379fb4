"""Small training sets with a known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geosoil.types import Layers

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64


@dataclass(frozen=True)
class Known:
    """Features and layers in which the truth is known."""

    features: Float32
    layers: Layers
    depths_cm: Float64
    truth: Float64


@pytest.fixture
def known() -> Known:
    """200 profiles, 5 x 5 cells, 4 columns; the value is twice the centre of column 0 less the depth, and noise."""
    rng = np.random.default_rng(7)
    features = rng.random((200, 5, 5, 4), np.float32)
    depths = np.array([2.5, 10.0, 45.0])
    truth = 2 * features[:, 2, 2, :1].astype(np.float64) - depths[None] / 100
    profile, target = (axis.ravel() for axis in np.meshgrid(np.arange(200), np.arange(3), indexing="ij"))
    # A third of the layers is missing, as in real profiles.
    keep = rng.random(len(profile)) > 1 / 3
    profile, target = profile[keep].astype(np.int64), target[keep].astype(np.int64)
    value = truth[profile, target] + 0.05 * rng.standard_normal(len(profile))
    return Known(features, Layers(profile, depths[target], target, value), depths, truth)
