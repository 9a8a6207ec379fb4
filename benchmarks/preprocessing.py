"""Preprocessing of a tile of spectra against what libraries and plain NumPy take for the same, in one run, as ratios.

    python benchmarks/preprocessing.py            # 65,536 spectra of 285 bands, float32, one thread each
    python benchmarks/preprocessing.py --quick    # a few seconds, as the test suite runs it

The other way is what a user writes today: NumPy for absorbance, chemotools for SNV, MSC and polynomials, SciPy for
Savitzky-Golay; continuum removal, which neither has, spectrum by spectrum with SciPy's hull (on a sample of them). Both
give the same values; the run checks it. The floor is one copy of the tile.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from chemotools.baseline import PolynomialCorrection
from chemotools.scatter import MultiplicativeScatterCorrection, StandardNormalVariate
from numpy.typing import NDArray
from scipy.signal import savgol_filter
from scipy.spatial import ConvexHull

from geosoil.prep.spectra import Preprocess

#: What GF-5 keeps of its bands.
BANDS = 285
STEP_NM = 5.0
Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """Steps, and the same with libraries; `share` of the spectra for what is too slow for all."""

    steps: Sequence[str]
    other: Callable[[Array], Array]
    name: str
    share: float = 1.0


def soils(count: int) -> Array:
    """Made reflectance: slopes, features, and noise."""
    rng, x = np.random.default_rng(0), np.linspace(0, 1, BANDS)
    slopes, depth = rng.uniform(0.1, 0.4, (count, 1)), rng.uniform(0, 0.1, (count, 1))
    curve = 0.15 + slopes * np.sqrt(x) - depth * np.exp(-(((x - 0.7) / 0.03) ** 2))
    return np.asarray(curve + 0.002 * rng.standard_normal((count, BANDS)), np.float32)


def absorbance(spectra: Array) -> Array:
    return np.asarray(-np.log10(np.maximum(spectra, np.float32(1e-4))))


def snv(spectra: Array) -> Array:
    # chemotools divides by n.
    return np.asarray(StandardNormalVariate().fit_transform(spectra) * np.sqrt((BANDS - 1) / BANDS))


def savitzky_golay(spectra: Array) -> Array:
    return np.asarray(savgol_filter(spectra, 11, 2, 1, delta=STEP_NM)[:, 5:-5])


def detrend(spectra: Array) -> Array:
    return np.asarray(PolynomialCorrection(order=2).fit_transform(snv(spectra)))


def hull(spectra: Array) -> Array:
    found, places = np.empty_like(spectra), np.arange(BANDS) * STEP_NM
    below = [[places[0], -1e3], [places[-1], -1e3]]
    for row, out in zip(spectra, found, strict=True):
        corners = ConvexHull(np.vstack([np.column_stack([places, row]), below])).vertices
        top = np.sort(corners[corners < BANDS])
        out[:] = row / np.interp(places, places[top], row[top])
    return found


def cases(train: Array) -> list[Case]:
    scatter = MultiplicativeScatterCorrection(method="mean").fit(train)
    return [
        Case(["absorbance"], absorbance, "numpy"),
        Case(["snv"], snv, "chemotools"),
        Case(["sg(window=11, degree=2, derivative=1)"], savitzky_golay, "scipy"),
        Case(["msc"], lambda spectra: np.asarray(scatter.transform(spectra)), "chemotools"),
        Case(["detrend"], detrend, "chemotools", 1 / 16),
        Case(["continuum"], hull, "scipy, spectrum by spectrum", 1 / 256),
        Case(
            ["absorbance", "snv", "sg(window=11, degree=2, derivative=1)"],
            lambda spectra: savitzky_golay(snv(absorbance(spectra))),
            "numpy, chemotools, scipy",
        ),
    ]


def seconds(call: Callable[[], object], least: float) -> float:
    """Median time of a call, repeated for at least `least` seconds after one that does not count."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(case: Case, spectra: Array, least: float) -> dict[str, Any]:
    """Spectra a second of both, their ratio, and how far their values are apart."""
    fitted = Preprocess.fit(spectra[:500], 400 + STEP_NM * np.arange(BANDS), case.steps)
    out = fitted.apply(spectra)
    part = spectra[: max(16, int(len(spectra) * case.share))]
    expected = case.other(part)
    worst = float(np.abs(out[: len(part)] - expected).max() / np.abs(expected).max())
    assert worst < 2e-5, (case.steps, worst)
    ours = len(spectra) / seconds(lambda: fitted.apply(spectra, out=out), least)
    others = len(part) / seconds(lambda: case.other(part), least)
    copies = len(spectra) / seconds(lambda: spectra.copy(), least / 4)
    return {
        "steps": list(case.steps),
        "spectra_per_s": round(ours),
        "other": case.name,
        "other_spectra_per_s": round(others),
        "ratio": round(ours / others, 1),
        "times_a_copy": round(copies / ours, 1),
        "worst_relative_difference": worst,
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    spectra = soils(2048 if quick else 65_536)
    found = [measure(case, spectra, 0.05 if quick else 3.0) for case in cases(spectra[:500])]
    print(json.dumps({"cores": os.cpu_count(), "bands": BANDS, "spectra": len(spectra), "cases": found}, indent=1))


if __name__ == "__main__":
    main()
