"""Water runs downhill, reaches the edge, and none of it is lost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import ResourceError, UsageError
from geosoil.prep import flow
from geosoil.prep.flow import catchment_area, distances, fill, steepest
from geosoil.prep.terrain import gradient, slope, with_halo


def hills(shape: tuple[int, int] = (40, 50), seed: int = 0, gaps: float = 0.0) -> np.ndarray:
    """Rough ground with many pits."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    z = 200 + 20 * np.sin(xx / 6.3) * np.cos(yy / 5.1) + rng.normal(0, 2, shape)
    z[rng.random(shape) < gaps] = np.nan
    return np.asarray(z, np.float32)


def neighbours(z: np.ndarray, i: int, j: int) -> list[tuple[int, int]]:
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    around = [(i + a, j + b) for a, b in steps]
    return [(y, x) for y, x in around if 0 <= y < z.shape[0] and 0 <= x < z.shape[1] and not np.isnan(z[y, x])]


def relaxed(z: np.ndarray, cell: tuple[float, float], min_slope: float) -> np.ndarray:
    """The lowest surface with a way down to the edge, by trying again until nothing changes."""
    step = np.tan(np.radians(min_slope))
    valid = [(int(i), int(j)) for i, j in np.argwhere(~np.isnan(z))]
    near = {one: neighbours(z, *one) for one in valid}
    found = np.where(np.isnan(z), np.nan, np.inf)
    for one in valid:
        if len(near[one]) < 8:
            found[one] = z[one]
    changed = True
    while changed:
        changed = False
        for i, j in valid:
            if len(near[i, j]) < 8:
                continue
            ways = (found[y, x] + step * np.hypot((y - i) * cell[1], (x - j) * cell[0]) for y, x in near[i, j])
            level = max(float(z[i, j]), min(ways))
            if level < found[i, j]:
                found[i, j], changed = level, True
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), gaps=st.sampled_from([0.0, 0.05]), steps=st.booleans())
def test_the_filled_surface_is_the_lowest_that_drains(seed: int, gaps: float, steps: bool) -> None:
    z = hills((11, 13), seed, gaps)
    if steps:  # many equal heights
        z = np.round(z / 5) * 5
    cell = (10.0, 14.0)
    np.testing.assert_allclose(fill(z, cell, min_slope=0.5).surface, relaxed(z, cell, 0.5), rtol=1e-13)


def test_a_pit_is_filled_up_to_where_it_spills() -> None:
    z = np.full((7, 9), 50, np.float32)
    z[1:-1, 1:-1] = 10
    z[3, 0] = 20  # the lowest gap in the rim
    found = fill(z, (1.0, 1.0)).surface
    step = np.tan(np.radians(0.01))
    np.testing.assert_allclose(found[3, 1:8], 20 + step * np.arange(1, 8), rtol=1e-12)
    np.testing.assert_array_equal(found[0], z[0])


def test_cells_come_from_low_to_high_each_once_and_gaps_never() -> None:
    z = hills(gaps=0.03)
    filled = fill(z, (10.0, 10.0))
    assert sorted(filled.order) == np.flatnonzero(~np.isnan(z)).tolist()
    heights = filled.surface.ravel()[filled.order]
    assert (np.diff(heights) >= 0).all()
    assert (filled.surface[~np.isnan(z)] >= z[~np.isnan(z)]).all()


@pytest.mark.parametrize("gaps", [0.0, 0.03])
@pytest.mark.parametrize("exponent", [0.5, 1.1, 8.0])
def test_all_area_leaves_the_map(gaps: float, exponent: float) -> None:
    z = hills(gaps=gaps)
    area, left = catchment_area(fill(z, (10.0, 12.0)), (10.0, 12.0), exponent=exponent)
    inside = ~np.isnan(z)
    assert left == pytest.approx(inside.sum() * 120.0, rel=1e-12)
    np.testing.assert_array_equal(np.isnan(area), ~inside)
    assert area[inside].min() == 120.0


def test_every_way_of_steepest_descent_ends_at_the_edge() -> None:
    z = hills(gaps=0.02)
    filled = fill(z, (10.0, 10.0))
    down = steepest(filled, (10.0, 10.0))
    heights = filled.surface.ravel()
    moves = (down != np.arange(down.size)) & (down >= 0)
    assert (heights[down[moves]] < heights[moves]).all()
    ends = np.flatnonzero(down == np.arange(down.size))
    assert all(len(neighbours(z, *divmod(int(end), z.shape[1]))) < 8 for end in ends)
    np.testing.assert_array_equal(down < 0, np.isnan(z).ravel())
    # Each goes to the steepest of its neighbours.
    for c in np.flatnonzero(moves)[::37]:
        i, j = divmod(int(c), z.shape[1])
        falls = {
            y * z.shape[1] + x: (heights[c] - filled.surface[y, x]) / np.hypot(10 * (y - i), 10 * (x - j))
            for y, x in neighbours(z, i, j)
        }
        assert falls[int(down[c])] == max(falls.values())


def test_a_plane_drains_in_lines_and_water_leaves_at_the_edge() -> None:
    z = np.tile(np.arange(12, 0, -1, dtype=np.float32), (7, 1))  # falls to the east
    filled = fill(z, (5.0, 5.0))
    area, _ = catchment_area(filled, (5.0, 5.0), exponent=100.0)  # all to the steepest
    np.testing.assert_allclose(area, np.tile(25.0 * np.arange(1, 13), (7, 1)))
    down = steepest(filled, (5.0, 5.0)).reshape(z.shape)
    np.testing.assert_array_equal(down[1:-1, 1:-1], np.arange(z.size).reshape(z.shape)[1:-1, 2:])


def test_a_cone_sends_the_same_to_all_sides() -> None:
    yy, xx = np.mgrid[-20:21, -20:21]
    area, _ = catchment_area(fill((100 - np.hypot(xx, yy)).astype(np.float32), (1.0, 1.0)), (1.0, 1.0))
    for turn in range(1, 4):
        np.testing.assert_allclose(np.rot90(area, turn), area, rtol=1e-12)
    assert area[20, 20] == 1.0
    # In the mean over a circle the area a metre of contour is half the radius, as on a true cone.
    ring = np.abs(np.hypot(xx, yy) - 15) < 0.5
    assert area[ring].mean() == pytest.approx(7.5, rel=0.12)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_map_gives_the_turned_result(turn: int) -> None:
    z = np.round(hills(seed=3, gaps=0.01), 0)  # many equal heights
    cell = (10.0, 20.0)
    turned_cell = cell if turn == 2 else cell[::-1]
    turned = np.ascontiguousarray(np.rot90(z, turn))
    filled, other = fill(z, cell), fill(turned, turned_cell)
    np.testing.assert_allclose(np.rot90(filled.surface, turn), other.surface, rtol=1e-14)
    area, _ = catchment_area(filled, cell)
    np.testing.assert_allclose(np.rot90(area, turn), catchment_area(other, turned_cell)[0], rtol=1e-9)
    np.testing.assert_allclose(
        np.rot90(slope(*gradient(z, cell)), turn), slope(*gradient(turned, turned_cell)), rtol=1e-12
    )


def test_windows_give_what_the_whole_gives() -> None:
    z = hills(gaps=0.02)
    whole = gradient(z, (10.0, 10.0), method="horn")
    for rows in pairwise((0, 13, 26, 40)):
        for columns in pairwise((0, 1, 30, 50)):
            part = gradient(with_halo(z, rows, columns), (10.0, 10.0), method="horn", halo=True)
            for one, other in zip(part, whole, strict=True):
                np.testing.assert_array_equal(one, other[slice(*rows), slice(*columns)])


def test_work_in_parts_changes_nothing_and_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    z = hills(gaps=0.02)
    cell = (10.0, 10.0)
    filled = fill(z, cell)
    whole = catchment_area(filled, cell)[0], steepest(filled, cell)
    monkeypatch.setattr(flow, "PART", 97)
    told: dict[str, list[tuple[int, int]]] = {}

    def note(done: int, total: int, message: str) -> None:
        told.setdefault(message, []).append((done, total))

    again = fill(z, cell, progress=note)
    np.testing.assert_array_equal(again.surface, filled.surface)
    np.testing.assert_array_equal(again.order, filled.order)
    np.testing.assert_array_equal(catchment_area(again, cell, progress=note)[0], whole[0])
    np.testing.assert_array_equal(steepest(again, cell, progress=note), whole[1])
    assert len(told) == 3
    for calls in told.values():
        assert len(calls) > 5
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert calls[-1][0] == calls[-1][1]


def test_a_front_that_does_not_fit_is_a_lack_of_memory() -> None:
    with pytest.raises(ResourceError) as caught:
        fill(hills((600, 600)), (10.0, 10.0), most_heap=20_000)
    assert caught.value.code == "GS-MEMORY"
    assert caught.value.exit_code == 6


def test_settings_that_water_cannot_follow() -> None:
    z = hills((5, 5))
    for bad in (0.0, -1.0, 50.0, float("nan")):
        with pytest.raises(UsageError, match="least slope"):
            fill(z, (1.0, 1.0), min_slope=bad)
        with pytest.raises(UsageError, match="exponent"):
            catchment_area(fill(z, (1.0, 1.0)), (1.0, 1.0), exponent=-abs(bad) if bad != 50 else 500.0)
    with pytest.raises(UsageError, match="'sobel'"):
        gradient(z, (1.0, 1.0), method="sobel")  # type: ignore[arg-type]


def test_distances_are_those_of_the_cell() -> None:
    np.testing.assert_allclose(distances((30.0, 40.0)), [40, 50, 30, 50, 40, 50, 30, 50])
