"""Neighbours that look like a sample's pixel: within the angle, under no mask, for one sample only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geosoil.errors import InputError
from geosoil.grid.patches import cells_of, extract_patches
from geosoil.prep.neighbours import like_neighbours, spectral_angle
from geosoil.testing import make_scene

Patches = NDArray[np.float32]


def turned(angle: float, length: float = 1.0) -> list[float]:
    return [length * float(np.cos(angle)), length * float(np.sin(angle))]


def patch(up: float, left: float, right: float, down: float) -> Patches:
    """Two bands; the neighbours are turned against the centre by so many radians, and brighter."""
    found = np.full((1, 2, 3, 3), 9.0, np.float32)
    for (row, column), angle in {(1, 1): 0.0, (0, 1): up, (1, 0): left, (1, 2): right, (2, 1): down}.items():
        found[0, :, row, column] = turned(0.5 + angle, 1.0 if angle == 0 else 3.0)
    return found


def test_neighbours_within_the_angle_are_taken_whatever_their_brightness() -> None:
    found = like_neighbours(patch(0.0799, 0.0801, -0.05, 0.3))
    assert found.sample.tolist() == [0, 0]
    np.testing.assert_allclose(found.angle_rad, [0.0799, 0.05], atol=1e-6)
    np.testing.assert_allclose(found.spectra, [turned(0.5799, 3.0), turned(0.45, 3.0)], rtol=1e-6)
    assert len(like_neighbours(patch(0.0799, 0.0801, -0.05, 0.3), angle_rad=0.5)) == 4


def test_angles_equal_the_arc_cosine_and_small_ones_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((50, 8)), rng.random((50, 8))
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(spectral_angle(one, other), np.arccos(cosine), rtol=1e-9)
    assert spectral_angle(turned(0.2), turned(0.2 + 1e-9)) == pytest.approx(1e-9, rel=1e-5)


def test_gaps_and_masks_are_left_out() -> None:
    patches = np.concatenate([patch(0.01, 0.02, 0.03, 0.04)] * 3)
    patches[0, 1, 0, 1] = np.nan
    patches[2, 0, 1, 1] = np.nan
    valid = np.ones((3, 3, 3), bool)
    valid[1, 2, 1] = False
    found = like_neighbours(patches, valid=valid)
    assert found.sample.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(found.angle_rad, [0.02, 0.03, 0.04, 0.01, 0.02, 0.03], atol=1e-6)
    valid[:, 1, 1] = False
    assert len(like_neighbours(patches, valid=valid)) == 0


def test_a_pixel_stands_for_one_sample() -> None:
    # Samples at (5, 5), (5, 6) and (5, 7) hold a pixel each; (4, 9) lies between (4, 8) and (4, 10).
    row = [patch(0.01, 0.02, 0.03, 0.04)] * 3
    patches = np.concatenate([*row, patch(0.5, 0.5, 0.02, 0.5), patch(0.5, 0.01, 0.5, 0.5)])
    rows, columns = [5, 5, 5, 4, 4], [5, 6, 7, 8, 10]
    found = like_neighbours(patches, rows=rows, columns=columns)
    assert np.bincount(found.sample, minlength=5).tolist() == [3, 2, 3, 0, 1]
    assert np.bincount(like_neighbours(patches).sample, minlength=5).tolist() == [4, 4, 4, 1, 1]


def test_patches_of_a_scene_are_taken_as_they_come() -> None:
    scene = make_scene(shape=(12, 14))
    x, y = scene.x.values[[2, 6, 13]], scene.y.values[[3, 7, 0]]
    patches = extract_patches(scene, x, y, 3)
    row, column, _ = cells_of(scene, x, y)
    found = like_neighbours(patches, rows=row, columns=column, angle_rad=np.pi)
    values = scene.values
    for spectrum, sample in zip(found.spectra, found.sample, strict=True):
        around = [(row[sample] + i, column[sample] + j) for i, j in ((-1, 0), (0, -1), (0, 1), (1, 0))]
        inside = [cell for cell in around if 0 <= cell[0] < 12 and 0 <= cell[1] < 14]
        assert any(np.array_equal(values[:, i, j], spectrum) for i, j in inside)
    assert set(found.sample.tolist()) <= {0, 1, 2}
    assert len(found) >= 4


def test_what_does_not_fit_is_refused() -> None:
    patches = patch(0.01, 0.02, 0.03, 0.04)
    bad: list[tuple[Patches, dict[str, Any]]] = [
        (patches[:, :, :2], {}),
        (patches[0], {}),
        (patches, {"valid": np.ones((2, 3, 3), bool)}),
        (patches, {"rows": [1]}),
        (patches, {"rows": [1, 2], "columns": [1, 2]}),
    ]
    for given, options in bad:
        with pytest.raises(InputError) as caught:
            like_neighbours(given, **options)
        assert caught.value.code == "GS-NEIGHBOURS"
