"""Kennard-Stone takes the same samples as a plain loop, and as prospectr."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from geosoil.errors import GeosoilError
from geosoil.prep.kennard_stone import kennard_stone


def plain(points: NDArray[np.float64], k: int) -> list[int]:
    """From the whole matrix of distances."""
    distance = cdist(points, points)
    taken = [int(one) for one in np.unravel_index(distance.argmax(), distance.shape)]
    while len(taken) < k:
        nearest = distance[:, taken].min(axis=1)
        nearest[taken] = -1
        taken.append(int(nearest.argmax()))
    return taken


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_it_equals_a_plain_loop(offset: float) -> None:
    points = np.random.default_rng(0).standard_normal((150, 7)) + offset
    assert kennard_stone(points, 40).tolist() == plain(points, 40)


def test_the_farthest_two_of_many_lie_on_their_hull() -> None:
    # More pairs than are held in memory at once.
    points = np.random.default_rng(5).standard_normal((5000, 2)) + 50
    hull = ConvexHull(points).vertices
    distance = cdist(points[hull], points[hull])
    farthest = hull[list(np.unravel_index(distance.argmax(), distance.shape))]
    assert kennard_stone(points, 2).tolist() == sorted(farthest)


def test_ties_go_to_the_first_row_and_duplicates_come_last() -> None:
    corners = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.0, 0.0]]
    assert kennard_stone(corners, 6).tolist() == [0, 3, 1, 2, 4, 5]
    assert kennard_stone(np.ones((4, 3)), 4).tolist() == [0, 1, 2, 3]


def test_all_samples_can_be_taken() -> None:
    points = np.random.default_rng(1).random((30, 4))
    assert sorted(kennard_stone(points, 30).tolist()) == list(range(30))


def test_the_metric_of_mahalanobis_minds_no_linear_change_of_the_axes() -> None:
    rng = np.random.default_rng(2)
    points, change = rng.standard_normal((60, 4)), rng.standard_normal((4, 4))
    ours = kennard_stone(points, 20, pc=4, metric="mahalanobis")
    assert np.array_equal(ours, kennard_stone(points @ change, 20, pc=4, metric="mahalanobis"))
    assert not np.array_equal(kennard_stone(points, 20), kennard_stone(points @ change, 20))


def test_components_are_counted_or_hold_a_share_of_the_variance() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((100, 3)) * [10, 3, 0.01] @ rng.standard_normal((3, 30))
    assert np.array_equal(kennard_stone(points, 20, pc=3), kennard_stone(points, 20))
    assert np.array_equal(kennard_stone(points, 20, pc=0.9999), kennard_stone(points, 20, pc=2))
    assert not np.array_equal(kennard_stone(points, 20, pc=1), kennard_stone(points, 20, pc=2))


def test_a_group_is_taken_whole() -> None:
    points = np.random.default_rng(4).standard_normal((40, 3))
    groups = np.arange(40) // 4
    taken = kennard_stone(points, 10, groups=groups)
    assert len(taken) == 12
    assert np.bincount(groups[taken], minlength=10).tolist().count(4) == 3
    assert set(kennard_stone(points, 2)) <= set(taken)


def test_given_rows_come_first_and_the_rest_keeps_away_from_them() -> None:
    line = np.arange(11.0)[:, None]
    assert kennard_stone(line, 3, init=[5]).tolist() == [5, 0, 10]
    assert kennard_stone(line, 1, init=[7]).tolist() == [7]


BAD: list[tuple[str, int, dict[str, Any]]] = [
    ("GS-SAMPLES-FEW", 41, {}),
    ("GS-SAMPLES-FEW", 0, {}),
    ("GS-KENNARD-STONE", 1, {}),
    ("GS-KENNARD-STONE", 5, {"metric": "mahalanobis"}),
    ("GS-KENNARD-STONE", 5, {"metric": "manhattan"}),
    ("GS-KENNARD-STONE", 5, {"pc": 4}),
    ("GS-KENNARD-STONE", 5, {"pc": 0}),
    ("GS-KENNARD-STONE", 5, {"init": [1, 1]}),
    ("GS-KENNARD-STONE", 5, {"init": [40]}),
    ("GS-SPECTRA-SHAPE", 5, {"groups": [1, 2]}),
]


@pytest.mark.parametrize(("code", "k", "options"), BAD)
def test_what_cannot_be_selected_is_refused(code: str, k: int, options: dict[str, Any]) -> None:
    points = np.random.default_rng(0).random((40, 3))
    with pytest.raises(GeosoilError) as caught:
        kennard_stone(points, k, **options)
    assert caught.value.code == code
    points[3, 1] = np.nan
    with pytest.raises(GeosoilError, match="missing values"):
        kennard_stone(points, 3)


if "GEOSOIL_DATA" in os.environ:
    REFERENCE = Path(os.environ["GEOSOIL_DATA"]) / "reference"

    @pytest.mark.parametrize(
        ("column", "options"),
        [
            ("snv_euclid", {}),
            ("snv_pc5_mahal", {"pc": 5, "metric": "mahalanobis"}),
            ("snv_pc99_euclid", {"pc": 0.99}),
            ("snv_pc5_euclid", {"pc": 5}),
        ],
    )
    def test_it_equals_prospectr(column: str, options: dict[str, Any]) -> None:
        absorbance = pd.read_csv(REFERENCE / "nirsoil_spectra_absorbance.csv.gz").to_numpy()[:, 1:]
        snv = absorbance - absorbance.mean(axis=1, keepdims=True)
        snv /= snv.std(axis=1, ddof=1, keepdims=True)
        theirs = pd.read_csv(REFERENCE / "nirsoil_kennard_stone_k30_order.csv")[column]
        found = kennard_stone(snv, 30, **options) + 1
        # They write the second of the first two samples first.
        assert found[2:].tolist() == theirs[2:].tolist()
        assert set(found[:2]) == set(theirs[:2])
