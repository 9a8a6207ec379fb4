"""From the pH of a library to another property of few soils (He et al. 2025), against models without the library.

    OMP_NUM_THREADS=1 python benchmarks/property_transfer.py FOLDER    # real sets; hours, mostly the direct networks
    OMP_NUM_THREADS=1 python benchmarks/property_transfer.py --quick   # made spectra, to see that it works

FOLDER holds the data sets that `open_library.toml` names. For each set of 60 to 130 soils the networks learn pH on all
other sets that cover its bands. Its organic carbon (logarithm) and clay, and net counts of copper, zinc and lead in the
X-ray fluorescence of the tropical set, over both its fields and within each, are then predicted from three quarters of
its samples for the last quarter, in random rounds. Spectra are the logarithm of reflectance in bands of 10 nm.

`plsr`: components by 5-fold search over 1 to 50. `svr`: penalty, width and tube by Bayesian search. `direct`: the
residual network on the samples alone. `published`: dense layers tuned behind frozen convolutions. `joint`: our default.
Errors are RMSE over the SD of all values of a target, so that targets can be averaged; a win is a smaller mean error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.net_training import Training, fit_network
from geosoil.models.resnet import ResNetSpec
from geosoil.models.source import Source
from geosoil.models.tuning import Pretrained, PretrainSettings, TuneSettings, fit_tuned, pretrain
from geosoil.prep.statistics import describe
from geosoil.score import rpd_class, score

Array = NDArray[np.float64]
#: Sets, the range of bands that they are compared on (nm), and the sets that may lend pH on it.
VISIBLE, NEAR = (440.0, 2150.0), (1000.0, 2400.0)
LENDERS = {
    VISIBLE: ("csiro", "ssp_460", "sl_125", "sc_93", "tropical"),
    NEAR: ("csiro", "ssp_460", "sl_125", "sc_93", "sa_112", "rp_62"),
}
TARGETS = {"csiro": VISIBLE, "sl_125": VISIBLE, "sc_93": VISIBLE, "tropical": VISIBLE, "sa_112": NEAR, "rp_62": NEAR}
#: Energies of net counts [keV]; half-width of a peak, and width of the background beside it.
PEAKS, HALF, SIDE = {"Cu": 8.05, "Zn": 8.64, "Pb": 10.55}, 0.13, 0.10
STEP = 10.0


@dataclass(frozen=True)
class Soils:
    """One data set: wavelengths (nm), reflectance (n, p), and values by property."""

    wavelength: Array
    reflectance: Array
    values: dict[str, Array]
    field: Array | None = None

    def spectra(self, span: tuple[float, float]) -> Array:
        """Logarithm of reflectance, mean over bands of 10 nm."""
        fine = np.arange(span[0], span[1] - 1, 2.0)
        rows = np.array([np.interp(fine, self.wavelength, one) for one in self.reflectance])
        width = round(STEP / 2)
        whole = rows[:, : rows.shape[1] // width * width]
        means: Array = whole.reshape(len(rows), -1, width).mean(axis=2)
        return np.log(np.clip(means, 1e-4, None))


def wide(frame: pd.DataFrame) -> tuple[Array, Array]:
    """Columns whose name is a number: these numbers, and the values."""
    names = [name for name in frame.columns if str(name).replace(".", "", 1).isdigit()]
    return np.array([float(name) for name in names]), frame[names].to_numpy(np.float64)


def net_counts(energy: Array, counts: Array, peak: float) -> Array:
    """Counts of a peak above the straight line between its two sides."""
    inside = np.abs(energy - peak) <= HALF
    sides = [np.abs(energy - peak - sign * (HALF + SIDE / 2)) <= SIDE / 2 for sign in (-1, 1)]
    (x0, y0), (x1, y1) = ((energy[one].mean(), counts[:, one].mean(axis=1)) for one in sides)
    base = y0[:, None] + (y1 - y0)[:, None] * (energy[inside] - x0) / (x1 - x0)
    return np.asarray((counts[:, inside] - base).sum(axis=1))


def real(folder: Path) -> dict[str, Soils]:
    """The sets that lend or take."""
    frame = pd.read_parquet(folder / "australia-csiro-visnir" / "spectra.parquet")
    columns = {"pH": "ph", "SOC": "organic_carbon_pct", "clay": "clay_pct"}
    sets = {"csiro": Soils(*wide(frame), {name: frame[one].to_numpy(float) for name, one in columns.items()})}
    for name in ("ssp_460", "sl_125", "sc_93", "sa_112", "rp_62"):
        frame = pd.read_parquet(folder / "limesoda-visnir" / f"{name}.parquet")
        columns = {"pH": "ph", "SOC": "soc" if "soc" in frame else "som", "clay": "clay"}
        nm, percent = wide(frame)
        sets[name] = Soils(nm, percent / 100, {one: frame[column].to_numpy(float) for one, column in columns.items()})
    home = folder / "tropical-soils-fusion"
    nm, percent = wide(pd.read_parquet(home / "vnir.parquet"))
    frame = pd.read_csv(home / "fertility.csv")
    energy, counts = wide(pd.read_parquet(home / "xrf.parquet"))
    columns = {"pH": "ph_cacl2", "SOC": "organic_matter_g_per_dm3", "clay": "clay_g_per_dm3"}
    values = {name: frame[one].to_numpy(float) for name, one in columns.items()}
    values.update({f"XRF {name}": net_counts(energy, counts, peak) for name, peak in PEAKS.items()})
    sets["tropical"] = Soils(nm, percent / 100, values, frame["field"].to_numpy(float))
    return sets


def made() -> dict[str, Soils]:
    """Small sets with absorptions that answer to the properties."""
    rng, nm = np.random.default_rng(0), np.arange(430.0, 2420.0, 10.0)
    peaks = np.exp(-(((nm - np.array([[560.0], [1450], [1910], [2200]])) / 60) ** 2))
    found = {}
    for name in ("csiro", "ssp_460", "sl_125"):
        amounts = rng.gamma(3.0, 0.1, (40, 4))
        properties = {"pH": 4 + amounts[:, 2] * 4, "SOC": 0.2 + amounts[:, 0], "clay": 60 * amounts[:, 3]}
        noise = 0.01 * rng.standard_normal((40, len(nm)))
        found[name] = Soils(nm, 0.5 * np.exp(-amounts @ peaks + noise), properties)
    return found


@dataclass(frozen=True)
class Case:
    """A target: spectra, values on the scale of the fit, and the set that it is from."""

    name: str
    owner: str
    X: Array
    y: Array


def cases(sets: dict[str, Soils]) -> Iterator[Case]:
    """All targets; those within a field last."""
    for owner in (one for one in TARGETS if one in sets):
        X = sets[owner].spectra(TARGETS[owner])
        for name, y in sets[owner].values.items():
            if name != "pH":
                yield Case(f"{owner} {name}", owner, X, np.log(y) if name == "SOC" else y)
    if "tropical" in sets:
        soils = sets["tropical"]
        X = soils.spectra(VISIBLE)
        for number in (1, 2):
            rows = soils.field == number
            for name in PEAKS:
                yield Case(
                    f"tropical XRF {name} field {number}", "tropical", X[rows], soils.values[f"XRF {name}"][rows]
                )


def source_of(sets: dict[str, Soils], owner: str) -> Source:
    """pH of all sets but one, on its bands."""
    span = TARGETS[owner]
    lenders = [one for one in LENDERS[span] if one != owner and one in sets]
    X = np.vstack([sets[one].spectra(span) for one in lenders])
    y = np.concatenate([sets[one].values["pH"] for one in lenders])
    origin = np.repeat(np.arange(len(lenders)), [len(sets[one].reflectance) for one in lenders])
    return Source(X, y, False, origin.astype(np.int64))


def pretrained(source: Source, path: Path | None, settings: PretrainSettings) -> Pretrained:
    """Networks of a source, from the cache if they are there."""
    if path is not None and path.with_suffix(".json").exists():
        return Pretrained.restore(json.loads(path.with_suffix(".json").read_text()), load_file(path))
    found = pretrain(source, settings)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        meta, arrays = found.state()
        save_file({name: np.ascontiguousarray(one) for name, one in arrays.items()}, path)
        path.with_suffix(".json").write_text(json.dumps(meta))
    return found


def methods(training: Training) -> dict[str, Callable[[Array, Array, Callable[[], Pretrained], int], Head]]:
    """What is compared; networks of a source are made when they are first asked for."""
    plsr, svr = HeadSettings("plsr", folds=5, most_components=50), HeadSettings("svr", search="bayes")
    published = TuneSettings("published", training=training)

    def direct(X: Array, y: Array, _: Callable[[], Pretrained], seed: int) -> Head:
        return fit_network("resnet", ResNetSpec(X.shape[1]), X, y, training, 1, None, seed)

    return {
        "plsr": lambda X, y, _, seed: fit_head(X, y, plsr, seed=seed),
        "svr": lambda X, y, _, seed: fit_head(X, y, svr, seed=seed),
        "direct": direct,
        "published": lambda X, y, source, seed: fit_tuned(X, y, source(), published, None, seed),
        "joint": lambda X, y, source, seed: fit_tuned(X, y, source(), None, None, seed),
    }


def rounds(n: int, count: int) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Random splits of n samples in three quarters and one."""
    for number in range(count):
        order = np.random.default_rng([99, number]).permutation(n)
        yield number, order[round(n / 4) :], order[: round(n / 4)]


def compared(
    case: Case, source: Callable[[], Pretrained], names: list[str], count: int, training: Training
) -> dict[str, Any]:
    """Scores of each method over the rounds."""
    known, found = methods(training), {}
    for name in names:
        scores = []
        for number, train, test in rounds(len(case.y), count):
            head = known[name](case.X[train], case.y[train], source, number)
            scores.append(score(case.y[test], head.predict(case.X[test])))
        error = [one["RMSE"] / case.y.std() for one in scores]
        rpd = float(np.mean([one["RPD"] for one in scores]))
        found[name] = {
            "error": round(float(np.mean(error)), 4),
            "spread": round(float(np.std(error, ddof=1)), 4) if count > 1 else None,
            "R2": round(float(np.mean([one["R2"] for one in scores])), 3),
            "RPD": round(rpd, 2),
            "class": rpd_class(rpd),
        }
        print(f"{case.name:28}{name:12}{found[name]['error']:8.3f} R2 {found[name]['R2']:6.2f}", file=sys.stderr)
    return found


def wins(table: dict[str, dict[str, Any]], name: str, over: list[str]) -> dict[str, int]:
    """On how many targets a method has the smaller error than another, and than all."""
    errors = [{one: cell["error"] for one, cell in row.items()} for row in table.values()]
    found = {other: sum(row[name] < row[other] for row in errors) for other in over}
    return {**found, "all": sum(row[name] < min(row[other] for other in over) for row in errors)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="data sets")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--members", type=int, default=3, help="networks of a source")
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--patience", type=int, default=120)
    parser.add_argument("--cache", type=Path, help="folder for the networks of the sources")
    parser.add_argument("--only", default="plsr,svr,direct,published,joint", help="methods, with commas between")
    given = parser.parse_args()
    if not given.quick and given.folder is None:
        parser.error("give the folder of the data sets, or --quick")
    sets = made() if given.quick else real(given.folder)
    members, epochs, count = (1, 2, 2) if given.quick else (given.members, given.epochs, given.rounds)
    training = Training(epochs=epochs, patience=given.patience)
    names, table, data = given.only.split(","), {}, {}

    @cache
    def source(owner: str) -> Pretrained:
        path = None if given.cache is None else given.cache / f"{owner}.safetensors"
        return pretrained(source_of(sets, owner), path, PretrainSettings(members, training))

    for case in cases(sets):
        data[case.name] = {name: round(value, 3) for name, value in describe(case.y).items()}
        table[case.name] = compared(case, partial(source, case.owner), names, count, training)
    result: dict[str, Any] = {"schema": 1, "targets": len(table), "rounds": count, "members": members}
    if "joint" in names and len(names) > 1:
        result["wins of joint"] = wins(table, "joint", [one for one in names if one != "joint"])
    json.dump({**result, "errors": table, "data": data}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
