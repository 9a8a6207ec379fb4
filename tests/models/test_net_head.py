"""Networks as heads predict what their modules give, survive a model file, and refuse damaged ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geosoil.errors import ModelError, UsageError
from geosoil.models.heads import Head, HeadSettings
from geosoil.models.loop import stopping_parts
from geosoil.models.net_head import NetHead
from geosoil.models.net_training import Training, fit_network, fit_resnet
from geosoil.models.resnet import ResNet1D, ResNetSpec

Array = NDArray[np.float64]
SPEC = ResNetSpec(40, filters=6, blocks=1, last=4, dense=(5,))


def head(members: int = 2, *, slope: bool = False) -> NetHead:
    """Networks with random weights, on which batch norms have seen some spectra."""
    torch.manual_seed(3)
    nets = [ResNet1D(SPEC) for _ in range(members)]
    for net in nets:
        net.standardise(torch.randn(30, 40) * 2)
        net.train()
        net(torch.randn(30, 40))
        net.eval()
    return NetHead.of("resnet", nets, 10.0, 3.0, 0.5, slope=np.linspace(-1, 1, 40) if slope else None)


def spectra(n: int, bands: int = 40, seed: int = 0) -> tuple[Array, Array]:
    """Smooth spectra with an absorption, whose depth is the value."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, bands)
    y = rng.uniform(0, 1, n)
    slope = rng.normal(0, 0.3, (n, 1))
    X = 0.4 + slope * place - y[:, None] * 0.3 * np.exp(-(((place - 0.6) / 0.08) ** 2))
    return X + rng.normal(0, 0.005, X.shape), y


def test_a_head_gives_the_mean_over_its_networks_on_the_scale_of_the_response() -> None:
    one = head(3, slope=True)
    X = np.random.default_rng(0).standard_normal((150, 40))
    assert one.slope is not None
    with torch.no_grad():
        members = [net(torch.from_numpy(X.astype(np.float32)))[:, 0].numpy() for net in one.networks()]
    np.testing.assert_allclose(one.predict(X), np.mean(members, 0) * 3 + 10 + X @ one.slope, rtol=1e-4, atol=1e-4)
    assert isinstance(one, Head)


def test_a_prediction_does_not_depend_on_the_rows_beside_it() -> None:
    one, X = head(), np.random.default_rng(1).standard_normal((200, 40))
    whole = one.predict(X)
    np.testing.assert_allclose(np.concatenate([one.predict(X[:77]), one.predict(X[77:])]), whole, rtol=1e-6)
    X[5, 3] = np.nan
    found = one.predict(X)
    assert np.isnan(found[5])
    np.testing.assert_allclose(np.delete(found, 5), np.delete(whole, 5), rtol=1e-6)
    assert one.predict(np.empty((0, 40))).shape == (0,)


@pytest.mark.parametrize("slope", [False, True])
def test_a_head_survives_a_model_file_and_a_copy(slope: bool) -> None:
    one, X = head(slope=slope), np.random.default_rng(2).standard_normal((9, 40))
    meta, arrays = one.state()
    again = NetHead.restore(json.loads(json.dumps(meta)), arrays)
    np.testing.assert_array_equal(again.predict(X), one.predict(X))
    np.testing.assert_array_equal(copy.deepcopy(one).predict(X), one.predict(X))
    assert (again.kind, again.features, again.members, again.rmsecv) == ("resnet", 40, 2, 0.5)


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda meta, arrays: arrays.pop("conv1.weight"),
        lambda meta, arrays: arrays.update({"conv1.weight": arrays["conv1.weight"][:, :3]}),
        lambda meta, arrays: arrays["head.bias"].fill(np.nan),
        lambda meta, arrays: arrays["norm1.running_var"].fill(-1.0),
        lambda meta, arrays: arrays.update({"head.bias": arrays["head.bias"].astype(np.int64)}),
        lambda meta, arrays: arrays.update(slope=np.zeros(39)),
        lambda meta, arrays: meta.update(net="transformer"),
        lambda meta, arrays: meta.update(members=3),
        lambda meta, arrays: meta.update(members=0),
        lambda meta, arrays: meta.update(spread="wide"),
        lambda meta, arrays: meta.update(spec=[1, 2]),
        lambda meta, arrays: meta["spec"].update(outputs=2),
        # As large as the bounds allow: refused by the arrays' shapes, without the memory that it claims.
        lambda meta, arrays: meta["spec"].update(filters=65536, last=65536, bands=65536),
    ],
)
def test_damaged_parts_are_refused(change: Change) -> None:
    meta, arrays = head().state()
    meta, arrays = json.loads(json.dumps(meta)), {name: one.copy() for name, one in arrays.items()}
    change(meta, arrays)
    with pytest.raises(ModelError) as caught:
        NetHead.restore(meta, arrays)
    assert caught.value.code == "GS-MODEL-DAMAGED"


def test_other_features_are_refused() -> None:
    with pytest.raises(ModelError, match="40 features"):
        head().predict(np.zeros((2, 41)))


def test_a_trained_network_finds_the_absorption_and_the_same_again() -> None:
    X, y = spectra(90)
    training = Training(epochs=20, patience=20, learning_rate=5e-3)
    fits = [fit_network("resnet", SPEC, X, y, training, 1, None, 4) for _ in range(2)]
    fresh, truth = spectra(60, seed=9)
    error = np.sqrt(np.mean((fits[0].predict(fresh) - truth) ** 2))
    assert error < 0.5 * truth.std()
    np.testing.assert_array_equal(fits[0].predict(fresh), fits[1].predict(fresh))


def test_the_published_network_is_a_head_of_the_settings() -> None:
    X, y = spectra(30)
    found = fit_resnet(X, y, HeadSettings(members=2, epochs=2), None, 1)
    assert (found.members, found.spec.to_meta()) == (2, ResNetSpec(40).to_meta())
    assert found.rmsecv is not None
    assert np.isfinite(found.predict(X)).all()


def test_members_stop_by_whole_groups_and_by_each_once_a_round() -> None:
    groups = np.repeat(np.arange(15), 4)
    parts = stopping_parts(60, 10, groups, 0)
    assert all(len(set(groups[out]) & set(groups[~out])) == 0 for out in parts)
    np.testing.assert_array_equal(np.sum(parts[:5], axis=0), 1)
    np.testing.assert_array_equal(np.sum(parts[5:], axis=0), 1)


def test_the_penalty_is_added_to_the_loss_as_the_paper_has_it() -> None:
    # Adam adds its factor times w to the gradient; that of 0.0004 w^2 is 0.0008 w.
    assert Training().schedule(98).weight_decay == pytest.approx(8e-4)
    assert [Training().schedule(n).batch for n in (98, 1000)] == [16, 64]
    with pytest.raises(UsageError, match="patience"):
        Training(patience=0)
