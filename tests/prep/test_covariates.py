"""Selection finds what is there, drops what is not, and does not leak."""

from __future__ import annotations

import numpy as np
import pytest

from geosoil.errors import InputError
from geosoil.prep.covariates import forest_importance, select_covariates
from geosoil.types import Layers


def one_depth(value: np.ndarray) -> Layers:
    n = len(value)
    return Layers(np.arange(n), np.full(n, 2.5), np.zeros(n, np.int64), value)


def test_signal_stays_noise_copies_and_constants_go() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    signal, other, noise = rng.standard_normal((3, n))
    copy = signal + 0.3 * rng.standard_normal(n)
    codes = rng.integers(0, 3, n).astype(float)
    value = signal + 0.5 * other + (codes == 2) + 0.2 * rng.standard_normal(n)
    centre = np.stack([copy, signal, other, noise, np.ones(n), codes], axis=1).astype(np.float32)
    names = ("copy", "signal", "other", "noise", "constant", "codes")
    found = select_covariates(centre, names, one_depth(value), classes=("codes",))
    assert found.kept == ("signal", "other", "codes")
    assert set(found.dropped) == {"copy", "noise", "constant"}
    assert "signal" in found.dropped["copy"]
    assert "0.05" in found.dropped["noise"]
    assert found.ranking[0][0] == "signal"


def test_the_strength_of_a_band_is_its_best_depth() -> None:
    rng = np.random.default_rng(1)
    n = 400
    deep, shallow = rng.standard_normal((2, n))
    layers = Layers(
        np.tile(np.arange(n), 2), np.repeat([2.5, 80.0], n), np.repeat([0, 1], n), np.concatenate([shallow, deep])
    )
    found = select_covariates(np.stack([deep, shallow], axis=1), ("deep", "shallow"), layers)
    assert found.kept == ("deep", "shallow")


def test_the_stepwise_search_stops_where_more_bands_do_not_help() -> None:
    rng = np.random.default_rng(2)
    n, useful, useless = 150, 5, 15
    x = rng.standard_normal((n, useful + useless))
    value = x[:, :useful] @ np.array([5.0, 4.0, 3.0, 2.0, 2.0])
    names = tuple(f"b{place:02d}" for place in range(x.shape[1]))
    found = select_covariates(x, names, one_depth(value), min_correlation=0, max_correlation=1, step=5)
    assert [count for count, _ in found.curve] == [5, 10, 15, 20]
    assert len(found.kept) < 20
    assert set(found.kept) >= set(names[:3])
    least = min(found.curve, key=lambda point: point[1])[0]
    assert len(found.kept) == least


def test_an_own_measure_decides() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((100, 9))
    names = tuple("abcdefghi")
    found = select_covariates(
        x, names, one_depth(x[:, 0]), min_correlation=0, max_correlation=1, step=2, evaluate=lambda c: abs(len(c) - 4)
    )
    assert len(found.kept) == 4


def test_most_caps_the_number() -> None:
    x = np.random.default_rng(4).standard_normal((100, 6))
    found = select_covariates(
        x, tuple("abcdef"), one_depth(x[:, 3] * 2 + x[:, 1]), min_correlation=0, max_correlation=1, step=0, most=2
    )
    assert found.kept == ("b", "d")


def test_never_empty() -> None:
    x = np.random.default_rng(5).standard_normal((5000, 3))
    value = np.random.default_rng(6).standard_normal(5000)
    found = select_covariates(x, ("a", "b", "c"), one_depth(value), min_correlation=0.5)
    assert len(found.kept) == 1


def test_all_constant_is_refused() -> None:
    with pytest.raises(InputError, match="constant") as caught:
        select_covariates(np.ones((30, 2), np.float32), ("a", "b"), one_depth(np.arange(30.0)))
    assert caught.value.code == "GS-COVARIATES-CONSTANT"


def test_selection_inside_folds_finds_nothing_in_noise() -> None:
    rng = np.random.default_rng(7)
    x, value = rng.standard_normal((60, 200)), rng.standard_normal(60)
    fold = np.arange(60) % 5
    honest, leaky = np.empty(60), np.empty(60)
    names = tuple(str(place) for place in range(200))

    def best(rows: np.ndarray) -> int:
        found = select_covariates(x[rows], names, one_depth(value[rows]), max_correlation=1, step=0, most=1)
        return int(found.kept[0])

    everywhere = best(np.arange(60))
    for one in range(5):
        train, out = fold != one, fold == one
        for column, into in ((best(np.flatnonzero(train)), honest), (everywhere, leaky)):
            slope, start = np.polyfit(x[train, column], value[train], 1)
            into[out] = slope * x[out, column] + start
    assert np.corrcoef(honest, value)[0, 1] < 0.2
    assert np.corrcoef(leaky, value)[0, 1] > 0.25


def test_forest_importance_ranks_the_signal_first() -> None:
    x = np.random.default_rng(8).standard_normal((300, 4)).astype(np.float32)
    importance = forest_importance(x, one_depth(3 * x[:, 2].astype(float)))
    assert importance.argmax() == 2
    assert importance.sum() == pytest.approx(1)
