"""Folds keep together what belongs together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosoil.errors import InputError
from geosoil.prep.split import random_folds, spatial_folds


@given(st.lists(st.integers(0, 30), min_size=20, max_size=120), st.integers(2, 5), st.integers(0, 99))
def test_random_folds_keep_groups_whole_and_sizes_even(groups: list[int], folds: int, seed: int) -> None:
    names = np.unique(groups)
    if len(names) < folds:
        with pytest.raises(InputError, match="do not make"):
            random_folds(groups, folds, seed)
        return
    found = random_folds(groups, folds, seed)
    of_group = [set(found[np.asarray(groups) == name]) for name in names]
    assert all(len(one) == 1 for one in of_group)
    counts = np.bincount([one.pop() for one in of_group], minlength=folds)
    assert np.ptp(counts) <= 1
    assert np.array_equal(found, random_folds(groups, folds, seed))


def test_spatial_folds_keep_blocks_whole_and_use_every_fold() -> None:
    x, y = np.random.default_rng(0).uniform(0, 50_000, (2, 400))
    found = spatial_folds(x, y, 5, seed=1, block_m=5_000)
    assert sorted(set(found)) == [0, 1, 2, 3, 4]
    assert np.bincount(found).min() > 40
    # Two points within a metre of each other, and of no block's border by luck, share their fold.
    nearest = np.hypot(x[:, None] - x, y[:, None] - y) + np.eye(400) * 1e9
    pairs = np.argwhere(nearest < 300)
    assert np.mean(found[pairs[:, 0]] == found[pairs[:, 1]]) > 0.8


def test_spatial_folds_are_farther_from_their_training_points_than_random_ones() -> None:
    x, y = np.random.default_rng(2).uniform(0, 50_000, (2, 400))

    def reach(folds: np.ndarray) -> float:
        far = np.hypot(x[:, None] - x, y[:, None] - y)
        return float(np.mean([far[i, folds != folds[i]].min() for i in range(400)]))

    assert reach(spatial_folds(x, y, 5, seed=0)) > 1.5 * reach(random_folds(np.arange(400), 5, seed=0))


def test_too_few_blocks_are_refused_with_advice() -> None:
    x, y = np.random.default_rng(3).uniform(0, 1000, (2, 50))
    with pytest.raises(InputError, match="blocks of 5000 m") as caught:
        spatial_folds(x, y, 5, seed=0, block_m=5000)
    assert caught.value.code == "GS-FOLDS"
    assert "block_m" in caught.value.hint
