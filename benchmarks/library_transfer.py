"""What a spectral library gives to 30 samples of a new place: every way to use it, each data set left out in turn.

    python benchmarks/library_transfer.py FOLDER               # the real sets, which are not part of geosoil; minutes
    python benchmarks/library_transfer.py FOLDER --networks    # with ways that train networks; an hour and more
    python benchmarks/library_transfer.py --quick              # made sets, to see that it works

A site's 30 local samples are chosen by Kennard-Stone on its spectra (absorbance, standard normal variate); the library
is all other sets that cover the site's bands; the site's other samples are the test, and no choice sees them. `--draws`
adds random draws of 30. All models take absorbance after standard normal variate, but the mixtures, which normalise for
themselves. Organic carbon is fitted on logarithms. Predictions of all models are held within the range of the 30
values, widened by half of it on both sides. The change is that of the RMSE against the local PLS model, percent; above
zero is better. `against_cnn` takes the local network instead, as the published figures do (Shen et al. 2022).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from open_library import open_sets

from geosoil.models.conv_head import fit_cnn
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.mbl import fit_mbl
from geosoil.models.mixture import MixtureSettings, fit_mixture
from geosoil.models.net_training import Training
from geosoil.models.pooled import fit_pooled
from geosoil.models.source import Source
from geosoil.models.spiked import fit_spiked
from geosoil.models.tuning import Pretrained, PretrainSettings, TuneSettings, fit_tuned, pretrain
from geosoil.prep.kennard_stone import kennard_stone
from geosoil.prep.rs_local import rs_local
from geosoil.prep.spectra import Preprocess
from geosoil.score import score

Array = np.ndarray[Any, Any]

LOCAL = 30
WHOLE, NEAR = (430.0, 2490.0), (1000.0, 2400.0)
#: Sites, and the range of wavelengths [nm] that each shares with most others.
SITES = {
    "csiro": WHOLE,
    "ssp_460": WHOLE,
    "sl_125": WHOLE,
    "sc_93": WHOLE,
    "geeves": WHOLE,
    "sp_231": (440.0, 1700.0),
    "sa_112": NEAR,
    "rp_62": NEAR,
    "tropical": (440.0, 2150.0),
    "nirsoil": (1100.0, 2400.0),
}
STEP = 10.0
PROPERTIES = ("soc", "clay", "ph")
#: Amounts per volume of one set, [g/dm3]: their way to g/kg and %, for a density of 1.2 kg/dm3.
PER_VOLUME = {"soc": ("som_per_dm3", 1 / 1.724 / 1.2), "clay": ("clay_per_dm3", 0.1 / 1.2)}
#: Samples that a site needs beside the local ones.
LEAST_TEST = 20


@dataclass(frozen=True)
class Task:
    """A property of a site, with its local samples."""

    site: str
    property: str
    draw: int
    X: Array
    y: Array
    test: Array
    truth: Array
    source: Source


Model = Callable[[Task, dict[str, Any]], Head]


def plsr(X: Array, y: Array) -> Head:
    """PLS with the component count of least ten-fold error."""
    return fit_head(X, y, HeadSettings("plsr", folds=10))


def local(task: Task, kept: dict[str, Any]) -> Head:
    """The 30 samples alone."""
    return plsr(task.X, task.y)


def library(task: Task, kept: dict[str, Any]) -> Head:
    """The library alone; it is the same for all draws."""
    key = f"library {task.site} {task.property}"
    if key not in kept:
        kept[key] = plsr(task.source.X, task.source.y)
    found: Head = kept[key]
    return found


def with_instances(task: Task) -> tuple[Array, Array]:
    """The local samples and the hundred of the library that predict them best."""
    rows = rs_local(task.source.X, task.source.y, task.X, task.y).kept
    return np.vstack([task.X, task.source.X[rows]]), np.r_[task.y, task.source.y[rows]]


def instances(task: Task, kept: dict[str, Any]) -> Head:
    """RS-LOCAL, then PLS."""
    return plsr(*with_instances(task))


def mixture(task: Task, kept: dict[str, Any]) -> Head:
    """The default."""
    return fit_mixture(task.X, task.y, task.source)


def wide(task: Task, kept: dict[str, Any]) -> Head:
    """Of more kinds, weights free to follow the errors."""
    parts = ("pooled", "pooled-derivative", "own", "plsr", "spiked", "neighbours")
    return fit_mixture(task.X, task.y, task.source, MixtureSettings(parts=parts, evenness=0.3))


#: Ways of transfer, and the features that each takes.
MODELS: dict[str, tuple[str, Model]] = {
    "local": ("snv", local),
    "library": ("snv", library),
    "spiked": ("snv", lambda task, kept: fit_spiked(task.X, task.y, task.source)),
    "instances": ("snv", instances),
    "neighbours": ("snv", lambda task, kept: fit_mbl(task.X, task.y, task.source)),
    "own": ("snv", lambda task, kept: fit_pooled(task.X, task.y)),
    "pooled": ("snv", lambda task, kept: fit_pooled(task.X, task.y, task.source)),
    "mixture-wide": ("absorbance", wide),
    "mixture": ("absorbance", mixture),
}


def cnn(X: Array, y: Array, folds: int = 10) -> Head:
    """The mean of a network a fold, each on the other folds."""
    return fit_cnn(X, y, HeadSettings("plsr", folds=folds), None, 0)


def cnn_library(task: Task, kept: dict[str, Any]) -> Head:
    """Networks of the library alone."""
    key = f"cnn {task.site} {task.property}"
    if key not in kept:
        kept[key] = cnn(task.source.X, task.source.y, 3)
    found: Head = kept[key]
    return found


def networks(settings: PretrainSettings, training: Training) -> dict[str, tuple[str, Model]]:
    """Ways that train networks: local, of the library, on instances (DTL-I), tuned (DTL-R, as published and as we do
    it), and tuned on instances (DTL-IR)."""

    def lent(task: Task, kept: dict[str, Any]) -> Pretrained:
        key = f"pretrained {task.site} {task.property}"
        if key not in kept:
            kept[key] = pretrain(task.source, settings)
        found: Pretrained = kept[key]
        return found

    published = TuneSettings("published", training=training)
    return {
        "cnn": ("snv", lambda task, kept: cnn(task.X, task.y)),
        "cnn-library": ("snv", cnn_library),
        "cnn-instances": ("snv", lambda task, kept: cnn(*with_instances(task))),
        "tuned-published": ("snv", lambda task, kept: fit_tuned(task.X, task.y, lent(task, kept), published)),
        "tuned": ("snv", lambda task, kept: fit_tuned(task.X, task.y, lent(task, kept))),
        "tuned-instances": ("snv", lambda task, kept: fit_tuned(*with_instances(task), lent(task, kept))),
    }


STEPS = {"snv": ["absorbance", "snv"], "absorbance": ["absorbance"]}


def tasks(
    sets: Callable[[tuple[float, float]], xr.DataArray],
    sites: dict[str, tuple[float, float]],
    draws: int,
    properties: Sequence[str] = PROPERTIES,
) -> Iterator[dict[str, Task]]:
    """Every property of every site, with the local samples of Kennard-Stone and of random draws, by features."""
    for site, range_nm in sites.items():
        everything = sets(range_nm)
        wavelength = everything["wavelength"].to_numpy()
        spectra = everything.to_numpy().astype(np.float64)
        features = {name: Preprocess.fit(spectra, wavelength, steps).apply(spectra) for name, steps in STEPS.items()}
        names, values = everything["source"].to_numpy(), everything.attrs["values"]
        origin = np.unique(names, return_inverse=True)[1]
        for of in properties:
            y = amounts(values, of)
            known = np.isfinite(y)
            own, lent = np.flatnonzero(known & (names == site)), np.flatnonzero(known & (names != site))
            if len(own) < LOCAL + LEAST_TEST or not len(lent):
                continue
            y = np.log(y) if of == "soc" else y
            for draw in range(draws + 1):
                rows = chosen(features["snv"][own], draw)
                near, far = own[rows], own[np.setdiff1d(np.arange(len(own)), rows)]
                yield {
                    name: Task(
                        site, of, draw, X[near], y[near], X[far], y[far], Source(X[lent], y[lent], True, origin[lent])
                    )
                    for name, X in features.items()
                }


def chosen(X: Array, draw: int) -> Array:
    """Rows of the local samples: by Kennard-Stone, or the draw of that number."""
    if draw == 0:
        return kennard_stone(X, LOCAL)
    return np.random.default_rng(1000 + draw).permutation(len(X))[:LOCAL]


def amounts(values: pd.DataFrame, name: str) -> Array:
    """A property of all samples, NaN where it is not known."""
    found = values[name].to_numpy(np.float64)
    column, factor = PER_VOLUME.get(name, ("", 1.0))
    if column in values:
        other = values[column].to_numpy(np.float64) * factor
        found = np.where(np.isfinite(found), found, other)
    with np.errstate(invalid="ignore"):
        return np.where(found > 0, found, np.nan)


def judged(task: Task, head: Head) -> dict[str, float]:
    """Scores on the test samples, in the property's unit."""
    reach = float(np.ptp(task.y)) / 2
    found = np.clip(head.predict(task.test), task.y.min() - reach, task.y.max() + reach)
    back = np.exp if task.property == "soc" else np.asarray
    scores = score(back(task.truth), back(found))
    return {name: float(scores[name.upper()]) for name in ("rmse", "me", "ccc")}


def measure(everything: Iterator[dict[str, Task]], models: dict[str, tuple[str, Model]]) -> pd.DataFrame:
    """One row a site, property, draw and model."""
    kept: dict[str, Any] = {}
    rows = []
    for by_features in everything:
        for name, (features, model) in models.items():
            task, start = by_features[features], time.perf_counter()
            scores = judged(task, model(task, kept))
            told = {"site": task.site, "property": task.property, "draw": task.draw, "model": name}
            rows.append({**told, **scores, "s": time.perf_counter() - start})
        print(f"{task.site} {task.property} {task.draw}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def changes(found: pd.DataFrame, base: str) -> pd.DataFrame:
    """Change of RMSE against a model, %, models as columns."""
    table = found.pivot_table(index=["site", "property", "draw"], columns="model", values="rmse", sort=False)
    return 100 * (1 - table.div(table[base], axis=0))


def summary(change: pd.DataFrame) -> dict[str, Any]:
    """Means over properties of each site, over all, and of the draws by chance; share of cases that are better."""
    draw = change.index.get_level_values("draw")
    chosen_well, by_chance = change[draw == 0], change[draw > 0]
    sites = chosen_well.groupby(level="site", sort=False).mean()
    found = {
        "by_site": {name: sites[name].round(1).to_dict() for name in sites},
        "mean": chosen_well.mean().round(1).to_dict(),
        "median": chosen_well.median().round(1).to_dict(),
        "least": chosen_well.min().round(1).to_dict(),
        "better_of_100": (100 * (chosen_well > 0).mean()).round(0).to_dict(),
        "by_property": {
            str(key): row.round(1).to_dict() for key, row in chosen_well.groupby(level="property").mean().iterrows()
        },
    }
    if len(by_chance):
        found["mean_of_draws"] = by_chance.mean().round(1).to_dict()
    if by_chance.index.get_level_values("draw").nunique() > 1:
        found["sd_of_draws"] = by_chance.groupby(level="draw").mean().std().round(1).to_dict()
    return found


def left_out_choice(change: pd.DataFrame) -> dict[str, Any]:
    """The model that is best on the other sites, judged on each: how far the choice of a default can be trusted."""
    sites = change.groupby(level="site", sort=False).mean()
    taken = {str(site): str(sites.drop(index=site).mean().idxmax()) for site in sites.index}
    return {"taken": taken, "mean": round(float(np.mean([sites.loc[site, name] for site, name in taken.items()])), 1)}


def made(range_nm: tuple[float, float]) -> xr.DataArray:
    """Four made sets of one kind of soil, with an offset each."""
    rng = np.random.default_rng(0)
    wavelength = np.arange(range_nm[0], range_nm[1] + 1, 40.0)
    centres = np.array([[500.0], [900], [1415], [1930], [2205]])
    shapes = np.exp(-(((wavelength - centres) / 60) ** 2))
    amount = rng.uniform(0.01, 0.08, (4 * 55, 5))
    level = np.repeat(rng.uniform(0.3, 0.5, 4), 55)[:, None]
    spectra = (
        level + 0.1 * (wavelength - 400) / 2100 - amount @ shapes + 5e-4 * rng.standard_normal((220, len(wavelength)))
    )
    noise = rng.standard_normal((220, 3)) * [0.1, 2, 0.2]
    values = pd.DataFrame(
        {
            "soc": np.exp(1 + 20 * amount[:, 0] + noise[:, 0]),
            "clay": 10 + 400 * amount[:, 4] + noise[:, 1],
            "ph": 5 + 20 * amount[:, 2] + noise[:, 2],
        }
    )
    coords = {"source": ("sample", np.repeat(["a", "b", "c", "d"], 55)), "wavelength": ("band", wavelength)}
    return xr.DataArray(spectra, dims=("sample", "band"), coords=coords, attrs={"values": values})


def shown(found: dict[str, Any]) -> str:
    """A table of sites and models, as Markdown."""
    models = list(found["by_site"])
    rows = [[site, *(found["by_site"][name][site] for name in models)] for site in found["by_site"][models[0]]]
    rows += [[key, *(found[key][name] for name in models)] for key in ("mean", "median", "least", "better_of_100")]
    rows += [[key, *(found[key][name] for name in models)] for key in ("mean_of_draws", "sd_of_draws") if key in found]
    head = ["", *models]
    return "\n".join("| " + " | ".join(str(one) for one in row) + " |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Print one JSON document, and the table beside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where the sets of open_library.toml lie")
    parser.add_argument("--quick", action="store_true", help="made sets unless a folder is given, and few models")
    parser.add_argument("--draws", type=int, default=0, help="random draws of the local samples beside Kennard-Stone")
    parser.add_argument("--networks", action="store_true", help="ways that train networks too")
    parser.add_argument("--members", type=int, default=3, help="networks that are trained on a library")
    parser.add_argument("--epochs", type=int, default=2000, help="their most epochs")
    parser.add_argument("--patience", type=int, default=120, help="epochs without a gain after which they stop")
    parser.add_argument("--sites", nargs="*", choices=list(SITES), help="only these")
    given = parser.parse_args()
    if given.folder is None and not given.quick:
        parser.error("give the folder of the sets, or --quick")
    training = Training(epochs=given.epochs, patience=given.patience)
    models = MODELS | (networks(PretrainSettings(given.members, training), training) if given.networks else {})
    if given.folder is None:
        everything = tasks(made, {"a": WHOLE, "b": WHOLE}, given.draws, ["clay"])
    else:
        sites = {name: SITES[name] for name in given.sites or (["rp_62", "tropical"] if given.quick else SITES)}
        everything = tasks(
            lambda range_nm: open_sets(given.folder, range_nm=range_nm, step_nm=STEP), sites, given.draws
        )
    found = measure(everything, models)
    change = changes(found, "local")
    summed = summary(change)
    document: dict[str, Any] = {
        "samples": LOCAL,
        "sites": int(found["site"].nunique()),
        "cases": len(change),
        **summed,
    }
    if document["sites"] > 1:
        document["left_out_choice"] = left_out_choice(change)
    if given.networks:
        document["against_cnn"] = summary(changes(found, "cnn"))
    document["seconds"] = found.groupby("model", sort=False)["s"].median().round(2).to_dict()
    document["rows"] = found.round(4).to_dict(orient="records")
    print(shown(summed), file=sys.stderr)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
