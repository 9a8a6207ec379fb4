"""Fits in single precision equal those of libraries, weights are copies, and draws are fair."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ikpls.numpy import PLS
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression

from geosoil.kernels.pls1 import LANES, components, fit, gather, padded, space
from geosoil.kernels.subsets import add_scores, draw, judge

Array = NDArray[np.float64]
Single = NDArray[np.float32]


def spectra(n: int, p: int, seed: int = 0) -> tuple[Array, Array]:
    """Smooth spectra of eight overlapping substances, centred, of which the first is the response."""
    rng = np.random.default_rng(seed)
    band = np.linspace(0, 1, p)
    peaks = np.exp(-(((band - rng.random((8, 1))) / (0.02 + 0.2 * rng.random((8, 1)))) ** 2))
    amounts = rng.gamma(2.0, size=(n, 8))
    X = amounts @ peaks + 0.01 * rng.standard_normal((n, p))
    return X - X.mean(axis=0), amounts[:, 0] + 0.1 * rng.standard_normal(n)


def single(X: Array) -> Single:
    """As the kernels take them."""
    found = np.zeros((len(X), padded(X.shape[1], LANES)), np.float32)
    found[:, : X.shape[1]] = X
    return found


def fitted(X: Array, y: Array, rows: NDArray[np.int64], weight: Array, most: int) -> tuple[Array, float]:
    """Coefficients of the bands, and the intercept."""
    wide = single(X)
    mean, out = np.empty(wide.shape[1], np.float32), np.empty(wide.shape[1], np.float32)
    centre = fit(wide, y.astype(np.float32), rows, weight.astype(np.float32), most, mean, out)
    assert not out[X.shape[1] :].any()
    return out[: X.shape[1]].astype(np.float64), centre - float(mean.astype(np.float64) @ out)


@pytest.mark.parametrize(("n", "p", "most"), [(3, 5, 2), (17, 32, 6), (41, 33, 8), (100, 211, 10), (102, 700, 15)])
def test_a_fit_equals_those_of_ikpls_and_scikit_learn(n: int, p: int, most: int) -> None:
    X, y = spectra(n + 50, p, seed=n)
    rows = np.random.default_rng(n).permutation(n + 50)[:n]
    test = np.setdiff1d(np.arange(n + 50), rows)
    coefficients, intercept = fitted(X, y, rows, np.ones(n), most)
    found = X[test] @ coefficients + intercept
    ikpls = PLS(algorithm=1, scale_X=False, scale_Y=False)
    ikpls.fit(X[rows], y[rows], most)
    sklearn = PLSRegression(most, scale=False).fit(X[rows], y[rows])
    for theirs in (ikpls.predict(X[test])[-1, :, 0], sklearn.predict(X[test]).ravel()):
        assert np.abs(found - theirs).max() < 1e-5 * y.std()
    assert np.linalg.norm(coefficients - ikpls.B[-1, :, 0]) < 3e-5 * np.linalg.norm(ikpls.B[-1, :, 0])


def test_a_weight_is_a_number_of_copies() -> None:
    X, y = spectra(60, 50)
    copies = np.random.default_rng(1).integers(1, 5, 40)
    rows = np.random.default_rng(2).permutation(60)[:40]
    weighted = fitted(X, y, rows, copies.astype(np.float64), 6)
    copied = fitted(X, y, np.repeat(rows, copies), np.ones(copies.sum()), 6)
    assert np.linalg.norm(weighted[0] - copied[0]) < 1e-5 * np.linalg.norm(copied[0])
    assert weighted[1] == pytest.approx(copied[1], rel=1e-5)
    assert np.linalg.norm(weighted[0] - fitted(X, y, rows, np.ones(40), 6)[0]) > 0.01 * np.linalg.norm(copied[0])


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_it_stops_where_the_data_end(rank: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, rank)) @ rng.standard_normal((rank, 30))
    y = rng.standard_normal(40).astype(np.float32)
    work, rest, w, t, mixed, q = space(40, padded(30, LANES), 8)
    mean = np.empty(padded(30, LANES), np.float32)
    _, squares = gather(single(X), y, np.arange(40), np.ones(40, np.float32), work, rest, mean)
    held = components(work, rest, squares, w, t, mixed, q, np.empty((0, len(mean)), np.float32))
    assert held == rank


def test_scores_are_orthogonal_and_loadings_put_the_spectra_together_again() -> None:
    X, y = spectra(30, 20)
    width = padded(20, LANES)
    work, rest, w, t, mixed, q = space(30, width, 20)
    mean, p = np.empty(width, np.float32), np.empty((20, width), np.float32)
    _, squares = gather(single(X), y.astype(np.float32), np.arange(30), np.ones(30, np.float32), work, rest, mean)
    assert components(work, rest, squares, w, t, mixed, q, p) == 20
    gram = t[:, :30] @ t[:, :30].T
    size = np.sqrt(np.diag(gram))
    assert np.abs(gram / np.outer(size, size) - np.eye(20)).max() < 1e-9
    np.testing.assert_allclose(t[:, :30].T @ p[:, :20], X, atol=1e-5)


def test_draws_are_different_places_each_as_likely() -> None:
    size, k, draws = 23, 7, 20_000
    taken, out, seen = np.zeros(size, np.bool_), np.empty(k, np.int32), np.zeros(size)
    together = 0
    for number in range(draws):
        draw(np.uint64(11), number, size, taken, out)
        assert len(set(out)) == k
        assert 0 <= out.min() <= out.max() < size
        seen[out] += 1
        together += {3, 4} <= set(out)
    assert not taken.any()
    share = k / size
    assert np.abs(seen / draws - share).max() < 5 * np.sqrt(share * (1 - share) / draws)
    pair = share * (k - 1) / (size - 1)
    assert abs(together / draws - pair) < 5 * np.sqrt(pair * (1 - pair) / draws)


def test_a_draw_of_all_is_all_and_depends_on_key_and_number_alone() -> None:
    taken, out = np.zeros(50, np.bool_), np.empty(50, np.int32)
    draw(np.uint64(1), 0, 50, taken, out)
    assert sorted(out) == list(range(50))
    first, again, other, next_one = (np.empty(5, np.int32) for _ in range(4))
    for key, number, found in ((1, 8, first), (2, 8, other), (1, 9, next_one), (1, 8, again)):
        draw(np.uint64(key), number, 1000, np.zeros(1000, np.bool_), found)
    assert np.array_equal(first, again)
    assert len({tuple(one) for one in (first, other, next_one)}) == 3
    assert not set(first[1:]) & set(next_one[:-1])


def plain_score(X: Array, y: Array, local: Array, wanted: Array, most: int, response: bool, scale: bool) -> float:
    model = PLSRegression(most, scale=scale).fit(X, y)
    if response:
        return float(np.sqrt(np.mean((model.predict(local).ravel() - wanted) ** 2)))
    again = model.inverse_transform(model.transform(local))
    return float(np.sqrt(np.mean((again - local) ** 2)))


@pytest.mark.parametrize("response", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_scores_of_subsets_equal_a_plain_loop_with_scikit_learn(response: bool, scale: bool) -> None:
    X, y = spectra(90, 45)
    wide, values = single(X), y.astype(np.float32)
    drawn, score = np.empty((6, 25), np.int32), np.empty(6)
    judge(wide[:80], values[:80], wide[80:], values[80:], 45, 5, response, scale, np.uint64(3), 0, drawn, score)
    for rows, found in zip(drawn, score, strict=True):
        theirs = plain_score(X[rows], y[rows], X[80:], y[80:], 5, response, scale)
        assert found == pytest.approx(theirs, rel=1e-5)
    # In two goes the same.
    parts, second = np.empty((6, 25), np.int32), np.empty(6)
    for part in (slice(4, 6), slice(0, 4)):
        judge(
            wide[:80], values[:80], wide[80:], values[80:], 45, 5, response, scale, np.uint64(3), part.start,
            parts[part], second[part],
        )  # fmt: skip
    assert np.array_equal(parts, drawn)
    assert np.array_equal(second, score)


def test_a_subset_of_one_value_predicts_it() -> None:
    X, _ = spectra(40, 20)
    wide, y = single(X), np.full(40, 2.0, np.float32)
    drawn, score = np.empty((3, 10), np.int32), np.empty(3)
    wanted = np.array([2.0, 5.0], np.float32)
    judge(wide, y, wide[:2], wanted, 20, 4, True, False, np.uint64(0), 0, drawn, score)
    np.testing.assert_allclose(score, np.sqrt(4.5), rtol=1e-6)


def test_bands_that_do_not_vary_are_no_harm_when_bands_are_standardised() -> None:
    X, y = spectra(60, 30)
    flat = np.insert(X, [4, 20], 0.0, axis=1)
    wide, values = single(flat), y.astype(np.float32)
    drawn, score = np.empty((4, 20), np.int32), np.empty(4)
    judge(wide, values, wide[50:], values[50:], 32, 4, True, True, np.uint64(5), 0, drawn, score)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = [plain_score(X[rows], y[rows], X[50:], y[50:], 4, True, True) for rows in drawn]
    np.testing.assert_allclose(score, theirs, rtol=1e-5)


def test_scores_are_added_to_the_members() -> None:
    total, count = np.zeros(4), np.zeros(4, np.int64)
    add_scores(np.array([[0, 1], [1, 3]], np.int32), np.array([2.0, 5.0]), total, count)
    assert total.tolist() == [2, 7, 0, 5]
    assert count.tolist() == [1, 2, 0, 1]
