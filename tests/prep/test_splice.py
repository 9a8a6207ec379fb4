"""A step between detectors is measured where they overlap, and closed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from geosoil.errors import GeosoilError
from geosoil.prep.splice import LIMITS, Splice, SpliceCounts, plan_splice

VN = np.arange(950.0, 1030.0, 4.28)
SW = np.arange(1004.0, 1100.0, 8.43)
NM = np.concatenate([VN, SW])
PARTS = (list(range(len(VN))), list(range(len(VN), len(NM))))


def scene(step: np.ndarray, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Truth that falls smoothly along the spectrum, and the same with the first detector divided by a step."""
    rng = np.random.default_rng(0)
    level = rng.uniform(30, 90, step.shape)
    truth = (level * (1.6 - NM / 1700)[:, None, None]).astype(np.float32)
    seen = truth.copy()
    seen[: len(VN)] /= step.astype(np.float32)
    return truth, (seen * (1 + noise * rng.standard_normal(seen.shape))).astype(np.float32)


def test_the_step_of_each_pixel_is_closed() -> None:
    step = np.random.default_rng(1).uniform(0.9, 1.15, (20, 30))
    truth, seen = scene(step)
    plan = plan_splice(NM, PARTS)
    np.testing.assert_allclose(plan.factors(seen)[0], step, rtol=1e-4)
    np.testing.assert_allclose(plan(seen), truth, rtol=1e-4)


def test_the_second_detector_can_be_scaled_instead() -> None:
    step = np.full((4, 5), 1.1)
    truth, seen = scene(step)
    plan = plan_splice(NM, PARTS, scaled="second")
    before = seen[: len(VN)].copy()
    after = plan(seen)
    np.testing.assert_array_equal(after[: len(VN)], before)
    np.testing.assert_allclose(after[len(VN) :], truth[len(VN) :] / 1.1, rtol=1e-4)


def test_one_wild_band_in_the_overlap_does_not_matter() -> None:
    _, seen = scene(np.full((4, 5), 0.95))
    plan = plan_splice(NM, PARTS)
    assert len(plan.low) >= 3
    seen[plan.low[-1]] *= 7
    np.testing.assert_allclose(plan.factors(seen)[0], 0.95, rtol=1e-4)


def test_factors_are_limited_and_what_has_no_ratio_stays() -> None:
    step = np.array([[0.5, 1.0, 2.0, 1.1, 1.1]])
    _, seen = scene(step)
    seen[:, 0, 3] = np.nan
    seen[: len(VN), 0, 4] = -1
    factor, raw = plan_splice(NM, PARTS).factors(seen)
    np.testing.assert_allclose(factor[0], [LIMITS[0], 1, LIMITS[1], 1, 1], rtol=1e-4)
    np.testing.assert_allclose(raw[0, :3], step[0, :3], rtol=1e-4)
    assert np.isnan(raw[0, 3:]).all()


def test_the_report_has_the_factors_whatever_the_windows() -> None:
    rng = np.random.default_rng(2)
    step = rng.normal(1.03, 0.02, (60, 50))
    step[:6] = 3.0
    _, seen = scene(step)
    plan = plan_splice(NM, PARTS)
    whole, parts = SpliceCounts(), SpliceCounts()
    plan(seen.copy(), whole)
    for top in range(0, 60, 7):
        plan(seen[:, top : top + 7].copy(), parts)
    found = whole.report()
    assert found == parts.report()
    assert found["pixels"] == 3000
    assert found["limited"] == pytest.approx(0.1, abs=1e-9)
    np.testing.assert_allclose(found["quantiles"][:2], np.quantile(step, [0.05, 0.5]), atol=2e-3)
    assert SpliceCounts().report()["pixels"] == 0


def test_bands_that_hold_nothing_take_no_part() -> None:
    all_of = plan_splice(NM, PARTS)
    rest = [place for place in range(len(NM)) if place != all_of.low[0]]
    assert plan_splice(NM, PARTS, usable=rest).low == all_of.low[1:]


def apart() -> Splice:
    return plan_splice([500.0, 900.0, 1000.0, 1100.0], ([0, 1], [2, 3]))


@pytest.mark.parametrize(
    "call",
    [
        apart,
        lambda: plan_splice(NM, PARTS, scaled="both"),  # type: ignore[arg-type]
        lambda: plan_splice(NM, (PARTS[0], [])),
    ],
)
def test_detectors_that_do_not_overlap_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(GeosoilError) as caught:
        call()
    assert caught.value.code == "GS-SPLICE"
