"""Derivatives and flow against closed forms and against SAGA 8.5 on the same real heights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.prep.flow import Filled, catchment_area, fill, steepest
from geosoil.prep.terrain import (
    aspect,
    curvatures,
    gradient,
    ls_boehner_selige,
    ls_desmet_govers,
    ls_moore,
    slope,
    specific_area,
    twi,
)

TABLE = Path(__file__).parent.parent / "data" / "terrain" / "edgeroi_saga_8.5.csv.gz"
CELL = (90.0, 90.0)


@pytest.fixture(scope="module")
def saga() -> dict[str, np.ndarray]:
    """SAGA's grids of 87 x 117 cells of 90 m, by name; it computes in single precision."""
    table = pd.read_csv(TABLE)
    return {str(name): table[name].to_numpy(np.float32).reshape(87, 117).astype(np.float64) for name in table}


def routed(saga: dict[str, np.ndarray]) -> Filled:
    """SAGA's own filled surface, so that what follows is compared and not the filling."""
    surface = saga["filled"].copy()
    return Filled(surface, np.argsort(surface, axis=None, kind="stable").astype(np.int32))


def test_slope_and_aspect_equal_saga(saga: dict[str, np.ndarray]) -> None:
    east, north = gradient(saga["elevation"].astype(np.float32), CELL)
    np.testing.assert_allclose(slope(east, north), saga["slope"], atol=6e-7)  # six decimals in the table
    gap = np.abs(aspect(east, north) - saga["aspect"])
    assert np.isnan(gap).sum() == 3  # flat cells, which have no direction
    assert np.nanmax(np.minimum(gap, 2 * np.pi - gap)) < 1e-6


def test_filling_raises_the_cells_that_saga_raises_and_never_higher(saga: dict[str, np.ndarray]) -> None:
    found = fill(saga["elevation"].astype(np.float32), CELL).surface
    raised = saga["filled"] > saga["elevation"]
    np.testing.assert_array_equal(found > saga["elevation"], raised)
    gap = saga["filled"] - found
    assert gap.min() > -1e-4  # steps of single precision, which add up
    # SAGA takes the first neighbour that comes, which at equal heights may be a diagonal one.
    assert gap.max() < 90 * np.tan(np.radians(0.01)) * (np.sqrt(2) - 1) + 1e-4
    assert (gap > 1e-4).sum() <= 0.1 * raised.sum()


def test_multiple_flow_equals_saga_in_all_cells(saga: dict[str, np.ndarray]) -> None:
    area, left = catchment_area(routed(saga), CELL)
    np.testing.assert_allclose(area, saga["area_mfd"], rtol=4e-7)
    assert left == pytest.approx(area.size * 8100, rel=1e-12)


def test_steepest_descent_equals_saga_in_all_cells(saga: dict[str, np.ndarray]) -> None:
    filled = routed(saga)
    down = steepest(filled, CELL)
    count = np.ones(down.size, np.int64)
    for c in filled.order[::-1]:
        if down[c] != c:
            count[down[c]] += count[c]
    np.testing.assert_array_equal(count * 8100.0, saga["area_d8"].ravel())


def test_wetness_and_soil_loss_equal_saga(saga: dict[str, np.ndarray]) -> None:
    angle = slope(*gradient(saga["elevation"].astype(np.float32), CELL))
    specific = specific_area(saga["area_mfd"], CELL)
    np.testing.assert_allclose(twi(specific, angle), saga["twi"], atol=1.5e-6)
    np.testing.assert_allclose(ls_moore(specific, angle), saga["ls_moore"], rtol=4e-7, atol=1e-6)
    # SAGA passes the area with the cell's own.
    found = ls_desmet_govers(saga["area_mfd"], angle, CELL)
    np.testing.assert_allclose(found, saga["ls_desmet_govers"], rtol=4e-7, atol=1e-6)
    np.testing.assert_allclose(ls_boehner_selige(specific, angle), saga["ls_boehner_selige"], rtol=4e-7, atol=1e-6)
    assert found.mean() == pytest.approx(6.50, abs=0.01)
    assert ls_desmet_govers(saga["area_mfd"] - 8100, angle, CELL).mean() == pytest.approx(5.4, abs=0.05)


@pytest.mark.parametrize("method", ["zevenbergen-thorne", "horn"])
@pytest.mark.parametrize("cell", [(10.0, 10.0), (20.0, 30.0)])
def test_a_plane_has_its_slope_and_aspect_everywhere_edges_and_gaps_included(
    method: str, cell: tuple[float, float]
) -> None:
    yy, xx = np.mgrid[:9, :12].astype(float)
    z = (500 + 0.3 * cell[0] * xx + 0.1 * cell[1] * yy).astype(np.float32)  # rises to the east and the south
    z[4, 5] = np.nan
    east, north = gradient(z, cell, method=method)  # type: ignore[arg-type]
    inside = ~np.isnan(z)
    np.testing.assert_array_equal(np.isnan(east), ~inside)
    np.testing.assert_allclose(east[inside], 0.3, atol=1e-5)
    np.testing.assert_allclose(north[inside], -0.1, atol=1e-5)
    # Down is to the west and north: 360 - 71.565 degrees.
    np.testing.assert_allclose(np.degrees(aspect(east, north))[inside], 360 - np.degrees(np.arctan(3)), atol=1e-3)
    for one in curvatures(z, cell):
        np.testing.assert_array_equal(np.isnan(one), ~inside)
        np.testing.assert_allclose(one[inside], 0, atol=1e-5)


def test_curvatures_of_a_cone_and_a_paraboloid() -> None:
    yy, xx = np.mgrid[-40:41, -40:41].astype(float)
    radius = np.hypot(xx, yy)
    ring = (radius > 15) & (radius < 30)
    profile, plan, total = curvatures((1000 - radius).astype(np.float32), (1.0, 1.0))
    # A cone is straight downhill, and its contours bend away with 1 / radius.
    assert np.abs(profile[ring]).max() < 2e-3
    np.testing.assert_allclose(plan[ring], -1 / radius[ring], atol=2e-3)
    np.testing.assert_allclose(total[ring], (plan - profile)[ring], atol=1e-9)
    bowl = curvatures((0.05 * (xx**2 + yy**2)).astype(np.float32), (1.0, 1.0))
    for one, expected in zip(bowl, (-0.1, 0.1, 0.2), strict=True):
        np.testing.assert_allclose(one[ring], expected, atol=2e-5)
    dome = curvatures((-0.05 * (xx**2 + yy**2)).astype(np.float32), (1.0, 1.0))
    np.testing.assert_allclose(dome[0][ring], 0.1, atol=2e-5)


def test_horn_is_the_weighted_mean_of_three_differences() -> None:
    z = np.random.default_rng(0).normal(100, 5, (6, 7)).astype(np.float32)
    east, north = gradient(z, (2.0, 4.0), method="horn")
    a = z.astype(float)
    by_hand = ((a[:-2, 2:] + 2 * a[1:-1, 2:] + a[2:, 2:]) - (a[:-2, :-2] + 2 * a[1:-1, :-2] + a[2:, :-2])) / 16
    np.testing.assert_allclose(east[1:-1, 1:-1], by_hand, rtol=1e-12)
    by_hand = ((a[:-2, :-2] + 2 * a[:-2, 1:-1] + a[:-2, 2:]) - (a[2:, :-2] + 2 * a[2:, 1:-1] + a[2:, 2:])) / 32
    np.testing.assert_allclose(north[1:-1, 1:-1], by_hand, rtol=1e-12)
