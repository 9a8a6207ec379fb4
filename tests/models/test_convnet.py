"""Convolutional networks of spectra take any valid shape, refuse the others, and come back from JSON as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import GeosoilError, ModelError, UsageError
from geosoil.models.convnet import ACTIVATIONS, ConvBlock, ConvNet1D, ConvSpec, DenseBlock, published
from geosoil.models.net_head import NetHead

SMALL = ConvSpec(
    40,
    (
        ConvBlock(6, 5, 2, "same", "max", 2, norm=True, dropout=0.1, activation="elu"),
        ConvBlock(4, 3, pool="average", activation="swish"),
    ),
    (DenseBlock(8, norm=True, dropout=0.2, activation="selu"), DenseBlock(5, activation="leaky_relu")),
)

conv_blocks = st.builds(
    ConvBlock,
    filters=st.integers(1, 6),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["valid", "same"]),
    pool=st.sampled_from(["none", "max", "average"]),
    pool_size=st.integers(1, 4),
    norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
dense_blocks = st.builds(DenseBlock, nodes=st.integers(1, 8), norm=st.booleans(), dropout=st.sampled_from([0.0, 0.3]))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.lists(conv_blocks, min_size=1, max_size=3), st.lists(dense_blocks, max_size=2))
def test_a_shape_is_refused_or_counts_what_its_network_has(
    bands: int, conv: list[ConvBlock], dense: list[DenseBlock]
) -> None:
    length = bands
    for block in conv:
        length = block.left(length) if length + sum(block.pads(length)) >= block.kernel else 0
    if length < 1:
        with pytest.raises(UsageError, match="GS-NET-LENGTH"):
            ConvSpec(bands, tuple(conv), tuple(dense), outputs=2)
        return
    spec = ConvSpec(bands, tuple(conv), tuple(dense), outputs=2)
    net = ConvNet1D(spec).eval()
    X = torch.randn(3, bands)
    flat = net.trunk(X)
    assert flat.shape == (3, spec.flat)
    torch.testing.assert_close(net(X), net.dense(flat))
    assert net(X).shape == (3, 2)
    norms = sum(2 * one.filters for one in conv if one.norm) + sum(2 * one.nodes for one in dense if one.norm)
    assert sum(one.numel() for one in net.parameters()) == spec.weights + norms
    x = net.pooled(X)
    for stage in net.stages():
        x = stage(x)
    torch.testing.assert_close(x, flat)
    assert ConvSpec.from_meta(json.loads(json.dumps(spec.to_meta()))) == spec


def test_every_activation_is_a_module_of_its_own() -> None:
    calls: dict[int, int] = {}
    net = ConvNet1D(SMALL).eval()

    def count(module: torch.nn.Module, *_: object) -> None:
        calls[id(module)] = calls.get(id(module), 0) + 1

    found = [one for one in net.modules() if isinstance(one, tuple(ACTIVATIONS.values()))]
    for one in found:
        one.register_forward_hook(count)
    net(torch.randn(2, 40))
    assert len(found) == len(calls) == 4
    assert set(calls.values()) == {1}


def test_padding_keeps_positions_as_tensorflow_does() -> None:
    for length in (7, 8, 11):
        for kernel in (2, 3, 5):
            for stride in (1, 2, 3, 4):
                block = ConvBlock(1, kernel, stride, "same")
                assert block.left(length) == int(np.ceil(length / stride))
                before, behind = block.pads(length)
                assert 0 <= behind - before <= 1


def test_a_network_for_predictions_gives_the_same_values_without_dropout() -> None:
    net = ConvNet1D(SMALL)
    net(torch.randn(16, 40))
    net.eval()
    X = torch.randn(5, 40)
    torch.testing.assert_close(net.folded()(X), net(X))
    assert not any(isinstance(one, torch.nn.Dropout) for one in net.folded().modules())
    assert any(isinstance(one, torch.nn.Dropout) for one in net.modules())


def test_a_head_of_convolutional_networks_comes_back_from_a_model_file() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((7, 40))
    nets = [ConvNet1D(SMALL).eval() for _ in range(3)]
    for net in nets:
        net.standardise(torch.from_numpy(X.astype(np.float32)))
    head = NetHead.of("cnn", nets, centre=4.0, spread=2.0)
    meta, arrays = head.state()
    again = NetHead.restore(json.loads(json.dumps(meta)), arrays)
    np.testing.assert_array_equal(again.predict(X), head.predict(X))
    with torch.no_grad():
        members = [net(torch.from_numpy(X.astype(np.float32)))[:, 0].numpy() for net in nets]
    np.testing.assert_allclose(head.predict(X), np.mean(members, axis=0) * 2 + 4, rtol=1e-5)


def test_the_published_shapes_lie_in_the_published_ranges() -> None:
    for spec in published(211).values():
        assert 1 <= len(spec.conv) <= 3
        assert all(25 <= one.filters <= 252 and 3 <= one.kernel <= 10 and 2 <= one.stride <= 8 for one in spec.conv)
        assert all(22 <= one.nodes <= 1015 for one in spec.dense)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"conv": (ConvBlock(4, 50),)}, "GS-NET-LENGTH"),
        ({"conv": (ConvBlock(4, 3, pool="max", pool_size=39),)}, "GS-NET-LENGTH"),
        ({"conv": ()}, "GS-NET-SHAPE"),
        ({"bands": 0}, "GS-NET-SHAPE"),
        ({"conv": (ConvBlock(0, 3),)}, "GS-NET-SHAPE"),
        ({"dense": (DenseBlock(10, dropout=1.0),)}, "GS-NET-SHAPE"),
        ({"dense": (DenseBlock(60000), DenseBlock(60000))}, "GS-NET-SHAPE"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(GeosoilError) as caught:
        replace(SMALL, **change)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "damage",
    [
        {"bands": "40"},
        {"bands": 4.5},
        {"conv": [{}]},
        {"conv": 3},
        {"dense": [{"nodes": 10**9, "norm": False, "dropout": 0.0, "activation": "relu"}]},
        {"dense": [{"nodes": 3, "norm": False, "dropout": 0.0, "activation": "step"}]},
        {"dense": [{"nodes": 3, "norm": False, "dropout": float("nan"), "activation": "relu"}]},
        {"outputs": -1},
    ],
)
def test_a_damaged_shape_is_no_network(damage: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        ConvSpec.from_meta({**SMALL.to_meta(), **damage})
    assert caught.value.code == "GS-MODEL-DAMAGED"
