"""Mixtures of models of few samples and a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.linear import LinearHead
from geosoil.models.mbl import MblHead
from geosoil.models.mixture import MixtureSettings, fit_mixture
from geosoil.models.mixture_head import MixtureHead
from geosoil.models.pooled_head import PooledHead
from geosoil.models.source import Source

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float64, Int64

BANDS = 30


def _restore(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Head:
    kinds: dict[str, Any] = {"plsr": LinearHead, "pooled": PooledHead, "mbl": MblHead}
    found: Head = kinds[kind].restore(meta, arrays)
    return found


def _made(seed: int = 0, n: int = 20) -> tuple[Float64, Float64, Source, Float64, Float64]:
    rng = np.random.default_rng(seed)
    shapes = np.array([np.exp(-0.5 * ((np.linspace(0, 1, BANDS) - c) / 0.1) ** 2) for c in np.linspace(0.1, 0.9, 5)])

    def spectra(count: int) -> Float64:
        varied = rng.standard_normal((count, 5)) @ shapes + 0.01 * rng.standard_normal((count, BANDS))
        return np.asarray(np.linspace(0, 20, BANDS) + varied)

    coef = rng.standard_normal(BANDS) / 4
    X, T, far = spectra(n), spectra(150), spectra(90)
    source = Source(far, far @ coef + 0.2 * rng.standard_normal(90), True, np.repeat([0, 1, 2], 30))
    return X, X @ coef + 0.2 * rng.standard_normal(n), source, T, T @ coef


@dataclass(frozen=True)
class _Nearest:
    """Remembers its samples: no error on them, a large one on others."""

    X: Float64
    y: Float64

    kind = "nearest"
    importance = None
    rmsecv = None

    @property
    def features(self) -> int:
        return int(self.X.shape[1])

    def predict(self, X: ArrayLike) -> Float64:
        found: Float64 = self.y[cdist(np.asarray(X, np.float64), self.X).argmin(axis=1)]
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"X": self.X, "y": self.y}


def _nearest(X: Float64, y: Float64, groups: Int64, seed: int) -> Head:
    return _Nearest(X, y)


def test_a_prediction_is_the_weighted_mean_of_the_parts() -> None:
    X, y, source, T, _ = _made()
    head = fit_mixture(X, y, source, MixtureSettings(parts=("pooled", "plsr", "spiked"), evenness=0.3))
    assert head.names == ("pooled", "plsr", "spiked")
    assert head.weights.min() >= 0
    assert head.weights.sum() == pytest.approx(1)
    parts = np.column_stack([one.predict(T) for one in head.parts])
    np.testing.assert_allclose(head.predict(T), parts @ head.weights)


def test_a_part_that_only_remembers_its_samples_does_not_win() -> None:
    X, y, source, _, _ = _made()
    settings = MixtureSettings(parts=("pooled",), evenness=0.0)
    head = fit_mixture(X, y, source, settings, candidates={"nearest": _nearest})
    remembers = dict(zip(head.names, head.weights, strict=True))["nearest"]
    assert remembers < 0.2
    assert head.errors[1] > 1.5 * head.errors[0]


def test_twins_of_one_group_do_not_help_a_part_that_remembers() -> None:
    X, y, source, _, _ = _made()
    twice = np.repeat(np.arange(20), 2)
    settings = MixtureSettings(parts=("plsr",), evenness=0.0)
    apart, together = (
        fit_mixture(X[twice], y[twice], source, settings, groups, candidates={"nearest": _nearest})
        for groups in (None, twice)
    )
    assert apart.errors[1] < 0.7 * together.errors[1]


def test_evenness_draws_the_weights_to_equal_ones() -> None:
    X, y, source, _, _ = _made()
    spreads = []
    for evenness in (0.0, 1.0, 1e4):
        settings = MixtureSettings(parts=("pooled",), evenness=evenness)
        head = fit_mixture(X, y, source, settings, candidates={"nearest": _nearest})
        spreads.append(float(np.ptp(head.weights)))
    assert spreads[0] > spreads[1] > spreads[2]
    assert spreads[2] < 1e-6


def test_the_mixture_of_a_library_is_better_than_local_samples_alone() -> None:
    alone, mixed = [], []
    for seed in range(5):
        X, y, source, T, truth = _made(seed, 12)
        alone.append(np.sqrt(np.mean((fit_head(X, y, HeadSettings()).predict(T) - truth) ** 2)))
        mixed.append(np.sqrt(np.mean((fit_mixture(X, y, source).predict(T) - truth) ** 2)))
    assert np.mean(mixed) < 0.75 * np.mean(alone)


def test_the_error_told_is_near_that_of_new_samples() -> None:
    ratios = []
    for seed in range(5):
        X, y, source, T, truth = _made(seed)
        head = fit_mixture(X, y, source)
        ratios.append(head.rmsecv / np.hypot(np.sqrt(np.mean((head.predict(T) - truth) ** 2)), 0.2))
    assert 0.6 < np.mean(ratios) < 1.6


def test_importance_is_the_parts_mean_or_absent() -> None:
    X, y, source, _, _ = _made()
    head = fit_mixture(X, y, source, MixtureSettings(parts=("pooled", "plsr"), evenness=1e4))
    shares = [part.importance / part.importance.sum() for part in head.parts if part.importance is not None]
    assert head.importance is not None
    np.testing.assert_allclose(head.importance, np.mean(shares, axis=0), rtol=1e-4)
    without = fit_mixture(X, y, source, MixtureSettings(parts=("pooled", "neighbours")))
    assert without.importance is None


def test_a_library_of_another_property_leaves_out_what_needs_its_values() -> None:
    X, y, source, T, _ = _made()
    other = replace(source, same=False)
    settings = MixtureSettings(parts=("own", "plsr", "spiked", "neighbours"))
    assert fit_mixture(X, y, other, settings).names == ("own", "plsr")
    assert fit_mixture(X, y, None, settings).names == ("own", "plsr")
    shuffled = replace(other, y=source.y[::-1].copy())
    np.testing.assert_array_equal(
        fit_mixture(X, y, other, settings).predict(T), fit_mixture(X, y, shuffled, settings).predict(T)
    )
    with pytest.raises(InputError) as error:
        fit_mixture(X, y, other, MixtureSettings(parts=("spiked",)))
    assert error.value.code == "GS-MIXTURE-EMPTY"


def test_few_features_are_neither_normalised_nor_derived() -> None:
    X, y, source, _, _ = _made()
    few = Source(source.X[:, :6], source.y, True, source.origin)
    assert fit_mixture(X[:, :6], y, few).names == ("pooled",)


def test_the_same_seed_gives_the_same_mixture() -> None:
    X, y, source, T, _ = _made()
    settings = MixtureSettings(parts=("pooled-snv", "plsr", "spiked"))
    first, second = (fit_mixture(X, y, source, settings, seed=3).predict(T) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_mixture_comes_back_from_its_state_and_damage_is_found() -> None:
    X, y, source, T, _ = _made()
    head = fit_mixture(X, y, source, MixtureSettings(parts=("pooled", "plsr", "neighbours")))
    meta, arrays = head.state()
    back = MixtureHead.restore(meta, arrays, _restore)
    np.testing.assert_array_equal(back.predict(T), head.predict(T))
    assert (back.names, back.rmsecv, back.features) == (head.names, head.rmsecv, BANDS)
    first = meta["parts"][0]
    for broken in (
        meta | {"parts": []},
        meta | {"parts": "plsr"},
        meta | {"parts": [first | {"weight": 0.4}]},
        meta | {"parts": [first | {"kind": "mixture"}]},
        meta | {"features": BANDS + 1},
    ):
        with pytest.raises(ModelError) as error:
            MixtureHead.restore(broken, arrays, _restore)
        assert error.value.code == "GS-MODEL-DAMAGED"


def test_missing_features_give_no_value_and_others_are_refused() -> None:
    X, y, source, T, _ = _made()
    head = fit_mixture(X, y, source, MixtureSettings(parts=("pooled", "plsr")))
    T[4, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(head.predict(T)), np.arange(len(T)) == 4)
    with pytest.raises(ModelError, match="30 features"):
        head.predict(T[:, 1:])


@pytest.mark.parametrize("wrong", [{"parts": ("forest",)}, {"parts": ("plsr", "plsr")}, {"evenness": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        MixtureSettings(**wrong)
    assert error.value.code == "GS-MIXTURE"
