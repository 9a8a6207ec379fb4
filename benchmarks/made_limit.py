"""How much the satellite spectra of a made scene tell of the soil, however many samples there are.

    python benchmarks/made_limit.py              # 6,000 samples of a GF-5B scene of 300 x 300 cells; three minutes
    python benchmarks/made_limit.py --quick      # a small scene and few samples, to see that it works

Fusion is to close the gap between satellite and laboratory spectra, which no fusion does farther than the satellite's
spectra hold what is wanted. Samples of the made landscape cost nothing: the error of the satellite's spectra with
thousands of them, on held-out samples, is what a model of some hundred may hope for. Errors are RMSE, in the
properties' units; the share is that of the gap between satellite and laboratory with few samples.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

import geosoil
from geosoil.jobs.pairing import build_pairs
from geosoil.jobs.pairs import PairSet
from geosoil.testing import Landscape, make_product, make_spectral_samples

EXAMPLE = Path(__file__).parents[1] / "examples" / "gaofen"


def make_pairs(folder: Path, family: str, edge: int, count: int) -> PairSet:
    """Samples with spectra of the satellite, as the tutorial makes them, and of the laboratory."""
    landscape = Landscape(shape=(edge, edge), seed=3)
    product = make_product(folder / "delivery", family, (edge, edge), landscape=landscape, archive=".tar.gz").path
    landscape.write_dem(folder / "dem.tif")
    make_spectral_samples(landscape, count, folder=folder / "lab")
    shutil.copy(EXAMPLE / "study.toml", folder)
    geosoil.calibrate(product, folder / "cube.tif", dem=folder / "dem.tif", destripe=True, splice=True)
    return build_pairs(geosoil.load_study(folder / "study.toml"))


def pls(X: NDArray[Any], y: NDArray[Any]) -> Any:
    """PLSR with as many components as five folds say."""
    counts = [one for one in (2, 4, 6, 8, 10, 14, 18, 24, 30) if one < min(X.shape[1], 0.75 * len(y))]
    model = make_pipeline(StandardScaler(), PLSRegression(scale=False))
    return _searched(model, {"plsregression__n_components": counts}, 5).fit(X, y)


def svr(X: NDArray[Any], y: NDArray[Any]) -> Any:
    """SVR with the penalty and width that three folds say."""
    return _searched(
        make_pipeline(StandardScaler(), SVR()), {"svr__C": [10, 100, 1000], "svr__gamma": [1e-4, 1e-3]}, 3
    ).fit(X, y)


def _searched(model: Any, grid: dict[str, list[Any]], folds: int) -> Any:
    return GridSearchCV(model, grid, cv=folds, scoring="neg_mean_squared_error")


def rmse(model: Any, X: NDArray[Any], y: NDArray[Any]) -> float:
    """Error on held-out samples."""
    return float(np.sqrt(np.mean((np.ravel(model.predict(X)) - y) ** 2)))


def measure(pairs: PairSet, few: int, repeats: int) -> dict[str, Any]:
    """All errors, by property."""
    assert pairs.laboratory is not None
    rng = np.random.default_rng(0)
    order = rng.permutation(len(pairs.names))
    test, pool = np.split(order, [len(order) * 3 // 20])
    half = pool[: len(pool) // 2]
    found: dict[str, Any] = {"few": few, "many": len(pool), "held_out": len(test), "properties": {}}
    for place, soil in enumerate(pairs.properties):
        y = pairs.values[:, place]
        errors = []
        for _ in range(repeats):
            drawn = rng.choice(pool, few, replace=False)
            errors.append(
                [rmse(pls(X[drawn], y[drawn]), X[test], y[test]) for X in (pairs.satellite, pairs.laboratory)]
            )
        (satellite, laboratory), spread = np.mean(errors, axis=0), np.std(errors, axis=0)
        many = {"plsr": pls(pairs.satellite[pool], y[pool]), "svr_of_half": svr(pairs.satellite[half], y[half])}
        limits = {name: rmse(model, pairs.satellite[test], y[test]) for name, model in many.items()}
        found["properties"][soil.code] = {
            "unit": soil.unit,
            "few": {
                "satellite": [round(float(satellite), 2), round(float(spread[0]), 2)],
                "laboratory": [round(float(laboratory), 2), round(float(spread[1]), 2)],
            },
            "many": {name: round(error, 2) for name, error in limits.items()},
            "share_of_gap": {
                name: round(float((satellite - error) / (satellite - laboratory)), 2) for name, error in limits.items()
            },
        }
    return found


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="geosoil-benchmark-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = make_pairs(Path(folder), *(("ZY1E", 64, 160) if quick else ("GF5B", 300, 6000)))
        print(json.dumps(measure(pairs, *((40, 1) if quick else (130, 8))), indent=1))


if __name__ == "__main__":
    main()
