"""A search finds what cross-validates best, gives the same answer again and after a stop, and says what it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosoil.errors import GeosoilError, UsageError
from geosoil.jobs.search import SearchResult, SearchSettings, search
from geosoil.jobs.search_space import Space
from geosoil.jobs.search_trials import worse
from geosoil.models.conv_head import CnnSettings, fit_cnn
from geosoil.models.convnet import ConvBlock
from geosoil.models.fold_training import train_folds
from geosoil.models.heads import HeadSettings
from geosoil.models.net_head import NetHead
from geosoil.prep.pls import fold_numbers

Array = NDArray[np.float64]
#: Shapes so small that a trial takes a moment.
SMALL = SearchSettings(
    trials=8, folds=3, together=3, most_multiplications=150_000, most_weights=40_000, epochs=(3, 8), patience=3
)


def made(n: int = 30, p: int = 24) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    band = np.linspace(0, 1, p)
    peaks = np.exp(-(((band - np.array([[0.2], [0.5], [0.8]])) / 0.12) ** 2))
    amounts = rng.gamma(2.0, size=(n, 3))
    return amounts @ peaks + 0.01 * rng.standard_normal((n, p)), amounts[:, 1]


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    return made()


@pytest.fixture(scope="module")
def found(data: tuple[Array, Array], tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, Path]:
    folder = tmp_path_factory.mktemp("search") / "new"
    return search(*data, SMALL, seed=2, folder=folder, device="cpu"), folder


def same(one: SearchResult, other: SearchResult) -> bool:
    """Equal but for the times."""
    plain = [replace(trial, seconds=0.0) for trial in one.trials] == [
        replace(trial, seconds=0.0) for trial in other.trials
    ]
    return plain and one.best == other.best and one.rmse == other.rmse and one.importance == other.importance


def test_the_best_trial_is_the_least_of_all_and_its_settings_give_its_error(
    data: tuple[Array, Array], found: tuple[SearchResult, Path]
) -> None:
    X, y = data
    result, _ = found
    assert len(result.trials) == 8
    complete = [one.rmse for one in result.trials if one.state == "complete"]
    assert result.rmse == min(complete) <= result.trials[0].rmse
    fold = fold_numbers(len(y), 3, seed=2)
    again = train_folds(result.best.spec(24), X, y, fold, result.best.schedule, seed=2, device="cpu")
    assert again.rmse == pytest.approx(result.rmse, rel=0.05)  # in one pass or in two: rounding grows over epochs
    assert result.impossible > 0
    assert sum(result.importance.values()) == pytest.approx(1)
    assert all(one.params["epochs"] <= 8 for one in result.trials)
    assert {"convs", "denses", "learning_rate", "conv1_filters"} <= set(result.importance)


def test_the_answer_comes_from_the_record_alone_where_it_has_all(
    data: tuple[Array, Array], found: tuple[SearchResult, Path]
) -> None:
    result, folder = found
    calls: list[int] = []
    again = search(
        *data, SMALL, seed=2, folder=folder, device="cpu", progress=lambda done, total, message: calls.append(done)
    )
    assert same(result, again)
    assert [one.seconds for one in again.trials] == [one.seconds for one in result.trials]  # nothing was trained
    assert calls == sorted(calls)
    assert calls[-1] == 8


@pytest.mark.timeout(240)  # two processes that start torch
def test_the_answer_is_the_same_with_other_workers(data: tuple[Array, Array], found: tuple[SearchResult, Path]) -> None:
    assert same(found[0], search(*data, SMALL, seed=2, num_workers=2, device="cpu"))


@pytest.mark.parametrize("kept", [0, 4])
def test_a_killed_search_goes_on_to_the_same_end(
    data: tuple[Array, Array], found: tuple[SearchResult, Path], tmp_path: Path, kept: int
) -> None:
    result, folder = found
    lines = (folder / "trials.log").read_bytes().splitlines(keepends=True)
    ends = [place for place, line in enumerate(lines) if b'"outcome"' in line]
    # Some trials, a line that was not finished, and the lock of a process that is no more.
    stop = ends[kept]
    (tmp_path / "trials.log").write_bytes(b"".join(lines[:stop]) + lines[stop][:50])
    (tmp_path / "trials.log.lock").write_text("")
    again = search(*data, SMALL, seed=2, folder=tmp_path, device="cpu")
    assert same(result, again)
    kept_seconds = sum(a.seconds == b.seconds for a, b in zip(result.trials, again.trials, strict=True))
    assert kept_seconds == kept


def test_more_trials_go_on_from_fewer(
    data: tuple[Array, Array], found: tuple[SearchResult, Path], tmp_path: Path
) -> None:
    result, _ = found
    few = replace(SMALL, trials=5)  # the two starts and a whole round
    short = search(*data, few, seed=2, folder=tmp_path, device="cpu")
    assert len(short.trials) == 5
    assert same(result, search(*data, SMALL, seed=2, folder=tmp_path, device="cpu"))


def test_the_journal_is_optunas_and_the_answer_is_json(
    data: tuple[Array, Array], found: tuple[SearchResult, Path]
) -> None:
    result, folder = found
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "trials.log"))
    (study,) = optuna.get_all_study_summaries(optuna.storages.JournalStorage(backend))
    assert study.n_trials == 8
    assert study.best_trial is not None
    assert study.best_trial.value == result.rmse
    assert CnnSettings.load(folder / "best.json") == result.best
    assert json.loads((folder / "best.json").read_text())["rmse"] == result.rmse


def test_another_search_is_not_mixed_with_the_one_in_the_folder(
    data: tuple[Array, Array], found: tuple[SearchResult, Path]
) -> None:
    X, y = data
    _, folder = found
    for other in ({"seed": 3}, {"X": X * 2}, {"settings": replace(SMALL, level=0.2)}, {"groups": np.arange(30) // 2}):
        arguments: dict[str, Any] = {"X": X, "y": y, "settings": SMALL, "seed": 2, **other}
        with pytest.raises(GeosoilError) as caught:
            search(**arguments, folder=folder, device="cpu")
        assert caught.value.code == "GS-SEARCH-OTHER"


def test_a_file_that_is_no_record_is_refused(data: tuple[Array, Array], tmp_path: Path) -> None:
    (tmp_path / "trials.log").write_text("soc,clay\n1,2\n")
    with pytest.raises(GeosoilError) as caught:
        search(*data, SMALL, folder=tmp_path, device="cpu")
    assert caught.value.code == "GS-SEARCH-FILE"
    with pytest.raises(GeosoilError) as caught:
        CnnSettings.load(tmp_path / "trials.log")
    assert caught.value.code == "GS-SEARCH-FILE"


def test_a_space_without_a_network_says_so() -> None:
    X, y = made(p=3)
    with pytest.raises(GeosoilError) as caught:
        search(X, y, replace(SMALL, most_weights=1))
    assert caught.value.code == "GS-SEARCH-SPACE"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 300))
def test_every_draw_lies_in_the_space_and_comes_back_from_its_parameters(seed: int, bands: int) -> None:
    space = Space(bands, 90, most_weights=10**9, most_multiplications=10**12)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    trial = study.ask()
    try:
        drawn = space.draw(trial)
    except UsageError:
        return
    spec = drawn.spec(bands)
    assert 1 <= len(spec.conv) <= 4
    assert 1 <= len(spec.dense) <= 5
    assert drawn.schedule.batch <= 45
    assert space.params(drawn) == trial.params
    assert space.work(drawn.to_meta()) == spec.multiplications


def test_large_networks_are_not_drawn() -> None:
    space = Space(211, 100, most_weights=50_000, most_multiplications=200_000)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    codes: Counter[str] = Counter()
    for _ in range(60):
        try:
            spec = space.draw(study.ask()).spec(211)
            assert spec.weights <= 50_000
            assert spec.multiplications <= 200_000
        except UsageError as error:
            codes[error.code] += 1
    assert set(codes) == {"GS-NET-LENGTH", "GS-NET-LARGE"}


def test_a_trial_is_worse_when_its_errors_are_and_not_when_one_of_them_is() -> None:
    rng = np.random.default_rng(0)
    reference = rng.chisquare(1, 60)
    part = np.where(np.arange(60) < 20, 1.0, np.nan)
    assert worse(reference * 4 * part, reference, 0.1)
    assert not worse(reference / 4 * part, reference, 0.1)
    assert not worse(reference * part, reference, 0.1)
    lifted = reference * part
    lifted[3] += 1000
    assert not worse(lifted, reference, 0.1)
    assert not worse(reference * 4, None, 0.1)
    assert not worse(np.where(np.arange(60) < 3, 100.0, np.nan), reference, 0.1)


def test_what_was_searched_becomes_a_head_whose_prediction_is_the_mean_of_the_folds(
    data: tuple[Array, Array], found: tuple[SearchResult, Path]
) -> None:
    X, y = data
    best = found[0].best
    head = fit_cnn(X, y, HeadSettings(folds=3), None, 2, net=best, device="cpu")
    assert (head.kind, head.members, head.features) == ("cnn", 3, 24)
    fit = train_folds(best.spec(24), X, y, fold_numbers(30, 3, seed=2), best.schedule, seed=2, device="cpu")
    assert head.rmsecv == fit.rmse
    members = []
    for place in range(3):
        own = NetHead.of("cnn", [fit.network(place)], fit.centre[place], fit.spread[place])
        members.append(own.predict(X))
    np.testing.assert_allclose(head.predict(X), np.mean(members, axis=0), rtol=1e-4, atol=1e-5)
    meta, arrays = head.state()
    np.testing.assert_array_equal(NetHead.restore(meta, arrays).predict(X), head.predict(X))
    with pytest.raises(GeosoilError) as caught:
        fit_cnn(X[:, :1], y, HeadSettings(folds=3), None, 2, net=CnnSettings(conv=(ConvBlock(4, 8),)))
    assert caught.value.code == "GS-NET-LENGTH"


@pytest.mark.parametrize("bands", [1, 2, 7, 40, 211, 2100])
def test_the_default_network_fits_spectra_of_any_length(bands: int) -> None:
    settings = CnnSettings.fitting(bands)
    assert settings.spec(bands).flat >= 1
    assert CnnSettings.from_meta(json.loads(json.dumps(settings.to_meta()))) == settings
    assert CnnSettings.fitting(211) == CnnSettings()


@pytest.mark.parametrize(
    "change", [{"trials": 0}, {"folds": 1}, {"epochs": (9, 3)}, {"first": 1.0}, {"level": 0.0}, {"together": 0}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(GeosoilError) as caught:
        replace(SMALL, **change)
    assert caught.value.code == "GS-SEARCH-SETTINGS"


def test_an_interrupt_ends_a_search_with_its_workers_and_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import signal\n"
        "import numpy as np\n"
        "from geosoil.jobs.search import SearchSettings, search\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "    rng = np.random.default_rng(0)\n"
        "    X = rng.normal(size=(60, 60)).cumsum(axis=1)\n"
        "    told = lambda done, total, message: print(message, flush=True)\n"
        f"    search(X, X[:, 4], SearchSettings(trials=500), folder={str(tmp_path / 'out')!r}, num_workers=2, "
        "progress=told)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        assert "searching" in run.stdout.readline()
        os.killpg(run.pid, signal.SIGINT)
        _, told = run.communicate(timeout=30)
    assert "GS-INTERRUPTED" in told
    assert "leaked" not in told
    assert not list((tmp_path / "out").glob("*.lock"))
