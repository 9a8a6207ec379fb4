"""Every way to use a library is a head: what it learns from, files, seeds, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geosoil.errors import InputError, UsageError
from geosoil.models.heads import Head, HeadSettings, restore_head
from geosoil.models.library_heads import SAME, TUNED, TransferSettings, fit_with_library, localised, pretrain_for
from geosoil.models.source import Source
from geosoil.prep.rs_local import RsLocal

Array = NDArray[Any]
QUICK = RsLocal(k=25, b=8, r=0.2)


def head_of(kind: str, **changes: Any) -> HeadSettings:
    quick = HeadSettings(kind, most_components=8, trees=5, budget=2, members=1, epochs=3)
    return replace(quick, **changes)


def made(count: int, slope: float, seed: int) -> tuple[Array, Array]:
    """Spectra of 40 bands and four substances; the response is the first one's amount, times a slope."""
    rng = np.random.default_rng(seed)
    amounts = rng.random((count, 4))
    places = np.array([[6.0], [14], [23], [33]])
    shapes = np.exp(-(((np.arange(40) - places) / 5) ** 2))
    X = amounts @ shapes + 0.01 * rng.standard_normal((count, 40))
    return X, 2 + slope * amounts[:, 0] + 0.02 * rng.standard_normal(count)


@pytest.fixture(scope="module")
def local() -> tuple[Array, Array]:
    return made(24, 3.0, 0)


@pytest.fixture(scope="module")
def source() -> Source:
    """One data set with the local relation, one with another."""
    (one, y1), (two, y2) = made(90, 3.0, 1), made(60, -1.0, 2)
    return Source(np.vstack([one, two]), np.concatenate([y1, y2]), True, np.repeat([0, 1], [90, 60]))


WAYS = [
    ("local", "plsr"), ("local", "svr"), ("local", "rf"), ("local", "dnn"), ("library", "plsr"), ("spiked", "plsr"),
    ("instances", "plsr"), ("neighbours", "plsr"), ("tuned", "resnet"), ("tuned", "cnn"),
    ("instances-tuned", "resnet"), ("instances-tuned", "cnn"), ("mixture", "plsr"),
]  # fmt: skip


def fit(way: tuple[str, str], local: tuple[Array, Array], source: Source, **settings: Any) -> Head:
    kind, head = way
    how = TransferSettings(kind, head_of(head), localise=QUICK)
    return fit_with_library(*local, source, how, groups=np.arange(len(local[1])), **settings)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_every_way_learns_leaves_its_data_as_they_were_and_comes_back_from_a_file(
    way: tuple[str, str], local: tuple[Array, Array], source: Source
) -> None:
    held = [one.copy() for one in (*local, source.X, source.y)]
    new, truth = made(200, 3.0, 4)
    head = fit(way, local, source)
    assert isinstance(head, Head)
    predicted = head.predict(new)
    assert np.isfinite(predicted).all()
    if way not in {("local", "dnn"), ("instances-tuned", "resnet")}:  # which three epochs teach little
        assert np.corrcoef(predicted, truth)[0, 1] > 0.6
    for before, now in zip(held, (*local, source.X, source.y), strict=True):
        np.testing.assert_array_equal(before, now)
    meta, arrays = head.state()
    again = restore_head(head.kind, meta, arrays)
    np.testing.assert_array_equal(again.predict(new), predicted)
    assert (again.kind, again.features) == (head.kind, 40)


class TestWhatIsSeen:
    """By each way."""

    def test_a_local_model_ignores_the_library_and_a_global_one_the_local_samples(
        self, local: tuple[Array, Array], source: Source
    ) -> None:
        new = made(50, 3.0, 3)[0]
        turned = replace(source, y=source.y[::-1].copy())
        one, two = (fit(("local", "plsr"), local, lent).predict(new) for lent in (source, turned))
        np.testing.assert_array_equal(one, two)
        other = (local[0][::-1].copy(), local[1])
        one, two = (fit(("library", "plsr"), own, source).predict(new) for own in (local, other))
        np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize("kind", ["spiked", "instances", "neighbours", "mixture"])
    def test_the_others_use_both(self, kind: str, local: tuple[Array, Array], source: Source) -> None:
        new = made(50, 3.0, 3)[0]
        base = fit((kind, "plsr"), local, source).predict(new)
        turned = replace(source, y=source.y[::-1].copy())
        assert not np.allclose(fit((kind, "plsr"), local, turned).predict(new), base)
        assert not np.allclose(fit((kind, "plsr"), (local[0], local[1][::-1].copy()), source).predict(new), base)

    def test_instances_are_rows_of_the_library_from_the_data_set_that_is_like_the_local_samples(
        self, local: tuple[Array, Array], source: Source
    ) -> None:
        kept = localised(*local, source, TransferSettings("instances", localise=QUICK), 0)
        assert len(kept) == len(set(kept.tolist())) == 25
        assert source.origin[kept].mean() < 0.2 < source.origin.mean()

    def test_a_network_that_is_given_is_taken_and_not_trained_again(
        self, local: tuple[Array, Array], source: Source
    ) -> None:
        new = made(50, 3.0, 3)[0]
        settings = TransferSettings("tuned", head_of("cnn"))
        lent = pretrain_for(source, settings, 0)
        one = fit_with_library(*local, source, settings, lent, seed=0)
        two = fit_with_library(*local, source, settings, seed=0)
        np.testing.assert_array_equal(one.predict(new), two.predict(new))
        wrong = pretrain_for(replace(source, y=-source.y[::-1].copy()), settings, 1)
        assert not np.allclose(fit_with_library(*local, source, settings, wrong, seed=0).predict(new), one.predict(new))

    def test_another_property_is_learned_from_by_networks_and_mixtures(
        self, local: tuple[Array, Array], source: Source
    ) -> None:
        other = replace(source, same=False)
        new, truth = made(200, 3.0, 4)
        for way in (("tuned", "cnn"), ("mixture", "plsr")):
            assert np.corrcoef(fit(way, local, other).predict(new), truth)[0, 1] > 0.9


class TestRefusals:
    """One clear error each."""

    def test_ways_and_regressions_that_do_not_go_together(self) -> None:
        for settings, words in (
            ({"kind": "magic"}, "'magic' is not known"),
            ({"kind": "tuned"}, "plsr cannot be trained"),
            ({"kind": "instances-tuned", "head": HeadSettings("svr")}, "svr cannot be trained"),
        ):
            with pytest.raises(UsageError, match=words) as caught:
                TransferSettings(**settings)
            assert caught.value.code == "GS-TRANSFER"
            assert caught.value.hint

    @pytest.mark.parametrize("kind", sorted(SAME))
    def test_ways_that_need_the_property_itself(self, kind: str, local: tuple[Array, Array], source: Source) -> None:
        head = head_of("cnn" if kind in TUNED else "plsr")
        with pytest.raises(UsageError) as caught:
            fit_with_library(*local, replace(source, same=False), TransferSettings(kind, head, localise=QUICK))
        assert caught.value.code == "GS-TRANSFER"

    @pytest.mark.parametrize("kind", ["local", "spiked", "instances", "neighbours", "mixture"])
    def test_constant_local_values(self, kind: str, local: tuple[Array, Array], source: Source) -> None:
        with pytest.raises(InputError) as caught:
            fit_with_library(local[0], np.full(24, 3.0), source, TransferSettings(kind, head_of("plsr")))
        assert caught.value.code == "GS-TARGET-CONSTANT"

    def test_parts_of_a_library_that_do_not_fit_or_are_missing(self, source: Source) -> None:
        for change, code in (
            ({"y": source.y[:-1]}, "GS-SPECTRA-SHAPE"),
            ({"origin": source.origin[:3]}, "GS-SPECTRA-SHAPE"),
            ({"y": np.full(len(source), np.nan)}, "GS-SPECTRA-NAN"),
        ):
            with pytest.raises(InputError) as caught:
                replace(source, **change)
            assert caught.value.code == code
