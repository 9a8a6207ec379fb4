"""Folds trained together are the folds trained one by one, and as torch trains them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geosoil.errors import GeosoilError
from geosoil.models.convnet import ConvBlock, ConvNet1D, ConvSpec, DenseBlock
from geosoil.models.fold_training import OPTIMIZERS, FoldFit, FoldSchedule, fold_parts, train_folds
from geosoil.prep.pls import fold_numbers

Array = NDArray[np.float64]
# Swish before the batch norms: where a ReLU lets all samples through, the norm takes away what the offset before it
# adds, and optimizers that divide by the size of the gradient walk along its rounding errors.
SPEC = ConvSpec(
    30,
    (
        ConvBlock(5, 4, 2, "same", "max", 2, norm=True, dropout=0.2, activation="swish"),
        ConvBlock(6, 3, pool="average", activation="elu"),
    ),
    (DenseBlock(8, norm=True, dropout=0.3, activation="swish"), DenseBlock(4, activation="leaky_relu")),
)
CALM = replace(
    SPEC,
    conv=tuple(replace(one, dropout=0.0) for one in SPEC.conv),
    dense=tuple(replace(one, dropout=0.0) for one in SPEC.dense),
)
SCHEDULE = FoldSchedule(epochs=6, patience=6, batch=8, learning_rate=3e-3)


def made(n: int = 47, seed: int = 0) -> tuple[Array, Array]:
    """Smooth spectra of three substances, one of which is asked for."""
    rng = np.random.default_rng(seed)
    band = np.linspace(0, 1, 30)
    peaks = np.exp(-(((band - np.array([[0.2], [0.5], [0.8]])) / 0.12) ** 2))
    amounts = rng.gamma(2.0, size=(n, 3))
    return amounts @ peaks + 0.01 * rng.standard_normal((n, 30)), 3 * amounts[:, 1] + 10


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array, NDArray[np.int64]]:
    X, y = made()
    return X, y, fold_numbers(len(y), 4, seed=1)


def by_torch(
    X: Array, y: Array, fold: NDArray[np.int64], number: int, schedule: FoldSchedule, together: FoldFit
) -> tuple[list[float], list[float], ConvNet1D]:
    """One fold as a user would train it: a module, an optimizer, a loop; the same first weights and batches."""
    part = fold_parts(y, fold, schedule)[number]
    seeds = [int(np.random.SeedSequence([0, number, use]).generate_state(1)[0]) for use in (0, 1)]
    torch.manual_seed(seeds[0])
    net = ConvNet1D(CALM)
    inputs = torch.from_numpy(X.astype(np.float32))
    known = torch.from_numpy(np.sort(np.concatenate([part.train, part.watch])))
    net.standardise(inputs[known])
    z = torch.from_numpy(((y - together.centre[number]) / together.spread[number]).astype(np.float32))
    smallest = min(len(one.train) for one in fold_parts(y, fold, schedule).values())
    steps = round(smallest / schedule.batch)
    order = torch.Generator().manual_seed(seeds[1])
    kind, _ = OPTIMIZERS[schedule.optimizer]
    optimizer = kind(net.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)  # type: ignore[call-arg]
    train, watched = [], []
    for _ in range(schedule.epochs):
        net.train()
        size = smallest // steps
        rows = torch.from_numpy(part.train)[torch.randperm(len(part.train), generator=order)]
        losses = []
        for step in range(steps):
            chosen = rows[step * size : (step + 1) * size]
            loss = torch.nn.functional.mse_loss(net(inputs[chosen])[:, 0], z[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        train.append(float(np.mean(losses)))
        net.eval()
        with torch.no_grad():
            out = torch.from_numpy(part.watch)
            watched.append(torch.nn.functional.mse_loss(net(inputs[out])[:, 0], z[out]).item())
    return train, watched, net


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_folds_trained_together_have_the_losses_of_torchs_own_loop(
    data: tuple[Array, Array, NDArray[np.int64]], optimizer: str
) -> None:
    X, y, fold = data
    schedule = replace(SCHEDULE, optimizer=optimizer, weight_decay=0.01, learning_rate=1e-3)
    together = train_folds(CALM, X, y, fold, schedule, device="cpu")
    for number in range(4):
        train, watched, _ = by_torch(X, y, fold, number, schedule, together)
        np.testing.assert_allclose(together.train[:, number], train, rtol=1e-5)
        np.testing.assert_allclose(together.watched[:, number], watched, rtol=1e-5)


def test_a_fold_trained_alone_is_the_fold_trained_in_company(data: tuple[Array, Array, NDArray[np.int64]]) -> None:
    X, y, fold = data
    together = train_folds(SPEC, X, y, fold, SCHEDULE, device="cpu", seed=3)
    for number in range(4):
        alone = train_folds(SPEC, X, y, fold, SCHEDULE, device="cpu", seed=3, only=[number])
        np.testing.assert_allclose(together.train[:, number], alone.train[:, 0], rtol=1e-3)
        np.testing.assert_allclose(together.watched[:, number], alone.watched[:, 0], rtol=1e-3)
        out = fold == number
        np.testing.assert_allclose(together.predictions[out], alone.predictions[out], rtol=1e-3)
        assert np.isnan(alone.predictions[~out]).all()
        for name, one in together.weights.items():
            np.testing.assert_allclose(one[number], alone.weights[name][0], atol=2e-3)


def test_folds_that_stop_leave_the_others_as_they_were(data: tuple[Array, Array, NDArray[np.int64]]) -> None:
    X, y, fold = data
    short = replace(SCHEDULE, epochs=60, patience=2, learning_rate=0.02)
    for optimizer in ("adam", "nadam"):
        schedule = replace(short, optimizer=optimizer)
        together = train_folds(SPEC, X, y, fold, schedule, device="cpu")
        ends = np.isfinite(together.watched).sum(axis=0)
        assert len(set(ends.tolist())) > 1
        last = int(np.argmax(ends))
        alone = train_folds(SPEC, X, y, fold, schedule, device="cpu", only=[last])
        first = int(ends.min()) + 3  # some epochs after the first stop; later, rounding grows
        np.testing.assert_allclose(together.watched[:first, last], alone.watched[:first, 0], rtol=2e-2)
        for number in range(4):
            best = np.nanargmin(together.watched[:, number])
            assert together.best_epoch[number] == best
            assert ends[number] == min(60, best + 1 + 2)


def test_the_weights_kept_are_those_of_the_best_epoch_and_give_the_predictions(
    data: tuple[Array, Array, NDArray[np.int64]],
) -> None:
    X, y, fold = data
    fit = train_folds(SPEC, X, y, fold, replace(SCHEDULE, epochs=40, learning_rate=0.03), device="cpu")
    parts = fold_parts(y, fold, SCHEDULE)
    for number in range(4):
        with torch.no_grad():
            found = fit.network(number)(torch.from_numpy(X.astype(np.float32)))[:, 0].numpy().astype(float)
        values = found * fit.spread[number] + fit.centre[number]
        np.testing.assert_allclose(values[fold == number], fit.predictions[fold == number], rtol=1e-4)
        watch = parts[number].watch
        error = np.mean((values[watch] - y[watch]) ** 2) / fit.spread[number] ** 2
        assert error == pytest.approx(np.nanmin(fit.watched[:, number]), rel=1e-3)
    assert fit.rmse == pytest.approx(np.sqrt(np.mean((fit.predictions - y) ** 2)))


def test_a_held_out_fold_decides_nothing(data: tuple[Array, Array, NDArray[np.int64]]) -> None:
    X, y, fold = data
    other = np.where(fold == 2, y[::-1] * 5, y)
    first = train_folds(SPEC, X, y, fold, SCHEDULE, device="cpu", only=[2])
    second = train_folds(SPEC, X, other, fold, SCHEDULE, device="cpu", only=[2])
    np.testing.assert_array_equal(first.predictions[fold == 2], second.predictions[fold == 2])
    paper = replace(SCHEDULE, watch="held-out")
    assert fold_parts(y, fold, paper)[2].watch.tolist() == np.flatnonzero(fold == 2).tolist()
    watched = train_folds(SPEC, X, y, fold, paper, device="cpu")
    np.testing.assert_allclose(np.nanmin(watched.watched, axis=0) ** 0.5 * watched.spread, watched.fold_rmse, rtol=1e-3)


def test_groups_stay_together_and_samples_of_no_fold_are_trained_on() -> None:
    _, y = made(60)
    groups = np.repeat(np.arange(20), 3)
    fold = fold_numbers(60, 5, groups=groups)
    fold[:12] = -1
    parts = fold_parts(y, fold, FoldSchedule(), groups=groups)
    assert sorted(parts) == [0, 1, 2, 3, 4]
    for one in parts.values():
        assert not set(groups[one.train]) & set(groups[one.watch])
        assert not set(groups[one.out]) & set(groups[np.concatenate([one.train, one.watch])])
        assert set(range(12)) <= set(one.train) | set(one.watch)
        assert sorted(np.concatenate([one.train, one.watch, one.out])) == list(range(60))


def test_folds_learn_what_the_spectra_tell() -> None:
    X, y = made(80)
    schedule = FoldSchedule(epochs=120, learning_rate=5e-3, patience=40)
    fit = train_folds(CALM, X, y, fold_numbers(80, 3), schedule, device="cpu")
    assert fit.rmse < 0.35 * y.std()


@pytest.mark.parametrize(
    ("folds", "only", "code"),
    [
        (np.zeros(5, int), None, "GS-FOLDS"),
        (np.full(47, -1), None, "GS-FOLDS"),
        (np.full(47, 0.5), None, "GS-FOLDS"),
        (np.arange(47) % 3, [3], "GS-FOLDS"),
        (np.zeros(47, int), None, "GS-SAMPLES-FEW"),
    ],
)
def test_folds_that_cannot_be_trained_are_refused(folds: NDArray[np.int64], only: list[int] | None, code: str) -> None:
    X, y = made()
    with pytest.raises(GeosoilError) as caught:
        train_folds(SPEC, X, y, folds, SCHEDULE, only=only)
    assert caught.value.code == code


def test_a_network_of_other_bands_is_refused(data: tuple[Array, Array, NDArray[np.int64]]) -> None:
    X, y, fold = data
    with pytest.raises(GeosoilError) as caught:
        train_folds(SPEC, X[:, :20], y, fold)
    assert caught.value.code == "GS-SPECTRA-SHAPE"


def test_a_training_that_diverges_says_so(data: tuple[Array, Array, NDArray[np.int64]]) -> None:
    X, y, fold = data
    wild = ConvSpec(30, (ConvBlock(4, 3, activation="relu"),), (DenseBlock(64, activation="elu"),) * 5)
    with pytest.raises(GeosoilError) as caught:
        train_folds(wild, X * 1e18, y, fold, replace(SCHEDULE, learning_rate=9.0, optimizer="rmsprop", epochs=3))
    assert caught.value.code == "GS-TRAIN-DIVERGED"


def test_settings_out_of_range_are_refused_and_others_survive_json() -> None:
    schedule = FoldSchedule("nadam", 2e-3, 0.1, 32, 50, 10, "held-out", 0.2)
    assert FoldSchedule.from_meta(schedule.to_meta()) == schedule
    for change in ({"batch": 0}, {"optimizer": "sgd"}, {"watch": "test"}, {"learning_rate": float("nan")}):
        with pytest.raises(GeosoilError) as caught:
            replace(schedule, **change)
        assert caught.value.code == "GS-TRAIN-SETTINGS"
    with pytest.raises(GeosoilError) as caught:
        FoldSchedule.from_meta({"optimizer": "adam"})
    assert caught.value.code == "GS-MODEL-DAMAGED"
