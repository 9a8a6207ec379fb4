"""Contributions add up, agree with shap, and go through preprocessing, translators and patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import shap
import torch
from sklearn.ensemble import RandomForestRegressor
from torch import nn

from geosoil.errors import InputError
from geosoil.models.attributions import (
    Attribution,
    draws_of,
    expected_gradients,
    linear_attribution,
    permutation_attribution,
    tree_attribution,
)
from geosoil.models.cnn import PatchCNN, PatchPredictor, Standard, new_net
from geosoil.models.convnet import ConvBlock, ConvNet1D, ConvSpec
from geosoil.models.explained import Drawing, Subject, covariate_subject, spectral_subject
from geosoil.models.forest import Forest, Trees
from geosoil.models.fusion import FusionSettings, fit_translator
from geosoil.models.gradients import Chain, Dense, Layer, Traced, dnn_layer, resnet_layer, svr_layer, together
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.mixture import DEFAULT, MixtureSettings, fit_mixture
from geosoil.models.net_head import NetHead
from geosoil.models.pooled import PooledSettings, fit_pooled
from geosoil.models.pooled_layers import pooled_layer, weighted_layer
from geosoil.models.resnet import ResNet1D, ResNetSpec
from geosoil.models.source import Source
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.prep.encode import Encoder
from geosoil.prep.spectra import Preprocess
from geosoil.types import Layers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float32, Float64

BANDS = 24
WAVELENGTH = np.linspace(450.0, 910.0, BANDS)
POOLED = (PooledSettings(), PooledSettings(view="derivative"), PooledSettings(normalised=True))


def network(bands: int, *, seed: int = 1, pool: int = 10) -> ResNet1D:
    """A small residual network whose batch norms do something, some with a negative gain."""
    torch.manual_seed(seed)
    net = ResNet1D(ResNetSpec(bands, filters=8, last=6, pool=pool))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.get_buffer("running_mean").normal_(0, 0.3)
                module.get_buffer("running_var").uniform_(0.5, 2)
                module.weight.uniform_(-1, 1.5)
                module.bias.normal_(0, 0.2)
        for layer in (*net.layers, net.head):
            layer.weight.mul_(4)
    return net.eval()


def spectra(count: int, seed: int = 0, bands: int = BANDS) -> Float64:
    """Smooth reflectance of made soils."""
    rng = np.random.default_rng(seed)
    parts = rng.dirichlet(np.ones(3), count)
    ends = np.stack([0.2 + 0.3 * np.sin(np.linspace(0, place + 1, bands)) ** 2 for place in range(3)])
    return np.asarray(parts @ ends + 0.01 * rng.standard_normal((count, bands)))


def by_hand(layer: Layer, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and slopes of a layer."""
    with torch.inference_mode():
        found, memory = layer.forward(rows)
        return found, layer.backward(torch.ones_like(found), memory)


@pytest.mark.parametrize("bands", [431, 53, 2, 1])
def test_the_way_back_through_a_residual_network_is_that_of_automatic_differentiation(bands: int) -> None:
    net = network(bands, pool=4)
    net.standardise(torch.randn(30, bands) * 0.1 + 0.3)
    rows = torch.randn(9, bands, requires_grad=True)
    value = net(rows) * 3 + 2
    (slope,) = torch.autograd.grad(value.sum(), rows)
    found, back = by_hand(resnet_layer(net, 2.0, 3.0), rows.detach())
    torch.testing.assert_close(found, value.detach(), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(back, slope, atol=1e-5 * float(slope.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("kind", ["svr", "dnn"])
def test_the_slope_of_a_head_is_its_finite_difference(kind: str) -> None:
    X = spectra(60)
    head = fit_head(X, X[:, 4] * 10 + X[:, 15] ** 2, HeadSettings(kind=kind, budget=1, members=2, epochs=20))
    layer = svr_layer(head) if kind == "svr" else dnn_layer(head)  # type: ignore[arg-type]
    found, slope = by_hand(layer, torch.from_numpy(X[:5].astype(np.float32)))
    np.testing.assert_allclose(found[:, 0], head.predict(X[:5]), atol=1e-4)
    step = 1e-5 if kind == "svr" else 1e-8
    for band in (0, 4, 15):
        moved = np.zeros(BANDS)
        moved[band] = step
        difference = (head.predict(X[:5] + moved) - head.predict(X[:5] - moved)) / (2 * step)
        np.testing.assert_allclose(slope[:, band], difference, atol=2e-3 * float(slope.abs().max()))


def test_on_the_same_points_expected_gradients_are_those_of_shap() -> None:
    net = network(431)
    rng = np.random.default_rng(0)
    far, near = rng.normal(size=(40, 431)).astype(np.float32), rng.normal(size=(3, 431)).astype(np.float32)
    net.standardise(torch.from_numpy(far))
    explainer = shap.GradientExplainer(net, torch.from_numpy(far))
    theirs = explainer.shap_values(torch.from_numpy(near), nsamples=60, rseed=5)[..., 0]
    # What GradientExplainer draws, in its order.
    np.random.seed(5)  # noqa: NPY002
    points = []
    for _ in range(len(near)):
        drawn = [(np.random.choice(40), np.random.uniform()) for _ in range(60)]  # noqa: NPY002
        rows, shares = zip(*drawn, strict=True)
        points.append((np.array(rows), np.array(shares)))
    ours = expected_gradients(resnet_layer(net), near, far, draws=60, points=points.__getitem__)
    assert net.spec.window == 2
    np.testing.assert_allclose(ours.values, theirs, atol=1e-4 * np.abs(theirs).max())


def test_with_many_points_they_are_those_of_shap_within_their_scatter() -> None:
    net = network(60, pool=3)
    rng = np.random.default_rng(1)
    far, near = rng.normal(size=(50, 60)).astype(np.float32), rng.normal(size=(4, 60)).astype(np.float32)
    theirs = [
        shap.GradientExplainer(net, torch.from_numpy(far)).shap_values(torch.from_numpy(near), nsamples=600, rseed=s)
        for s in (1, 2)
    ]
    ours = expected_gradients(resnet_layer(net), near, far, draws=600, seed=3).values
    scatter = np.sqrt(np.mean((theirs[0] - theirs[1]) ** 2) / 2)
    assert np.sqrt(np.mean((ours - theirs[0][..., 0]) ** 2)) < 2 * np.sqrt(2) * scatter


def test_the_scatter_shrinks_at_least_with_the_root_of_the_draws() -> None:
    net = network(40, pool=2)
    rng = np.random.default_rng(2)
    far, near = rng.normal(size=(300, 40)), rng.normal(size=(25, 40))
    few, many = (expected_gradients(resnet_layer(net), near, far, draws=draws, seed=1) for draws in (20, 720))
    assert 0 < many.scatter < 1.5 * few.scatter / 6
    np.testing.assert_array_equal(few.output, many.output)
    assert few.base == many.base


def smooth_layer(kind: str) -> tuple[Layer, Float64, Float64]:
    """A smooth model as layers, samples and background."""
    X = spectra(60, seed=1)
    y = np.sin(20 * X[:, 4]) + 5 * X[:, 15] ** 2
    layer: Layer
    if kind == "mixture":
        layer = weighted_layer([pooled_layer(fit_pooled(X, y, None, one)) for one in POOLED], [0.5, 0.3, 0.2])
    else:
        head = fit_head(X, y, HeadSettings(kind=kind, budget=1, members=2, epochs=60))
        layer = svr_layer(head) if kind == "svr" else dnn_layer(head)  # type: ignore[arg-type]
    return layer, spectra(8, seed=4), spectra(60, seed=5)


@pytest.mark.parametrize("kind", ["svr", "dnn", "mixture"])
def test_steadied_contributions_lie_nearer_to_those_of_all_points_and_add_up(kind: str) -> None:
    layer, near, far = smooth_layer(kind)
    shares = (np.arange(24) + 0.5) / 24
    every = np.repeat(np.arange(len(far)), 24), np.tile(shares, len(far))
    truth = expected_gradients(layer, near, far, points=lambda _: every).values
    order = np.argsort(by_hand(layer, torch.from_numpy(far.astype(np.float32)))[0][:, 0].numpy(), kind="stable")

    def same(sample: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rank, share = draws_of(len(far), 50, 0, sample)
        return order[rank], share

    plain = expected_gradients(layer, near, far, draws=50, points=same)
    ours = expected_gradients(layer, near, far, draws=50)
    error, before = (np.sqrt(np.mean((one.values - truth) ** 2)) for one in (ours, plain))
    assert error < 0.95 * before
    assert ours.gap_share < 1e-5
    assert plain.gap_share > 0.01


def test_what_is_told_of_the_scatter_is_what_is_seen() -> None:
    layer, near, far = smooth_layer("svr")
    runs = [expected_gradients(layer, near, far, draws=40, seed=seed) for seed in range(8)]
    values = np.array([one.values for one in runs])
    seen = np.sqrt(values.var(axis=0, ddof=1).mean() / np.mean(values.mean(axis=0) ** 2))
    assert 0.5 * seen < np.mean([one.scatter for one in runs]) < 2.5 * seen


def test_a_linear_function_leaves_nothing_to_chance() -> None:
    rng = np.random.default_rng(3)
    slope, far, near = rng.normal(size=6), rng.normal(size=(50, 6)), rng.normal(size=(5, 6))
    layer = Dense(torch.from_numpy(slope[None].astype(np.float32)), torch.zeros(1))
    for draws in (5, 20):
        found = expected_gradients(layer, near, far, draws=draws)
        np.testing.assert_allclose(found.values, (near - far.mean(axis=0)) * slope, atol=1e-5)


def test_inputs_that_are_taken_together_get_the_sum_of_their_contributions() -> None:
    layer, near, far = smooth_layer("svr")
    join = np.repeat(np.eye(BANDS // 2), 2, axis=0)
    together_, apart = (expected_gradients(layer, near, far, draws=400, join=one) for one in (join, None))
    assert together_.gap_share < 1e-5
    np.testing.assert_allclose(together_.values, apart.values @ join, atol=0.1 * np.abs(apart.values).max())


def test_draws_are_spread_evenly_and_repeat() -> None:
    rows, share = draws_of(7, 28, seed=3, sample=5)
    assert (np.bincount(rows) == 4).all()
    # Within any few rows the shares reach over the whole way.
    for first in range(0, 28, 4):
        assert np.ptp(share[first : first + 4]) > 0.5
    again = draws_of(7, 28, seed=3, sample=5)
    assert (rows == again[0]).all()
    assert (share == again[1]).all()
    assert (share != draws_of(7, 28, seed=3, sample=6)[1]).any()


def test_every_row_and_share_is_as_likely_as_any_other() -> None:
    drawn = [draws_of(5, 3, seed=1, sample=sample) for sample in range(4000)]
    for place in range(3):
        assert np.mean([share[place] for _, share in drawn]) == pytest.approx(0.5, abs=0.02)
    counts = np.bincount(np.concatenate([rows for rows, _ in drawn]), minlength=5) / 12000
    np.testing.assert_allclose(counts, 0.2, atol=0.015)


def test_even_draws_leave_a_smaller_gap_than_free_ones() -> None:
    net = network(40, pool=2)
    rng = np.random.default_rng(2)
    far, near = rng.normal(size=(300, 40)), rng.normal(size=(25, 40))
    free = [(rng.integers(0, 300, 100), rng.random(100)) for _ in near]
    layer = resnet_layer(net)
    order = np.argsort(by_hand(layer, torch.from_numpy(far.astype(np.float32)))[0][:, 0].numpy(), kind="stable")
    ranks = [draws_of(300, 100, 0, sample) for sample in range(25)]
    even = [(order[rank], share) for rank, share in ranks]
    gaps = [expected_gradients(layer, near, far, points=one.__getitem__).gap_share for one in (even, free)]
    assert gaps[0] < 0.7 * gaps[1]


@pytest.mark.parametrize("normalised", [False, True])
def test_partial_pooling_goes_forwards_and_backwards_as_its_head_predicts(*, normalised: bool) -> None:
    X = spectra(40)
    head = fit_pooled(X, X[:, 4] * 10 + X[:, 15] ** 2, None, PooledSettings(view="both", normalised=normalised))
    rows = spectra(5, seed=7)
    found, slope = by_hand(pooled_layer(head), torch.from_numpy(rows))
    np.testing.assert_allclose(found[:, 0], head.predict(rows), rtol=1e-9)
    for band in (0, 4, 15):
        moved = 1e-6 * np.eye(BANDS)[band]
        difference = (head.predict(rows + moved) - head.predict(rows - moved)) / 2e-6
        np.testing.assert_allclose(slope[:, band], difference, rtol=1e-4, atol=1e-4 * float(slope.abs().max()))


@pytest.mark.parametrize("parts", [DEFAULT, ("plsr", "neighbours")])
def test_mixtures_are_explained_band_by_band_where_all_parts_have_a_gradient(parts: tuple[str, ...]) -> None:
    satellite = spectra(60)
    preprocess = Preprocess.fit(satellite, WAVELENGTH, ("absorbance",))
    near = np.asarray(preprocess.apply(satellite), np.float64)
    y = 10 * near[:, 4] + near[:, 15] ** 2
    far = spectra(80, seed=8)
    source = Source(
        np.asarray(preprocess.apply(far), np.float64), 9 * far[:, 4], same=True, origin=np.zeros(80, np.int64)
    )
    head = fit_mixture(near, y, source, MixtureSettings(parts=parts))
    model = SpectralPredictor(preprocess, None, (TargetHead(np.arange(BANDS), head, -1e9, 1e9),))
    subject, found, predicted = explained(model, draws=100)
    np.testing.assert_allclose(found.output, predicted, atol=1e-4 * np.abs(predicted).max())
    assert found.gap_share < 1e-3
    assert ("expected gradients" in subject.method) == ("neighbours" not in parts)
    if "neighbours" not in parts:
        assert "weighted sum" in subject.why
        assert found.scatter < 0.2


def test_threads_change_nothing() -> None:
    net = network(40)
    rng = np.random.default_rng(2)
    far, near = rng.normal(size=(30, 40)), rng.normal(size=(12, 40))
    one, two = (
        expected_gradients(resnet_layer(net), near, far, draws=50, num_workers=workers).values for workers in (1, 3)
    )
    np.testing.assert_array_equal(one, two)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    rng = np.random.default_rng(2)
    far, near = rng.normal(size=(30, 40)), rng.normal(size=(4, 40))
    nets = [network(40, seed=seed) for seed in (1, 2)]
    points = [(rng.integers(0, 30, 20), rng.random(20)) for _ in near]
    apart = [expected_gradients(resnet_layer(net), near, far, draws=20, points=points.__getitem__) for net in nets]
    both = together([resnet_layer(net) for net in nets])
    joined = expected_gradients(both, near, far, draws=20, points=points.__getitem__)
    np.testing.assert_allclose(joined.values, (apart[0].values + apart[1].values) / 2, atol=1e-6)
    # Members that standardise in other ways share nothing.
    nets[1].standardise(torch.randn(20, 40) + 1)
    mixed = together([resnet_layer(net) for net in nets])
    assert not isinstance(mixed, Chain)
    slope = by_hand(mixed, torch.from_numpy(near.astype(np.float32)))[1]
    each = [by_hand(resnet_layer(net), torch.from_numpy(near.astype(np.float32)))[1] for net in nets]
    torch.testing.assert_close(slope, (each[0] + each[1]) / 2)


def test_any_module_is_followed_as_our_own_layers_are() -> None:
    net = network(40, pool=2)
    rng = np.random.default_rng(2)
    far, near = rng.normal(size=(30, 40)), rng.normal(size=(4, 40))
    own = expected_gradients(resnet_layer(net), near, far, draws=40)
    traced = expected_gradients(Traced(net), near, far, draws=40)
    np.testing.assert_allclose(traced.values, own.values, atol=1e-4 * np.abs(own.values).max())
    np.testing.assert_allclose(traced.output, own.output, atol=1e-5)


def test_forests_are_explained_as_by_shap() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 5)).astype(np.float32)
    forest = RandomForestRegressor(12, random_state=0).fit(X, 2 * X[:, 0] + X[:, 1] * X[:, 2])
    found = tree_attribution(Trees.of(forest), X, X[:30])
    np.testing.assert_allclose(found.values, shap.TreeExplainer(forest, X[:30]).shap_values(X), atol=1e-6)
    assert found.gap_share < 1e-5


def test_permutations_add_up_and_find_what_is_known() -> None:
    rng = np.random.default_rng(0)
    X, far = rng.normal(size=(6, 4)), rng.normal(size=(40, 4))
    found = permutation_attribution(lambda rows: 3 * rows[:, 0] + rows[:, 1] - rows[:, 2], X, far, [[0], [1, 2], [3]],
                                    draws=40)  # fmt: skip
    moved = X - far.mean(axis=0)
    np.testing.assert_allclose(found.values[:, 0], 3 * moved[:, 0], atol=1e-9)
    np.testing.assert_allclose(found.values[:, 1:3].sum(axis=1), moved[:, 1] - moved[:, 2], atol=1e-9)
    np.testing.assert_allclose(found.values[:, 3], 0, atol=1e-12)
    np.testing.assert_allclose(found.gap, 0, atol=1e-9)


@pytest.mark.parametrize(
    ("near", "far", "code"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "GS-SPECTRA-SHAPE"),
        (np.ones((0, 3)), np.ones((2, 3)), "GS-SPECTRA-SHAPE"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), "GS-SPECTRA-NAN"),
    ],
)
def test_what_cannot_be_compared_is_refused(near: Float64, far: Float64, code: str) -> None:
    with pytest.raises(InputError) as error:
        linear_attribution(np.ones(3), np.ones(4), near, far)
    assert error.value.code == code


def fitted(
    head: str, *, fusion: str = "none", steps: tuple[str, ...] = (), reads: str = "satellite", count: int = 9
) -> SpectralPredictor:
    """A model of spectra with one target."""
    satellite = spectra(80)
    laboratory = (satellite - 0.03) / 0.9
    preprocess = Preprocess.fit(satellite, WAVELENGTH, steps)
    near, far = preprocess.apply(satellite), preprocess.apply(laboratory)
    q = near.shape[1]
    translator = None
    both = np.hstack([near, near])
    if reads == "mixed":
        translator = fit_translator(FusionSettings.of(fusion, epochs=3), near, far)
        both = np.hstack([near, translator.generate(near.astype(np.float32))])
    support = np.sort(np.random.default_rng(1).choice((1 + (reads == "mixed")) * q, count, replace=False))
    y = laboratory[:, 7] * 10 + laboratory[:, 15] ** 2 * 20
    made: Head
    if head == "cnn":
        torch.manual_seed(0)
        net = ConvNet1D(ConvSpec(q, (ConvBlock(6, 3, pool="max"),))).eval()
        net.standardise(torch.from_numpy(near.astype(np.float32)))
        support, made = np.arange(q), NetHead.of("cnn", [net], float(y.mean()), float(y.std()))
    elif head == "resnet":
        support = np.arange(q)
        nets = [network(q, seed=seed) for seed in (1, 2)]
        for one in nets:
            one.standardise(torch.from_numpy(near.astype(np.float32)))
        made = NetHead.of("resnet", nets, float(y.mean()), float(y.std()))
    else:
        settings = HeadSettings(kind=head, budget=1, components=3, trees=8, members=2, epochs=20, orders=(0.5,))
        made = fit_head(both[:, support], y, settings)
    return SpectralPredictor(preprocess, translator, (TargetHead(support, made, -1e9, 1e9),))


def explained(model: SpectralPredictor, draws: int = 400) -> tuple[Subject, Attribution, Float64]:
    subject = spectral_subject(model, 0)
    near, far = spectra(10, seed=4), spectra(60, seed=5)
    found = subject.attribute(subject.rows(near), subject.rows(far), Drawing(draws=draws))
    return subject, found, model.predict_spectra(near)[:, 0]


@pytest.mark.parametrize("steps", [(), ("sg(window=5)",), ("scale", "movav(window=3)"), ("absorbance", "snv")])
@pytest.mark.parametrize(("fusion", "reads"), [("none", "satellite"), ("pls", "mixed")])
def test_linear_models_are_explained_exactly(steps: tuple[str, ...], fusion: str, reads: str) -> None:
    model = fitted("plsr", fusion=fusion, steps=steps, reads=reads)
    subject, found, predicted = explained(model)
    assert found.method == "linear"
    np.testing.assert_allclose(found.output, predicted, atol=1e-5)
    assert found.gap_share < 2e-5
    bent = "absorbance" in steps
    assert subject.quantity == ("preprocessed spectra" if bent else "reflectance")
    assert len(subject.names) == (len(model.preprocess.wavelength_nm) if bent else BANDS)
    assert ("absorbance" in subject.why) == bent


@pytest.mark.parametrize("head", ["plsr", "svr", "dnn", "resnet", "cnn", "rf", "fd-rf"])
@pytest.mark.parametrize("steps", [(), ("absorbance", "snv"), ("sg(window=5)",)])
def test_every_head_adds_up(head: str, steps: tuple[str, ...]) -> None:
    subject, found, predicted = explained(fitted(head, steps=steps))
    np.testing.assert_allclose(found.output, predicted, atol=2e-4 * np.abs(predicted).max())
    assert found.gap_share < 0.2
    assert found.values.shape == (10, len(subject.names))
    assert subject.wavelength_nm is not None
    assert len(subject.wavelength_nm) == len(subject.names) == len(subject.read)
    np.testing.assert_array_equal(found.values[:, ~subject.read], 0)


@pytest.mark.parametrize(
    ("head", "fusion", "through"),
    [("svr", "pls", True), ("dnn", "vae", True), ("plsr", "autoencoder", True), ("rf", "pls", False)],
)
def test_contributions_go_through_a_translator_where_there_is_a_gradient(
    head: str, fusion: str, *, through: bool
) -> None:
    subject, found, predicted = explained(fitted(head, fusion=fusion, reads="mixed"))
    np.testing.assert_allclose(found.output, predicted, atol=2e-4 * np.abs(predicted).max())
    assert found.gap_share < 0.1
    assert len(subject.names) == (BANDS if through else 2 * BANDS)
    assert bool(subject.source) == (not through)
    assert ("no gradient" in subject.why) == (not through)


def test_a_head_that_nobody_knows_is_asked_block_by_block() -> None:
    class Odd:
        kind, features, importance, rmsecv = "odd", BANDS, None, None

        def predict(self, X: ArrayLike) -> Float64:
            rows = np.asarray(X, np.float64)
            return np.asarray(np.where(rows[:, 3] > 0.25, 2.0, 1.0) + rows[:, 20])

        def state(self) -> tuple[dict[str, object], dict[str, NDArray[np.generic]]]:
            return {}, {}

    preprocess = Preprocess.fit(spectra(5), WAVELENGTH, ())
    model = SpectralPredictor(preprocess, None, (TargetHead(np.arange(BANDS), Odd(), -9, 9),))
    subject, found, predicted = explained(model, draws=25)
    assert "permutations" in subject.method
    np.testing.assert_allclose(found.output, predicted)
    largest = np.abs(found.values).mean(axis=0)
    assert set(np.argsort(largest)[-2:]) == {3, 20}
    assert largest[[0, 1, 2, 10]].max() < 1e-12


@pytest.mark.parametrize("kind", ["cnn", "mtcnn", "pretrained"])
def test_patch_networks_are_explained_band_by_band(kind: str) -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(50, 3)).astype(np.float32)
    centre[:, 2] = rng.integers(1, 4, 50)
    encoder = Encoder.fit(centre, ("elevation", "twi", "rock"), classes={"rock": "onehot"})
    depths = np.array([2.5, 10.0])
    estimator = PatchCNN(kind=kind, patch=5)  # type: ignore[arg-type]
    spec = estimator.spec(encoder.features, 2)
    count = 1 if spec.outputs > 1 else 2
    states = []
    for seed in range(2 * count):
        state = new_net(spec, seed, torch.device("cpu")).state_dict()
        states.append({name: 3 * value if value.ndim > 1 else value for name, value in state.items()})
    members = (tuple(states[:count]), tuple(states[count:]))
    model = PatchPredictor(spec, members, depths, Standard.bare(np.array([1.0, 2.0]), np.array([1.0, 5.0])))
    patches = encoder.encode(patches_of(rng, 40))
    for target in range(2):
        subject = covariate_subject(encoder, model, target)
        rows = subject.rows(patches)
        found = subject.attribute(rows[:5], rows, Drawing(draws=400))
        assert subject.names == ("elevation", "twi", "rock")
        assert found.values.shape == (5, 3)
        np.testing.assert_allclose(found.output, model.predict(patches)[:5, target], atol=1e-3)
        assert found.gap_share < 0.25


def patches_of(rng: np.random.Generator, count: int) -> Float32:
    raw = rng.normal(size=(count, 3, 5, 5)).astype(np.float32)
    raw[:, 2] = rng.integers(1, 4, (count, 5, 5))
    return raw


@pytest.mark.parametrize("depth_as_input", [False, True])
def test_forests_of_covariates_find_the_column_that_matters(*, depth_as_input: bool) -> None:
    rng = np.random.default_rng(7)
    raw = patches_of(rng, 60)
    encoder = Encoder.fit(raw[:, :, 2, 2], ("elevation", "twi", "rock"), classes={"rock": "onehot"})
    patches = encoder.encode(raw)
    profile, target = (axis.ravel() for axis in np.meshgrid(np.arange(60), np.arange(2), indexing="ij"))
    depths = np.array([2.5, 30.0])
    value = raw[profile, 0, 2, 2].astype(np.float64) + 0.5 * (raw[profile, 2, 2, 2] == 2) - target
    layers = Layers(profile, depths[target], target, value)
    model = Forest(trees=20, max_features=[1.0], min_samples_leaf=[1], depth_as_input=depth_as_input)
    predictor = model.fit(patches, layers, depths)
    subject = covariate_subject(encoder, predictor, 1)
    rows = subject.rows(patches)
    found = subject.attribute(rows, rows, Drawing())
    assert found.gap_share < 1e-4
    np.testing.assert_allclose(found.output, predictor.predict(patches)[:, 1], atol=1e-5)
    mean = np.abs(found.values).mean(axis=0)
    assert mean[0] > 2 * mean[2] > 4 * mean[1]
