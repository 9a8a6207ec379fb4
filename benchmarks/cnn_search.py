"""The automated 1D-CNN: how long a search takes, and folds trained together against a plain loop, in one run.

    python benchmarks/cnn_search.py            # 100 trials x 10 folds, 130 samples x 211 bands, a process a core
    python benchmarks/cnn_search.py --quick    # a moment, as the test suite runs it

`search`: wall time, and the seconds of one core that its trials took; `error` are cross-validated errors in units of
the response's standard deviation. `folds`: one network trained on ten folds, for as many epochs and with the same
batches, in one pass and as a user would write it (a module, Adam and a loop a fold; one thread each); the run checks
that the losses are the same. `--spectra FILE.npz` takes arrays `X` and `y` in place of made spectra.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geosoil.jobs.search import SearchSettings, search
from geosoil.models.conv_head import CnnSettings
from geosoil.models.convnet import ConvNet1D
from geosoil.models.fold_training import FoldSchedule, fold_parts, train_folds
from geosoil.prep.pls import choose_components, fold_numbers

Array = NDArray[np.float64]


def spectra(n: int, p: int) -> tuple[Array, Array]:
    """Smooth spectra of eight overlapping substances, one of which is asked for, with scatter and noise; SNV."""
    rng = np.random.default_rng(0)
    band = np.linspace(0, 1, p)
    peaks = np.exp(-(((band - rng.random((8, 1))) / (0.02 + 0.1 * rng.random((8, 1)))) ** 2))
    amounts = rng.gamma(2.0, size=(n, 8))
    X = amounts @ peaks * rng.uniform(0.8, 1.2, (n, 1)) + 0.02 * rng.standard_normal((n, p))
    X = (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True)
    return X, np.log(amounts[:, 0] + 0.5) + 0.1 * rng.standard_normal(n)


def searched(X: Array, y: Array, settings: SearchSettings, workers: int) -> dict[str, Any]:
    """A search, timed."""
    start = time.perf_counter()
    found = search(X, y, settings, num_workers=workers)
    wall = time.perf_counter() - start
    states = [one.state for one in found.trials]
    pls = choose_components(X, y, min(30, len(y) // 2), seed=0).rmsecv.min()
    return {
        "trials": len(found.trials),
        "folds": settings.folds,
        "wall_s": round(wall, 1),
        "trials_core_s": round(sum(one.seconds for one in found.trials), 1),
        "longest_trial_core_s": round(max(one.seconds for one in found.trials), 1),
        "complete": states.count("complete"),
        "stopped": states.count("stopped"),
        "diverged": states.count("diverged"),
        "impossible": found.impossible,
        "large": found.large,
        "error_best": round(found.rmse / y.std(), 3),
        "error_default": round(found.trials[0].rmse / y.std(), 3),
        "error_plsr": round(float(pls) / y.std(), 3),
        "best": found.best.to_meta(),
        "importance": {name: round(one, 3) for name, one in found.importance.items()},
    }


def plain_loop(X: Array, y: Array, fold: NDArray[np.int64], settings: CnnSettings) -> tuple[float, Array]:
    """Seconds of one core for a loop over folds, and the loss of each epoch and fold; first weights are torch's own."""
    parts = fold_parts(y, fold, settings.schedule)
    smallest = min(len(one.train) for one in parts.values())
    steps = max(1, round(smallest / settings.schedule.batch))
    inputs, losses = torch.from_numpy(X.astype(np.float32)), np.empty((settings.schedule.epochs, len(parts)))
    start = time.process_time()
    for number, part in parts.items():
        torch.manual_seed(int(np.random.SeedSequence([0, number, 0]).generate_state(1)[0]))
        net = ConvNet1D(settings.spec(X.shape[1]))
        net.standardise(inputs[torch.from_numpy(part.known)])
        z = torch.from_numpy(((y - y[part.known].mean()) / y[part.known].std()).astype(np.float32))
        order = torch.Generator().manual_seed(int(np.random.SeedSequence([0, number, 1]).generate_state(1)[0]))
        optimizer = torch.optim.Adam(net.parameters(), lr=settings.schedule.learning_rate)
        for epoch in range(settings.schedule.epochs):
            net.train()
            rows = torch.from_numpy(part.train)[torch.randperm(len(part.train), generator=order)]
            total = 0.0
            for chosen in rows[: smallest // steps * steps].view(steps, -1):
                loss = torch.nn.functional.mse_loss(net(inputs[chosen])[:, 0], z[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item()
            losses[epoch, number] = total / steps
            net.eval()
            with torch.inference_mode():
                net(inputs[torch.from_numpy(part.watch)])
    return time.process_time() - start, losses


def together(X: Array, y: Array, folds: int, epochs: int, batch: int) -> dict[str, Any]:
    """The default network without dropout, whose draws differ, in one pass and in a loop."""
    default = CnnSettings.fitting(X.shape[1])
    settings = replace(
        default,
        conv=tuple(replace(one, dropout=0.0) for one in default.conv),
        dense=tuple(replace(one, dropout=0.0) for one in default.dense),
        schedule=FoldSchedule(epochs=epochs, patience=epochs, batch=batch),
    )
    fold = fold_numbers(len(y), folds, seed=0)
    torch.set_num_threads(1)
    plain_s, losses = plain_loop(X, y, fold, settings)
    start = time.process_time()
    fit = train_folds(settings.spec(X.shape[1]), X, y, fold, settings.schedule, device="cpu")
    ours_s = time.process_time() - start
    return {
        "batch": batch,
        "epochs": epochs,
        "one_pass_core_s": round(ours_s, 2),
        "plain_loop_core_s": round(plain_s, 2),
        "times_as_fast": round(plain_s / ours_s, 2),
        "largest_difference_of_first_epoch": float(np.abs(fit.train[0] / losses[0] - 1).max()),
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--spectra", type=Path)
    options = parser.parse_args()
    if options.spectra is not None:
        arrays = np.load(options.spectra, allow_pickle=False)
        X, y = arrays["X"], arrays["y"]
    else:
        X, y = spectra(30, 24) if options.quick else spectra(130, 211)
    if options.quick:
        settings = SearchSettings(
            trials=3, folds=3, epochs=(3, 5), patience=3, most_multiplications=150_000, most_weights=40_000
        )
        found = {"search": searched(X, y, settings, 1), "folds": [together(X, y, 3, 3, 8)]}
    else:
        found = {
            "folds": [together(X, y, 10, 40, batch) for batch in (16, 64)],
            "search": searched(X, y, SearchSettings(trials=options.trials), options.workers),
        }
    facts = {"cores": os.cpu_count(), "samples": len(y), "bands": X.shape[1]}
    print(json.dumps({**facts, **found}, indent=1))


if __name__ == "__main__":
    main()
