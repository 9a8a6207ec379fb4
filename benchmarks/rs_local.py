"""RS-LOCAL over a library of 50,422 spectra, and its fits against a loop with ikpls, in one run.

    python benchmarks/rs_local.py            # about half a million fits, a minute
    python benchmarks/rs_local.py --quick    # a few seconds, as the test suite runs it

Library and local samples are made: smooth spectra of eight substances that overlap, standardised row by row. One tenth
of the library has the local relation between spectra and response, the rest the opposite one. `search` is the whole
search with as many threads as the process may use. The loop takes subsets of the first round the way one would write it
with ikpls (gather, fit ten components, predict the local samples, error), on one thread; its time for the whole search
is that of a fit times the fits. `ratio` compares the two; `ratio_one_thread` compares a fit with ours on one thread.
The run checks that both ways give the same errors, and that one and two threads give the same samples.
"""

from __future__ import annotations

import argparse
import json
import os

# Before numpy: the loop's products are too small for the threads of a BLAS, which slow it down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
import warnings
from typing import Any

import numpy as np
from ikpls.numpy import PLS
from numpy.typing import NDArray

from geosoil.kernels import subsets
from geosoil.kernels.pls1 import LANES, padded
from geosoil.prep.rs_local import RsLocal, rs_local

Array = NDArray[np.float64]
BANDS, LOCAL = 211, 30


def made(n: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Spectra (n, 211), response (n,), and which samples have the local relation."""
    rng = np.random.default_rng(0)
    band = np.linspace(0, 1, BANDS)
    peaks = np.exp(-(((band - rng.random((8, 1))) / (0.02 + 0.2 * rng.random((8, 1)))) ** 2))
    amounts = rng.gamma(2.0, size=(n, 8))
    X = amounts @ peaks + 0.01 * rng.standard_normal((n, BANDS))
    X = (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, ddof=1, keepdims=True)
    like = rng.random(n) < 0.1
    return X, np.where(like, 1, -1) * (amounts[:, 0] - 2) + 0.1 * rng.standard_normal(n), like


def loop(X: Array, y: Array, local: Array, wanted: Array, drawn: NDArray[np.int32], components: int) -> Array:
    """Error of each subset, with ikpls."""
    found = np.empty(len(drawn))
    for place, rows in enumerate(drawn):
        model = PLS(algorithm=1, center_X=True, center_Y=True, scale_X=False, scale_Y=False)
        model.fit(X[rows], y[rows], components)
        found[place] = np.sqrt(np.mean((model.predict(local, components)[:, 0] - wanted) ** 2))
    return found


def ours(
    X: Array, y: Array, local: Array, wanted: Array, fits: int, settings: RsLocal
) -> tuple[NDArray[np.int32], Array]:
    """Subsets and their errors from the kernel, on this thread."""
    wide, near = (np.zeros((len(rows), padded(BANDS, LANES)), np.float32) for rows in (X, local))
    middle = X.mean(axis=0)
    wide[:, :BANDS], near[:, :BANDS] = X - middle, local - middle
    drawn, score = np.empty((fits, settings.k), np.int32), np.empty(fits)
    subsets.judge(
        wide, y.astype(np.float32), near, wanted.astype(np.float32), BANDS, settings.components, True, False,
        np.uint64(1), 0, drawn, score,
    )  # fmt: skip
    return drawn, score


def measure(n: int, fits: int, settings: RsLocal) -> dict[str, Any]:
    """Seconds and ratios."""
    X, y, like = made(n + LOCAL)
    local = np.flatnonzero(like)[:LOCAL]
    rest = np.delete(np.arange(n + LOCAL), local)
    X, y, local_X, local_y = X[rest], y[rest], X[local], y[local]
    rs_local(X[:150], y[:150], local_X, local_y, settings)  # compiles
    ours(X, y, local_X, local_y, 2, settings)

    start = time.perf_counter()
    found = rs_local(X, y, local_X, local_y, settings)
    search = time.perf_counter() - start
    start = time.perf_counter()
    drawn, score = ours(X, y, local_X, local_y, fits, settings)
    single = (time.perf_counter() - start) / fits
    start = time.perf_counter()
    theirs = loop(X, y, local_X, local_y, drawn, settings.components)
    theirs_fit = (time.perf_counter() - start) / fits

    gap = float(np.abs(score / theirs - 1).max())
    assert gap < 1e-4, gap
    one, two = (rs_local(X[:3000], y[:3000], local_X, local_y, settings, workers=count).kept for count in (1, 2))
    assert np.array_equal(one, two)
    return {
        "library": n,
        "bands": BANDS,
        "threads": len(os.sched_getaffinity(0)),
        "fits": found.fits,
        "rounds": len(found.rounds),
        "search_s": round(search, 2),
        "search_us_per_fit": round(1e6 * search / found.fits, 1),
        "one_thread_us_per_fit": round(1e6 * single, 1),
        "ikpls_us_per_fit": round(1e6 * theirs_fit, 1),
        "ikpls_search_s": round(theirs_fit * found.fits, 1),
        "ratio": round(theirs_fit * found.fits / search, 1),
        "ratio_one_thread": round(theirs_fit / single, 1),
        "worst_relative_difference": gap,
        "share_with_local_relation": {
            "library": round(float(like[rest].mean()), 3),
            "kept": round(float(like[rest][found.kept].mean()), 3),
        },
        "error": {"first_round": round(found.rounds[0].mean, 3), "last_round": round(found.rounds[-1].mean, 3)},
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = measure(600, 50, RsLocal(b=5, r=0.2)) if quick else measure(50_422, 5000, RsLocal())
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
