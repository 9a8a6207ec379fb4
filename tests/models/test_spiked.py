"""Extra weight is copies, both parts count, and only held-out local samples judge the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ikpls.numpy import PLS
from numpy.typing import NDArray

from geosoil.errors import GeosoilError
from geosoil.models.heads import Head
from geosoil.models.linear import LinearHead
from geosoil.models.source import Source
from geosoil.models.spiked import SpikedSettings, extra_weight, fit_spiked
from geosoil.prep.moments import Moments
from geosoil.prep.pls import fit_pls

Array = NDArray[np.float64]


def soils(n: int, seed: int, offset: float = 0.0, other: float = 0.0) -> tuple[Array, Array]:
    """Smooth spectra of five substances, one of which is the response.

    `offset` is that of another instrument, `other` what another substance adds to the response.
    """
    rng = np.random.default_rng(seed)
    band = np.linspace(0, 1, 35)
    peaks = np.exp(-(((band - np.linspace(0.1, 0.9, 5)[:, None]) / 0.15) ** 2))
    amounts = rng.gamma(2.0, size=(n, 5))
    X = amounts @ peaks + 0.02 * rng.standard_normal((n, 35)) + offset * np.sin(9 * band)
    return X, amounts[:, 1] + other * amounts[:, 3] + 0.1 * rng.standard_normal(n)


def lent(n: int = 200, offset: float = 0.0, other: float = 0.0) -> Source:
    return Source(*soils(n, 0, offset, other), True, np.zeros(n, np.int64))


@pytest.mark.parametrize("weight", [1, 2, 7])
@pytest.mark.parametrize("components", [1, 4, 9])
def test_a_weight_is_a_number_of_copies(weight: int, components: int) -> None:
    source, (X, y) = lent(offset=0.5), soils(20, 1)
    head = fit_spiked(X, y, source, SpikedSettings(weight=weight, components=components))
    copied, values = np.vstack([source.X, *[X] * weight]), np.concatenate([source.y, *[y] * weight])
    plain = fit_pls(copied, values, components)
    np.testing.assert_allclose(head.coef, plain.coef[-1], rtol=1e-7, atol=1e-9)
    assert head.intercept == pytest.approx(float(plain.intercept[-1]), rel=1e-8)
    np.testing.assert_allclose(head.vip, plain.vip(components), rtol=1e-7)
    theirs = PLS(algorithm=1, scale_X=False, scale_Y=False)
    theirs.fit(copied, values, components)
    np.testing.assert_allclose(head.predict(X), theirs.predict(X)[-1, :, 0], rtol=1e-8)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    X, y = soils(50, 3)
    both, whole = Moments.of(X[:20], y[:20]) + Moments.of(X[20:], y[20:]), Moments.of(X, y)
    for name in ("weight", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-10, atol=1e-10)


def test_principal_axes_hold_the_variance_asked_for() -> None:
    X, y = soils(80, 3)
    axes, variances = Moments.of(X, y).axes(0.99)
    scores = (X - X.mean(axis=0)) @ axes.T
    np.testing.assert_allclose(scores.T @ scores / 80, np.diag(variances), atol=1e-9)
    total = X.var(axis=0).sum()
    assert variances.sum() / total >= 0.99 > variances[:-1].sum() / total
    assert len(Moments.of(X, y).axes(1.0)[0]) == 35


def test_components_end_where_the_data_do() -> None:
    X, y = soils(40, 3)
    flat = X[:, :2] @ np.array([[1.0, 2.0, 0.5], [0.0, 1.0, -1.0]])
    model = Moments.of(flat, y).fit(3)
    assert model.rank == 2
    np.testing.assert_allclose(model.predict(flat)[2], model.predict(flat)[1])
    assert Moments.of(X, 0 * y).fit(2).rank == 0


@pytest.mark.parametrize(("library", "local", "weight"), [(300, 30, 10), (299, 30, 10), (10, 30, 1), (90_000, 30, 100)])
def test_both_parts_count_the_same_within_bounds(library: int, local: int, weight: float) -> None:
    assert extra_weight(library, local) == weight


def test_extra_weight_takes_over_what_is_local() -> None:
    source, (X, y), (test, wanted) = lent(400, other=0.5), soils(40, 1), soils(300, 2)
    errors = {}
    for weight in (1e-6, 1.0, None, 1e4):
        head = fit_spiked(X, y, source, SpikedSettings(weight, components=7))
        errors[weight] = float(np.sqrt(np.mean((head.predict(test) - wanted) ** 2)))
    assert 2 * errors[1e4] < errors[None] < 0.9 * errors[1.0] < 0.9 * errors[1e-6]


def test_the_count_of_components_is_that_of_held_out_local_samples() -> None:
    source, (X, y) = lent(60, offset=0.5), soils(12, 1)
    fold = np.arange(12)
    found = fit_spiked(X, y, source, SpikedSettings(weight=3, most_components=8, folds=12))
    errors = []
    for count in range(1, 9):
        left = []
        for one in fold:
            rows = np.delete(fold, one)
            model = fit_pls(np.vstack([source.X, *[X[rows]] * 3]), np.concatenate([source.y, *[y[rows]] * 3]), count)
            left.append(model.predict(X[one : one + 1])[-1, 0] - y[one])
        errors.append(float(np.sqrt(np.mean(np.square(left)))))
    assert found.components == int(np.argmin(errors)) + 1
    assert found.rmsecv == pytest.approx(min(errors), rel=1e-6)


def test_samples_of_a_group_are_held_out_together() -> None:
    X, y = soils(10, 1)
    rng = np.random.default_rng(0)
    y = rng.standard_normal(10)
    copies, values, groups = np.repeat(X, 3, axis=0), np.repeat(y, 3), np.repeat(np.arange(10), 3)
    source = lent(20)
    settings = SpikedSettings(weight=50, most_components=12)
    apart, together = fit_spiked(copies, values, source, settings), fit_spiked(copies, values, source, settings, groups)
    assert apart.rmsecv is not None
    assert together.rmsecv is not None
    assert apart.rmsecv < together.rmsecv


def test_it_is_a_head_that_is_kept_as_arrays() -> None:
    X, y = soils(20, 1)
    head = fit_spiked(X, y, lent())
    assert isinstance(head, Head)
    again = LinearHead.restore(*head.state())
    assert np.array_equal(again.predict(X), head.predict(X))
    assert fit_spiked(X, y, lent(), seed=0).intercept == head.intercept


Call = Callable[[Array, Array], object]
BAD: list[tuple[str, Call]] = [
    ("GS-SPIKED", lambda X, y: SpikedSettings(weight=0)),
    ("GS-SPIKED", lambda X, y: SpikedSettings(weight=np.nan)),
    ("GS-SPIKED", lambda X, y: SpikedSettings(components=0)),
    ("GS-SPIKED", lambda X, y: SpikedSettings(most_components=0)),
    ("GS-RULE", lambda X, y: fit_spiked(X, y, lent(), SpikedSettings(rule="luck"))),
    ("GS-SPECTRA-SHAPE", lambda X, y: fit_spiked(X[:, 1:], y, lent())),
    ("GS-SPECTRA-NAN", lambda X, y: fit_spiked(X, np.r_[np.nan, y[1:]], lent())),
    ("GS-SAMPLES-FEW", lambda X, y: fit_spiked(X[:2], y[:2], lent())),
    ("GS-TARGET-CONSTANT", lambda X, y: fit_spiked(X, 0 * y, lent())),
    ("GS-SOURCE-PROPERTY", lambda X, y: fit_spiked(X, y, Source(X, y, False, np.zeros(len(y), np.int64)))),
]


@pytest.mark.parametrize(("code", "call"), BAD)
def test_settings_and_data_that_make_no_sense_are_refused(code: str, call: Call) -> None:
    with pytest.raises(GeosoilError) as caught:
        call(*soils(20, 1))
    assert caught.value.code == code
    assert len(caught.value.message) < 100
