"""A whole GF-5 scene to SOM, As and Cu at once, against the limits of the machine and against a plain loop.

    python benchmarks/inversion.py              # 2,008 x 2,083 cells of 330 bands, 2.8 GB; some minutes
    python benchmarks/inversion.py --quick      # small, to see that it works

The model reads satellite spectra mixed with those that the published variational auto-encoder generates. The limits are
measured in the same run: the bytes of the scene read one after the other, and the model's unavoidable multiplications
at the best speed that a matrix product of its shapes reaches here, for all cells and for those that no mask leaves out.
Unavoidable is all but the network's last layer, which folds into linear heads. The plain loop is what a user would
write: windows read with rasterio, the network run by torch, bands picked, scikit-learn's predict for each property,
maps written; its values are the same where the head is PLSR, and the run checks it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import xarray as xr
from rasterio.windows import Window
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVR

import geosoil
from geosoil.bands import Bands
from geosoil.models.bundle import Bundle
from geosoil.models.linear import LinearHead
from geosoil.models.spectral import SpectralPredictor
from geosoil.models.svr import SvrHead
from geosoil.prep.resample import gaussian_weights, resample
from geosoil.testing import Landscape, Layout, make_cube, make_spectral_samples

MEMORY = "1.5GB"
SAMPLES = 90
#: Times that a case is run; the middle one counts.
RUNS = 3
#: The command, which tells its peak of memory at its end, kB; what a parent sees of its child begins with its own.
COMMAND = """
import sys
from geosoil_cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def make_scene(folder: Path, shape: tuple[int, int], interleave: str) -> Path:
    """The cube, int16 reflectance x 10,000, in ENVI's form."""
    path = folder / f"scene-{interleave}.dat"
    make_cube(path, shape, block=min(256, *shape), layout=Layout(interleave=interleave), swath=False)
    return path


def make_model(scene: Path, head: str, folder: Path) -> Path:
    """A model of the bands of the scene; speed does not depend on how well it was trained."""
    cube = geosoil.open_scene(scene)
    bands = Bands.of(cube)
    good = [place for place, ok in enumerate(bands.good or (True,) * len(bands)) if ok]
    bands = bands.take(good)
    made = make_spectral_samples(Landscape(shape=(64, 64)), SAMPLES, properties=("som", "as", "cu"))
    source = np.array([float(name) for name in made.spectra.columns[1:]])
    weights = gaussian_weights(source, np.array(bands.wavelength_nm), np.array(bands.fwhm_nm))
    laboratory = np.asarray(resample(made.reflectance, weights))
    noise = np.random.default_rng(0).normal(scale=0.01, size=laboratory.shape)
    study = geosoil.Study(
        name=head,
        property="som",
        properties={name: {"transform": "log"} for name in ("som", "as", "cu")},  # as the plain loop has it
        spectra={"windows": []},
        fusion={"kind": "vae", "epochs": 3},
        invert={
            "properties": ["som", "as", "cu"], "spectra": "mixed", "head": head, "calibration": "generated",
            "cars_runs": 20, "cars_repeats": 1,
        },
        validation={"folds": 3},
    )  # fmt: skip
    path = folder / f"{head}.gsm"
    geosoil.invert(
        study,
        path,
        samples=made.samples,
        laboratory=_spectra(laboratory, made.spectra["sample_id"], bands),
        satellite=_spectra(0.9 * laboratory + 0.02 + noise, made.spectra["sample_id"], bands),
    )
    return path


def _spectra(rows: np.ndarray, names: Any, bands: Bands) -> xr.DataArray:
    coords = {"sample": list(names), **bands.coords()}
    return xr.DataArray(rows, dims=("sample", "band"), coords=coords, attrs={"quantity": "reflectance"})


def unavoidable(bundle: Bundle) -> tuple[int, list[tuple[int, int]]]:
    """Multiplications and additions a cell, and the shapes (in, out) of the matrix products."""
    predictor = bundle.predictor
    assert isinstance(predictor, SpectralPredictor)
    assert predictor.translator is not None
    chains = predictor.translator.chains()
    assert chains is not None
    (layers,) = chains.members
    bands = len(predictor.preprocess.wavelength_nm)
    columns = len(predictor.heads)
    kernels = 0
    for one in predictor.heads:
        if isinstance(one.head, SvrHead):
            columns = len(np.unique(np.concatenate([other.support for other in predictor.heads])))
            kernels += 2 * one.head.support.size
    shapes = [(layer.weight.shape[1], layer.weight.shape[0]) for layer in layers[:-1]]
    shapes += [(layers[-1].weight.shape[1], columns), (bands, columns)]
    return sum(2 * first * last for first, last in shapes) + kernels, shapes


def best_product(shapes: list[tuple[int, int]], workers: int, quick: bool) -> float:
    """GFLOP/s of the machine for dense layers of these shapes: the better of two ways, a thread a worker."""
    cells = 4096
    cases = [(torch.rand(cells, first), torch.rand(last, first)) for first, last in shapes]
    work = sum(2 * cells * first * last for first, last in shapes)

    def linear() -> None:
        for x, weight in cases:
            torch.nn.functional.linear(x, weight)

    turned = [
        (
            x.view(16, -1, 1, x.shape[1]).permute(0, 3, 1, 2),
            weight[:, :, None, None].contiguous(memory_format=torch.channels_last),
        )
        for x, weight in cases
    ]

    def convolution() -> None:
        for x, weight in turned:
            torch.nn.functional.conv2d(x, weight)

    rounds = 4 if quick else 40
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return max(_rate(one, work, workers, rounds) for one in (linear, convolution))
    finally:
        torch.set_num_threads(before)


def _rate(one: Callable[[], None], work: int, workers: int, rounds: int) -> float:
    def many(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                one()

    best = 0.0
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(many, [2] * workers))
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(many, [rounds] * workers))
            best = max(best, workers * rounds * work / (time.perf_counter() - start) / 1e9)
    return best


def read_bytes(scene: Path) -> float:
    """Seconds to read the file once, in order, after a first time that warms the cache."""
    for _ in range(2):
        start = time.perf_counter()
        with scene.open("rb", buffering=0) as file:
            buffer = bytearray(2**24)
            while file.readinto(buffer):
                pass
        seconds = time.perf_counter() - start
    return seconds


def run(model: Path, scene: Path, out: Path, *options: str) -> dict[str, float]:
    """The command as a user types it: seconds of all of it and of the run in it, and peak memory."""
    words = ["map", str(model), str(scene), str(out), "--max-memory", MEMORY, "-q", *options]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - start
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    peak = int(done.stderr.split()[-1]) * 1024 / 1e6
    return {
        "command_s": round(seconds, 2),
        "run_s": record["seconds"],
        "mapped_share": round(record["masked"]["left"], 3),
        "peak_mb": round(peak),
    }


def parts(model: Path, scene: Path, out: Path, like: Path) -> dict[str, float]:
    """Seconds from the first tile to the last, and of writing the maps, in this process, with the tiles of a run."""
    moments: dict[str, list[float]] = {}

    def progress(done: int, total: int, message: str) -> None:
        moments.setdefault(message, []).append(time.perf_counter())

    plan = json.loads((like / "run.json").read_text(encoding="utf-8"))["plan"]
    # This process holds torch's training and scikit-learn too, which the bound is not about.
    geosoil.map(
        model,
        scene,
        out,
        max_memory="8GB",
        tile_size=plan["tile_size"],
        num_workers=plan["num_workers"],
        progress=progress,
    )
    return {
        "tiles_s": round(moments["mapping"][-1] - moments["mapping"][0], 2),
        "writing_s": round(moments["writing maps"][-1] - moments["writing maps"][0], 2),
    }


def chain_rows(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """The model as a user of torch and scikit-learn has it: spectra (n, p) to transformed values (n, T)."""
    predictor = bundle.predictor
    assert isinstance(predictor, SpectralPredictor)
    assert predictor.translator is not None
    chains = predictor.translator.chains()
    assert chains is not None
    (layers,) = chains.members
    net = torch.nn.Sequential(*(module for layer in layers for module in _module(layer)))
    models = [_estimator(one.head) for one in predictor.heads]

    def rows(spectra: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            generated = net(torch.from_numpy(np.ascontiguousarray(spectra))).numpy()
        mixed = np.hstack([spectra, generated])
        found = [
            np.clip(model.predict(mixed[:, one.support]), one.lowest, one.highest)
            for model, one in zip(models, predictor.heads, strict=True)
        ]
        return np.stack(found, axis=1)

    return rows


def bands_of(bundle: Bundle, scene: Path) -> list[int]:
    """Where the model's bands are in the scene, from 0."""
    bands = Bands.of(geosoil.open_scene(scene))
    return [int(np.argmin(np.abs(np.array(bands.wavelength_nm) - nm))) for nm in bundle.card.wavelength_nm]


def plain_loop(bundle: Bundle, scene: Path, out: Path) -> float:
    """Seconds of the loop."""
    rows = chain_rows(bundle)
    wanted = [place + 1 for place in bands_of(bundle, scene)]
    start = time.perf_counter()
    with rasterio.open(scene) as source:
        profile = {
            "driver": "GTiff", "width": source.width, "height": source.height, "count": 1, "dtype": "float32",
            "crs": source.crs, "transform": source.transform, "tiled": True,
        }  # fmt: skip
        files = [rasterio.open(f"{out}-{place}.tif", "w", **profile) for place in range(len(bundle.targets))]
        for row in range(0, source.height, 512):
            for column in range(0, source.width, 512):
                window = Window(column, row, min(512, source.width - column), min(512, source.height - row))
                cube = source.read(wanted, window=window).astype(np.float32) / 10000
                found = np.exp(rows(cube.reshape(len(wanted), -1).T)).astype(np.float32)
                for file, values in zip(files, found.T, strict=True):
                    file.write(values.reshape(cube.shape[1:]), 1, window=window)
        for file in files:
            file.close()
    return time.perf_counter() - start


def _module(layer: Any) -> list[torch.nn.Module]:
    dense = torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    dense.load_state_dict({"weight": torch.from_numpy(layer.weight), "bias": torch.from_numpy(layer.bias)})
    return [dense, torch.nn.ReLU()] if layer.activation == "relu" else [dense]


def _estimator(head: Any) -> Any:
    """The head as scikit-learn's own object."""
    if isinstance(head, LinearHead):
        model = LinearRegression()
        model.coef_, model.intercept_ = head.coef, head.intercept
        return model
    # As many support vectors in as many features; its values are others, its work is the same.
    y = np.random.default_rng(0).normal(size=len(head.support))
    return SVR(gamma=head.gamma, C=1e3, epsilon=0.0).fit(head.support, y)


def same_values(bundle: Bundle, maps: Path, plain: Path) -> float | None:
    """Largest relative difference of a map from the loop's, bias correction apart, over the cells that it maps.

    None for support vectors, which the loop has others of.
    """
    if bundle.card.model != "plsr":
        return None
    with rasterio.open(sorted(maps.glob("som_*_mean.tif"))[0]) as file:
        ours = file.read(1).astype(np.float64)
    with rasterio.open(f"{plain}-0.tif") as file:
        theirs = file.read(1).astype(np.float64)
    there = np.isfinite(ours) & (theirs > 0)
    ratio = ours[there] / theirs[there]  # the mean of a logarithm is its median times a constant
    off = float(np.abs(ratio / np.median(ratio) - 1).max())
    if off > 1e-3:
        raise ValueError(f"the map and the loop differ by {off:g} of the value")
    return off


def measure(folder: Path, shape: tuple[int, int], heads: list[str], quick: bool) -> dict[str, Any]:
    """All of it; a case is told as soon as it is done."""
    layouts = ("bil",) if quick else ("bsq", "bil", "bip")
    scenes = {interleave: make_scene(folder, shape, interleave) for interleave in layouts}
    (folder / "small").mkdir(exist_ok=True)
    small = {interleave: make_scene(folder / "small", (64, 64), interleave) for interleave in layouts}
    workers = os.cpu_count() or 1
    cells = shape[0] * shape[1]
    found: dict[str, Any] = {"cores": workers, "bands": 330, "shape": list(shape), "max_memory": MEMORY, "cases": []}
    found["read_s"] = round(read_bytes(scenes["bil"]), 2)
    for head in heads:
        path = make_model(scenes["bil"], head, folder)
        bundle = geosoil.load_model(path)
        flops, shapes = unavoidable(bundle)
        speed = best_product(shapes, workers, quick)
        limit = max(found["read_s"], flops * cells / speed / 1e9)
        for scene in small.values():  # what a first run compiles, for each layout, is kept for all others
            run(path, scene, folder / "warm-up", "--overwrite")
        for interleave, scene in scenes.items():
            out = folder / f"{head}-{interleave}"
            read_bytes(scene)  # so that all files are in memory alike
            plain = plain_loop(bundle, scene, folder / "plain")
            runs = [run(path, scene, out, "--overwrite") for _ in range(1 if quick else RUNS)]
            middle = sorted(runs, key=lambda one: one["run_s"])[len(runs) // 2]
            told = {**middle, **parts(path, scene, folder / f"{out.name}-parts", out)}
            found["cases"].append(
                {
                    "head": head,
                    "interleave": interleave,
                    **told,
                    "runs_s": [one["run_s"] for one in runs],
                    "multiplications_s": round(flops * cells / speed / 1e9, 2),
                    "multiplications_of_mapped_s": round(told["mapped_share"] * flops * cells / speed / 1e9, 2),
                    "best_product_gflops": round(speed),
                    "share_of_limit_tiles": round(limit / told["tiles_s"], 2),
                    "share_of_limit_run": round(limit / told["run_s"], 2),
                    "plain_loop_s": round(plain, 2),
                    "times_as_fast_as_plain_loop": round(plain / told["run_s"], 2),
                    "largest_difference": same_values(bundle, out, folder / "plain"),
                }
            )
            print(json.dumps(found["cases"][-1]), file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--heads", default="plsr,svr", help="regressions to measure")
    parser.add_argument("--folder", type=Path, help="for scenes and maps, about 9 GB; default: a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="geosoil-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shape = (96, 96) if options.quick else (2083, 2008)
        heads = ["plsr"] if options.quick else options.heads.split(",")
        print(json.dumps(measure(folder, shape, heads, options.quick), indent=1))
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
