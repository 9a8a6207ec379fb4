"""CARS equals libPLS where it is deterministic, finds bands that matter, and repeats with its seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.signal import savgol_filter
from sklearn.cross_decomposition import PLSRegression

from geosoil.errors import GeosoilError
from geosoil.prep.cars import Cars, select
from geosoil.prep.pls import fit_pls

Array = NDArray[np.float64]
HERE = Path(__file__).parents[1] / "data" / "chemometrics"
DETERMINISTIC = Cars(mode="deterministic")


def made(seed: int = 0, n: int = 80, p: int = 60) -> tuple[Array, Array]:
    """Independent bands of which 10 and 40 make the response."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    return X, 2 * X[:, 10] - X[:, 40] + 0.3 * rng.standard_normal(n)


def plain_path(X: Array, y: Array, runs: int, most: int, folds: int) -> tuple[list[int], list[float]]:
    """The deterministic path with scikit-learn, one fit for each component count."""
    p = X.shape[1]
    fold = np.empty(len(y), int)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % folds
    bands, counts, errors = np.arange(p), [], []
    for run in range(1, runs + 1):
        counts.append(len(bands))
        rmse = []
        for components in range(1, min(most, len(bands)) + 1):
            found = np.empty(len(y))
            for one in range(folds):
                model = PLSRegression(components, scale=False).fit(X[fold != one][:, bands], y[fold != one])
                found[fold == one] = model.predict(X[fold == one][:, bands]).ravel()
            rmse.append(np.sqrt(np.mean((found - y) ** 2)))
        errors.append(min(rmse))
        weight = np.abs(PLSRegression(min(most, len(bands)), scale=False).fit(X[:, bands], y).coef_[0])
        keep = int(np.ceil(p * (2 / p) ** (run / (runs - 1)) - 1e-9))
        bands = np.sort(bands[np.argsort(-weight)[:keep]])
    return counts, errors


def test_the_deterministic_path_equals_a_plain_loop_with_scikit_learn() -> None:
    table = pd.read_csv(HERE / "gasoline.csv").to_numpy()
    X, y = np.ascontiguousarray(table[:, 1::4]), table[:, 0]
    counts, errors = plain_path(X, y, 12, 5, 5)
    found = select(X, y, Cars(mode="deterministic", runs=12, components=5))
    assert found.path.bands[0].tolist() == counts
    np.testing.assert_allclose(found.path.rmsecv[0], errors, rtol=1e-8)
    assert found.run == int(np.argmin(errors)) + 1
    assert found.support.sum() == counts[found.run - 1]


@pytest.mark.parametrize("settings", [DETERMINISTIC, Cars(), Cars(repeats=5), Cars(repeats=5, combine="best")])
def test_the_bands_that_matter_are_found(settings: Cars) -> None:
    for seed in range(3):
        X, y = made(seed)
        found = select(X, y, settings, seed)
        assert found.support[[10, 40]].all()
        assert found.support.sum() < 20
        assert found.rmsecv < 0.45 < np.sqrt(np.mean((y - y.mean()) ** 2))
        assert found.path.rmsecv[0, 0] > 1.1 * found.rmsecv


def test_frequencies_tell_bands_that_matter_from_those_that_were_lucky() -> None:
    X, y = made()
    found = select(X, y, Cars(repeats=10), seed=1)
    assert found.frequency[[10, 40]].tolist() == [1, 1]
    assert np.delete(found.frequency, [10, 40]).max() < 1
    assert np.array_equal(found.support, found.frequency >= found.threshold)
    assert found.path.rmsecv.shape == (10, 50)


def test_the_model_of_a_selection_is_the_pls_of_its_bands() -> None:
    X, y = made()
    found = select(X, y, DETERMINISTIC)
    model = fit_pls(X[:, found.support], y, found.components)
    np.testing.assert_allclose(
        X @ found.coefficients + found.intercept, model.predict(X[:, found.support])[-1], rtol=1e-10
    )
    assert (found.coefficients != 0).tolist() == found.support.tolist()
    run = found.path.bands[found.repeat, found.run - 1], found.path.rmsecv[found.repeat, found.run - 1]
    assert run == (found.support.sum(), pytest.approx(found.rmsecv))


def test_sets_shrink_to_two_bands_and_stochastic_ones_below() -> None:
    X, y = made()
    assert select(X, y, DETERMINISTIC).path.bands[0, -1] == 2
    bands = select(X, y, Cars(repeats=4), 3).path.bands
    assert (np.diff(bands, axis=1) <= 0).all()
    assert (bands[:, 0] == 60).all()
    assert set(bands[:, -1]) <= {1, 2}


@pytest.mark.parametrize(("rounding", "offset"), [("ceil", 1), ("round", 1), ("floor", 1), ("ceil", 0), ("floor", 0)])
def test_numbers_of_bands_follow_the_schedule(rounding: str, offset: int) -> None:
    X, y = made(p=60)
    found = select(X, y, Cars(mode="deterministic", runs=10, rounding=rounding, offset=offset)).path.bands[0]
    shares = 60 * (2 / 60) ** ((np.arange(1, 10) - 1 + offset) / 9)
    roundings: dict[str, Callable[[Array], Array]] = {"ceil": np.ceil, "round": np.round, "floor": np.floor}
    whole = roundings[rounding](shares.round(9))
    assert found[1:].tolist() == whole.tolist()


def test_a_seed_repeats_and_another_one_differs() -> None:
    X, y = made()
    first, again, other = (select(X, y, Cars(repeats=2), seed) for seed in (4, 4, 5))
    assert np.array_equal(first.path.rmsecv, again.path.rmsecv)
    assert np.array_equal(first.support, again.support)
    assert not np.array_equal(first.path.bands, other.path.bands)


def test_fewer_bands_within_one_standard_error() -> None:
    X, y = made()
    least, sparing = select(X, y, DETERMINISTIC), select(X, y, Cars(mode="deterministic", rule="one_se"))
    assert sparing.run >= least.run
    assert sparing.support.sum() <= least.support.sum()
    assert sparing.support[[10, 40]].all()


def test_noise_selects_well_on_its_own_samples_only() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 200)), rng.standard_normal(60)
    found = select(X[:40], y[:40], DETERMINISTIC)
    held_out = X[40:] @ found.coefficients + found.intercept
    assert found.rmsecv < 0.6 < np.sqrt(np.mean((held_out - y[40:]) ** 2))


def test_copies_of_samples_flatter_a_selection_unless_they_are_grouped() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((25, 60)), rng.standard_normal(25)
    X, y, groups = np.vstack([X, X]), np.concatenate([y, y]), np.tile(np.arange(25), 2)
    settings = Cars(mode="deterministic", components=5)
    assert select(X, y, settings).path.rmsecv[0, 0] < 0.8 * select(X, y, settings, groups=groups).path.rmsecv[0, 0]


def test_scaled_bands_make_the_unit_of_a_band_irrelevant() -> None:
    X, y = made()
    units = 10.0 ** np.random.default_rng(2).integers(-3, 3, 60)
    for mode in ("deterministic", "stochastic"):
        settings = Cars(mode=mode, scale=True)
        assert np.array_equal(select(X * units, y, settings).support, select(X, y, settings).support)


Call = Callable[[Array, Array], object]
BAD: list[tuple[str, Call]] = [
    ("GS-CARS", lambda X, y: Cars(mode="lucky")),
    ("GS-CARS", lambda X, y: Cars(runs=1)),
    ("GS-CARS", lambda X, y: Cars(sample_ratio=0)),
    ("GS-CARS", lambda X, y: select(X[:, :2], y)),
    ("GS-FOLDS", lambda X, y: select(X, y, groups=np.arange(80) // 40)),
    ("GS-SPECTRA-NAN", lambda X, y: select(np.where(np.isin(X, X[3, 3]), np.nan, X), y)),
    ("GS-TARGET-CONSTANT", lambda X, y: select(X, y * 0)),
]


@pytest.mark.parametrize(("code", "call"), BAD)
def test_settings_and_data_that_make_no_sense_are_refused(code: str, call: Call) -> None:
    with pytest.raises(GeosoilError) as caught:
        call(*made())
    assert caught.value.code == code


if "GEOSOIL_DATA" in os.environ:
    REFERENCE = Path(os.environ["GEOSOIL_DATA"]) / "reference"

    def test_the_deterministic_path_equals_libpls() -> None:
        absorbance = pd.read_csv(REFERENCE / "nirsoil_spectra_absorbance.csv.gz").to_numpy()[:, 1:]
        properties = pd.read_csv(REFERENCE / "nirsoil_properties.csv")
        snv = absorbance - absorbance.mean(axis=1, keepdims=True)
        snv /= snv.std(axis=1, ddof=1, keepdims=True)
        train = (properties["train"] == 1) & properties["Ciso"].notna()
        X, y = savgol_filter(snv, 11, 2, 1, axis=1)[train, 5:-5], properties["Ciso"][train].to_numpy()
        path = pd.read_csv(REFERENCE / "cars_libpls_simplified_nirsoil_ciso_path.csv")
        bands = pd.read_csv(REFERENCE / "cars_libpls_simplified_nirsoil_ciso_selected.csv")
        found = select(X, y, DETERMINISTIC)
        assert found.path.bands[0].tolist() == path["nvar"].tolist()
        assert found.path.components[0].tolist() == path["nlv"].tolist()
        np.testing.assert_allclose(found.path.rmsecv[0], path["rmsecv"], rtol=1e-11)
        assert (found.run, found.support.sum(), round(found.rmsecv, 4)) == (31, 20, 1.1086)
        assert (np.flatnonzero(found.support) + 1).tolist() == bands["index1"].tolist()
        # Their coefficients are those of all ten components that the rounds use.
        np.testing.assert_allclose(fit_pls(X[:, found.support], y, 10).coef[-1], bands["coef"], rtol=1e-9)
