"""CARS and a single PLS fit against what a user would write with scikit-learn and with ikpls, in one run.

    OMP_NUM_THREADS=1 python benchmarks/cars.py            # 548 x 690 as a library, 67 x 570 as a fusion study
    OMP_NUM_THREADS=1 python benchmarks/cars.py --quick    # a few seconds, as the test suite runs it

All ways walk the same deterministic path (50 rounds, 5 folds, up to 10 components); the run checks that they find the
same. `scikit_learn` fits each component count of each fold anew. `ikpls` takes all counts from one fit.
`fixed_count` is what packages for band selection do: scikit-learn's `cross_val_score` of one component count, which is
less work and another error curve, so only its time is told. Ours takes one thread; the
variable holds the others to one as well.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from ikpls.numpy import PLS
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import cross_val_score

from geosoil.kernels import pls as kernel
from geosoil.prep.cars import Cars, select

Array = NDArray[np.float64]
RUNS, FOLDS, MOST = 50, 5, 10


def spectra(n: int, p: int) -> tuple[Array, Array]:
    """Smooth spectra of eight overlapping substances, one of which is asked for."""
    rng = np.random.default_rng(0)
    band = np.linspace(0, 1, p)
    peaks = np.exp(-(((band - rng.random((8, 1))) / (0.02 + 0.1 * rng.random((8, 1)))) ** 2))
    amounts = rng.gamma(2.0, size=(n, 8))
    return amounts @ peaks + 0.01 * rng.standard_normal((n, p)), amounts[:, 0] + 0.1 * rng.standard_normal(n)


def seconds(call: Callable[[], object], least: float) -> float:
    """Median time of a call, repeated for at least `least` seconds after one that does not count unless it is long."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first > least:
        return first
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def scikit_learn_errors(X: Array, y: Array, fold: NDArray[np.int64], most: int) -> Array:
    """Predictions (most, n) of held-out samples, one fit a component count."""
    found = np.empty((most, len(y)))
    for one in range(FOLDS):
        for count in range(1, most + 1):
            model = PLSRegression(count, scale=False).fit(X[fold != one], y[fold != one])
            found[count - 1, fold == one] = model.predict(X[fold == one]).ravel()
    return found


def ikpls_errors(X: Array, y: Array, fold: NDArray[np.int64], most: int) -> Array:
    """The same from one fit a fold."""
    found = np.empty((most, len(y)))
    for one in range(FOLDS):
        model = PLS(algorithm=1, scale_X=False, scale_Y=False)
        model.fit(X[fold != one], y[fold != one], most)
        found[:, fold == one] = model.predict(X[fold == one])[..., 0]
    return found


def path(X: Array, y: Array, way: str, runs: int) -> Array:
    """RMSECV of each round, (runs,)."""
    fold = np.empty(len(y), np.int64)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % FOLDS
    p = X.shape[1]
    bands, errors = np.arange(p), []
    for run in range(1, runs + 1):
        here, most = X[:, bands], min(MOST, len(bands))
        if way == "fixed_count":
            model = PLSRegression(most, scale=False)
            errors.append(-cross_val_score(model, here, y, cv=FOLDS, scoring="neg_root_mean_squared_error").mean())
        else:
            held_out = (scikit_learn_errors if way == "scikit_learn" else ikpls_errors)(here, y, fold, most)
            errors.append(float(np.sqrt(((held_out - y) ** 2).mean(axis=1)).min()))
        if way == "ikpls":
            whole = PLS(algorithm=1, scale_X=False, scale_Y=False)
            whole.fit(here, y, most)
            weight = np.abs(whole.B[-1, :, 0])
        else:
            weight = np.abs(PLSRegression(most, scale=False).fit(here, y).coef_[0])
        keep = int(np.ceil(p * (2 / p) ** (run / (runs - 1)) - 1e-9))
        bands = np.sort(bands[np.argsort(-weight, kind="stable")[:keep]])
    return np.array(errors)


def measure(n: int, p: int, runs: int, least: float) -> dict[str, Any]:
    """Seconds of each way, and their ratios to ours."""
    X, y = spectra(n, p)
    settings = Cars(mode="deterministic", runs=runs, components=MOST, folds=FOLDS)
    ours = select(X, y, settings).path.rmsecv[0]
    worst = {way: float(np.abs(path(X, y, way, runs) / ours - 1).max()) for way in ("scikit_learn", "ikpls")}
    assert max(worst.values()) < 1e-6, worst
    base = seconds(lambda: select(X, y, settings), least)
    found = {way: seconds(partial(path, X, y, way, runs), least) for way in (*worst, "fixed_count")}
    return {
        "samples": n,
        "bands": p,
        "rounds": runs,
        "geosoil_s": round(base, 4),
        **{f"{way}_s": round(value, 3) for way, value in found.items()},
        **{f"{way}_ratio": round(value / base, 1) for way, value in found.items()},
        "worst_relative_difference": max(worst.values()),
        "single_fit": single_fit(X, y, least),
    }


def single_fit(X: Array, y: Array, least: float) -> dict[str, float]:
    """Microseconds of one fit of ten components on 100 samples at most, as searches for samples make them."""
    X, y = np.ascontiguousarray(X[:100]), y[:100]
    rows, columns, out = np.arange(len(y)), np.arange(X.shape[1]), np.empty(X.shape[1])
    ours = seconds(lambda: kernel.coefficients(X, y, rows, columns, MOST, out), least / 5)
    ikpls = seconds(lambda: PLS(algorithm=1, scale_X=False, scale_Y=False).fit(X, y, MOST), least / 5)
    sklearn = seconds(lambda: PLSRegression(MOST, scale=False).fit(X, y), least / 5)
    return {
        "geosoil_us": round(1e6 * ours, 1),
        "ikpls_ratio": round(ikpls / ours, 1),
        "scikit_learn_ratio": round(sklearn / ours, 1),
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    cases = [(40, 37, 6)] if quick else [(548, 690, RUNS), (67, 570, RUNS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        measured = [measure(*case, least=0.01 if quick else 3.0) for case in cases]
    print(json.dumps({"bands": cases[0][1], "cases": measured}, indent=1))


if __name__ == "__main__":
    main()
