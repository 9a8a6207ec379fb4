"""Depth transfer keeps what it freezes, and gains where a depth has few layers."""

from __future__ import annotations

import numpy as np
import pytest

from geosoil.models.cnn import PatchCNN
from geosoil.models.transfer import DepthTransfer
from geosoil.types import Layers

from .conftest import Known


def moved(known: Known, frozen: int) -> set[str]:
    """Weights that differ between two depths of a tuned network."""
    estimator = DepthTransfer(patch=5, epochs=4, frozen=frozen, tune_learning_rate=1e-2)
    first, second, _ = estimator.fit(known.features, known.layers, known.depths_cm).members[0]
    return {name for name in first if not np.array_equal(first[name].numpy(), second[name].numpy())}


@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_frozen_blocks_are_equal_for_all_depths_and_the_rest_is_not(frozen: int, known: Known) -> None:
    names = moved(known, frozen)
    kept = {f"{group}.{place}" for group in ("convs", "norms") for place in range(frozen)}
    assert not {name for name in names if name.rsplit(".", 1)[0] in kept}
    tuned = {f"convs.{place}.weight" for place in range(frozen, 3)} | {"dense1.weight", "dense2.weight", "head.weight"}
    assert tuned <= names


def test_all_frozen_is_the_pre_trained_network(known: Known) -> None:
    transfer = DepthTransfer(patch=5, epochs=4, frozen=6, seed=2).fit(known.features, known.layers, known.depths_cm)
    source = PatchCNN("pretrained", patch=5, epochs=4, seed=2).fit(known.features, known.layers, known.depths_cm)
    np.testing.assert_array_equal(transfer.predict(known.features), source.predict(known.features))


def test_a_depth_with_few_layers_learns_from_the_others(known: Known) -> None:
    rng = np.random.default_rng(0)
    # The last depth keeps six layers of its own.
    last = np.flatnonzero(known.layers.target == 2)
    keep = np.sort(np.concatenate([np.flatnonzero(known.layers.target != 2), rng.choice(last, 6, replace=False)]))
    thin = Layers(*(getattr(known.layers, name)[keep] for name in ("profile", "depth_cm", "target", "value")))
    common = {"patch": 5, "epochs": 40, "patience": 15, "batch": 32, "learning_rate": 3e-3, "dropout": 0.1}
    transfer = DepthTransfer(**common).fit(known.features, thin, known.depths_cm)  # type: ignore[arg-type]
    alone = PatchCNN("cnn", **common).fit(known.features, thin, known.depths_cm)  # type: ignore[arg-type]

    def correlation(predictor: object) -> float:
        found = predictor.predict(known.features)  # type: ignore[attr-defined]
        return float(np.corrcoef(found[:, 2], known.truth[:, 2])[0, 1])

    assert correlation(transfer) > 0.9
    assert correlation(transfer) > correlation(alone)
