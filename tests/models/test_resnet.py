"""The residual network has the shape that its paper prints, and its parts make the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from geosoil.errors import ModelError
from geosoil.models.resnet import ResNet1D, ResNetSpec


def net_of(bands: int, **changes: Any) -> ResNet1D:
    """A network whose batch norms have seen some spectra, in evaluation mode."""
    torch.manual_seed(bands)
    net = ResNet1D(replace(ResNetSpec(bands), **changes))
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(torch.randn(16, bands) * 3 + 1)
    return net.eval()


def test_the_shape_is_that_of_the_papers_table() -> None:
    net = ResNet1D(ResNetSpec(2100)).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, part in net.named_modules():
        part.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)}))
    net(torch.zeros(3, 2100))
    expected = {
        "pool": (3, 1, 210),
        "norm1": (3, 48, 210),
        "halve": (3, 48, 105),
        "blocks.0": (3, 48, 105),
        "blocks.1": (3, 48, 105),
        "leaky2": (3, 32, 105),
        "flatten": (3, 3360),
        "activations.0": (3, 16),
        "activations.1": (3, 10),
        "head": (3, 1),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert 86_500 < sum(one.numel() for one in net.parameters()) < 87_500


@pytest.mark.parametrize("bands", [1, 2, 3, 9, 150, 285, 431, 2101, 2151])
def test_spectra_of_any_length_go_through_and_no_band_is_lost(bands: int) -> None:
    net = net_of(bands)
    X = torch.randn(2, bands, requires_grad=True)
    found = net.pooled(X)
    assert found.shape == (2, 1, net.spec.positions)
    assert net.trunk(X).shape == (2, net.spec.flat)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert X.grad is not None
    assert (X.grad > 0).all()


def test_a_short_spectrum_is_not_pooled_away() -> None:
    assert ResNetSpec(2151).window == 10
    assert ResNetSpec(285).window == 1
    assert all(ResNetSpec(bands).positions >= min(bands, 200) for bands in range(1, 2500, 7))


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_trunk_and_dense_layers_and_stages_make_the_whole(blocks: int) -> None:
    net = net_of(60, blocks=blocks)
    X = torch.randn(5, 60)
    with torch.no_grad():
        torch.testing.assert_close(net.dense(net.trunk(X)), net(X))
        torch.testing.assert_close(nn.Sequential(*net.stages())(net.pooled(X)), net.trunk(X))
    assert len(net.stages()) == blocks + 2


def test_batch_norms_fold_into_convolutions_without_changing_a_value() -> None:
    net = net_of(300)
    folded = net.folded()
    X = torch.randn(8, 300)
    with torch.no_grad():
        torch.testing.assert_close(folded(X), net(X), rtol=1e-4, atol=1e-5)
    norms = [sum(isinstance(part, nn.BatchNorm1d) for part in one.modules()) for one in (net, folded)]
    assert norms == [5, 1]
    assert not folded.training


def test_every_activation_is_a_module_that_runs_once() -> None:
    net = ResNet1D(ResNetSpec(100))
    runs: dict[nn.Module, int] = {}
    kinds = (nn.ReLU, nn.LeakyReLU)
    for part in net.modules():
        if isinstance(part, kinds):
            part.register_forward_hook(lambda one, _, __: runs.update({one: runs.get(one, 0) + 1}))
    net(torch.randn(4, 100))
    assert list(runs.values()) == [1] * sum(isinstance(part, kinds) for part in net.modules())
    assert len(runs) == 8


def test_a_learned_standardisation_makes_the_scale_of_a_band_irrelevant() -> None:
    X = torch.randn(50, 40)
    scale, shift = torch.rand(40) * 5 + 0.1, torch.randn(40)
    torch.manual_seed(1)
    plain = ResNet1D(ResNetSpec(40)).eval()
    other = ResNet1D(plain.spec).eval()
    other.load_state_dict(plain.state_dict())
    plain.standardise(X)
    other.standardise(X * scale + shift)
    with torch.no_grad():
        torch.testing.assert_close(other(X * scale + shift), plain(X), rtol=1e-3, atol=1e-4)
    plain.standardise(torch.ones(9, 40))
    assert torch.isfinite(plain(X)).all()


def test_a_relu_at_the_end_gives_nothing_below_zero() -> None:
    X = torch.randn(200, 30)
    linear = net_of(30)
    clipped = ResNet1D(replace(linear.spec, output="relu")).eval()
    clipped.load_state_dict(linear.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(clipped(X), linear(X).clamp(min=0))


def test_a_shape_survives_json() -> None:
    spec = ResNetSpec(431, outputs=3, blocks=1, dense=(), output="relu")
    assert ResNetSpec.from_meta(json.loads(json.dumps(spec.to_meta()))) == spec


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bands", 0),
        ("bands", "many"),
        ("filters", 10**9),
        ("kernel", 4),
        ("kernel", -1),
        ("blocks", 10**6),
        ("dense", [16, 0]),
        ("dense", 7),
        ("output", "softmax"),
        ("outputs", float("inf")),
    ],
)
def test_a_damaged_shape_is_refused_before_anything_is_built(name: str, value: object) -> None:
    with pytest.raises(ModelError) as caught:
        ResNetSpec.from_meta({**ResNetSpec(100).to_meta(), name: value})
    assert caught.value.code == "GS-MODEL-DAMAGED"
    with pytest.raises(ModelError):
        ResNetSpec.from_meta({key: one for key, one in ResNetSpec(100).to_meta().items() if key != name})
