"""RS-LOCAL finds the part of a library that is like the local samples, and repeats with its seed on any threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression

from geosoil.errors import GeosoilError
from geosoil.prep.rs_local import Localised, RsLocal, rs_local

Array = NDArray[np.float64]
SMALL = RsLocal(k=25, b=40, r=0.1, components=6)


@cache
def substances() -> Array:
    rng = np.random.default_rng(5)
    band = np.linspace(0, 1, 40)
    return np.exp(-(((band - rng.random((6, 1))) / (0.05 + 0.2 * rng.random((6, 1)))) ** 2))


def soils(n: int, seed: int, sign: float = 1.0) -> tuple[Array, Array]:
    """Spectra and a response that the first substance makes, with the sign given."""
    rng = np.random.default_rng(seed)
    amounts = rng.standard_normal((n, 6))
    # Away from zero, where a relation and its opposite are the same.
    amounts[:, 0] += 2 * np.sign(amounts[:, 0])
    X = amounts @ substances() + 0.01 * rng.standard_normal((n, 40))
    return X, sign * amounts[:, 0] + 0.1 * rng.standard_normal(n)


def library(seed: int = 0) -> tuple[Array, Array, NDArray[np.bool_]]:
    """A third shares the local relation, the rest has the opposite one."""
    like, unlike = soils(130, seed), soils(270, seed + 1, -1.0)
    order = np.random.default_rng(seed).permutation(400)
    X, y = np.vstack([like[0], unlike[0]])[order], np.concatenate([like[1], unlike[1]])[order]
    return X, y, order < 130


def found_in(settings: RsLocal = SMALL, seed: int = 0, workers: int | None = None) -> Localised:
    X, y, _ = library()
    return rs_local(X, y, *soils(20, 9), settings, seed, workers=workers)


@pytest.mark.parametrize("drop_by", ["proportion", "quantile"])
@pytest.mark.parametrize("standardise", [True, False])
def test_the_part_that_shares_the_local_relation_is_found(drop_by: str, standardise: bool) -> None:
    X, y, like = library()
    local, test = soils(20, 9), soils(200, 10)
    settings = RsLocal(k=25, b=40, r=0.1, components=6, drop_by=drop_by, standardise=standardise)
    found = rs_local(X, y, *local, settings)
    assert len(found.kept) == 25
    assert like[found.kept].sum() >= 22
    rows = found.kept
    errors = [
        float(np.sqrt(np.mean((PLSRegression(6).fit(X[part], y[part]).predict(test[0]).ravel() - test[1]) ** 2)))
        for part in (rows, np.arange(400))
    ]
    assert errors[0] < 0.5 < 2 < errors[1]


def test_without_local_values_the_part_of_the_local_spectra_is_found() -> None:
    (X, y), (other, other_y) = soils(100, 0), soils(300, 1)
    # The others lack two substances, which the local spectra hold.
    other -= other @ np.linalg.pinv(substances())[:, 2:4] @ substances()[2:4]
    found = rs_local(
        np.vstack([other, X]), np.concatenate([other_y, y]), soils(20, 9)[0],
        settings=RsLocal(k=25, r=0.1, components=6, criterion="reconstruction"),
    )  # fmt: skip
    assert (found.kept >= 300).mean() > 0.6  # of 0.25 in the library
    # The error is that of spectra: all noise is there is left.
    assert 0.005 < found.rounds[-1].least < 0.05


@pytest.mark.parametrize("drop_by", ["proportion", "quantile"])
def test_one_seed_gives_one_answer_on_any_number_of_threads(drop_by: str) -> None:
    settings = RsLocal(k=25, b=60, r=0.2, components=6, drop_by=drop_by)
    one, two, five = (found_in(settings, 3, workers) for workers in (1, 2, 5))
    for other in (two, five):
        assert np.array_equal(one.kept, other.kept)
        assert np.array_equal(one.score, other.score)
        assert one.rounds == other.rounds
    assert not np.array_equal(one.kept, found_in(settings, 4).kept)


def test_rounds_follow_the_schedule_and_end_at_k() -> None:
    found = found_in()
    size = 400
    for number, one in enumerate(found.rounds, 1):
        assert one.size == size
        assert one.subsets == round(size * 40 / 25)
        assert one.dropped == min(max(1, round(0.1 * size)), size - 25) == (found.dropped_in == number).sum()
        assert one.least <= one.mean <= one.cut
        size -= one.dropped
    assert size == 25 == len(found.kept)
    assert found.fits == sum(one.subsets for one in found.rounds)
    assert found.kept.tolist() == np.flatnonzero(found.dropped_in == 0).tolist()
    # The error of the local samples falls as the others leave.
    assert found.rounds[-1].mean < 0.5 * found.rounds[0].mean


def test_the_worst_of_a_round_are_dropped() -> None:
    found = found_in()
    last = len(found.rounds)
    assert found.score[found.dropped_in == last].min() >= found.score[found.kept].max()


def test_equal_samples_leave_from_the_end() -> None:
    X, _ = soils(1, 0)
    settings = RsLocal(k=10, b=4, r=0.2, components=2, criterion="reconstruction")
    found = rs_local(np.tile(X, (40, 1)), np.arange(40.0), soils(5, 1)[0], settings=settings)
    # No subset differs from another, so only the place decides, of those that were drawn.
    drawn = np.isfinite(found.score)
    assert drawn.sum() > 30
    first = np.flatnonzero(drawn & (found.dropped_in == 1))
    assert first.min() > np.flatnonzero(drawn & (found.dropped_in == 0)).max()


def test_samples_that_were_never_drawn_stay() -> None:
    X, y, _ = library()
    found = rs_local(X, y, *soils(20, 9), RsLocal(k=25, b=1, r=0.5, components=6))
    assert len(found.kept) == 25
    never = np.isnan(found.score)
    assert never.any()
    assert (found.dropped_in[never] == 0).all()


def test_a_small_library_stays_whole() -> None:
    X, y = soils(25, 0)
    found = rs_local(X, y, *soils(20, 9), SMALL)
    assert found.kept.tolist() == list(range(25))
    assert found.rounds == ()
    assert found.fits == 0
    one_more = soils(26, 0)
    assert len(rs_local(*one_more, *soils(20, 9), SMALL).kept) == 25


def test_units_do_not_matter() -> None:
    X, y, _ = library()
    local, wanted = soils(20, 9)
    plain = rs_local(X, y, local, wanted, SMALL)
    other = rs_local(2.0**-30 * X, 2.0**20 * y, 2.0**-30 * local, 2.0**20 * wanted, SMALL)
    assert np.array_equal(plain.kept, other.kept)
    assert other.score[other.kept] == pytest.approx(2.0**20 * plain.score[plain.kept])


def test_progress_comes_to_its_end() -> None:
    X, y, _ = library()
    seen: list[tuple[int, int]] = []
    rs_local(X, y, *soils(20, 9), SMALL, progress=lambda done, total, message: seen.append((done, total)))
    assert seen[-1] == (375, 375)
    assert seen == sorted(seen)


Call = Callable[[], object]
X, Y, _ = library()
LOCAL, WANTED = soils(20, 9)
BAD: list[tuple[str, Call]] = [
    ("GS-RS-LOCAL", lambda: RsLocal(k=11)),
    ("GS-RS-LOCAL", lambda: RsLocal(b=0)),
    ("GS-RS-LOCAL", lambda: RsLocal(r=1.0)),
    ("GS-RS-LOCAL", lambda: RsLocal(r=0.0)),
    ("GS-RS-LOCAL", lambda: RsLocal(components=0)),
    ("GS-RS-LOCAL", lambda: RsLocal(drop_by="luck")),
    ("GS-RS-LOCAL", lambda: RsLocal(criterion="luck")),
    ("GS-RS-LOCAL", lambda: rs_local(X, Y, LOCAL)),
    ("GS-RS-LOCAL", lambda: rs_local(X, Y, LOCAL, WANTED, SMALL, workers=0)),
    ("GS-SPECTRA-SHAPE", lambda: rs_local(X, Y, LOCAL[:, 1:], WANTED)),
    ("GS-SPECTRA-SHAPE", lambda: rs_local(X, Y, LOCAL, WANTED[1:])),
    ("GS-SPECTRA-SHAPE", lambda: rs_local(X, Y[1:], LOCAL, WANTED)),
    ("GS-SPECTRA-NAN", lambda: rs_local(np.where(np.isin(X, X[7, 7]), np.nan, X), Y, LOCAL, WANTED)),
    ("GS-SPECTRA-NAN", lambda: rs_local(X, Y, np.where(np.isin(LOCAL, LOCAL[0, 0]), np.nan, LOCAL), WANTED)),
    ("GS-SAMPLES-FEW", lambda: rs_local(X, Y, LOCAL[:2], WANTED[:2])),
    ("GS-TARGET-CONSTANT", lambda: rs_local(X, 0 * Y, LOCAL, WANTED)),
]


@pytest.mark.parametrize(("code", "call"), BAD)
def test_settings_and_data_that_make_no_sense_are_refused(code: str, call: Call) -> None:
    with pytest.raises(GeosoilError) as caught:
        call()
    assert caught.value.code == code
    assert len(caught.value.message) < 100
