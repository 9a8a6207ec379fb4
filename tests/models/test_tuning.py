"""What networks learned of a library helps with few samples; frozen parts stay; choices see the samples given alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.models.net_head import NetHead
from geosoil.models.net_training import Training
from geosoil.models.resnet import ResNetSpec
from geosoil.models.ridge import blend_weights, fit_ridge, fit_scaled_ridge
from geosoil.models.source import Source
from geosoil.models.tuning import Pretrained, PretrainSettings, TuneSettings, fit_tuned, pretrain

Array = NDArray[np.float64]
SHAPE = ResNetSpec(48, filters=8, blocks=1, last=6, dense=(6,))
SHORT = Training(epochs=12, patience=12, learning_rate=5e-3)


def spectra(n: int, seed: int, noise: float = 0.02) -> tuple[Array, Array, Array]:
    """Spectra whose absorption shifts with a hidden constituent, at any depth; two properties are functions of it."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, 48)
    hidden, other, depth = rng.uniform(0, 1, n), rng.uniform(0, 1, (n, 1)), rng.uniform(0.3, 1, (n, 1))
    X = 0.3 * other * place - depth * np.exp(-(((place - 0.3 - 0.4 * hidden[:, None]) / 0.08) ** 2))
    X += noise * rng.standard_normal(X.shape)
    return X, hidden, 3 * np.exp(hidden) + 5


@pytest.fixture(scope="module")
def library() -> Source:
    X, hidden, _ = spectra(120, 1)
    return Source(X, hidden, False, np.zeros(120, np.int64))


@pytest.fixture(scope="module")
def pretrained(library: Source) -> Pretrained:
    return pretrain(library, PretrainSettings(members=2, training=SHORT, shape=SHAPE), seed=1)


def rmse(head: NetHead, X: Array, y: Array) -> float:
    return float(np.sqrt(np.mean((head.predict(X) - y) ** 2)))


def test_networks_learn_the_library_on_its_own_scale(pretrained: Pretrained) -> None:
    X, hidden, _ = spectra(100, 2)
    assert rmse(pretrained.head(), X, hidden) < 0.5 * hidden.std()
    assert pretrained.rmse.shape == (2,)


def test_a_library_of_another_property_helps_few_samples(pretrained: Pretrained) -> None:
    fresh, _, truth = spectra(200, 3)
    ours, alone = [], []
    for seed in range(5):
        X, _, y = spectra(20, 10 + seed)
        ours.append(rmse(fit_tuned(X, y, pretrained, seed=seed), fresh, truth))
        plain = fit_scaled_ridge(X, y)
        alone.append(np.sqrt(np.mean((fresh @ plain.coef + plain.intercept - truth) ** 2)))
    assert np.mean(ours) < 0.85 * np.mean(alone)


@pytest.mark.parametrize("frozen", [None, -1, 0])
def test_what_is_frozen_stays_and_the_rest_is_tuned(pretrained: Pretrained, frozen: int | None) -> None:
    X, _, y = spectra(30, 4)
    settings = TuneSettings("published", frozen=frozen, training=replace(SHORT, epochs=3))
    tuned = fit_tuned(X, y, pretrained, settings)
    parts = 3 if frozen is None else len([1, 2, 3][:frozen])
    before, after = pretrained.network(0), tuned.networks()[0]
    for place, (one, other) in enumerate(zip(before.stages(), after.stages(), strict=True)):
        a, b = one.state_dict(), other.state_dict()
        same = all(np.array_equal(a[name], b[name]) for name in a if "num_batches" not in name)
        assert same == (place < parts)
    assert not np.array_equal(before.layers[0].weight.detach(), after.layers[0].weight.detach())


def test_dense_layers_start_from_the_source_or_anew(pretrained: Pretrained) -> None:
    X, _, y = spectra(30, 5)
    still = replace(SHORT, epochs=1, learning_rate=1e-8)
    kept = fit_tuned(X, y, pretrained, TuneSettings("published", training=still)).networks()[0]
    reset = fit_tuned(X, y, pretrained, TuneSettings("published", training=still, reset_dense=True)).networks()[0]
    source = pretrained.network(0).layers[0].weight.detach().numpy()
    np.testing.assert_allclose(kept.layers[0].weight.detach().numpy(), source, atol=1e-5)
    assert np.abs(reset.layers[0].weight.detach().numpy() - source).max() > 0.01


@pytest.mark.parametrize("way", ["joint", "published"])
def test_a_tuned_head_repeats_survives_a_file_and_leaves_the_source_alone(pretrained: Pretrained, way: Any) -> None:
    X, _, y = spectra(25, 6)
    before = copy.deepcopy(pretrained.weights)
    settings = TuneSettings(way, training=replace(SHORT, epochs=3))
    one, other = (fit_tuned(X, y, pretrained, settings, seed=8) for _ in range(2))
    meta, arrays = one.state()
    again = NetHead.restore(json.loads(json.dumps(meta)), arrays)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    np.testing.assert_array_equal(again.predict(X), one.predict(X))
    assert all(np.array_equal(before[name], pretrained.weights[name]) for name in before)
    assert one.rmsecv is not None
    assert rmse(one, X, y) < y.std()


def test_the_joint_error_is_that_of_samples_left_out(pretrained: Pretrained) -> None:
    X, _, y = spectra(40, 7)
    fresh, _, truth = spectra(400, 8)
    head = fit_tuned(X, y, pretrained)
    assert head.rmsecv is not None
    assert 0.6 < head.rmsecv / rmse(head, fresh, truth) < 1.6


def test_several_properties_are_learned_at_once_where_they_were_measured(library: Source) -> None:
    others = np.column_stack([1 - library.y, np.where(np.arange(120) % 3 == 0, library.y**2, np.nan)])
    found = pretrain(library, PretrainSettings(1, SHORT, SHAPE), others=others)
    assert (found.spec.outputs, found.centre.shape) == (3, (3,))
    np.testing.assert_allclose(found.centre[2], np.nanmean(others[:, 1]))
    X, hidden, y = spectra(30, 9)
    assert rmse(found.head(), X, hidden) < 0.7 * hidden.std()
    assert fit_tuned(X, y, found, TuneSettings("published", training=SHORT)).spec.outputs == 1


def test_a_training_on_the_library_goes_on_where_it_stopped(library: Source, tmp_path: Path) -> None:
    settings = PretrainSettings(1, replace(SHORT, epochs=3), SHAPE)
    told: list[tuple[int, int]] = []
    first = pretrain(library, settings, checkpoint=tmp_path)
    again = pretrain(library, settings, checkpoint=tmp_path, progress=lambda done, total, _: told.append((done, total)))
    assert all(np.array_equal(first.weights[name], again.weights[name]) for name in first.weights)
    assert told == [(3, 3)]


def test_pretrained_networks_survive_a_file(pretrained: Pretrained) -> None:
    meta, arrays = pretrained.state()
    again = Pretrained.restore(json.loads(json.dumps(meta)), arrays)
    X, _, _ = spectra(5, 0)
    np.testing.assert_array_equal(again.head().predict(X), pretrained.head().predict(X))
    for name, change in {"spread": np.zeros(1), "rmse": np.zeros(3), "net.head.bias": np.zeros((2, 2))}.items():
        with pytest.raises(ModelError) as caught:
            Pretrained.restore(meta, {**arrays, name: change})
        assert caught.value.code == "GS-MODEL-DAMAGED"


def test_bad_input_is_refused_with_a_reason(library: Source, pretrained: Pretrained) -> None:
    X, _, y = spectra(20, 3)
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("GS-SPECTRA-SHAPE", lambda: fit_tuned(X[:, :40], y, pretrained)),
        ("GS-SPECTRA-SHAPE", lambda: pretrain(library, others=np.zeros((3, 1)))),
        ("GS-SAMPLES-FEW", lambda: pretrain(library.take(np.arange(4)))),
        ("GS-TARGET-CONSTANT", lambda: pretrain(library, others=np.full((120, 1), 7.0))),
    ]
    for code, call in wrong:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == code
    for setting in (lambda: TuneSettings("magic"), lambda: TuneSettings(evenness=-1.0), lambda: PretrainSettings(0)):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            setting()


@pytest.mark.parametrize("grouped", [False, True])
def test_errors_of_samples_left_out_are_those_of_fits_without_them(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((24, 40))
    y = X[:, 0] + 0.3 * rng.standard_normal(24)
    groups = np.repeat(np.arange(8), 3) if grouped else np.arange(24)
    found = fit_ridge(X, y, groups if grouped else None)
    # The penalty follows from the coefficients: z.T (y - fit) = penalty * coef.
    missed = y - X @ found.coef - found.intercept
    penalty = float((X - X.mean(0)).T @ missed @ found.coef / (found.coef @ found.coef))
    theirs = Ridge(penalty).fit(X, y)
    np.testing.assert_allclose(found.coef, theirs.coef_, rtol=1e-6, atol=1e-9)
    for one in np.unique(groups):
        out = groups == one
        np.testing.assert_allclose(found.left_out[out], Ridge(penalty).fit(X[~out], y[~out]).predict(X[out]), rtol=1e-5)


def test_a_blend_follows_the_better_model_and_the_mean_when_it_is_held() -> None:
    rng = np.random.default_rng(3)
    y = rng.standard_normal(80)
    left_out = np.column_stack([y + 0.1 * rng.standard_normal(80), y + rng.standard_normal(80)])
    free, held, even = (blend_weights(left_out, y, one) for one in (0.0, 0.5, 1e3))
    assert free[0] > 0.95
    assert free[0] > held[0] > even[0]
    np.testing.assert_allclose(even, 0.5, atol=1e-3)
    np.testing.assert_allclose([one.sum() for one in (free, held, even)], 1)
