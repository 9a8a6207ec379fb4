"""The fused PLS equals a library's on any rows and columns."""

from __future__ import annotations

import numpy as np
import pytest
from ikpls.numpy import PLS

from geosoil.kernels.pls import coefficients, components, held_out


@pytest.mark.parametrize(("n", "p", "most"), [(3, 5, 2), (17, 30, 6), (40, 12, 12), (101, 211, 10)])
def test_coefficients_of_some_rows_and_columns_equal_those_of_ikpls(n: int, p: int, most: int) -> None:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n + 9, p + 4)).cumsum(axis=1)
    y = X[:, 0] + rng.standard_normal(n + 9)
    rows, columns = rng.permutation(n + 9)[:n], np.sort(rng.permutation(p + 4)[:p])
    out = np.empty(p)
    assert coefficients(X, y, rows, columns, most, out) == most
    theirs = PLS(algorithm=1, scale_X=False, scale_Y=False)
    theirs.fit(X[np.ix_(rows, columns)], y[rows], most)
    np.testing.assert_allclose(out, theirs.B[-1, :, 0], rtol=1e-7, atol=1e-9)


def test_it_stops_where_the_data_end() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30, 2))
    X = scores @ rng.standard_normal((2, 10))
    X -= X.mean(axis=0)
    y = rng.standard_normal(30)
    p, r, q = np.empty((6, 10)), np.empty((6, 10)), np.empty(6)
    assert components(X, X.T @ y, 6, p, r, q) == 2
    assert q[2:].tolist() == [0, 0, 0, 0]
    # Nothing to explain: no component at all.
    assert components(X, np.zeros(10), 6, p, r, q) == 0


def test_a_fold_without_a_signal_to_learn_from_gets_the_mean() -> None:
    X = np.random.default_rng(0).standard_normal((9, 4))
    y = np.array([2.0] * 6 + [1.0, 5.0, 9.0])
    fold = np.array([0] * 6 + [1] * 3)
    out = np.empty((2, 9))
    held_out(X, y, np.arange(4), fold, 2, 2, out, np.empty((9, 4)))
    np.testing.assert_array_equal(out[:, 6:], 2.0)
    assert np.ptp(out[:, :6]) > 0
